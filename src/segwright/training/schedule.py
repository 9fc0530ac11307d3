"""Learning-rate schedules: functions of the step, so that resuming needs the step alone; `plateau` also remembers scores.

A schedule counts ticks: optimiser steps, or epochs with `unit: epoch`, then the rate changes between epochs only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, ValidationError

from segwright.contracts import UserError
from segwright.names import did_you_mean
from segwright.recipe import Schedule
from segwright.recipe.schema import Fraction, PositiveInt, Strict


class Tick(NamedTuple):
    """A moment after the warm-up. number: 0 for the first; total: how many there are; per_epoch: how many make an epoch."""

    number: int
    total: int
    per_epoch: int

    @property
    def progress(self) -> float:
        return self.number / max(1, self.total)


class Shape(Strict):
    """The arguments of a schedule; called with a tick, it gives the share of the peak rate."""

    def __call__(self, tick: Tick) -> float:
        return 1.0


class Constant(Shape):
    """1 throughout."""


class Poly(Shape):
    """(1 - progress)^power, as DeepLab (Chen et al. 2017), from 1 down to `final`."""

    power: Annotated[float, Field(gt=0)] = 0.9
    final: Fraction = 0.0

    def __call__(self, tick: Tick) -> float:
        return self.final + (1 - self.final) * max(0.0, 1 - tick.progress) ** self.power


class Cosine(Shape):
    """Half a cosine from 1 down to `final` (Loshchilov & Hutter 2017, without restarts)."""

    final: Fraction = 0.0

    def __call__(self, tick: Tick) -> float:
        return _half_cosine(1.0, self.final, min(1.0, tick.progress))


class WarmRestarts(Shape):
    """Half a cosine from 1 down to `final`, again and again (Loshchilov & Hutter 2017).

    t0: epochs of the first cycle; each later one is `factor` times as long.
    """

    t0: PositiveInt = 5
    factor: PositiveInt = 2
    final: Fraction = 0.0

    def __call__(self, tick: Tick) -> float:
        number, length = tick.number, self.t0 * tick.per_epoch
        while number >= length:
            number, length = number - length, length * self.factor
        return _half_cosine(1.0, self.final, number / length)


class OneCycle(Shape):
    """From `start` up to 1 over the share `rise` of all ticks, then down to `final` (Smith & Topin 2018; torch's two phases).

    The momentum stays as it is.
    """

    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start: Annotated[float, Field(gt=0, le=1)] = 0.04
    final: Fraction = 4e-6
    curve: Literal["cosine", "linear"] = "cosine"

    def __call__(self, tick: Tick) -> float:
        last = tick.total - 1
        top = self.rise * tick.total - 1
        between = _half_cosine if self.curve == "cosine" else _straight
        if tick.number <= top:
            return between(self.start, 1.0, tick.number / top if top else 1.0)
        return between(1.0, self.final, min(1.0, (tick.number - top) / (last - top)))


class Plateau(Shape):
    """1, times `factor` whenever the validation mIoU has not risen for more than `patience` validations.

    threshold: by how much mIoU (0..1) must rise to count. cooldown: validations after a cut that do not count.
    final: the share of the peak below which it never falls. As torch's ReduceLROnPlateau with mode max, threshold abs.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 10
    threshold: Fraction = 1e-4
    cooldown: Annotated[int, Field(ge=0)] = 0
    final: Fraction = 0.0


SCHEDULES: dict[str, type[Shape]] = {
    "poly": Poly,
    "cosine": Cosine,
    "constant": Constant,
    "warm_restarts": WarmRestarts,
    "one_cycle": OneCycle,
    "plateau": Plateau,
}


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _straight(start: float, end: float, progress: float) -> float:
    return start + (end - start) * progress


@dataclass
class _Scores:
    """What `plateau` has seen. share: of the peak rate, now; bad: validations since the best; cooling: still to wait."""

    share: float = 1.0
    best: float | None = None
    bad: int = 0
    cooling: int = 0

    def add(self, miou: float, rule: Plateau) -> None:
        if miou > (-math.inf if self.best is None else self.best + rule.threshold):  # never true for NaN
            self.best, self.bad = miou, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > rule.patience:
            self.share = max(rule.final, self.share * rule.factor)
            self.cooling, self.bad = rule.cooldown, 0


class RateSchedule:
    """The share of the peak learning rate at optimiser step n, 0 for the first: `schedule(n)`."""

    def __init__(self, shape: Shape, *, warmup: float, unit: Literal["step", "epoch"], steps: int, epochs: int) -> None:
        steps_per_epoch = max(1, steps // epochs)
        self._steps_per_tick = steps_per_epoch if unit == "epoch" else 1
        ticks = steps // self._steps_per_tick
        self._shape = shape
        self._warmup = round(warmup * ticks)
        self._total = ticks - self._warmup
        self._per_epoch = steps_per_epoch // self._steps_per_tick
        self._scores = _Scores()

    def __call__(self, step: int) -> float:
        tick = step // self._steps_per_tick
        if tick < self._warmup:
            return self._scores.share * (tick + 1) / (self._warmup + 1)
        return self._scores.share * self._shape(Tick(tick - self._warmup, self._total, self._per_epoch))

    def observe(self, miou: float) -> bool:
        """Hear the mIoU of a validation (0..1, or NaN); whether the rate falls because of it."""
        before = self._scores.share
        if isinstance(self._shape, Plateau):
            self._scores.add(miou, self._shape)
        return self._scores.share < before

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain data."""
        return asdict(self._scores)

    def load(self, state: Mapping[str, Any]) -> None:
        """Put a saved `state` back."""
        self._scores = _Scores(**state)


def build_schedule(recipe: Schedule, steps: int, *, epochs: int = 1) -> RateSchedule:
    """The recipe's schedule for a training, or a stage of it, of so many optimiser steps and epochs.

    Raises UserError for arguments that the schedule does not take, and for wrong values.
    """
    kind = SCHEDULES[recipe.name]
    try:
        shape = kind.model_validate(recipe.args)
    except ValidationError as error:
        raise UserError(_explain(recipe, list(kind.model_fields), error)) from None
    if kind is OneCycle and recipe.warmup > 0:
        raise UserError(
            f"schedule.warmup is {recipe.warmup:g}; one_cycle rises by itself, over schedule.args.rise of all steps. "
            "Use schedule.warmup=0."
        )
    return RateSchedule(shape, warmup=recipe.warmup, unit=recipe.unit, steps=steps, epochs=epochs)


def _explain(recipe: Schedule, allowed: list[str], error: ValidationError) -> str:
    item = error.errors()[0]
    key = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        takes = ", ".join(allowed) or "no arguments"
        hint = did_you_mean(key, allowed)
        return f"schedule.args has no '{key}' for {recipe.name}; it takes {takes}.{hint}"
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"schedule.args.{key} is {item['input']!r} for {recipe.name}; {message}."


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of every group: `rate` times the group's own factor, where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
