"""The steps that mend the values of one mask: pure functions of arrays, so that nothing is lost without being counted.

Letters: H W pixels, C colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, UserError
from segwright.data.check.values import packed
from segwright.labels import LabelSpace
from segwright.labels.space import pack_rgb
from segwright.names import did_you_mean

STEPS = ("palette-to-ids", "colors-to-ids", "nearest-color", "grey-to-ids", "reduce-zero")
RESIZE = ("never", "nearest")
AMBIGUOUS = 0.5
"""A pixel whose nearest class colour is not at least twice as near as the second is ambiguous."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What to do to every mask, in the order of STEPS, then `mapping` (raw value -> raw value)."""

    mapping: Mapping[int, int]
    names: frozenset[str]
    resize: str = "never"

    @classmethod
    def of(cls, mapping: Mapping[int, int], names: Iterable[str], *, resize: str = "never") -> Steps:
        """Raises UserError for an unknown step, a value outside 0..255 as target, or another `resize`."""
        for name in names:
            if name not in STEPS:
                raise UserError(f"unknown step '{name}'.{did_you_mean(name, STEPS)} There are: {', '.join(STEPS)}.")
        if resize not in RESIZE:
            raise UserError(f"--resize-masks {resize}: allowed are {' and '.join(RESIZE)}.")
        if wrong := [v for pair in mapping.items() for v in pair if not 0 <= v <= 65535] + [
            v for v in mapping.values() if v > 255
        ]:
            raise UserError(f"--map uses the value {wrong[0]}; new mask values are 0..255.")
        return cls(mapping=dict(mapping), names=frozenset(names), resize=resize)

    def with_options(self, options: Iterable[str]) -> Steps:
        """These steps and those that findings propose, such as `--map 255:1` and `--grey-to-ids`."""
        mapping, names = dict(self.mapping), set(self.names)
        for option in options:
            if option.startswith("--map "):
                before, _, after = option.removeprefix("--map ").partition(":")
                mapping.setdefault(int(before), int(after))
            else:
                names.add(option.removeprefix("--"))
        return replace(self, mapping=mapping, names=frozenset(names))

    def __bool__(self) -> bool:
        return bool(self.mapping or self.names or self.resize != "never")


def color_values(space: LabelSpace) -> dict[int, int]:
    """Colour (0xRRGGBB) -> the mask value to write for it; colours that two classes share are left out.

    The value is the class's raw value; for a space of colours its class id, and 255 for what it ignores. Black is void
    where no class is black and the space ignores something.
    """
    if space.encoding == "rgb":
        pairs = [(v, k) for k, item in enumerate(space.classes) for v in item.values]
        pairs += [(v, IGNORE) for item in space.ignored for v in item.values]
        return dict(pairs)
    items = [*space.classes, *space.ignored]
    colors = [pack_rgb(item.color) for item in items]
    table = {c: item.values[0] for c, item in zip(colors, items, strict=True) if colors.count(c) == 1}
    if space.ignored and (0 not in colors or all(item.color == (0, 0, 0) for item in space.ignored)):
        table.setdefault(0, space.ignored[0].values[0])
    return table


def grey_values(space: LabelSpace) -> dict[int, int]:
    """Grey level 0..255 of each colour -> the mask value to write; {} when two values share a level.

    The grey of a colour is 0.299 R + 0.587 G + 0.114 B (ITU-R 601), rounded up or down: programs differ.
    """
    greys: dict[int, int] = {}
    for color, value in color_values(space).items():
        exact = (299 * (color >> 16) + 587 * (color >> 8 & 255) + 114 * (color & 255)) / 1000
        for grey in {int(exact), int(exact + 0.5)}:
            if greys.setdefault(grey, value) != value:
                return {}
    return greys


def class_ids_space(space: LabelSpace) -> LabelSpace:
    """A space of colours as a space of class numbers: what its masks are read with after the colours became ids."""
    return replace(
        space,
        name=f"{space.name}-ids",
        encoding="index",
        classes=tuple(replace(item, values=(k,)) for k, item in enumerate(space.classes)),
        ignored=(replace(space.classes[0], name="void", values=(IGNORE,), color=(0, 0, 0), group="", aliases=()),),
    )


@dataclass(frozen=True, kw_only=True)
class Mended:
    """A mask after the steps. raw: uint8 [H, W], or uint8 [H, W, 3] when nothing made ids of its colours.

    done: step -> pixels that it changed. ambiguous: pixels between two class colours.
    """

    raw: NDArray[Any]
    done: Mapping[str, int]
    ambiguous: int = 0


