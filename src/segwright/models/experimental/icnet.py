"""ICNet: a deep branch sees the picture small, shallow ones see it larger; each refines what the smaller one said.

Source: Zhao, Qi, Shen, Shi, Jia, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images", ECCV 2018
(arXiv 1704.08545). Chosen here, as in mmsegmentation: a whole ResNet (the paper prunes its PSPNet-50 to half the
kernels), a pyramid whose levels stand beside the features (the authors' model file adds them), and logits and auxiliary
logits at 1/8 (there 1/4, and the auxiliary ones before the fusion's 3×3). torchvision's ResNets are used, as for
PSPNet.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments, classifier, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.pspnet import PyramidPooling

BINS = (1, 2, 3, 6)


class ICNet(nn.Module):
    """Three branches on the picture at full, half and quarter size; two cascade fusions; classifier.

    The half and the quarter branch share the backbone's first stages.
    backbone: a ResNet of timm: resnet18, resnet50, resnet101, resnet50c, ...
    channels: of the pyramid's levels and output; the branches give half of them, the fusions a quarter.
    auxiliary: in training, two further classifiers, on what the smaller branches say (cascade label guidance).
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/8, W/8].
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
        check_arguments("icnet", channels=channels)
        if channels % 16:
            raise UserError(f"icnet: channels is {channels}; it is shared out, so take a multiple of 16.")
        half, quarter = channels // 2, channels // 4
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.early, self.late, (middle, _, deep) = _split_resnet(backbone, backbone_weights)
        self.pyramid = PyramidPooling(deep, BINS, branch=channels)
        self.small = nn.Sequential(conv_bn_relu(self.pyramid.channels, channels), conv_bn_relu(channels, half, 1))
        self.medium = conv_bn_relu(middle, half, 1)
        self.large = nn.Sequential(
            conv_bn_relu(3, channels // 16, stride=2),
            conv_bn_relu(channels // 16, channels // 16, stride=2),
            conv_bn_relu(channels // 16, channels // 8, stride=2),
        )
        self.fuse = nn.ModuleList([CascadeFusion(half, half, quarter), CascadeFusion(quarter, channels // 8, quarter)])
        self.classify = classifier(quarter, quarter, num_classes, dropout=0.0)
        heads = [classifier(quarter, quarter, num_classes) for _ in range(2)] if auxiliary else []
        self.auxiliary = nn.ModuleList(heads)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        middle = self.early(_halved(image_BCHW))
        small = self.small(self.pyramid(self.late(_halved(middle))))
        fused, guide16 = self.fuse[0](small, self.medium(middle))
        fused, guide8 = self.fuse[1](fused, self.large(image_BCHW))
        logits = self.classify(fused)
        if not self.training:
            return Outputs(logits)
        return Outputs(logits, tuple(head(x) for head, x in zip(self.auxiliary, (guide16, guide8), strict=False)))


class CascadeFusion(nn.Module):
    """The coarse features, up-sampled and through a dilated 3×3, plus the fine ones through a 1×1.

    Input: floats [B, coarse, h, w] and [B, fine, H, W]. Output: the sum and the former of its parts, [B, out, H, W].
    """

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.coarse = conv_bn_relu(coarse, out, dilation=2)
        self.fine = conv_bn_relu(fine, out, 1)

    def forward(self, coarse_BChw: Tensor, fine_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.coarse(to_size_of(coarse_BChw, fine_BCHW))
        return coarse + self.fine(fine_BCHW), coarse


def _split_resnet(backbone: str, weights: str | None) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
    """A ResNet to stride 8; its last two stages, dilated, not strided; the channels of its last three stages."""
    whole = Backbone(backbone, output_stride=8, levels=3, weights=weights)
    parts = dict(whole.net.named_children())
    if "layer3" not in parts:
        raise UserError(
            f"icnet: backbone is '{backbone}'; it takes a ResNet: resnet18, resnet50, resnet101, resnet50c, ..."
        )
    names = list(parts)
    cut = names.index("layer3")
    early = nn.Sequential(OrderedDict((name, parts[name]) for name in names[:cut]))
    late = nn.Sequential(OrderedDict((name, parts[name]) for name in names[cut:]))
    return early, late, whole.channels


def _halved(x_BCHW: Tensor) -> Tensor:
    height, width = x_BCHW.shape[-2:]
    return F.interpolate(x_BCHW, size=(height // 2, width // 2), mode="bilinear", align_corners=False)


ENTRIES = {
    "icnet": Entry(
        ICNet,
        ModelCard(
            description="Deep branch on a small picture, shallow ones on larger: real time",
            paper="Zhao et al., ECCV 2018, arXiv 1704.08545",
            licence="MIT",
            published=(
                "Cityscapes test 69.5 (pruned R50, paper)",
                "Cityscapes val 73.8 (R50, mmsegmentation)",
                "Cityscapes val 76.3 (R50, ImageNet, mmsegmentation)",
                "CamVid 11 classes, test 67.1 (720×960, paper)",
            ),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
