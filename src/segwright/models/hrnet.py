"""HRNetV2, alone and with object-contextual representations (OCR): four resolutions side by side, none ever given up.

Sources: Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020 (arXiv 1908.07919):
the features of the four branches, brought to the finest size and put beside each other, a 1×1 convolution over all of
them, a classifier. Yuan et al., "Object-Contextual Representations for Semantic Segmentation", ECCV 2020 (arXiv
1909.11065): a first classifier says softly which pixels make up each class's region, the mean of a region describes it,
and each pixel gets the descriptions weighed by its likeness to them. Chosen here: the network is timm's, which brings
coarse branches to finer ones by nearest neighbours (the segmentation code: bilinearly); convolutions before a BatchNorm
have no bias; corners are not aligned; regions are means over the pixels by a softmax over them, as in the code.

Letters: B batch, C channels, H W pixels, K classes, h w = H/4 W/4, P = h·w pixels, D channels of keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard


class HighResolution(nn.Module):
    """An HRNet of timm without its classifier's layers; its four branches beside each other at stride 4.

    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: float [B, channels, H/4, W/4].
    """

    def __init__(self, model: str, backbone: str, weights: str | None) -> None:
        super().__init__()
        if not backbone.startswith("hrnet"):
            raise UserError(
                f"{model}: backbone is '{backbone}'; it takes an HRNet: hrnet_w18, hrnet_w32, hrnet_w48, ..."
            )
        self.net = Backbone(backbone, weights=weights, timm_args={"feature_location": ""})
        self.channels = sum(self.net.channels)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        fine, *coarser = self.net(image_BCHW)
        return torch.cat([fine, *(to_size_of(branch, fine) for branch in coarser)], dim=1)


class HRNet(nn.Module):
    """HRNetV2 with its plain head: 1×1 over the four branches, classifier.

    backbone: hrnet_w48, hrnet_w32, hrnet_w18, hrnet_w18_small_v2, hrnet_w18_small, ... of timm.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/4, W/4].
    """

    def __init__(self, num_classes: int, *, backbone: str = "hrnet_w48", backbone_weights: str | None = None) -> None:
        super().__init__()
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.backbone = HighResolution("hrnet", backbone, backbone_weights)
        self.mix = conv_bn_relu(self.backbone.channels, self.backbone.channels, 1)
        self.classify = nn.Conv2d(self.backbone.channels, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(self.classify(self.mix(self.backbone(image_BCHW))))


class HRNetOCR(nn.Module):
    """HRNetV2 with the OCR head; the first classifier is the auxiliary one in training.

    backbone: hrnet_w48, hrnet_w32, hrnet_w18, hrnet_w18_small_v2, hrnet_w18_small, ... of timm.
    channels: of the pixels' features and of the output. keys: in which pixels and regions are compared.
    dropout: share of channels left out before the classifier in training.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/4, W/4].
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "hrnet_w48",
        channels: int = 512,
        keys: int = 256,
        dropout: float = 0.05,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("hrnet_ocr", dropout=dropout, channels=channels, keys=keys)
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.backbone = HighResolution("hrnet_ocr", backbone, backbone_weights)
        wide = self.backbone.channels
        self.regions = nn.Sequential(*conv_bn_relu(wide, wide, 1), nn.Conv2d(wide, num_classes, 1))
        self.pixels = conv_bn_relu(wide, channels)
        self.context = ObjectContext(channels, keys)
        self.fuse = conv_bn_relu(2 * channels, channels, 1).append(nn.Dropout2d(dropout))
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features, first_BKhw = self.in_context(image_BCHW)
        return Outputs(self.classify(features), (first_BKhw,) if self.training else ())

    def in_context(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """What the last classifier sees, float [B, channels, H/4, W/4], and the first one's logits [B, K, H/4, W/4]."""
        features = self.backbone(image_BCHW)
        first_BKhw, pixels = self.regions(features), self.pixels(features)
        context = self.context(pixels, first_BKhw)
        return self.fuse(torch.cat([context, pixels], dim=1)), first_BKhw


class ObjectContext(nn.Module):
    """What each pixel learns from the regions of all classes: attention from pixels to regions.

    Input: float features [B, C, h, w] and logits [B, K, h, w] that tell the regions. Output: float [B, C, h, w].
    """

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        self.query = nn.Sequential(*conv_bn_relu(channels, keys, 1), *conv_bn_relu(keys, keys, 1))
        self.key = nn.Sequential(*conv_bn_relu(channels, keys, 1), *conv_bn_relu(keys, keys, 1))
        self.value = conv_bn_relu(channels, keys, 1)
        self.widen = conv_bn_relu(keys, channels, 1)

    def forward(self, pixels_BChw: Tensor, logits_BKhw: Tensor) -> Tensor:
        share_BKP = logits_BKhw.flatten(2).softmax(dim=2)
        regions_BCK1 = (pixels_BChw.flatten(2) @ share_BKP.mT).unsqueeze(3)
        query_BDP = self.query(pixels_BChw).flatten(2)
        key_BDK, value_BDK = self.key(regions_BCK1).squeeze(3), self.value(regions_BCK1).squeeze(3)
        likeness_BKP = (key_BDK.mT @ query_BDP * key_BDK.shape[1] ** -0.5).softmax(dim=1)
        seen_BDhw = (value_BDK @ likeness_BKP).unflatten(2, pixels_BChw.shape[-2:])
        context: Tensor = self.widen(seen_BDhw)
        return context


ENTRIES = {
    "hrnet": Entry(
        HRNet,
        ModelCard(
            description="Four resolutions side by side throughout: fine detail, much arithmetic",
            paper="Wang et al., TPAMI 2020, arXiv 1908.07919",
            licence="MIT",
            published=(
                "Cityscapes val 80.9 (W48, its repository)",
                "Cityscapes val 80.7 (W48, mmsegmentation)",
                "Cityscapes test 81.6 (W48, paper)",
            ),
            initial_weights=("backbone_weights",),
        ),
    ),
    "hrnet_ocr": Entry(
        HRNetOCR,
        ModelCard(
            description="HRNetV2, each pixel informed by the regions of all classes",
            paper="Yuan et al., ECCV 2020, arXiv 1909.11065",
            licence="MIT",
            published=(
                "Cityscapes test 83.7 (W48, more data)",
                "Cityscapes val 81.6 (W48, its repository)",
                "Cityscapes val 81.4 (W48, mmsegmentation)",
                "COCO-Stuff 40.5 (W48, paper)",
            ),
            initial_weights=("backbone_weights",),
        ),
    ),
}
