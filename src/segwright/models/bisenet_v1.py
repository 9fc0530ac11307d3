"""BiSeNet V1: a shallow path that keeps detail at 1/8, and a backbone with attention for context.

Source: Yu, Wang, Peng, Gao, Yu, Sang, "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation",
ECCV 2018 (arXiv 1808.00897). Chosen here, as in the public re-writings (CoinCheung's, mmsegmentation's): the spatial
path is a 7×7 and two 3×3, all strided, and a 1×1 (the paper: three strided layers); context is up-sampled by nearest
neighbours and smoothed by a 3×3; the fusion's attention is one 1×1 with BatchNorm, ReLU and sigmoid (the paper: two 1×1
without BatchNorm); heads of 3×3, dropout, 1×1. The paper's table counts 49 M parameters with ResNet-18, of which
nothing public comes near.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments, classifier, conv_bn_relu
from segwright.models.card import Entry, ModelCard


class BiSeNetV1(nn.Module):
    """Spatial path, context path, fusion, classifier.

    backbone: any timm model with features at strides 16 and 32: resnet18, resnet101, xception41, ...
    channels: of the fused features; each path gives half of them.
    dropout: share of values left out before the classifiers in training.
    auxiliary: in training, two further classifiers, on the context at 1/8 and at 1/16 (the paper weighs them 1 each).
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/8, W/8].
    Training needs batches of two or more: BatchNorm follows global means and refuses a single value a channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet18",
        channels: int = 256,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("bisenet_v1", dropout=dropout, channels=channels)
        if channels % 4:
            raise UserError(f"bisenet_v1: channels is {channels}; it is shared out, so take a multiple of 4.")
        path, few = channels // 2, channels // 4
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.spatial = nn.Sequential(
            conv_bn_relu(3, few, 7, stride=2),
            conv_bn_relu(few, few, stride=2),
            conv_bn_relu(few, few, stride=2),
            conv_bn_relu(few, path, 1),
        )
        self.context = ContextPath(backbone, path, backbone_weights)
        self.fuse = FeatureFusion(2 * path, channels)
        self.classify = classifier(channels, channels, num_classes, dropout=dropout)
        heads = [classifier(path, few, num_classes, dropout=dropout) for _ in range(2)] if auxiliary else []
        self.auxiliary = nn.ModuleList(heads)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        fine, coarse = self.context(image_BCHW)
        logits = self.classify(self.fuse(self.spatial(image_BCHW), fine))
        if not self.training:
            return Outputs(logits)
        return Outputs(logits, tuple(head(x) for head, x in zip(self.auxiliary, (fine, coarse), strict=False)))


class ContextPath(nn.Module):
    """A backbone's features at 1/16 and 1/32, refined by attention, and the mean of the last, added up on the way up.

    Input: float [B, 3, H, W]. Output: floats [B, channels, H/8, W/8] and [B, channels, H/16, W/16].
    """

    def __init__(self, backbone: str, channels: int, weights: str | None) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, levels=2, weights=weights)
        if self.backbone.strides != (16, 32):
            raise UserError(
                f"bisenet_v1: the backbone '{backbone}' ends in features at strides {self.backbone.strides}; allowed "
                "are those that end in 16 and 32, such as resnet18, resnet101, xception41."
            )
        middle, deep = self.backbone.channels
        self.refine16 = AttentionRefinement(middle, channels)
        self.refine32 = AttentionRefinement(deep, channels)
        self.mean = conv_bn_relu(deep, channels, 1)
        self.smooth32 = conv_bn_relu(channels, channels)
        self.smooth16 = conv_bn_relu(channels, channels)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        middle, deep = self.backbone(image_BCHW)
        mean = self.mean(deep.mean((2, 3), keepdim=True))
        coarse = self.smooth32(_doubled(self.refine32(deep) + mean))
        return self.smooth16(_doubled(self.refine16(middle) + coarse)), coarse


class AttentionRefinement(nn.Module):
    """3×3, then every channel times a factor in 0..1 that follows from the means of all (ARM).

    Input: float [B, channels, h, w]. Output: float [B, out, h, w].
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(channels, out)
        self.gate = nn.Sequential(nn.Conv2d(out, out, 1, bias=False), nn.BatchNorm2d(out), nn.Sigmoid())

    def forward(self, x_BChw: Tensor) -> Tensor:
        x = self.conv(x_BChw)
        refined: Tensor = x * self.gate(x.mean((2, 3), keepdim=True))
        return refined


class FeatureFusion(nn.Module):
    """Both paths beside each other through a 1×1, plus the same weighed by channel (FFM).

    Input: two floats that have `channels` channels together, [B, ·, h, w]. Output: float [B, out, h, w].
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = conv_bn_relu(channels, out, 1)
        self.gate = conv_bn_relu(out, out, 1).append(nn.Sigmoid())

    def forward(self, spatial_BChw: Tensor, context_BChw: Tensor) -> Tensor:
        mixed = self.mix(torch.cat([spatial_BChw, context_BChw], dim=1))
        fused: Tensor = mixed * (1 + self.gate(mixed.mean((2, 3), keepdim=True)))
        return fused


def _doubled(x_BChw: Tensor) -> Tensor:
    return F.interpolate(x_BChw, scale_factor=2.0, mode="nearest")


ENTRIES = {
    "bisenet_v1": Entry(
        BiSeNetV1,
        ModelCard(
            description="Spatial path for detail, any backbone for context: real time",
            paper="Yu et al., ECCV 2018, arXiv 1808.00897",
            licence="MIT",
            published=(
                "Cityscapes test 78.9 (R101, paper)",
                "Cityscapes val 74.4 (R18, mmsegmentation)",
                "Cityscapes val 75.2 (R18, ImageNet, mmsegmentation)",
                "CamVid 11 classes, test 68.7 (R18, 720×960, paper)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
