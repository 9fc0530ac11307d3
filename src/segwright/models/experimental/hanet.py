"""HANet: DeepLab v3+ whose features are weighed row by row, because streets look alike at the same height.

Source: Choi, Kim, Choo, "Cars Can't Fly up in the Sky: Improving Urban-Scene Segmentation via Height-Driven Attention
Networks", CVPR 2020 (arXiv 2003.05128), in the form of the authors' code and best script: four attentions, each from
the features before some layers, over 16 rows, to the features behind them; a sinusoidal code of the height after the
first of three layers; plain convolutions in pyramid and decoder; an auxiliary classifier on the stage before the last.

Chosen here: convolutions before a BatchNorm have no bias (theirs: the second and the auxiliary one have); no noise on
the heights in training; a dropout of single values before the auxiliary classifier (theirs: of channels). Heights are
those in the picture that the net sees, while the authors' code knows where in the whole picture a crop lies: train on
crops of full height, or expect less from the attention.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, R rows of the attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.backbones import Backbone
from segwright.models.blocks import (
    ASPP,
    check_arguments,
    check_strides,
    classifier,
    conv_bn_relu,
    region_means,
    to_size_of,
)
from segwright.models.card import Entry, ModelCard
from segwright.models.deeplab_v3 import scaled_rates

ROWS = 16
REDUCTION = 64


class HANet(nn.Module):
    """Dilated backbone, ASPP, decoder beside the features at stride 4; height-driven attention after each of them.

    backbone: any timm model that takes an output stride and has features at stride 4: resnet50, resnet101, ...
    output_stride: 16, or 8 for finer features and three to four times the arithmetic.
    rates: dilations of the pyramid; None for 6, 12, 18 at output stride 16 and 12, 24, 36 at 8.
    channels: of the pyramid's branches and of the decoder. fine: channels that the features at stride 4 are brought to.
    dropout: share left out before the attentions and the auxiliary classifier in training.
    auxiliary: in training, a further classifier on the features before the last ones.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, H/4, W/4].
    Training needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        output_stride: int = 16,
        rates: tuple[int, ...] | None = None,
        channels: int = 256,
        fine: int = 48,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("hanet", output_stride=output_stride, dropout=dropout, channels=channels, fine=fine)
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, weights=backbone_weights)
        check_strides("hanet", backbone, self.backbone.strides[:1], (4,))
        shallow, *_, inner, deep = self.backbone.channels
        rates = scaled_rates("hanet", rates, output_stride)
        self.aspp = ASPP(deep, channels, rates)
        wide = (len(rates) + 2) * channels
        self.detail = conv_bn_relu(shallow, fine, 1)
        self.decoder = nn.Sequential(*conv_bn_relu(fine + channels, channels), *conv_bn_relu(channels, channels))
        self.classify = nn.Conv2d(channels, num_classes, 1)
        pairs = ((inner, deep), (deep, wide), (wide, channels), (fine + channels, channels))
        self.attend = nn.ModuleList(HeightAttention(before, behind, dropout) for before, behind in pairs)
        self.auxiliary = classifier(inner, 2 * channels, num_classes, dropout=dropout) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        shallow, *_, inner, deep = self.backbone(image_BCHW)
        deep = self.attend[0](inner, deep)
        pyramid = self.attend[1](deep, self.aspp.side_by_side(deep))
        context = self.attend[2](pyramid, self.aspp.project(pyramid))
        joined = torch.cat([self.detail(shallow), to_size_of(context, shallow)], dim=1)
        logits = self.classify(self.attend[3](joined, self.decoder(joined)))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(inner),))


class HeightAttention(nn.Module):
    """Weights for every channel and row of the features behind some layers, from those before: their means over rows.

    before, behind: channels. dropout: share of the means' channels left out in training.
    Input: floats [B, before, h, w] and [B, behind, h', w']. Output: the latter, weighed.
    """

    heights_CR1: Tensor

    def __init__(self, before: int, behind: int, dropout: float) -> None:
        super().__init__()
        few = -(-before // REDUCTION)
        self.narrow = nn.Sequential(nn.Dropout2d(dropout), *conv_bn_relu(before, few, 1))
        self.widen = nn.Sequential(
            nn.Conv2d(few, 2 * few, (3, 1), padding=(1, 0), bias=False),
            nn.BatchNorm2d(2 * few),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * few, behind, (3, 1), padding=(1, 0)),
        )
        self.register_buffer("heights_CR1", height_code(few).unsqueeze(2), persistent=False)

    def forward(self, before_BChw: Tensor, behind_BChw: Tensor) -> Tensor:
        rows_BCR1 = region_means(before_BChw.mean(3, keepdim=True), ROWS)[..., :1]
        scores_BCR1 = self.widen(self.narrow(rows_BCR1) + self.heights_CR1)
        weights_BCh1 = F.interpolate(
            scores_BCR1.sigmoid(), size=(behind_BChw.shape[-2], 1), mode="bilinear", align_corners=False
        )
        return behind_BChw * weights_BCh1


def height_code(channels: int) -> Tensor:
    """Sines and cosines of the row in turn, plus 1: float [C, R], in 0..2; wavelengths grow with the channel."""
    row_R, channel_C1 = torch.arange(ROWS), torch.arange(channels).unsqueeze(1)
    cycle = 10.0 if channels > 50 else 100.0
    angle_CR = row_R / cycle ** (2 * (channel_C1 // 2) / channels)
    return torch.where(channel_C1 % 2 == 0, angle_CR.sin(), angle_CR.cos()) + 1


ENTRIES = {
    "hanet": Entry(
        HANet,
        ModelCard(
            description="DeepLab v3+ that weighs its features row by row: street scenes",
            paper="Choi et al., CVPR 2020, arXiv 2003.05128",
            licence="MIT",
            published=(
                "Cityscapes test 83.2 (ResNeXt-101, coarse labels too, its repository)",
                "Cityscapes test 82.1 (R101, with validation data, its repository)",
                "Cityscapes test 80.9 (R101, its repository)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
