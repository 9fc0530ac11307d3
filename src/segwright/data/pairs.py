"""Pictures and masks as files: what every data set on disk becomes once its folders have been listed.

A reader says which splits a folder has (`splits`) and lists one of them (`listing`): every pair, and everything that is
wrong with the names. Its constructor refuses what is wrong; the doctor shows it. `matched` and `named` do the listing.
"""

from __future__ import annotations

import inspect
import os
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, Sample, UserError
from segwright.data.dividing import hash_order
from segwright.data.reading import SUFFIXES, check_sizes, read_image, read_mask
from segwright.labels import LabelSpace
from segwright.names import did_you_mean

SHOWN = 20
"""How many problems one message lists before it only counts them."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One picture with its mask. name: unique in the split; group: its city or sequence; weight: of its loss."""

    name: str
    group: str
    image: Path
    mask: Path
    instances: Path | None = None
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Everything found on disk of one split, and everything wrong with it.

    pairs: with unique names, in the order of the split. problems: one sentence each; empty when all is well. remedy:
    what to do about them. notes: what a user has to know although nothing is wrong, such as pictures left out.
    """

    pairs: tuple[Pair, ...]
    problems: tuple[str, ...]
    remedy: str
    notes: tuple[str, ...] = ()


class PairedFiles(ABC):
    """A Dataset of picture and mask files, read one at a time and never kept.

    root: the data set's folder; split: one of `splits`; labels: the space that says what the mask values mean; args:
    those of the subclass's `listing`.
    Raises UserError for a missing folder or split, one DataError for all problems of the listing.
    """

    __signature__: ClassVar[Signature]

    def __init_subclass__(cls) -> None:
        """Show the arguments of `listing` as those of the data set: a recipe's `data.args` are checked against them."""
        own = [p for p in inspect.signature(cls.listing).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
        fixed = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("root", "split", "labels")]
        cls.__signature__ = Signature([*fixed, *own])

    def __init__(self, root: Path | None, split: str, labels: LabelSpace, **args: Any) -> None:
        listing = self.listing(root, split, **args)
        refuse(Path(root or ""), listing.problems, listing.remedy)
        self._hold(listing, labels)

    @classmethod
    def of(cls, listing: Listing, labels: LabelSpace) -> Self:
        """The pairs of a listing, whatever its problems are."""
        dataset = cls.__new__(cls)
        dataset._hold(listing, labels)
        return dataset

    def _hold(self, listing: Listing, labels: LabelSpace) -> None:
        self.pairs = listing.pairs
        self.notes = listing.notes
        self.labels = labels
        self.names: tuple[str, ...] = tuple(p.name for p in self.pairs)
        self.groups: tuple[str, ...] = tuple(p.group for p in self.pairs)

    @classmethod
    @abstractmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        """The splits that this folder has. args: as for `listing`. Raises UserError for a missing folder."""

    @classmethod
    @abstractmethod
    def listing(cls, root: Path | None, split: str, *_: Any, **args: Any) -> Listing:
        """One split. Raises UserError for a missing folder, an unknown split or a wrong argument, DataError for a list
        file that cannot be read, and nothing for what is wrong with the pairs.
        """

    @staticmethod
    def read_raw(pair: Pair) -> NDArray[Any]:
        """The mask's raw values: integer [H, W], or uint8 [H, W, 3] in RGB order. Raises DataError naming the file."""
        return read_mask(pair.mask)

    @staticmethod
    def read_instances(path: Path) -> NDArray[np.int32]:
        """An instance map as int32 [H, W], coded as the data set's sheet says. Raises DataError naming the file."""
        return read_mask(path).astype(np.int32)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        return self.read_pair(self.pairs[index])

    def read_pair(self, pair: Pair) -> Sample:
        """A sample: decoded, turned upright, checked, its labels encoded by the label space.

        Raises DataError naming the file for damaged files, sizes that differ and unknown mask values.
        """
        rgb = read_image(pair.image)
        raw = self.read_raw(pair)
        check_sizes(pair.image, rgb.shape[:2], pair.mask, raw.shape[:2])
        instances = None
        if pair.instances is not None:
            instances = self.read_instances(pair.instances)
            check_sizes(pair.image, rgb.shape[:2], pair.instances, instances.shape)
        labels = self.labels.encode(raw, source=pair.mask)
        return Sample(name=pair.name, planes={"rgb": rgb}, labels=labels, instances=instances, weight=pair.weight)


