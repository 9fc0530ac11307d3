"""SPGNet: two encoder–decoders in a row; the first one's own prediction weighs the features that it hands on.

Source: Cheng, Chen, Wei, Zhu, Huang, Xiong, Huang, Hwu, Shi, "SPGNet: Semantic Prediction Guidance for Scene Parsing",
ICCV 2019 (arXiv 1908.09798). A stage is a ResNet, its global mean, and a decoder that goes from stride 32 to 4: a
bottleneck on the encoder's features, plus the coarser ones doubled in size. Between the stages, semantic prediction
guidance: a prediction that is trained as such, brought back to the features' channels, and through a sigmoid weighs
them. The second stage also gets the features of the first one's encoder and decoder at each stride, by 1×1 convolutions.

No code is public, and the paper leaves sizes open. Chosen here: 256 channels in the decoders; bottlenecks a quarter as
wide; the second stage begins behind the ResNet's stem, which a 1×1 replaces; the global mean is added to the encoder's
last features; the guidance only weighs, without a way around it; 1×1 for both classifiers; torchvision's ResNets.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments, conv_bn_relu, to_size_of
from segwright.models.card import Entry, ModelCard
from segwright.models.ddrnet import Residual

STAGES = ("layer1", "layer2", "layer3", "layer4")


class SPGNet(nn.Module):
    """Encoder–decoder, semantic prediction guidance, a second encoder–decoder without stem, classifier.

    backbone: of both stages, a ResNet of timm: resnet18, resnet50, resnet101, ...
    channels: of the decoders, a multiple of 4.
    auxiliary: in training, return the first stage's prediction too; without, nothing teaches it to be one.
    backbone_weights: None for random ones, "imagenet" for timm's, in both stages.
    Input: float [B, 3, H, W], normalised, H and W multiples of 32. Output: logits [B, K, H/4, W/4].
    Training needs batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        channels: int = 256,
        auxiliary: bool = True,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        check_arguments("spgnet", channels=channels)
        if channels % 4:
            raise UserError(
                f"spgnet: channels is {channels}; a bottleneck has a quarter of it, so take a multiple of 4."
            )
        self.stride = 32
        self.unused: tuple[str, ...] = ()
        self.first = Backbone(backbone, weights=backbone_weights)
        widths = self.first.channels
        self.second, entry = _without_stem(backbone, backbone_weights)
        self.decoders = nn.ModuleList(Decoder(widths, channels) for _ in range(2))
        self.guide = Guidance(channels, num_classes)
        self.enter = conv_bn_relu(channels, entry, 1)
        self.from_encoder = nn.ModuleList(conv_bn_relu(width, width, 1) for width in widths)
        self.from_decoder = nn.ModuleList(conv_bn_relu(channels, width, 1) for width in widths)
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = auxiliary

    def forward(self, image_BCHW: Tensor) -> Outputs:
        encoded = self.first(image_BCHW)
        decoded = self.decoders[0](encoded)
        guided, prediction = self.guide(decoded[0])
        x = self.enter(guided)
        again: list[Tensor] = []
        for i, stage in enumerate(self.second):
            x = stage(x) + self.from_encoder[i](encoded[i]) + self.from_decoder[i](decoded[i])
            again.append(x)
        logits = self.classify(self.decoders[1](again)[0])
        return Outputs(logits, (prediction,) if self.training and self.auxiliary else ())


class Decoder(nn.Module):
    """From coarse to fine: a bottleneck on each of the encoder's features, plus the coarser result at twice its size.

    Input: floats of `widths` channels, from fine to coarse. Output: the results at the same sizes, [B, channels, h, w].
    """

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.mean = conv_bn_relu(widths[-1], channels, 1)
        self.lateral = nn.ModuleList(Residual(width, channels, narrow=channels // 4) for width in widths)

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        coarse = self.mean(encoded[-1].mean((2, 3), keepdim=True))
        decoded: list[Tensor] = []
        for features, lateral in zip(reversed(encoded), reversed(self.lateral), strict=True):
            fine = F.relu(lateral(features), inplace=True)
            coarse = fine + (to_size_of(coarse, fine) if decoded else coarse)
            decoded.insert(0, coarse)
        return decoded


class Guidance(nn.Module):
    """Semantic prediction guidance: predicts the classes, and weighs the features by what that prediction says.

    Input: float [B, C, h, w]. Output: the features, weighed, of the same shape, and the logits [B, K, h, w].
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels, num_classes, 1)
        self.weigh = nn.Sequential(nn.Conv2d(num_classes, channels, 1), nn.Sigmoid())

    def forward(self, x_BChw: Tensor) -> tuple[Tensor, Tensor]:
        logits_BKhw = self.classify(x_BChw)
        return x_BChw * self.weigh(logits_BKhw), logits_BKhw


def _without_stem(backbone: str, weights: str | None) -> tuple[nn.ModuleList, int]:
    """The four stages of a ResNet behind its stem, and how many channels the first one takes."""
    parts = dict(Backbone(backbone, weights=weights).net.named_children())
    if not set(STAGES) <= set(parts):
        raise UserError(
            f"spgnet: backbone is '{backbone}'; it takes a ResNet: resnet18, resnet50, resnet101, resnext50_32x4d, ..."
        )
    first = next(part for part in parts["layer1"].modules() if isinstance(part, nn.Conv2d))
    return nn.ModuleList(parts[name] for name in STAGES), first.in_channels


ENTRIES = {
    "spgnet": Entry(
        SPGNet,
        ModelCard(
            description="Two encoder–decoders; the first one's prediction guides the second",
            paper="Cheng et al., ICCV 2019, arXiv 1908.09798",
            licence="MIT",
            published=("Cityscapes test 81.1 (two R50, fine labels, paper)",),
            experimental=True,
            initial_weights=("backbone_weights",),
        ),
    )
}
