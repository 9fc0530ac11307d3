"""Augmentation of one sample in uint8: picture and mask together, every pixel a function of (seed, epoch, index).

Built-in levels (`levels.py`) and pipelines of Albumentations from a file (`pipeline.py`) are both functions
(Sample, generator, pool) -> (image, labels). `truth.py` proves that picture and mask move together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from segwright.contracts import Sample
from segwright.data.augment.levels import Augmentation, advanced, none, standard
from segwright.data.augment.params import MEAN_COLOR, Params, Pixels, sample_rng
from segwright.data.augment.partners import ClassIndex, Pool
from segwright.data.augment.pipeline import AlbumentationsPipeline, load_pipeline


class Augment(Protocol):
    """What the loader calls: every entry of AUGMENTATIONS makes one.

    size: (height, width) of the results. needs_pool: whether `pool` must be given. needs_classes: whether the pool's
    class index will be asked for.
    """

    @property
    def needs_pool(self) -> bool: ...

    @property
    def needs_classes(self) -> bool: ...

    @property
    def mask_steps(self) -> int:
        """How often one mask may be resampled in a row."""
        ...

    size: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator, pool: Pool | None = None) -> tuple[Pixels, Pixels]:
        """image uint8 [h, w, 3] in RGB order, labels uint8 [h, w]."""
        ...

    def geometry(self) -> Augment:
        """The same without what changes colours only, or hides pixels and keeps their labels."""
        ...


AUGMENTATIONS: Mapping[str, Callable[..., Augment]] = MappingProxyType(
    {"none": none, "standard": standard, "advanced": advanced, "albumentations": AlbumentationsPipeline}
)
"""Name -> factory(size, **args)."""

__all__ = [
    "AUGMENTATIONS",
    "MEAN_COLOR",
    "AlbumentationsPipeline",
    "Augment",
    "Augmentation",
    "ClassIndex",
    "Params",
    "Pixels",
    "Pool",
    "advanced",
    "load_pipeline",
    "none",
    "sample_rng",
    "standard",
]