def mend(raw: NDArray[Any], palette: tuple[int, ...], steps: Steps, space: LabelSpace | None) -> Mended:
    """One mask through all steps that apply to it.

    raw: uint8 or uint16 [H, W], or uint8 [H, W, 3]; palette: 0xRRGGBB of each index, empty for none; space: of the data
    set, needed for colours. Raises DataError, without a file name, for values that a step cannot place.
    """
    done: dict[str, int] = {}
    ambiguous = 0
    names = steps.names
    if "palette-to-ids" in names and palette and raw.ndim == 2:
        colors = np.array([*palette, *[0] * (65536 - len(palette))], np.uint32)[raw]
        placed = _placed(colors, color_values(_needed(space)), "palette colours")
        done["palette-to-ids"], raw = int((placed != raw).sum()), placed
    elif raw.ndim == 3 and names & {"colors-to-ids", "nearest-color", "grey-to-ids"}:
        colors = packed(raw)
        if "grey-to-ids" in names and (raw == raw[..., :1]).all():
            raw = raw[..., 0]  # class numbers, or grey levels, saved in three channels
            done["grey-to-ids"] = raw.size
        elif "nearest-color" in names:
            raw, moved, ambiguous = _nearest(colors, color_values(_needed(space)))
            done["nearest-color"] = moved
        else:
            raw = _placed(colors, color_values(_needed(space)), "colours")
            done["colors-to-ids"] = raw.size
    if raw.ndim == 2:
        raw = _renumbered(raw, steps, space, done)
    return Mended(raw=raw, done=done, ambiguous=ambiguous)


def _renumbered(raw: NDArray[Any], steps: Steps, space: LabelSpace | None, done: dict[str, int]) -> NDArray[np.uint8]:
    table = np.arange(65536)
    if "grey-to-ids" in steps.names:
        greys = grey_values(_needed(space))
        if set(np.unique(raw).tolist()) <= set(greys):
            for grey, value in greys.items():
                table[grey] = value
    if "reduce-zero" in steps.names:
        shifted = np.arange(65536) - 1
        shifted[[0, IGNORE]] = IGNORE
        table = shifted[table]
    mapped = np.arange(65536)
    for before, after in steps.mapping.items():
        mapped[before] = after
    result = mapped[table][raw]
    if int(result.max(initial=0)) > 255:
        raise DataError(f"holds values up to {int(result.max())}, which an 8-bit mask cannot. Map them with --map.")
    changed = int((result != raw).sum())
    kinds = [n for n in ("grey-to-ids", "reduce-zero") if n in steps.names] + (["map"] if steps.mapping else [])
    if changed and kinds:
        name = " + ".join(kinds)
        done[name] = done.get(name, 0) + changed
    return np.asarray(result, np.uint8)


def _needed(space: LabelSpace | None) -> LabelSpace:
    if space is None:
        raise UserError("colours can only become ids with a label space: add --labels SPACE, or ROOT/labels.yaml.")
    return space


def _placed(colors: NDArray[Any], table: Mapping[int, int], what: str) -> NDArray[np.uint8]:
    found, inverse, counts = np.unique(colors, return_inverse=True, return_counts=True)
    unknown = [i for i, c in enumerate(found.tolist()) if c not in table]
    if unknown:
        shown = ", ".join(f"#{int(found[i]):06x} ({int(counts[i]):,} px)" for i in unknown[:6])
        raise DataError(
            f"has {len(unknown)} {what} that belong to no class alone: {shown}{' …' if len(unknown) > 6 else ''}."
        )
    return np.array([table[c] for c in found.tolist()], np.uint8)[inverse].reshape(colors.shape)


def _nearest(colors: NDArray[Any], table: Mapping[int, int]) -> tuple[NDArray[np.uint8], int, int]:
    """Ids by the nearest class colour; pixels whose colour was not exact; pixels between two classes."""
    known = np.array(sorted(table), np.int64)
    values = np.array([table[c] for c in known.tolist()], np.uint8)
    found, inverse, counts = np.unique(colors.astype(np.int64), return_inverse=True, return_counts=True)
    first, nearest, second = np.zeros(len(found)), np.zeros(len(found), np.intp), np.full(len(found), np.inf)
    for start in range(0, len(found), 65536):
        part = slice(start, start + 65536)
        apart = np.sqrt(sum(((found[part, None] >> s & 255) - (known >> s & 255)) ** 2 for s in (16, 8, 0)))
        nearest[part] = apart.argmin(1)
        first[part] = apart.min(1)
        other = np.where(values[None] == values[nearest[part]][:, None], np.inf, apart)
        second[part] = other.min(1)
    ids = values[nearest][inverse].reshape(colors.shape)
    return ids, int(counts[first > 0].sum()), int(counts[first > AMBIGUOUS * second].sum())
