"""Learning-rate finder: the loss while the rate rises from step to step (Smith 2017, arXiv:1506.01186)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from rich.console import Console

from segwright.contracts import Batch, UserError
from segwright.data.loading import TrainLoader
from segwright.recipe import LoadedRecipe
from segwright.training.prepare import new_learner, prepare
from segwright.training.progress import Counting
from segwright.training.schedule import set_learning_rate
from segwright.training.step import Step

SMOOTHING = 0.9
"""How much of the smoothed loss each step keeps."""
DIVERGED = 4.0
"""The search ends where the smoothed loss is this many times its least."""
SPARED = 0.1
"""Share of the steps, at the start, whose slope is mostly the noise of a short average."""
FEWEST_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class RateSearch:
    """What was found. rates, losses, smoothed: one a step, in order.

    steepest: the rate at which the smoothed loss falls fastest over the rate's logarithm. tenth_of_lowest: a tenth of the
    rate at which it is least. Both None where the loss never fell. diverged: whether the loss ended the search.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    steepest: float | None
    tenth_of_lowest: float | None
    diverged: bool

    @property
    def suggestion(self) -> float | None:
        """The smaller of both rates."""
        found = [rate for rate in (self.steepest, self.tenth_of_lowest) if rate is not None]
        return min(found, default=None)

    def to_dict(self) -> dict[str, Any]:
        return {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()} | {
            "suggestion": self.suggestion
        }


def find_rate(loaded: LoadedRecipe, *, low: float, high: float, steps: int, console: Console) -> RateSearch:
    """Take up to `steps` optimiser steps of the recipe's first stage, the rate rising evenly over its logarithm.

    low, high: the first and the last rate. The weights are thrown away, nothing is written; the recipe's seed decides
    the result. Raises UserError for bounds or a number of steps that are wrong, else as a training.
    """
    if not 0 < low < high <= 10:
        raise UserError(f"the rates go from {low:g} to {high:g}; allowed is 0 < lowest < highest <= 10.")
    if steps < FEWEST_STEPS:
        raise UserError(f"--steps {steps}: at least {FEWEST_STEPS} are needed to see a slope.")
    found = prepare(loaded, console=console)
    stage, loader = found.stages[0], found.data.loader
    recipe = stage.recipe
    learner = new_learner(recipe, found.segmenter, found.stages, found.frozen)
    learner.average = None
    step, losses, rates = Step(recipe, learner, stage.loss, lambda text: None), list[float](), list[float]()
    smoothed: list[float] = []
    diverged, held = False, 0.0
    learner.segmenter.train()
    with loader, Counting(console, "raising the learning rate") as progress:
        for number, group in zip(range(steps), _groups(loader, recipe.training.accumulation), strict=False):
            rate = low * (high / low) ** (number / (steps - 1))
            set_learning_rate(learner.optimizer, rate)
            step.begin()
            for batch in group:
                step.add(batch.to(recipe.training.device), share=1 / len(group))
            learned, refused = step.learned, step.end()
            progress(number + 1, steps)
            if refused is not None:
                diverged = True
                break
            if not learned:
                continue
            held = SMOOTHING * held + (1 - SMOOTHING) * step.loss_value
            rates.append(rate)
            losses.append(step.loss_value)
            smoothed.append(held / (1 - SMOOTHING ** len(losses)))
            least = min(smoothed)
            if len(smoothed) > FEWEST_STEPS and smoothed[-1] - least > (DIVERGED - 1) * abs(least):
                diverged = True
                break
    steepest, tenth = suggestions(rates, smoothed)
    return RateSearch(
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        steepest=steepest,
        tenth_of_lowest=tenth,
        diverged=diverged,
    )


def suggestions(rates: Sequence[float], smoothed: Sequence[float]) -> tuple[float | None, float | None]:
    """The rate of the steepest fall, and a tenth of the rate of the least loss; both None where the loss never falls."""
    if len(smoothed) < 3:
        return None, None
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    first = max(1, math.ceil(SPARED * len(smoothed)))
    slopes = {
        i: (smoothed[i + 1] - smoothed[i - 1]) / math.log(rates[i + 1] / rates[i - 1])
        for i in range(first, min(lowest + 1, len(smoothed) - 1))
    }
    falling = min(slopes, key=slopes.__getitem__, default=None)
    if falling is None or slopes[falling] >= 0:
        return None, None
    return rates[falling], rates[lowest] / 10


def _groups(loader: TrainLoader, accumulation: int) -> Iterator[list[Batch]]:
    """The batches of each optimiser step, epoch after epoch."""
    for epoch in count():
        group: list[Batch] = []
        for batch in loader.epoch(epoch):
            group.append(batch)
            if len(group) == accumulation or batch.index + 1 == loader.batches_per_epoch:
                yield group
                group = []
