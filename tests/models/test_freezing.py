"""Freezing and learning rates by depth: what learns, what stays bit for bit, what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from segwright.contracts import UserError
from segwright.models import build_architecture
from segwright.models.freezing import advice, freeze, layers_in_order, parameter_groups, unfreeze
from tests.models.conftest import pictures


def small(name: str = "deeplab_v3") -> nn.Module:
    args: dict[str, Any] = {
        "deeplab_v3": {"backbone": "resnet18", "channels": 8, "auxiliary": True},
        "unet": {"width": 4, "depth": 2},
    }
    return build_architecture(name, 3, args[name])


def step(model: nn.Module) -> None:
    """One training step with a large rate: what can change, changes."""
    model.train()
    rates = parameter_groups(model, lr=0.5)
    optimizer = torch.optim.SGD(rates, lr=0.5)
    outputs = model(pictures(2, 64, 64).float() / 64)
    sum(t.square().mean() for t in (outputs.logits_BKhw, *outputs.auxiliary)).backward()
    optimizer.step()


@pytest.mark.parametrize("statistics", [True, False])
def test_frozen_layers_stay_bit_for_bit_and_the_rest_learns(statistics: bool) -> None:
    model = small()
    done = freeze(model, ["backbone.*"], statistics=statistics)
    before = copy.deepcopy(model.state_dict())
    step(copy.deepcopy(model))  # a copy freezes alike
    step(model)
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    learned = {n for n in changed if n in dict(model.named_parameters())}
    assert {n.split(".")[0] for n in learned} == {"aspp", "refine", "classify", "auxiliary"}
    moved = {n for n in changed if n.startswith("backbone.")}
    assert bool(moved) != statistics
    assert all("running_" in n or "num_batches" in n for n in moved)
    assert (done.statistics > 0) == statistics
    assert done.parameters == sum(p.numel() for n, p in model.named_parameters() if n.startswith("backbone."))
    assert f"{done.parameters:,} of {done.total:,} parameters are frozen" in done.sentence()
    model.eval()
    assert model.state_dict().keys() == before.keys()


def test_unfreezing_undoes_freezing_and_nothing_else() -> None:
    model = small()
    kept = next(model.parameters())
    kept.requires_grad_(False)  # part of the architecture: it never learns
    kinds = {n: type(m) for n, m in model.named_modules()}
    model.train()
    modes = {n: m.training for n, m in model.named_modules()}
    done = freeze(model, ["backbone.*"])
    assert len(done.changed) == len(done.names) - 1
    unfreeze(model, done)
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == {"backbone.net.conv1.weight"}
    assert {n: type(m) for n, m in model.named_modules()} == kinds
    assert {n: m.training for n, m in model.named_modules()} == modes
    again = freeze(model, ["backbone.*"])
    assert again == done
    unfreeze(model, again)
    before = copy.deepcopy(model.state_dict())
    step(model)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert "backbone.net.layer1.0.bn1.running_mean" in moved
    assert "backbone.net.layer1.0.bn2.weight" in moved  # (conv1 has no gradient yet: bn2 starts with weight 0)


def test_a_weight_decay_of_ones_own_by_pattern() -> None:
    model = small()
    decays: dict[str, float | None] = {"classify.*": None, "*": 0.5}
    groups = parameter_groups(model, lr=0.1, weight_decay=0.01, decays=decays)
    found = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        expected = 0.01 if name.startswith("classify.") else 0.5
        assert found[id(parameter)] == (expected if parameter.ndim > 1 else 0.0)


def test_layers_come_in_the_order_of_the_forward_pass() -> None:
    flat = [name for names in layers_in_order(small()) for name in names]
    assert sorted(flat) == sorted(n for n, _ in small().named_parameters())
    assert flat[0] == "backbone.net.conv1.weight"
    assert flat.index("backbone.net.layer4.1.conv2.weight") < flat.index("aspp.branches.0.0.weight")
    assert flat.index("classify.weight") < flat.index("auxiliary.0.weight")  # only training uses it
    first = layers_in_order(small("unet"))[0]
    assert any(n.endswith("bias") for n in first)  # the normalisation belongs to its convolution


def test_a_share_of_depth_freezes_the_first_layers() -> None:
    model = small("unet")
    layers = layers_in_order(model)
    done = freeze(model, 0.5)
    frozen = {name for names in layers[: round(len(layers) / 2)] for name in names}
    assert set(done.names) == frozen == {n for n, p in model.named_parameters() if not p.requires_grad}
    assert freeze(small("unet"), 0.0).names == ()
    for share in (1.0, -0.1):
        with pytest.raises(UserError, match="a share of depth is from 0 to below 1"):
            freeze(small("unet"), share)


def test_patterns_that_match_nothing_or_everything_are_refused() -> None:
    with pytest.raises(UserError, match=r"'backbon\.\*' matches no parameter.*backbone\.\*, aspp\.\*"):
        freeze(small(), ["backbon.*"])
    with pytest.raises(UserError, match="nothing would learn"):
        freeze(small(), ["*"])


def test_rates_fall_with_depth_and_by_pattern() -> None:
    model = small()
    groups = parameter_groups(model, lr=0.1, weight_decay=0.01, decay_by_depth=0.1, factors={"classify.*": 10})
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    named = dict(model.named_parameters())
    assert sorted(rate) == sorted(map(id, named.values()))
    assert rate[id(named["backbone.net.conv1.weight"])] == pytest.approx(0.01)
    ordered = [rate[id(named[names[0]])] for names in layers_in_order(model) if not names[0].startswith("classify")]
    assert ordered == sorted(ordered)
    assert ordered[-1] == pytest.approx(0.1)
    assert rate[id(named["classify.weight"])] > 0.5
    assert all(g["weight_decay"] == 0 for g in groups for p in g["params"] if p.ndim == 1)
    assert len(groups) <= 2 * 9 + 2
    freeze(model, ["backbone.*"])
    kept = {id(p) for g in parameter_groups(model, lr=0.1) for p in g["params"]}
    assert kept == {id(p) for n, p in named.items() if not n.startswith("backbone.")}
    for wrong in ({"decay_by_depth": 0.0}, {"factors": {"nothing.*": 0.1}}, {"factors": {"*": 0.0}}):
        with pytest.raises(UserError):
            parameter_groups(model, lr=0.1, **wrong)


@pytest.mark.parametrize(
    ("miou", "pictures_", "word"), [(0.75, 3000, "freeze more"), (0.3, 3000, "freeze less"), (0.75, 40, "freeze less")]
)
def test_the_rule_of_thumb(miou: float, pictures_: int, word: str) -> None:
    assert word in advice(miou, pictures_)
    assert "is not known" in advice(None, pictures_)
