"""PIDNet: three branches, for detail (P), context (I) and boundaries (D); where D sees a boundary, detail decides.

Source: Xu, Xiong, Bhattacharyya, "PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers", CVPR
2023 (arXiv 2206.02066). As in the authors' code S and M have the parallel pyramid and the light fusion, L the pyramid
of DDRNet and a fusion by a 3×3; the two bottlenecks that follow each other have no ReLU between them. Chosen here: the
convolutions of the stem have no bias (theirs have; mmsegmentation's have none).

Boundaries: the authors train the D branch with a map of boundaries made from the labels (weight 20) and weigh the
pixels near found boundaries again. A loss here sees class scores and labels only, so there is no boundary head: D
learns through the fusion that it steers. The head on the P branch is the auxiliary one.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.blocks import init_he, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.ddrnet import (
    DeepPyramid,
    Residual,
    bn_relu_conv,
    conv_bn,
    late_head,
    pyramid_levels,
    residual_stem,
    residuals,
    scaled_variant,
)

VARIANTS = {"s": (32, 96, 128), "m": (64, 96, 128), "l": (64, 112, 256)}
"""Channels of the stem, of a branch of the pyramid, inside the heads."""


class PIDNet(nn.Module):
    """Stem to 1/8; branches for detail, context and boundaries; fusion gated by the last; classifier.

    variant: s (small), m (twice as wide) or l (also deeper, heavier fusion).
    width: factor on all channel counts.
    auxiliary: in training, a further classifier on the detail branch after its first help from the context.
    Input: float [B, 3, H, W], normalised, H and W multiples of 8. Output: logits [B, K, H/8, W/8].
    Training needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(self, num_classes: int, *, variant: str = "s", width: float = 1.0, auxiliary: bool = True) -> None:
        super().__init__()
        stem, branch, inner = scaled_variant("pidnet", VARIANTS, variant, width)
        c1, c2, c4, c8, c16 = (stem * factor for factor in (1, 2, 4, 8, 16))
        large = variant == "l"
        few, many = (3, 4) if large else (2, 3)
        self.stride = 8
        self.unused: tuple[str, ...] = ()
        self.stem = residual_stem(stem, blocks=few)
        self.context = nn.ModuleList([residuals(c2, c4, many, stride=2), residuals(c4, c8, many, stride=2)])
        self.detail = nn.ModuleList([residuals(c2, c2, few), residuals(c2, c2, few)])
        self.compress = nn.ModuleList([conv_bn(c4, c2), conv_bn(c8, c2)])
        self.select = nn.ModuleList([PixelAttention(c2, c1), PixelAttention(c2, c1)])
        first = c2 if large else c1
        second = Residual(c2, c2) if large else Residual(c1, c2, narrow=c1)
        self.boundary = nn.ModuleList([Residual(c2, first), second])
        self.differ = nn.ModuleList([conv_bn(c4, first, 3), conv_bn(c8, c2, 3)])
        pyramid = DeepPyramid(c16, branch, c4) if large else ParallelPyramid(c16, branch, c4)
        self.deep = nn.Sequential(Residual(c8, c16, stride=2, narrow=c8), Residual(c16, c16, narrow=c8), pyramid)
        self.fine = Residual(c2, c4, narrow=c2)
        self.edge = Residual(c2, c4, narrow=c2)
        self.fuse = BoundaryFusion(c4) if large else LightBoundaryFusion(c4)
        init_he(self)
        self.classify = late_head(c4, inner, num_classes)
        self.auxiliary = late_head(c2, inner, num_classes) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        context = detail = boundary = self.stem(image_BCHW)
        helped: list[Tensor] = []
        for i in range(2):
            context = F.relu(self.context[i](context))
            helped.append(self.select[i](self.detail[i](detail), self.compress[i](context)))
            boundary = self.boundary[i](boundary)
            boundary = F.relu(boundary + to_size_of(self.differ[i](context), boundary))
            detail = F.relu(helped[-1])
        edge = torch.sigmoid(self.edge(boundary))
        logits = self.classify(self.fuse(self.fine(detail), to_size_of(self.deep(context), detail), edge))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(helped[0]),))


