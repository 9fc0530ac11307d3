"""Small pieces that several architectures share.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, s regions a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.models.dilated import DilatedConv2d


def check_arguments(model: str, *, output_stride: int = 8, dropout: float = 0.0, **counts: int) -> None:
    """Raise UserError for an output stride that is not 8 or 16, a dropout outside 0..1 (without 1), a count below 1."""
    if output_stride not in (8, 16):
        raise UserError(f"{model}: output_stride is {output_stride}; allowed are 8 (finer) and 16 (faster).")
    if not 0 <= dropout < 1:
        raise UserError(f"{model}: dropout is {dropout}; allowed are numbers from 0 to below 1.")
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{model}: {name} is {count}; allowed are whole numbers from 1.")


def check_strides(model: str, backbone: str, found: Sequence[int], needed: Sequence[int]) -> None:
    """Raise UserError where a backbone's features do not have the strides that a decoder needs."""
    if tuple(found) != tuple(needed):
        have, need = (", ".join(map(str, strides)) for strides in (found, needed))
        raise UserError(
            f"{model}: the backbone '{backbone}' has features at the strides {have}, but the decoder needs {need}. "
            "Choose such a backbone: resnet50, mobilenetv2_100, convnext_tiny."
        )


def conv_bn_relu(
    channels: int, out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Bias-free convolution that keeps the size at stride 1, BatchNorm, ReLU."""
    padding = dilation * (kernel - 1) // 2
    kind = DilatedConv2d if groups > 1 and dilation > 1 else nn.Conv2d
    conv = kind(channels, out, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def separable(channels: int, out: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3×3, then pointwise 1×1, each followed by BatchNorm and ReLU (Howard et al. 2017)."""
    depthwise = conv_bn_relu(channels, channels, stride=stride, dilation=dilation, groups=channels)
    return nn.Sequential(*depthwise, *conv_bn_relu(channels, out, 1))


def auxiliary_head(channels: int, num_classes: int, *, dropout: float = 0.1) -> nn.Sequential:
    """Classifier on features inside a backbone: 3×3 to a quarter of the channels, dropout, 1×1 (Zhao et al. 2017)."""
    return classifier(channels, max(1, channels // 4), num_classes, dropout=dropout)


def classifier(channels: int, inner: int, num_classes: int, *, dropout: float = 0.1) -> nn.Sequential:
    """3×3 to `inner` channels with BatchNorm and ReLU, dropout, 1×1 to the classes (Long et al. 2015)."""
    return nn.Sequential(*conv_bn_relu(channels, inner), nn.Dropout(dropout), nn.Conv2d(inner, num_classes, 1))


def to_size_of(features_BCHW: Tensor, other_BCHW: Tensor, *, align_corners: bool = False) -> Tensor:
    """Bilinear resize to the height and width of another feature map; nothing where they agree."""
    size = other_BCHW.shape[-2:]
    if features_BCHW.shape[-2:] == size:
        return features_BCHW
    return F.interpolate(features_BCHW, size=size, mode="bilinear", align_corners=align_corners)


def without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """A block in which autocast leaves float32 alone on the tensor's device: for sums too large for bfloat16."""
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


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


def region_means(x_BChw: Tensor, bins: int) -> Tensor:
    """Means over bins×bins regions: float [B, C, bins, bins], equal to `adaptive_avg_pool2d` for every h, w ≥ 1.

    As two matrix products it has a deterministic backward pass on GPUs and exports with dynamic sizes; adaptive pooling
    has neither.
    """
    rows_sh, cols_sw = (_membership(bins, n, x_BChw) for n in x_BChw.shape[-2:])
    sums: Tensor = rows_sh @ x_BChw @ cols_sw.mT
    return sums / (rows_sh.sum(1, keepdim=True) * cols_sw.sum(1))


def _membership(bins: int, length: int, like: Tensor) -> Tensor:
    """[s, length], 1 where a position lies in a region: from floor(i·length/s) up to ceil((i + 1)·length/s)."""
    region_s1 = torch.arange(bins, device=like.device).unsqueeze(1)
    position = torch.arange(length, device=like.device)
    start, end = region_s1 * length // bins, ((region_s1 + 1) * length + bins - 1) // bins
    return ((position >= start) & (position < end)).to(like.dtype)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1×1, several dilated 3×3 and a global mean side by side, joined by a 1×1.

    Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017 (arXiv 1706.05587). Each
    branch, and the 1×1 that joins them, is a bias-free convolution, BatchNorm and ReLU. The mean, one value a channel,
    spreads over the map, as bilinear resizing would do it; its BatchNorm refuses a batch of one in training.

    rates: dilations of the 3×3 branches. branch: channels of each branch, as many as `out` unless given.
    separated: the 3×3 branches are depthwise separable (arXiv 1802.02611).
    dropout: share of values left out at the end in training.
    Input: float [B, C, h, w]. Output: float [B, out, h, w].
    """

    def __init__(
        self,
        channels: int,
        out: int,
        rates: Sequence[int],
        *,
        branch: int | None = None,
        separated: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        branch = branch or out
        layer = separable if separated else conv_bn_relu
        dilated = [layer(channels, branch, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList([conv_bn_relu(channels, branch, 1), *dilated])
        self.mean = conv_bn_relu(channels, branch, 1)
        self.project = conv_bn_relu((len(rates) + 2) * branch, out, 1)
        if dropout:
            self.project.append(nn.Dropout(dropout))

    def forward(self, x_BChw: Tensor) -> Tensor:
        joined: Tensor = self.project(self.side_by_side(x_BChw))
        return joined

    def side_by_side(self, x_BChw: Tensor) -> Tensor:
        """The branches' outputs before the 1×1 that joins them: float [B, (rates + 2) · branch, h, w]."""
        mean = self.mean(x_BChw.mean((2, 3), keepdim=True)).expand(-1, -1, *x_BChw.shape[-2:])
        return torch.cat([*(branch(x_BChw) for branch in self.branches), mean], dim=1)
