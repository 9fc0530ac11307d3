"""A user's own pictures and masks in folders.

Licence: the user's. Three layouts are known; ROOT/images may also be called image, imgs or img, and ROOT/masks may be
called mask, labels, label, annotations or gt (any case):

- ROOT/images and ROOT/masks: divided into train and val here, by a seeded choice;
- ROOT/train/images and ROOT/train/masks, the same for val and test;
- ROOT/images/train and ROOT/masks/train, the same for val and test.

`training` also means train, `valid` and `validation` mean val, `testing` means test. Where train is given without val,
val is taken out of train by the same seeded choice. The split `all` is every picture.
A picture and its mask have the same name up to the ending; the mask may add _mask, _masks, _label, _labels, _labelIds,
_gtFine_labelIds, _gt or _seg, and the picture _image, _img or _leftImg8bit. Sub-folders are searched; they count as
part of the name and are the group of their pictures, unless `group_regex` says otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segwright.contracts import UserError
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

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "gt")
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
ALL = "all"

_MASK_ENDS = ("_gtFine_labelIds", "_labelIds", "_masks", "_mask", "_labels", "_label", "_gt", "_seg")
_IMAGE_ENDS = ("_leftImg8bit", "_image", "_img")
_OTHER_SETS = {
    "trainannot": "CamVid in the SegNet form: read it with data.name=camvid (recipe camvid-cpu)",
    "leftimg8bit": "Cityscapes: read it with data.name=cityscapes",
}
_LAYOUT = "images/ and masks/ (or train/images, train/masks, val/images, …, or images/train, masks/train, …)"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Folders of the pictures and masks of each split; `all` stands alone where nothing is divided yet."""

    description: str
    folders: Mapping[str, tuple[Path, Path]]


class PairedFolders(PairedFiles):
    """One split of a folder of pictures and masks.

    root: the folder; split: train, val, test (as found) or all; labels: the space that says what the mask values mean.
    val_fraction: share of the pictures that become val where no val folder is given, between 0 and 1; at least one.
    split_seed: another seed, another choice; a picture keeps its side when others are added, but for the border cases.
    group_regex: regular expression searched in the picture's name; its first group (or the whole match) is the group,
    and groups are kept whole when val is chosen. Without it pictures are chosen one by one.
    Raises UserError for a missing folder, layout or split, DataError listing all unpaired and duplicate files.
    """

    def __init__(
        self,
        root: Path | None,
        split: str,
        labels: LabelSpace,
        *,
        val_fraction: float = 0.2,
        split_seed: int = 0,
        group_regex: str | None = None,
    ) -> None:
        splits = list_splits(root, val_fraction=val_fraction, split_seed=split_seed, group_regex=group_regex)
        need_split(split, splits, Path(root or ""))
        super().__init__(splits[split], labels)


def find_layout(root: Path | None) -> Layout:
    """The layout of a user's folder. Raises UserError showing what was found and what is known."""
    folder = need_folder(root, "paired_folders", _LAYOUT)
    inside = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    halves = _halves(inside, folder)
    if halves:
        images, masks = halves
        image_splits, mask_splits = _split_folders(images), _split_folders(masks)
        shared = [s for s in ("train", "val", "test") if s in image_splits and s in mask_splits]
        if shared:
            return Layout(
                description=f"{images.name}/ and {masks.name}/, each divided into {', '.join(shared)}",
                folders={s: (image_splits[s], mask_splits[s]) for s in shared},
            )
        return Layout(description=f"{images.name}/ and {masks.name}/", folders={ALL: (images, masks)})
    found: dict[str, tuple[Path, Path]] = {}
    for split, part in _split_folders(folder).items():
        pair = _halves({p.name.lower(): p for p in sorted(part.iterdir()) if p.is_dir()}, part)
        if pair:
            found[split] = pair
    if found:
        order = [s for s in ("train", "val", "test") if s in found]
        return Layout(
            description=f"{', '.join(order)}, each with pictures and masks", folders={s: found[s] for s in order}
        )
    known = next((f" It looks like {what}." for name, what in _OTHER_SETS.items() if name in inside), "")
    names = ", ".join(sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir())[:12]) or "nothing"
    raise UserError(
        f"{folder}: no layout of pictures and masks that Segwright knows. Found: {names}. Expected {_LAYOUT}.{known}"
    )


def list_splits(
    root: Path | None, *, val_fraction: float = 0.2, split_seed: int = 0, group_regex: str | None = None
) -> dict[str, tuple[Pair, ...]]:
    """Split name -> its pairs, in the order of their names; `all` is always there. Arguments as in PairedFolders."""
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction is {val_fraction}; allowed is a share between 0 and 1, such as 0.2.")
    layout = find_layout(root)
    splits, problems = find_pairs(layout, group_regex=group_regex)
    refuse(
        Path(root or ""), problems, "A picture and its mask carry the same name: rename, restore or remove these files."
    )
    return complete_splits(splits, val_fraction=val_fraction, split_seed=split_seed, by_group=group_regex is not None)


