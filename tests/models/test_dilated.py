"""Dilated depthwise convolutions, tap by tap: the numbers and gradients of torch's own in float64, in every mode of a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from segwright.models import build_architecture
from segwright.models.dilated import DilatedConv2d, train_by_taps


def both(
    image: Tensor, *, kernel: tuple[int, int], dilation: tuple[int, int], bias: bool = False, padding: Any = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Output, gradient of the picture and of the parameters: ours as it is, torch's in float64."""
    channels = image.shape[1]
    if padding is None:
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    shape: dict[str, Any] = {"padding": padding, "dilation": dilation, "groups": channels, "bias": bias}
    ours = DilatedConv2d(channels, channels, kernel, **shape)
    exact = nn.Conv2d(channels, channels, kernel, **shape)
    exact.load_state_dict(ours.state_dict())
    results = []
    for layer, x in ((ours, image.clone()), (exact.double(), image.double().contiguous())):
        out = layer(x.requires_grad_())
        weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
        (out * weight.to(out.dtype)).sum().backward()
        results.append([out.detach(), x.grad, *(p.grad for p in layer.parameters())])
    return results[0], results[1]


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm().clamp_min(1e-12))


@given(
    height=st.integers(1, 20), width=st.integers(1, 20), rows=st.sampled_from([1, 3, 5]),
    columns=st.sampled_from([1, 3, 5]), down=st.integers(1, 24), across=st.integers(1, 24), bias=st.booleans(),
    last=st.booleans(),
)  # fmt: skip
@settings(max_examples=60)
def test_values_and_gradients_are_those_of_torch_in_float64(
    height: int, width: int, rows: int, columns: int, down: int, across: int, bias: bool, last: bool
) -> None:
    torch.manual_seed(height * width)
    kind = torch.channels_last if last else torch.contiguous_format
    image = torch.randn(2, 4, height, width).contiguous(memory_format=kind)
    found, wanted = both(image, kernel=(rows, columns), dilation=(down, across), bias=bias)
    assert all(distance(f, w) < 1e-5 for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dilation", [2, 4, 12])
def test_bf16_under_autocast_has_right_gradients(dilation: int, kind: torch.memory_format) -> None:
    """torch 2.15 has wrong ones here with channels last; the precision probe allows an error of a tenth."""
    torch.manual_seed(0)
    image = torch.randn(2, 128, 44, 60).contiguous(memory_format=kind)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = both(image, kernel=(3, 3), dilation=(dilation, dilation))
    assert found[0].dtype == torch.bfloat16
    assert all(distance(f, w) < 0.02 for f, w in zip(found, wanted, strict=True))


def test_padding_that_keeps_the_size_by_name_is_the_same() -> None:
    found, wanted = both(torch.randn(1, 3, 9, 11), kernel=(3, 3), dilation=(2, 3), padding="same")
    assert all(distance(f, w) < 1e-5 for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "other",
    [{"stride": 2}, {"padding": 0}, {"padding_mode": "reflect"}, {"groups": 2}, {"kernel_size": 7, "padding": 6}],
)
def test_what_goes_not_by_taps_is_torchs_own_in_fp32(other: dict[str, Any]) -> None:
    shape: dict[str, Any] = {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4} | other
    layer, plain = DilatedConv2d(4, 4, **shape), nn.Conv2d(4, 4, **shape)
    plain.load_state_dict(layer.state_dict())
    image = torch.randn(2, 4, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(image)
    assert torch.equal(found, plain(image))


def test_prediction_is_torchs_own_to_the_last_bit() -> None:
    layer = DilatedConv2d(8, 8, 3, padding=4, dilation=4, groups=8)
    image = torch.randn(1, 8, 20, 20)
    with torch.no_grad():
        assert torch.equal(layer(image), nn.Conv2d.forward(layer, image))


def test_the_networks_of_others_are_changed_where_it_matters_and_keep_their_keys() -> None:
    args = {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2"}
    net = build_architecture("smp", 5, args)
    changed = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and max(m.dilation) > 1]
    assert len(changed) == 7
    assert all(type(m) is DilatedConv2d for m in changed)
    plain = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=5)
    keys = list(plain.state_dict())
    assert list(train_by_taps(plain).state_dict()) == keys


def test_a_whole_network_learns_what_the_plain_one_learns() -> None:
    torch.manual_seed(0)
    plain = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=5).double().train()
    ours = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, classes=5).double().train()
    ours.load_state_dict(plain.state_dict())
    train_by_taps(ours)
    image = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    for net in (plain, ours):
        torch.manual_seed(1)  # dropout
        net(image).square().mean().backward()
    for (name, one), other in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, rtol=1e-6, atol=1e-9), name
