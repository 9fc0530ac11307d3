"""FCN on VGG-16: a classifier of pictures turned into one of pixels, at stride 32, 16 or 8.

Source: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015 (arXiv 1411.4038).
The dense layers fc6 and fc7 are a 7×7 and a 1×1 convolution of 4096 channels. FCN-16s adds the scores of pool4, FCN-8s
also those of pool3, each after a transposed convolution that starts as bilinear up-sampling and learns. Unlike the
authors' code: fc6 is padded by 3 instead of the picture by 100, so that nothing needs cropping; the last up-sampling,
bilinear and fixed in the paper, is left to the Segmenter; the skips' scores start at 0 as there (8s starts as 32s), but
the main classifier starts small and random, so that all layers learn from the first step; without ImageNet's weights
the other layers start by Kaiming's rule.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import init_he
from segwright.models.card import Entry, ModelCard
from segwright.models.vgg import start_from_imagenet, vgg_channels, vgg_stages

SKIPS = {"32s": 0, "16s": 1, "8s": 2}


class FCN(nn.Module):
    """VGG-16 with its dense layers as convolutions, and scores of up to two finer levels.

    form: 32s, 16s or 8s, the stride at which the logits come.
    width: channels of VGG's first stage; fc6 and fc7 have 64 times as many (4096).
    dropout: share of values left out behind fc6 and fc7 in training.
    backbone_weights: None for random ones, "imagenet" for timm's vgg16, with its fc6 and fc7.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/8, W/8] for 8s.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        form: str = "8s",
        width: int = 64,
        dropout: float = 0.5,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        if form not in SKIPS:
            raise UserError(f"fcn: form is '{form}'; allowed are {', '.join(SKIPS)}.")
        if width < 1 or not 0 <= dropout < 1:
            raise UserError(
                f"fcn: width is {width} and dropout {dropout}; allowed are a width of 1 or more and a dropout from 0 "
                "to below 1."
            )
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        *_, pool3, pool4, pool5 = vgg_channels(width)
        dense = 64 * width
        self.vgg = vgg_stages(width, norm=False)
        self.dense = nn.Sequential(
            *(nn.Conv2d(pool5, dense, 7, padding=3), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(nn.Conv2d(dense, dense, 1), nn.ReLU(inplace=True), nn.Dropout(dropout)),
        )
        init_he(self)
        if backbone_weights is not None:
            start_from_imagenet(nn.ModuleList([self.vgg, self.dense]), backbone_weights, width=width, timm_name="vgg16")
        self.classify = nn.Conv2d(dense, num_classes, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        finer = (pool4, pool3)[: SKIPS[form]]
        self.skips = nn.ModuleList(_zero_conv(channels, num_classes) for channels in finer)
        self.up = nn.ModuleList(_bilinear_up(num_classes) for _ in finer)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features, pooled = image_BCHW, []
        for stage in self.vgg:
            features = F.max_pool2d(stage(features), 2)
            pooled.append(features)
        scores = self.classify(self.dense(features))
        for up, skip, finer in zip(self.up, self.skips, pooled[-2:-4:-1], strict=False):
            scores = up(scores) + skip(finer)
        return Outputs(scores)


def _zero_conv(channels: int, out: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, out, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _bilinear_up(classes: int) -> nn.ConvTranspose2d:
    """Transposed 4×4 convolution of stride 2 that starts as bilinear up-sampling of each class by itself."""
    up = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1, bias=False)
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        up.weight.copy_(torch.eye(classes).view(classes, classes, 1, 1) * torch.outer(line, line))
    return up


ENTRIES = {
    "fcn": Entry(
        FCN,
        ModelCard(
            description="VGG-16 made fully convolutional: the first of its kind, large",
            paper="Long et al., CVPR 2015, arXiv 1411.4038",
            licence="MIT",
            published=(
                "VOC 2012 test 62.2 (8s, paper)",
                "Cityscapes test 65.3 (8s)",
                "CamVid 11 classes, test 57.0 (8s, 360×480)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
