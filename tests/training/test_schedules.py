"""Every schedule against torch's own, what it refuses, and the optimiser's groups."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from segwright.contracts import UserError
from segwright.models import build_architecture
from segwright.recipe import Group, Optimizer, Schedule
from segwright.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from segwright.training.schedule import SCHEDULES, RateSchedule, build_schedule

Reference = Callable[[torch.optim.Optimizer], Any]


def rates(reference: Reference, steps: int) -> list[float]:
    """The rates of a torch scheduler whose peak is 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = reference(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def schedule(name: str, steps: int, *, epochs: int = 1, unit: str = "step", **args: Any) -> RateSchedule:
    return build_schedule(Schedule(name=name, unit=unit, args=args), steps, epochs=epochs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "args", "reference"),
    [
        ("constant", {}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        ("poly", {"power": 2.0}, lambda o: lr_scheduler.PolynomialLR(o, 60, power=2.0)),
        ("cosine", {"final": 0.2}, lambda o: lr_scheduler.CosineAnnealingLR(o, 60, eta_min=0.2)),
        ("one_cycle", {}, lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=60, cycle_momentum=False)),
        (
            "one_cycle",
            {"rise": 0.45, "start": 0.1, "final": 0.01, "curve": "linear"},
            lambda o: lr_scheduler.OneCycleLR(
                *(o, 1.0, 60), pct_start=0.45, div_factor=10, final_div_factor=10, anneal_strategy="linear"
            ),
        ),
    ],
)
def test_each_step_has_torchs_rate(name: str, args: dict[str, Any], reference: Reference) -> None:
    if name == "one_cycle" and not args:
        args = {"start": 1 / 25, "final": 1 / 25e4}
    ours = schedule(name, 60, **args)
    assert [ours(step) for step in range(60)] == pytest.approx(rates(reference, 60), rel=1e-6, abs=1e-9)


def test_the_defaults_of_one_cycle_are_torchs() -> None:
    theirs = rates(lambda o: lr_scheduler.OneCycleLR(o, 1.0, 40), 40)
    assert [schedule("one_cycle", 40)(step) for step in range(40)] == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("t0", "factor", "final"), [(5, 2, 0.0), (1, 1, 0.1), (2, 3, 0.0)])
def test_warm_restarts_are_torchs_at_every_step(t0: int, factor: int, final: float) -> None:
    epochs, per_epoch = 20, 7
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=t0, T_mult=factor, eta_min=final)
    ours = schedule("warm_restarts", epochs * per_epoch, epochs=epochs, t0=t0, factor=factor, final=final)
    for step in range(epochs * per_epoch):
        optimizer.step()
        theirs.step(step / per_epoch)  # as its documentation says for steps inside an epoch
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, 12)),
        ("poly", lambda o: lr_scheduler.PolynomialLR(o, 12, power=0.9)),
        ("warm_restarts", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2)),
        ("one_cycle", lambda o: lr_scheduler.OneCycleLR(o, 1.0, 12)),
    ],
)
def test_by_epoch_the_rate_stays_within_an_epoch(name: str, reference: Reference) -> None:
    ours = schedule(name, 12 * 5, epochs=12, unit="epoch")
    theirs = rates(reference, 12)
    for step in range(12 * 5):
        assert ours(step) == pytest.approx(theirs[step // 5], rel=1e-6, abs=1e-9)


def test_by_epoch_the_warm_up_counts_epochs() -> None:
    ours = build_schedule(Schedule(name="constant", unit="epoch", warmup=0.4), 10 * 3, epochs=10)
    assert [round(ours(step), 3) for step in range(0, 18, 3)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    assert ours(2) == ours(0)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.3005, 0.4, math.nan]), max_size=40),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 2),
    cut=st.integers(0, 40),
)
def test_plateau_is_torchs_and_survives_saving(scores: list[float], patience: int, cooldown: int, cut: int) -> None:
    args: dict[str, Any] = {"factor": 0.5, "patience": patience, "threshold": 0.001, "cooldown": cooldown, "final": 0.1}
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        *(optimizer, "max"), factor=0.5, patience=patience, threshold=0.001, threshold_mode="abs", cooldown=cooldown,
        min_lr=0.1,
    )  # fmt: skip
    ours = schedule("plateau", 100, **args)
    for number, miou in enumerate(scores):
        before = ours(number)
        fell = ours.observe(miou)
        theirs.step(miou)
        assert ours(number) == pytest.approx(optimizer.param_groups[0]["lr"])
        assert fell == (ours(number) < before)
        if number == cut:
            state = json.loads(json.dumps(ours.state, allow_nan=False))
            ours = schedule("plateau", 100, **args)
            ours.load(state)


def test_only_plateau_listens_to_scores() -> None:
    for name in set(SCHEDULES) - {"plateau"}:
        ours = schedule(name, 10, epochs=10)
        before = [ours(step) for step in range(10)]
        assert not any(ours.observe(0.0) for _ in range(20))
        assert [ours(step) for step in range(10)] == before


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=30, deadline=None)
@given(epochs=st.integers(1, 9), per_epoch=st.integers(1, 9), unit=st.sampled_from(["step", "epoch"]))
def test_every_schedule_stays_between_nothing_and_the_peak(name: str, epochs: int, per_epoch: int, unit: str) -> None:
    ours = schedule(name, epochs * per_epoch, epochs=epochs, unit=unit)
    found = [ours(step) for step in range(epochs * per_epoch + 1)]
    assert all(0 <= rate <= 1 for rate in found)