def need_folder(root: Path | None, data_set: str, layout: str) -> Path:
    """The data set's folder, or UserError saying which one is missing and what it has to hold."""
    if root is None:
        raise UserError(f"data set '{data_set}' needs its folder: set data.root=DIR, where DIR holds {layout}.")
    if not root.is_dir():
        found = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"data.root: {root} {found}. Data set '{data_set}' needs a folder that holds {layout}.")
    return root


def need_split(split: str, found: Iterable[str], where: Path, layout: str = "") -> None:
    """UserError unless `split` is among those found in `where`; where there is none, it says the `layout`."""
    splits = list(found)
    if split not in splits:
        hint = f" The folder has to hold {layout}." if layout and not splits else did_you_mean(split, splits)
        raise UserError(f"unknown split '{split}' in {where}; found: {', '.join(splits) or 'none'}.{hint}")


def list_pictures(folder: Path) -> list[Path]:
    """Picture files in `folder` and its sub-folders, sorted by path; hidden files and folders are left out.

    Links are followed, but for those that lead back to a folder they are in.
    """
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: the folder cannot be listed ({error.strerror}). Check its permissions."
        ) from error

    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".") and not _leads_back(Path(parent, f))]
        found += [Path(parent, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda p: p.parts)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of the folders that its path goes through."""
    return folder.is_symlink() and folder.resolve() in {parent.resolve() for parent in folder.parents}


def by_key(files: Iterable[Path], keys: Iterable[str]) -> dict[str, list[Path]]:
    """Files under their keys. Keys are compared in Unicode's composed form: macOS stores names decomposed."""
    table: dict[str, list[Path]] = defaultdict(list)
    for file, key in zip(files, keys, strict=True):
        table[unicodedata.normalize("NFC", key)].append(file)
    return dict(table)


def pairing_problems(images: Mapping[str, list[Path]], masks: Mapping[str, list[Path]]) -> list[str]:
    """Everything that is wrong with the pairs of two tables key -> files, one sentence each; empty when all is well."""
    files = [file for table in (images, masks) for found in table.values() for file in found]
    problems = [
        f"{_shown(f)}: the name is not UTF-8 text; rename it" for f in sorted(f for f in files if not _is_text(f))
    ]
    images, masks = ({k: v for k, v in table.items() if all(map(_is_text, v))} for table in (images, masks))
    for kind, table in (("pictures", images), ("masks", masks)):
        problems += [
            f"{_listed(files)}: {len(files)} {kind} for one name"
            for _, files in sorted(table.items())
            if len(files) > 1
        ]
        folded: dict[str, list[Path]] = defaultdict(list)
        for key, files in table.items():
            folded[key.casefold()].append(files[0])
        problems += [
            f"{_listed(files)}: names differ only in case" for _, files in sorted(folded.items()) if len(files) > 1
        ]
    problems += [f"{images[key][0]}: the picture has no mask" for key in sorted(images.keys() - masks.keys())]
    problems += [f"{masks[key][0]}: the mask has no picture" for key in sorted(masks.keys() - images.keys())]
    return problems


def shared_keys(images: Mapping[str, list[Path]], masks: Mapping[str, list[Path]]) -> list[str]:
    """The keys of pairs, sorted; names that are no text, which no report could write down, are left out."""
    return sorted(k for k in images.keys() & masks.keys() if all(map(_is_text, (*images[k], *masks[k]))))


def _is_text(path: Path) -> bool:
    """Whether a path is UTF-8: Linux allows any bytes, which Python reads as lone surrogates."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()


def matched(
    images: Mapping[str, list[Path]],
    masks: Mapping[str, list[Path]],
    *,
    where: Path,
    remedy: str,
    group: Callable[[Path], str] | None = None,
    instances: Mapping[str, list[Path]] | None = None,
) -> Listing:
    """Pictures and masks of equal keys as pairs, in the order of the keys.

    where: the folder to name when there is no picture. group: of a picture's path; without it each picture is its own.
    instances: instance maps by the same keys, one for every mask; None where nobody wants them.
    """
    problems = pairing_problems(images, masks)
    if not images:
        problems.insert(0, f"{where}: no pictures found here")
    keys = shared_keys(images, masks)
    if instances is not None:
        problems += [f"{masks[key][0]}: no instance map beside the mask" for key in keys if key not in instances]
        keys = [key for key in keys if key in instances]
    pairs = tuple(
        Pair(
            name=key,
            group=key if group is None else group(images[key][0]),
            image=images[key][0],
            mask=masks[key][0],
            instances=None if instances is None else instances[key][0],
        )
        for key in keys
    )
    return Listing(pairs=pairs, problems=tuple(problems), remedy=remedy)


def named(pairs: Iterable[Pair], *, source: Path, remedy: str) -> Listing:
    """The pairs that a list file (`source`) names, in its order; a missing file and a repeated name are problems."""
    wanted = list(pairs)
    counts = Counter(p.name for p in wanted)
    problems = [f"{source}: '{name}' is listed {count} times" for name, count in counts.items() if count > 1]
    if not wanted:
        problems.append(f"{source}: the list is empty")
    good: dict[str, Pair] = {}
    for pair in wanted:
        files = [f for f in (pair.image, pair.mask, pair.instances) if f is not None]
        missing = [f for f in files if not f.is_file()]
        problems += [f"{f}: does not exist, but the list of the split names it" for f in missing]
        if not missing:
            good.setdefault(pair.name, pair)
    return Listing(pairs=tuple(good.values()), problems=tuple(problems), remedy=remedy)


def side(listing: Listing, split: str, fraction: float, seed: int) -> Listing:
    """The train or val part of a listing, as `divide` makes them; pictures too few to divide are a problem."""
    try:
        train, val = divide(listing.pairs, fraction, seed)
    except DataError as error:
        return replace(listing, pairs=(), problems=listing.problems or (str(error),))
    return replace(listing, pairs=train if split == "train" else val)


def read_lines(path: Path) -> list[str]:
    """The lines of a list file without those that are empty. Raises DataError for a file that is no UTF-8 text."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list cannot be read ({error}). Restore it, or save it as UTF-8 text.") from error


