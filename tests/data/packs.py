"""What the tests of packs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segwright.contracts import Dataset, Sample
from segwright.data import PairedFolders
from segwright.data.pack import Pack, open_pack
from segwright.data.pairs import Pair
from segwright.labels import LabelSpace

from .files import FOUR, mask, photo, save, write_pairs

NAMES = [f"city/p{i:02d}" for i in range(12)]


def write_twelve(folder: Path) -> Path:
    """Twelve pairs of three sizes."""
    write_pairs(folder, NAMES)
    for i in (3, 7):
        save(folder / "images" / f"{NAMES[i]}.png", photo(9 + i, 30, seed=i))
        save(folder / "masks" / f"{NAMES[i]}.png", mask(9 + i, 30, seed=i))
    return folder


def files(root: Path, labels: LabelSpace = FOUR, split: str = "all", **args: Any) -> PairedFolders:
    return PairedFolders(root, split, labels, **args)


def built(dataset: Dataset, folder: Path, said: list[str] | None = None, **options: Any) -> Pack:
    return open_pack(dataset, of="test", folder=folder, say=(said if said is not None else []).append, **options)


def same(pack: Dataset, dataset: Dataset) -> bool:
    pairs = [(pack[i], dataset[i]) for i in range(len(dataset))]
    return list(pack.names) == list(dataset.names) and all(
        np.array_equal(a.rgb, b.rgb)
        and np.array_equal(a.labels, b.labels)  # type: ignore[arg-type]
        and (a.name, a.weight) == (b.name, b.weight)
        for a, b in pairs
    )


class Reads:
    """Counts how often a data set decodes a pair."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        read = PairedFolders.read_pair

        def counted(dataset: PairedFolders, pair: Pair) -> Sample:
            self.names.append(pair.name)
            return read(dataset, pair)

        monkeypatch.setattr(PairedFolders, "read_pair", counted)

    def taken(self) -> list[str]:
        found, self.names[:] = sorted(set(self.names)), []
        return found


def without_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of the space reads some samples, which would blur the count of reads."""
    monkeypatch.setattr("segwright.data.pack.build.estimated_bytes", lambda _: 0.0)
