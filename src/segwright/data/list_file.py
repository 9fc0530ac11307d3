"""Pictures and masks named in a list: a CSV file, or a file of JSON lines.

Licence: the user's. `data.root` is the list file itself, or a folder that holds list.csv or list.jsonl. CSV has a first
line with the names of the columns and commas between cells; a .jsonl file has one object a line with the same keys.
Columns, of which the first two are needed:

- image, mask: paths, absolute or relative to the list;
- weight: a number >= 0, of the picture's loss; 1 where it is missing or empty; 0 leaves it without effect;
- name: unique; the path of the image without its ending where it is missing or empty;
- group: the city, sequence or patient that the picture belongs to; each picture is its own where it is missing;
- split: train, val, test or any other name. Without this column train and val are divided here, by a seeded choice.

The split `all` is every picture. Wrong lines are all reported at once, each as FILE:LINE.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from segwright.contracts import UserError
from segwright.data.pairs import Listing, Pair, PairedFiles, need_split, side
from segwright.names import did_you_mean

KEYS = ("image", "mask", "weight", "name", "group", "split")
LIST_NAMES = ("list.csv", "list.jsonl")
SUFFIXES = (".csv", ".jsonl")
ALL = "all"

_USUAL = ("train", "val", "test")


@dataclass(frozen=True)
class _Row:
    line: int
    pair: Pair
    split: str | None


class ListFile(PairedFiles):
    """One split of a list of pictures and masks.

    root: the list, or the folder that holds list.csv or list.jsonl. split: as in the column `split`, or all; train and
    val where there is no such column. val_fraction: share of the pictures that then become val, between 0 and 1.
    split_seed: another seed, another choice.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        rows, _problems = _read(find_list(root))
        return _splits(rows)

    @classmethod
    def listing(cls, root: Path | None, split: str, *_: Any, val_fraction: float = 0.2, split_seed: int = 0) -> Listing:
        if not 0 < val_fraction < 1:
            raise UserError(f"val_fraction is {val_fraction}; allowed is a share between 0 and 1, such as 0.2.")
        path = find_list(root)
        rows, problems = _read(path)
        if rows:  # else the problems say why there are no splits
            need_split(split, _splits(rows), path)
        divided = any(row.split is not None for row in rows)
        wanted = [row for row in rows if split == ALL or not divided or row.split == split]
        lines: dict[str, int] = {}
        for row in wanted:
            missing = [f for f in (row.pair.image, row.pair.mask) if not f.is_file()]
            problems += [f"{path}:{row.line}: {f} does not exist" for f in missing]
            if row.pair.name in lines:
                problems.append(
                    f"{path}:{row.line}: the name '{row.pair.name}' stands on line {lines[row.pair.name]}, too"
                )
            lines.setdefault(row.pair.name, row.line)
        good = tuple(row.pair for row in wanted if lines[row.pair.name] == row.line)
        remedy = f"Correct these lines of {path.name}; paths are relative to its folder."
        listing = Listing(pairs=good, problems=tuple(problems), remedy=remedy)
        return listing if divided or split == ALL else side(listing, split, val_fraction, split_seed)


def find_list(root: Path | None) -> Path:
    """The list file for `data.root`. Raises UserError naming what was found instead."""
    if root is None:
        raise UserError("data set 'list_file' needs its list: set data.root=FILE, a .csv or .jsonl file.")
    if root.is_dir():
        found = [root / name for name in LIST_NAMES if (root / name).is_file()]
        if len(found) == 1:
            return found[0]
        there = "both" if found else "neither of them"
        raise UserError(
            f"{root}: expected list.csv or list.jsonl in this folder, found {there}. Set data.root to a file."
        )
    if not root.is_file():
        raise UserError(f"data.root: {root} does not exist. Data set 'list_file' needs a .csv or .jsonl file.")
    if root.suffix.lower() not in SUFFIXES:
        raise UserError(f"{root}: the name of a list ends in {' or '.join(SUFFIXES)}, by which its form is known.")
    return root