def divide(
    pairs: Sequence[Pair], fraction: float, seed: int, *, by_group: bool = False
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """(train, val): pictures, or whole groups, in the order of a hash of seed and name; val takes the first share.

    fraction: of the pictures, 0..1; each side gets at least one. A picture keeps its side when others are added, except
    at the border. Raises DataError for a single picture or group.
    """
    units: dict[str, list[Pair]] = {}
    for pair in pairs:
        units.setdefault(pair.group if by_group else pair.name, []).append(pair)
    if len(units) < 2:
        what = "group" if by_group else "picture"
        raise DataError(
            f"one {what} cannot be divided into train and val. Add pictures, or give train/ and val/ folders."
        )
    order = hash_order(list(units), seed)
    wanted = min(max(1, round(fraction * len(pairs))), len(pairs) - 1)
    chosen: set[str] = set()
    taken = 0
    for name in order[:-1]:
        if taken >= wanted:
            break
        chosen.add(name)
        taken += len(units[name])

    def in_val(pair: Pair) -> bool:
        return (pair.group if by_group else pair.name) in chosen

    return tuple(p for p in pairs if not in_val(p)), tuple(p for p in pairs if in_val(p))


def refuse(where: Path, problems: Sequence[str], remedy: str) -> None:
    """Raise one DataError that lists all problems (the first SHOWN in words, then a count); none, no error."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DataError(f"{where}: {count} found:{_lines(problems)}\n{remedy}")


def refuse_unreadable(problems: Sequence[str], total: int) -> None:
    """Raise one DataError that lists the samples of `total` that could not be read; none, no error."""
    if problems:
        raise DataError(f"{len(problems)} of {total} samples cannot be read:{_lines(sorted(problems))}")


def _lines(problems: Sequence[str]) -> str:
    more = f"\n  … and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return "".join(f"\n  {p}" for p in problems[:SHOWN]) + more


def _listed(files: Sequence[Path]) -> str:
    return " and ".join(str(f) for f in files)
