"""Findings about mask values: what does not fit the label space, why, and what mends it without loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from segwright.contracts import IGNORE
from segwright.data.check.findings import Finding, finding
from segwright.data.check.looking import MaskFacts
from segwright.data.check.mending import color_values, grey_values
from segwright.data.check.seen import Seen
from segwright.data.check.values import implausible
from segwright.data.proposal import MAX_COLORS
from segwright.labels import LabelSpace
from segwright.labels.causes import likely_cause, looks_grey
from segwright.labels.space import pack_rgb

Command = Callable[[tuple[str, ...]], str]
"""Options of `data fix` -> the whole command for this data set."""

_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A label space, seen from its raw values. union: every raw value of all masks of the space's kind."""

    space: LabelSpace
    union: frozenset[int]

    @cached_property
    def class_of(self) -> dict[int, int]:
        return {v: k for k, item in enumerate(self.space.classes) for v in item.values}

    @cached_property
    def ignored(self) -> frozenset[int]:
        return frozenset(v for item in self.space.ignored for v in item.values)

    @cached_property
    def colors(self) -> dict[int, int]:
        """Display colour (0xRRGGBB) -> class id, for colours that one class has alone."""
        return unique_colors(self.space)

    @cached_property
    def writable(self) -> dict[int, int]:
        """Colour (0xRRGGBB) -> the mask value that `data fix` writes for it."""
        return color_values(self.space)

    @cached_property
    def greys(self) -> dict[int, int]:
        """Grey level of a colour -> the mask value that `data fix` writes for it; empty when two share one."""
        return grey_values(self.space)

    def knows(self, value: int) -> bool:
        return self.space.other == "ignore" or value in self.class_of or value in self.ignored

    def show(self, value: int) -> str:
        return str(value) if self.space.encoding == "index" else f"#{value:06x}"


def unique_colors(space: LabelSpace) -> dict[int, int]:
    """Colour (0xRRGGBB) -> class id: the raw colours of an `rgb` space, else display colours that are not shared."""
    if space.encoding == "rgb":
        return {v: k for k, item in enumerate(space.classes) for v in item.values}
    colors = [pack_rgb(item.color) for item in space.classes]
    return {c: k for k, c in enumerate(colors) if colors.count(c) == 1}


def mask_findings(seen: Iterable[Seen], reading: Reading, command: Command) -> list[Finding]:
    """Findings about the values of every mask that could be read."""
    found: list[Finding] = []
    judge = _Judge(reading, command)
    for item in seen:
        if item.look.mask is not None:
            found += judge.findings(item, item.look.mask)
    return found


def implausible_findings(seen: Iterable[Seen]) -> tuple[list[Finding], set[Path]]:
    """Masks that hold no class ids whatever the space, for a data set whose space is not known yet."""
    found: list[Finding] = []
    masks: set[Path] = set()
    for item in seen:
        mask = item.look.mask
        if mask is None:
            continue
        wrong = implausible(mask.encoding, mask.values_V.astype("int64"), mask.pixels_V.astype("int64"), mask.distinct)
        if wrong is not None:
            masks.add(item.pair.mask)
            code, text = wrong
            found.append(finding(code, text, _EXPORT, split=item.split, files=(item.pair.mask, item.pair.image)))
    return found, masks


_CORRECT = "Correct the masks, or list the values in the label space."
_EXPORT = "Export the mask again as PNG, one class number a pixel, without smoothing."


