"""EMANet: the features re-built from a few bases, which expectation and maximisation fit to each picture.

Source: Li et al., "Expectation-Maximization Attention Networks for Semantic Segmentation", ICCV 2019 (arXiv
1907.13426). From bases that follow a running mean over training, positions are shared out over the bases (E) and the
bases become the means of their shares (M), three times; shares times bases are the features again, of low rank. Chosen
here, as in the authors' code: no gradient passes through these steps, so that the 1×1 before them keeps its random
weights (`unused`); bases have length 1. `concat` is mmsegmentation's form, which also shows the classifier the
backbone's features. The multi-grid dilations of the authors' ResNets are not used. Bases of several processes are not
averaged in training: torch's DistributedDataParallel passes on those of the first.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, P = h·w positions, N bases.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import auxiliary_head, check_arguments, conv_bn_relu, init_he, without_autocast
from segwright.models.card import Entry, ModelCard


class EMANet(nn.Module):
    """Dilated backbone, 3×3, expectation-maximisation attention, 3×3, classifier; all at the output stride.

    backbone: any timm model that takes an output stride: resnet50, resnet101, resnet50c, ...
    output_stride: 8, 16 or 32; each step costs less and is coarser.
    channels: of the attention; the classifier reads half of them. bases: how many.
    steps: of expectation and maximisation for each picture.
    momentum: share of the bases' running mean that a training batch replaces, above 0 and at most 1.
    concat: put the backbone's features beside the others before the classifier, as mmsegmentation does.
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
        bases: int = 64,
        steps: int = 3,
        momentum: float = 0.1,
        concat: bool = False,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("emanet", dropout=dropout, channels=channels, bases=bases, steps=steps)
        if not 0 < momentum <= 1:
            raise UserError(f"emanet: momentum is {momentum}; allowed are numbers above 0 and at most 1, such as 0.1.")
        self.stride = output_stride
        self.unused: tuple[str, ...] = ("attention.enter.weight", "attention.enter.bias")
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=2, weights=backbone_weights)
        inner, deep = self.backbone.channels
        half = max(1, channels // 2)
        self.reduce = conv_bn_relu(deep, channels)
        self.attention = ExpectationMaximisation(channels, bases, steps, momentum)
        self.refine = conv_bn_relu(channels, half)
        self.fuse = conv_bn_relu(deep + half, half) if concat else None
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(half, num_classes, 1))
        self.auxiliary = auxiliary_head(inner, num_classes, dropout=dropout) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        inner, deep = self.backbone(image_BCHW)
        features = self.refine(self.attention(self.reduce(deep)))
        if self.fuse is not None:
            features = self.fuse(torch.cat([deep, features], dim=1))
        logits = self.classify(features)
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(inner),))


class ExpectationMaximisation(nn.Module):
    """Features plus their re-building from N bases. float [B, C, h, w] in and out.

    bases_CN: the running mean from which every picture starts; columns near length 1. Training moves it.
    """

    bases_CN: Tensor

    def __init__(self, channels: int, bases: int, steps: int, momentum: float) -> None:
        super().__init__()
        self.steps, self.momentum = steps, momentum
        self.register_buffer("bases_CN", F.normalize(torch.randn(channels, bases), dim=0))
        self.enter = nn.Conv2d(channels, channels, 1)
        self.leave = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        init_he(self)

    def forward(self, x_BChw: Tensor) -> Tensor:
        with torch.no_grad():
            rebuilt_BCP = self._rebuild(self.enter(x_BChw).flatten(2))
        rebuilt_BChw = rebuilt_BCP.unflatten(2, x_BChw.shape[-2:]).relu_()
        left: Tensor = self.leave(rebuilt_BChw)
        return (x_BChw + left).relu_()

    def _rebuild(self, x_BCP: Tensor) -> Tensor:
        """In float32 under autocast, as the bases are kept."""
        with without_autocast(x_BCP):
            x_BCP = x_BCP.to(self.bases_CN.dtype)
            bases_BCN = self.bases_CN.expand(x_BCP.shape[0], -1, -1)
            for _ in range(self.steps):
                share_BPN = (x_BCP.mT @ bases_BCN).softmax(dim=2)
                bases_BCN = F.normalize(x_BCP @ F.normalize(share_BPN, p=1, dim=1), dim=1)
            if self.training:
                self.bases_CN.lerp_(F.normalize(bases_BCN.mean(0), dim=0), self.momentum)
            return bases_BCN @ share_BPN.mT


ENTRIES = {
    "emanet": Entry(
        EMANet,
        ModelCard(
            description="Features re-built from a few bases that fit each picture",
            paper="Li et al., ICCV 2019, arXiv 1907.13426",
            licence="MIT",
            published=(
                "VOC 2012 test 87.7 (R101, paper)",
                "VOC 2012 test 88.2 (R152, paper)",
                "Cityscapes val 77.6 (R50, mmsegmentation)",
                "COCO-Stuff 37.5 (R50, paper)",
                "COCO-Stuff 39.9 (R101, paper)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
