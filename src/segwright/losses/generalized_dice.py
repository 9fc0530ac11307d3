"""Generalized Dice loss (Sudre et al. 2017): one Dice over all classes, in which small classes weigh more.

Letters: K classes, Q questions (classes, then sets of them), P pictures, or 1 for a whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segwright.losses.arguments import flag
from segwright.losses.contract import SegmentationLoss
from segwright.losses.overlap import overlaps, questions
from segwright.losses.pixels import TINY, weighted_mean


class GeneralizedDice(SegmentationLoss):
    """1 - 2 · Σ_l w_l Σ r p / Σ_l w_l Σ (r + p), with w_l = 1 / (Σ r)²; r truth, p probability, inner sums over pixels.

    p is by softmax for exclusive labels, by sigmoid for multi-label ones. A class without true pixels has weight 0.
    per_picture: False, sums over the whole batch; True, a mean over pictures.
    """

    name = "generalized_dice"
    takes_multilabel = True

    def __init__(self, num_classes: int, *, per_picture: bool = False) -> None:
        super().__init__()
        self.per_picture = flag("per_picture", per_picture)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        counts = overlaps(questions(logits_BKHW, labels, membership_LK), weights_B, per_picture=self.per_picture)
        present_PQ = counts.true_PQ > 0
        smallest_P1 = counts.true_PQ.where(present_PQ, torch.inf).amin(1, keepdim=True)
        # only the ratios of the weights matter: with the smallest class at 1 no square leaves the range of float32
        weight_PQ = torch.where(present_PQ, (smallest_P1 / counts.true_PQ.where(present_PQ, 1)) ** 2, 0)
        hit_P = (weight_PQ * counts.hit_PQ).sum(1)
        whole_P = (weight_PQ * (counts.true_PQ + counts.predicted_PQ)).sum(1)
        value_P = 1 - 2 * hit_P / whole_P.clamp_min(TINY)
        return weighted_mean(value_P, counts.share_P * present_PQ.any(1))
