"""Region mutual information loss (Zhao et al. 2019): small regions of the prediction shall tell those of the truth.

Letters: B batch, K classes, H W pixels, h w pooled sizes, D pixels of a region, N regions of a picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import UserError
from segwright.losses.arguments import number, whole
from segwright.losses.contract import SegmentationLoss
from segwright.losses.overlap import questions
from segwright.losses.pixels import weighted_mean


class Rmi(SegmentationLoss):
    """Mean over the classes of each picture of [log det(M + ε I) - D log ε] / 2D, M = Σ_t - C_tp (Σ_p + ε I)⁻¹ C_pt.

    t, p: truth and probability of a class on regions of radius × radius pixels, D in all, after both were averaged over
    squares of `pool` pixels. Σ and C are their covariances over the regions of a picture: M is what is left of the
    truth's once the prediction is known. p is by softmax for exclusive labels, by sigmoid for multi-label ones.
    0 or more; the right prediction has less than ln 2 / 2, because of ε. Void pixels are 0 in both t and p.
    It asks whether p tells t, and the opposite of t tells t as well: use it beside cross_entropy or bce, in `combined`.
    radius: 2 to 5 pooled pixels. pool: 1 to 16 pixels. epsilon: ε, above 0 and up to 0.1.
    In contrast to the authors' program the covariances are means and not sums, so ε means the same at every picture
    size; D log ε is subtracted; classes that a picture does not hold, which have no gradient, are left out of the mean.
    The 9 × 9 matrices are computed in float64.
    Raises UserError for pictures smaller than one region.
    """

    name = "rmi"
    takes_sets = False
    takes_multilabel = True

    def __init__(self, num_classes: int, *, radius: int = 3, pool: int = 3, epsilon: float = 0.0005) -> None:
        super().__init__()
        self.radius = whole("radius", radius, least=2, most=5)
        self.pool = whole("pool", pool, least=1, most=16)
        self.epsilon = number("epsilon", epsilon, least=0, most=0.1, above=True)

    def compute(
        self, logits_BKHW: Tensor, labels: Tensor, weights_B: Tensor | None, membership_LK: Tensor | None
    ) -> Tensor:
        asked = questions(logits_BKHW, labels, None)
        known_B1HW = asked.known_BQHW.to(logits_BKHW.dtype)
        truth_BKHW = asked.truth_BQHW * known_B1HW
        left_BK = self._left(self._regions(truth_BKHW), self._regions(asked.probs_BQHW * known_B1HW))
        present_BK = (truth_BKHW.sum((2, 3)) > 0).to(left_BK.dtype)
        share_BK = present_BK / present_BK.sum(1, keepdim=True).clamp_min(1)
        if weights_B is not None:
            share_BK = share_BK * weights_B[:, None]
        return weighted_mean(left_BK, share_BK).to(logits_BKHW.dtype)

    def _regions(self, map_BKHW: Tensor) -> Tensor:
        """float64 [B, K, D, N] (float32 where the device has no float64): regions of the pooled map, each minus the mean."""
        pooled_BKhw = F.avg_pool2d(map_BKHW, self.pool, ceil_mode=True)
        height, width = (size - self.radius + 1 for size in pooled_BKhw.shape[2:])
        if height < 1 or width < 1:
            least = (self.radius - 1) * self.pool + 1
            raise UserError(
                f"loss rmi: a picture of {map_BKHW.shape[2]}×{map_BKHW.shape[3]} holds no region of {self.radius}×"
                f"{self.radius} after pooling by {self.pool}; both sides must be {least} or more. Lower loss.args.pool."
            )
        steps = range(self.radius)
        shifted = [pooled_BKhw[:, :, y : y + height, x : x + width].flatten(2) for y in steps for x in steps]
        regions_BKDN = torch.stack(shifted, 2)
        if regions_BKDN.device.type != "mps":
            regions_BKDN = regions_BKDN.double()
        return regions_BKDN - regions_BKDN.mean(3, keepdim=True)

    def _left(self, truth_BKDN: Tensor, probs_BKDN: Tensor) -> Tensor:
        """Float [B, K], 0 or more: how much of the truth's spread the prediction does not explain."""
        count, size = truth_BKDN.shape[3], truth_BKDN.shape[2]
        floor_DD = self.epsilon * torch.eye(size, dtype=truth_BKDN.dtype, device=truth_BKDN.device)
        truth_BKDD = truth_BKDN @ truth_BKDN.mT / count
        probs_BKDD = probs_BKDN @ probs_BKDN.mT / count
        both_BKDD = probs_BKDN @ truth_BKDN.mT / count
        explained_BKDD = both_BKDD.mT @ torch.linalg.solve(probs_BKDD + floor_DD, both_BKDD)
        log_det_BK = torch.linalg.slogdet(truth_BKDD - explained_BKDD + floor_DD).logabsdet
        return (log_det_BK - size * math.log(self.epsilon)).clamp_min(0) / (2 * size)
