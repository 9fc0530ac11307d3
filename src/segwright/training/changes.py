"""Resuming with another recipe than the one so far: refused with the difference, unless it is asked for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from segwright.contracts import UserError
from segwright.recipe import Recipe
from segwright.runs import Run

FIXED = (
    "seed",
    "data",
    "model",
    "loss",
    "stages",
    "optimizer.name",
    "training.batch",
    "training.accumulation",
    "training.ema_decay",
    "training.swa_from",
)
"""Keys and sections that say what a step is and what a checkpoint holds: another value needs a new run."""
FREE = ("data.root", "data.split_file", "data.cache")
"""Where the same pictures lie now."""
LONGEST_VALUE = 160  # characters of a value that is shown


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON data."""
    content: dict[str, Any] = json.loads(json.dumps(recipe.model_dump(mode="json")))
    return content


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (value before, value after) of every difference; None stands for a key that is not there."""
    one, other = dict(_flat(before)), dict(_flat(after))
    keys = [*other, *(key for key in one if key not in other)]
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def changed_keys(
    before: Mapping[str, Any], recipe: Recipe, run: Run, *, overrides: Sequence[str], force: bool
) -> list[str]:
    """The keys in which `recipe` differs from the one that a checkpoint was written with.

    before: that one as plain data; an empty one, of a run without it, says nothing. overrides: what the user typed.
    Raises UserError with the difference, when there is one and `force` is off, and for keys that never change.
    """
    found = differences(_completed(before), plain(recipe)) if before else {}
    if not found:
        return []
    shown = "\n".join(f"  {key}: {_short(old)} -> {_short(new)}" for key, (old, new) in found.items())
    again = shlex.join(["segwright", "train", "--resume", str(run.path), "--force", *overrides])
    weights = [f"model.weights={run.best}"] if run.best.is_file() else []
    anew = shlex.join(["segwright", "train", str(run.path), *overrides, *weights])
    if fixed := [key for key in found if _under(key, FIXED) and not _under(key, FREE)]:
        raise UserError(
            f"run {run.path} cannot go on with another {', '.join(fixed)}: what it has done so far would not fit.\n{shown}\n"
            f"Put it back, or start a new run: {anew}"
        )
    if not force:
        raise UserError(
            f"the recipe is not the one that run {run.path} was trained with so far:\n{shown}\n"
            f"Put it back, or go on with the change: {again}"
        )
    return list(found)


def _completed(before: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the defaults of keys that are younger than the checkpoint."""
    try:
        return plain(Recipe.model_validate(before))
    except ValidationError:
        return before


def _under(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