def is_divided(root: Path | None) -> bool:
    """Whether the list itself says which split its pictures belong to."""
    rows, _problems = _read(find_list(root))
    return any(row.split is not None for row in rows)


def _splits(rows: list[_Row]) -> tuple[str, ...]:
    found = {row.split for row in rows if row.split is not None}
    if not found:
        return ("train", "val", ALL)
    return (*(s for s in _USUAL if s in found), *sorted(found - set(_USUAL)), ALL)


def _read(path: Path) -> tuple[list[_Row], list[str]]:
    """The rows of a list, and everything wrong with its lines."""
    rows: list[_Row] = []
    problems: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = _csv(stream, problems) if path.suffix.lower() == ".csv" else _json_lines(stream, problems)
            for number, cells in lines:
                wrong = _wrong(cells)
                problems += [f"{number}: {what}" for what in wrong]
                if not wrong:
                    rows.append(_row(path.parent, number, cells))
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(f"1: the list is no UTF-8 text of the form that its name says ({error})")
    if any(row.split for row in rows):
        problems += [f"{row.line}: the split is missing; other lines have one" for row in rows if not row.split]
    if not rows and not problems:
        problems.append("1: the list names no pictures")
    return rows, [f"{path}:{problem}" for problem in problems]


def _csv(stream: Any, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(stream, strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    wrong = _wrong_keys(header)
    wrong += [f"there is no column '{key}'; the first line names the columns" for key in KEYS[:2] if key not in header]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        wrong = ["cells are divided by semicolons or tabs; divide them by commas"]
    if len(set(header)) < len(header):
        wrong.append("a column is there twice")
    problems += [f"1: {what}" for what in wrong]
    if wrong:
        return
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problems.append(f"{reader.line_num}: expected {len(header)} cells, found {len(cells)}")
        else:
            yield reader.line_num, {k: v.strip() for k, v in zip(header, cells, strict=True) if v.strip()}


def _json_lines(stream: Any, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            problems.append(f"{number}: no JSON ({error})")
            continue
        if not isinstance(found, dict):
            problems.append(f'{number}: expected an object such as {{"image": "a.jpg", "mask": "a.png"}}')
        elif wrong := _wrong_keys(list(found)):
            problems += [f"{number}: {what}" for what in wrong]
        else:
            yield number, {k: v for k, v in found.items() if v not in (None, "")}


def _wrong_keys(keys: list[str]) -> list[str]:
    unknown = [key for key in keys if key not in KEYS]
    return [f"unknown column '{key}'.{did_you_mean(key, KEYS)} Allowed: {', '.join(KEYS)}" for key in unknown]


def _wrong(cells: Mapping[str, Any]) -> list[str]:
    """What is wrong with one line; empty cells are left out before."""
    found = [f"{key} is missing" for key in KEYS[:2] if key not in cells]
    for key in ("image", "mask", "name", "group", "split"):
        value = cells.get(key, "-")
        if not isinstance(value, str) or "\0" in value:
            found.append(f"{key} is {value!r}; expected a text")
        elif key in KEYS[:2] and key in cells and not PurePath(value).name:
            found.append(f"{key} is '{value}'; expected the path of a file")
    if cells.get("split") == ALL:
        found.append(f"split is '{ALL}', which always means every picture; choose another name")
    try:
        weight = float(cells.get("weight", 1))
        right = math.isfinite(weight) and weight >= 0 and not isinstance(cells.get("weight"), bool)
    except (TypeError, ValueError):
        right = False
    if not right:
        found.append(f"weight is {cells['weight']!r}; expected a number, 0 or more")
    return found


def _row(folder: Path, line: int, cells: Mapping[str, Any]) -> _Row:
    image = PurePath(cells["image"])
    name = cells.get("name") or "/".join(p for p in image.with_suffix("").parts if p not in (image.anchor, "..", "."))
    pair = Pair(
        name=name,
        group=cells.get("group", name),
        image=folder / image,
        mask=folder / cells["mask"],
        weight=float(cells.get("weight", 1)),
    )
    return _Row(line, pair, cells.get("split"))
