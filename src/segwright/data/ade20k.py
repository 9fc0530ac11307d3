"""ADE20K as the scene parsing challenge of 2016 ships it: 150 classes indoors and outdoors.

Licence: pictures for non-commercial research and education; annotations under the BSD 3-clause licence.
Pictures: 20 210 train, 2000 val (the challenge's test masks are kept back); RGB JPEG of mixed sizes.
Masks: 8-bit grey PNG, 1..150 the classes in the order of `objectInfo150.txt`, 0 everything else, ignored. Label space:
`ade150`, which reads these files as they are.
Layout: ADEChallengeData2016/images/training/NAME.jpg and annotations/training/NAME.png, the same for validation; ROOT
is ADEChallengeData2016 or the folder that holds it.
Traps: the numbers are one higher than the ids that models predict. The label space shifts them, once: masks that a
script has shifted already (0..149 and 255) must not be read with `ade150`. The full ADE20K, with thousands of names, is
another form.
Source: Zhou et al., "Scene parsing through ADE20K dataset", CVPR 2017; github.com/CSAILVision/sceneparsing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segwright.data.pairs import Listing, PairedFiles, by_key, list_pictures, matched, need_folder, need_split

_FOLDERS = {"train": "training", "val": "validation"}
_NAME = "ADEChallengeData2016"
_LAYOUT = f"{_NAME} with images/training, annotations/training, images/validation and annotations/validation"
_REMEDY = f"Unpack {_NAME}.zip again."


class Ade20k(PairedFiles):
    """One split of ADE20K: train or val. labels: usually the space `ade150`."""

    @classmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        images, masks = _trees(root)
        return tuple(s for s, name in _FOLDERS.items() if (images / name).is_dir() and (masks / name).is_dir())

    @classmethod
    def listing(cls, root: Path | None, split: str, *_: Any) -> Listing:
        pictures, truth = _trees(root)
        need_split(split, cls.splits(root), pictures.parent, _LAYOUT)
        images, masks = list_pictures(pictures / _FOLDERS[split]), list_pictures(truth / _FOLDERS[split])
        return matched(
            by_key(images, [p.stem for p in images]),
            by_key(masks, [p.stem for p in masks]),
            where=pictures / _FOLDERS[split],
            remedy=_REMEDY,
        )


def _trees(root: Path | None) -> tuple[Path, Path]:
    folder = need_folder(root, "ade20k", _LAYOUT)
    if (folder / _NAME).is_dir():
        folder = folder / _NAME
    for part in ("images", "annotations"):
        need_folder(folder / part, "ade20k", "training/ and validation/")
    return folder / "images", folder / "annotations"
