"""BiSeNet V2: a wide, shallow detail branch and a narrow, deep semantic branch, each gating the other at the end.

Source: Yu, Gao, Wang, Yu, Shen, Sang, "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic
Segmentation", IJCV 2021 (arXiv 2004.02147). Chosen here, as in the public re-writings (CoinCheung's, mmsegmentation's):
a ReLU behind the depthwise layers of a gather-and-expansion block, and BatchNorm and ReLU behind the last 3×3 of the
context embedding (the paper's figures have neither). The auxiliary heads are the paper's: one 3×3 to 128 channels and a
1×1 each (mmsegmentation's have two 3×3 of up to 1024 channels, four fifths of all its parameters in training).

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import check_arguments, classifier, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.ddrnet import conv_bn

EXPANSION = 6


class BiSeNetV2(nn.Module):
    """Detail branch, semantic branch, bilateral guided aggregation, classifier.

    width: factor on the channels of both branches and of the heads.
    dropout: share of values left out before the classifiers in training.
    auxiliary: in training, four further classifiers, one a stage of the semantic branch (the paper weighs them 1 each).
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/8, W/8].
    Training needs batches of two or more: BatchNorm follows a global mean and refuses a single value a channel.
    """

    def __init__(self, num_classes: int, *, width: float = 1.0, dropout: float = 0.1, auxiliary: bool = True) -> None:
        super().__init__()
        check_arguments("bisenet_v2", dropout=dropout)
        if not 0 < width <= 16:
            raise UserError(f"bisenet_v2: width is {width}; allowed are factors above 0, up to 16.")
        c16, c32, c64, c128, c1024 = (max(2, round(c * width)) for c in (16, 32, 64, 128, 1024))
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.detail = nn.Sequential(*_plain(3, c64, count=2), *_plain(c64, c64, count=3), *_plain(c64, c128, count=3))
        self.semantic = nn.ModuleList(
            [
                Stem(c16),
                _stage(c16, c32, blocks=2),
                _stage(c32, c64, blocks=2),
                _stage(c64, c128, blocks=4),
            ]
        )
        self.context = ContextEmbedding(c128)
        self.fuse = GuidedAggregation(c128)
        self.classify = classifier(c128, c1024, num_classes, dropout=dropout)
        stages = (c16, c32, c64, c128) if auxiliary else ()
        self.auxiliary = nn.ModuleList(classifier(c, c128, num_classes, dropout=dropout) for c in stages)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features, stages = image_BCHW, []
        for stage in self.semantic:
            features = stage(features)
            stages.append(features)
        logits = self.classify(self.fuse(self.detail(image_BCHW), self.context(features)))
        if not self.training:
            return Outputs(logits)
        return Outputs(logits, tuple(head(x) for head, x in zip(self.auxiliary, stages, strict=False)))


class Stem(nn.Module):
    """A strided 3×3, then max-pooling and a strided convolution side by side, joined by a 3×3.

    Input: float [B, 3, H, W]. Output: float [B, channels, H/4, W/4].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(3, channels, stride=2)
        self.conv = nn.Sequential(
            conv_bn_relu(channels, channels // 2, 1), conv_bn_relu(channels // 2, channels, stride=2)
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.join = conv_bn_relu(2 * channels, channels)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        x = self.first(image_BCHW)
        joined: Tensor = self.join(torch.cat([self.conv(x), self.pool(x)], dim=1))
        return joined


class GatherExpand(nn.Module):
    """3×3, depthwise 3×3 to six times the channels, 1×1 back; plus the input, by a separable convolution at stride 2.

    Input: float [B, channels, h, w]. Output: float [B, out, h/stride, w/stride].
    """

    def __init__(self, channels: int, out: int, *, stride: int = 1) -> None:
        super().__init__()
        wide = EXPANSION * channels
        self.shortcut: nn.Module = nn.Identity()
        if stride == 1:
            expand = [*_depthwise(channels, wide), nn.ReLU(inplace=True)]
        else:
            expand = [*_depthwise(channels, wide, stride), *_depthwise(wide, wide), nn.ReLU(inplace=True)]
            self.shortcut = nn.Sequential(*_depthwise(channels, channels, stride), *conv_bn(channels, out))
        self.layers = nn.Sequential(*conv_bn_relu(channels, channels), *expand, *conv_bn(wide, out))

    def forward(self, x_BChw: Tensor) -> Tensor:
        changed: Tensor = self.layers(x_BChw) + self.shortcut(x_BChw)
        return changed.relu_()


class ContextEmbedding(nn.Module):
    """The features plus what their global mean says, through a 3×3. Float [B, C, h, w] in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.BatchNorm2d(channels), *conv_bn_relu(channels, channels, 1))
        self.mix = conv_bn_relu(channels, channels)

    def forward(self, x_BChw: Tensor) -> Tensor:
        mixed: Tensor = self.mix(x_BChw + self.mean(x_BChw.mean((2, 3), keepdim=True)))
        return mixed


class GuidedAggregation(nn.Module):
    """Each branch times a gate of the other, at both sizes, summed, through a 3×3.

    Input: detail float [B, C, H, W], semantic float [B, C, H/4, W/4]. Output: float [B, C, H, W].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail = nn.Sequential(*_depthwise(channels, channels), nn.Conv2d(channels, channels, 1))
        self.detail_down = conv_bn(channels, channels, 3, stride=2).append(nn.AvgPool2d(3, 2, 1))
        self.semantic_up = conv_bn(channels, channels, 3)
        self.semantic = nn.Sequential(*_depthwise(channels, channels), nn.Conv2d(channels, channels, 1))
        self.mix = conv_bn_relu(channels, channels)

    def forward(self, detail_BCHW: Tensor, semantic_BChw: Tensor) -> Tensor:
        fine = self.detail(detail_BCHW)
        fine = fine * to_size_of(self.semantic_up(semantic_BChw), fine).sigmoid()
        coarse = self.detail_down(detail_BCHW) * self.semantic(semantic_BChw).sigmoid()
        mixed: Tensor = self.mix(fine + to_size_of(coarse, fine))
        return mixed


def _plain(channels: int, out: int, *, count: int) -> list[nn.Module]:
    """`count` 3×3 convolutions with BatchNorm and ReLU, the first with stride 2."""
    return [conv_bn_relu(channels, out, stride=2), *(conv_bn_relu(out, out) for _ in range(count - 1))]


def _stage(channels: int, out: int, *, blocks: int) -> nn.Sequential:
    first = GatherExpand(channels, out, stride=2)
    return nn.Sequential(first, *(GatherExpand(out, out) for _ in range(blocks - 1)))


def _depthwise(channels: int, out: int, stride: int = 1) -> list[nn.Module]:
    """Depthwise 3×3 and BatchNorm, no ReLU."""
    return [nn.Conv2d(channels, out, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(out)]


ENTRIES = {
    "bisenet_v2": Entry(
        BiSeNetV2,
        ModelCard(
            description="Wide detail branch, deep semantic branch, mutual gates: real time",
            paper="Yu et al., IJCV 2021, arXiv 2004.02147",
            licence="MIT",
            published=(
                "Cityscapes val 73.4 (512×1024, paper)",
                "Cityscapes val 75.8 (1024×1024 crops, mmsegmentation)",
                "CamVid 11 classes, test 72.4 (720×960, paper)",
            ),
        ),
    )
}
