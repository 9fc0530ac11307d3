"""Slim U-Net: a thin ResNet with a U-Net's way back to a quarter of the picture's size; made to train on processors.

Ours, from known pieces: residual stages (He et al., CVPR 2016), and a decoder that adds each finer stage to the
up-sampled coarser one (Lin et al., "Feature Pyramid Networks", CVPR 2017) and mixes them by a 3×3, with fewer channels
the finer it gets. All 3×3 convolutions are dense and nothing but the stem works at more than a quarter of the size:
where a processor multiplies in bfloat16, that is far quicker than depthwise layers with as many weights.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import check_arguments, conv_bn_relu, init_he, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.ddrnet import conv_bn, residuals

STAGES = ((32, 2), (64, 2), (128, 3), (160, 2))
"""Channels and residual blocks at 1/4, 1/8, 1/16, 1/32."""
DECODER = (32, 64, 96)
"""Channels of the way back at 1/4, 1/8, 1/16."""


class SlimUNet(nn.Module):
    """Stem to 1/4, four residual stages down to 1/32, three steps back to 1/4, classifier.

    width: factor on all channel counts.
    dropout: share of channels left out before the classifier in training.
    auxiliary: in training, a further classifier on the coarsest stage.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/4, W/4].
    Training needs more than one value a channel at H/32, W/32: BatchNorm refuses a single one.
    """

    def __init__(self, num_classes: int, *, width: float = 1.0, dropout: float = 0.1, auxiliary: bool = False) -> None:
        super().__init__()
        check_arguments("slim_unet", dropout=dropout)
        if not 0.1 <= width <= 16:
            raise UserError(f"slim_unet: width is {width}; allowed are factors from 0.1 to 16.")
        channels = [round(c * width) for c, _ in STAGES]
        back = [round(c * width) for c in DECODER]
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.stem = nn.Sequential(
            conv_bn_relu(3, channels[0] // 2, stride=2), conv_bn_relu(channels[0] // 2, channels[0], stride=2)
        )
        before = [channels[0], *channels]
        self.stages = nn.ModuleList(
            residuals(before[level], channels[level], blocks, stride=1 if level == 0 else 2)
            for level, (_, blocks) in enumerate(STAGES)
        )
        below = [*back[1:], channels[-1]]
        self.steps = nn.ModuleList(StepBack(*sizes) for sizes in zip(channels, below, back, strict=False))
        init_he(self)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(back[0], num_classes, 1))
        self.auxiliary = nn.Conv2d(channels[-1], num_classes, 1) if auxiliary else None

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features, levels = self.stem(image_BCHW), []
        for stage in self.stages:
            features = F.relu(stage(features))
            levels.append(features)
        for step, finer in zip(reversed(self.steps), reversed(levels[:-1]), strict=True):
            features = step(finer, features)
        logits = self.classify(features)
        if self.auxiliary is None or not self.training:
            return Outputs(logits)
        return Outputs(logits, (self.auxiliary(levels[-1]),))


class StepBack(nn.Module):
    """Match the channels of two levels, bring the coarser one to the size of the finer, add, ReLU, 3×3.

    Input: finer float [B, finer, h, w], coarser float [B, coarser, h/2, w/2]. Output: float [B, out, h, w].
    """

    def __init__(self, finer: int, coarser: int, out: int) -> None:
        super().__init__()
        self.finer, self.coarser, self.mix = conv_bn(finer, out), conv_bn(coarser, out), conv_bn_relu(out, out)

    def forward(self, finer_BChw: Tensor, coarser_BChw: Tensor) -> Tensor:
        up = to_size_of(self.coarser(coarser_BChw), finer_BChw)
        mixed: Tensor = self.mix(F.relu(self.finer(finer_BChw) + up))
        return mixed


ENTRIES = {
    "slim_unet": Entry(
        SlimUNet,
        ModelCard(
            description="Thin ResNet with a U-Net's way back to 1/4: trains fast on a CPU",
            paper="none",
            licence="MIT",
        ),
    )
}
