"""From sample indices to the arrays of a batch, without torch: what a loader's thread and its processes both do.

Letters: B batch, h w the size of a crop.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import Dataset, SegwrightError
from segwright.data.augment import Augmentation, sample_rng


class Arrays(NamedTuple):
    """One batch. image_B3hw: uint8 in RGB order; labels_Bhw: uint8 ids or IGNORE; weights_B: float32."""

    image_B3hw: NDArray[np.uint8]
    labels_Bhw: NDArray[np.uint8]
    weights_B: NDArray[np.float32]
    names: tuple[str, ...]


class BatchMaker:
    """Reads, augments and stacks samples; every pixel follows from (seed, epoch, index)."""

    def __init__(self, dataset: Dataset, augmentation: Augmentation, seed: int) -> None:
        self.dataset, self.augmentation, self.seed = dataset, augmentation, seed

    def make(self, epoch: int, indices: Iterable[int], note: Callable[[int], None]) -> Arrays:
        """The batch of these samples. note: called with each index before it is read.

        Raises what `note` raises; a SegwrightError of the data set as it is; RuntimeError naming the sample for
        anything else.
        """
        chosen = list(indices)
        h, w = self.augmentation.size
        image_B3hw = np.empty((len(chosen), 3, h, w), np.uint8)
        labels_Bhw = np.empty((len(chosen), h, w), np.uint8)
        weights_B = np.ones(len(chosen), np.float32)
        for row, index in enumerate(chosen):
            note(index)
            try:
                sample = self.dataset[index]
                image, labels_Bhw[row] = self.augmentation(sample, sample_rng(self.seed, epoch, index))
            except (SegwrightError, MemoryError):
                raise
            except Exception as error:
                raise RuntimeError(self._explained(index, error)) from error
            image_B3hw[row] = image.transpose(2, 0, 1)
            weights_B[row] = sample.weight
        return Arrays(image_B3hw, labels_Bhw, weights_B, tuple(self.dataset.names[i] for i in chosen))

    def _explained(self, index: int, error: Exception) -> str:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"sample '{self.dataset.names[index]}' (number {index}) could not be prepared: {type(error).__name__}: "
            f"{error} ({where.filename}:{where.lineno})"
        )
