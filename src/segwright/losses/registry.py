"""Every loss that stands for itself, by the name that a recipe uses; `combined` adds them up."""

from __future__ import annotations

from collections.abc import Callable

from segwright.losses.bce import Bce
from segwright.losses.boundary import Boundary
from segwright.losses.contract import SegmentationLoss
from segwright.losses.cross_entropy import CrossEntropy
from segwright.losses.dice import Dice
from segwright.losses.distance_focal import DistanceFocal
from segwright.losses.focal import Focal
from segwright.losses.generalized_dice import GeneralizedDice
from segwright.losses.jaccard import Jaccard
from segwright.losses.lovasz import Lovasz
from segwright.losses.ohem import Ohem
from segwright.losses.rmi import Rmi
from segwright.losses.tversky import Tversky

SINGLE_LOSSES: dict[str, Callable[..., SegmentationLoss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "distance_focal": DistanceFocal,
    "ohem": Ohem,
    "bce": Bce,
    "dice": Dice,
    "generalized_dice": GeneralizedDice,
    "jaccard": Jaccard,
    "tversky": Tversky,
    "lovasz": Lovasz,
    "boundary": Boundary,
    "rmi": Rmi,
}
