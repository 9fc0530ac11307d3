"""DDRNet: two ResNets side by side, one at 1/8 of the picture's size, one down to 1/64, that tell each other twice.

Source: Hong, Pan, Sun, Jia, "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road
Scenes", 2021 (arXiv 2101.06085). Chosen here: convolutions before a BatchNorm have no bias (in the authors' code the
two of the stem have one; mmsegmentation's have none, and its parameter counts are these); corners are not aligned;
sizes that 64 does not divide are rounded up inside, as there, so H and W need only be multiples of 8.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import conv_bn_relu, init_he, to_size_of
from segwright.models.card import Entry, ModelCard

VARIANTS = {"23_slim": (32, 128, 64), "23": (64, 128, 128)}
"""Channels of the stem, of a branch of the pyramid, inside the heads."""


class DDRNet(nn.Module):
    """Stem to 1/8; a detail and a context branch that exchange their features twice; pooling pyramid; sum; classifier.

    variant: 23_slim (fast) or 23 (twice as wide).
    width: factor on all channel counts.
    auxiliary: in training, a further classifier on the detail branch after the first exchange.
    Input: float [B, 3, H, W], normalised, H and W multiples of 8. Output: logits [B, K, H/8, W/8].
    Training needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(
        self, num_classes: int, *, variant: str = "23_slim", width: float = 1.0, auxiliary: bool = True
    ) -> None:
        super().__init__()
        stem, branch, inner = scaled_variant("ddrnet", VARIANTS, variant, width)
        c2, c4, c8, c16 = (stem * factor for factor in (2, 4, 8, 16))
        self.stride = 8
        self.unused: tuple[str, ...] = ()
        self.stem = residual_stem(stem, blocks=2)
        self.context = nn.ModuleList([residuals(c2, c4, 2, stride=2), residuals(c4, c8, 2, stride=2)])
        self.detail = nn.ModuleList([residuals(c2, c2, 2), residuals(c2, c2, 2)])
        self.to_detail = nn.ModuleList([conv_bn(c4, c2), conv_bn(c8, c2)])
        self.to_context = nn.ModuleList(
            [
                conv_bn(c2, c4, 3, stride=2),
                nn.Sequential(*conv_bn_relu(c2, c4, stride=2), *conv_bn(c4, c8, 3, stride=2)),
            ]
        )
        self.deep = nn.Sequential(Residual(c8, c16, stride=2, narrow=c8), DeepPyramid(c16, branch, c4))
        self.fine = Residual(c2, c4, narrow=c2)
        init_he(self)
        self.classify = late_head(c4, inner, num_classes)
        self.auxiliary = late_head(c2, inner, num_classes) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        context = detail = self.stem(image_BCHW)
        exchanged: list[Tensor] = []
        for deepen, refine, to_detail, to_context in zip(
            self.context, self.detail, self.to_detail, self.to_context, strict=True
        ):
            context, detail = deepen(context), refine(detail)
            told = to_size_of(to_detail(F.relu(context)), detail)
            context = F.relu(context + to_context(F.relu(detail)))
            exchanged.append(detail + told)
            detail = F.relu(exchanged[-1])
        logits = self.classify(self.fine(detail) + to_size_of(self.deep(context), detail))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(exchanged[0]),))


