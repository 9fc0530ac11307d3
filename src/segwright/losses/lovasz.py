"""Lovász-softmax loss (Berman, Triki and Blaschko 2018): the convex surrogate of the Jaccard index itself.

Letters: B batch, K classes, Q questions (classes, then sets of them), H W pixels, N pixels of one question.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segwright.losses.arguments import CLASSES, class_weights_of, flag, whole, word
from segwright.losses.contract import SegmentationLoss
from segwright.losses.overlap import counted_classes, mean_over_classes, overlaps, questions


class Lovasz(SegmentationLoss):
    """Mean over classes of the Lovász extension of the Jaccard loss, at the errors |t - p| of the pixels.

    p is by softmax for exclusive labels, by sigmoid for multi-label ones.
    per_picture: False, one Jaccard index over the whole batch; True, a mean over pictures. classes: `present`, those
    that the truth holds, or `all`. class_weights: K numbers, for a weighted mean over classes.
    every: 1, all pixels; n, those of each n-th row and column, from the first on: as good an estimate of the index from
    1/n² of the pixels, and as much faster.
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
        every: int = 1,
    ) -> None:
        super().__init__()
        self.per_picture = flag("per_picture", per_picture)
        self.all_classes = word("classes", classes, CLASSES) == "all"
        self.every = whole("every", every, least=1, most=16)
        self.register_buffer("class_weights", class_weights_of(class_weights, num_classes), persistent=False)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        logits_BKHW, labels = (x[..., :: self.every, :: self.every] for x in (logits_BKHW, labels))
        asked = questions(logits_BKHW, labels, membership_LK)
        with torch.no_grad():
            counts = overlaps(asked, weights_B, per_picture=self.per_picture)
        counted_PQ = counted_classes(counts, all_classes=self.all_classes)
        seen_BQHW = asked.known_BQHW.expand_as(asked.truth_BQHW)
        if weights_B is not None:
            seen_BQHW = seen_BQHW & (weights_B > 0)[:, None, None, None]
        size = 1 if self.per_picture else len(labels)
        weights_B = None if self.per_picture else weights_B
        groups = (x.split(size) for x in (asked.probs_BQHW, asked.truth_BQHW, seen_BQHW))
        rows: list[Tensor] = []
        for counted_Q, probs_BQHW, truth_BQHW, seen_BQHW in zip(counted_PQ.tolist(), *groups, strict=True):
            classes = zip(counted_Q, probs_BQHW.unbind(1), truth_BQHW.unbind(1), seen_BQHW.unbind(1), strict=True)
            for counts_here, probs_BHW, truth_BHW, seen_BHW in classes:
                value = _extension(probs_BHW, truth_BHW, seen_BHW, weights_B) if counts_here else 0 * probs_BHW.sum()
                rows.append(value)
        return mean_over_classes(torch.stack(rows).view_as(counted_PQ), counted_PQ, counts, self.class_weights)


def _extension(probs_BHW: Tensor, truth_BHW: Tensor, seen_BHW: Tensor, weights_B: Tensor | None) -> Tensor:
    """The Lovász extension of the Jaccard loss of one class; pixels that are not seen do not count.

    At sorted errors e, the value is Σ e_i · (J_i - J_{i-1}), with J_i the Jaccard loss of getting the first i pixels
    wrong. It is linear in the errors while their order stays, so the order and the slopes carry no gradient. A pixel
    that is not seen has the error 0: it comes last, adds nothing, and moves no other one's slope.
    """
    truth_BHW = truth_BHW & seen_BHW
    sign_BHW = seen_BHW.to(probs_BHW.dtype) - 2 * truth_BHW
    errors_N = torch.addcmul(truth_BHW.to(probs_BHW.dtype), probs_BHW, sign_BHW).flatten()
    if not bool(truth_BHW.any()):
        return errors_N.max()  # one wrong pixel makes the whole Jaccard loss of a class that is not there
    weights_N = None if weights_B is None else weights_B[:, None, None].expand(truth_BHW.shape).flatten()
    return errors_N @ _slopes(errors_N.detach().clamp_min(0), truth_BHW.flatten(), weights_N)


def _slopes(errors_N: Tensor, truth_N: Tensor, weights_N: Tensor | None) -> Tensor:
    """J_i - J_{i-1} of each pixel, in the order of the pixels: float [N], 0..1.

    The differences are written out: subtracting two numbers near 1 would lose them in rounding. Counts of pixels are
    whole numbers, which float32 adds without rounding; sums of weights need float64.
    """
    order_N, truth_N = _largest_first(errors_N, truth_N)
    if weights_N is None:
        weight_N = torch.ones_like(errors_N)
    else:
        weight_N = weights_N[order_N].to(torch.float32 if weights_N.device.type == "mps" else torch.float64)
    found_N = (weight_N * truth_N).cumsum(0)
    union_N = found_N[-1] + (weight_N.cumsum(0) - found_N)
    of_false_N = (found_N[-1] - found_N) / (union_N - weight_N)
    slope_N = torch.where(truth_N, 1, of_false_N).mul_(weight_N).div_(union_N)
    return torch.empty_like(errors_N).scatter_(0, order_N, slope_N.to(errors_N.dtype))


def _largest_first(errors_N: Tensor, truth_N: Tensor) -> tuple[Tensor, Tensor]:
    """The indices of the errors in descending order, int64 [N], and the truth in this order, bool [N].

    Floats from 0 on are ordered as their bits are. On a processor torch sorts whole numbers by radix, more than ten
    times as fast as floats. The truth travels in the lowest bit of what is sorted, which saves a walk through memory.
    """
    bits_N = errors_N.view(torch.int64 if errors_N.dtype == torch.float64 else torch.int32)
    key_N, order_N = (2 * (bits_N.max() - bits_N) + truth_N).sort()
    return order_N, (key_N & 1).bool()
