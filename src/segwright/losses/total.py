"""From a model's outputs to one number: the only place where logits are brought to label size for a loss.

Letters: B batch, K classes, H W pixels, h w reduced sizes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from segwright.contracts import Batch, Outputs
from segwright.losses.queries import SET_LOSS

AUXILIARY_WEIGHT = 0.4
"""What `loss.auxiliary_weight` is unless a recipe says otherwise: the weight in PSPNet (Zhao et al. 2017)."""


def at_label_size(logits_BKhw: Tensor, labels_BHW: Tensor) -> Tensor:
    """Bilinear up-sampling of logits to the height and width of the labels, in float32."""
    logits_BKhw = logits_BKhw.float()
    if logits_BKhw.shape[2:] == labels_BHW.shape[1:]:
        return logits_BKhw
    return F.interpolate(logits_BKhw, labels_BHW.shape[1:], mode="bilinear", align_corners=False)


def total_loss(
    loss: nn.Module, outputs: Outputs, batch: Batch, *, auxiliary_weight: float = AUXILIARY_WEIGHT
) -> Tensor:
    """Loss of the main logits plus auxiliary_weight times that of each auxiliary head. Float scalar.

    Where a net classifies masks, the set loss of its queries stands in place of that of the main logits.
    With auxiliary_weight 0 the auxiliary heads get gradients of 0 and not none, so every weight has one.
    """
    weights = None if bool((batch.weights == 1).all()) else batch.weights.to(batch.labels.device)

    def one(logits_BKhw: Tensor) -> Tensor:
        logits_BKHW = at_label_size(logits_BKhw, batch.labels)
        value: Tensor = loss(logits_BKHW, batch.labels, weights, batch.membership_LK)
        return value

    if outputs.queries is None:
        total = one(outputs.logits_BKhw)
    else:
        total = SET_LOSS(outputs.queries, batch.labels, weights, batch.membership_LK)
    for logits_BKhw in outputs.auxiliary:
        total = total + auxiliary_weight * one(logits_BKhw)
    return total
