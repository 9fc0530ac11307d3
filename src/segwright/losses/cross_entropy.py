"""Cross entropy over the pixels that are not IGNORE, with class weights and label smoothing.

Letters: B batch, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segwright.contracts import IGNORE, UserError


class CrossEntropy(nn.Module):
    """Weighted mean over labelled pixels of -log p(true class).

    class_weights: K positive numbers, or None for all ones. The mean divides by the sum of the weights of the
    pixels, so the value of an uninformed model stays ln K.
    label_smoothing: s in 0..1; the true class gets 1 - s + s/K and every other s/K (the standard form, as in
    Szegedy et al. 2016 and torch.nn.functional.cross_entropy).
    """

    class_weights: Tensor | None

    def __init__(
        self, num_classes: int, *, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if class_weights is not None and len(class_weights) != num_classes:
            raise UserError(
                f"loss.args.class_weights has {len(class_weights)} numbers; the label space has {num_classes} classes."
            )
        if class_weights is not None and (min(class_weights) < 0 or max(class_weights) <= 0):
            raise UserError(
                f"loss.args.class_weights are {list(class_weights)}; they must be 0 or more, and not all 0."
            )
        if not 0 <= label_smoothing < 1:
            raise UserError(f"loss.args.label_smoothing is {label_smoothing}; allowed are 0 up to, not including, 1.")
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.label_smoothing = label_smoothing

    def forward(
        self,
        logits_BKHW: Tensor,
        labels_BHW: Tensor,
        weights_B: Tensor | None = None,
        membership_LK: Tensor | None = None,
    ) -> Tensor:
        """Float scalar; 0, still differentiable, when every pixel is IGNORE.

        logits_BKHW: float, unnormalised, any precision (computed in float32); labels_BHW: int64, 0..K-1 or IGNORE.
        weights_B: one weight a picture, or None for all ones.
        membership_LK: bool [L, K], the classes that each label may be; labels are then 0..L-1 or IGNORE, and a pixel
        whose label is a set of classes costs -log of the set's probability, sum of p_k over its members. Its class
        weight is the mean of theirs.
        """
        logits_BKHW = logits_BKHW.float()
        num_classes = logits_BKHW.shape[1]
        coarse_BHW = None
        if membership_LK is not None:
            coarse_BHW = (labels_BHW >= num_classes) & (labels_BHW != IGNORE)
            sets_N = labels_BHW[coarse_BHW]
            labels_BHW = labels_BHW.masked_fill(coarse_BHW, IGNORE)
        pixel_BHW = F.cross_entropy(
            logits_BKHW,
            labels_BHW,
            self.class_weights,
            ignore_index=IGNORE,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        valid_BHW = labels_BHW != IGNORE
        if self.class_weights is None:
            share_BHW = valid_BHW.float()
        else:
            share_BHW = self.class_weights[labels_BHW.where(valid_BHW, 0)] * valid_BHW
        if membership_LK is not None and coarse_BHW is not None and sets_N.numel():
            pixel_N, share_N = self._of_sets(logits_BKHW.movedim(1, -1)[coarse_BHW], membership_LK[sets_N])
            pixel_BHW = pixel_BHW.masked_scatter(coarse_BHW, pixel_N)
            share_BHW = share_BHW.masked_scatter(coarse_BHW, share_N)
        if weights_B is not None:
            pixel_BHW = pixel_BHW * weights_B[:, None, None]
            share_BHW = share_BHW * weights_B[:, None, None]
        return pixel_BHW.sum() / share_BHW.sum().clamp_min(1e-12)

    def _of_sets(self, logits_NK: Tensor, members_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and weight of each pixel whose label is a set of classes; equal to plain cross entropy for sets of one."""
        log_p_NK = logits_NK.log_softmax(1)
        weights_K = torch.ones_like(log_p_NK[0]) if self.class_weights is None else self.class_weights
        share_N = (members_NK * weights_K).sum(1) / members_NK.sum(1)
        of_set_N = -log_p_NK.masked_fill(~members_NK, -torch.inf).logsumexp(1)
        smooth_N = -(log_p_NK * weights_K).mean(1)
        s = self.label_smoothing
        return (1 - s) * share_N * of_set_N + s * smooth_N, share_N
