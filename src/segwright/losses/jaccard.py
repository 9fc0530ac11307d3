"""Soft Jaccard loss: one minus intersection over union in probabilities (Rahman and Wang 2016).

Letters: Q questions (classes, then sets of them), P pictures, or 1 for a whole batch.
"""

from __future__ import annotations

from torch import Tensor

from segwright.losses.overlap import SMALLEST, OverlapLoss, Overlaps


class Jaccard(OverlapLoss):
    """Mean over classes of 1 - (Σ p t + smooth) / (Σ p + Σ t - Σ p t + smooth); p probability, t truth.

    Arguments as in `OverlapLoss`.
    """

    name = "jaccard"

    def overlap(self, counts: Overlaps) -> Tensor:
        union_PQ = counts.predicted_PQ + counts.true_PQ - counts.hit_PQ + self.smooth
        return (counts.hit_PQ + self.smooth) / union_PQ.clamp_min(SMALLEST)
