"""Corruptions: one contract for each of them."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segwright.contracts import Sample, UserError
from segwright.data.corruptions import CORRUPTIONS, SEVERITIES, Corrupted, corrupt

Pixels = NDArray[np.uint8]


def scene(height: int = 96, width: int = 128) -> Pixels:
    """Sky, ground, edges and texture, as a photograph has them."""
    rng = np.random.default_rng(3)
    rgb = np.full((height, width, 3), (150, 180, 210), np.float64)
    rgb[height // 2 :] = (90, 88, 86)
    for _ in range(30):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        rgb[y : y + 14, x : x + 9] = rng.integers(20, 235, 3)
    return np.clip(cv2.GaussianBlur(rgb + rng.normal(0, 6, rgb.shape), (3, 3), 0), 0, 255).astype(np.uint8)


def psnr(one: Pixels, other: Pixels) -> float:
    return float(-10 * np.log10(np.mean((one.astype(float) - other) ** 2) / 255**2 + 1e-12))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_takes_more_from_the_picture_and_nothing_from_the_given_one(name: str) -> None:
    picture = scene()
    before = picture.copy()
    found = [corrupt(picture, name, severity) for severity in SEVERITIES]
    assert all(one.dtype == np.uint8 and one.shape == picture.shape for one in found)
    assert np.all(np.diff([psnr(picture, one) for one in found]) < 0)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_seed_means_the_same_pixels_and_any_size_is_taken(name: str) -> None:
    picture = scene()
    np.testing.assert_array_equal(corrupt(picture, name, 3, seed=5), corrupt(picture.copy(), name, 3, seed=5))
    if name not in ("blur", "jpeg"):  # these draw nothing
        assert (corrupt(picture, name, 3, seed=5) != corrupt(picture, name, 3, seed=6)).any()
    for shape in ((1, 1), (3, 40), (40, 3)):
        assert corrupt(scene(*shape), name, 5).shape == (*shape, 3)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_other_severities_are_refused(severity: int) -> None:
    with pytest.raises(UserError, match="allowed are 1"):
        corrupt(scene(), "fog", severity)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match="Did you mean 'motion-blur'"):
        corrupt(scene(), "motion_blur", 1)


class Two:
    names = ("a", "b")
    groups = ("x", "y")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return Sample(name=self.names[index], planes={"rgb": scene()}, labels=np.zeros((96, 128), np.uint8))


def test_what_is_drawn_depends_on_the_picture_and_not_on_what_else_is_chosen() -> None:
    both, one = (Corrupted(Two(), chosen, name="noise", severity=2) for chosen in ([0, 1], [1]))
    assert list(one.names) == ["b"]
    assert list(one.groups) == ["y"]
    np.testing.assert_array_equal(both[1].rgb, one[0].rgb)
    np.testing.assert_array_equal(one[0].rgb, corrupt(scene(), "noise", 2, seed=zlib.crc32(b"0 b")))
    assert (both[0].rgb != both[1].rgb).any()
