"""NAS-FPN on EfficientNet: a searched cell mixes five levels of features, seven times over; their sum is classified.

Sources: Ghiasi, Lin, Pang, Le, "NAS-FPN: Learning Scalable Feature Pyramid Architecture for Object Detection", CVPR
2019 (arXiv 1904.07392), for the cell; Zoph et al., "Rethinking Pre-training and Self-training", NeurIPS 2020 (arXiv
2006.06882), for segmentation with it: levels 3 to 7, depthwise separable layers, all levels brought to stride 4 and
added, three 3×3 of 256 channels, classifier. Details of the cell are those of the authors' code: where a node joins two
inputs by attention, the global maximum of the coarser one weighs the finer one; an input of the cell that nothing uses
is added to the last node of its level. Chosen here: layers before a BatchNorm have no bias; the 1×1 that bring the
backbone's features to 256 channels are plain (theirs: separable); max-pooling starts at the top left corner.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments, check_strides, conv_bn_relu
from segwright.models.card import Entry, ModelCard


class Node(NamedTuple):
    """A step of the cell: two earlier features, brought to one level and joined by attention or by adding them.

    level: log2 of the stride. first, second, extra: numbers of features: 0 to 4 are the cell's inputs, levels 3 to 7,
    then come the nodes in order. extra: an unused input of the same level, which is added.
    """

    level: int
    attention: bool
    first: int
    second: int
    extra: int | None = None


LEVELS = (3, 4, 5, 6, 7)
NODES = (
    Node(4, True, 1, 3),
    Node(4, False, 1, 5),
    Node(3, False, 0, 6),
    Node(4, False, 6, 7),
    Node(5, True, 7, 8, extra=2),
    Node(7, True, 6, 9, extra=4),
    Node(6, True, 9, 10),
)
"""The searched cell; its last five nodes are its output."""


class NASFPN(nn.Module):
    """Backbone, levels 3 to 7, searched cells, the sum of all levels at stride 4, head.

    backbone: any timm model with features at the strides 8, 16 and 32: tf_efficientnet_b0 ... b7, l2, resnet50, ...
    channels: of all levels and of the head. repeats: how many cells.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/4, W/4]. Training needs
    batches of two or more where a picture has at most 128 pixels a side: there level 7 is one value a channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "tf_efficientnet_b7",
        channels: int = 256,
        repeats: int = 7,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("nas_fpn", channels=channels, repeats=repeats)
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, levels=3, weights=backbone_weights)
        check_strides("nas_fpn", backbone, self.backbone.strides, (8, 16, 32))
        self.unify = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, channels, 1, bias=False), nn.BatchNorm2d(channels))
            for c in self.backbone.channels
        )
        self.cells = nn.Sequential(*(Cell(channels) for _ in range(repeats)))
        self.head = nn.Sequential(*(conv_bn_relu(channels, channels) for _ in range(3)))
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        pyramid = [unify(x) for unify, x in zip(self.unify, self.backbone(image_BCHW), strict=True)]
        for _ in LEVELS[len(pyramid) :]:
            pyramid.append(_pool(pyramid[-1], 2))
        fine, *coarser = self.cells(pyramid)
        size = (2 * fine.shape[-2], 2 * fine.shape[-1])
        total = F.interpolate(fine, size=size, mode="bilinear", align_corners=False)
        for level in coarser:
            total = total + F.interpolate(level, size=size, mode="bilinear", align_corners=False)
        return Outputs(self.classify(self.head(total)))


class Cell(nn.Module):
    """One searched cell: float features [B, C, h, w] of the levels 3 to 7 in, such features out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList(_separable(channels) for _ in NODES)

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        features, levels = list(pyramid), list(LEVELS)
        for node, filter in zip(NODES, self.filters, strict=True):
            size = pyramid[node.level - LEVELS[0]]
            pair = [(levels[i], _to_level(features[i], levels[i], node.level, size)) for i in (node.first, node.second)]
            (_, coarse), (_, fine) = sorted(pair, key=lambda x: -x[0])  # of equal levels the first counts as coarse
            if node.attention:
                fine = fine * coarse.amax((2, 3), keepdim=True).sigmoid()
            joined = coarse + fine
            if node.extra is not None:
                joined = joined + features[node.extra]
            features.append(filter(F.relu(joined, inplace=True)))
            levels.append(node.level)
        by_level = dict(zip(levels[-len(LEVELS) :], features[-len(LEVELS) :], strict=True))
        return [by_level[level] for level in LEVELS]


def _to_level(x_BChw: Tensor, level: int, target: int, like_BChw: Tensor) -> Tensor:
    """Max-pooled to a coarser level, or brought to a finer one by nearest neighbours."""
    if level <= target:
        return _pool(x_BChw, 2 ** (target - level))
    return F.interpolate(x_BChw, size=like_BChw.shape[-2:], mode="nearest")


def _pool(x_BChw: Tensor, window: int) -> Tensor:
    return F.max_pool2d(x_BChw, window, ceil_mode=True) if window > 1 else x_BChw


def _separable(channels: int) -> nn.Sequential:
    """Depthwise 3×3, 1×1, BatchNorm: nothing between, nothing after."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))


ENTRIES = {
    "nas_fpn": Entry(
        NASFPN,
        ModelCard(
            description="EfficientNet and a searched pyramid of features, mixed seven times",
            paper="Ghiasi et al., CVPR 2019, arXiv 1904.07392; Zoph et al., NeurIPS 2020, arXiv 2006.06882",
            licence="MIT",
            published=(
                "VOC 2012 val 85.2 (EfficientNet-B7, its repository; 86.7 with self-training)",
                "VOC 2012 test 90.5 (EfficientNet-L2, self-training, paper)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
