"""Optimisers, schedules and averaging, each against its definition or torch's own."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import nn

from segwright.contracts import UserError
from segwright.labels import load_label_space
from segwright.models import MODELS, Segmenter
from segwright.recipe import Optimizer, Schedule
from segwright.training.averaging import AveragedModel
from segwright.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from segwright.training.probe import candidates, measure_modes
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


def segmenter() -> Segmenter:
    torch.manual_seed(0)
    space = load_label_space("camvid11")
    args = {"width": 4, "depth": 2}
    return Segmenter(MODELS["unet"](space.num_classes, **args), labels=space, model={"name": "unet", "args": args})


def test_the_average_follows_weights_and_statistics_by_its_formula() -> None:
    model = segmenter()
    average = AveragedModel(model, decay=0.9)
    expected = {k: v.clone().double() for k, v in model.state_dict().items()}
    for step in range(1, 30):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(1) if not value.is_floating_point() else value.mul_(1.01).add_(0.1)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            expected[key] = expected[key] * decay + value * (1 - decay) if value.is_floating_point() else value.double()
    for key, value in average.model.state_dict().items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in average.model.parameters())


def test_probing_picks_the_fastest_and_leaves_no_trace() -> None:
    model = segmenter()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random_state = torch.get_rng_state()
    speed = {("fp32", "contiguous"): 0.02, ("bf16", "contiguous"): 0.001, ("fp32", "channels_last"): 0.3}
    calls: list[tuple[str, str]] = []

    def step(trial: nn.Module, image: torch.Tensor, precision: str, memory_format: str) -> None:
        torch.randn(5)
        for parameter in trial.parameters():
            parameter.data.zero_()
        calls.append((precision, memory_format))
        time.sleep(speed[precision, memory_format])

    measured = measure_modes(model, step, torch.zeros(1, 3, 8, 8), list(speed), device="cpu")
    assert (measured[0].precision, measured[0].memory_format) == ("bf16", "contiguous")
    assert calls.count(("fp32", "channels_last")) == 1, "a hopeless mode is tried once"
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_mode_with_wrong_gradients_is_not_chosen() -> None:
    def step(trial: nn.Module, image: torch.Tensor, precision: str, memory_format: str) -> None:
        value = float("nan") if precision == "bf16" else 1.0
        for parameter in trial.parameters():
            parameter.grad = torch.full_like(parameter, value)
        time.sleep(0.01 if precision == "fp32" else 0)

    modes = [("bf16", "channels_last"), ("fp32", "channels_last")]
    measured = measure_modes(segmenter(), step, torch.zeros(1, 3, 8, 8), modes, device="cpu")
    assert measured[0].precision == "fp32"
    assert "wrong gradients" in str(measured[1])


@pytest.mark.parametrize(("fault", "sound"), [(1.0, True), (1.4, False)])
def test_a_wrong_gradient_of_a_dilated_depthwise_layer_is_noticed(fault: float, sound: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=8), nn.Conv2d(8, 2, 1))

    def step(trial: nn.Module, image: torch.Tensor, precision: str, memory_format: str) -> None:
        trial(image).square().mean().backward()
        trial[1].weight.grad.mul_(fault)  # type: ignore[index, union-attr, operator]

    (mode,) = measure_modes(model, step, torch.randn(2, 3, 24, 32), [("bf16", "channels_last")], device="cpu")
    assert mode.sound is sound


@pytest.mark.parametrize("size", [(224, 288), (256, 352)])
def test_fast_scnn_has_right_gradients_in_every_mode_that_is_chosen(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = MODELS["fast_scnn"](5, head_stride=4)

    def step(trial: nn.Module, image: torch.Tensor, precision: str, memory_format: str) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = trial.train()(image).logits_BKhw
        logits.float().square().mean().backward()

    modes = [("bf16", "channels_last"), ("fp32", "channels_last")]
    measured = measure_modes(model, step, torch.randn(2, 3, *size), modes, device="cpu", repeats=0)
    assert all(m.sound for m in measured)


@pytest.mark.parametrize(
    ("precision", "memory_format", "expected"),
    [
        ("fp32", "contiguous", [("fp32", "contiguous")]),
        ("auto", "channels_last", [("fp32", "channels_last"), ("bf16", "channels_last")]),
        ("bf16", "auto", [("bf16", "channels_last"), ("bf16", "contiguous")]),
    ],
)
def test_only_what_is_auto_is_probed(precision: str, memory_format: str, expected: list[tuple[str, str]]) -> None:
    assert candidates(precision, memory_format, "cpu") == expected
