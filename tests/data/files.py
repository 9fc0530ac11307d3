"""Small picture and mask files for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import Sample
from segwright.labels import LabelClass, LabelSpace

FOUR = LabelSpace(
    name="four",
    title="four",
    classes=tuple(LabelClass(name=f"c{k}", values=(k,), color=(60 * k, 0, 0)) for k in range(4)),
    ignored=(LabelClass(name="void", values=(255,), color=(0, 0, 0)),),
)


def photo(height: int = 12, width: int = 20, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: smooth colours with some noise, no two rows or columns alike."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * 200 / height, columns * 200 / width, (rows + columns) * 3 % 200], -1)
    return np.asarray(smooth + rng.integers(0, 40, smooth.shape), np.uint8)


def mask(height: int = 12, width: int = 20, values: Sequence[int] = (0, 1, 2, 3), seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [H, W] with every one of `values` where there is room for it."""
    ids = np.random.default_rng(seed).choice(np.array(values, np.uint8), (height, width))
    flat = ids.ravel()
    flat[: len(values)] = np.array(values, np.uint8)[: flat.size]
    return ids


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_pairs(
    root: Path, names: Sequence[str], *, images: str = "images", masks: str = "masks", **layout: Any
) -> Path:
    """root/images/NAME.png and root/masks/NAME.png."""
    for seed, name in enumerate(names):
        save(root / images / f"{name}.png", photo(seed=seed))
        save(
            root / masks / f"{name}{layout.get('end', '')}.png",
            mask(seed=seed, values=layout.get("values", (0, 1, 2, 3))),
        )
    return root


class FakeDataset:
    """A Dataset in memory."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)
        self.names = [s.name for s in samples]
        self.groups = [s.name[:1] for s in samples]
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.reads.append(index)
        return self.samples[index]


def sample(index: int, *, height: int = 12, width: int = 20, values: Sequence[int] = (0, 1, 2, 3, 255)) -> Sample:
    planes: Mapping[str, NDArray[np.uint8]] = {"rgb": photo(height, width, seed=index)}
    return Sample(name=f"{'ab'[index % 2]}_{index:03d}", planes=planes, labels=mask(height, width, values, seed=index))


def fake_dataset(count: int, **size: Any) -> FakeDataset:
    return FakeDataset([sample(i, **size) for i in range(count)])
