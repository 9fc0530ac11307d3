"""U-Net E: its parameters one by one, and its arithmetic against plain functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.contracts import UserError
from segwright.models.unet import UNet


def count(num_classes: int, **args: int) -> int:
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


@pytest.mark.parametrize("args", [{"width": 0}, {"depth": 0}, {"depth": 9}])
def test_impossible_sizes_are_refused(args: dict[str, int]) -> None:
    with pytest.raises(UserError, match="unet: width is"):
        UNet(2, **args)
