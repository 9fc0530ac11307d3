"""Which data set a folder holds, told by its folder names; and the label space that a data set is usually read with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from segwright.contracts import UserError
from segwright.data.list_file import LIST_NAMES, SUFFIXES
from segwright.data.paired_folders import find_layout

DEFAULT_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "camvid": "camvid11",
        "cityscapes": "cityscapes19",
        "streets": "cityscapes19",
        "suim": "suim8",
        "voc": "voc21",
        "ade20k": "ade150",
        "kitti": "kitti19",
        "cocostuff": "cocostuff171",
    }
)
"""Data set -> label space. A user's own folders have none: theirs is ROOT/labels.yaml, or made from the masks."""

_SUIM_NAME = re.compile(r"[a-z]_[a-z]_\d+_")


def recognise(root: Path) -> str | None:
    """The name of the data set in a folder (a key of DATASETS), or None where the layout leaves doubt.

    root: the folder, or a list file. Looks at folder names, and at one file name where two data sets have the same
    folders; opens no file. Raises UserError when there is nothing, or a file that is no list.
    """
    if root.is_file() and root.suffix.lower() in SUFFIXES:
        return "list_file"
    if not root.is_dir():
        found = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {found}. Give the folder that holds the data set, or a list ({', '.join(SUFFIXES)}).")
    for name, looks_like in _TESTS.items():
        if looks_like(root):
            return name
    return None


def default_labels(name: str, root: Path) -> str | None:
    """The label space for data set `name` in `root`: a shipped name, ROOT/labels.yaml where it exists, or None."""
    own = (root if root.is_dir() else root.parent) / "labels.yaml"
    if own.is_file():
        return str(own)
    if name == "camvid" and not _camvid_ids(root):
        return "camvid32"
    if name == "kitti" and _has(root, "Training_00"):
        return "kitti11"
    if name == "cocostuff" and _has(root, "imageLists"):
        return "cocostuff10k_mat"
    return DEFAULT_LABELS.get(name)


def _has(root: Path, *folders: str) -> bool:
    return all((root / folder).is_dir() for folder in folders)


def _first_stem(folder: Path) -> str:
    """The name, without ending, of one file in a folder; empty where there is none."""
    return next((p.stem for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")), "")


def _list_file(root: Path) -> bool:
    return any((root / name).is_file() for name in LIST_NAMES)


def _cityscapes(root: Path) -> bool:
    return _has(root, "leftImg8bit") and (_has(root, "gtFine") or _has(root, "gtCoarse"))


def _camvid_ids(root: Path) -> bool:
    return any(_has(root, split, f"{split}annot") for split in ("train", "val", "test"))


def _camvid(root: Path) -> bool:
    colors = any(_has(root, a) for a in ("701_StillsRaw_full", "701_StillsRaw"))
    return _camvid_ids(root) or (colors and any(_has(root, a) for a in ("LabeledApproved_full", "LabeledApproved")))


def _voc(root: Path) -> bool:
    return (
        _has(root, "VOCdevkit/VOC2012")
        or _has(root, "VOC2012/JPEGImages")
        or _has(root, "JPEGImages", "SegmentationClass")
    )


def _kitti(root: Path) -> bool:
    return _has(root, "training/image_2", "training/semantic") or _has(root, "Training_00/RGB")


def _ade20k(root: Path) -> bool:
    if _has(root, "ADEChallengeData2016/images", "ADEChallengeData2016/annotations"):
        return True
    return _has(root, "images/training", "annotations/training") and _first_stem(root / "images/training").startswith(
        "ADE_"
    )


def _cocostuff(root: Path) -> bool:
    pictures = any(_has(root, f"{at}{split}2017") for at in ("", "images/") for split in ("train", "val"))
    maps = any(
        _has(root, f"{at}/{split}2017") for at in ("stuffthingmaps", "annotations") for split in ("train", "val")
    )
    return (pictures and maps) or _has(root, "images", "annotations", "imageLists")


def _suim(root: Path) -> bool:
    parts = [p.name for p in root.iterdir() if p.name.lower() in ("train_val", "test")]
    if any(_has(root, f"{part}/images", f"{part}/masks") for part in parts if part != "test"):
        return True
    return _has(root, "images", "masks") and bool(_SUIM_NAME.fullmatch(_first_stem(root / "masks")))


def _paired_folders(root: Path) -> bool:
    try:
        find_layout(root)
    except UserError:
        return False
    return True


_TESTS: Mapping[str, Callable[[Path], bool]] = MappingProxyType(
    {
        "list_file": _list_file,
        "cityscapes": _cityscapes,
        "camvid": _camvid,
        "voc": _voc,
        "kitti": _kitti,
        "ade20k": _ade20k,
        "cocostuff": _cocostuff,
        "suim": _suim,
        "paired_folders": _paired_folders,
    }
)
"""The most particular layouts first: several of them would also pass as somebody's paired folders."""
