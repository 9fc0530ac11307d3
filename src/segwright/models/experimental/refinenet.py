"""RefineNet: from the coarsest stage of a backbone to the finest, residual blocks join each stage to what came before.

Source: Lin et al., "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation", CVPR 2017
(arXiv 1611.06612). A block: residual units on the stage's features, a sum with the coarser block's, chained pooling
(5×5 max-pooling and 3×3, again and again, each added), residual units. Chosen here, as in the authors' released nets
(in their port by Nekrasov) where the paper leaves it open: 512 channels at the coarsest block and 256 elsewhere, four
poolings in a chain, three residual units at the end of every block, a 3×3 classifier, no BatchNorm in the decoder,
dropout 0.5 on the two coarsest stages and before the classifier. Different: corners are not aligned.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments, to_size_of
from segwright.models.card import Entry, ModelCard

POOLINGS = 4
UNITS = 3


class RefineNet(nn.Module):
    """Backbone, four refinement blocks from coarse to fine, classifier at the finest stage.

    backbone: any timm model with features at several strides: resnet50, resnet101, ...
    output_stride: 32 as in the paper, 16 or 8: of the backbone's last stages.
    channels: of the blocks; the coarsest has twice as many.
    dropout: share of values left out of the two coarsest stages and before the classifier in training.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, H/4, W/4].
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        output_stride: int = 32,
        channels: int = 256,
        dropout: float = 0.5,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("refinenet", dropout=dropout, channels=channels)
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, weights=backbone_weights)
        deepest, *finer = reversed(self.backbone.channels)
        self.deepest = nn.Sequential(
            *(nn.Dropout(dropout), _conv(deepest, 2 * channels), *_units(2 * channels, 2)),
            *(ChainedPooling(2 * channels), *_units(2 * channels, UNITS)),
        )
        self.blocks = nn.ModuleList(
            Refinement(stage, 2 * channels if i == 0 else channels, channels) for i, stage in enumerate(finer)
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Conv2d(channels, num_classes, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        deepest, second, *finer = self.backbone(image_BCHW)[::-1]
        features = self.deepest(deepest)
        for block, stage in zip(self.blocks, (self.dropout(second), *finer), strict=True):
            features = block(stage, features)
        return Outputs(self.classify(self.dropout(features)))


class Refinement(nn.Module):
    """Joins a stage to the coarser block. Floats [B, stage, H, W] and [B, coarse, h, w] -> [B, out, H, W]."""

    def __init__(self, stage: int, coarse: int, out: int) -> None:
        super().__init__()
        self.adapt = nn.Sequential(_conv(stage, out), *_units(out, 2), _conv(out, out))
        self.coarse = _conv(coarse, out)
        self.refine = nn.Sequential(ChainedPooling(out), *_units(out, UNITS))

    def forward(self, stage_BCHW: Tensor, coarse_BChw: Tensor) -> Tensor:
        fine = self.adapt(stage_BCHW)
        refined: Tensor = self.refine(fine + to_size_of(self.coarse(coarse_BChw), fine))
        return refined


class ResidualUnit(nn.Module):
    """Features plus ReLU, 3×3, ReLU, 3×3 of them. float [B, C, h, w] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = _conv(channels, channels)

    def forward(self, x_BChw: Tensor) -> Tensor:
        inner: Tensor = self.second(F.relu(self.first(F.relu(x_BChw)), inplace=True))
        return x_BChw + inner


class ChainedPooling(nn.Module):
    """ReLU, plus a chain of 5×5 max-poolings and 3×3, every link added. float [B, C, h, w] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.links = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(5, stride=1, padding=2), _conv(channels, channels)) for _ in range(POOLINGS)
        )

    def forward(self, x_BChw: Tensor) -> Tensor:
        total = link_end = F.relu(x_BChw)
        for link in self.links:
            link_end = link(link_end)
            total = total + link_end
        return total


def _conv(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, bias=False)


def _units(channels: int, count: int) -> list[ResidualUnit]:
    return [ResidualUnit(channels) for _ in range(count)]


ENTRIES = {
    "refinenet": Entry(
        RefineNet,
        ModelCard(
            description="Residual blocks and chained pooling from coarse stages to fine",
            paper="Lin et al., CVPR 2017, arXiv 1611.06612",
            licence="MIT",
            published=(
                "Cityscapes test 73.6 (R101, paper)",
                "VOC 2012 test 84.2 (R152, paper)",
                "COCO-Stuff 33.6 (R101)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
