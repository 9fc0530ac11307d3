"""Cityscapes, fine and coarse annotations: street scenes of 50 German cities; also what `write_streets` writes.

Licence: for research and teaching, after registration at cityscapes-dataset.com; no redistribution.
Pictures: fine 2975 train, 500 val, 1525 test (whose masks are void); coarse the same train and val, and 19 998 more in
train_extra; 1024×2048 (height × width) 8-bit RGB PNG.
Masks: 8-bit grey PNG with label ids 0..33 (`*_labelIds.png`). The label space decides the classes: `cityscapes19` keeps
the 19 train classes and ignores the others, `cityscapes34`, `cityscapes7` and `streets10` read the same files. Coarse
masks are polygons drawn in minutes: much of each picture is unlabelled (0), borders are left out.
Instances: 16-bit PNG, label id × 1000 + number; groups and stuff hold the label id alone (`*_instanceIds.png`).
Layout: ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and ROOT/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png (gtCoarse
likewise), where NAME is CITY_SEQUENCE_FRAME. Group: the city.
Traps: label ids are not train ids: `*_labelTrainIds.png` (0..18 and 255, made by the official scripts) is read with
`ids: train` and the space `cityscapes19_trainids` only. Coarse train holds the pictures of fine train.
One frame of train_extra, troisdorf_000000_000073, is black and is left out, as its publishers advise.
Source: Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", CVPR 2016.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from segwright.contracts import UserError
from segwright.data.pairs import Listing, PairedFiles, by_key, list_pictures, matched, need_folder, need_split

_TRUTH = {"fine": "gtFine", "coarse": "gtCoarse"}
_MASKS = {"label": "labelIds", "train": "labelTrainIds"}
_USUAL = ("train", "train_extra", "val", "test")
_IMAGE_END = "_leftImg8bit"
_BLACK = "troisdorf_000000_000073"


class Cityscapes(PairedFiles):
    """One split of Cityscapes. labels: usually the space `cityscapes19`.

    annotations: `fine` (train, val, test) or `coarse` (train, train_extra, val). ids: `label` reads `*_labelIds.png`,
    `train` reads `*_labelTrainIds.png`. instances: also read instance maps.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, annotations: str = "fine", **args: Any) -> tuple[str, ...]:
        pictures, truth = _trees(root, annotations)
        found = {p.name for p in pictures.iterdir() if p.is_dir() and (truth / p.name).is_dir()}
        usual = [s for s in _USUAL if s in found]
        return (*usual, *sorted(found - set(usual)))

    @classmethod
    def listing(
        cls,
        root: Path | None,
        split: str,
        *_: Any,
        annotations: str = "fine",
        ids: str = "label",
        instances: bool = False,
    ) -> Listing:
        if ids not in _MASKS:
            raise UserError(f"ids is {ids!r}; allowed are {' and '.join(_MASKS)}.")
        pictures, truth = _trees(root, annotations)
        need_split(split, cls.splits(root, annotations=annotations), pictures.parent)
        files = list_pictures(truth / split)
        listing = matched(
            _ending(list_pictures(pictures / split), _IMAGE_END),
            _ending(files, f"_{truth.name}_{_MASKS[ids]}"),
            where=pictures / split,
            remedy=f"Unpack leftImg8bit and {truth.name} again; both hold the same cities and names.",
            group=lambda picture: picture.parent.name,
            instances=_ending(files, f"_{truth.name}_instanceIds") if instances else None,
        )
        return _without_black_frame(listing)


def _trees(root: Path | None, annotations: str) -> tuple[Path, Path]:
    """The folders of the pictures and of the masks."""
    if annotations not in _TRUTH:
        raise UserError(f"annotations is {annotations!r}; allowed are {' and '.join(_TRUTH)}.")
    name = _TRUTH[annotations]
    folder = need_folder(root, "cityscapes", f"leftImg8bit/ and {name}/ of Cityscapes")
    for part in ("leftImg8bit", name):
        need_folder(folder / part, "cityscapes", "one folder a split")
    return folder / "leftImg8bit", folder / name


def _without_black_frame(listing: Listing) -> Listing:
    pairs = tuple(p for p in listing.pairs if p.name != _BLACK)
    problems = tuple(p for p in listing.problems if _BLACK not in p)  # its picture may have been deleted already
    if pairs == listing.pairs and problems == listing.problems:
        return listing
    return replace(listing, pairs=pairs, problems=problems, notes=(f"{_BLACK}, a black frame, is left out",))


def _ending(files: list[Path], end: str) -> dict[str, list[Path]]:
    """The files whose name ends so, by the name before the ending."""
    chosen = [p for p in files if p.stem.endswith(end)]
    return by_key(chosen, [p.stem.removesuffix(end) for p in chosen])
