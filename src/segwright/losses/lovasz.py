"""Lovász-softmax loss (Berman, Triki and Blaschko 2018): the convex surrogate of the Jaccard index itself.

Letters: B batch, K classes, Q questions (classes, then sets of them), H W pixels, N pixels of one question.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segwright.losses.arguments import CLASSES, class_weights_of, flag, word
from segwright.losses.contract import SegmentationLoss
from segwright.losses.overlap import counted_classes, mean_over_classes, overlaps, questions


class Lovasz(SegmentationLoss):
    """Mean over classes of the Lovász extension of the Jaccard loss, at the errors |t - p| of the pixels.

    p is by softmax for exclusive labels, by sigmoid for multi-label ones.
    per_picture: False, one Jaccard index over the whole batch; True, a mean over pictures. classes: `present`, those
    that the truth holds, or `all`. class_weights: K numbers, for a weighted mean over classes.
    Pixels of a picture of weight w count w times in the Jaccard index.
    """

    name = "lovasz"
    takes_multilabel = True
    class_weights: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        per_picture: bool = False,
        classes: str = "present",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.per_picture = flag("per_picture", per_picture)
        self.all_classes = word("classes", classes, CLASSES) == "all"
        self.register_buffer("class_weights", class_weights_of(class_weights, num_classes), persistent=False)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        asked = questions(logits_BKHW, labels, membership_LK)
        counts = overlaps(asked, weights_B, per_picture=self.per_picture)
        counted_PQ = counted_classes(counts, all_classes=self.all_classes)
        weights_B = torch.ones_like(logits_BKHW[:, 0, 0, 0]) if weights_B is None else weights_B.to(logits_BKHW.dtype)
        pixel_BQHW = (weights_B[:, None, None, None] * asked.known_BQHW).expand_as(asked.probs_BQHW)
        groups = [slice(b, b + 1) for b in range(len(weights_B))] if self.per_picture else [slice(None)]
        nothing = 0 * asked.probs_BQHW.sum()
        rows = []
        for picture, counted_Q in zip(groups, counted_PQ.tolist(), strict=True):
            for question, counts_here in enumerate(counted_Q):
                parts = (asked.probs_BQHW, asked.truth_BQHW, pixel_BQHW)
                rows.append(_extension(*(x[picture, question] for x in parts)) if counts_here else nothing)
        return mean_over_classes(torch.stack(rows).view_as(counted_PQ), counted_PQ, counts, self.class_weights)


def _extension(probs: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss of one class. All of one shape; pixels of weight 0 do not count.

    At sorted errors e, the value is Σ e_i · (J_i - J_{i-1}), with J_i the Jaccard loss of getting the first i pixels
    wrong. The differences are written out: subtracting two numbers near 1 would lose them in rounding.
    """
    seen = weights > 0
    errors = (truth.to(probs.dtype) - probs).abs() * seen
    if not bool((truth & seen).any()):
        return errors.max()  # one wrong pixel makes the whole Jaccard loss of a class that is not there
    error_N, order_N = errors.flatten().sort(descending=True)
    exact = torch.float32 if probs.device.type == "mps" else torch.float64
    signed_N = torch.where(truth, weights, -weights).flatten()[order_N].to(exact)
    true_N, other_N = signed_N.clamp_min(0), (-signed_N).clamp_min(0)
    union_N = true_N.sum() + other_N.cumsum(0)
    left_N = true_N.sum() - true_N.cumsum(0)
    slope_N = true_N / union_N + left_N * other_N / ((union_N - other_N) * union_N)
    return (error_N * slope_N.to(error_N.dtype)).sum()
