"""What a training starts from: weights of a file or hub, told in the model's classes, and layers that stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from segwright.build import build_space
from segwright.models import Segmenter
from segwright.models.convert import start_from
from segwright.models.freezing import advice, freeze
from segwright.recipe import Model


def start_weights(segmenter: Segmenter, recipe: Model, console: Console) -> Mapping[str, Any]:
    """Put the recipe's weights into the model, say what became of every tensor and class, and return where they come from.

    Empty where training starts from random numbers or ImageNet's. Raises UserError for weights that do not fit.
    """
    if recipe.weights in (None, "imagenet"):
        return {}
    labels = None if recipe.weights_labels is None else build_space(recipe.weights_labels, "model.weights_labels")
    started = start_from(segmenter, str(recipe.weights), labels=labels, allow=recipe.allow)
    console.print(started.table(), highlight=False, markup=False)
    if licence := started.provenance.get("licence"):
        segmenter.licence = "; ".join(dict.fromkeys([segmenter.licence, str(licence)]))
    return started.provenance


def say_advice(started: Mapping[str, Any], pictures: int, console: Console) -> None:
    """The rule of thumb about freezing, where training starts from another model."""
    if started:
        miou = started.get("provenance", started).get("val_miou")
        console.print(advice(miou, pictures), highlight=False, markup=False)


def freeze_layers(segmenter: Segmenter, recipe: Model, console: Console) -> None:
    """Freeze what the recipe says. Raises UserError for patterns that match nothing."""
    if recipe.freeze is not None:
        console.print(freeze(segmenter.architecture, recipe.freeze).sentence(), highlight=False, markup=False)