class PixelAttention(nn.Module):
    """Pixel-attention-guided fusion (Pag): per pixel, the share of the context is a sigmoid of how alike both are.

    inner: channels in which they are compared. Input: detail float [B, C, H, W], context float [B, C, h, w]; output
    float [B, C, H, W].
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.detail = conv_bn(channels, inner)
        self.context = conv_bn(channels, inner)

    def forward(self, detail_BCHW: Tensor, context_BChw: Tensor) -> Tensor:
        alike = self.detail(detail_BCHW) * to_size_of(self.context(context_BChw), detail_BCHW)
        share_B1HW: Tensor = alike.sum(1, keepdim=True).sigmoid()
        return detail_BCHW + share_B1HW * (to_size_of(context_BChw, detail_BCHW) - detail_BCHW)


class ParallelPyramid(nn.Module):
    """Parallel aggregation pyramid pooling (PAPPM): the levels of DDRNet's pyramid, processed by one grouped 3×3.

    Input: float [B, C, h, w]. Output: float [B, out, h, w].
    """

    def __init__(self, channels: int, branch: int, out: int) -> None:
        super().__init__()
        self.levels = pyramid_levels(channels, branch)
        pooled = len(self.levels) - 1
        self.process = bn_relu_conv(pooled * branch, pooled * branch, 3, groups=pooled)
        self.compress = bn_relu_conv((pooled + 1) * branch, out)
        self.shortcut = bn_relu_conv(channels, out)

    def forward(self, x_BChw: Tensor) -> Tensor:
        first = self.levels[0](x_BChw)
        pooled = torch.cat([to_size_of(level(x_BChw), x_BChw) + first for level in self.levels[1:]], dim=1)
        joined: Tensor = self.compress(torch.cat([first, self.process(pooled)], dim=1)) + self.shortcut(x_BChw)
        return joined


class BoundaryFusion(nn.Module):
    """Detail where there is a boundary, context elsewhere (Bag); then BatchNorm, ReLU, 3×3.

    Input: three floats [B, C, h, w], the last in 0..1. Output: float [B, C, h, w].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = bn_relu_conv(channels, channels, 3)

    def forward(self, detail_BChw: Tensor, context_BChw: Tensor, edge_BChw: Tensor) -> Tensor:
        mixed: Tensor = self.mix(context_BChw + edge_BChw * (detail_BChw - context_BChw))
        return mixed


class LightBoundaryFusion(nn.Module):
    """The same choice by two 1×1 with BatchNorm and a sum (Light-Bag). Shapes as for BoundaryFusion."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail = conv_bn(channels, channels)
        self.context = conv_bn(channels, channels)

    def forward(self, detail_BChw: Tensor, context_BChw: Tensor, edge_BChw: Tensor) -> Tensor:
        detail = self.detail(detail_BChw + (1 - edge_BChw) * context_BChw)
        mixed: Tensor = detail + self.context(context_BChw + edge_BChw * detail_BChw)
        return mixed


ENTRIES = {
    "pidnet": Entry(
        PIDNet,
        ModelCard(
            description="Detail, context and boundary branches: real time, accurate",
            paper="Xu et al., CVPR 2023, arXiv 2206.02066",
            licence="MIT",
            published=(
                "Cityscapes val 78.7 (S, ImageNet, boundary loss, mmsegmentation)",
                "Cityscapes val 80.2 (M, ImageNet, boundary loss, mmsegmentation)",
                "Cityscapes val 80.9 (L, ImageNet, boundary loss, mmsegmentation)",
                "CamVid 11 classes, test 80.1 (S, 720×960, Cityscapes first, paper)",
            ),
        ),
    )
}
