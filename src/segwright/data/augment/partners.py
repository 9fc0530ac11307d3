"""Other samples in one sample: which ones, and how mosaic and copy-paste put them in.

Partners are drawn from the sample's own random numbers, so they follow from (seed, epoch, index) like everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, Sample, UserError
from segwright.data.augment.params import Pixels

MIDDLE = (0.3, 0.7)
"""Where the four quarters of a mosaic meet, share of the crop's sides."""

Placed = Callable[[Sample, tuple[int, int] | None], tuple[Pixels, Pixels]]
"""A partner's crop with a drawn window, or with one that shows the pixel (row, column)."""


@dataclass(frozen=True, kw_only=True)
class ClassIndex:
    """Where the labels of a data set are.

    samples: label -> ascending indices of the samples that have it.
    pixels: int64 [256], pixels of each label; 0 for IGNORE.
    """

    samples: Mapping[int, NDArray[np.int64]]
    pixels: NDArray[np.int64]

    @property
    def weights(self) -> NDArray[np.float64]:
        """float64 [256]: 1/√pixels of each label, 0 for those that do not occur."""
        return np.where(self.pixels > 0, 1 / np.sqrt(np.maximum(self.pixels, 1)), 0.0)

    @property
    def rare(self) -> NDArray[np.int64]:
        """The labels with fewer pixels than the median label; none where all have as many."""
        found = np.flatnonzero(self.pixels)
        return found[self.pixels[found] < np.median(self.pixels[found])] if len(found) else found


class Pool(Protocol):
    """The samples that partners are drawn from."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...

    def class_index(self) -> ClassIndex:
        """Counted at the first call, then kept."""
        ...


def labels_of(sample: Sample) -> Pixels:
    """Its labels, uint8 [H, W]. Raises DataError where there are none, UserError where a pixel may have several."""
    if sample.labels is None:
        raise DataError(f"{sample.name}: it has no mask, so it cannot be trained on. Take it out of the split.")
    if sample.labels.ndim != 2:
        raise UserError(
            f"{sample.name}: augmentation takes one class a pixel [H, W], found labels of shape {sample.labels.shape}."
        )
    return sample.labels


def count_classes(samples: Pool, progress: Callable[[int, int], None] | None = None) -> ClassIndex:
    """One pass over all labels. progress: called with (done, total)."""
    total, found = np.zeros(256, np.int64), np.zeros((len(samples), 256), bool)
    for index in range(len(samples)):
        counts = np.bincount(labels_of(samples.sample(index)).ravel(), minlength=256)
        counts[IGNORE] = 0
        total += counts
        found[index] = counts > 0
        if progress is not None:
            progress(index + 1, len(samples))
    return ClassIndex(samples={k: np.flatnonzero(found[:, k]) for k in np.flatnonzero(total).tolist()}, pixels=total)


def rare_pixel(labels: Pixels, index: ClassIndex, rng: np.random.Generator) -> tuple[int, int] | None:
    """(row, column) of a pixel of a class drawn with `index.weights` among those of `labels`; None if all is IGNORE."""
    present = np.bincount(labels.ravel(), minlength=256) > 0
    weights = index.weights * present
    if not weights.any():
        return None
    return class_pixel(labels, int(rng.choice(256, p=weights / weights.sum())), rng)


def class_pixel(labels: Pixels, label: int, rng: np.random.Generator) -> tuple[int, int]:
    """(row, column) of one of the pixels of `label`, which has to occur."""
    row, column = divmod(int(rng.choice(np.flatnonzero(labels.ravel() == label))), labels.shape[1])
    return row, column


def mosaic(
    picture: Pixels, mask: Pixels, pool: Pool, rng: np.random.Generator, placed: Placed
) -> tuple[Pixels, Pixels]:
    """Four crops, a quarter of each: this one and three of the pool, in random order, meeting at a random point.

    Each quarter keeps its place in the crop, so that what is usually on top stays on top.
    """
    height, width = mask.shape
    crops = [(picture, mask), *(placed(pool.sample(int(rng.integers(len(pool)))), None) for _ in range(3))]
    y, x = (round(side * rng.uniform(*MIDDLE)) for side in (height, width))
    quarters = [(slice(0, y), slice(0, x)), (slice(0, y), slice(x, width))]
    quarters += [(slice(y, height), slice(0, x)), (slice(y, height), slice(x, width))]
    whole, labels = np.empty_like(picture), np.empty_like(mask)
    for quarter, number in zip(quarters, rng.permutation(4).tolist(), strict=True):
        whole[quarter], labels[quarter] = crops[number][0][quarter], crops[number][1][quarter]
    return whole, labels


def copy_paste(
    picture: Pixels, mask: Pixels, pool: Pool, rng: np.random.Generator, placed: Placed
) -> tuple[Pixels, Pixels]:
    """The crop with all pixels of one rare class of another sample's crop on top; unchanged where no class is rare."""
    index = pool.class_index()
    rare = index.rare
    if not len(rare):
        return picture, mask
    weights = index.weights[rare]
    label = int(rng.choice(rare, p=weights / weights.sum()))
    partner = pool.sample(int(rng.choice(index.samples[label])))
    source, source_mask = placed(partner, class_pixel(labels_of(partner), label, rng))
    taken = source_mask == label
    return np.where(taken[..., None], source, picture), np.where(taken, source_mask, mask)