class _Judge:
    def __init__(self, reading: Reading, command: Command) -> None:
        self.reading, self.command = reading, command
        self.space = reading.space
        self._items = (*self.space.classes, *self.space.ignored)

    def findings(self, item: Seen, mask: MaskFacts) -> list[Finding]:
        values = mask.values_V.tolist()
        counts = dict(zip(values, mask.pixels_V.tolist(), strict=True))
        if mask.encoding != self.space.encoding:
            return [self._wrong_kind(item, mask, values)]
        unknown = [v for v in values if not self.reading.knows(v)]
        if unknown:
            return [self._unknown(item, mask, unknown, counts)]
        if wrong := self._palette_order(item, mask, values):
            return [wrong]
        return self._poor(item, values)

    def _finding(self, code: str, item: Seen, text: str, fix: str, options: tuple[str, ...] = ()) -> Finding:
        files = (item.pair.mask, item.pair.image)
        return finding(
            code, text, self.command(options) if options else fix, split=item.split, files=files, options=options
        )

    def _wrong_kind(self, item: Seen, mask: MaskFacts, values: list[int]) -> Finding:
        if mask.encoding == "rgb":
            text = f"holds {mask.distinct:,} colours, but label space '{self.space.name}' expects one number a pixel"
            if mask.distinct > MAX_COLORS:
                fix = f"{_EXPORT} If that is impossible: {self.command(('--nearest-color',))}"
                return self._finding("smoothed-mask", item, f"{text}; so many come from smoothing or JPEG.", fix)
            if mask.distinct == len(values):
                if all(v == pack_rgb((v & 255,) * 3) and self.reading.knows(v & 255) for v in values):
                    return self._finding(
                        "color-mask", item, f"{text}: class numbers saved in three channels.", "", ("--grey-to-ids",)
                    )
                if all(v in self.reading.writable for v in values):
                    return self._finding(
                        "color-mask", item, f"{text}: they are the colours of its classes.", "", ("--colors-to-ids",)
                    )
            fix = "Choose a label space that lists the colours (--labels), or export masks of class numbers."
            return self._finding("color-mask", item, f"{text}.", fix)
        text = f"holds one number a pixel, but label space '{self.space.name}' expects colours"
        if mask.palette and all(v < len(mask.palette) and mask.palette[v] in self.reading.writable for v in values):
            return self._finding("index-mask", item, f"{text}: its palette has them.", "", ("--palette-to-ids",))
        return self._finding(
            "index-mask", item, f"{text}.", "Choose the label space for this form of the masks (--labels)."
        )

    def _unknown(self, item: Seen, mask: MaskFacts, unknown: list[int], counts: Mapping[int, int]) -> Finding:
        code, options, fix = self._cause(mask, unknown, list(counts))
        listed = ", ".join(
            f"{self.reading.show(v)} ({counts[v]:,} px)" for v in sorted(unknown, key=lambda v: -counts[v])[:_SHOWN]
        )
        extra = len(unknown) + mask.distinct - len(counts) - min(_SHOWN, len(unknown))
        more = f" and {extra:,} more" if extra > 0 else ""
        allowed = sorted({*self.reading.class_of, *self.reading.ignored})
        cause = likely_cause(
            sorted(counts),
            self.space.num_classes,
            allowed,
            self.space.encoding,
            ignored=self.reading.ignored,
            colors=[item.color for item in self._items],
        )
        text = f"found values that label space '{self.space.name}' does not list: {listed}{more}. {cause}"
        return self._finding(code, item, text, fix or _CORRECT, options)

    def _cause(self, mask: MaskFacts, unknown: list[int], values: list[int]) -> tuple[str, tuple[str, ...], str]:
        """(code, options of `data fix` that mend it without loss, action where there are none)."""
        union, names = self.reading.union, self.reading.class_of
        if mask.encoding == "rgb":
            if mask.distinct > max(12, 3 * self.space.num_classes):
                return "smoothed-mask", (), f"{_EXPORT} If that is impossible: {self.command(('--nearest-color',))}"
            return "unknown-values", (), ""
        if max(values) > 255 or mask.distinct > len(values):
            return "sixteen-bit-mask", (), "Export a mask of class ids; instance ids and depth are no classes."
        if union == {0, IGNORE} and set(names) == {0, 1}:
            return "black-and-white", ("--map", f"{IGNORE}:1"), ""
        last = self.space.num_classes
        if set(names) == set(range(last)) and union - {IGNORE} <= set(range(1, last + 1)) and last in union:
            return "off-by-one", ("--reduce-zero",), ""
        if len(set(values) & set(self.reading.greys)) > 2 and set(values) <= set(self.reading.greys):
            return "grey-levels", ("--grey-to-ids",), ""
        if looks_grey(values, [item.color for item in self._items]):
            return "grey-levels", (), "Use the masks from before they were turned into grey."
        if len(unknown) > max(12, 3 * self.space.num_classes) or implausible(
            "index", mask.values_V.astype("int64"), mask.pixels_V.astype("int64"), mask.distinct
        ):
            return "smoothed-mask", (), _EXPORT
        if set(values) == {0, IGNORE} and len(names) > 2:
            return "black-and-white", (), "Say which class is white (data fix --map 255:ID), or export the mask again."
        if unknown == [IGNORE]:
            if void := sorted(self.reading.ignored):
                return "unlisted-255", ("--map", f"{IGNORE}:{void[0]}"), ""
            return "unlisted-255", (), "List 255 under `ignored` in the label space."
        return "unknown-values", (), ""

    def _palette_order(self, item: Seen, mask: MaskFacts, values: list[int]) -> Finding | None:
        """A palette whose colours are exactly those of the classes, but of other classes than the numbers say."""
        colors, names = self.reading.colors, self.reading.class_of
        shown = {v: colors.get(mask.palette[v]) for v in values if v < len(mask.palette) and v in names}
        if len(shown) < 2 or None in shown.values() or all(shown[v] == names[v] for v in shown):
            return None
        if len(set(shown.values())) < len(shown):  # two numbers of one colour, as in a palette left black
            return None
        v, k = next((v, k) for v, k in shown.items() if k != names[v])
        text = (
            f"its palette shows value {v} in the colour of {self.space.class_names[k or 0]}, but the value means "
            f"{self.space.class_names[names[v]]}: a program has sorted the palette anew."
        )
        return self._finding("palette-order", item, text, "", ("--palette-to-ids",))

    def _poor(self, item: Seen, values: list[int]) -> list[Finding]:
        classes = {self.reading.class_of.get(v) for v in values}
        if classes == {None}:
            text = "every pixel is ignored: the picture teaches nothing and is not scored."
            return [self._finding("void-mask", item, text, "Label the picture, or take it out of the split.")]
        if len(classes) == 1 and self.space.exclusive:
            name = self.space.class_names[next(iter(classes)) or 0]
            text = f"the whole mask is {name}; right where that is all there is to see, else an empty export."
            return [
                self._finding(
                    "constant-mask", item, text, "Look at the mask; label the picture, or take it out of the split."
                )
            ]
        return []
