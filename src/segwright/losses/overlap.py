"""What losses of whole classes share: how far the predicted and the true pixels of each class overlap.

Every class is a yes-or-no question of its own. Where labels stand for sets of classes, each set is one more question:
its probability is the sum of its members', and a pixel takes part in a question only where its own label settles it.
A pixel that may be car or truck is a yes for the set, a no for road, and says nothing about car.

Letters: B batch, K classes, L labels, Q questions (classes, then sets), H W pixels, P pictures, or 1 for a whole batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segwright.contracts import IGNORE
from segwright.losses.arguments import CLASSES, class_weights_of, flag, number, word
from segwright.losses.contract import SegmentationLoss
from segwright.losses.pixels import TINY, weighted_mean

SMALLEST = 1e-7
"""What the size of a class is at least, pixels, where one divides by it."""


class Questions(NamedTuple):
    """probs_BQHW: float, 0..1. truth_BQHW: bool. known_BQHW: bool, False where a pixel counts nowhere (may be B1HW).

    members_QK: bool [Q, K], the classes of each question; None where the questions are the classes.
    """

    probs_BQHW: Tensor
    truth_BQHW: Tensor
    known_BQHW: Tensor
    members_QK: Tensor | None


def questions(logits_BKHW: Tensor, labels: Tensor, membership_LK: Tensor | None) -> Questions:
    """Probabilities by softmax for int64 labels [B, H, W], by sigmoid for bool labels [B, K, H, W]."""
    if labels.ndim == 4:
        return Questions(logits_BKHW.sigmoid(), labels.bool(), torch.ones_like(labels[:, :1], dtype=torch.bool), None)
    probs_BKHW = logits_BKHW.softmax(1)
    num_classes = logits_BKHW.shape[1]
    known_B1HW = (labels != IGNORE)[:, None]
    if membership_LK is None:
        truth_BKHW = labels[:, None] == torch.arange(num_classes, device=labels.device)[:, None, None]
        return Questions(probs_BKHW, truth_BKHW, known_B1HW, None)
    sets_SK = membership_LK[num_classes:]
    sets_SK = sets_SK[sets_SK.sum(1) > 1]
    members_QK = torch.cat([torch.eye(num_classes, dtype=torch.bool, device=labels.device), sets_SK])
    yes_LQ = ~(membership_LK[:, None] & ~members_QK).any(2)
    settled_LQ = yes_LQ | ~(membership_LK[:, None] & members_QK).any(2)
    safe_BHW = labels.where(labels != IGNORE, 0)
    of_sets = [probs_BKHW[:, members_K].sum(1, keepdim=True) for members_K in sets_SK]
    return Questions(
        torch.cat([probs_BKHW, *of_sets], 1),
        yes_LQ[safe_BHW].movedim(-1, 1) & known_B1HW,
        settled_LQ[safe_BHW].movedim(-1, 1) & known_B1HW,
        members_QK,
    )


class Overlaps(NamedTuple):
    """Sums over pixels, by picture or over the whole batch.

    hit_PQ: probability on true pixels; predicted_PQ: probability on known pixels; true_PQ: true pixels.
    known_PQ: known pixels. share_P: how much each picture counts.
    members_QK: as in `Questions`.
    """

    hit_PQ: Tensor
    predicted_PQ: Tensor
    true_PQ: Tensor
    known_PQ: Tensor
    share_P: Tensor
    members_QK: Tensor | None


def overlaps(asked: Questions, weights_B: Tensor | None, *, per_picture: bool) -> Overlaps:
    """Soft counts of every class. Over a batch, the pixels of a picture count as often as its weight says."""
    known_BQHW = asked.known_BQHW.to(asked.probs_BQHW.dtype)
    truth_BQHW = asked.truth_BQHW.to(known_BQHW.dtype)
    probs_BQHW = asked.probs_BQHW * known_BQHW
    sums = (probs_BQHW * truth_BQHW, probs_BQHW, truth_BQHW, known_BQHW.expand_as(probs_BQHW))
    hit, predicted, true, known = (x.sum((2, 3)) for x in sums)
    weights_B = torch.ones_like(hit[:, 0]) if weights_B is None else weights_B.to(hit.dtype)
    if per_picture:
        return Overlaps(hit, predicted, true, known, weights_B, asked.members_QK)
    hit, predicted, true, known = ((weights_B[:, None] * x).sum(0, keepdim=True) for x in (hit, predicted, true, known))
    return Overlaps(hit, predicted, true, known, torch.ones_like(hit[:, 0]), asked.members_QK)


def counted_classes(counts: Overlaps, *, all_classes: bool) -> Tensor:
    """bool [P, Q]: questions with a true pixel; with all_classes, also classes that the truth does not hold."""
    counted_PQ = counts.true_PQ > 0
    if all_classes:
        num_classes = counted_PQ.shape[1] if counts.members_QK is None else counts.members_QK.shape[1]
        counted_PQ[:, :num_classes] = counts.known_PQ[:, :num_classes] > 0
    return counted_PQ


def mean_over_classes(value_PQ: Tensor, counted_PQ: Tensor, counts: Overlaps, class_weights_K: Tensor | None) -> Tensor:
    """Weighted mean over the questions that count in a picture, then over pictures; 0 where nothing counts.

    The weight of a set is the mean of its members'.
    """
    share_PQ = counted_PQ.to(value_PQ.dtype)
    if class_weights_K is not None:
        weights_Q = class_weights_K
        if counts.members_QK is not None:
            weights_Q = (counts.members_QK * class_weights_K).sum(1) / counts.members_QK.sum(1)
        share_PQ = share_PQ * weights_Q
    of_picture_P = (value_PQ * share_PQ).sum(1) / share_PQ.sum(1).clamp_min(TINY)
    return weighted_mean(of_picture_P, counts.share_P * (share_PQ.sum(1) > 0))


class OverlapLoss(SegmentationLoss):
    """A mean over classes of one minus some measure of overlap, which a subclass names in `overlap`.

    p is by softmax for exclusive labels, by sigmoid for multi-label ones.
    smooth: pixels, 0 or more, added above and below the fraction line. per_picture: False, sums over the whole batch;
    True, a mean over pictures. classes: `present`, those that the truth holds, or `all`; a class that is not there has
    a value near 1 then, unless almost nothing is predicted as it. class_weights: K numbers, for a weighted mean.
    """

    takes_multilabel = True
    class_weights: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        smooth: float = 1.0,
        per_picture: bool = False,
        classes: str = "present",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.smooth = number("smooth", smooth, least=0)
        self.per_picture = flag("per_picture", per_picture)
        self.all_classes = word("classes", classes, CLASSES) == "all"
        self.register_buffer("class_weights", class_weights_of(class_weights, num_classes), persistent=False)

    @abstractmethod
    def overlap(self, counts: Overlaps) -> Tensor:
        """Float [P, Q], 0..1: 1 where prediction and truth are the same."""

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        counts = overlaps(questions(logits_BKHW, labels, membership_LK), weights_B, per_picture=self.per_picture)
        value_PQ = self.of_miss(1 - self.overlap(counts))
        counted_PQ = counted_classes(counts, all_classes=self.all_classes)
        return mean_over_classes(value_PQ, counted_PQ, counts, self.class_weights)

    def of_miss(self, miss_PQ: Tensor) -> Tensor:
        """The loss of a class from one minus its overlap."""
        return miss_PQ
