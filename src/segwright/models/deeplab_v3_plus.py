"""DeepLab v3+: DeepLab v3 as encoder, and a small decoder that adds the features at a quarter of the picture's size.

Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018 (arXiv
1802.02611). Pyramid and decoder are depthwise separable, with BatchNorm and ReLU after the depthwise part too, as in the
paper's Xception and in mmsegmentation (segmentation_models_pytorch leaves these out). The decoder brings the fine features
to 48 channels, the pyramid's output to their size, and has two 3×3 layers of 256 channels, as the paper found best
(segmentation_models_pytorch has one, and one before up-sampling). Dropout 0.1 behind the pyramid, as in the authors' code.
`xception65` is their aligned Xception, built by timm: its fine features are those before the second block's last layer.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import ASPP, check_arguments, conv_bn_relu, separable, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.deeplab_v3 import scaled_rates


class DeepLabV3Plus(nn.Module):
    """Dilated backbone, separable ASPP, decoder beside the features at stride 4.

    backbone: any timm model that takes an output stride: resnet50, resnet101, xception65, mobilenetv2_100, ...
    output_stride: 16, or 8 for finer features and three to four times the arithmetic.
    rates: dilations of the pyramid; None for 6, 12, 18 at output stride 16 and 12, 24, 36 at 8.
    channels: of the pyramid's branches and of the decoder. fine: channels that the features at stride 4 are brought to.
    dropout: share of values left out behind the pyramid in training.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, H/4, W/4]. Training
    needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
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
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("deeplab_v3_plus", output_stride=output_stride, dropout=dropout, channels=channels, fine=fine)
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=4, weights=backbone_weights)
        if self.backbone.strides[0] != 4:
            raise UserError(
                f"deeplab_v3_plus: the backbone '{backbone}' has features at the strides "
                f"{', '.join(map(str, self.backbone.strides))}, but the decoder needs them at 4. "
                "Choose such a backbone: resnet50, xception65, mobilenetv2_100."
            )
        shallow, *_, deep = self.backbone.channels
        rates = scaled_rates("deeplab_v3_plus", rates, output_stride)
        self.aspp = ASPP(deep, channels, rates, separated=True, dropout=dropout)
        self.detail = conv_bn_relu(shallow, fine, 1)
        self.decoder = nn.Sequential(*separable(fine + channels, channels), *separable(channels, channels))
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        fine, *_, deep = self.backbone(image_BCHW)
        context = to_size_of(self.aspp(deep), fine)
        return Outputs(self.classify(self.decoder(torch.cat([self.detail(fine), context], dim=1))))


ENTRIES = {
    "deeplab_v3_plus": Entry(
        DeepLabV3Plus,
        ModelCard(
            description="DeepLab v3 with a decoder at a quarter of the size: sharper edges",
            paper="Chen et al., ECCV 2018, arXiv 1802.02611",
            licence="MIT",
            published=(
                "Cityscapes test 82.1 (Xception-71, coarse labels too, paper)",
                "Cityscapes val 80.1 (R50, output stride 8, mmsegmentation)",
                "VOC 2012 test 87.8 (Xception-65, paper; 89.0 with more pictures)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
