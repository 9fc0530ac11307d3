"""Optimisers, schedules and averaging, each against its definition or torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from segwright.contracts import UserError
from segwright.recipe import Optimizer, Schedule
from segwright.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from segwright.training.schedule import build_schedule


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def test_poly_is_deeplabs() -> None:
    factor = build_schedule(Schedule(name="poly", args={"power": 0.9}), 100)
    reference = torch.optim.lr_scheduler.PolynomialLR(torch.optim.SGD([torch.zeros(1)], lr=1.0), 100, power=0.9)
    for step in range(100):
        assert math.isclose(factor(step), reference.get_last_lr()[0], rel_tol=1e-9)
        reference.optimizer.step()
        reference.step()


def test_cosine_is_torchs() -> None:
    factor = build_schedule(Schedule(name="cosine", args={"final": 0.1}), 50)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([torch.zeros(1)], lr=1.0), 50, eta_min=0.1)
    for step in range(50):
        assert math.isclose(factor(step), reference.get_last_lr()[0], rel_tol=1e-6)
        reference.optimizer.step()
        reference.step()


def test_warm_up_rises_linearly_then_the_schedule_starts() -> None:
    factor = build_schedule(Schedule(name="constant", warmup=0.4), 10)
    assert [round(factor(s), 3) for s in range(6)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(
    ("schedule", "part"),
    [
        (Schedule(name="poly", args={"powr": 1}), "no 'powr' for poly; it takes power, final"),
        (Schedule(name="constant", args={"power": 1}), "no 'power' for constant; it takes no arguments"),
    ],
)
def test_wrong_schedules_are_refused(schedule: Schedule, part: str) -> None:
    with pytest.raises(UserError, match=part):
        build_schedule(schedule, 10)


def test_unknown_optimizer_arguments_are_refused() -> None:
    with pytest.raises(UserError, match=r"no 'momentun' for sgd; allowed are momentum"):
        build_optimizer(Optimizer(name="sgd", lr=0.1, args={"momentun": 0.9}), small())


@pytest.mark.parametrize(
    ("name", "args"),
    [("sgd", {"momentum": 0.9, "nesterov": True}), ("adam", {"betas": [0.8, 0.99]}), ("adamw", {})],
)
def test_steps_equal_torchs_unfused_optimizer_and_survive_saving(name: str, args: dict[str, object]) -> None:
    ours, theirs = small(), small()
    optimizer = build_optimizer(Optimizer(name=name, lr=0.05, weight_decay=0.01, args=args), ours)  # type: ignore[arg-type]
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in args.items()}
    decayed = [p for p in theirs.parameters() if p.ndim > 1]
    rest = [p for p in theirs.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    reference = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](
        groups, lr=0.05, foreach=False, **kwargs
    )
    for step in range(6):
        image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        for model, opt in ((ours, optimizer), (theirs, reference)):
            opt.zero_grad()
            model(image).square().mean().backward()
            opt.step()
        if step == 2:  # a fresh optimiser with the saved state goes on as if nothing had happened
            tensors = {k: v.clone() for k, v in optimizer_tensors(optimizer).items()}
            optimizer = build_optimizer(Optimizer(name=name, lr=0.05, weight_decay=0.01, args=args), ours)  # type: ignore[arg-type]
            load_optimizer_tensors(optimizer, tensors)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
