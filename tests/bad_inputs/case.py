"""A case: one bad (or odd but good) input, written on demand as a whole data set of pictures and masks in folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.labels import LabelClass, LabelSpace, load_label_space

from ..data.files import FOUR, mask, photo, save

HEIGHT, WIDTH = 12, 20

Group = Literal["B1", "B2", "B3", "B4"]
Truth = Callable[[], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input.

    make: writes the data set into an empty folder; returns the odd file, or the folder where no file is to blame.
    expect: `refused`, then the message has `words` (a regular expression); or `accepted` by the rule in `words`.
    codes: what the doctor says of the odd file; of an accepted one nothing but notes and warnings.
    labels: the label space of the data set, or its name.
    truth: of an accepted picture or mask its pixels; tolerance: how far a lossy picture may be from it.
    """

    name: str
    group: Group
    make: Callable[[Path], Path]
    expect: Literal["refused", "accepted"]
    words: str
    codes: tuple[str, ...] = ()
    labels: LabelSpace | str = FOUR
    truth: Truth | None = None
    tolerance: int = 0


def space(*values: int | tuple[int, int, int], ignored: tuple[int | tuple[int, int, int], ...] = ()) -> LabelSpace:
    """A label space with one class for each of these raw values or RGB colours."""

    def raw(value: int | tuple[int, int, int]) -> int:
        return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]

    return LabelSpace(
        name="made",
        title="made",
        encoding="rgb" if isinstance(values[0], tuple) else "index",
        classes=tuple(
            LabelClass(name=f"c{k}", values=(raw(v),), color=(0, v, 0) if isinstance(v, int) else v)
            for k, v in enumerate(values)
        ),
        ignored=tuple(LabelClass(name=f"i{k}", values=(raw(v),), color=(0, 0, 0)) for k, v in enumerate(ignored)),
    )


def companions(root: Path, labels: LabelSpace | str = FOUR) -> None:
    """Healthy pairs beside the odd one, two in train and two in val, all different, each with every class."""
    chosen = load_label_space(labels) if isinstance(labels, str) else labels
    values = [c.values[0] for c in chosen.classes]
    for index in range(4):
        ids = mask(HEIGHT, WIDTH, range(len(values)), seed=100 + index)
        raw = np.array(values, np.int64)[ids]
        if chosen.encoding == "rgb":
            raw = np.stack([raw >> 16, raw >> 8 & 255, raw & 255], -1)
        split = root / ("train" if index < 2 else "val")
        save(split / "images" / f"good{index}.png", photo(HEIGHT, WIDTH, seed=100 + index))
        save(split / "masks" / f"good{index}.png", raw.astype(np.uint16 if raw.max() > 255 else np.uint8))


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def space_of(case: Case) -> LabelSpace:
    return load_label_space(case.labels) if isinstance(case.labels, str) else case.labels
