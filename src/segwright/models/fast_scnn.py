"""Fast-SCNN: a real-time net whose detail branch and context branch share their first three layers.

Source: Poudel, Liwicki, Cipolla, "Fast-SCNN: Fast Semantic Segmentation Network", BMVC 2019 (arXiv 1902.04502).
The paper states 1.11 M parameters for 19 classes; this form has 1,137,763, because the paper leaves details open that
are chosen here: every convolution but the last is followed by BatchNorm, depthwise ones too, and the pooling pyramid is
that of PSPNet, its input put beside the four means. The 1×1 mean has a bias instead of a BatchNorm, which would refuse
a batch of one picture: one value a channel has no variance.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, s pyramid bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import region_means
from segwright.models.card import Entry, ModelCard
from segwright.models.dilated import DilatedConv2d

EXPANSION = 6
BINS = (1, 2, 3, 6)


class FastSCNN(nn.Module):
    """Learning to down-sample, global feature extractor with a pooling pyramid, feature fusion, classifier.

    width: factor on all channel counts (rounded to multiples of 8).
    head_stride: 8, as in the paper, or 4 (ours): a second fusion adds the features of the second layer, so that logits
        come at a quarter of the picture's size and poles and signs are finer; the context branch stays as it is.
    auxiliary: in training, add a classifier on the shared layers and one on the context branch (the paper weighs
        their losses 0.4 each); evaluation does without them.
    dropout: share of channels' values left out before the last layer in training.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/head_stride, W/head_stride].
    Training needs more than one value a channel at H/32, W/32: BatchNorm refuses a single one.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        head_stride: int = 8,
        auxiliary: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if head_stride not in (4, 8):
            raise UserError(f"fast_scnn: head_stride is {head_stride}; allowed are 8 (as in the paper) and 4 (finer).")
        if not 0.05 <= width <= 16 or not 0 <= dropout < 1:
            raise UserError(
                f"fast_scnn: width is {width} and dropout {dropout}; allowed are 0.05..16 and 0..1 (without 1)."
            )
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        c32, c48, c64, c96, c128 = (max(8, round(c * width / 8) * 8) for c in (32, 48, 64, 96, 128))
        self.down_sample = nn.Sequential(
            _conv(3, c32, 3, stride=2),
            _separable(c32, c48, stride=2),
            _separable(c48, c64, stride=2),
        )
        self.context = nn.Sequential(
            *_stage(c64, c64, blocks=3, stride=2),
            *_stage(c64, c96, blocks=3, stride=2),
            *_stage(c96, c128, blocks=3, stride=1),
            PoolingPyramid(c128),
        )
        self.fusion = Fusion(c64, c128)
        self.refine = Refine(c48, c128) if head_stride == 4 else None
        self.classify = nn.Sequential(
            _separable(c128, c128), _separable(c128, c128), nn.Dropout(dropout), nn.Conv2d(c128, num_classes, 1)
        )
        heads = [_auxiliary_head(c, num_classes, dropout) for c in (c64, c128)] if auxiliary else []
        self.auxiliary = nn.ModuleList(heads)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        fine = self.down_sample[1](self.down_sample[0](image_BCHW))
        detail = self.down_sample[2](fine)
        context = self.context(detail)
        fused = self.fusion(detail, context)
        logits = self.classify(fused if self.refine is None else self.refine(fine, fused))
        if not self.training:
            return Outputs(logits)
        return Outputs(logits, tuple(head(x) for head, x in zip(self.auxiliary, (detail, context), strict=False)))


class InvertedResidual(nn.Module):
    """Widen by 1×1, filter by depthwise 3×3, narrow by 1×1 without a ReLU; adds its input where the shapes agree.

    Source: Sandler et al., "MobileNetV2", CVPR 2018.
    """

    def __init__(self, channels: int, out: int, *, stride: int) -> None:
        super().__init__()
        wide = channels * EXPANSION
        self.adds = stride == 1 and channels == out
        self.layers = nn.Sequential(
            _conv(channels, wide, 1), _conv(wide, wide, 3, stride=stride, groups=wide), _conv(wide, out, 1, relu=False)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        change: Tensor = self.layers(x_BCHW)
        return x_BCHW + change if self.adds else change


class PoolingPyramid(nn.Module):
    """Means over 1×1, 2×2, 3×3 and 6×6 regions, each up-sampled again and put beside the input; same channels out.

    Source: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels // 4, 1), nn.ReLU(inplace=True))
            if bins == 1
            else _conv(channels, channels // 4, 1)
            for bins in BINS
        )
        self.project = _conv(channels + len(BINS) * (channels // 4), channels, 1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        size = x_BChw.shape[-2:]
        pooled = [branch(region_means(x_BChw, bins)) for bins, branch in zip(BINS, self.branches, strict=True)]
        wide = [F.interpolate(p, size=size, mode="bilinear", align_corners=False) for p in pooled]
        projected: Tensor = self.project(torch.cat([x_BChw, *wide], dim=1))
        return projected


class Fusion(nn.Module):
    """Bring the context to the size of the detail, match the channels, add, ReLU."""

    def __init__(self, detail: int, context: int) -> None:
        super().__init__()
        self.spread = _conv(context, context, 3, groups=context, dilation=4)
        self.context = _conv(context, context, 1, relu=False)
        self.detail = _conv(detail, context, 1, relu=False)

    def forward(self, detail_BChw: Tensor, context_BChw: Tensor) -> Tensor:
        context = F.interpolate(context_BChw, size=detail_BChw.shape[-2:], mode="bilinear", align_corners=False)
        return F.relu(self.detail(detail_BChw) + self.context(self.spread(context)))


class Refine(nn.Module):
    """Bring the fused features to a quarter of the picture's size, add the features of the second layer, ReLU."""

    def __init__(self, fine: int, fused: int) -> None:
        super().__init__()
        self.fine = _conv(fine, fused, 1, relu=False)

    def forward(self, fine_BChw: Tensor, fused_BChw: Tensor) -> Tensor:
        fused = F.interpolate(fused_BChw, size=fine_BChw.shape[-2:], mode="bilinear", align_corners=False)
        return F.relu(self.fine(fine_BChw) + fused)


def _conv(
    channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, dilation: int = 1, relu: bool = True
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    kind = DilatedConv2d if groups > 1 and dilation > 1 else nn.Conv2d
    conv = kind(channels, out, kernel, stride, padding, dilation, groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def _separable(channels: int, out: int, *, stride: int = 1) -> nn.Sequential:
    """Depthwise 3×3, then 1×1; no ReLU between them, as the paper has it."""
    depthwise = _conv(channels, channels, 3, stride=stride, groups=channels, relu=False)
    return nn.Sequential(depthwise, _conv(channels, out, 1))


def _stage(channels: int, out: int, *, blocks: int, stride: int) -> list[nn.Module]:
    first = InvertedResidual(channels, out, stride=stride)
    return [first, *(InvertedResidual(out, out, stride=1) for _ in range(blocks - 1))]


def _auxiliary_head(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(_conv(channels, 32, 3), nn.Dropout(dropout), nn.Conv2d(32, num_classes, 1))


ENTRIES = {
    "fast_scnn": Entry(
        FastSCNN,
        ModelCard(
            description="Two branches with a shared start: real time, trains on a CPU",
            paper="Poudel et al., BMVC 2019, arXiv 1902.04502",
            licence="MIT",
            published=("Cityscapes test 68.0 (1024×2048, paper)",),
        ),
    )
}
