"""Prediction files made elsewhere: which file belongs to which picture, and what its numbers or colours mean.

Letters: H W pixels.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, UserError
from segwright.data.pairs import list_pictures
from segwright.data.reading import read_mask
from segwright.labels import LabelSpace
from segwright.labels.space import UNLISTED, pack_rgb

READINGS = ("label", "train")
_BESIDE = ("_overlay", "_color", "_confidence", "_entropy")
_BREAK = re.compile(r"[_.\-]")


@dataclass(frozen=True, kw_only=True)
class Matches:
    """files: name of a picture -> its prediction. problems: one sentence each; empty when all is well."""

    files: Mapping[str, Path]
    problems: tuple[str, ...]


def match_files(names: Sequence[str], folder: Path) -> Matches:
    """Find the prediction of every picture in a folder and its sub-folders.

    A file belongs to a picture when its name, without ending, is the picture's, or goes on after it with `_`, `-` or `.`:
    `aachen_000000_000019_leftImg8bit.png` to aachen_000000_000019. The longest picture name decides. Beside the
    `NAME_ids.png` of `segwright predict`, its other pictures are left out. Raises UserError when the folder is missing.
    """
    if not folder.is_dir():
        found = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"--predictions {folder}: it {found}. Give the folder with one PNG a picture.")
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_stem[_composed(name).rsplit("/", 1)[-1]].append(name)
    found_files: dict[str, list[Path]] = defaultdict(list)
    problems: list[str] = []
    for path in _without_those_beside(list_pictures(folder)):
        candidates = _candidates(path, folder, by_stem)
        if len(candidates) == 1:
            found_files[candidates[0]].append(path)
        elif candidates:
            problems.append(f"{path}: fits {len(candidates)} pictures ({', '.join(candidates[:3])})")
        else:
            problems.append(f"{path}: no picture of the split has this name")
    problems += [
        f"{', '.join(map(str, paths))}: {len(paths)} predictions for {name}"
        for name, paths in found_files.items()
        if len(paths) > 1
    ]
    problems += [f"{name}: no prediction for this picture" for name in names if name not in found_files]
    return Matches(
        files={name: found_files[name][0] for name in names if len(found_files[name]) == 1}, problems=tuple(problems)
    )


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _without_those_beside(files: list[Path]) -> list[Path]:
    ids = {path.with_name(path.stem.removesuffix("_ids")) for path in files if path.stem.endswith("_ids")}
    return [
        path
        for path in files
        if not any(path.stem.endswith(end) and path.with_name(path.stem.removesuffix(end)) in ids for end in _BESIDE)
    ]


def _candidates(path: Path, folder: Path, by_stem: Mapping[str, list[str]]) -> list[str]:
    """The pictures with the longest name that begins the file's; of several in different folders, those in its own."""
    stem = _composed(path.stem)
    for end in [len(stem), *(m.start() for m in reversed(list(_BREAK.finditer(stem))))]:
        if known := by_stem.get(stem[:end]):
            parent = path.parent.relative_to(folder).as_posix()
            own = f"{_composed(parent)}/{stem[:end]}" if parent != "." else stem[:end]
            return [name for name in known if _composed(name) == own] if len(known) > 1 else known
    return []


@dataclass(frozen=True)
class Coding:
    """What the values of prediction files mean in a label space.

    reading: `label`, the coding of the space's own masks (Cityscapes' label ids, the colours of SUIM); `train`, class ids
    0..K-1 with 255 for no class.
    """

    space: LabelSpace
    reading: str

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """uint8 [256]: class id, IGNORE, or UNLISTED of each value of a one-channel file."""
        table = np.full(256, UNLISTED, np.uint8)
        if self.reading == "train" or self.space.encoding == "rgb":
            table[: self.space.num_classes] = np.arange(self.space.num_classes)
            table[IGNORE] = IGNORE
            return table
        if self.space.other == "ignore":
            table[:] = IGNORE
        entries = [*((IGNORE, item) for item in self.space.ignored), *enumerate(self.space.classes)]
        for ident, item in entries:
            table[[value for value in item.values if value < 256]] = ident
        return table

    @cached_property
    def colors(self) -> dict[int, int]:
        """Packed colour -> class id or IGNORE: those of the masks, or the display colours where masks are numbers.

        Colours that stand for two classes are left out; of a class and an ignored label, the class wins.
        """
        if self.space.encoding == "rgb":
            entries = [(value, IGNORE) for item in self.space.ignored for value in item.values]
            entries += [(value, k) for k, item in enumerate(self.space.classes) for value in item.values]
            return dict(entries)
        packed = [pack_rgb(item.color) for item in self.space.classes]
        found = {pack_rgb(item.color): IGNORE for item in self.space.ignored} | {0: IGNORE}
        found |= {color: k for k, color in enumerate(packed)}
        return {color: k for color, k in found.items() if packed.count(color) < 2}

    def of_colors(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] -> class ids [H, W]; UNLISTED for colours that are no class's."""
        keys = np.array(sorted(self.colors), np.int64)
        ids = np.array([self.colors[int(key)] for key in keys], np.uint8)
        wide = raw.astype(np.int64)
        packed = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
        place = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
        return np.where(keys[place] == packed, ids[place], np.uint8(UNLISTED))


def read_prediction(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    """A prediction file: uint8 [H, W] values, or uint8 [H, W, 3] colours. size: (H, W) that it must have.

    Raises DataError naming the file: it cannot be read, has another size, or numbers above 255.
    """
    raw = read_mask(path)
    if raw.shape[:2] != size:
        raise DataError(
            f"{path}: the prediction is {raw.shape[0]}×{raw.shape[1]} pixels (height × width), its picture "
            f"{size[0]}×{size[1]}"
        )
    if raw.dtype == np.uint8:
        return raw
    if raw.max(initial=0) > 255:
        raise DataError(f"{path}: the prediction holds the number {int(raw.max())}; allowed are 0 to 255")
    return raw.astype(np.uint8)


def unlisted_values(counts_256: NDArray[np.int64], table: NDArray[np.uint8]) -> str:
    """`255 (120 px), 40 (3 px)`: the values that a table does not list, the most frequent first; empty for none."""
    bad = np.flatnonzero((counts_256 > 0) & (table == UNLISTED))
    order = bad[np.argsort(-counts_256[bad], kind="stable")]
    more = f" and {len(bad) - 8} more" if len(bad) > 8 else ""
    return ", ".join(f"{value} ({counts_256[value]} px)" for value in order[:8].tolist()) + more
