"""Predicting class ids with an exported file and without torch: a fifth of the memory, and no wait for its import."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.inference.backends.beside import Beside
from segwright.inference.backends.opening import default_threads
from segwright.inference.backends.plain import PlainModel
from segwright.inference.maps import Maps, check_pictures
from segwright.labels import LabelSpace


class IdsPredictor:
    """What `Predictor` is to a model in torch, for class ids alone; the ids are the same.

    threads: how many pictures at a time; one for each core when None. Raises UserError for a multi-label space.
    """

    device = "cpu"

    def __init__(self, model: PlainModel, *, threads: int | None = None) -> None:
        self.labels: LabelSpace = model.description.labels
        if not self.labels.exclusive:
            raise UserError(f"label space '{self.labels.name}' is multi-label; only exclusive spaces can be drawn.")
        self._models = Beside(model, threads or default_threads())

    def check_kinds(self, kinds: Collection[str]) -> None:
        """Raises UserError for anything beside the ids."""
        if kinds:
            raise UserError(f"{next(iter(kinds))} needs `Predictor`; this one gives class ids alone.")

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `Predictor.predict`."""
        return self.maps([image])[0].ids

    def same_together(self, images: Sequence[NDArray[np.uint8]]) -> bool:
        """Whether pictures, as for `maps`, get the same scores to the last bit together as one by one."""
        return self._models.same_scores(images)

    def maps(
        self, images: Sequence[NDArray[np.uint8]], kinds: Collection[str] = (), *, depth: str = "fp32"
    ) -> list[Maps]:
        """The ids of pictures of one size, uint8 [H, W, 3] each, RGB.

        Raises UserError for kinds, DataError for another dtype or shape and where a score is NaN.
        """
        self.check_kinds(kinds)
        check_pictures(images)
        return [Maps(ids=ids_HW) for ids_HW in self._models.ids(images)] if images else []
