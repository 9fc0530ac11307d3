"""Soft Dice loss (Milletari et al. 2016): one minus the overlap of predicted and true pixels, class by class.

Letters: Q questions (classes, then sets of them), P pictures, or 1 for a whole batch.
"""

from __future__ import annotations

from torch import Tensor

from segwright.losses.overlap import SMALLEST, OverlapLoss, Overlaps


class Dice(OverlapLoss):
    """Mean over classes of 1 - (2 · Σ p t + smooth) / (Σ p + Σ t + smooth); p probability, t truth, sums over pixels.

    Arguments as in `OverlapLoss`.
    """

    name = "dice"

    def overlap(self, counts: Overlaps) -> Tensor:
        whole_PQ = counts.predicted_PQ + counts.true_PQ + self.smooth
        return (2 * counts.hit_PQ + self.smooth) / whole_PQ.clamp_min(SMALLEST)
