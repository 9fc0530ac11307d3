"""DeepLabV3+ from scratch: a dilated ResNet-34, atrous spatial pyramid pooling, and a decoder beside the finest stage.

Source: a public exercise on Cityscapes after Chen et al., "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018 (arXiv 1802.02611). Unlike the paper: BasicBlocks 3-4-6-3 instead of Xception,
output stride 8, plain convolutions instead of separable ones, dropout 0.5 in the pyramid. Chosen here: in a dilated
stage every 3×3 convolution is dilated, also the first (which torchvision gives the dilation of the stage before).
The classifier works at a quarter of the picture's size: the same scores as behind the up-sampling, for less memory.

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import ASPP, conv_bn_relu, init_he, to_size_of
from segwright.models.card import Entry, ModelCard

BLOCKS = (3, 4, 6, 3)
RATES = (12, 24, 36)


class DeepLabV3PlusD(nn.Module):
    """Stem and four stages of BasicBlocks, ASPP at 1/8, decoder at 1/4. Kaiming initialisation throughout.

    width: channels of the first stage; the others have 2, 4 and 8 times as many, pyramid and decoder 4 times.
    dropout: share of values left out behind the pyramid in training.
    Input: float [B, 3, H, W], normalised, H and W multiples of 8. Output: logits [B, K, H/4, W/4]. Training needs
    batches of two or more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(self, num_classes: int, *, width: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        if width < 4 or not 0 <= dropout < 1:
            raise UserError(
                f"deeplab_v3_plus_d: width is {width} and dropout {dropout}; allowed are a width of 4 or more "
                "and a dropout from 0 to below 1."
            )
        self.stride = 8
        self.unused: tuple[str, ...] = ()
        wide, narrow = 4 * width, 3 * width // 4
        stem = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True), pool)
        self.stages = nn.ModuleList(
            [
                _stage(width, width, BLOCKS[0]),
                _stage(width, 2 * width, BLOCKS[1], stride=2),
                _stage(2 * width, 4 * width, BLOCKS[2], dilation=2),
                _stage(4 * width, 8 * width, BLOCKS[3], dilation=4),
            ]
        )
        self.aspp = ASPP(8 * width, wide, RATES, dropout=dropout)
        self.detail = conv_bn_relu(width, narrow, 1)
        self.decoder = nn.Sequential(*conv_bn_relu(wide + narrow, wide), *conv_bn_relu(wide, wide))
        init_he(self)
        self.classify = nn.Conv2d(wide, num_classes, 1)
        nn.init.kaiming_normal_(self.classify.weight)  # by the inputs: the first loss is near ln K

    def forward(self, image_BCHW: Tensor) -> Outputs:
        fine = self.stages[0](self.stem(image_BCHW))
        features = fine
        for stage in self.stages[1:]:
            features = stage(features)
        context = to_size_of(self.aspp(features), fine)
        return Outputs(self.classify(self.decoder(torch.cat([self.detail(fine), context], dim=1))))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm, added to the input, which goes through a 1×1 where the shapes differ.

    Source: He et al., CVPR 2016, arXiv 1512.03385.
    """

    def __init__(self, channels: int, out: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        second = nn.Conv2d(out, out, 3, padding=dilation, dilation=dilation, bias=False)
        first = conv_bn_relu(channels, out, stride=stride, dilation=dilation)
        self.change = nn.Sequential(*first, second, nn.BatchNorm2d(out))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x_BChw: Tensor) -> Tensor:
        change: Tensor = self.change(x_BChw)
        change += self.shortcut(x_BChw)
        return F.relu(change, inplace=True)


def _stage(channels: int, out: int, blocks: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = BasicBlock(channels, out, stride=stride, dilation=dilation)
    return nn.Sequential(first, *(BasicBlock(out, out, dilation=dilation) for _ in range(blocks - 1)))


ENTRIES = {
    "deeplab_v3_plus_d": Entry(
        DeepLabV3PlusD,
        ModelCard(
            description="DeepLabV3+ on a dilated ResNet-34, made for training from scratch",
            paper="Chen et al., ECCV 2018, arXiv 1802.02611",
            licence="MIT",
            published=(
                "Cityscapes val 58 (512×1024, from scratch, 90 epochs, its authors)",
                "Cityscapes val 62.6 (512×1024, from scratch, longer, its repository)",
            ),
        ),
    )
}