def complete_splits(
    found: Mapping[str, tuple[Pair, ...]], *, val_fraction: float = 0.2, split_seed: int = 0, by_group: bool = False
) -> dict[str, tuple[Pair, ...]]:
    """The splits as found, with val taken out of train (or out of everything) where it is missing, and `all`."""
    splits = dict(found)
    whole = splits.pop(ALL, None)
    source = splits.get("train", whole)
    if "val" not in splits and source is not None:
        splits["train"], splits["val"] = _divide(source, val_fraction, split_seed, by_group=by_group)
    ordered: dict[str, tuple[Pair, ...]] = {s: splits[s] for s in ("train", "val", "test") if s in splits}
    ordered[ALL] = _together(ordered) if whole is None else whole
    return ordered


def find_pairs(layout: Layout, *, group_regex: str | None = None) -> tuple[dict[str, tuple[Pair, ...]], list[str]]:
    """The pairs of every split of a layout, and everything wrong with their names, one sentence each."""
    pattern = _compiled(group_regex)
    problems: list[str] = []
    splits: dict[str, tuple[Pair, ...]] = {}
    for split, (images, masks) in layout.folders.items():
        splits[split], wrong = _pairs(images, masks, pattern)
        problems += wrong
        if not splits[split] and not wrong:
            problems.append(f"{images}: the folder holds no pictures (PNG, JPEG, BMP, TIFF or WebP)")
    return splits, problems


def _halves(inside: Mapping[str, Path], where: Path) -> tuple[Path, Path] | None:
    """The folder of pictures and the folder of masks among `inside` (lower-case name -> folder)."""
    halves = []
    for names, kind in ((IMAGE_FOLDERS, "pictures"), (MASK_FOLDERS, "masks")):
        found = [inside[n] for n in names if n in inside]
        if len(found) > 1:
            listed = ", ".join(f"{p.name}/" for p in found)
            raise UserError(f"{where}: {listed} could all hold the {kind}. Keep one, move or rename the others.")
        halves += found
    return (halves[0], halves[1]) if len(halves) == 2 else None


def _split_folders(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and p.name.lower() in SPLIT_FOLDERS):
        split = SPLIT_FOLDERS[path.name.lower()]
        if split in found:
            raise UserError(f"{folder}: {found[split].name}/ and {path.name}/ both mean the split '{split}'. Keep one.")
        found[split] = path
    return found


def _compiled(group_regex: str | None) -> re.Pattern[str] | None:
    try:
        return None if group_regex is None else re.compile(group_regex)
    except re.error as error:
        raise UserError(f"group_regex {group_regex!r} is no regular expression: {error}.") from error


def _pairs(images: Path, masks: Path, pattern: re.Pattern[str] | None) -> tuple[tuple[Pair, ...], list[str]]:
    image_files, mask_files = list_pictures(images), list_pictures(masks)
    image_stems = [_stem(p, images) for p in image_files]
    mask_stems = [_stem(p, masks) for p in mask_files]
    image_table = by_key(image_files, _keys(image_stems, _IMAGE_ENDS, set(mask_stems)))
    mask_table = by_key(mask_files, _keys(mask_stems, _MASK_ENDS, set(image_stems)))
    problems = pairing_problems(image_table, mask_table)
    pairs = []
    for key in sorted(image_table.keys() & mask_table.keys()):
        group = _group(key, pattern)
        if group is None:
            problems.append(
                f"{image_table[key][0]}: group_regex {pattern.pattern if pattern else ''!r} finds nothing in '{key}'"
            )
        pairs.append(Pair(name=key, group=group or key, image=image_table[key][0], mask=mask_table[key][0]))
    return tuple(pairs), problems


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _keys(stems: Sequence[str], ends: Sequence[str], partners: set[str]) -> list[str]:
    """The name that a file shares with its partner: its stem where a partner has it, else without a known ending."""
    keys = []
    for stem in stems:
        end = next((e for e in ends if stem.lower().endswith(e.lower()) and len(stem.rpartition("/")[2]) > len(e)), "")
        keys.append(stem if stem in partners or not end else stem[: -len(end)])
    return keys


def _group(key: str, pattern: re.Pattern[str] | None) -> str | None:
    if pattern is None:
        return key.rpartition("/")[0] or key
    match = pattern.search(key)
    if match is None:
        return None
    return match.group(1) if pattern.groups else match.group(0)


def _divide(
    pairs: tuple[Pair, ...], fraction: float, seed: int, *, by_group: bool
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Train and val: pictures, or whole groups, in the order of a hash of seed and name; val takes the first share."""
    units: dict[str, list[Pair]] = {}
    for pair in pairs:
        units.setdefault(pair.group if by_group else pair.name, []).append(pair)
    if len(units) < 2:
        what = "group" if by_group else "picture"
        raise UserError(
            f"one {what} cannot be divided into train and val. Add pictures, or give train/ and val/ folders."
        )
    order = sorted(units, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    wanted = min(max(1, round(fraction * len(pairs))), len(pairs) - 1)
    chosen: set[str] = set()
    for name in order[:-1]:
        if sum(len(units[c]) for c in chosen) >= wanted:
            break
        chosen.add(name)

    def side(pair: Pair) -> bool:
        return (pair.group if by_group else pair.name) in chosen

    return tuple(p for p in pairs if not side(p)), tuple(p for p in pairs if side(p))


def _together(splits: Mapping[str, tuple[Pair, ...]]) -> tuple[Pair, ...]:
    """Every pair of every split; the split goes before the name, which may occur in more than one."""
    return tuple(
        Pair(name=f"{split}/{p.name}", group=p.group, image=p.image, mask=p.mask)
        for split, pairs in splits.items()
        for p in pairs
    )
