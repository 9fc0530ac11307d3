"""A label space for masks that came without one: from the raw values found, and a class-name file where there is one.

Nothing is guessed in silence: every decision is a sentence in `notes`, and values that look like an accident (a palette
turned into grey, smoothed edges) are refused with the likely cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segwright.contracts import IGNORE, DataError
from segwright.data.colors import distinct_colors
from segwright.labels.space import MAX_CLASSES, RGB, LabelClass, LabelSpace, pack_rgb

Encoding = Literal["index", "rgb"]
VOID_NAMES = {"void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "background/void"}
MAX_COLORS = 64
"""More colours than this are no map of classes, unless a label space lists them."""
BLACK, WHITE = 0x000000, 0xFFFFFF


@dataclass(frozen=True, kw_only=True)
class ValueFacts:
    """How often a raw mask value occurs. pixels, pictures: counts; example: one mask that holds it."""

    pixels: int
    pictures: int
    example: Path


@dataclass(frozen=True, kw_only=True)
class NamedClass:
    """One line of classes.txt. color: None where the line gives none."""

    name: str
    color: RGB | None


def propose(
    name: str, encoding: Encoding, values: Mapping[int, ValueFacts], named: Sequence[NamedClass], where: Path
) -> tuple[LabelSpace, list[str]]:
    """The label space for these values, and what was decided, one sentence each.

    values: raw value (packed 0xRRGGBB for `rgb`) -> facts; named: the lines of classes.txt, empty without one; where:
    the folder, for messages. Raises DataError with the likely cause when the values do not look like classes.
    """
    classes, ignored, notes = (_from_numbers if encoding == "index" else _from_colors)(values, named, where)
    if len(classes) < 2:
        only = classes[0].name if classes else "void"
        raise DataError(
            f"{where}: all masks together show one class ({only}), so there is nothing to learn. "
            "Add masks with another class, or check how they were exported."
        )
    space = LabelSpace(
        name=name,
        title=name,
        classes=tuple(classes),
        ignored=tuple(ignored),
        encoding=encoding,
        source=f"proposed from the masks in {where.name}",
    )
    return space, notes


Proposal = tuple[list[LabelClass], list[LabelClass], list[str]]


def read_class_names(path: Path) -> list[NamedClass]:
    """The lines of classes.txt: `name`, `name R G B` or `R G B name`; empty lines and # comments are left out.

    Raises DataError for an unreadable file and for a name that occurs twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the file cannot be read as UTF-8 text ({error}). Save it again as UTF-8.") from error
    named = [_read_line(line.split("#")[0].replace(",", " ").split()) for line in lines if line.split("#")[0].strip()]
    names = [n.name for n in named]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise DataError(f"{path}: the class name '{twice[0]}' occurs twice. Give every class its own name.")
    return named


def _read_line(words: list[str]) -> NamedClass:
    for numbers, rest in ((words[-3:], words[:-3]), (words[:3], words[3:])):
        if rest and len(numbers) == 3 and all(n.isdigit() and int(n) < 256 for n in numbers):
            red, green, blue = map(int, numbers)
            return NamedClass(name=" ".join(rest), color=(red, green, blue))
    return NamedClass(name=" ".join(words), color=None)


def _from_numbers(values: Mapping[int, ValueFacts], named: Sequence[NamedClass], where: Path) -> Proposal:
    found = sorted(values)
    if len(named) in (0, 1, 2) and set(found) <= {0, IGNORE} and len(found) == 2:
        return _binary((0, IGNORE), named, ((0, 0, 0), (0, 0, 0)), "0 and 255")
    void = [IGNORE] if IGNORE in values and (len(found) > 2 or len(named) > 2) else []
    ids = [v for v in found if v not in void]
    classes, ignored, notes = _with_names(ids, named, where, values) if named else _without_names(ids, values, where)
    if void:
        ignored.append(LabelClass(name=_free("void", [*classes, *ignored]), values=(IGNORE,), color=(0, 0, 0)))
        notes.append(f"value 255 ({values[IGNORE].pixels:,} pixels) is void: it counts nowhere")
    return classes, ignored, notes


