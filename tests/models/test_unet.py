"""U-Net: parameters of its forms one by one, its arithmetic against plain functions, its gates against libraries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import Tensor
from torchvision.ops import SqueezeExcitation

from segwright.contracts import UserError
from segwright.models.unet import ChannelGate, ChannelSpatialGate, PixelShuffleUp, UNet


def count(num_classes: int, **args: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(num_classes, **args).parameters())


def test_the_parameters_of_the_course() -> None:
    assert count(1) == 31_043_521
    assert count(10) == 31_043_521 + 9 * (64 + 1)


def test_the_parameters_follow_from_the_widths() -> None:
    def expected(width: int, depth: int, classes: int) -> int:
        def block(i: int, o: int) -> int:
            return (9 * i * o + o + 2 * o) + (9 * o * o + o + 2 * o)

        widths = [width * 2**level for level in range(depth + 1)]
        down = sum(block(i, o) for i, o in zip([3, *widths], widths, strict=False))
        up = sum(4 * 2 * o * o + o + block(2 * o, o) for o in widths[:-1])
        return down + up + (width + 1) * classes

    for width, depth, classes in ((64, 4, 1), (16, 4, 19), (8, 2, 3), (3, 1, 1)):
        assert count(classes, width=width, depth=depth) == expected(width, depth, classes)


def test_the_forward_pass_equals_plain_functions() -> None:
    net = UNet(3, width=4, depth=2).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    image = torch.randn(2, 3, 16, 24)
    weights = iter([t for name, t in net.state_dict().items() if not name.endswith("num_batches_tracked")])
    encoder = [[next(weights) for _ in range(12)] for _ in range(3)]
    up = [[next(weights) for _ in range(2)] for _ in range(2)]
    decoder = [[next(weights) for _ in range(12)] for _ in range(2)]

    def block(x: Tensor, w: list[Tensor]) -> Tensor:
        for conv_weight, conv_bias, scale, shift, mean, var in (w[:6], w[6:]):
            x = F.conv2d(x, conv_weight, conv_bias, padding=1)
            x = (x - mean.view(-1, 1, 1)) / (var.view(-1, 1, 1) + 1e-5).sqrt() * scale.view(-1, 1, 1)
            x = (x + shift.view(-1, 1, 1)).clamp_min(0)
        return x

    full = block(image, encoder[0])
    half = block(F.max_pool2d(full, 2), encoder[1])
    quarter = block(F.max_pool2d(half, 2), encoder[2])
    x = block(torch.cat([half, F.conv_transpose2d(quarter, *up[0], stride=2)], 1), decoder[0])
    x = block(torch.cat([full, F.conv_transpose2d(x, *up[1], stride=2)], 1), decoder[1])
    expected = F.conv2d(x, next(weights), next(weights))
    assert torch.allclose(net(image).logits_BKhw, expected, atol=1e-5)


def test_the_parameters_of_the_public_forms() -> None:
    """milesial's Pytorch-UNet: 31,037,633 for one class is what its users print; the others follow from its code."""
    assert count(1, bias=False) == 31_037_633
    assert count(10, bias=False) == 31_038_218
    double = {c: 9 * c[0] * c[1] + 9 * c[1] * c[2] + 2 * (c[1] + c[2]) for c in BILINEAR}
    assert count(10, bias=False, up="bilinear") == sum(double.values()) + 65 * 10 == 17_263_562
    assert count(1, bias=False, up="nearest") == 17_262_977


BILINEAR = [
    *((3, 64, 64), (64, 128, 128), (128, 256, 256), (256, 512, 512), (512, 512, 512)),
    *((1024, 512, 256), (512, 256, 128), (256, 128, 64), (128, 64, 64)),
]
"""Channels into, inside and out of the blocks of the public bilinear form, in order."""


@torch.no_grad()
@pytest.mark.parametrize(("up", "options"), [("bilinear", {"align_corners": True}), ("nearest", {})])
def test_ways_up_without_weights(up: str, options: dict[str, Any]) -> None:
    net = UNet(3, width=4, depth=2, up=up).eval()
    image = torch.randn(2, 3, 16, 24)
    full = net.encoder[0](image)
    half = net.encoder[1](F.max_pool2d(full, 2))
    x = net.encoder[2](F.max_pool2d(half, 2))
    for block, skip in zip(net.decoder, (half, full), strict=True):
        x = block(torch.cat([skip, F.interpolate(x, scale_factor=2, mode=up, **options)], 1))
    assert torch.allclose(net(image).logits_BKhw, net.classify(x), atol=1e-6)


@torch.no_grad()
def test_pixel_shuffle_is_a_transposed_convolution_that_starts_as_nearest() -> None:
    up, x = PixelShuffleUp(6, 3), torch.randn(2, 6, 5, 7)
    first = up[0](x)[:, ::4]
    assert torch.allclose(up(x), F.interpolate(first, scale_factor=2, mode="nearest"), atol=1e-6)
    torch.nn.init.normal_(up[0].weight)
    weight = up[0].weight.view(3, 2, 2, 6).permute(3, 0, 1, 2)
    bias = up[0].bias.view(3, 4)[:, 0]
    assert torch.allclose(up(x), F.conv_transpose2d(x, weight, bias, stride=2), atol=1e-5)


@torch.no_grad()
def test_the_gates_are_those_of_the_libraries() -> None:
    x = torch.randn(2, 48, 5, 7)
    ours, theirs = ChannelGate(48), SqueezeExcitation(48, 3)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    both, smp = ChannelSpatialGate(48), SCSEModule(48)
    smp.load_state_dict(dict(zip(smp.state_dict(), both.state_dict().values(), strict=True)))
    assert torch.allclose(both(x), smp(x), atol=1e-6)


def test_gates_sit_where_they_are_asked_for() -> None:
    gates = [
        {n for n, m in UNet(2, width=4, depth=2, attention=a).named_modules() if isinstance(m, ChannelGate)}
        for a in ("none", "se", "scse", "se+scse")
    ]
    assert gates == [set(), {"encoder.2.6"}, {"decoder.0.6", "decoder.1.6"}, gates[1] | gates[2]]


@pytest.mark.parametrize("args", [{"width": 0}, {"depth": 0}, {"depth": 9}])
def test_impossible_sizes_are_refused(args: dict[str, int]) -> None:
    with pytest.raises(UserError, match="unet: width is"):
        UNet(2, **args)


@pytest.mark.parametrize("args", [{"up": "linear"}, {"attention": "cbam"}])
def test_unknown_forms_are_refused_with_those_that_exist(args: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"pixel_shuffle, and attention none, se, scse, se\+scse"):
        UNet(2, **args)
