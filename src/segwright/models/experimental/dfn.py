"""DFN: from coarse to fine, each stage's channels are weighed by what the coarser stage already knows.

Source: Yu, Wang, Peng, Gao, Yu, Sang, "Learning a Discriminative Feature Network for Semantic Segmentation", CVPR 2018
(arXiv 1804.09337): the Smooth Network, with the widths, biases and heads of the first author's code, and a classifier
at each of its four stages in training. Chosen here: torchvision's ResNets (theirs has three 3×3 layers at the start),
and corners not aligned (theirs: aligned).

The paper's Border Network is not here. It takes no part in prediction: in training it makes the backbone find
boundaries, from maps of boundaries and with a focal loss; a loss here sees class scores and labels only.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments, check_strides, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard


class DFN(nn.Module):
    """Backbone, global mean, then four stages from stride 32 to 4: refine, weigh channels, add, refine; classifiers.

    backbone: any timm model with features at the strides 4, 8, 16 and 32: resnet18, resnet50, resnet101, ...
    channels: of every stage.
    auxiliary: in training, further classifiers at strides 8, 16 and 32 (the paper weighs them like the main one).
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/4, W/4]; auxiliary ones from
    fine to coarse.
    Training needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        channels: int = 512,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("dfn", channels=channels)
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, weights=backbone_weights)
        check_strides("dfn", backbone, self.backbone.strides, (4, 8, 16, 32))
        self.context = conv_bn_relu(self.backbone.channels[-1], channels, 1)
        self.before = nn.ModuleList(Refine(c, channels) for c in self.backbone.channels)
        self.attend = nn.ModuleList(ChannelAttention(channels) for _ in self.backbone.channels)
        self.after = nn.ModuleList(Refine(channels, channels) for _ in self.backbone.channels)
        self.classify = _head(channels, num_classes)
        heads = [_head(channels, num_classes) for _ in self.backbone.channels[1:]] if auxiliary else []
        self.auxiliary = nn.ModuleList(heads)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features = self.backbone(image_BCHW)
        known = self.context(features[-1].mean((2, 3), keepdim=True)).expand(-1, -1, *features[-1].shape[-2:])
        stages: list[Tensor] = []
        for i in reversed(range(len(features))):
            found = self.before[i](features[i])
            known = self.after[i](self.attend[i](found, to_size_of(known, found)))
            stages.insert(0, known)
        logits = self.classify(known)
        if not self.training:
            return Outputs(logits)
        return Outputs(logits, tuple(head(x) for head, x in zip(self.auxiliary, stages[1:], strict=False)))


class Refine(nn.Module):
    """Refinement residual block: 1×1 to `out` channels, plus what two 3×3 make of it.

    relu: a ReLU follows.
    Input: float [B, channels, h, w]. Output: float [B, out, h, w].
    """

    def __init__(self, channels: int, out: int, *, relu: bool = True) -> None:
        super().__init__()
        self.unify = nn.Conv2d(channels, out, 1, bias=False)
        self.change = nn.Sequential(*conv_bn_relu(out, out), nn.Conv2d(out, out, 3, padding=1, bias=False))
        self.relu = relu

    def forward(self, x_BChw: Tensor) -> Tensor:
        unified = self.unify(x_BChw)
        refined: Tensor = unified + self.change(unified)
        return F.relu(refined, inplace=True) if self.relu else refined


class ChannelAttention(nn.Module):
    """The fine features, each channel weighed by the means of both inputs, plus the coarse ones.

    Input: two floats [B, C, h, w]. Output: float [B, C, h, w].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1), nn.Sigmoid()
        )

    def forward(self, fine_BChw: Tensor, coarse_BChw: Tensor) -> Tensor:
        means = [x.mean((2, 3), keepdim=True) for x in (fine_BChw, coarse_BChw)]
        return torch.addcmul(coarse_BChw, fine_BChw, self.weigh(torch.cat(means, dim=1)))


def _head(channels: int, num_classes: int) -> nn.Sequential:
    """Refinement to nine channels a class without the last ReLU, then 1×1."""
    return nn.Sequential(Refine(channels, 9 * num_classes, relu=False), nn.Conv2d(9 * num_classes, num_classes, 1))


ENTRIES = {
    "dfn": Entry(
        DFN,
        ModelCard(
            description="Coarse-to-fine stages whose channels the coarser stage weighs",
            paper="Yu et al., CVPR 2018, arXiv 1804.09337",
            licence="MIT",
            published=(
                "Cityscapes test 79.3 (R101, paper; 80.3 at best)",
                "VOC 2012 test 86.2 (R101, paper)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
