"""UPerNet: means over a pyramid of regions on the deepest features, then a feature pyramid that joins four scales.

Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018 (arXiv 1807.10221); the part for
one task, as Swin (arXiv 2103.14030), ConvNeXt and BEiT use it. Chosen here, as in mmsegmentation: 512 channels
throughout, a 3×3 over all four scales beside each other, dropout 0.1, an auxiliary classifier of 256 channels on the
third scale, corners not aligned; features of Swin and ConvNeXt go through a LayerNorm each, as in their authors' code.

A transformer of one resolution gets its four scales from the outputs of four blocks, as in BEiT (arXiv 2106.08254): two
transposed 2×2 convolutions, one, none, and a max-pooling. With `blocks: [-1, -1, -1, -1]` all four come from the last
block, as in ViTDet's simple pyramid (arXiv 2203.16527).

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone, ChannelNorm, PlainBackbone, check_sizes, is_plain
from segwright.models.blocks import check_arguments, classifier, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.pspnet import PyramidPooling

SCALES = 4


class UPerNet(nn.Module):
    """Backbone of four scales, pyramid pooling on the last, feature pyramid, classifier at the finest scale.

    backbone: any timm model with features at four strides (resnet50, convnext_tiny, swin_tiny_patch4_window7_224), or a
        transformer of one resolution (vit_base_patch16_224, eva02_base_patch14_448, beitv2_base_patch16_224).
    channels: of every layer behind the backbone.
    bins: regions a side at each level of the pooling pyramid.
    blocks: of a transformer of one resolution, the four whose outputs become the scales, fine to coarse, from 0; null
        for evenly spaced ones (2, 5, 8, 11 of twelve).
    tile: side of the squares in which the backbone sees the picture, for backbones that take one size (BEiT); null for
        the whole picture.
    drop_path: share of a backbone's residual branches left out in training (stochastic depth).
    dropout: share of channels' values left out before the classifiers in training.
    auxiliary: in training, a further classifier on the third scale.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `stride`: the coarsest scale's (32 for most), or `tile`.
    Output: logits [B, K, h, w] at the finest scale's stride (4; 3.5 for patches of 14).
    Training needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        channels: int = 512,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        blocks: tuple[int, ...] | None = None,
        tile: int | None = None,
        drop_path: float = 0.0,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("upernet", dropout=dropout, channels=channels)
        if not bins or min(bins) < 1:
            raise UserError(f"upernet: bins is {list(bins)}; it takes regions a side from 1, such as [1, 2, 3, 6].")
        self.backbone = _scales(backbone, blocks, tile, drop_path, backbone_weights)
        if len(set(self.backbone.strides)) != SCALES:
            raise UserError(
                f"upernet: the backbone '{backbone}' has features at the strides {list(self.backbone.strides)}; the "
                "pyramid joins four different ones. Choose another backbone, such as convnext_tiny, or linear_head."
            )
        coarsest = self.backbone.strides[-1]
        if tile is not None and tile % coarsest:
            raise UserError(f"upernet: tile is {tile}, but the coarsest scale needs multiples of {coarsest}.")
        self.stride = tile or coarsest
        self.unused: tuple[str, ...] = ()
        check_sizes(backbone, self.backbone, self.stride, fixed=tile is not None)
        *finer, deep = self.backbone.channels
        normal = isinstance(self.backbone, Backbone) and self.backbone.unnormalised
        self.norms = nn.ModuleList(ChannelNorm(c, eps=1e-6) if normal else nn.Identity() for c in (*finer, deep))
        self.pyramid = PyramidPooling(deep, bins, branch=channels)
        self.context = conv_bn_relu(self.pyramid.channels, channels)
        self.lateral = nn.ModuleList(conv_bn_relu(c, channels, 1) for c in finer)
        self.smooth = nn.ModuleList(conv_bn_relu(channels, channels) for _ in finer)
        self.fuse = conv_bn_relu(SCALES * channels, channels).append(nn.Dropout2d(dropout))
        self.classify = nn.Conv2d(channels, num_classes, 1)
        few = max(1, min(256, channels // 2))
        self.auxiliary = classifier(finer[-1], few, num_classes, dropout=dropout) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features = [norm(x) for norm, x in zip(self.norms, self.backbone(image_BCHW), strict=True)]
        *finer, deep = features
        levels = [self.context(self.pyramid(deep))]
        for lateral, x in zip(self.lateral[::-1], finer[::-1], strict=True):
            levels.append(lateral(x) + to_size_of(levels[-1], x))
        context, *others = levels
        smooth = [conv(x) for conv, x in zip(self.smooth, others[::-1], strict=True)]
        joined = torch.cat([to_size_of(x, smooth[0]) for x in (*smooth, context)], dim=1)
        logits = self.classify(self.fuse(joined))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(finer[-1]),))


class ScalesOfOne(nn.Module):
    """A transformer of one resolution with four scales: a quarter, a half, one and two of its patches a pixel.

    Input: float [B, 3, H, W], H and W multiples of two patches. Output: four floats [B, C, h, w], fine to coarse.
    """

    def __init__(self, plain: PlainBackbone) -> None:
        super().__init__()
        self.plain = plain
        wide = plain.channels
        self.channels = (wide,) * SCALES
        self.strides = tuple(plain.patch * factor // 4 for factor in (1, 2, 4, 8))
        self.up4 = nn.Sequential(_double(wide), nn.BatchNorm2d(wide), nn.GELU(), _double(wide))
        self.up2 = _double(wide)
        self.down2 = nn.MaxPool2d(2)

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        first, second, third, last = self.plain(image_BCHW)
        return [self.up4(first), self.up2(second), third, self.down2(last)]


def _scales(
    name: str, blocks: tuple[int, ...] | None, tile: int | None, drop_path: float, weights: str | None
) -> Backbone | ScalesOfOne:
    if not 0 <= drop_path < 1:
        raise UserError(f"upernet: drop_path is {drop_path}; allowed are numbers from 0 to below 1.")
    extra = {"drop_path_rate": drop_path} if drop_path else {}
    if not is_plain(name):
        if blocks is not None:
            raise UserError(f"upernet: blocks is for transformers of one resolution; '{name}' has scales of its own.")
        return Backbone(name, levels=SCALES, weights=weights, timm_args=extra, tile=tile)
    if blocks is not None and len(blocks) != SCALES:
        raise UserError(f"upernet: blocks is {list(blocks)}; it takes four, such as [2, 5, 8, 11].")
    return ScalesOfOne(PlainBackbone(name, blocks=blocks or SCALES, weights=weights, timm_args=extra, tile=tile))


def _double(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, stride=2)


ENTRIES = {
    "upernet": Entry(
        UPerNet,
        ModelCard(
            description="Pyramid of regions and of scales on any backbone, transformers too",
            paper="Xiao et al., ECCV 2018, arXiv 1807.10221",
            licence="MIT",
            published=(
                "Cityscapes val 78.2 (R50, mmsegmentation)",
                "Cityscapes val 79.4 (R101, mmsegmentation)",
                "ADE20K val 44.4 (Swin-T, mmsegmentation)",
                "ADE20K val 53.1 (BEiT-B, mmsegmentation)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
