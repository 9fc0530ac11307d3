"""Pictures and masks as files: what every data set on disk becomes once its folders have been listed."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segwright.contracts import DataError, Sample, UserError
from segwright.data.reading import SUFFIXES, check_sizes, read_image, read_mask
from segwright.labels import LabelSpace

SHOWN = 20
"""How many problems one message lists before it only counts them."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One picture with its mask. name: unique in the split; group: its city or sequence."""

    name: str
    group: str
    image: Path
    mask: Path
    instances: Path | None = None


class PairedFiles:
    """A Dataset of picture and mask files, read one at a time and never kept."""

    def __init__(self, pairs: Sequence[Pair], labels: LabelSpace) -> None:
        self.pairs = tuple(pairs)
        self.labels = labels
        self.names: tuple[str, ...] = tuple(p.name for p in pairs)
        self.groups: tuple[str, ...] = tuple(p.group for p in pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index`: decoded, turned upright, checked, its labels encoded by the label space.

        Raises DataError naming the file for damaged files, sizes that differ and unknown mask values.
        """
        pair = self.pairs[index]
        rgb = read_image(pair.image)
        raw = read_mask(pair.mask)
        check_sizes(pair.image, rgb.shape[:2], pair.mask, raw.shape[:2])
        instances = None
        if pair.instances is not None:
            ids = read_mask(pair.instances)
            check_sizes(pair.image, rgb.shape[:2], pair.instances, ids.shape[:2])
            instances = ids.astype(np.int32)
        labels = self.labels.encode(raw, source=pair.mask)
        return Sample(name=pair.name, planes={"rgb": rgb}, labels=labels, instances=instances)


def need_folder(root: Path | None, data_set: str, layout: str) -> Path:
    """The data set's folder, or UserError saying which one is missing and what it has to hold."""
    if root is None:
        raise UserError(f"data set '{data_set}' needs its folder: set data.root=DIR, where DIR holds {layout}.")
    if not root.is_dir():
        found = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"data.root: {root} {found}. Data set '{data_set}' needs a folder that holds {layout}.")
    return root


def need_split(split: str, found: Iterable[str], where: Path) -> None:
    """UserError unless `split` is among those found in `where`."""
    splits = list(found)
    if split not in splits:
        raise UserError(f"unknown split '{split}' in {where}; found: {', '.join(splits) or 'none'}.")


def list_pictures(folder: Path) -> list[Path]:
    """Picture files in `folder` and its sub-folders, sorted by path; hidden files and folders are left out."""
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: the folder cannot be listed ({error.strerror}). Check its permissions."
        ) from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [f for f in folders if not f.startswith(".")]
        found += [Path(parent, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda p: p.parts)


def by_key(files: Iterable[Path], keys: Iterable[str]) -> dict[str, list[Path]]:
    """Files under their keys. Keys are compared in Unicode's composed form: macOS stores names decomposed."""
    table: dict[str, list[Path]] = defaultdict(list)
    for file, key in zip(files, keys, strict=True):
        table[unicodedata.normalize("NFC", key)].append(file)
    return dict(table)


def pairing_problems(images: Mapping[str, list[Path]], masks: Mapping[str, list[Path]]) -> list[str]:
    """Everything that is wrong with the pairs of two tables key -> files, one sentence each; empty when all is well."""
    problems: list[str] = []
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