class Residual(nn.Module):
    """ResNet's basic block, or its bottleneck where `narrow` is given, without the ReLU after the sum.

    stride: of the first 3×3. narrow: channels inside the bottleneck.
    Input: float [B, channels, H, W]. Output: float [B, out, H/stride, W/stride], rounded up.
    """

    def __init__(self, channels: int, out: int, *, stride: int = 1, narrow: int | None = None) -> None:
        super().__init__()
        self.shortcut = conv_bn(channels, out, stride=stride) if stride > 1 or channels != out else nn.Identity()
        if narrow is None:
            layers = [*conv_bn_relu(channels, out, stride=stride), *conv_bn(out, out, 3)]
        else:
            reduce, filter = conv_bn_relu(channels, narrow, 1), conv_bn_relu(narrow, narrow, stride=stride)
            layers = [*reduce, *filter, *conv_bn(narrow, out)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        changed: Tensor = self.layers(x_BCHW) + self.shortcut(x_BCHW)
        return changed


class DeepPyramid(nn.Module):
    """Deep aggregation pyramid pooling (DAPPM): means over ever larger windows, each added to the smaller.

    Windows of 5, 9, 17 at strides 2, 4, 8, then the whole map; every convolution comes after its BatchNorm and ReLU.
    Near the border a window also counts the zeros outside. branch: channels of each level.
    Input: float [B, C, h, w]. Output: float [B, out, h, w].
    """

    def __init__(self, channels: int, branch: int, out: int) -> None:
        super().__init__()
        self.levels = pyramid_levels(channels, branch)
        self.process = nn.ModuleList(bn_relu_conv(branch, branch, 3) for _ in self.levels[1:])
        self.compress = bn_relu_conv(len(self.levels) * branch, out)
        self.shortcut = bn_relu_conv(channels, out)

    def forward(self, x_BChw: Tensor) -> Tensor:
        said = [self.levels[0](x_BChw)]
        for level, process in zip(self.levels[1:], self.process, strict=True):
            said.append(process(to_size_of(level(x_BChw), x_BChw) + said[-1]))
        joined: Tensor = self.compress(torch.cat(said, dim=1)) + self.shortcut(x_BChw)
        return joined


class GlobalMean(nn.Module):
    """Float [B, C, h, w] -> [B, C, 1, 1]."""

    def forward(self, x_BChw: Tensor) -> Tensor:
        return x_BChw.mean((2, 3), keepdim=True)


def pyramid_levels(channels: int, branch: int) -> nn.ModuleList:
    """The map itself and its means over windows of 5, 9, 17 and over all of it, each to `branch` channels."""
    windows = [nn.AvgPool2d(2 * step + 1, step, step) for step in (2, 4, 8)]
    return nn.ModuleList(
        nn.Sequential(pool, *bn_relu_conv(channels, branch)) for pool in (nn.Identity(), *windows, GlobalMean())
    )


def scaled_variant(model: str, variants: Mapping[str, tuple[int, ...]], variant: str, width: float) -> tuple[int, ...]:
    """Channel counts of a variant times `width`. Raises UserError for an unknown variant and a width out of 0..16."""
    if variant not in variants:
        raise UserError(f"{model}: variant is '{variant}'; allowed are {', '.join(variants)}.")
    if not 0 < width <= 16:
        raise UserError(f"{model}: width is {width}; allowed are factors above 0, up to 16.")
    return tuple(max(1, round(channels * width)) for channels in variants[variant])


def residual_stem(channels: int, blocks: int) -> nn.Sequential:
    """Two strided 3×3, then two stages of basic blocks: float [B, 3, H, W] -> [B, 2·channels, H/8, W/8], rectified."""
    return nn.Sequential(
        conv_bn_relu(3, channels, stride=2),
        conv_bn_relu(channels, channels, stride=2),
        *residuals(channels, channels, blocks),
        nn.ReLU(inplace=True),
        *residuals(channels, 2 * channels, blocks, stride=2),
        nn.ReLU(inplace=True),
    )


def residuals(channels: int, out: int, count: int, *, stride: int = 1) -> nn.Sequential:
    """Basic blocks with ReLUs between them and none at the end; the first has the stride."""
    layers: list[nn.Module] = [Residual(channels, out, stride=stride)]
    for _ in range(count - 1):
        layers += [nn.ReLU(inplace=True), Residual(out, out)]
    return nn.Sequential(*layers)


def late_head(channels: int, inner: int, num_classes: int) -> nn.Sequential:
    """Classifier of features that are not rectified yet: BatchNorm, ReLU, 3×3, BatchNorm, ReLU, 1×1."""
    return nn.Sequential(
        *bn_relu_conv(channels, inner, 3),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, num_classes, 1),
    )


def bn_relu_conv(channels: int, out: int, kernel: int = 1, *, groups: int = 1) -> nn.Sequential:
    """BatchNorm, ReLU, bias-free convolution."""
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), conv)


def conv_bn(channels: int, out: int, kernel: int = 1, *, stride: int = 1) -> nn.Sequential:
    """Bias-free convolution, BatchNorm."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


ENTRIES = {
    "ddrnet": Entry(
        DDRNet,
        ModelCard(
            description="Two resolutions that exchange features: real time on GPUs",
            paper="Hong et al. 2021, arXiv 2101.06085",
            licence="MIT",
            published=(
                "Cityscapes val 77.8 (23-slim, ImageNet, mmsegmentation)",
                "Cityscapes val 80.0 (23, ImageNet, mmsegmentation)",
                "Cityscapes test 77.4 (23-slim, paper)",
                "CamVid 11 classes, test 74.7 (23-slim, 720×960, paper)",
                "CamVid 11 classes, test 76.3 (23, 720×960, paper)",
            ),
        ),
    )
}
