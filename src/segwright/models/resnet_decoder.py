"""ResNet encoder-decoder without skips: a ResNet halves the picture five times, transposed convolutions double it back.

Source: a street-scene study on Cityscapes, with the encoder of He et al., "Deep Residual Learning for Image
Recognition", CVPR 2016 (arXiv 1512.03385). The decoder is five times (4×4 transposed convolution of stride 2, ReLU,
BatchNorm) with 256, 128, 64, 64 and 64 channels, then a 3×3 classifier. The study trains ResNet-18 and -34 from
scratch; here timm builds the encoder, which equals torchvision's, so other backbones and its weights are at hand.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.card import Entry, ModelCard

DECODER = (256, 128, 64, 64, 64)


class ResNetDecoder(nn.Module):
    """ResNet without its classifier, five transposed convolutions, classifier.

    backbone: resnet34 or resnet18 as in the study, or another timm model that ends at stride 32.
    backbone_weights: None for random ones, "imagenet" for timm's.
    channels: of the five steps of the decoder.
    Input: float [B, 3, H, W], normalised. Output: logits [B, K, H, W], at full size.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet34",
        backbone_weights: str | None = None,
        channels: tuple[int, ...] = DECODER,
    ) -> None:
        super().__init__()
        if len(channels) != len(DECODER) or min(channels) < 1:
            raise UserError(
                f"resnet_decoder: channels is {list(channels)}; it takes five numbers of 1 or more, "
                f"by default {list(DECODER)}."
            )
        self.encoder = Backbone(backbone, levels=1, weights=backbone_weights)
        if self.encoder.strides != (32,):
            raise UserError(
                f"resnet_decoder: the backbone '{backbone}' ends at stride {self.encoder.strides[-1]}, but five steps "
                "of the decoder undo a stride of 32. Choose such a backbone: resnet34, resnet18."
            )
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        steps = zip((*self.encoder.channels, *channels), channels, strict=False)
        self.decoder = nn.Sequential(*(layer for i, o in steps for layer in _double(i, o)))
        self.classify = nn.Conv2d(channels[-1], num_classes, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(self.classify(self.decoder(self.encoder(image_BCHW)[-1])))


def _double(channels: int, out: int) -> list[nn.Module]:
    up = nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)
    return [up, nn.ReLU(inplace=True), nn.BatchNorm2d(out)]


ENTRIES = {
    "resnet_decoder": Entry(
        ResNetDecoder,
        ModelCard(
            description="ResNet encoder, transposed-convolution decoder, no skips: blurred edges",
            paper="He et al., CVPR 2016, arXiv 1512.03385 (the encoder)",
            licence="MIT",
            published=(
                "Cityscapes 500 pictures of val 37 (512×1024, a study, protocol unknown)",
                "Cityscapes 34 classes, 500 pictures of val 33 (512×1024, a study, protocol unknown)",
                "Cityscapes 7 classes, 500 pictures of val 71 (512×1024, a study, protocol unknown)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
