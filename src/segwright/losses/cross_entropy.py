"""Cross entropy over the pixels that are not IGNORE, with class weights and label smoothing.

Letters: B batch, K classes, L labels, H W pixels, N pixels labelled with a set of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE
from segwright.losses.arguments import class_weights_of, number, word
from segwright.losses.contract import SegmentationLoss
from segwright.losses.pixels import TINY, pixel_shares, set_log_probability

SMOOTHING_FORMS = ("standard", "others")


class CrossEntropy(SegmentationLoss):
    """Weighted mean over labelled pixels of -log p(true class).

    class_weights: K numbers, 0 or more, or None for all ones. The mean divides by the sum of the weights of the
    pixels, so the value of an uninformed model stays ln K.
    label_smoothing: s, 0 up to 1. smoothing_form: `standard`, the true class gets 1 - s + s/K and every other s/K
    (Szegedy et al. 2016, torch.nn.functional.cross_entropy); `others`, the true class gets 1 - s and every other s/K,
    so that the targets of a pixel add up to 1 - s/K.
    A pixel whose label is a set of classes costs -log of the set's probability, the sum of p_k over its members; its
    class weight is the mean of theirs.
    """

    name = "cross_entropy"
    class_weights: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        smoothing_form: str = "standard",
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights_of(class_weights, num_classes), persistent=False)
        self.label_smoothing = number("label_smoothing", label_smoothing, least=0, most=1, below=True)
        self.smooth_true = word("smoothing_form", smoothing_form, SMOOTHING_FORMS) == "standard"
        self.starts_at_ln_k = self.smooth_true or self.label_smoothing == 0

    def mass(self, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None) -> Tensor:
        return pixel_shares(self.class_weights, labels, weights_B, membership_LK).sum(dtype=torch.float64)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        plain_BHW, coarse_BHW = labels, None
        if membership_LK is not None:
            coarse_BHW = (labels >= logits_BKHW.shape[1]) & (labels != IGNORE)
            plain_BHW = labels.masked_fill(coarse_BHW, IGNORE)
        pixel_BHW = self._smoothed(logits_BKHW, plain_BHW)
        if membership_LK is not None and coarse_BHW is not None and bool(coarse_BHW.any()):
            pixel_N = self._of_sets(logits_BKHW.movedim(1, -1)[coarse_BHW], membership_LK[labels[coarse_BHW]])
            pixel_BHW = pixel_BHW.masked_scatter(coarse_BHW, pixel_N)
        if weights_B is not None:
            pixel_BHW = pixel_BHW * weights_B[:, None, None]
        share_BHW = pixel_shares(self.class_weights, labels, weights_B, membership_LK)
        return pixel_BHW.sum() / share_BHW.sum().clamp_min(TINY)

    def _smoothed(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Float [B, H, W]: class weight included, 0 where the label is IGNORE."""
        weights_K = None if self.class_weights is None else self.class_weights.to(logits_BKHW.dtype)
        s = self.label_smoothing
        of_pixels = partial(F.cross_entropy, weight=weights_K, ignore_index=IGNORE, reduction="none")
        pixel_BHW: Tensor = of_pixels(logits_BKHW, labels_BHW, label_smoothing=s)
        if s and not self.smooth_true:
            pixel_BHW = pixel_BHW - s / logits_BKHW.shape[1] * of_pixels(logits_BKHW, labels_BHW)
        return pixel_BHW

    def _of_sets(self, logits_NK: Tensor, members_NK: Tensor) -> Tensor:
        """Loss of each pixel whose label is a set of classes; equal to plain cross entropy for sets of one."""
        log_p_NK = logits_NK.log_softmax(1)
        weights_K = torch.ones_like(log_p_NK[0]) if self.class_weights is None else self.class_weights
        share_N = (members_NK * weights_K).sum(1) / members_NK.sum(1)
        of_set_N = -set_log_probability(log_p_NK, members_NK)
        smoothed_NK = log_p_NK if self.smooth_true else log_p_NK.masked_fill(members_NK, 0)
        s = self.label_smoothing
        return (1 - s) * share_N * of_set_N - s * (smoothed_NK * weights_K).mean(1)
