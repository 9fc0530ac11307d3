"""Binary cross entropy on logits: every class is a yes or no of its own.

Letters: B batch, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE
from segwright.losses.arguments import class_numbers, class_weights_of
from segwright.losses.contract import SegmentationLoss
from segwright.losses.pixels import weighted_mean


class Bce(SegmentationLoss):
    """Mean over pixels and classes of -[pos_weight · t · log σ(z) + (1 - t) · log(1 - σ(z))]; z logit, t truth, 0 or 1.

    Exclusive labels are told one against the rest. Multi-label ones, bool [B, K, H, W], are taken as they are: K=1 is
    the binary case of one logit.
    pos_weight: above 1 finds more, below 1 less; one number for all classes or one a class.
    class_weights: K numbers, for a weighted mean over classes.
    """

    name = "bce"
    takes_sets = False
    takes_multilabel = True
    pos_weight: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        pos_weight: float | Sequence[float] = 1.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        weights_K = class_numbers("pos_weight", pos_weight, num_classes, same_for_all=True)
        self.register_buffer("pos_weight", weights_K, persistent=False)
        self.register_buffer("class_weights", class_weights_of(class_weights, num_classes), persistent=False)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        truth_BKHW, share_BKHW = labels, torch.ones_like(logits_BKHW)
        if labels.ndim == 3:
            classes_K = torch.arange(logits_BKHW.shape[1], device=labels.device)
            truth_BKHW = labels[:, None] == classes_K[:, None, None]
            share_BKHW = share_BKHW * (labels != IGNORE)[:, None]
        if self.class_weights is not None:
            share_BKHW = share_BKHW * self.class_weights[:, None, None]
        if weights_B is not None:
            share_BKHW = share_BKHW * weights_B[:, None, None, None]
        pixel_BKHW = F.binary_cross_entropy_with_logits(
            logits_BKHW,
            truth_BKHW.to(logits_BKHW.dtype),
            pos_weight=self.pos_weight[:, None, None].to(logits_BKHW.dtype),
            reduction="none",
        )
        return weighted_mean(pixel_BKHW, share_BKHW)
