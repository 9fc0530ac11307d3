"""What losses of single pixels share: the log-probability of each pixel's label, and how much the pixel counts.

Letters: B batch, K classes, L labels, H W pixels, N pixels labelled with a set of classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE

TINY = 1e-12
"""What a divisor is at least, so that a batch without labelled pixels has the value 0."""


def log_probability(logits_BKHW: Tensor, labels_BHW: Tensor, membership_LK: Tensor | None) -> Tensor:
    """Float [B, H, W], 0 or less: log p(label), 0 where the label is IGNORE.

    Where a label is a set of classes, p is the set's probability: the sum over its members.
    """
    if membership_LK is None:
        return -F.cross_entropy(logits_BKHW, labels_BHW, ignore_index=IGNORE, reduction="none")
    coarse_BHW = (labels_BHW >= logits_BKHW.shape[1]) & (labels_BHW != IGNORE)
    plain_BHW = labels_BHW.masked_fill(coarse_BHW, IGNORE)
    log_p_BHW = -F.cross_entropy(logits_BKHW, plain_BHW, ignore_index=IGNORE, reduction="none")
    members_NK = membership_LK[labels_BHW[coarse_BHW]]
    if not len(members_NK):
        return log_p_BHW
    log_p_NK = logits_BKHW.movedim(1, -1)[coarse_BHW].log_softmax(1)
    return log_p_BHW.masked_scatter(coarse_BHW, set_log_probability(log_p_NK, members_NK))


def set_log_probability(log_p_NK: Tensor, members_NK: Tensor) -> Tensor:
    """Float [N]: log of the sum of the members' probabilities."""
    return log_p_NK.masked_fill(~members_NK, float("-inf")).logsumexp(1)


def of_labels(values_K: Tensor, labels_BHW: Tensor, membership_LK: Tensor | None) -> Tensor:
    """Float [B, H, W]: the value of each pixel's class, 0 where the label is IGNORE; the mean over the members of a set."""
    valid_BHW = labels_BHW != IGNORE
    values_L = values_K
    if membership_LK is not None:
        values_L = (membership_LK * values_K).sum(1) / membership_LK.sum(1)
    return values_L[labels_BHW.where(valid_BHW, 0)] * valid_BHW


def pixel_shares(
    class_weights_K: Tensor | None, labels_BHW: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
) -> Tensor:
    """Float [B, H, W]: class weight times picture weight of each pixel, 0 where the label is IGNORE."""
    if class_weights_K is None:
        share_BHW = (labels_BHW != IGNORE).float()
    else:
        share_BHW = of_labels(class_weights_K, labels_BHW, membership_LK)
    return share_BHW if weights_B is None else share_BHW * weights_B[:, None, None]


def weighted_mean(values: Tensor, shares: Tensor) -> Tensor:
    """Sum of value times share over the sum of shares; 0, still differentiable, where all shares are 0."""
    return (values * shares).sum() / shares.sum().clamp_min(TINY)
