"""SegNet: VGG-16 and its mirror image, which puts values back where the encoder's max-poolings took them from.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", PAMI 2017 (arXiv 1511.00561). As in the authors' code every convolution has a bias and a BatchNorm, but
for the last, which gives the scores. Their poolings round odd sizes up; here H and W are multiples of 32 (the Segmenter
pads), so no size is odd.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import init_he
from segwright.models.card import Entry, ModelCard
from segwright.models.vgg import CONVOLUTIONS, start_from_imagenet, vgg_channels, vgg_layer, vgg_stages


class SegNet(nn.Module):
    """13 convolutions of VGG-16 with BatchNorm, and 13 of a decoder that un-pools with the encoder's indices.

    width: channels of the first stage (64 in the paper).
    backbone_weights: None for random ones, "imagenet" for timm's vgg16_bn.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H, W], at full size.
    On a GPU torch calls un-pooling non-deterministic and refuses it under `torch.use_deterministic_algorithms`; with
    poolings that do not overlap, as here, the result is always the same.
    """

    def __init__(self, num_classes: int, *, width: int = 64, backbone_weights: str | None = None) -> None:
        super().__init__()
        if width < 1:
            raise UserError(f"segnet: width is {width}; allowed are 1 or more.")
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.encoder = vgg_stages(width, norm=True)
        channels = vgg_channels(width)
        mirrored = zip(channels[::-1], [*channels[-2::-1], None], CONVOLUTIONS[::-1], strict=True)
        self.decoder = nn.ModuleList(_stage(i, o, count) for i, o, count in mirrored)
        init_he(self)
        self.classify = nn.Conv2d(width, num_classes, 3, padding=1)
        if backbone_weights is not None:
            start_from_imagenet(self.encoder, backbone_weights, width=width, timm_name="vgg16_bn")

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features, places = image_BCHW, []
        for stage in self.encoder:
            features, place = F.max_pool2d(stage(features), 2, return_indices=True)
            places.append(place)
        for stage in self.decoder:
            features = stage(F.max_unpool2d(features, places.pop(), (2, 2)))
        return Outputs(self.classify(features))


def _stage(channels: int, out: int | None, count: int) -> nn.Sequential:
    """`count` convolutions, of which the last gives `out` channels; without the last one where that is None."""
    layers = [layer for _ in range(count - 1) for layer in vgg_layer(channels, channels, norm=True)]
    return nn.Sequential(*layers, *(vgg_layer(channels, out, norm=True) if out else []))


ENTRIES = {
    "segnet": Entry(
        SegNet,
        ModelCard(
            description="VGG-16 and its mirror; un-pools where the encoder pooled",
            paper="Badrinarayanan et al., PAMI 2017, arXiv 1511.00561",
            licence="MIT",
            published=("Cityscapes test 57.0", "CamVid 11 classes, test 55.6 (360×480)"),
            initial_weights=("backbone_weights",),
        ),
    )
}
