"""Tversky loss (Salehi et al. 2017) and focal Tversky loss (Abraham and Khan 2019).

Letters: K classes, Q questions (classes, then sets of them), P pictures, or 1 for a whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from segwright.losses.arguments import number
from segwright.losses.overlap import SMALLEST, OverlapLoss, Overlaps


class Tversky(OverlapLoss):
    """Mean over classes of (1 - TI)^(1/γ), TI = (hit + smooth) / (hit + α · wrong + β · missed + smooth).

    hit, wrong (false positive) and missed (false negative) are sums of probabilities over pixels.
    alpha, beta: 0 or more, not both 0. 0.5, 0.5 is Dice, 1, 1 is Jaccard; beta above alpha finds more of small classes.
    gamma: 1 is Tversky; above 1, up to 3, focal Tversky, whose paper takes 4/3 and writes alpha and beta the other way
    round. The other arguments are those of `OverlapLoss`.
    """

    name = "tversky"

    def __init__(
        self,
        num_classes: int,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        smooth: float = 1.0,
        per_picture: bool = False,
        classes: str = "present",
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(
            num_classes, smooth=smooth, per_picture=per_picture, classes=classes, class_weights=class_weights
        )
        self.alpha = number("alpha", alpha, least=0, most=100)
        self.beta = number("beta", beta, least=0, most=100, above=alpha == 0)
        self.gamma = number("gamma", gamma, least=1, most=3)

    def overlap(self, counts: Overlaps) -> Tensor:
        missed_PQ = counts.true_PQ - counts.hit_PQ
        wrong_PQ = counts.predicted_PQ - counts.hit_PQ
        whole_PQ = counts.hit_PQ + self.alpha * wrong_PQ + self.beta * missed_PQ + self.smooth
        return (counts.hit_PQ + self.smooth) / whole_PQ.clamp_min(SMALLEST)

    def of_miss(self, miss_PQ: Tensor) -> Tensor:
        if self.gamma == 1:
            return miss_PQ
        return miss_PQ.clamp_min(SMALLEST) ** (1 / self.gamma)  # a power below 1 has no slope at 0
