"""One linear layer per patch on the features of a backbone: how much a foundation model knows without a decoder.

Source: Strudel et al., "Segmenter: Transformer for Semantic Segmentation", ICCV 2021 (arXiv 2105.05633), its linear
decoder: the encoder's output after its last LayerNorm, one linear layer, bilinear up-sampling. `batch_norm` makes it
the linear evaluation of DINOv2 (Oquab et al. 2023, arXiv 2304.07193), whose backbone is frozen; `levels` puts the
outputs of several blocks beside each other, as its stronger form does. Other backbones give their coarsest features,
through a new LayerNorm where they are transformers or ConvNeXt.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone, ChannelNorm, PlainBackbone, check_sizes, is_plain
from segwright.models.blocks import check_arguments, to_size_of
from segwright.models.card import Entry, ModelCard


class LinearHead(nn.Module):
    """Backbone, 1×1 convolution.

    backbone: a transformer of one resolution (vit_small_patch14_dinov2, vit_base_patch16_dinov3, ...),
        or any other timm model with features.
    levels: how many features are put beside each other, at the size of the finest: the outputs of a transformer's last
        blocks, or the coarsest scales of other models.
    batch_norm: BatchNorm before the linear layer, for a backbone that is frozen.
    tile: side of the squares in which the backbone sees the picture, for backbones that take one size (BEiT); null for
        the whole picture.
    drop_path: share of a backbone's residual branches left out in training (stochastic depth).
    dropout: share of channels left out before the linear layer in training.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `stride`: the patch of a transformer, the coarsest scale
    of others (32 for most), or `tile`. Output: logits [B, K, h, w] at the stride of the finest level.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "vit_small_patch14_dinov2",
        levels: int = 1,
        batch_norm: bool = False,
        tile: int | None = None,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("linear_head", dropout=dropout, levels=levels)
        if not 0 <= drop_path < 1:
            raise UserError(f"linear_head: drop_path is {drop_path}; allowed are numbers from 0 to below 1.")
        extra = {"drop_path_rate": drop_path} if drop_path else {}
        self.unused: tuple[str, ...] = ()
        self.backbone: Backbone | PlainBackbone
        if is_plain(backbone):
            blocks = tuple(range(-levels, 0))
            plain = PlainBackbone(
                backbone, blocks=blocks, norm=True, weights=backbone_weights, timm_args=extra, tile=tile
            )
            self.backbone, channels, self.stride = plain, (plain.channels,) * levels, plain.patch
        else:
            net = Backbone(backbone, levels=levels, weights=backbone_weights, timm_args=extra, tile=tile)
            self.backbone, channels, self.stride = net, net.channels, net.strides[-1]
        self.stride = tile or self.stride
        check_sizes(backbone, self.backbone, self.stride, fixed=tile is not None)
        bare = self.backbone.unnormalised
        self.norms = nn.ModuleList(ChannelNorm(c, eps=1e-6) if bare else nn.Identity() for c in channels)
        self.batch_norm = nn.BatchNorm2d(sum(channels)) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(sum(channels), num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features = [norm(x) for norm, x in zip(self.norms, self.backbone(image_BCHW), strict=True)]
        joined = torch.cat([to_size_of(x, features[0]) for x in features], dim=1)
        return Outputs(self.classify(self.dropout(self.batch_norm(joined))))


ENTRIES = {
    "linear_head": Entry(
        LinearHead,
        ModelCard(
            description="One linear layer on a foundation backbone such as DINOv2",
            paper="Strudel et al., ICCV 2021, arXiv 2105.05633",
            licence="MIT",
            published=("ADE20K val 45.8 (vit_small_patch16_384, fine-tuned, mmsegmentation)",),
            initial_weights=("backbone_weights",),
        ),
    )
}