def _without_names(ids: Sequence[int], values: Mapping[int, ValueFacts], where: Path) -> Proposal:
    _refuse_accidents(ids, values, where)
    colors = distinct_colors(len(ids))
    classes = [LabelClass(name=f"class_{v}", values=(v,), color=c) for v, c in zip(ids, colors, strict=True)]
    notes = [
        f"values {_ranges(ids)} became {len(ids)} classes with generic names: write one name a line, in the order of "
        f"the numbers from 0, into {where / 'classes.txt'} to name them"
    ]
    gaps = sorted(set(range(max(ids, default=0) + 1)) - set(ids))
    if gaps:
        notes.append(f"no mask holds {_ranges(gaps)}, so no class was made for it")
    return classes, [], notes


def _with_names(
    ids: Sequence[int], named: Sequence[NamedClass], where: Path, values: Mapping[int, ValueFacts]
) -> Proposal:
    file, count = where / "classes.txt", len(named)
    first = 0
    notes = [f"{count} class names come from {file}"]
    if ids and min(ids) == 1 and max(ids) == count:
        first = 1
        notes.append(f"the masks hold 1..{count}, so the first name belongs to value 1")
    elif list(ids) == [0, 1] and count == 1:
        named = [NamedClass(name="background", color=None), *named]
        notes.append(f"value 0 became the class background, value 1 is {named[1].name}")
    elif ids and max(ids) == count and min(ids) == 0:
        raise DataError(
            f"{where}: the masks hold 0..{count}, {count + 1} values, but {file} has {count} names. If 0 is "
            "background, add a first line `background` (or `void` to ignore it)."
        )
    elif unknown := [v for v in ids if v >= count]:
        shown = ", ".join(f"{v} ({values[v].pixels:,} px in {values[v].example})" for v in unknown[:8])
        raise DataError(
            f"{where}: {file} has {count} names, for values 0..{count - 1}, but the masks also hold {shown}"
            f"{' …' if len(unknown) > 8 else ''}. Add the missing names in the order of the values, or correct the "
            "masks."
        )
    colors = distinct_colors(len(named))
    classes: list[LabelClass] = []
    ignored: list[LabelClass] = []
    for value, (line, color) in enumerate(zip(named, colors, strict=True), start=first):
        if line.name.lower() in VOID_NAMES:
            ignored.append(LabelClass(name=line.name, values=(value,), color=(0, 0, 0)))
            notes.append(f"value {value}, {line.name}, counts nowhere")
        else:
            classes.append(LabelClass(name=line.name, values=(value,), color=line.color or color))
    absent = [c.name for c in classes if c.values[0] not in values]
    if absent:
        notes.append(f"no mask shows {', '.join(absent)}: these classes cannot be learnt or scored")
    return classes, ignored, notes


def _from_colors(values: Mapping[int, ValueFacts], named: Sequence[NamedClass], where: Path) -> Proposal:
    found = sorted(values)
    if len(found) > MAX_COLORS:
        raise DataError(
            f"{where}: the masks hold {len(found):,} colours in all; with one colour a class at most {MAX_COLORS} are "
            "taken for classes. They may be instance colours, which differ from picture to picture, or smoothed edges. "
            f"Export masks of classes, or list every colour in {where / 'labels.yaml'}."
        )
    if named:
        return _named_colors(found, named, values, where)
    if found == [BLACK, WHITE]:
        return _binary((BLACK, WHITE), (), ((0, 0, 0), (255, 255, 255)), "black and white")
    classes = [LabelClass(name=f"color_{v:06x}", values=(v,), color=_unpack(v)) for v in found]
    notes = [
        f"the masks hold {len(found)} colours, each became a class named after it: write `name R G B` lines into "
        f"{where / 'classes.txt'} to name them, `void R G B` for pixels that count nowhere"
    ]
    if all(v == pack_rgb((v & 255,) * 3) for v in found):
        notes.append("all colours are greys: these may be class numbers saved in three channels; saving one is smaller")
    if BLACK in values:
        notes.append("black became a class like the others; if it means unlabelled, list it as `void 0 0 0`")
    return classes, [], notes


