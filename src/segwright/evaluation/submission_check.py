"""Every fault of a folder of benchmark predictions, found in one pass.

Letters: H W pixels.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from segwright.contracts import DataError, UserError
from segwright.data.pairs import list_pictures
from segwright.data.reading import read_header, read_mask
from segwright.data.unlabelled import Unlabelled
from segwright.evaluation.submission import Form
from segwright.inference.ahead import Progress
from segwright.metrics.cityscapes import label_ids

TRAIN_IDS = 19
"""Of Cityscapes and KITTI: train ids are 0..18, label ids of evaluated classes 7..33."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found. files: predictions looked at. problems: one sentence each; empty when all is well.

    complete: whether names and sizes were compared with the pictures.
    """

    form: str
    folder: Path
    files: int
    problems: tuple[str, ...]
    complete: bool


@dataclass(frozen=True)
class _Look:
    """One file: what is wrong with it, and bool [256], the numbers in it (all False where it cannot be read)."""

    problems: tuple[str, ...]
    values: NDArray[np.bool_]


def check_submission(
    folder: Path, form: Form, pictures: Sequence[Unlabelled] | None = None, *, progress: Progress | None = None
) -> Check:
    """Look at every prediction file in a folder and its sub-folders.

    pictures: what the predictions are of; without them, names, sizes and completeness are not checked.
    Raises UserError for a folder that is missing or holds no picture.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. Give the folder of the PNG files; unpack an archive first.")
    files = list_pictures(folder)
    if not files:
        raise UserError(f"{folder} holds no picture files. Give the folder of the PNG files; unpack an archive first.")
    chosen: dict[Path, Unlabelled | None] = dict.fromkeys(files)
    problems: list[str] = []
    if pictures is not None:
        chosen, problems = _match(files, form, pictures)

    def look(path: Path) -> _Look:
        return _look(path, form, chosen[path])

    values = np.zeros(256, bool)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="check") as pool:
        for done, seen in enumerate(pool.map(look, files), 1):
            problems += seen.problems
            values |= seen.values
            if progress is not None:
                progress(done, len(files))
    return Check(
        form=form.name,
        folder=folder,
        files=len(files),
        problems=(*_coding(folder, form, values), *problems),
        complete=pictures is not None,
    )


def _match(
    files: Sequence[Path], form: Form, pictures: Sequence[Unlabelled]
) -> tuple[dict[Path, Unlabelled | None], list[str]]:
    """The picture of each file, and what is wrong with the names."""
    by_name = {one.name: one for one in pictures}
    chosen: dict[Path, Unlabelled | None] = {}
    found: dict[str, list[Path]] = defaultdict(list)
    problems: list[str] = []
    for path in files:
        name = _name(path.stem, by_name, form)
        chosen[path] = None if name is None else by_name[name]
        if name is None:
            problems.append(f"{path}: no picture of the split has this name")
        else:
            found[name].append(path)
    problems += [
        f"{', '.join(map(str, paths))}: {len(paths)} predictions for {name}"
        for name, paths in found.items()
        if len(paths) > 1
    ]
    problems += [f"{one.name}: no prediction for this picture" for one in pictures if one.name not in found]
    return chosen, problems


def _name(stem: str, known: dict[str, Unlabelled], form: Form) -> str | None:
    if stem in known:
        return stem
    if form.loose_names:
        parts = stem.split("_")
        for count in range(len(parts) - 1, 0, -1):
            if (start := "_".join(parts[:count])) in known:
                return start
    return None


def _look(path: Path, form: Form, picture: Unlabelled | None) -> _Look:
    nothing = np.zeros(256, bool)
    try:
        with Image.open(path) as image:
            kind, mode = str(image.format), image.mode
    except (OSError, UnidentifiedImageError) as error:
        return _Look((f"{path}: cannot be read ({error})",), nothing)
    if kind != "PNG" or path.suffix.lower() != ".png":
        return _Look((f"{path}: is a {kind} file named {path.suffix}, not a PNG named .png",), nothing)
    if fault := _mode_fault(mode, form):
        return _Look((f"{path}: {fault}",), nothing)
    try:
        raw = read_mask(path)
    except DataError as error:
        return _Look((str(error),), nothing)
    problems = []
    if picture is not None and (size := _size(picture)) != raw.shape:
        problems.append(
            f"{path}: is {raw.shape[0]}×{raw.shape[1]} pixels (height × width), its picture {size[0]}×{size[1]}"
        )
    counts = np.bincount(raw.reshape(-1), minlength=256)
    if wrong := [v for v in np.flatnonzero(counts).tolist() if v not in form.values]:
        listed = ", ".join(f"{value} ({counts[value]} px)" for value in wrong[:6])
        more = f" and {len(wrong) - 6} more" if len(wrong) > 6 else ""
        problems.append(f"{path}: holds {listed}{more}; allowed are {form.values[0]} to {form.values[-1]}")
    return _Look(tuple(problems), counts > 0)


def _size(picture: Unlabelled) -> tuple[int, int]:
    header = read_header(picture.image)
    return header.height, header.width


def _mode_fault(mode: str, form: Form) -> str:
    if mode in ("RGB", "RGBA", "PA", "LA"):
        return f"is a {mode} picture; wanted is one 8-bit number a pixel, not colours or transparency"
    if mode not in ("L", "P"):
        return f"has mode {mode}; wanted is one 8-bit number a pixel"
    if form.palette and mode != "P":
        return "is a grey PNG; wanted is a palette PNG (indexed colours)"
    return ""


def _coding(folder: Path, form: Form, values: NDArray[np.bool_]) -> list[str]:
    """Whether all files together look like ids of another kind."""
    used = set(np.flatnonzero(values).tolist()) - {255}
    if not used:
        return []
    evaluated = set(label_ids().evaluated)
    if form.values == range(34) and max(used) < TRAIN_IDS and used - evaluated:
        return [
            f"{folder}: all files together hold no number above {max(used)}, so these seem to be train ids (0 to 18, 255); "
            "wanted are label ids: 7 for road, 11 for building, up to 33 for bicycle"
        ]
    if form.values == range(1, 151) and 0 in used and 150 not in used:
        return [f"{folder}: the numbers begin with 0, so these seem to be class ids; wanted is class id + 1 (1 to 150)"]
    return []
