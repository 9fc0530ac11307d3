"""Focal loss (Lin et al. 2017): cross entropy in which pixels that are already right count little.

Letters: B batch, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segwright.losses.arguments import class_numbers, class_weights_of, number
from segwright.losses.contract import SegmentationLoss
from segwright.losses.pixels import TINY, log_probability, of_labels, pixel_shares, weighted_mean


class Focal(SegmentationLoss):
    """Mean over labelled pixels of -α_y · (1 - p_y)^γ · log p_y; y the pixel's label, p by softmax over the classes.

    gamma: γ, 0 or more; 0 is cross entropy. alpha: α, one number for all classes or one a class; a plain factor.
    class_weights: K numbers; unlike alpha, the mean divides by their sum over the pixels, as in cross entropy.
    A pixel whose label is a set of classes has the set's probability, and the mean of its members' alpha and weight.
    Source: Lin, Goyal, Girshick, He and Dollár, "Focal loss for dense object detection", 2017, in its softmax form.
    """

    name = "focal"
    alpha: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        gamma: float = 2.0,
        alpha: float | Sequence[float] = 1.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.gamma = number("gamma", gamma, least=0, most=20)
        self.register_buffer("alpha", class_numbers("alpha", alpha, num_classes, same_for_all=True), persistent=False)
        self.register_buffer("class_weights", class_weights_of(class_weights, num_classes), persistent=False)

    def mass(self, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None) -> Tensor:
        return pixel_shares(self.class_weights, labels, weights_B, membership_LK).sum(dtype=torch.float64)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        log_p_BHW = log_probability(logits_BKHW, labels, membership_LK)
        miss_BHW = (-torch.expm1(log_p_BHW)).clamp_min(TINY)  # 1 - p; its powers below 1 have no slope at 0
        pixel_BHW = -of_labels(self.alpha, labels, membership_LK) * miss_BHW**self.gamma * log_p_BHW
        return weighted_mean(pixel_BHW, pixel_shares(self.class_weights, labels, weights_B, membership_LK))
