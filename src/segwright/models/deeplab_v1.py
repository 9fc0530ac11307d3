"""DeepLab v1 (LargeFOV): VGG-16 whose last poolings keep the size, with holes in the convolutions behind them.

Source: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", ICLR 2015 (arXiv
1412.7062), the form "DeepLab-CRF-LargeFOV": the first dense layer is a 3×3 convolution of dilation 12 with 1024 channels,
20.5 M parameters for 21 classes. As in the authors' network files, poolings look at 3×3 pixels, the last two at stride 1,
and a 3×3 mean follows the last one. Chosen here: this is the network alone, the CRF is a step behind any network, or with
`crf` a layer that learns with it (Zheng et al., ICCV 2015); fc6 starts random (the authors pick every fourth weight of
VGG's), and so does everything without weights, by Kaiming's rule.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.blocks import check_arguments, init_he
from segwright.models.card import Entry, ModelCard
from segwright.models.crf import CrfHead
from segwright.models.vgg import start_from_imagenet, vgg_channels, vgg_stages

POOL_STRIDES = (2, 2, 2, 1, 1)


class DeepLabV1(nn.Module):
    """Atrous VGG-16 with a large field of view.

    width: channels of VGG's first stage; fc6 and fc7 have 16 times as many (1024).
    dilation: of fc6.
    dropout: share of values left out behind fc6 and fc7 in training.
    backbone_weights: None for random ones, "imagenet" for timm's vgg16, without its dense layers.
    crf: a fully connected CRF as the last layer, trained with the network.
    Input: float [B, 3, H, W], normalised, H and W multiples of 8. Output: logits [B, K, H/8, W/8], or [B, K, H, W] with
    `crf`, then float32.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        dilation: int = 12,
        dropout: float = 0.5,
        backbone_weights: str | None = None,
        crf: bool = False,
    ) -> None:
        super().__init__()
        check_arguments("deeplab_v1", dropout=dropout, width=width, dilation=dilation)
        self.stride = 8
        self.unused: tuple[str, ...] = ()
        deep, dense = vgg_channels(width)[-1], 16 * width
        self.vgg = vgg_stages(width, norm=False, last_dilation=2)
        self.dense = nn.Sequential(
            *(nn.Conv2d(deep, dense, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)),
            *(nn.Dropout(dropout), nn.Conv2d(dense, dense, 1), nn.ReLU(inplace=True), nn.Dropout(dropout)),
        )
        init_he(self)
        if backbone_weights is not None:
            start_from_imagenet(self.vgg, backbone_weights, width=width, timm_name="vgg16")
        self.classify = nn.Conv2d(dense, num_classes, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        self.crf = CrfHead(num_classes) if crf else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features = image_BCHW
        for stage, stride in zip(self.vgg, POOL_STRIDES, strict=True):
            features = F.max_pool2d(stage(features), 3, stride, padding=1)
        features = F.avg_pool2d(features, 3, 1, padding=1)
        logits = self.classify(self.dense(features))
        return Outputs(logits if self.crf is None else self.crf(logits, image_BCHW))


ENTRIES = {
    "deeplab_v1": Entry(
        DeepLabV1,
        ModelCard(
            description="Atrous VGG-16 with a large field of view; first DeepLab",
            paper="Chen et al., ICLR 2015, arXiv 1412.7062",
            licence="MIT",
            published=(
                "VOC 2012 test 70.3 (LargeFOV with CRF, paper)",
                "VOC 2012 val 62.3 (LargeFOV without CRF, paper)",
                "CamVid 11 classes, test 61.6 (LargeFOV, 360×480)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
