"""DenseASPP: dilated layers in a row, each fed by the backbone's features and by all dilated layers before it.

Source: Yang et al., "DenseASPP for Semantic Segmentation in Street Scenes", CVPR 2018, and the authors' code
(DeepMotionAIResearch/DenseASPP). The backbone is a DenseNet whose last two blocks are dilated in place of their poolings,
followed by a 1×1 that halves its channels, BatchNorm and ReLU; or MobileNetV2, whose features are only rectified. Each
layer is BatchNorm (not in the first), ReLU, 1×1, BatchNorm, ReLU, dilated 3×3, dropout of whole channels. As in the code:
these convolutions have biases; the first layer's ReLU, in place there, rectifies the features for all; newer outputs stand
before older ones. Unlike it: BatchNorm follows the statistics at torch's pace (0.1, not 0.0003, which suits only weights
that are already trained), and MobileNetV2 is timm's, which lacks a 1×1 at the first block and dilates the last two stages
by 4, not 2. Weights of the public DenseNet forms fit (`old_keys`); those of its MobileNetV2 do not.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.backbones import Backbone
from segwright.models.blocks import check_arguments
from segwright.models.card import Entry, ModelCard

RATES = (3, 6, 12, 18, 24)
WIDTHS = {"densenet121": (128, 64), "densenet161": (512, 128), "densenet169": (336, 168), "densenet201": (480, 240)}
"""Channels inside each dilated layer and of its output, by backbone, from the authors' configurations; else 128, 64."""

OLD_KEYS = (
    (r"features\.transition4\.norm\.(.+)", r"backbone.net.features_norm5.\1"),
    (r"features\.transition4\.conv\.(.+)", r"halve.0.\1"),
    (r"features\.norm5\.(.+)", r"halve.1.\1"),
    (r"features\.(.+)", r"backbone.net.features_\1"),
    (r"classification\.1\.(.+)", r"classify.\1"),
)


class DenseASPP(nn.Module):
    """Dilated DenseNet, five densely connected dilated layers, classifier.

    backbone: densenet161, densenet121, densenet169, densenet201, mobilenetv2_100, or another timm model that takes an
        output stride.
    output_stride: of the backbone, 8 or 16; the dilated layers work at 1/8 of the picture's size in both cases.
    rates: dilations of the layers.
    middle, growth: channels inside each layer and of its output; None for what the authors chose for the backbone.
    dropout: share of channels left out behind each layer and before the classifier in training.
    backbone_weights: None for random ones, "imagenet" for timm's.
    Input: float [B, 3, H, W], normalised, H and W multiples of `output_stride`. Output: logits [B, K, H/8, W/8].
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "densenet161",
        output_stride: int = 8,
        rates: tuple[int, ...] = RATES,
        middle: int | None = None,
        growth: int | None = None,
        dropout: float = 0.1,
        backbone_weights: str | None = None,
    ) -> None:
        super().__init__()
        usual = WIDTHS.get(backbone, (128, 64))
        middle, growth = usual[0] if middle is None else middle, usual[1] if growth is None else growth
        check_arguments("denseaspp", output_stride=output_stride, dropout=dropout, middle=middle, growth=growth)
        if not rates or min(rates) < 1:
            raise UserError(f"denseaspp: rates is {list(rates)}; it takes dilations from 1, such as {list(RATES)}.")
        self.stride = output_stride
        self.unused: tuple[str, ...] = ()
        self.backbone = Backbone(backbone, output_stride=output_stride, levels=1, weights=backbone_weights)
        (channels,) = self.backbone.channels
        self.halve = nn.Sequential()
        if backbone.startswith("densenet"):
            self.halve.append(nn.Conv2d(channels, channels // 2, 1, bias=False)).append(nn.BatchNorm2d(channels // 2))
            channels //= 2
        self.layers = nn.ModuleList(
            _layer(channels + index * growth, middle, growth, rate, dropout, first=index == 0)
            for index, rate in enumerate(rates)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(channels + len(rates) * growth, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        (deep,) = self.backbone(image_BCHW)
        features = self.halve(deep)
        if self.stride == 16:
            features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        features = F.relu(features)
        for layer in self.layers:
            features = torch.cat([layer(features), features], dim=1)
        return Outputs(self.classify(self.dropout(features)))


def old_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the public implementation's DenseNet checkpoints under the names that DenseASPP has for them.

    Takes off `module.` prefixes, spells `norm.1`, `norm_1` and their like `norm1`, and renames. Names that it does not
    know stay as they are.
    """
    return {_renamed(name): tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    plain = re.sub(r"\b(norm|relu|conv)[._]([12])\.", r"\1\2.", name.removeprefix("module."))
    if match := re.fullmatch(r"ASPP_(\d+)\.(norm|conv)([12])\.(.+)", plain):
        rate, kind, number, tensor = match.groups()
        if int(rate) in RATES:
            return f"layers.{RATES.index(int(rate))}.{kind}{number}.{tensor}"
    for pattern, ours in OLD_KEYS:
        if re.fullmatch(pattern, plain):
            return re.sub(pattern, ours, plain)
    return plain


def _layer(channels: int, middle: int, out: int, rate: int, dropout: float, *, first: bool) -> nn.Sequential:
    layer = nn.Sequential()
    if not first:
        layer.add_module("norm1", nn.BatchNorm2d(channels))
        layer.add_module("relu1", nn.ReLU(inplace=True))
    layer.add_module("conv1", nn.Conv2d(channels, middle, 1))
    layer.add_module("norm2", nn.BatchNorm2d(middle))
    layer.add_module("relu2", nn.ReLU(inplace=True))
    layer.add_module("conv2", nn.Conv2d(middle, out, 3, padding=rate, dilation=rate))
    layer.add_module("dropout", nn.Dropout2d(dropout))
    return layer


ENTRIES = {
    "denseaspp": Entry(
        DenseASPP,
        ModelCard(
            description="Dilated DenseNet, densely connected dilated layers: dense scales, much memory",
            paper="Yang et al., CVPR 2018 (DenseASPP for Semantic Segmentation in Street Scenes)",
            licence="MIT",
            published=(
                "Cityscapes test 80.6 (DenseNet-161, paper)",
                "Cityscapes val 78.9 (DenseNet-161, paper)",
            ),
            initial_weights=("backbone_weights",),
        ),
    )
}
