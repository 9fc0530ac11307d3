"""Distance-aware focal loss: a false positive costs less the nearer it is to an object of its class.

Letters: B batch, K classes, H W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segwright.contracts import IGNORE
from segwright.losses.arguments import number
from segwright.losses.contract import SegmentationLoss
from segwright.losses.pixels import TINY

REACH = 4.0
"""Standard deviations after which the Gaussian is taken as 0; it is 0.0003 there."""


class DistanceFocal(SegmentationLoss):
    """-1/N · Σ over classes and pixels of (1 - p)^α log p where the class is true, (1 - y)^β p^α log(1 - p) elsewhere.

    p: softmax probability. y: the class mask softened by a Gaussian around it, exp(-d² / 2σ²) at d pixels from the
    nearest pixel of the class in the picture; 0 where the picture has none. N: labelled pixels, each of which is true
    for one class. Void pixels cost nothing and soften nothing.
    alpha: α, 0 or more. beta: β, 0 or more; 0 is a focal loss that knows no distance.
    sigma: σ, pixels of the training crop, above 0 and up to 64; the time grows with it.
    Source: the penalty-reduced focal loss of CornerNet (Law and Deng 2018), with masks in place of key points.
    """

    name = "distance_focal"
    takes_sets = False

    def __init__(self, num_classes: int, *, alpha: float = 2.0, beta: float = 4.0, sigma: float = 4.0) -> None:
        super().__init__()
        self.alpha = number("alpha", alpha, least=0, most=20)
        self.beta = number("beta", beta, least=0, most=20)
        self.sigma = number("sigma", sigma, least=0, most=64, above=True)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        classes_K = torch.arange(logits_BKHW.shape[1], device=labels.device)
        true_BKHW = labels[:, None] == classes_K[:, None, None]
        far_BKHW = (1 - softened(true_BKHW, self.sigma).to(logits_BKHW.dtype)) ** self.beta
        log_p_BKHW = logits_BKHW.log_softmax(1)
        log_rest_BKHW = log_of_the_rest(logits_BKHW, log_p_BKHW)
        p_BKHW = log_p_BKHW.exp().clamp_min(TINY)
        rest_BKHW = log_rest_BKHW.exp().clamp_min(TINY)
        hit_BKHW = rest_BKHW**self.alpha * log_p_BKHW
        wrong_BKHW = far_BKHW * p_BKHW**self.alpha * log_rest_BKHW
        share_BHW = (labels != IGNORE).to(logits_BKHW.dtype)
        if weights_B is not None:
            share_BHW = share_BHW * weights_B[:, None, None]
        pixel_BHW = torch.where(true_BKHW, hit_BKHW, wrong_BKHW).sum(1)
        return -(pixel_BHW * share_BHW).sum() / share_BHW.sum().clamp_min(TINY)


def log_of_the_rest(logits_BKHW: Tensor, log_p_BKHW: Tensor) -> Tensor:
    """log(1 - p) of every class, exact also where p rounds to 1: for the most likely class, from the other logits."""
    first_B1HW = logits_BKHW.argmax(1, keepdim=True)
    is_first_BKHW = torch.zeros_like(logits_BKHW, dtype=torch.bool).scatter(1, first_B1HW, True)
    others_B1HW = logits_BKHW.masked_fill(is_first_BKHW, -math.inf).logsumexp(1, keepdim=True)
    of_first_B1HW = others_B1HW - logits_BKHW.logsumexp(1, keepdim=True)
    of_other_BKHW = torch.log1p(-log_p_BKHW.masked_fill(is_first_BKHW, -math.inf).exp())
    return torch.where(is_first_BKHW, of_first_B1HW, of_other_BKHW)


@torch.no_grad()
def softened(mask_BKHW: Tensor, sigma: float) -> Tensor:
    """Float32 [B, K, H, W]: exp(-d² / 2σ²) at distance d from the mask's nearest pixel; 1 on it, 0 beyond REACH · σ.

    The largest of many Gaussians, one on each pixel of the mask, so it separates into rows and columns.
    """
    soft = mask_BKHW.float()
    for axis in (-1, -2):
        near = soft.clone()
        length = soft.shape[axis]
        for step in range(1, min(math.ceil(REACH * sigma), length - 1) + 1):
            lower = soft * math.exp(-((step / sigma) ** 2) / 2)
            ahead, behind = near.narrow(axis, step, length - step), near.narrow(axis, 0, length - step)
            torch.maximum(ahead, lower.narrow(axis, 0, length - step), out=ahead)
            torch.maximum(behind, lower.narrow(axis, step, length - step), out=behind)
        soft = near
    return soft
