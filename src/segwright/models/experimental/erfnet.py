"""ERFNet: residual layers whose 3×3 are split into 3×1 and 1×3, with dilations, between plain steps down and up.

Source: Romera, Álvarez, Bergasa, Arroyo, "ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic
Segmentation", IEEE T-ITS 2018 (no arXiv number). As in the authors' code all convolutions have a bias, BatchNorm has
epsilon 0.001, and the encoder drops whole channels. Left out: the encoder's own classifier, with which they train it
first.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import check_arguments
from segwright.models.card import Entry, ModelCard

EPSILON = 1e-3
DILATIONS = (2, 4, 8, 16)


class ERFNet(nn.Module):
    """Three steps down to 1/8 with 5 and 8 residual layers behind the last two, two steps up with 2 each, classifier.

    width: factor on all channel counts.
    dropout: share of channels left out in the dilated layers in training; a tenth of it in the five before them.
    Input: float [B, 3, H, W], normalised, H and W multiples of 8. Output: logits [B, K, H, W], at full size.
    """

    def __init__(self, num_classes: int, *, width: float = 1.0, dropout: float = 0.3) -> None:
        super().__init__()
        check_arguments("erfnet", dropout=dropout)
        if not 0.25 <= width <= 16:
            raise UserError(f"erfnet: width is {width}; allowed are factors from 0.25 to 16.")
        c16, c64, c128 = (round(c * width) for c in (16, 64, 128))
        self.stride = 8
        self.unused: tuple[str, ...] = ()
        self.encoder = nn.Sequential(
            Down(3, c16),
            Down(c16, c64),
            *(Factorised(c64, dropout=dropout / 10) for _ in range(5)),
            Down(c64, c128),
            *(Factorised(c128, dilation=rate, dropout=dropout) for rate in 2 * DILATIONS),
        )
        self.decoder = nn.Sequential(
            *(*_up(c128, c64), Factorised(c64), Factorised(c64)),
            *(*_up(c64, c16), Factorised(c16), Factorised(c16)),
        )
        self.classify = nn.ConvTranspose2d(c16, num_classes, 2, 2)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        return Outputs(self.classify(self.decoder(self.encoder(image_BCHW))))


class Down(nn.Module):
    """A strided 3×3 and the max-pooled input beside each other. [B, channels, H, W] -> [B, out, H/2, W/2]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out - channels, 3, 2, 1)
        self.norm = nn.BatchNorm2d(out, eps=EPSILON)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.norm(torch.cat([self.conv(x_BCHW), F.max_pool2d(x_BCHW, 2)], dim=1)), inplace=True)


class Factorised(nn.Module):
    """Two rounds of 3×1, ReLU, 1×3 and BatchNorm, the second dilated; plus the input ("non-bottleneck 1D").

    Input and output: float [B, channels, H, W].
    """

    def __init__(self, channels: int, *, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_pair(channels, 1), nn.ReLU(inplace=True), *_pair(channels, dilation), nn.Dropout2d(dropout)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        changed: Tensor = self.layers(x_BCHW) + x_BCHW
        return changed.relu_()


def _pair(channels: int, dilation: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1)),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation)),
        nn.BatchNorm2d(channels, eps=EPSILON),
    ]


def _up(channels: int, out: int) -> list[nn.Module]:
    """Doubles the size: transposed 3×3, BatchNorm, ReLU."""
    return [
        nn.ConvTranspose2d(channels, out, 3, 2, 1, 1),
        nn.BatchNorm2d(out, eps=EPSILON),
        nn.ReLU(inplace=True),
    ]


ENTRIES = {
    "erfnet": Entry(
        ERFNet,
        ModelCard(
            description="Residual layers of split, dilated 3×3: small and dense",
            paper="Romera et al., IEEE T-ITS 2018",
            licence="MIT",
            published=(
                "Cityscapes test 68.0 (512×1024, paper)",
                "Cityscapes test 69.7 (512×1024, ImageNet, paper)",
                "Cityscapes val 72.5 (mmsegmentation)",
            ),
            experimental=True,
        ),
    )
}
