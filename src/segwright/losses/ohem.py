"""Online hard example mining: cross entropy of the pixels that the model finds hard.

Letters: B batch, K classes, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from segwright.contracts import IGNORE
from segwright.losses.arguments import class_weights_of, number
from segwright.losses.contract import SegmentationLoss
from segwright.losses.pixels import log_probability, pixel_shares, weighted_mean


class Ohem(SegmentationLoss):
    """Weighted mean of -log p over the hard pixels of a batch.

    A pixel is hard when p of its label is below `threshold`, 0..1, or among the `kept` share, 0..1, of the labelled
    pixels with the lowest p. So kept=1 is cross entropy, and threshold=0 keeps a fixed share.
    class_weights: as in cross entropy; they do not decide what is hard. A picture of weight 0 has no hard pixels.
    A pixel whose label is a set of classes has the set's probability.
    Source: Shrivastava, Gupta and Girshick 2016 for detection; this form with a threshold and a least number of pixels
    is the one of real-time segmentation networks (BiSeNet, HRNet).
    """

    name = "ohem"
    starts_at_ln_k = True
    class_weights: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        threshold: float = 0.7,
        kept: float = 0.0625,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.threshold = number("threshold", threshold, least=0, most=1)
        self.kept = number("kept", kept, least=0, most=1, above=True)
        self.register_buffer("class_weights", class_weights_of(class_weights, num_classes), persistent=False)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        log_p_BHW = log_probability(logits_BKHW, labels, membership_LK)
        counts_BHW = labels != IGNORE
        if weights_B is not None:
            counts_BHW = counts_BHW & (weights_B > 0)[:, None, None]
        share_BHW = pixel_shares(self.class_weights, labels, weights_B, membership_LK)
        return weighted_mean(-log_p_BHW, share_BHW * self._hard(log_p_BHW.detach(), counts_BHW))

    def _hard(self, log_p_BHW: Tensor, counts_BHW: Tensor) -> Tensor:
        """bool [B, H, W]: the pixels that are kept, out of those that count."""
        log_p_N = log_p_BHW[counts_BHW]
        if not len(log_p_N):
            return counts_BHW
        limit = log_p_N.kthvalue(math.ceil(self.kept * len(log_p_N))).values
        unsure = math.log(self.threshold) if self.threshold > 0 else -math.inf
        return counts_BHW & ((log_p_BHW <= limit) | (log_p_BHW < unsure))
