"""DUC-HDC: a ResNet whose dilations vary from block to block (HDC), and logits that unfold into pixels (DUC).

Source: Wang, Chen, Yuan, Liu, Huang, Hou, Cottrell, "Understanding Convolution for Semantic Segmentation", WACV 2018
(arXiv 1702.08502). Hybrid dilated convolution: with one dilation throughout, a stack of layers sees a grid with holes;
with the dilations 1, 2, 5, 9 in turn, and 5, 9, 17 in the last stage, it sees every pixel. Dense up-sampling
convolution: the classifier, four dilated 3×3 summed as in DeepLab v2, gives (8/cell)² scores a class, which become
pixels.

Chosen here: the dilations of the authors' model file, whose 23 blocks go 2, 2, 5, 9, 1, 2, 5, 9, ..., 1, 2, 5 (the
paper's cycle begins with 1), and its cell of 2 pixels; torchvision's ResNets (theirs has three 3×3 layers of 64, 64 and
128 channels at the start).

Letters: B batch, C channels, H W pixels, K classes, r pixels a side that a feature unfolds into, h w = H/8 W/8.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.card import Entry, ModelCard
from segwright.models.dilated import train_by_taps

CYCLE = (1, 2, 5, 9)
LAST = (5, 9, 17)
STRIDE = 8


class DUCHDC(nn.Module):
    """ResNet at stride 8 with hybrid dilations, four dilated classifiers summed, their channels unfolded into pixels.

    backbone: a ResNet of timm: resnet18, resnet50, resnet101, resnet50c, ...
    hybrid: dilations that vary from block to block; without, 2 and 4 in the last two stages, as in other nets.
    rates: dilations of the classifiers that are summed.
    cell: pixels a side that one score stands for: 1, 2, 4 or 8. Halving it needs four times the parameters.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 8. Output: logits [B, K, H/cell, W/cell].
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        hybrid: bool = True,
        rates: tuple[int, ...] = (6, 12, 18, 24),
        cell: int = 2,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        if cell not in (1, 2, 4, 8):
            raise UserError(f"duc_hdc: cell is {cell}; allowed are 1, 2, 4 and 8 pixels.")
        if not rates or min(rates) < 1:
            raise UserError(f"duc_hdc: rates is {list(rates)}; it takes dilations from 1, such as [6, 12, 18, 24].")
        self.stride = STRIDE
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=STRIDE, levels=1, weights=backbone_weights)
        if hybrid:
            _make_hybrid(self.backbone, backbone)
        self.unfold = STRIDE // cell
        deep, scores = self.backbone.channels[-1], num_classes * self.unfold**2
        self.classify = nn.ModuleList(nn.Conv2d(deep, scores, 3, padding=rate, dilation=rate) for rate in rates)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        (features,) = self.backbone(image_BCHW)
        scores = self.classify[0](features)
        for branch in self.classify[1:]:
            scores = scores + branch(features)
        return Outputs(F.pixel_shuffle(scores, self.unfold))


def stage_dilations(blocks: int) -> list[int]:
    """Dilations of the last stage but one: 1, 2, 5, 9 in turn, except that the first block has 2."""
    return [2, *(CYCLE[i % len(CYCLE)] for i in range(1, blocks))]


def _make_hybrid(backbone: Backbone, name: str) -> None:
    stages = dict(backbone.net.named_children())
    if "layer4" not in stages:
        raise UserError(
            f"duc_hdc: backbone is '{name}'; hybrid dilations suit a ResNet: resnet18, resnet50, resnet101, resnet50c, "
            "... Choose one, or set hybrid to false."
        )
    third, fourth = stages["layer3"], stages["layer4"]
    plan = [*zip(third, stage_dilations(len(third)), strict=True), *zip(fourth, LAST, strict=False)]
    for block, dilation in plan:
        for part in block.modules():
            if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
                part.dilation = part.padding = (dilation, dilation)
    train_by_taps(backbone)


ENTRIES = {
    "duc_hdc": Entry(
        DUCHDC,
        ModelCard(
            description="Varying dilations, and scores that unfold into pixels",
            paper="Wang et al., WACV 2018, arXiv 1702.08502",
            licence="MIT",
            published=(
                "Cityscapes test 77.6 (R101, paper)",
                "Cityscapes test 79.1 (R101, its repository)",
                "VOC 2012 test 83.1 (R152, DUC only, its repository)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
