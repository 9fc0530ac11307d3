"""What a sweep varies: `key=log(1e-5,1e-2)`, `uniform(…)`, `int(…)` and `choice(…)` instead of a value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from segwright.contracts import UserError
from segwright.names import did_you_mean
from segwright.recipe.loading import apply_override

Form = Literal["log", "uniform", "int", "choice"]
FORMS: dict[str, str] = {
    "log": "log(1e-5,1e-2)",
    "uniform": "uniform(0.0,0.5)",
    "int": "int(2,8) or int(16,64,16)",
    "choice": "choice(cross_entropy,dice)",
}
"""Form -> an example of it."""
_RANGE = re.compile(r"\s*([A-Za-z_]\w*)(\s*)\((.*)\)\s*", re.DOTALL)
_QUOTES, _OPEN, _CLOSE = "'\"", "([{", ")]}"


@dataclass(frozen=True, kw_only=True)
class Range:
    """One key and the values it may take.

    low..high: the bounds, both included, of log, uniform and int; step: of int. values: of choice, as the user wrote them.
    """

    key: str
    form: Form
    low: float = 0.0
    high: float = 0.0
    step: int = 1
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As it stands on the command line."""
        if self.form == "choice":
            return f"{self.key}=choice({','.join(self.values)})"
        if self.form == "int":
            step = f",{self.step}" if self.step > 1 else ""
            return f"{self.key}=int({self.low:.0f},{self.high:.0f}{step})"
        return f"{self.key}={self.form}({self.low!r},{self.high!r})"

    def write(self, value: float | str) -> str:
        """The `key=value` override of a value; other numbers than whole ones with four digits, inside the bounds."""
        if self.form == "choice":
            return f"{self.key}={value}"
        if self.form == "int":
            return f"{self.key}={int(value)}"
        return f"{self.key}={min(max(float(f'{float(value):.4g}'), self.low), self.high)!r}"

    @property
    def extremes(self) -> list[str]:
        """Overrides that stand for all others when a recipe is checked: both bounds, or every choice."""
        return [self.write(value) for value in self.values or (self.low, self.high)]


def parse_ranges(texts: Sequence[str]) -> tuple[list[Range], list[str]]:
    """What is varied, and the plain `key=value` overrides, of texts that mix both.

    Raises UserError for an unknown form or key, wrong bounds, a key that stands twice, and when nothing is varied.
    """
    ranges: list[Range] = []
    fixed: list[str] = []
    seen: dict[str, str] = {}
    for text in texts:
        key = apply_override({}, f"{text.partition('=')[0]}=null" if "=" in text else text)
        if key in seen:
            raise UserError(f"'{text}': {key} stands twice (also in '{seen[key]}'); keep one.")
        seen[key] = text
        found = _RANGE.fullmatch(text.partition("=")[2])
        if found is None or (found[2] and found[1] not in FORMS):  # a path such as `photos (2)`
            fixed.append(text)
        else:
            ranges.append(_range(text, key, found[1], list(_parts(found[3]))))
    if not ranges:
        raise UserError(
            'a sweep needs at least one key to vary, such as "optimizer.lr=log(1e-5,1e-2)" (in quotes, since shells '
            f"read brackets). Forms: {', '.join(FORMS.values())}."
        )
    return ranges, fixed


def _range(text: str, key: str, form: str, parts: list[str]) -> Range:
    if form == "choice":
        return _choice(text, key, parts)
    if form in ("log", "uniform"):
        if len(parts) != 2:
            raise UserError(f"'{text}': {form} takes two numbers, such as {FORMS[form]}; found {len(parts)}.")
        low, high = (_number(text, part) for part in parts)
        _check_order(text, low, high)
        if form == "log" and low <= 0:
            raise UserError(f"'{text}': log needs bounds above 0; found {low:g}. Use uniform for a range that holds 0.")
        return Range(key=key, form="log" if form == "log" else "uniform", low=low, high=high)
    if form == "int":
        return _int(text, key, parts)
    raise UserError(
        f"'{text}': unknown form '{form}'.{did_you_mean(form, FORMS)} Forms: {', '.join(FORMS.values())}. "
        f"If {form}(…) is a plain text, put it in quotes of its own: {key}='\"…\"'."
    )


def _choice(text: str, key: str, parts: list[str]) -> Range:
    if any(not part for part in parts) or len(parts) < 2:
        raise UserError(f"'{text}': choice takes two or more values, such as {FORMS['choice']}; none may be empty.")
    if repeated := [part for part in parts if parts.count(part) > 1]:
        raise UserError(f"'{text}': {repeated[0]} stands twice; keep one.")
    return Range(key=key, form="choice", values=tuple(parts))


def _int(text: str, key: str, parts: list[str]) -> Range:
    if len(parts) not in (2, 3):
        raise UserError(
            f"'{text}': int takes two bounds and at most a step, {FORMS['int']}; found {len(parts)} numbers."
        )
    numbers = [_number(text, part) for part in parts]
    if wrong := [part for part, number in zip(parts, numbers, strict=True) if number != int(number)]:
        raise UserError(f"'{text}': int takes whole numbers; found {wrong[0]}. Use uniform for others.")
    low, high, step = int(numbers[0]), int(numbers[1]), int(numbers[2]) if len(numbers) == 3 else 1
    _check_order(text, low, high)
    if step < 1 or (high - low) % step:
        nearest = low + (high - low) // max(step, 1) * max(step, 1)
        raise UserError(
            f"'{text}': steps of {step} do not lead from {low} to {high}"
            + ("; the nearest end is " + str(nearest) if step > 0 and nearest > low else "")
            + "."
        )
    return Range(key=key, form="int", low=low, high=high, step=step)


def _number(text: str, part: str) -> float:
    try:
        number = float(part)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"'{text}': {part or 'nothing'} is not a number.")
    return number


def _check_order(text: str, low: float, high: float) -> None:
    if low >= high:
        raise UserError(f"'{text}': the first bound has to be below the second; found {low:g} and {high:g}.")


def _parts(text: str) -> Iterator[str]:
    """Between the commas that stand in no brackets and no quotes."""
    part, depth, quote = "", 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in _QUOTES:
            quote = char
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
        if char == "," and depth == 0 and not quote:
            yield part.strip()
            part = ""
        else:
            part += char
    yield part.strip()
