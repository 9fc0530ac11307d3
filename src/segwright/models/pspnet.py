"""PSPNet: a dilated backbone, means over 1×1, 2×2, 3×3 and 6×6 regions beside its features, a classifier.

Source: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017 (arXiv 1612.01105). Each level of the pyramid brings the
means to a quarter of the channels (one share a level) by a 1×1 convolution with BatchNorm and ReLU, and bilinearly back
to the size of the features; a 3×3 convolution of 512 channels, dropout 0.1 and a 1×1 follow. In training an auxiliary
classifier reads the stage before the last, weighted 0.4. Chosen here: torchvision's ResNets (the authors' and
mmsegmentation's have three 3×3 layers at the start: timm calls those resnet50c), corners not aligned (as mmsegmentation).
segmentation_models_pytorch's form is another: stride 8 by a shorter encoder, and a 1×1 in place of the 3×3.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import auxiliary_head, check_arguments, conv_bn_relu, region_means, to_size_of
from segwright.models.card import Entry, ModelCard


class PSPNet(nn.Module):
    """Dilated backbone, pyramid pooling, 3×3, classifier; all at the output stride.

    backbone: any timm model that takes an output stride: resnet50, resnet101, resnet50c, ...
    output_stride: 8, or 16 for a quarter of the arithmetic.
    bins: regions a side at each level of the pyramid.
    channels: of the 3×3 convolution behind the pyramid.
    dropout: share of values left out before the classifier in training.
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
        bins: tuple[int, ...] = (1, 2, 3, 6),
        channels: int = 512,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("pspnet", output_stride=output_stride, dropout=dropout, channels=channels)
        if not bins or min(bins) < 1:
            raise UserError(f"pspnet: bins is {list(bins)}; it takes regions a side from 1, such as [1, 2, 3, 6].")
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=2, weights=backbone_weights)
        inner, deep = self.backbone.channels
        self.pyramid = PyramidPooling(deep, bins)
        self.fuse = conv_bn_relu(self.pyramid.channels, channels).append(nn.Dropout(dropout))
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = auxiliary_head(inner, num_classes, dropout=dropout) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        inner, deep = self.backbone(image_BCHW)
        logits = self.classify(self.fuse(self.pyramid(deep)))
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(inner),))


class PyramidPooling(nn.Module):
    """The features, and beside them their means over regions of several sizes.

    branch: channels of each level; None for an equal share of the features' own. channels: of the output.
    Input: float [B, C, h, w]. Output: float [B, C + levels · branch, h, w].
    """

    def __init__(self, channels: int, bins: tuple[int, ...], *, branch: int | None = None) -> None:
        super().__init__()
        branch = branch or max(1, channels // len(bins))
        self.bins = bins
        self.channels = channels + len(bins) * branch
        self.branches = nn.ModuleList(conv_bn_relu(channels, branch, 1) for _ in bins)

    def forward(self, x_BChw: Tensor) -> Tensor:
        pooled = [branch(region_means(x_BChw, side)) for side, branch in zip(self.bins, self.branches, strict=True)]
        return torch.cat([x_BChw, *(to_size_of(means, x_BChw) for means in pooled)], dim=1)


ENTRIES = {
    "pspnet": Entry(
        PSPNet,
        ModelCard(
            description="Dilated backbone with means over a pyramid of regions",
            paper="Zhao et al., CVPR 2017, arXiv 1612.01105",
            licence="MIT",
            published=(
                "Cityscapes test 80.2 (R101, coarse labels too, paper)",
                "Cityscapes val 78.6 (R50, output stride 8, mmsegmentation)",
                "VOC 2012 test 85.4 (R101, with COCO, paper)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
