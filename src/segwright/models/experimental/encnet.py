"""EncNet: the picture as a whole, described against learned code words, says how much each channel counts.

Source: Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018 (arXiv 1803.08904). Every position is
shared out softly over code words by its distance to them; the mean residual to them describes the scene; a dense layer
turns it into one factor a channel. Chosen here, as in the authors' code and mmsegmentation: features times 1 + factor,
then ReLU; features of earlier stages join only with `lateral` (the authors' choice by data set). Different: the
scene's own classifier, there trained to say which classes are present (weight 0.2), is an auxiliary one of one pixel
here, trained with the run's loss: it learns the shares of the classes. Distances come from matrix products, without
[B, P, N, C] in memory.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes, P = h·w positions, N code words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.backbones import Backbone
from segwright.models.blocks import auxiliary_head, check_arguments, conv_bn_relu, to_size_of, without_autocast
from segwright.models.card import Entry, ModelCard


class EncNet(nn.Module):
    """Dilated backbone, 3×3, channels weighed by the encoded scene, classifier; all at the output stride.

    backbone: any timm model that takes an output stride: resnet50, resnet101, resnet50c, ...
    output_stride: 8, 16 or 32; each step costs less and is coarser.
    channels: of the encoded features. codes: how many code words.
    lateral: features of the two stages before the last join before the encoding.
    dropout: share of channels left out before the classifier in training.
    auxiliary: in training, two further classifiers: of the scene as one pixel, of the features before the last ones.
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
        codes: int = 32,
        lateral: bool = False,
        dropout: float = 0.1,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("encnet", dropout=dropout, channels=channels, codes=codes)
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=3, weights=backbone_weights)
        *finer, deep = self.backbone.channels
        self.reduce = conv_bn_relu(deep, channels)
        self.laterals = nn.ModuleList(conv_bn_relu(c, channels, 1) for c in finer) if lateral else None
        self.fuse = conv_bn_relu(3 * channels, channels) if lateral else None
        self.encode = SceneEncoding(channels, codes)
        self.factors = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))
        self.scene = nn.Linear(channels, num_classes) if auxiliary else None
        self.auxiliary = auxiliary_head(finer[-1], num_classes, dropout=dropout) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        *finer, deep = self.backbone(image_BCHW)
        features = self.reduce(deep)
        if self.laterals is not None and self.fuse is not None:
            joined = [to_size_of(part(x), features) for part, x in zip(self.laterals, finer, strict=True)]
            features = self.fuse(torch.cat([features, *joined], dim=1))
        scene_BC = self.encode(features)
        factor_BC11 = self.factors(scene_BC).unflatten(1, (-1, 1, 1))
        logits = self.classify((features * (1 + factor_BC11)).relu_())
        if self.scene is None or self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.scene(scene_BC).unflatten(1, (-1, 1, 1)), self.auxiliary(finer[-1])))


class SceneEncoding(nn.Module):
    """What a scene is made of. Input: float [B, C, h, w]. Output: float [B, C].

    In float32 under autocast: factors of differences of large numbers decide to which word a position belongs.
    """

    def __init__(self, channels: int, codes: int) -> None:
        super().__init__()
        self.project = conv_bn_relu(channels, channels, 1)
        reach = (codes * channels) ** -0.5
        self.words_NC = nn.Parameter(torch.empty(codes, channels).uniform_(-reach, reach))
        self.scale_N = nn.Parameter(torch.empty(codes).uniform_(-1, 0))
        self.norm = nn.BatchNorm1d(codes)

    def forward(self, x_BChw: Tensor) -> Tensor:
        projected = self.project(x_BChw)
        with without_autocast(projected):
            x_BPC = projected.flatten(2).mT.to(torch.promote_types(projected.dtype, torch.float32))
            words_NC = self.words_NC.to(x_BPC.dtype)
            length_BP1 = x_BPC.square().sum(2, keepdim=True)
            distance_BPN = length_BP1 - 2 * x_BPC @ words_NC.mT + words_NC.square().sum(1)
            share_BPN = (self.scale_N * distance_BPN).softmax(dim=2)
            residual_BNC = share_BPN.mT @ x_BPC - share_BPN.sum(1).unsqueeze(2) * words_NC
        scene: Tensor = self.norm(residual_BNC.to(projected.dtype)).relu().mean(1)
        return scene


ENTRIES = {
    "encnet": Entry(
        EncNet,
        ModelCard(
            description="Channels weighed by what the whole scene is made of",
            paper="Zhang et al., CVPR 2018, arXiv 1803.08904",
            licence="MIT",
            published=("VOC 2012 test 85.9 (R101, paper)", "Cityscapes val 77.9 (R50, mmsegmentation)"),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
