"""Learning-rate schedules: pure functions of the step, so that resuming needs nothing but the step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial

import torch

from segwright.contracts import UserError
from segwright.recipe import Schedule


def poly(progress: float, *, power: float = 0.9, final: float = 0.0) -> float:
    """(1 - progress)^power, as DeepLab (Chen et al. 2017), from 1 down to `final`."""
    return final + (1 - final) * max(0.0, 1 - progress) ** power


def cosine(progress: float, *, final: float = 0.0) -> float:
    """Half a cosine from 1 down to `final` (Loshchilov & Hutter 2017, without restarts)."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


SCHEDULES: dict[str, Callable[..., float]] = {"poly": poly, "cosine": cosine, "constant": constant}


def build_schedule(recipe: Schedule, total_steps: int) -> Callable[[int], float]:
    """step (0 for the first) -> share of the peak learning rate, after a linear warm-up.

    Raises UserError for arguments that the schedule does not take.
    """
    shape = SCHEDULES[recipe.name]
    allowed = [p for p in inspect.signature(shape).parameters if p != "progress"]
    if unknown := sorted(set(recipe.args) - set(allowed)):
        takes = ", ".join(allowed) or "no arguments"
        raise UserError(f"schedule.args has no '{unknown[0]}' for {recipe.name}; it takes {takes}.")
    warmup = round(recipe.warmup * total_steps)
    return partial(_factor, shape=partial(shape, **recipe.args), warmup=warmup, total=total_steps)


def _factor(step: int, *, shape: Callable[[float], float], warmup: int, total: int) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return shape((step - warmup) / max(1, total - warmup))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of every group: `rate` times the group's own factor, where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_factor", 1.0)
