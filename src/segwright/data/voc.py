"""PASCAL VOC 2012, semantic segmentation, and its "augmented" training set with SBD's masks.

Licence: the pictures come from Flickr under their owners' terms, for research; SBD adds masks to them.
Pictures: 1464 train, 1449 val, 2913 trainval, 10 582 train_aug; RGB JPEG of mixed sizes, about 500×375.
Masks: 8-bit palette PNG; the number is the palette index: 0 background, 1..20 aeroplane … tvmonitor in the order of the
alphabet, 255 the border around objects, which is ignored. Label space: `voc21`.
Instances: palette PNG with the number of the object, 0 background, 255 border (`SegmentationObject`); handed on as
1000 + number, so that scoring tells objects from regions without any.
Layout: VOC2012/JPEGImages/NAME.jpg, SegmentationClass/NAME.png, SegmentationObject/NAME.png and
ImageSets/Segmentation/SPLIT.txt; ROOT is VOC2012, VOCdevkit, or the folder that holds VOCdevkit.
train_aug: VOC's train and all of SBD, without VOC's val. SBD lies in ROOT/benchmark_RELEASE/dataset (train.txt, val.txt
and cls/NAME.mat, which need SciPy), or as PNG in VOC2012/SegmentationClassAug with ImageSets/Segmentation/trainaug.txt.
Pictures of VOC's train keep VOC's own masks; SBD's have no 255 border.
Traps: read the palette index, never the colour or its grey. Other "aug" lists exist (8829 pictures with a val of 904):
their scores cannot be compared.
Source: Everingham et al., "The PASCAL visual object classes challenge", IJCV 2010; Hariharan et al., "Semantic contours
from inverse detectors", ICCV 2011.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, UserError
from segwright.data.matlab import label_map, need_scipy, read_mat
from segwright.data.pairs import Listing, Pair, PairedFiles, named, need_folder, need_split, read_lines
from segwright.data.reading import read_mask

SPLITS = ("train", "val", "trainval")
AUG = "train_aug"
BORDER, FIRST = 255, 1000  # of object maps: the value between objects, and where the numbers handed on begin
_LAYOUT = "VOCdevkit/VOC2012 with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/"
_REMEDY = "Unpack the VOC 2012 archive (for train_aug also SBD's) again."


class Voc(PairedFiles):
    """One split of VOC 2012: train, val, trainval or train_aug. labels: usually the space `voc21`.

    instances: also read the object maps, which train_aug does not have.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        folder = _voc(root)
        found = tuple(s for s in SPLITS if _list(folder, s).is_file())
        augmented = _list(folder, "trainaug").is_file() or _sbd(root) is not None
        return (*found, AUG) if augmented and {"train", "val"} <= set(found) else found

    @classmethod
    def listing(cls, root: Path | None, split: str, *_: Any, instances: bool = False) -> Listing:
        folder = _voc(root)
        need_split(split, cls.splits(root), folder, _LAYOUT)
        if split == AUG:
            if instances:
                raise UserError(f"split {AUG} has no instance maps: set data.args.instances=false, or use split train.")
            return _augmented(folder, _sbd(root))
        pairs = [_pair(folder, name, instances=instances) for name in read_lines(_list(folder, split))]
        return named(pairs, source=_list(folder, split), remedy=_REMEDY)

    @staticmethod
    def read_instances(path: Path) -> NDArray[np.int32]:
        """int32 [H, W]: 1000 + number of the object, 0 for background and the border between objects."""
        number = read_mask(path).astype(np.int32)
        return np.where((number > 0) & (number < BORDER), FIRST + number, 0)

    @staticmethod
    def read_raw(pair: Pair) -> NDArray[Any]:
        if pair.mask.suffix != ".mat":
            return read_mask(pair.mask)
        truth = read_mat(pair.mask, "GTcls").get("GTcls")
        try:
            return label_map(truth["Segmentation"].flat[0], pair.mask)  # type: ignore[index]
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError(f"{pair.mask}: found no GTcls.Segmentation in the file. Unpack SBD again.") from error


def _voc(root: Path | None) -> Path:
    folder = need_folder(root, "voc", _LAYOUT)
    for inside in (folder / "VOCdevkit" / "VOC2012", folder / "VOC2012", folder):
        if (inside / "JPEGImages").is_dir():
            need_folder(inside / "ImageSets" / "Segmentation", "voc", "train.txt and val.txt")
            return inside
    raise UserError(f"{folder}: found no JPEGImages folder. Data set 'voc' needs a folder that holds {_LAYOUT}.")


def _list(folder: Path, split: str) -> Path:
    return folder / "ImageSets" / "Segmentation" / f"{split}.txt"


def _sbd(root: Path | None) -> Path | None:
    folder = Path(root or "") / "benchmark_RELEASE" / "dataset"
    return folder if (folder / "cls").is_dir() else None


def _pair(folder: Path, name: str, *, mask: Path | None = None, instances: bool = False) -> Pair:
    return Pair(
        name=name,
        group=name,
        image=folder / "JPEGImages" / f"{name}.jpg",
        mask=mask or folder / "SegmentationClass" / f"{name}.png",
        instances=folder / "SegmentationObject" / f"{name}.png" if instances else None,
    )


def _augmented(folder: Path, sbd: Path | None) -> Listing:
    """VOC's train with VOC's masks, then what SBD adds, from its PNG form where that is there; never VOC's val."""
    own, val = read_lines(_list(folder, "train")), set(read_lines(_list(folder, "val")))
    listed = _list(folder, "trainaug")
    if listed.is_file():
        added = read_lines(listed)
        masks, end = folder / "SegmentationClassAug", ".png"
    else:
        need_scipy("SBD, which split train_aug adds to VOC,")
        listed = (sbd or folder) / "train.txt"
        added = sorted({*read_lines(listed), *read_lines(listed.with_name("val.txt"))})
        masks, end = listed.parent / "cls", ".mat"
    known = {*own, *val}
    pairs = [_pair(folder, name) for name in own if name not in val]
    pairs += [_pair(folder, name, mask=masks / f"{name}{end}") for name in added if name not in known]
    return named(pairs, source=listed, remedy=_REMEDY)
