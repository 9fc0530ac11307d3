"""U-Net: an encoder that halves the picture `depth` times, and a decoder that doubles it back beside the skips.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015. This
is the padded form with batch normalisation. As the defaults have it, every convolution has a bias, also the ones before
a BatchNorm, which makes 31,043,521 parameters for one class. `bias=False` is the other common form (the public
Pytorch-UNet of milesial): 31,038,218 for ten classes. With up-sampling that does not learn, bilinear or nearest, the
narrowing is left to the blocks, as there: half the channels at the bottom and after every block but the last.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.card import Entry, ModelCard

FIXED_UP: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "bilinear", "align_corners": True},
    "nearest": {"mode": "nearest"},
}
"""Ways up without weights, as arguments of `nn.Upsample`. Corners are aligned as in the public form."""
UPS = ("transposed", *FIXED_UP, "pixel_shuffle")
ATTENTIONS = ("none", "se", "scse", "se+scse")


class UNet(nn.Module):
    """U-Net of (3×3 convolution, BatchNorm, ReLU) × 2 blocks with 2×2 max-pooling.

    width: channels of the first block; they double at every level (64-128-256-512-1024 for the defaults).
    depth: number of halvings. Height and width must be multiples of 2**depth.
    up: how the decoder doubles: `transposed` (2×2, stride 2), `bilinear`, `nearest`, or `pixel_shuffle`, a 1×1
        convolution to four times the channels whose values become 2×2 pixels. That is a transposed convolution in
        another order; it starts as nearest up-sampling, so the first outputs have no checkerboard.
    bias: biases of the convolutions before a BatchNorm, which takes them away again.
    attention: `se`, squeeze and excitation after the block in the middle; `scse`, channel and spatial squeeze and
        excitation after every block of the decoder; `se+scse`, both; or `none`.
    Input: float [B, 3, H, W], normalised. Output: logits [B, K, H, W], at full size.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        depth: int = 4,
        up: str = "transposed",
        bias: bool = True,
        attention: str = "none",
    ) -> None:
        super().__init__()
        if width < 1 or not 1 <= depth <= 8:
            raise UserError(
                f"unet: width is {width} and depth {depth}; allowed are a width of 1 or more and a depth of 1..8."
            )
        if up not in UPS or attention not in ATTENTIONS:
            raise UserError(
                f"unet: up is '{up}' and attention '{attention}'; up may be {', '.join(UPS)}, "
                f"and attention {', '.join(ATTENTIONS)}."
            )
        widths = [width * 2**level for level in range(depth + 1)]
        if up in FIXED_UP:
            widths[-1] = widths[-2]
        skips = widths[-2::-1]
        outs = [*skips[1:], width] if up in FIXED_UP else skips
        gates = attention.split("+")
        self.stride = 2**depth
        self.unused: tuple[str, ...] = ()
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(_block(i, o, o, bias=bias) for i, o in zip([3, *widths], widths, strict=False))
        if "se" in gates:
            self.encoder[-1].append(ChannelGate(widths[-1]))  # type: ignore[operator]
        self.up = nn.ModuleList(_up(i, skip, up) for i, skip in zip([widths[-1], *outs], skips, strict=False))
        self.decoder = nn.ModuleList(_block(2 * skip, skip, o, bias=bias) for skip, o in zip(skips, outs, strict=True))
        if "scse" in gates:
            for block, channels in zip(self.decoder, outs, strict=True):
                block.append(ChannelSpatialGate(channels))  # type: ignore[operator]
        self.classify = nn.Conv2d(width, num_classes, 1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features = self.encoder[0](image_BCHW)
        skips: list[Tensor] = []
        for block in self.encoder[1:]:
            skips.append(features)
            features = block(self.pool(features))
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(torch.cat([skips.pop(), up(features)], dim=1))
        return Outputs(self.classify(features))


class ChannelGate(nn.Module):
    """Squeeze and excitation: every channel times a factor in 0..1 that follows from the means of all channels.

    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018 (arXiv 1709.01507), with their reduction of 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = max(1, channels // 16)
        squeeze, excite = nn.Conv2d(channels, few, 1), nn.Conv2d(few, channels, 1)
        self.gate = nn.Sequential(squeeze, nn.ReLU(inplace=True), excite, nn.Sigmoid())

    def factors(self, x_BCHW: Tensor) -> Tensor:
        """Float [B, C, 1, 1] in 0..1."""
        found: Tensor = self.gate(x_BCHW.mean((2, 3), keepdim=True))
        return found

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * self.factors(x_BCHW)


class ChannelSpatialGate(ChannelGate):
    """scSE: the input times its channel factors, plus the input times a factor in 0..1 of each pixel.

    Source: Roy, Navab, Wachinger, MICCAI 2018 (arXiv 1803.02579). The two are added, as in the paper and in smp; the
    authors' later code takes the larger one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.pixels = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        pixels_B1HW: Tensor = self.pixels(x_BCHW)
        return x_BCHW * (self.factors(x_BCHW) + pixels_B1HW)


class PixelShuffleUp(nn.Sequential):
    """1×1 convolution to 4·C channels, each four of which become 2×2 pixels (Shi et al., CVPR 2016, arXiv 1609.05158).

    The four pixels start equal, so that it begins as nearest up-sampling (Aitken et al. 2017, arXiv 1707.02937).
    Input: float [B, C, h, w]. Output: float [B, out, 2h, 2w].
    """

    def __init__(self, channels: int, out: int) -> None:
        conv = nn.Conv2d(channels, 4 * out, 1)
        super().__init__(conv, nn.PixelShuffle(2))
        with torch.no_grad():
            conv.weight.copy_(conv.weight[::4].repeat_interleave(4, dim=0))
            conv.bias.copy_(conv.bias[::4].repeat_interleave(4))  # type: ignore[union-attr, index]


def _up(channels: int, out: int, kind: str) -> nn.Module:
    if kind in FIXED_UP:
        return nn.Upsample(scale_factor=2, **FIXED_UP[kind])
    return PixelShuffleUp(channels, out) if kind == "pixel_shuffle" else nn.ConvTranspose2d(channels, out, 2, stride=2)


def _block(channels: int, middle: int, out: int, *, bias: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for source, target in ((channels, middle), (middle, out)):
        conv = nn.Conv2d(source, target, 3, padding=1, bias=bias)
        layers += [conv, nn.BatchNorm2d(target), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


ENTRIES = {
    "unet": Entry(
        UNet,
        ModelCard(
            description="Encoder-decoder with skips at every level: sharp edges, much arithmetic",
            paper="Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
            licence="MIT",
            published=("Cityscapes val 69.1 (mmsegmentation's form, 512×1024, no pre-training)",),
        ),
    )
}
