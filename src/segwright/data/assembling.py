"""From sample indices to the arrays of a batch, without torch: what a loader's thread and its processes both do.

Letters: B batch, h w the size of a crop.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import Dataset, Sample, SegwrightError
from segwright.data.augment import Augment, ClassIndex, sample_rng
from segwright.data.augment.partners import count_classes


class Arrays(NamedTuple):
    """One batch. image_B3hw: uint8 in RGB order; labels_Bhw: uint8 ids or IGNORE; weights_B: float32."""

    image_B3hw: NDArray[np.uint8]
    labels_Bhw: NDArray[np.uint8]
    weights_B: NDArray[np.float32]
    names: tuple[str, ...]


class DatasetPool:
    """A data set as the `Pool` from which mosaic, copy-paste and colour mixup draw their partners."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._index: ClassIndex | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int) -> Sample:
        return self.dataset[index]

    def class_index(self, progress: Callable[[int, int], None] | None = None) -> ClassIndex:
        """Where each class is, counted over all labels at the first call. progress: called with (done, total)."""
        if self._index is None:
            self._index = count_classes(self, progress)
        return self._index


class BatchMaker:
    """Reads, augments and stacks samples; every pixel follows from (seed, epoch, index)."""

    def __init__(self, dataset: Dataset, augmentation: Augment, seed: int) -> None:
        self.dataset, self.augmentation, self.seed = dataset, augmentation, seed
        self.pool = DatasetPool(dataset) if augmentation.needs_pool else None

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Count the classes now if the augmentation needs that, so that worker processes start with the result."""
        if self.pool is not None and self.augmentation.needs_classes:
            self.pool.class_index(progress)

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
                image, labels_Bhw[row] = self.augmentation(sample, sample_rng(self.seed, epoch, index), self.pool)
            except (SegwrightError, MemoryError):
                raise
            except Exception as error:
                raise RuntimeError(self._explained(index, error)) from error
            cv2.split(image, [*image_B3hw[row]])  # written in place; several times quicker than a transposed copy
            weights_B[row] = sample.weight
        return Arrays(image_B3hw, labels_Bhw, weights_B, tuple(self.dataset.names[i] for i in chosen))

    def _explained(self, index: int, error: Exception) -> str:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"sample '{self.dataset.names[index]}' (number {index}) could not be prepared: {type(error).__name__}: "
            f"{error} ({where.filename}:{where.lineno})"
        )
