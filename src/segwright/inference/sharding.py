"""One process's share of the pictures where several processes score one data set together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

PIECE = 1 << 24
"""Numbers that are sent at once."""

Numbers = TypeVar("Numbers", np.int64, np.float64)


@dataclass(frozen=True)
class Shard:
    """Process `index` of `count`. Every picture belongs to one process, and none is read twice to fill up."""

    index: int = 0
    count: int = 1

    def rows(self, total: int) -> range:
        """The pictures of this process out of `total`."""
        return range(self.index, total, self.count)

    def seen(self, done: int, total: int) -> int:
        """How many of `total` pictures all processes have done when this one has done `done`, about."""
        return min(total, done * self.count)

    def summed(self, values: NDArray[Numbers]) -> NDArray[Numbers]:
        """The sum over all processes, in place. Each fills its own rows and leaves the others 0: the sum is the whole."""
        if self.count > 1:
            flat = torch.from_numpy(values).view(-1)
            for start in range(0, len(flat), PIECE):
                distributed.all_reduce(flat[start : start + PIECE])
        return values


WHOLE = Shard()
"""One process scores everything."""
