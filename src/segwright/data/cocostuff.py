"""COCO-Stuff: everyday pictures, 80 things and 91 kinds of stuff; the 164k set, and the older 10k set.

Licence: annotations CC BY 4.0; pictures under the terms of their Flickr owners.

164k: 118 287 train, 5000 val; RGB JPEG of mixed sizes, about 640×480. Masks: 8-bit grey PNG, 0..181, a class's number
in `labels.txt` minus one; 11 numbers do not occur; 255 is unlabelled and ignored. Label space: `cocostuff171`.
Layout: ROOT/images/train2017/NAME.jpg (or ROOT/train2017) and ROOT/stuffthingmaps/train2017/NAME.png (or
ROOT/annotations/train2017), the same for val2017. Files that end in `_labelTrainIds.png`, which other tools write
there, are not read.
10k, version 1.1: 9000 train, 1000 test, no val. Masks: MATLAB files with the map S, 0 unlabelled, 1..182 the number in
`labels.txt`. Label space: `cocostuff10k_mat`, with the classes of `cocostuff171`. Needs SciPy.
Layout: ROOT/images/NAME.jpg, ROOT/annotations/NAME.mat, ROOT/imageLists/train.txt and test.txt.
Traps: version 1.0 of the 10k set numbers its classes 2..172 and is refused. All pictures of either set come from COCO,
so some are in both: do not train on one and score on the other. Counting classes as 171, 172 (with unlabelled) or 182
gives different means.
Source: Caesar, Uijlings, Ferrari, "COCO-Stuff: thing and stuff classes in context", CVPR 2018; github.com/nightrome.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError
from segwright.data.matlab import label_map, need_scipy, read_mat
from segwright.data.pairs import (
    Listing,
    Pair,
    PairedFiles,
    by_key,
    list_pictures,
    matched,
    named,
    need_folder,
    need_split,
    read_lines,
)
from segwright.data.reading import read_mask

_FOLDERS = {"train": "train2017", "val": "val2017"}
_OTHER_TOOLS = "_labelTrainIds"
_LAYOUT = (
    "images/train2017 and stuffthingmaps/train2017 (164k), or images/, annotations/*.mat and imageLists/train.txt (10k)"
)
_REMEDY = "Unpack the archives again; a picture and its mask carry the same name."


class CocoStuff(PairedFiles):
    """One split of COCO-Stuff: train or val of the 164k set, train or test of the 10k set.

    labels: usually the space `cocostuff171`, for the 10k set `cocostuff10k_mat`.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        folder = need_folder(root, "cocostuff", _LAYOUT)
        if (folder / "imageLists").is_dir():
            return tuple(s for s in ("train", "test") if (folder / "imageLists" / f"{s}.txt").is_file())
        return tuple(s for s in _FOLDERS if _trees(folder, s) is not None)

    @classmethod
    def listing(cls, root: Path | None, split: str, *_: Any) -> Listing:
        folder = need_folder(root, "cocostuff", _LAYOUT)
        need_split(split, cls.splits(folder), folder, _LAYOUT)
        trees = None if (folder / "imageLists").is_dir() else _trees(folder, split)
        if trees is None:
            return _listed(folder, folder / "imageLists" / f"{split}.txt")
        images = list_pictures(trees[0])
        masks = [p for p in list_pictures(trees[1]) if not p.stem.endswith(_OTHER_TOOLS)]
        return matched(
            by_key(images, [p.stem for p in images]),
            by_key(masks, [p.stem for p in masks]),
            where=trees[0],
            remedy=_REMEDY,
        )

    @staticmethod
    def read_raw(pair: Pair) -> NDArray[Any]:
        if pair.mask.suffix != ".mat":
            return read_mask(pair.mask)
        content = read_mat(pair.mask, "S", "names")
        if np.size(content.get("names", ())) == 172:
            raise DataError(
                f"{pair.mask}: this is COCO-Stuff 10k version 1.0, whose classes have other numbers. "
                "Get version 1.1 (cocostuff-10k-v1.1.zip)."
            )
        return label_map(content.get("S"), pair.mask)


def _trees(folder: Path, split: str) -> tuple[Path, Path] | None:
    """The folders of pictures and masks of a split of the 164k set; None where one of them is missing."""
    name = _FOLDERS[split]
    images = next((p for p in (folder / "images" / name, folder / name) if p.is_dir()), None)
    masks = next((p for p in (folder / "stuffthingmaps" / name, folder / "annotations" / name) if p.is_dir()), None)
    return None if images is None or masks is None else (images, masks)


def _listed(folder: Path, source: Path) -> Listing:
    need_scipy("COCO-Stuff 10k")
    pairs = [
        Pair(name=n, group=n, image=folder / "images" / f"{n}.jpg", mask=folder / "annotations" / f"{n}.mat")
        for n in read_lines(source)
    ]
    return named(pairs, source=source, remedy=_REMEDY)
