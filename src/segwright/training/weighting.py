"""Class weights that a recipe gives as a rule's name, in the loss or in the losses of a sum, become numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

KEY = "class_weights"


def rules(args: Mapping[str, Any], prefix: str = "loss.args") -> Iterator[tuple[str, str]]:
    """(dotted key, rule) of all class weights in the arguments of a loss that are names and not numbers."""
    if isinstance(args.get(KEY), str):
        yield f"{prefix}.{KEY}", args[KEY]
    for place, inner in _losses(args):
        yield from rules(inner, f"{prefix}.losses[{place}].args")


def with_numbers(args: Mapping[str, Any], numbers: Callable[[str], list[float]]) -> dict[str, Any]:
    """The arguments of a loss, every rule's name replaced by what `numbers` says of it."""
    changed = dict(args)
    if isinstance(changed.get(KEY), str):
        changed[KEY] = numbers(changed[KEY])
    for place, inner in _losses(args):
        parts = list(changed["losses"])
        parts[place] = {**parts[place], "args": with_numbers(inner, numbers)}
        changed["losses"] = parts
    return changed


def _losses(args: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Place and arguments of each loss of a sum; what is not well formed is left for the loss to refuse."""
    parts = args.get("losses")
    for place, part in enumerate(parts if isinstance(parts, list) else ()):
        if isinstance(part, Mapping) and isinstance(part.get("args"), Mapping):
            yield place, part["args"]
