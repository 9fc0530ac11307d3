"""A small data set without a fault, and hands to break it with.

ROOT/train and ROOT/val with images/ and masks/; labels.yaml lists sky, road, tree, car (0..3) and void (255).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

SIZE = (40, 60)
COLORS = np.array([(70, 130, 180), (128, 64, 128), (107, 142, 35), (0, 0, 142)], np.uint8)
NAMES = ("sky", "road", "tree", "car")


def picture(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: large soft blots, so that thumbnails of different seeds differ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def ids(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """uint8 [H, W]: every class in blocks, and a little void."""
    blocks = np.random.default_rng(seed + 1000).integers(0, 4, (4, 6), np.uint8)
    blocks.ravel()[:4] = np.random.default_rng(seed).permutation(4)
    labels = np.asarray(cv2.resize(blocks, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    labels[-2:, :5] = 255
    return labels


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_space(root: Path, values: tuple[int, ...] = (0, 1, 2, 3), *, void: int | None = 255, **more: Any) -> None:
    colors = COLORS.tolist()
    space = {
        "name": "four",
        "classes": [{"name": n, "values": [v], "color": c} for n, v, c in zip(NAMES, values, colors, strict=False)],
        "ignored": [] if void is None else [{"name": "void", "values": [void], "color": [0, 0, 0]}],
    }
    (root / "labels.yaml").write_text(yaml.safe_dump(space | more), encoding="utf-8")


def small_set(root: Path, *, train: int = 6, val: int = 3) -> Path:
    for split, first, count in (("train", 0, train), ("val", 100, val)):
        for seed in range(first, first + count):
            save(root / split / "images" / f"p{seed}.png", picture(seed))
            save(root / split / "masks" / f"p{seed}.png", ids(seed))
    write_space(root)
    return root


def image(root: Path, number: int = 1) -> Path:
    return root / ("val" if number >= 100 else "train") / "images" / f"p{number}.png"


def mask(root: Path, number: int = 1) -> Path:
    return root / ("val" if number >= 100 else "train") / "masks" / f"p{number}.png"


def read(path: Path) -> NDArray[np.uint8]:
    return np.array(Image.open(path))


def change(root: Path, how: Callable[[NDArray[np.uint8]], NDArray[Any]], *, only: int | None = None) -> None:
    """Save masks again, changed: all, or that of one number."""
    for path in sorted(root.glob("*/masks/*.png")):
        if only is None or path == mask(root, only):
            save(path, how(read(path)))


def colored(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask in the colours of the classes, void black."""
    table = np.zeros((256, 3), np.uint8)
    table[:4] = COLORS
    return table[labels]


def same_mask_as(root: Path, number: int, other: int) -> None:
    """Give picture `other` the mask of picture `number`."""
    save(mask(root, other), ids(number))
