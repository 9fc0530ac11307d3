"""DeepLab v2: a dilated ResNet-101 and atrous spatial pyramid pooling: four dilated classifiers, summed.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully
Connected CRFs", TPAMI 2018 (arXiv 1606.00915), the form ASPP-L for ResNets: on the last features four 3×3 convolutions of
dilation 6, 12, 18 and 24, with a bias, give the scores. `fusion: concat` is a later reading of it: the branches have 256
channels, a 1×1 and the global mean stand beside them, and a 1×1 joins them before the classifier. Chosen here: timm's
ResNets (strides on the 3×3 layers; the authors' are on the 1×1), no multi-scale input and no CRF, which are steps around
any network; `crf` adds one that learns with it (Zheng et al., ICCV 2015).

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import ASPP, check_arguments
from segwright.models.card import Entry, ModelCard
from segwright.models.crf import CrfHead

FUSIONS = ("sum", "concat")


class DeepLabV2(nn.Module):
    """Dilated backbone and four dilated branches.

    backbone: any timm model that takes an output stride: resnet101, resnet50, ...
    output_stride: 8, or 16 for a quarter of the arithmetic.
    rates: dilations of the branches, at any output stride.
    fusion: `sum`, branches that are classifiers, as in the paper; or `concat`, branches of `channels` channels beside a
        1×1 and the global mean, joined by a 1×1. BatchNorm then refuses a batch of one in training.
    channels: of the branches with `concat`.
    backbone_weights: None for random ones, "imagenet" for timm's.
    crf: a fully connected CRF as the last layer, trained with the network.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, h, w] at that
    stride, or float32 [B, K, H, W] with `crf`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet101",
        output_stride: int = 8,
        rates: tuple[int, ...] = (6, 12, 18, 24),
        fusion: str = "sum",
        channels: int = 256,
        backbone_weights: str | None = None,
        crf: bool = False,
    ) -> None:
        super().__init__()
        check_arguments("deeplab_v2", output_stride=output_stride, channels=channels)
        if fusion not in FUSIONS:
            raise UserError(f"deeplab_v2: fusion is '{fusion}'; allowed are {', '.join(FUSIONS)}.")
        if not rates or min(rates) < 1:
            raise UserError(f"deeplab_v2: rates is {list(rates)}; it takes dilations from 1, such as [6, 12, 18, 24].")
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=1, weights=backbone_weights)
        (deep,) = self.backbone.channels
        self.aspp: nn.Module
        if fusion == "sum":
            self.aspp = SummedClassifiers(deep, num_classes, rates)
        else:
            self.aspp = nn.Sequential(ASPP(deep, channels, rates), nn.Conv2d(channels, num_classes, 1))
        self.crf = CrfHead(num_classes) if crf else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        (deep,) = self.backbone(image_BCHW)
        logits = self.aspp(deep)
        return Outputs(logits if self.crf is None else self.crf(logits, image_BCHW))


class SummedClassifiers(nn.Module):
    """Dilated 3×3 classifiers of one input, summed. Weights start small, as the authors' (deviation 0.01)."""

    def __init__(self, channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, num_classes, 3, padding=r, dilation=r) for r in rates)
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]

    def forward(self, x_BChw: Tensor) -> Tensor:
        return torch.stack([branch(x_BChw) for branch in self.branches]).sum(0)


ENTRIES = {
    "deeplab_v2": Entry(
        DeepLabV2,
        ModelCard(
            description="Dilated ResNet-101 under four dilated classifiers, summed",
            paper="Chen et al., TPAMI 2018, arXiv 1606.00915",
            licence="MIT",
            published=(
                "Cityscapes test 70.4 (R101 with CRF, paper)",
                "VOC 2012 test 79.7 (R101 with CRF and COCO, paper)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
