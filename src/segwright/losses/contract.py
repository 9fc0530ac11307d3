"""What every loss is: a module that turns logits and labels into one number.

Letters: B batch, K classes, L labels, H W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.losses.pixels import pixel_shares


class SegmentationLoss(nn.Module, ABC):
    """`loss(logits_BKHW, labels_BHW, weights_B, membership_LK)` -> float scalar.

    logits_BKHW: float, unnormalised, any precision; all losses compute in float32 (float64 stays), autocast or not.
    labels_BHW: int64, 0..K-1 or IGNORE, which counts nowhere. A loss that `takes_multilabel` also takes bool
    [B, K, H, W]: then each class is a yes or no of its own, by the sigmoid of its logit.
    weights_B: one weight a picture, 0 or more, or None for all ones. A picture of weight 2 counts as two pictures do.
    membership_LK: bool [L, K], the classes that each label may be, or None where each label is a class; labels are then
    0..L-1 or IGNORE.
    Returns 0, still differentiable, when every pixel is IGNORE. Raises UserError for labels that the loss cannot take.

    A subclass writes `compute`, which gets the same values with logits in float32 or float64.
    """

    name: ClassVar[str]
    """What a recipe calls it."""
    takes_sets: ClassVar[bool] = True
    """Whether labels may stand for sets of classes, as they do where data sets of different label spaces are mixed."""
    takes_multilabel: ClassVar[bool] = False
    """Whether labels may be bool [B, K, H, W]."""
    can_be_negative: ClassVar[bool] = False
    summed: ClassVar[tuple[str, ...]] = ()
    """Buffers that add up over processes which train together."""
    starts_at_ln_k: bool = False
    """Whether a model that gives all K classes the same probability has the value ln K."""

    @abstractmethod
    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        """The value of `forward`, which has checked that the loss can take these labels."""

    def forward(
        self,
        logits_BKHW: Tensor,
        labels: Tensor,
        weights_B: Tensor | None = None,
        membership_LK: Tensor | None = None,
    ) -> Tensor:
        """Float scalar: see the class."""
        if membership_LK is not None:
            self.check_sets()
        if labels.ndim == 4 and not self.takes_multilabel:
            raise UserError(
                f"{self.name} compares one class a pixel: labels are [B, H, W], found {list(labels.shape)}. "
                "Multi-label truth is for bce, dice, generalized_dice, jaccard, tversky, lovasz and rmi."
            )
        with torch.autocast(logits_BKHW.device.type, enabled=False):
            precise_BKHW = logits_BKHW if logits_BKHW.dtype == torch.float64 else logits_BKHW.float()
            return self.compute(precise_BKHW, labels, weights_B, membership_LK)

    def mass(self, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None) -> Tensor:
        """How much these labels count beside those of other processes, which hold other parts of the batch; 0 or more.

        What the loss divides by, where it is a mean over pixels; here, the labelled pixels, times the weight of their
        picture. Pixels of multi-label truth all count.
        """
        if labels.ndim == 4:
            labels = torch.zeros_like(labels[:, 0], dtype=torch.int64)
        return pixel_shares(None, labels, weights_B, membership_LK).sum(dtype=torch.float64)

    def end_epoch(self) -> dict[str, Any]:
        """Called after the last batch of an epoch: here a loss may adapt. Returns what the epoch's metrics shall show."""
        return {}

    def check_sets(self) -> None:
        """Raises UserError where the loss cannot take labels that stand for several classes."""
        if not self.takes_sets:
            raise UserError(
                f"the loss {self.name} needs to know the one class of each pixel, but some labels of the data sets in "
                "data.also stand for several classes of the model. Use cross_entropy, focal, ohem, dice, "
                "generalized_dice, jaccard, tversky or lovasz, or train in a coarser space (model.labels)."
            )
