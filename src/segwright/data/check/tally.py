"""What adds up over the looks: values, where they lie, sizes, and the mean picture. Memory does not grow with files.

Letters: h w cells, H W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segwright.data.check.looking import CELLS, PREVIEW, Look, MaskFacts
from segwright.data.proposal import ValueFacts
from segwright.labels import LabelSpace

MOST_VALUES = 100_000
"""Values beyond this number are not counted one by one: no data set of classes has so many."""
_MOST_MAPS = 1024


@dataclass(kw_only=True)
class SplitTally:
    """Sums over one split. pictures: listed; looked: of which both files were read. preview: sum of small pictures."""

    pictures: int = 0
    looked: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    preview: NDArray[np.float64] = field(default_factory=lambda: np.zeros((*PREVIEW, 3)))
    previews: int = 0

    @property
    def mean_picture(self) -> NDArray[np.uint8] | None:
        """uint8 [96, 128, 3]: the mean of all pictures, stretched to one shape; None without any."""
        return (self.preview / self.previews).round().astype(np.uint8) if self.previews else None


class Tally:
    """Sums over all looks.

    cells: raw value -> int64 [24, 32], points that hold it (of the first thousand values). points_hw: int64 [24, 32],
    points looked at in each cell.
    """

    def __init__(self, splits: Iterable[str]) -> None:
        self.splits = {split: SplitTally() for split in splits}
        self.cells: dict[int, NDArray[np.int64]] = {}
        self.points_hw = np.zeros(CELLS, np.int64)
        self._pixels: Counter[int] = Counter()
        self._pictures: Counter[int] = Counter()
        self._examples: dict[int, Path] = {}

    def add(self, splits: Iterable[str], look: Look) -> None:
        """Take one look into the sums of its splits; `count` takes the values of its mask."""
        for split in splits:
            sums = self.splits[split]
            sums.pictures += 1
            if look.image is not None:
                sums.sizes[look.image.size] += 1
                if look.image.preview is not None:
                    sums.preview += look.image.preview
                    sums.previews += 1
            sums.looked += look.image is not None and look.mask is not None
        if look.mask is not None:
            self._add_cells(look.mask)

    def count(self, mask_file: Path, mask: MaskFacts) -> None:
        """Take the values of one mask into `values`."""
        for value, pixels in zip(mask.values_V.tolist(), mask.pixels_V.tolist(), strict=True):
            if value in self._pixels or len(self._pixels) < MOST_VALUES:
                self._pixels[value] += pixels
                self._pictures[value] += 1
                self._examples.setdefault(value, mask_file)

    @property
    def values(self) -> dict[int, ValueFacts]:
        """Raw value -> its pixels, pictures and an example, over all masks given to `count`."""
        return {
            v: ValueFacts(pixels=self._pixels[v], pictures=self._pictures[v], example=self._examples[v])
            for v in sorted(self._pixels)
        }

    def _add_cells(self, mask: MaskFacts) -> None:
        if mask.cells_Vhw is None:
            return
        for value, cells_hw in zip(mask.values_V.tolist(), mask.cells_Vhw, strict=True):
            if value not in self.cells:
                if len(self.cells) >= _MOST_MAPS:
                    continue
                self.cells[value] = np.zeros(CELLS, np.int64)
            self.cells[value] += cells_hw
        self.points_hw += mask.cells_Vhw.sum(0, dtype=np.int64)

    def heat_maps(self, space: LabelSpace) -> NDArray[np.float32]:
        """float32 [K, 24, 32]: the share of each place of the picture that is the class, 0..1, over all masks."""
        maps = np.zeros((space.num_classes, *CELLS), np.float32)
        points_hw = np.maximum(self.points_hw, 1)
        for index, item in enumerate(space.classes):
            for value in item.values:
                if value in self.cells:
                    maps[index] += (self.cells[value] / points_hw).astype(np.float32)
        return maps
