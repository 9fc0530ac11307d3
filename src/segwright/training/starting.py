"""What a training starts from: weights of a file or hub, told in the model's classes, and layers that stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from rich.console import Console
from torch import Tensor

from segwright.build import build_space
from segwright.contracts import UserError
from segwright.models import Segmenter
from segwright.models.convert import start_from
from segwright.models.freezing import Frozen, advice, freeze
from segwright.names import did_you_mean
from segwright.recipe import Model


def start_weights(segmenter: Segmenter, recipe: Model, console: Console) -> Mapping[str, Any]:
    """Put the recipe's weights into the model, say what became of every tensor and class, and return where they come from.

    Tensors that `model.reset` names keep the numbers that they have.
    Empty where training starts from random numbers or ImageNet's. Raises UserError for weights that do not fit.
    """
    if recipe.weights in (None, "imagenet"):
        return {}
    labels = None if recipe.weights_labels is None else build_space(recipe.weights_labels, "model.weights_labels")
    random = _matching_tensors(segmenter, recipe.reset)
    started = start_from(segmenter, str(recipe.weights), labels=labels, allow=recipe.allow)
    console.print(started.table(), highlight=False, markup=False)
    if random:
        segmenter.architecture.load_state_dict(random, strict=False)
        console.print(f"model.reset: {len(random)} tensors start from random numbers", highlight=False, markup=False)
    if licence := started.provenance.get("licence"):
        segmenter.licence = "; ".join(dict.fromkeys([segmenter.licence, str(licence)]))
    return started.provenance


def _matching_tensors(segmenter: Segmenter, patterns: Sequence[str]) -> dict[str, Tensor]:
    """Copies of the architecture's tensors that a pattern names. Raises UserError for one that names none."""
    state, found = segmenter.architecture.state_dict(), dict[str, Tensor]()
    for pattern in patterns:
        hits = [name for name in state if fnmatchcase(name, pattern)]
        if not hits:
            parts = dict.fromkeys(f"{name.split('.')[0]}.*" for name in state)
            raise UserError(
                f"model.reset: the pattern '{pattern}' matches no tensor.{did_you_mean(pattern, [*parts, *state])} "
                f"Patterns are of whole names, * for any text; here there are: {', '.join(parts)}."
            )
        found |= {name: state[name].clone() for name in hits}
    return found


def say_advice(started: Mapping[str, Any], pictures: int, console: Console) -> None:
    """The rule of thumb about freezing, where training starts from another model."""
    if started:
        miou = started.get("provenance", started).get("val_miou")
        console.print(advice(miou, pictures), highlight=False, markup=False)


def freeze_layers(segmenter: Segmenter, recipe: Model, console: Console) -> Frozen | None:
    """Freeze what the recipe says, and say what it was. Raises UserError for patterns that match nothing."""
    if recipe.freeze is None:
        return None
    frozen = freeze(segmenter.architecture, recipe.freeze)
    console.print(frozen.sentence(), highlight=False, markup=False)
    return frozen