@pytest.mark.parametrize(
    ("name", "warmup", "args", "part"),
    [
        ("plateau", 0.0, {"factor": 1.5}, r"schedule.args.factor is 1.5 for plateau; input should be less than 1"),
        ("plateau", 0.0, {"patince": 3}, r"no 'patince' for plateau.* Did you mean 'patience'"),
        ("warm_restarts", 0.0, {"t0": 0}, "schedule.args.t0 is 0 for warm_restarts"),
        ("cosine", 0.0, {"final": "low"}, "schedule.args.final is 'low' for cosine"),
        ("one_cycle", 0.1, {}, "one_cycle rises by itself"),
        ("one_cycle", 0.0, {"curve": "round"}, "'cosine' or 'linear'"),
    ],
)
def test_wrong_arguments_are_refused(name: str, warmup: float, args: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        build_schedule(Schedule(name=name, warmup=warmup, args=args), 10)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "args", [{}, {"momentum": 0.999}, {"momentum": 0.9, "centered": True, "alpha": 0.9, "eps": 1e-6}]
)
def test_rmsprop_is_its_formula(args: dict[str, Any]) -> None:
    """Written out in NumPy-like scalars from torch's documentation: no code is shared."""
    weight = nn.Parameter(torch.tensor([[0.5]], dtype=torch.float64))
    module = nn.Module()
    module.register_parameter("weight", weight)
    optimizer = build_optimizer(Optimizer(name="rmsprop", lr=0.01, weight_decay=0.1, args=args), module)
    alpha, eps = args.get("alpha", 0.99), args.get("eps", 1e-8)
    value, square, mean, speed = 0.5, 0.0, 0.0, 0.0
    for step in range(8):
        gradient = math.sin(step + 1)
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        gradient += 0.1 * value
        square = alpha * square + (1 - alpha) * gradient**2
        mean = alpha * mean + (1 - alpha) * gradient
        root = math.sqrt(square - mean**2 if args.get("centered") else square) + eps
        speed = args.get("momentum", 0.0) * speed + gradient / root
        value -= 0.01 * speed
        assert weight.item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("shape", [(12, 20), (8, 6, 3, 3), (24, 4, 1, 1)])
def test_muon_steps_along_the_polar_factor_of_its_momentum(shape: tuple[int, ...]) -> None:
    """Beside U·Vᵀ of NumPy's singular value decomposition, with the size that arXiv 2502.16982 gives the step."""
    module = nn.Module()
    module.register_parameter("weight", nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1))))
    weight = module.get_parameter("weight")
    args = {"momentum": 0.9, "nesterov": True}
    optimizer = build_optimizer(Optimizer(name="muon", lr=0.02, weight_decay=0.1, args=args), module)
    mean = np.zeros((shape[0], math.prod(shape[1:])))
    for step in range(5):
        before = weight.detach().flatten(1).double().numpy().copy()
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(step + 10))
        weight.grad = gradient
        optimizer.step()
        flat = gradient.flatten(1).double().numpy()
        mean = 0.9 * mean + 0.1 * flat
        left, _, right = np.linalg.svd(0.1 * flat + 0.9 * mean, full_matrices=False)
        expected = 0.02 * 0.2 * max(mean.shape) ** 0.5 * (left @ right)
        found = (1 - 0.02 * 0.1) * before - weight.detach().flatten(1).double().numpy()
        assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(expected)  # five steps of Newton-Schulz


def test_muon_gives_biases_and_depthwise_kernels_steps_of_adamw_and_goes_on_from_a_file() -> None:
    def network() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.BatchNorm2d(8))

    ours, theirs = network(), network()
    recipe = Optimizer(name="muon", lr=0.01, args={"nesterov": False, "fallback_lr_scale": 0.5, "betas": [0.8, 0.9]})
    optimizer = build_optimizer(recipe, ours)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.005, betas=(0.8, 0.9), weight_decay=0.0)
    for step in range(6):
        image = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(step))
        for model, steps in ((ours, optimizer), (theirs, reference)):
            steps.zero_grad()
            model(image).pow(3).mean().backward()
            steps.step()
        if step == 2:
            saved = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
            optimizer = build_optimizer(recipe, ours)
            load_optimizer_tensors(optimizer, saved)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_groups_set_rate_and_decay_of_what_they_match() -> None:
    model = build_architecture("unet", 3, {"width": 4, "depth": 2})
    names = [name for name, _ in model.named_parameters()]
    head = names[-2].rsplit(".", 1)[0]
    groups = [Group(match=f"{head}.*", lr_factor=10.0), Group(match="*", lr_factor=0.5, weight_decay=0.3)]
    optimizer = build_optimizer(Optimizer(name="sgd", lr=0.1, weight_decay=0.01, groups=groups), model)
    told = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        rate, decay = (1.0, 0.01) if name.startswith(f"{head}.") else (0.05, 0.3)
        assert told[id(parameter)] == (pytest.approx(rate), decay if parameter.ndim > 1 else 0.0)


@pytest.mark.parametrize(
    ("groups", "part"),
    [
        ([Group(match="clasify.*", lr_factor=2.0)], r"optimizer.groups: the pattern 'clasify.\*' matches no parameter"),
        ([Group(match="*"), Group(match="*")], r"'\*' twice"),
    ],
)
def test_groups_that_match_nothing_are_refused(groups: list[Group], part: str) -> None:
    model = build_architecture("fast_scnn", 3, {"width": 0.25})
    with pytest.raises(UserError, match=part):
        build_optimizer(Optimizer(name="sgd", lr=0.1, groups=groups), model)


def test_the_nearest_names_are_told() -> None:
    model = build_architecture("deeplab_v3", 3, {"backbone": "resnet18", "channels": 8})
    with pytest.raises(UserError, match=r"Did you mean 'backbone\.\*'"):
        build_optimizer(Optimizer(name="sgd", lr=0.1, groups=[Group(match="backbon.*")]), model)
