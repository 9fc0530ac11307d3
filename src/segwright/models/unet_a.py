"""U-Net in the form of a street-scene study: ReLU before BatchNorm, 3×3 convolutions everywhere.

Source: Ronneberger et al., "U-Net", MICCAI 2015, in the form of a study on Cityscapes: blocks of (3×3 convolution,
ReLU, BatchNorm) × 2, 2×2 max-pooling, 3×3 transposed convolutions of stride 2 that halve the channels, a 3×3
classifier. A ReLU stands between each convolution and its BatchNorm, so the convolutions need their biases. It has
34,536,019 parameters for 19 classes.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.card import Entry, ModelCard


class UNetA(nn.Module):
    """U-Net of (3×3 convolution, ReLU, BatchNorm) × 2 blocks; places for context modules that are empty here.

    width: channels of the first block; they double at every level (64-128-256-512-1024 for the defaults).
    depth: number of halvings. Height and width must be multiples of 2**depth.
    Input: float [B, 3, H, W], normalised. Output: logits [B, K, H, W], at full size.
    """

    def __init__(self, num_classes: int, *, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        if width < 1 or not 1 <= depth <= 8:
            raise UserError(
                f"unet_a: width is {width} and depth {depth}; allowed are a width of 1 or more and a depth of 1..8."
            )
        self.widths = [width * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.unused: tuple[str, ...] = ()
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(_block(i, o) for i, o in zip([3, *self.widths], self.widths, strict=False))
        self.context = nn.ModuleList(nn.Identity() for _ in self.widths)
        upward = list(zip(self.widths[::-1], self.widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 3, 2, padding=1, output_padding=1) for i, o in upward)
        self.decoder = nn.ModuleList(_block(2 * o, o) for _, o in upward)
        self.classify = nn.Conv2d(width, num_classes, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features = image_BCHW
        levels: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            features = block(self.pool(features) if level else features)
            levels.append(features)
        levels = [context(x) for context, x in zip(self.context, levels, strict=True)]
        features = levels.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(torch.cat([levels.pop(), up(features)], dim=1))
        return Outputs(self.classify(features))


def _block(channels: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for source in (channels, out):
        layers += [nn.Conv2d(source, out, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers)


ENTRIES = {
    "unet_a": Entry(
        UNetA,
        ModelCard(
            description="U-Net with ReLU before BatchNorm: the form of the street-scene study",
            paper="Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
            licence="MIT",
            published=(
                "Cityscapes 34 classes, 500 pictures of val 34 (256×512, protocol unknown)",
                "Cityscapes 7 classes, 500 pictures of val 77 (256×512, protocol unknown)",
            ),
        ),
    )
}