def _named_colors(
    found: Sequence[int], named: Sequence[NamedClass], values: Mapping[int, ValueFacts], where: Path
) -> Proposal:
    file = where / "classes.txt"
    if colorless := [n.name for n in named if n.color is None]:
        raise DataError(
            f"{file}: the masks hold colours, but the file gives none for {', '.join(colorless[:8])}. "
            "Write every line as `name R G B`, such as `road 128 64 128`."
        )
    by_color = {pack_rgb(n.color): n for n in named if n.color is not None}
    if len(by_color) < len(named):
        raise DataError(f"{file}: two names have the same colour. Give every class its own.")
    if unknown := [v for v in found if v not in by_color]:
        shown = ", ".join(f"{_unpack(v)} ({values[v].pixels:,} px in {values[v].example})" for v in unknown[:8])
        raise DataError(f"{where}: the masks hold colours that {file} does not list: {shown}. Add or correct them.")
    items = [LabelClass(name=n.name, values=(v,), color=_unpack(v)) for v, n in by_color.items()]
    ignored = [c for c in items if c.name.lower() in VOID_NAMES]
    classes = [c for c in items if c.name.lower() not in VOID_NAMES]
    notes = [f"{len(classes)} class names and colours come from {file}"]
    notes += [f"{c.name} {c.color} counts nowhere" for c in ignored]
    return classes, ignored, notes


def _binary(pair: tuple[int, int], named: Sequence[NamedClass], colors: tuple[RGB, RGB], words: str) -> Proposal:
    """Two classes from a black-and-white mask."""
    names = ["background", "foreground"]
    if named:
        names = [n.name for n in named] if len(named) == 2 else ["background", named[0].name]
    shown = colors if colors[1] != (0, 0, 0) else (distinct_colors(2)[0], distinct_colors(2)[1])
    classes = [LabelClass(name=n, values=(v,), color=c) for n, v, c in zip(names, pair, shown, strict=True)]
    return classes, [], [f"the masks hold {words} only: the first is {names[0]}, the second {names[1]}, no void"]


def _refuse_accidents(ids: Sequence[int], values: Mapping[int, ValueFacts], where: Path) -> None:
    """DataError when numbers without names look like grey levels rather than class ids."""
    shown = ", ".join(f"{v} ({values[v].pixels:,} px)" for v in ids[:12]) + (", …" if len(ids) > 12 else "")
    example = values[ids[-1]].example if ids else where
    if len(ids) > MAX_CLASSES:
        raise DataError(
            f"{where}: the masks hold {len(ids)} different values (see {example}); classes are at most {MAX_CLASSES}. "
            "So many point to masks that were smoothed, resized with interpolation, or saved as JPEG once. Export "
            "them again."
        )
    beside = sum(1 for v in ids if {v - 1, v + 1} & set(ids))
    if len(ids) > 1 and max(ids) > 64 and beside < 0.25 * len(ids):
        raise DataError(
            f"{where}: the masks hold {shown}, numbers far apart (see {example}). They look like grey levels: a "
            "palette or colours turned into grey, or a mask drawn to be looked at. Export the masks again with class "
            f"numbers 0, 1, 2, …; if these numbers are right, list each under `values` in {where / 'labels.yaml'}."
        )


def _unpack(value: int) -> RGB:
    return value >> 16, value >> 8 & 255, value & 255


def _free(name: str, taken: Sequence[LabelClass]) -> str:
    return name if all(c.name != name for c in taken) else f"{name}_255"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as text: 0..4, 7, 9..11."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}..{p[-1]}" for p in parts)
