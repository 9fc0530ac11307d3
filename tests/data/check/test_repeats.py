"""Near duplicates: copies are found however they were saved, neighbours are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segwright.data.check.looking import ImageFacts, look
from segwright.data.check.repeats import equal_groups, near_groups
from segwright.data.check.values import count_values, packed
from segwright.data.pairs import Pair
from segwright.data.reading import read_mask

from .small_set import picture, save


def facts(path: Path, pixels: NDArray[np.uint8]) -> ImageFacts:
    save(path, pixels)
    found = look(Pair(name="x", group="x", image=path, mask=path), lambda pair: read_mask(pair.mask)).image
    assert found is not None
    return found


def near(seen: list[ImageFacts]) -> list[list[int]]:
    return near_groups(np.array([f.dhash for f in seen], np.uint64), np.stack([f.grey for f in seen]))


def jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=35)
    return np.array(Image.open(stream))


def smaller(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(pixels, (200, 130), interpolation=cv2.INTER_AREA), np.uint8)


def darker(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(pixels * 0.8 + 10, np.uint8)


def grainy(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    return np.asarray((pixels + noise).clip(0, 255), np.uint8)


@pytest.mark.parametrize("copy", [jpeg, smaller, darker, grainy])
def test_copies_are_found_among_others(tmp_path: Path, copy: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    originals = [picture(seed, (260, 400)) for seed in range(12)]
    seen = [facts(tmp_path / f"{i}.png", p) for i, p in enumerate([*originals, copy(originals[5])])]
    assert near(seen) == [[5, 12]]


def test_moved_pictures_and_blank_ones_are_no_copies(tmp_path: Path) -> None:
    scene = picture(3, (260, 400))
    moved = np.roll(scene, 12, axis=1)
    changed = scene.copy()
    changed[100:150, 200:260] = 255 - changed[100:150, 200:260]
    blank = [np.full((260, 400, 3), level, np.uint8) for level in (90, 91)]
    assert near([facts(tmp_path / f"{i}.png", p) for i, p in enumerate([scene, moved, changed, *blank])]) == []


def test_equal_groups_leave_out_what_is_single_or_unknown() -> None:
    assert equal_groups(["a", None, "b", "a", None, "c", "b", "a"]) == [[0, 3, 7], [2, 6]]


def test_near_groups_agree_with_comparing_every_pair() -> None:
    rng = np.random.default_rng(1)
    greys = rng.integers(0, 256, (60, 32, 32), np.uint8)
    hashes = rng.integers(0, 1 << 62, 60).astype(np.uint64)
    for copy, original in ((20, 3), (41, 3), (59, 17)):
        greys[copy] = greys[original]
        hashes[copy] = hashes[original] ^ np.uint64(1 << copy)
    assert near_groups(hashes, greys) == [[3, 20, 41], [17, 59]]


@pytest.mark.parametrize("shape", [(7, 9), (5, 8, 3)])
def test_values_are_counted_as_numpy_counts_them(shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(2).integers(0, 3, shape).astype(np.uint8)
    values, counts = count_values(raw)
    expected = np.unique(packed(raw), return_counts=True)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(counts, expected[1])
