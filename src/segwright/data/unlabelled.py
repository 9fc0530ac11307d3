"""Pictures of a benchmark's split without their masks: what a submission is made for.

Test splits have no public masks, so they are no splits to train on or score; their pictures are listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from segwright.contracts import DataError, UserError
from segwright.data.kitti import ALL
from segwright.data.pairs import list_pictures, need_folder, read_lines, refuse
from segwright.names import did_you_mean

_CITY_END = "_leftImg8bit"


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """One picture. name: as servers know it, without ending, unique in the split."""

    name: str
    image: Path


def unlabelled_pictures(data_set: str, root: Path | None, split: str) -> tuple[Unlabelled, ...]:
    """The pictures of a split in the order of their names; masks are not looked at.

    data_set: `cityscapes`, `kitti`, `ade20k` or `voc`. split: of KITTI `test` or `all`; of ADE20K `test`, `val` or
    `train`; of the others the name of a folder or list file, such as `test` or `val`.
    Raises UserError for a missing folder or split, DataError for missing, empty and repeated pictures.
    """
    where, found = _LISTINGS[data_set](need_folder(root, data_set, _LAYOUTS[data_set]), split)
    if not found:
        raise DataError(f"{where}: no pictures found here. Unpack the pictures of split '{split}' there.")
    problems = [f"{one.image}: does not exist, but the split names it" for one in found if not one.image.is_file()]
    seen: dict[str, Path] = {}
    for one in found:
        if one.name in seen:
            problems.append(f"{one.image}: has the name of {seen[one.name]}")
        seen.setdefault(one.name, one.image)
    refuse(where, problems, "Unpack the pictures again.")
    return found


_LAYOUTS = {
    "cityscapes": "leftImg8bit/SPLIT/CITY of Cityscapes",
    "kitti": "testing/image_2 and training/image_2 of KITTI's semantic benchmark",
    "ade20k": "images/validation, and images/testing or release_test/testing, of ADE20K",
    "voc": "VOCdevkit/VOC2012 with JPEGImages/ and ImageSets/Segmentation/",
}


def _cityscapes(root: Path, split: str) -> tuple[Path, tuple[Unlabelled, ...]]:
    pictures = need_folder(root / "leftImg8bit", "cityscapes", "one folder a split")
    splits = sorted(p.name for p in pictures.iterdir() if p.is_dir())
    folder = _one_of({name: (pictures / name,) for name in splits}, split, pictures)
    files = [p for p in list_pictures(folder) if p.stem.endswith(_CITY_END)]
    return folder, _named(files, _CITY_END)


def _kitti(root: Path, split: str) -> tuple[Path, tuple[Unlabelled, ...]]:
    folders = {"test": (root / "testing" / "image_2",), ALL: (root / "training" / "image_2",)}
    folder = _one_of(folders, split, root)
    files = list_pictures(folder)
    first = [p for p in files if p.stem.endswith("_10")]  # the stereo archives hold the frame after it, too: _11
    return folder, _named(first or files)


def _ade20k(root: Path, split: str) -> tuple[Path, tuple[Unlabelled, ...]]:
    inside = root / "ADEChallengeData2016"
    tops = (inside, root) if inside.is_dir() else (root,)
    names = {
        "train": ("images/training",),
        "val": ("images/validation",),
        "test": ("images/testing", "release_test/testing", "testing"),
    }
    folders = {name: tuple(top / place for top in tops for place in places) for name, places in names.items()}
    folder = _one_of(folders, split, root)
    return folder, _named(list_pictures(folder))


def _voc(root: Path, split: str) -> tuple[Path, tuple[Unlabelled, ...]]:
    for folder in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        lists = folder / "ImageSets" / "Segmentation"
        if lists.is_dir() and (folder / "JPEGImages").is_dir():
            found = {p.stem: (p,) for p in sorted(lists.glob("*.txt"))}
            source = _one_of(found, split, lists)
            pictures = folder / "JPEGImages"
            return source, tuple(Unlabelled(name=n, image=pictures / f"{n}.jpg") for n in sorted(read_lines(source)))
    raise UserError(f"{root}: found no JPEGImages with ImageSets/Segmentation. It has to hold {_LAYOUTS['voc']}.")


def _one_of(places: Mapping[str, tuple[Path, ...]], split: str, where: Path) -> Path:
    there = {name: next((p for p in paths if p.exists()), None) for name, paths in places.items()}
    known = [name for name, path in there.items() if path is not None]
    found = there.get(split)
    if found is None:
        looked = f" Looked for {' and '.join(map(str, places[split]))}." if split in places else ""
        raise UserError(
            f"split '{split}' is not in {where}; found: {', '.join(known) or 'none'}.{did_you_mean(split, known)}{looked}"
        )
    return found


def _named(files: list[Path], end: str = "") -> tuple[Unlabelled, ...]:
    return tuple(
        Unlabelled(name=path.stem.removesuffix(end), image=path) for path in sorted(files, key=lambda p: p.stem)
    )


_LISTINGS: Mapping[str, Callable[[Path, str], tuple[Path, tuple[Unlabelled, ...]]]] = MappingProxyType(
    {"cityscapes": _cityscapes, "kitti": _kitti, "ade20k": _ade20k, "voc": _voc}
)
