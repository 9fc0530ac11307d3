"""The numbers and words that a recipe gives a loss, checked with messages that name the key."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from segwright.contracts import UserError

CLASSES = ("present", "all")
"""Which classes a mean over classes counts: those that the truth holds, or every one."""


def number(
    key: str, value: object, *, least: float, most: float = math.inf, above: bool = False, below: bool = False
) -> float:
    """A number of `loss.args` between least and most. above, below: that end itself is not allowed. Raises UserError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        low = value > least if above else value >= least
        high = value < most if below else value <= most
        if low and high:
            return float(value)
    start = f"above {least:g}" if above else f"{least:g} or more"
    end = "" if most == math.inf else f", and less than {most:g}" if below else f", up to {most:g}"
    raise UserError(f"loss.args.{key} is {value!r}; allowed is a number, {start}{end}.")


def whole(key: str, value: object, *, least: int, most: int) -> int:
    """A whole number of `loss.args`. Raises UserError."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UserError(f"loss.args.{key} is {value!r}; allowed is a whole number, {least} to {most}.")
    return value


def flag(key: str, value: object) -> bool:
    """true or false. Raises UserError."""
    if not isinstance(value, bool):
        raise UserError(f"loss.args.{key} is {value!r}; allowed are true and false.")
    return value


def word(key: str, value: object, allowed: Sequence[str]) -> str:
    """One of a few words. Raises UserError."""
    if not isinstance(value, str) or value not in allowed:
        raise UserError(f"loss.args.{key} is {value!r}; allowed are {', '.join(allowed)}.")
    return value


def class_numbers(key: str, values: object, num_classes: int, *, same_for_all: bool = False) -> Tensor:
    """float32 [K]: one number a class, 0 or more and not all 0.

    same_for_all: one number alone is allowed too, and stands for every class. Raises UserError.
    """
    if same_for_all and isinstance(values, int | float):
        return torch.full((num_classes,), number(key, values, least=0, above=True))
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UserError(
            f"loss.args.{key} is {values!r}; a loss takes one number for each of the {num_classes} classes. "
            "A training turns a rule's name into these numbers; in Python, `segwright.data_statistics` does."
        )
    if len(values) != num_classes:
        raise UserError(
            f"loss.args.{key} has {len(values)} numbers; the label space has {num_classes} classes, and as many are allowed."
        )
    checked = [number(f"{key}[{place}]", value, least=0) for place, value in enumerate(values)]
    if max(checked) <= 0:
        raise UserError(f"loss.args.{key} are {checked}; they must be 0 or more, and not all 0.")
    return torch.tensor(checked, dtype=torch.float32)


def class_weights_of(values: Sequence[float] | None, num_classes: int) -> Tensor | None:
    """`class_weights` as float32 [K], or None for all ones. Raises UserError."""
    return None if values is None else class_numbers("class_weights", values, num_classes)
