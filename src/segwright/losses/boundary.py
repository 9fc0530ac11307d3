"""Boundary loss (Kervadec et al. 2019): probability times signed distance to the true border.

Letters: B batch, K classes, H W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import IGNORE
from segwright.losses.arguments import number
from segwright.losses.contract import SegmentationLoss
from segwright.losses.pixels import weighted_mean


class Boundary(SegmentationLoss):
    """Mean over labelled pixels and classes of φ · p; p softmax probability, φ signed distance to the class's border.

    φ is in pixels: 1, 2, ... outside a class, 0 on its outermost pixels, -1, -2, ... inside. It is 0 everywhere for a
    class that a picture does not hold or that fills it: such a class has no border. Distances run to pixels that are
    known to belong, or not to belong, to the class; void is neither.
    max_distance: pixels; |φ| is not larger. null: no limit. With a limit, far mistakes do not drown near ones.
    The value is negative where the prediction is good, and knows nothing of classes that are not there: use it beside a
    loss of regions, in `combined`. The distances are computed on the processor.
    """

    name = "boundary"
    takes_sets = False
    can_be_negative = True

    def __init__(self, num_classes: int, *, max_distance: float | None = None) -> None:
        super().__init__()
        self.max_distance = None if max_distance is None else number("max_distance", max_distance, least=1)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        distances = [signed_distances(of_picture, logits_BKHW.shape[1]) for of_picture in labels.cpu().numpy()]
        phi_BKHW = torch.from_numpy(np.stack(distances)).to(logits_BKHW)
        if self.max_distance is not None:
            phi_BKHW = phi_BKHW.clamp(-self.max_distance, self.max_distance)
        share_BHW = (labels != IGNORE).to(logits_BKHW.dtype)
        if weights_B is not None:
            share_BHW = share_BHW * weights_B[:, None, None]
        return weighted_mean((phi_BKHW * logits_BKHW.softmax(1)).mean(1), share_BHW)


def signed_distances(labels_HW: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """float32 [K, H, W], pixels: distance to the class outside of it, 1 minus the distance to the rest inside of it."""
    phi_KHW = np.zeros((num_classes, *labels_HW.shape), np.float32)
    known_HW = labels_HW != IGNORE
    for label in np.unique(labels_HW[known_HW]):
        inside_HW = labels_HW == label
        other_HW = known_HW & ~inside_HW
        if other_HW.any():
            outside, inside = _distance_to(inside_HW), _distance_to(other_HW)
            phi_KHW[label] = np.where(inside_HW, 1 - inside, np.where(other_HW, outside, 0))
    return phi_KHW


def _distance_to(mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """float32 [H, W], pixels: exact Euclidean distance to the nearest pixel of the mask, 0 on it."""
    zero_on_mask = (~mask_HW).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(zero_on_mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
