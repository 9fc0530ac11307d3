"""PSANet: every position predicts how much it takes from, and gives to, each position around it.

Source: Zhao et al., "PSANet: Point-wise Spatial Attention Network for Scene Parsing", ECCV 2018. Two branches, at half
the features' resolution, predict at each position a mask: one weight for every offset from there to another position.
Chosen here: a mask has a fixed number of weights, enough for every offset at one size only (97×97: 49×49 positions,
784×784 pixels). At any other size it is **interpolated**, so that its border always stands for the picture's far side;
the authors' code and mmsegmentation cut it, or lengthen it by zeros, instead. As there: softmax over the weights,
sources and targets; no further scaling. Different: corners are not aligned. torchvision's ResNets are used, as for
PSPNet.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, P = h·w positions, m n rows and columns of a
mask; y x the position that predicts, v u the one that it speaks of.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import auxiliary_head, check_arguments, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard


class PSANet(nn.Module):
    """Dilated backbone, collecting and distributing attention, classifier; all at the output stride.

    backbone: any timm model that takes an output stride: resnet50, resnet101, resnet50c, ...
    output_stride: 8, 16 or 32; each step costs less and is coarser. The attention works at twice this stride.
    channels: of the attention and before the classifier.
    mask: rows and columns of the predicted masks, odd; exact for pictures of (mask + 1) · output_stride pixels.
    dropout: share of channels left out before the classifier in training.
    auxiliary: in training, a further classifier on the features before the last ones.
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
        mask: tuple[int, int] = (97, 97),
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("psanet", dropout=dropout, channels=channels)
        if len(mask) != 2 or any(side < 1 or side % 2 == 0 for side in mask):
            raise UserError(f"psanet: mask is {list(mask)}; it takes odd rows and columns, such as [97, 97].")
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=2, weights=backbone_weights)
        inner, deep = self.backbone.channels
        self.collect = PointAttention(deep, channels, mask, collects=True)
        self.distribute = PointAttention(deep, channels, mask, collects=False)
        self.widen = conv_bn_relu(2 * channels, deep, 1)
        self.fuse = conv_bn_relu(2 * deep, channels).append(nn.Dropout2d(dropout))
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = auxiliary_head(inner, num_classes, dropout=dropout) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        inner, deep = self.backbone(image_BCHW)
        seen = self.widen(torch.cat([self.collect(deep), self.distribute(deep)], dim=1))
        logits = self.classify(self.fuse(torch.cat([deep, to_size_of(seen, deep)], dim=1)))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(inner),))


class PointAttention(nn.Module):
    """One of the two branches. Input: float [B, deep, h, w]. Output: float [B, C, (h+1)//2, (w+1)//2].

    collects: a position's mask says what it takes from others; otherwise what others take from it.
    """

    def __init__(self, deep: int, channels: int, mask: tuple[int, int], *, collects: bool) -> None:
        super().__init__()
        self.mask, self.collects = mask, collects
        self.reduce = conv_bn_relu(deep, channels, 1)
        self.predict = nn.Sequential(
            conv_bn_relu(channels, channels, 1), nn.Conv2d(channels, mask[0] * mask[1], 1, bias=False)
        )

    def forward(self, x_BChw: Tensor) -> Tensor:
        reduced = self.reduce(x_BChw)
        height, width = reduced.shape[-2:]
        size = ((height + 1) // 2, (width + 1) // 2)
        reduced = F.interpolate(reduced, size=size, mode="bilinear", align_corners=False)
        logits_Bvuyx = pairs(self.predict(reduced).unflatten(1, self.mask))
        logits_BPP = logits_Bvuyx.flatten(3).flatten(1, 2)  # rows: spoken of; columns: predicting
        share_BPP = logits_BPP.softmax(dim=1) if self.collects else logits_BPP.softmax(dim=2).mT
        seen: Tensor = (reduced.flatten(2) @ share_BPP).unflatten(2, size)
        return seen


def pairs(mask_Bmnyx: Tensor) -> Tensor:
    """What each position's mask says of each position: float [B, m, n, y, x] -> [B, v, u, y, x].

    One matrix product along either axis picks the offset v − y, u − x, and interpolates between neighbours.
    """
    rows_yvm, columns_xun = (
        _offsets(mask_Bmnyx.shape[axis + 2], mask_Bmnyx.shape[axis], mask_Bmnyx) for axis in (1, 2)
    )
    spread_Bvnyx = torch.einsum("yvm,bmnyx->bvnyx", rows_yvm, mask_Bmnyx)
    return torch.einsum("xun,bvnyx->bvuyx", columns_xun, spread_Bvnyx)


def _offsets(length: int, weights: int, like: Tensor) -> Tensor:
    """[length, length, weights]: how much of each weight stands for the step from the first to the second position."""
    line = torch.arange(length, device=like.device, dtype=torch.float32)
    step = line - line.unsqueeze(1)
    place = (weights - 1) / 2 * (1 + step / step.amax().clamp(min=1))
    index = torch.arange(weights, device=like.device, dtype=torch.float32)
    return (1 - (place.unsqueeze(2) - index).abs()).relu().to(like.dtype)


ENTRIES = {
    "psanet": Entry(
        PSANet,
        ModelCard(
            description="Every position predicts what it takes from and gives to others",
            paper="Zhao et al., ECCV 2018",
            licence="MIT",
            published=(
                "Cityscapes test 80.1 (R101, paper)",
                "Cityscapes val 77.6 (R50, mmsegmentation)",
                "VOC 2012 test 85.7 (R101, paper)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
