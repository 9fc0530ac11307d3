"""U-Net with atrous spatial pyramid pooling after its bottleneck, or there and on every skip.

Source: a street-scene study on Cityscapes: its U-Net (`unet_a`) with the pyramid of Chen et al., "Rethinking Atrous
Convolution for Semantic Image Segmentation" (arXiv 1706.05587), at dilations 2, 4 and 8. The study leaves open the
pyramid's channels and whether its other branches have BatchNorm. Chosen here: every branch is convolution, BatchNorm,
ReLU, a quarter of the level's channels wide, and the pyramid gives back as many channels as it got. The BatchNorm after
the joining convolution, which the study applies twice by mistake, is applied once.

Letters: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from segwright.contracts import UserError
from segwright.models.blocks import ASPP
from segwright.models.card import Entry, ModelCard
from segwright.models.unet_a import UNetA

RATES = (2, 4, 8)


class UNetASPP(UNetA):
    """The study's U-Net with ASPP.

    placement: 1, after the bottleneck; 2, also on every skip.
    width, depth: as for `unet_a`.
    Input: float [B, 3, H, W], normalised. Output: logits [B, K, H, W], at full size. Training needs batches of two or
    more: BatchNorm follows the global mean and refuses a single value a channel.
    """

    def __init__(self, num_classes: int, *, placement: int = 1, width: int = 64, depth: int = 4) -> None:
        if placement not in (1, 2):
            raise UserError(
                f"unet_aspp: placement is {placement}; allowed are 1 (after the bottleneck) and 2 (also on every skip)."
            )
        super().__init__(num_classes, width=width, depth=depth)
        first = 0 if placement == 2 else depth
        for level, channels in enumerate(self.widths):
            if level >= first:
                self.context[level] = ASPP(channels, channels, RATES, branch=max(1, channels // 4))


ENTRIES = {
    "unet_aspp": Entry(
        UNetASPP,
        ModelCard(
            description="The study's U-Net with dilated branches at its deepest level",
            paper="Chen et al. 2017, arXiv 1706.05587, in the U-Net of unet_a",
            licence="MIT",
            published=(
                "Cityscapes 500 pictures of val 45 (256×512, placement 1, protocol unknown)",
                "Cityscapes 34 classes, 500 pictures of val 36.6 (256×512, placement 1, protocol unknown)",
                "Cityscapes 7 classes, 500 pictures of val 70 (256×512, placement 1, protocol unknown)",
            ),
        ),
    )
}
