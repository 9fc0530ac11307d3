"""Means of several models' parameters, and the BatchNorm statistics that such a mean needs anew.

A mean of weights is a new network: the statistics that its layers see are not the mean of the old ones, so they are
measured again on training pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segwright.build import build_augmentation, build_dataset, build_training_set, model_space
from segwright.contracts import Batch, UserError
from segwright.data.loading import TrainLoader
from segwright.models.freezing import freeze
from segwright.models.segmenter import Segmenter
from segwright.recipe import Recipe
from segwright.recipe.stages import stage_recipes

if TYPE_CHECKING:
    from segwright.inference.ahead import Progress


def mean_of(models: Sequence[Segmenter], names: Sequence[str] | None = None) -> Segmenter:
    """A new Segmenter whose parameters and floating-point buffers are the means of the models', added in float64.

    Counters are the first model's. names: what to call the models in messages. BatchNorm statistics come out as means
    too: call `reestimate_statistics` next.
    Raises UserError when a model has another architecture, other classes or another scale than the first one.
    """
    if not models:
        raise UserError("there is no model to average.")
    called = list(names) if names is not None else [f"model {n}" for n in range(1, len(models) + 1)]
    for model, name in zip(models[1:], called[1:], strict=True):
        _refuse_unlike(models[0], called[0], model, name)
    result = copy.deepcopy(models[0])
    result.set_temperature(None)  # fitted to another network
    states = [model.state_dict() for model in models]
    mean = {key: _mean([state[key] for state in states]) for key in states[0]}
    result.load_state_dict(mean)
    return result


def reestimate_statistics(segmenter: Segmenter, batches: Iterable[Batch], *, device: str = "cpu") -> int:
    """Measure BatchNorm's means and variances again: the average over all batches, each weighing the same.

    batches: as for training. Frozen layers keep theirs. The model is moved to the device and stays; every submodule is
    back in its mode afterwards, and torch's random state is as before. Returns how many layers were measured; without
    such layers no batch is read. Source: Izmailov et al. 2018, section 3.2.
    """
    segmenter = segmenter.to(device)
    modes = [(module, module.training) for module in segmenter.modules()]
    segmenter.train()
    layers = [m for m in segmenter.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    try:
        if layers:
            with torch.no_grad(), _own_randomness(device), _averaging(layers):
                for batch in batches:
                    segmenter.outputs(batch.to(device).image)
    finally:
        for module, training in modes:
            module.training = training
    return len(layers)


def training_batches(recipe: Recipe, stride: int, *, progress: Progress | None = None) -> Iterator[Batch]:
    """The first epoch of a recipe's training pictures with the augmentation of its last stage: the same ones each time.

    stride: of the model. progress: called with (done, total).
    """
    last = stage_recipes(recipe)[-1].recipe
    mixture = build_training_set(last, model_space(last), build_dataset)
    loader = TrainLoader(
        mixture.dataset,
        build_augmentation(last, stride),
        batch=last.training.batch_size,
        seed=last.seed,
        workers=last.training.workers,
        cache="none",
        membership_LK=mixture.membership_LK,
    )
    with loader:
        for done, batch in enumerate(loader.epoch(0), start=1):
            yield batch
            if progress is not None:
                progress(done, loader.batches_per_epoch)


def averaged(
    models: Sequence[Segmenter],
    recipe: Recipe,
    *,
    device: str,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Segmenter:
    """The mean of models that a recipe trained, its BatchNorm statistics measured on the recipe's training pictures.

    A single model comes back as it is, its own statistics included. Layers that the recipe freezes keep theirs.
    """
    if len(models) == 1:
        return models[0]
    result = mean_of(models, names)
    what = stage_recipes(recipe)[-1].recipe.model.freeze
    if what is not None:
        freeze(result.architecture, what)
    reestimate_statistics(result, training_batches(recipe, result.stride, progress=progress), device=device)
    return result.eval()


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    total = first.to(torch.float64, copy=True)
    for tensor in tensors[1:]:
        total += tensor
    return (total / len(tensors)).to(first.dtype)


def _refuse_unlike(first: Segmenter, first_name: str, other: Segmenter, name: str) -> None:
    """Only models of one kind have a mean."""
    facts: list[tuple[str, Any, Any]] = [
        ("architecture", first.model["name"], other.model["name"]),
        ("classes", first.labels.class_names, other.labels.class_names),
        ("short_side", first.short_side, other.short_side),
        ("mean and std", _scale(first), _scale(other)),
        ("tensors", _shapes(first), _shapes(other)),
    ]
    for what, one, two in facts:
        if one != two:
            shown = "" if what == "tensors" else f": {one} and {two}"
            raise UserError(
                f"{first_name} and {name} differ in their {what}{shown}. Only models of one architecture, with the same "
                "arguments and the same classes, have a mean."
            )


def _scale(model: Segmenter) -> list[float]:
    return [*model.mean.flatten().tolist(), *model.std.flatten().tolist()]


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@contextmanager
def _averaging(layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Statistics begin anew and become plain averages over what passes."""
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


@contextmanager
def _own_randomness(device: str) -> Iterator[None]:
    """Dropout draws the same numbers each time and leaves torch's random state alone."""
    devices = [device] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        yield
