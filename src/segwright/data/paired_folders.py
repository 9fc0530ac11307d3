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

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segwright.contracts import DataError, UserError
from segwright.data.pairs import (
    Listing,
    Pair,
    PairedFiles,
    by_key,
    divide,
    list_pictures,
    need_folder,
    need_split,
    pairing_problems,
    shared_keys,
)

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
_REMEDY = "A picture and its mask carry the same name: rename, restore or remove these files."
_LAYOUT = "images/ and masks/ (or train/images, train/masks, val/images, …, or images/train, masks/train, …)"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Folders of the pictures and masks of each split; `all` stands alone where nothing is divided yet."""

    description: str
    folders: Mapping[str, tuple[Path, Path]]


class PairedFolders(PairedFiles):
    """One split of a folder of pictures and masks.

    split: train, val, test (as found) or all.
    val_fraction: share of the pictures that become val where no val folder is given, between 0 and 1; at least one.
    split_seed: another seed, another choice; a picture keeps its side when others are added, but for the border cases.
    group_regex: regular expression searched in the picture's name; its first group (or the whole match) is the group,
    and groups are kept whole when val is chosen. Without it pictures are chosen one by one.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        found = set(find_layout(root).folders)
        if found & {ALL, "train"}:
            found |= {"train", "val"}
        return (*(s for s in ("train", "val", "test") if s in found), ALL)

    @classmethod
    def listing(
        cls,
        root: Path | None,
        split: str,
        *_: Any,
        val_fraction: float = 0.2,
        split_seed: int = 0,
        group_regex: str | None = None,
    ) -> Listing:
        if not 0 < val_fraction < 1:
            raise UserError(f"val_fraction is {val_fraction}; allowed is a share between 0 and 1, such as 0.2.")
        need_split(split, cls.splits(root), Path(root or ""))
        layout = find_layout(root)
        source = next(s for s in (split, "train", ALL) if s in layout.folders or s == ALL)
        needed = {s: folders for s, folders in layout.folders.items() if source in (s, ALL)}
        found, problems = find_pairs(replace(layout, folders=needed), group_regex=group_regex)
        pairs = found.get(ALL, ()) if split == ALL else ()
        if not pairs:
            given = ({"val": ()} if "val" in layout.folders else {}) | found
            by_group = group_regex is not None
            try:
                pairs = complete_splits(given, val_fraction=val_fraction, split_seed=split_seed, by_group=by_group)[
                    split
                ]
            except DataError as error:  # a single picture, or none
                problems = problems or [str(error)]
        return Listing(pairs=pairs, problems=tuple(problems), remedy=_REMEDY)


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


def complete_splits(
    found: Mapping[str, tuple[Pair, ...]], *, val_fraction: float = 0.2, split_seed: int = 0, by_group: bool = False
) -> dict[str, tuple[Pair, ...]]:
    """The splits as found, with val taken out of train (or out of everything) where it is missing, and `all`."""
    splits = dict(found)
    whole = splits.pop(ALL, None)
    source = splits.get("train", whole)
    if "val" not in splits and source is not None:
        splits["train"], splits["val"] = divide(source, val_fraction, split_seed, by_group=by_group)
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
    for key in shared_keys(image_table, mask_table):
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


def _together(splits: Mapping[str, tuple[Pair, ...]]) -> tuple[Pair, ...]:
    """Every pair of every split; the split goes before the name, which may occur in more than one."""
    return tuple(replace(p, name=f"{split}/{p.name}") for split, pairs in splits.items() for p in pairs)
