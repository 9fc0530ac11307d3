"""Cityscapes, fine annotations: street scenes of 50 German cities; also what `write_streets` writes.

Licence: for research and teaching, after registration at cityscapes-dataset.com; no redistribution.
Pictures: 2975 train, 500 val, 1525 test (whose masks are void), 1024×2048 (height × width) 8-bit RGB PNG.
Masks: 8-bit grey PNG with label ids 0..33 (`*_gtFine_labelIds.png`); label space `cityscapes19` keeps the 19 train
classes and ignores the others. Instances: 16-bit PNG, label id × 1000 + number, or the label id (`*_instanceIds.png`).
Layout: ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and ROOT/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png, where
NAME is CITY_SEQUENCE_FRAME. Group: the city.
Source: Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", CVPR 2016.
"""

from __future__ import annotations

from pathlib import Path

from segwright.contracts import DataError
from segwright.data.pairs import (
    Pair,
    PairedFiles,
    by_key,
    list_pictures,
    need_folder,
    need_split,
    pairing_problems,
    refuse,
)
from segwright.labels import LabelSpace

_LAYOUT = "leftImg8bit/ and gtFine/ of Cityscapes"
_IMAGE_END = "_leftImg8bit"
_MASK_END = "_gtFine_labelIds"
_INSTANCE_END = "_gtFine_instanceIds"


class Cityscapes(PairedFiles):
    """One split of Cityscapes (fine).

    root: folder with leftImg8bit/ and gtFine/; split: train, val or test; labels: usually the space `cityscapes19`.
    instances: also read the instance maps.
    Raises UserError for a missing folder or split, DataError listing every picture without mask and the reverse.
    """

    def __init__(self, root: Path | None, split: str, labels: LabelSpace, *, instances: bool = False) -> None:
        folder = need_folder(root, "cityscapes", _LAYOUT)
        for part in ("leftImg8bit", "gtFine"):
            need_folder(folder / part, "cityscapes", "one folder a split")
        need_split(split, _splits(folder), folder)
        images = [p for p in list_pictures(folder / "leftImg8bit" / split) if p.stem.endswith(_IMAGE_END)]
        truth = list_pictures(folder / "gtFine" / split)
        masks = [p for p in truth if p.stem.endswith(_MASK_END)]
        image_table = by_key(images, [f"{p.parent.name}/{p.stem.removesuffix(_IMAGE_END)}" for p in images])
        mask_table = by_key(masks, [f"{p.parent.name}/{p.stem.removesuffix(_MASK_END)}" for p in masks])
        problems = pairing_problems(image_table, mask_table)
        maps: dict[str, list[Path]] = {}
        if instances:
            found = [p for p in truth if p.stem.endswith(_INSTANCE_END)]
            maps = by_key(found, [f"{p.parent.name}/{p.stem.removesuffix(_INSTANCE_END)}" for p in found])
            problems += [
                f"{mask_table[key][0]}: no instance map beside the mask"
                for key in sorted(mask_table.keys() - maps.keys())
            ]
        refuse(folder, problems, "Unpack leftImg8bit and gtFine again; both hold the same cities and names.")
        if not image_table:
            raise DataError(f"{folder / 'leftImg8bit' / split}: no *{_IMAGE_END}.png found. Unpack leftImg8bit there.")
        pairs = [
            Pair(
                name=key.partition("/")[2],
                group=key.partition("/")[0],
                image=image_table[key][0],
                mask=mask_table[key][0],
                instances=maps[key][0] if instances else None,
            )
            for key in sorted(image_table)
        ]
        super().__init__(pairs, labels)


def _splits(folder: Path) -> list[str]:
    """Split folders in both trees, the usual ones first."""
    found = {p.name for p in (folder / "leftImg8bit").iterdir() if p.is_dir() and (folder / "gtFine" / p.name).is_dir()}
    usual = [s for s in ("train", "val", "test") if s in found]
    return usual + sorted(found - set(usual))
