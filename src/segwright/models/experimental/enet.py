"""ENet: bottlenecks of few channels behind an early reduction of the picture; decoder that un-pools. 0.36 M parameters.

Source: Paszke, Chaurasia, Kim, Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic
Segmentation", 2016 (arXiv 1606.02147). Chosen here, where the paper is open: PReLUs have one weight a channel, the
decoder has ReLUs; after the widening 1×1 there is no activation before the sum; BatchNorm and activation stand between
the 5×1 and the 1×5; the decoder's learnt way up is a transposed 3×3; the last layer is a transposed 2×2 with a bias.
The public PyTorch-ENet differs: one PReLU weight a block, an activation before the sum, a transposed 2×2 inside and 3×3
last.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.blocks import check_arguments
from segwright.models.card import Entry, ModelCard

Activation = Callable[[int], nn.Module]
"""Makes an activation for so many channels."""

REDUCTION = 4
STAGE = ("3", "dilated 2", "5x1", "dilated 4", "3", "dilated 8", "5x1", "dilated 16")
"""Kinds of the middle convolution, one a bottleneck; stages 2 and 3 run through all of them."""


class ENet(nn.Module):
    """Initial block, three stages of bottlenecks down to 1/8, two stages up again, transposed convolution.

    width: factor on all channel counts, which stay multiples of 4.
    dropout: share of channels left out at the end of each bottleneck in training; a tenth of it in the first stage.
    Input: float [B, 3, H, W], normalised, H and W multiples of 8. Output: logits [B, K, H, W], at full size.
    On a GPU torch calls un-pooling non-deterministic and refuses it under `torch.use_deterministic_algorithms`; with
    poolings that do not overlap, as here, the result is always the same.
    """

    def __init__(self, num_classes: int, *, width: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__()
        check_arguments("enet", dropout=dropout)
        if not 0 < width <= 16:
            raise UserError(f"enet: width is {width}; allowed are factors above 0, up to 16.")
        c16, c64, c128 = (max(4, round(c * width / 4) * 4) for c in (16, 64, 128))
        self.stride = 8
        self.unused: tuple[str, ...] = ()
        self.initial = Initial(c16)
        self.down = nn.ModuleList([Down(c16, c64, dropout / 10), Down(c64, c128, dropout)])
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(*(Bottleneck(c64, "3", dropout / 10) for _ in range(4))),
                nn.Sequential(*(Bottleneck(c128, kind, dropout) for kind in 2 * STAGE)),
            ]
        )
        self.up = nn.ModuleList([Up(c128, c64, dropout), Up(c64, c16, dropout)])
        self.decoder = nn.ModuleList(
            nn.Sequential(*(Bottleneck(channels, "3", dropout, _relu) for _ in range(count)))
            for channels, count in ((c64, 2), (c16, 1))
        )
        self.classify = nn.ConvTranspose2d(c16, num_classes, 2, 2)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features, places = self.initial(image_BCHW), []
        for down, stage in zip(self.down, self.encoder, strict=True):
            features, place = down(features)
            features = stage(features)
            places.append(place)
        for up, stage in zip(self.up, self.decoder, strict=True):
            features = stage(up(features, places.pop()))
        return Outputs(self.classify(features))


class Initial(nn.Module):
    """A strided 3×3 and the max-pooled picture beside each other. [B, 3, H, W] -> [B, out, H/2, W/2]."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, out - 3, 3, 2, 1, bias=False)
        self.finish = nn.Sequential(nn.BatchNorm2d(out), nn.PReLU(out))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        joined: Tensor = self.finish(torch.cat([self.conv(image_BCHW), F.max_pool2d(image_BCHW, 2)], dim=1))
        return joined


class Bottleneck(nn.Module):
    """1×1 to a quarter of the channels, a middle of some `kind`, 1×1 back; plus the input, whose shape it keeps."""

    def __init__(self, channels: int, kind: str, dropout: float, activation: Activation = nn.PReLU) -> None:
        super().__init__()
        few = channels // REDUCTION
        if kind == "5x1":
            middle = [
                *_step(nn.Conv2d(few, few, (5, 1), padding=(2, 0), bias=False), activation),
                *_step(nn.Conv2d(few, few, (1, 5), padding=(0, 2), bias=False), activation),
            ]
        else:
            rate = 1 if kind == "3" else int(kind.removeprefix("dilated "))
            middle = _step(nn.Conv2d(few, few, 3, padding=rate, dilation=rate, bias=False), activation)
        narrow = _step(nn.Conv2d(channels, few, 1, bias=False), activation)
        self.layers = nn.Sequential(*narrow, *middle, *_widen(few, channels, dropout))
        self.activate = activation(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        changed: Tensor = self.activate(x_BCHW + self.layers(x_BCHW))
        return changed


class Down(nn.Module):
    """Halves the size: strided 2×2, 3×3 and 1×1, plus the max-pooled input with channels of zeros.

    Input: float [B, channels, H, W]. Output: float [B, out, H/2, W/2], and where the pooling took its values.
    """

    def __init__(self, channels: int, out: int, dropout: float) -> None:
        super().__init__()
        few = channels // REDUCTION
        self.more = out - channels
        self.layers = nn.Sequential(
            *_step(nn.Conv2d(channels, few, 2, 2, bias=False), nn.PReLU),
            *_step(nn.Conv2d(few, few, 3, padding=1, bias=False), nn.PReLU),
            *_widen(few, out, dropout),
        )
        self.activate = nn.PReLU(out)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        pooled, places = F.max_pool2d(x_BCHW, 2, return_indices=True)
        return self.activate(self.layers(x_BCHW) + F.pad(pooled, (0, 0, 0, 0, 0, self.more))), places


class Up(nn.Module):
    """Doubles the size: 1×1, transposed 3×3 and 1×1, plus a 1×1 whose values are put back where a pooling took them.

    Input: float [B, channels, h, w] and the places. Output: float [B, out, 2·h, 2·w].
    """

    def __init__(self, channels: int, out: int, dropout: float) -> None:
        super().__init__()
        few = channels // REDUCTION
        self.layers = nn.Sequential(
            *_step(nn.Conv2d(channels, few, 1, bias=False), _relu),
            *_step(nn.ConvTranspose2d(few, few, 3, 2, 1, 1, bias=False), _relu),
            *_widen(few, out, dropout),
        )
        self.narrow = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x_BChw: Tensor, places_BChw: Tensor) -> Tensor:
        return F.relu(self.layers(x_BChw) + F.max_unpool2d(self.narrow(x_BChw), places_BChw, (2, 2)))


def _relu(channels: int) -> nn.Module:
    return nn.ReLU(inplace=True)


def _step(conv: nn.Conv2d | nn.ConvTranspose2d, activation: Activation) -> list[nn.Module]:
    """The convolution, BatchNorm, an activation."""
    return [conv, nn.BatchNorm2d(conv.out_channels), activation(conv.out_channels)]


def _widen(channels: int, out: int, dropout: float) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.Dropout2d(dropout)]


ENTRIES = {
    "enet": Entry(
        ENet,
        ModelCard(
            description="A third of a million parameters; un-pools where it pooled",
            paper="Paszke et al. 2016, arXiv 1606.02147",
            licence="MIT",
            published=(
                "Cityscapes test 58.3 (512×1024, paper)",
                "CamVid 11 classes, test 51.3 (360×480, paper)",
                "CamVid 11 classes, test 42.5 (360×480, PyTorch-ENet)",
            ),
            experimental=True,
        ),
    )
}
