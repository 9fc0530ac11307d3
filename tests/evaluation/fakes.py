"""Evaluations made of known counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segwright.evaluation.result import Evaluation
from tests.inference.fakes import space_of


def evaluation_of(counts_NKK: NDArray[np.int64], names: Sequence[str] = (), protocol: str = "pooled") -> Evaluation:
    pictures, num_classes = counts_NKK.shape[:2]
    return Evaluation(
        run="calm-fox",
        checkpoint="best",
        split="val",
        protocol=protocol,
        space=space_of(names or [f"class {k}" for k in range(num_classes)]),
        names=tuple(f"picture {i}" for i in range(pictures)),
        groups=tuple("a" if i % 2 else "b" for i in range(pictures)),
        counts_NKK=counts_NKK,
        ignored_N=np.arange(pictures, dtype=np.int64),
        seconds=1.25,
    )


def random_counts(pictures: int, num_classes: int, seed: int = 0, density: float = 0.5) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 1000, (pictures, num_classes, num_classes))
    return np.where(rng.random(counts.shape) < density, counts, 0)
