"""Small pieces that several architectures share.

Letters: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(
    channels: int, out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Bias-free convolution that keeps the size at stride 1, BatchNorm, ReLU."""
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def separable(channels: int, out: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3×3, then pointwise 1×1, each followed by BatchNorm and ReLU (Howard et al. 2017)."""
    depthwise = conv_bn_relu(channels, channels, stride=stride, dilation=dilation, groups=channels)
    return nn.Sequential(*depthwise, *conv_bn_relu(channels, out, 1))


def to_size_of(features_BCHW: Tensor, other_BCHW: Tensor, *, align_corners: bool = False) -> Tensor:
    """Bilinear resize to the height and width of another feature map; nothing where they agree."""
    size = other_BCHW.shape[-2:]
    if features_BCHW.shape[-2:] == size:
        return features_BCHW
    return F.interpolate(features_BCHW, size=size, mode="bilinear", align_corners=align_corners)


def init_he(module: nn.Module) -> None:
    """Kaiming initialisation (fan out, ReLU) of every convolution in `module`; BatchNorm weight 1 and bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
