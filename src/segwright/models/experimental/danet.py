"""DANet: attention between positions and attention between channels, side by side, added.

Source: Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019 (arXiv 1809.02983). Chosen here, as in
the authors' code and mmsegmentation: channels attend to those that they are *un*like (softmax of the negated products;
the paper's formula has no minus), products are not scaled, both attentions start with weight 0. Different: the
multi-grid dilations of the authors' ResNets are not used; the classifiers of the two branches weigh what all auxiliary
ones do here (there as much as the main one). Attention runs over a sixteenth of the positions at a time, with the same
results and a sixteenth of the memory; in training each part is computed again for the gradients.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, P = h·w positions, D channels of keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segwright.contracts import Outputs
from segwright.models.backbones import Backbone
from segwright.models.blocks import auxiliary_head, check_arguments, conv_bn_relu, without_autocast
from segwright.models.card import Entry, ModelCard

PARTS = 16
"""Parts of the positions that attention takes one after the other."""


class DANet(nn.Module):
    """Dilated backbone, two attention branches, their sum classified; all at the output stride.

    backbone: any timm model that takes an output stride: resnet50, resnet101, resnet50c, ...
    output_stride: 8, 16 or 32; each step costs less and is coarser.
    channels: of both branches. keys: in which positions are compared.
    dropout: share of channels left out before the classifiers in training.
    auxiliary: in training, further classifiers on either branch and on the features before the last ones.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, h, w] at that
    stride.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        output_stride: int = 8,
        channels: int = 512,
        keys: int = 64,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("danet", dropout=dropout, channels=channels, keys=keys)
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=2, weights=backbone_weights)
        inner, deep = self.backbone.channels
        self.position = nn.Sequential(
            conv_bn_relu(deep, channels), PositionAttention(channels, keys), conv_bn_relu(channels, channels)
        )
        self.channel = nn.Sequential(conv_bn_relu(deep, channels), ChannelAttention(), conv_bn_relu(channels, channels))

        def classifier() -> nn.Sequential:
            return nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))

        self.classify = classifier()
        heads = [classifier(), classifier(), auxiliary_head(inner, num_classes, dropout=dropout)] if auxiliary else []
        self.auxiliary = nn.ModuleList(heads)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        inner, deep = self.backbone(image_BCHW)
        position, channel = self.position(deep), self.channel(deep)
        logits = self.classify(position + channel)
        if not self.training:
            return Outputs(logits)
        seen = (position, channel, inner)
        return Outputs(logits, tuple(head(x) for head, x in zip(self.auxiliary, seen, strict=False)))


class PositionAttention(nn.Module):
    """Each position plus what it sees at all positions, weighed by likeness. float [B, C, h, w] in and out."""

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, keys, 1)
        self.key = nn.Conv2d(channels, keys, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x_BChw: Tensor) -> Tensor:
        query, key, value = (part(x_BChw).flatten(2).mT for part in (self.query, self.key, self.value))
        positions = query.shape[1]
        parts = F.pad(query, (0, 0, 0, -positions % PARTS)).unflatten(1, (PARTS, -1)).unbind(1)
        attend = self._again if self.training else _attend
        seen_BPC = torch.cat([attend(part, key, value) for part in parts], dim=1)[:, :positions]
        sum_BChw: Tensor = x_BChw + self.weight * seen_BPC.mT.unflatten(2, x_BChw.shape[-2:])
        return sum_BChw

    @staticmethod
    def _again(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen: Tensor = checkpoint(_attend, query, key, value, use_reentrant=False, preserve_rng_state=False)
        return seen


def _attend(query_BQD: Tensor, key_BPD: Tensor, value_BPC: Tensor) -> Tensor:
    """Values averaged by the softmax of unscaled products: float [B, Q, C]."""
    query, key, value = (tensor.unsqueeze(1) for tensor in (query_BQD, key_BPD, value_BPC))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0).squeeze(1)


class ChannelAttention(nn.Module):
    """Each channel plus what it sees in all channels, weighed by unlikeness. float [B, C, h, w] in and out.

    In float32 under autocast: the products are sums over all positions, too large for bfloat16's eight bits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x_BChw: Tensor) -> Tensor:
        with without_autocast(x_BChw):
            x_BCP = x_BChw.flatten(2).to(torch.promote_types(x_BChw.dtype, torch.float32))
            share_BCC = (-x_BCP @ x_BCP.mT).softmax(dim=2)
            seen_BCP = share_BCC @ x_BCP
        sum_BChw: Tensor = x_BChw + self.weight * seen_BCP.unflatten(2, x_BChw.shape[-2:])
        return sum_BChw


ENTRIES = {
    "danet": Entry(
        DANet,
        ModelCard(
            description="Attention between all positions, and between all channels",
            paper="Fu et al., CVPR 2019, arXiv 1809.02983",
            licence="MIT",
            published=(
                "Cityscapes test 81.5 (R101, paper)",
                "Cityscapes val 79.3 (R50, mmsegmentation)",
                "COCO-Stuff 37.9 (R50, paper)",
                "COCO-Stuff 39.7 (R101, paper)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
