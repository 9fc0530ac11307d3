"""U-Net: an encoder that halves the picture `depth` times, and a decoder that doubles it back beside the skips.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015. This
is the padded form with batch normalisation: every convolution has a bias, also the ones before a BatchNorm, which makes
31,043,521 parameters for one class.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.card import Entry, ModelCard


class UNet(nn.Module):
    """U-Net of (3×3 convolution, BatchNorm, ReLU) × 2 blocks, with 2×2 max-pooling and 2×2 transposed convolutions.

    width: channels of the first block; they double at every level (64-128-256-512-1024 for the defaults).
    depth: number of halvings. Height and width must be multiples of 2**depth.
    Input: float [B, 3, H, W], normalised. Output: logits [B, K, H, W], at full size.
    """

    def __init__(self, num_classes: int, *, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        if width < 1 or not 1 <= depth <= 8:
            raise UserError(
                f"unet: width is {width} and depth {depth}; allowed are a width of 1 or more and a depth of 1..8."
            )
        widths = [width * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.unused: tuple[str, ...] = ()
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(_block(i, o) for i, o in zip([3, *widths], widths, strict=False))
        upward = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in upward)
        self.decoder = nn.ModuleList(_block(2 * o, o) for _, o in upward)
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


def _block(channels: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for source in (channels, out):
        layers += [nn.Conv2d(source, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


ENTRIES = {
    "unet": Entry(
        UNet,
        ModelCard(
            description="Encoder-decoder with skips at every level: sharp edges, much arithmetic",
            paper="Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
            licence="MIT",
        ),
    )
}
