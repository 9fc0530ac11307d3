"""Computing pictures of one size together, where that gives the same bytes as one by one.

A runtime may add numbers in another order for more than one picture, or with fewer threads. So the first time that a size
and a count of pictures come together, both ways are computed on them: when every score is equal to the last bit, such
pictures are computed together from then on, else never. Exported models compute them side by side, a thread each; OpenVINO
and onnxruntime mostly pass on CPUs. torch computes them in one go, and does not.

Letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segwright.inference.maps import Predicts

Picture = NDArray[np.uint8]
MOST_SCORES = 1 << 26
"""Class scores of a batch at full size, all of which a comparison holds twice: 256 MiB of float32."""


class Batches:
    """A predictor that takes several pictures of one size. most: how many at one time."""

    def __init__(self, predictor: Predicts, most: int) -> None:
        self.predictor = predictor
        self.most = most
        self._equal: dict[tuple[int, int, int], bool] = {}

    def worth_waiting(self, picture: Picture) -> bool:
        """Whether pictures of this size may be computed together: some count passed, or none was tried."""
        height, width = picture.shape[:2]
        if self._fits(height, width) < 2:
            return False
        tried = [equal for (*size, _), equal in self._equal.items() if size == [height, width]]
        return any(tried) or not tried

    def predict(self, pictures: Sequence[Picture]) -> list[Picture]:
        """uint8 [H, W, 3] of one size each -> uint8 [H, W] ids each, as `Predictor.predict` gives them. At least one picture.

        Raises what `Predictor.predict` raises.
        """
        done: list[Picture] = []
        height, width = pictures[0].shape[:2]
        while len(done) < len(pictures):
            count = min(self._fits(height, width), 1 << (len(pictures) - len(done)).bit_length() - 1)
            group = pictures[len(done) : len(done) + count]
            done += self._together(group) if count > 1 else [self.predictor.predict(group[0])]
        return done

    def _fits(self, height: int, width: int) -> int:
        """How many pictures of this size go together: a power of two, so that few counts have to be compared."""
        most = min(self.most, MOST_SCORES // (height * width * self.predictor.labels.num_classes))
        return 1 << most.bit_length() - 1 if most > 0 else 1

    def _together(self, group: Sequence[Picture]) -> list[Picture]:
        key = (*group[0].shape[:2], len(group))
        if key not in self._equal:
            self._equal[key] = self.predictor.same_together(group)
            return [self.predictor.predict(picture) for picture in group]
        if not self._equal[key]:
            return [self.predictor.predict(picture) for picture in group]
        return [maps.ids for maps in self.predictor.maps(group)]
