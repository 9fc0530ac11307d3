"""DeepLab v3: a dilated backbone, atrous spatial pyramid pooling with the mean of the picture, a classifier.

Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017 (arXiv 1706.05587). With
ResNets this is torchvision's form: stages dilated in place of their strides, rates 12, 24, 36 at output stride 8 and half
of them at 16, a 3×3 convolution before the classifier that the paper does not have, dropout 0.5 behind the pyramid, and
an optional auxiliary classifier on the stage before the last. The paper's multi-grid (dilations 1, 2, 4 inside the last
stage) is left out, as there: ImageNet weights fit without it.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import ASPP, auxiliary_head, check_arguments, conv_bn_relu
from segwright.models.card import Entry, ModelCard

TORCHVISION_KEYS = (
    (r"backbone\.(.+)", r"backbone.net.\1"),
    (r"classifier\.0\.convs\.4\.1\.(.+)", r"aspp.mean.0.\1"),
    (r"classifier\.0\.convs\.4\.2\.(.+)", r"aspp.mean.1.\1"),
    (r"classifier\.0\.convs\.(.+)", r"aspp.branches.\1"),
    (r"classifier\.0\.project\.(.+)", r"aspp.project.\1"),
    (r"classifier\.1\.(.+)", r"refine.0.\1"),
    (r"classifier\.2\.(.+)", r"refine.1.\1"),
    (r"classifier\.4\.(.+)", r"classify.\1"),
    (r"aux_classifier\.(.+)", r"auxiliary.\1"),
)


class DeepLabV3(nn.Module):
    """Dilated backbone, ASPP, 3×3, classifier; all at the output stride.

    backbone: any timm model that takes an output stride: resnet50, resnet101, mobilenetv2_100, xception65, ...
    output_stride: 8, or 16 for a quarter of the arithmetic.
    rates: dilations of the pyramid; None for 12, 24, 36 at output stride 8 and 6, 12, 18 at 16.
    channels: of the pyramid's branches and of what follows.
    dropout: share of values left out behind the pyramid in training.
    auxiliary: in training, a further classifier on the features before the last ones.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, h, w] at that
    stride. Training needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        output_stride: int = 8,
        rates: tuple[int, ...] | None = None,
        channels: int = 256,
        dropout: float = 0.5,
        auxiliary: bool = False,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("deeplab_v3", output_stride=output_stride, dropout=dropout, channels=channels)
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=2, weights=backbone_weights)
        inner, deep = self.backbone.channels
        self.aspp = ASPP(deep, channels, scaled_rates("deeplab_v3", rates, output_stride), dropout=dropout)
        self.refine = conv_bn_relu(channels, channels)
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = auxiliary_head(inner, num_classes) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        inner, deep = self.backbone(image_BCHW)
        logits = self.classify(self.refine(self.aspp(deep)))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(inner),))


def scaled_rates(model: str, rates: tuple[int, ...] | None, output_stride: int) -> tuple[int, ...]:
    """The rates as given, or the paper's for the output stride. Raises UserError for none, and for one below 1."""
    if rates is None:
        return tuple(rate * 8 // output_stride for rate in (12, 24, 36))
    if not rates or min(rates) < 1:
        raise UserError(f"{model}: rates is {list(rates)}; it takes dilations from 1, such as [6, 12, 18], or null.")
    return rates


def torchvision_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of torchvision's deeplabv3_resnet50 or _resnet101 under the names that DeepLabV3 has for them.

    Names that are not torchvision's stay as they are.
    """
    return {_renamed(name): tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    for pattern, ours in TORCHVISION_KEYS:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, ours, name)
    return name


ENTRIES = {
    "deeplab_v3": Entry(
        DeepLabV3,
        ModelCard(
            description="Dilated backbone with atrous pyramid pooling: strong, smooth edges, slow",
            paper="Chen et al. 2017, arXiv 1706.05587",
            licence="MIT",
            published=(
                "Cityscapes test 81.3 (R101, coarse labels too, paper)",
                "Cityscapes val 79.3 (R50, output stride 8, mmsegmentation)",
                "VOC 2012 test 85.7 (R101, paper)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
