"""Augmentation: picture and mask move together, nothing is invented, everything follows from seed, epoch and index."""

from __future__ import annotations

import inspect
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from segwright.contracts import IGNORE, DataError, Sample, UserError
from segwright.data.augment import AUGMENTATIONS, MEAN_COLOR, Augmentation, Params, none, sample_rng, standard

from .files import sample

sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))
ranges = st.tuples(st.floats(0.3, 1.0), st.floats(1.0, 2.5))
ALWAYS: dict[str, Any] = {"flip_p": 0.5, "scale_p": 1.0, "crop_p": 0.5, "blur_p": 0.0, "gamma_p": 0.0, "jitter_p": 0.0}


def blocks(height: int, width: int, *, cell: int) -> Sample:
    """A picture of flat cells whose colour tells their label: red is 20 × the label."""
    rows, columns = np.mgrid[:height, :width] // cell
    labels = ((rows * 3 + columns * 5) % 11).astype(np.uint8)
    rgb = np.stack([labels * 20, 255 - labels * 20, np.full_like(labels, 90)], -1)
    return Sample(name="blocks", planes={"rgb": rgb}, labels=labels)


@settings(max_examples=120, deadline=None)
@given(stored=sizes, size=sizes, scale=ranges, side=st.none() | st.integers(1, 90), seed=st.integers(0, 10**6))
def test_crops_have_the_size_and_invent_no_label(
    stored: tuple[int, int], size: tuple[int, int], scale: tuple[float, float], side: int | None, seed: int
) -> None:
    one = sample(seed % 7, height=stored[0], width=stored[1], values=(1, 2, 7))
    before = one.rgb.copy()
    for level in (standard(size, scale=scale, scale_p=1, crop_p=0.5, short_side=side), none(size, short_side=side)):
        image, labels = level(one, sample_rng(seed, 1, 2))
        assert image.shape == (*size, 3)
        assert labels.shape == size
        assert image.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) <= set(np.unique(one.labels)) | {IGNORE}
        assert not np.shares_memory(image, one.rgb)
    np.testing.assert_array_equal(one.rgb, before)


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    scale=st.tuples(st.floats(0.6, 1.0), st.floats(1.0, 2.0)),
    side=st.none() | st.integers(60, 160),
    seed=st.integers(0, 10**6),
)
def test_picture_and_mask_move_together(
    size: tuple[int, int], scale: tuple[float, float], side: int | None, seed: int
) -> None:
    """Where a pixel's whole neighbourhood has one label, the picture shows that label's colour, and no other."""
    image, labels = standard(size, scale=scale, short_side=side, **ALWAYS)(
        blocks(96, 128, cell=16), sample_rng(seed, 0, 0)
    )
    kernel = np.ones((5, 5), np.uint8)
    inside = (cv2.erode(labels, kernel) == cv2.dilate(labels, kernel)) & (labels != IGNORE)
    inside[[0, 1, -2, -1]] = inside[:, [0, 1, -2, -1]] = False  # their neighbourhood is cut
    assert (image[inside, 0] == labels[inside] * 20).all()
    void = cv2.erode((labels == IGNORE).astype(np.uint8), kernel).astype(bool)
    assert (image[void] == np.array(MEAN_COLOR)).all()


@settings(max_examples=60, deadline=None)
@given(out=st.integers(30, 300), window=st.integers(30, 300), top=st.integers(0, 40), flip=st.booleans())
def test_mask_pixels_come_from_under_their_centre(out: int, window: int, top: int, flip: bool) -> None:
    """The mask of a column ramp: each output pixel holds the source column whose middle lies within half a pixel."""
    source = np.tile(np.arange(340) % 250, (340, 1)).astype(np.uint8)
    rgb = np.dstack([source] * 3)
    level = Augmentation((out, out))
    params = Params(window=(top, top, window, window), flip=flip)
    image, labels = level.apply(rgb, source, params)
    columns = labels[0, ::-1] if flip else labels[0]
    expected = top + (np.arange(out) + 0.5) * window / out - 0.5
    offset = np.abs((columns - expected + 125) % 250 - 125)
    assert offset.max() <= 0.5 + 1e-9
    if window == out:
        np.testing.assert_array_equal(image[..., 0], labels)


def test_the_whole_picture_without_crop() -> None:
    one = sample(0, height=36, width=48)
    image, labels = none((36, 48))(one, sample_rng(0, 0, 0))
    np.testing.assert_array_equal(image, one.rgb)
    np.testing.assert_array_equal(labels, one.labels)
    half, _ = none((18, 24))(one, sample_rng(0, 0, 0))
    assert np.abs(half.astype(int) - cv2.resize(one.rgb, (24, 18), interpolation=cv2.INTER_AREA)).max() <= 1


def test_another_aspect_is_covered_not_distorted() -> None:
    wide = none((40, 40)).draw(60, 100, np.random.default_rng(0))
    assert wide.window == (0, 20, 60, 60)
    for seed in range(50):
        _, left, rows, columns = (
            standard((40, 40), scale_p=0, crop_p=0).draw(60, 100, np.random.default_rng(seed)).window
        )
        assert (rows, columns) == (60, 60)
        assert 0 <= left <= 40


def test_a_crop_takes_size_pixels_of_the_resized_picture() -> None:
    draw = standard((120, 160), crop_p=1, scale_p=0).draw(360, 480, np.random.default_rng(0))
    assert draw.window[2:] == (120, 160)
    draw = standard((120, 160), crop_p=1, scale_p=0, short_side=240).draw(360, 480, np.random.default_rng(0))
    assert draw.window[2:] == (180, 240)
    draw = standard((120, 160), crop_p=1, scale_p=1, scale=(2, 2)).draw(360, 480, np.random.default_rng(0))
    assert draw.window[2:] == (60, 80)


def test_windows_larger_than_the_picture_keep_it_whole() -> None:
    one = blocks(40, 40, cell=40)
    for seed in range(30):
        _, labels = standard((80, 120), crop_p=1, scale_p=0)(one, np.random.default_rng(seed))
        assert (labels != IGNORE).sum() == 40 * 40
        rows, columns = np.nonzero(labels != IGNORE)
        assert (np.ptp(rows), np.ptp(columns)) == (39, 39)


def test_pixels_follow_from_seed_epoch_and_index_alone() -> None:
    one, level = sample(0, height=60, width=80), standard((32, 48))
    base = level(one, sample_rng(1, 2, 3))
    again = level(one, sample_rng(1, 2, 3))
    np.testing.assert_array_equal(base[0], again[0])
    np.testing.assert_array_equal(base[1], again[1])
    for other in ((1, 3, 3), (2, 2, 3), (1, 2, 4)):
        assert not np.array_equal(base[0], level(one, sample_rng(*other))[0])


def test_one_probability_moves_no_other_draw() -> None:
    for seed in range(20):
        params = standard((32, 48)).draw(60, 80, np.random.default_rng(seed))
        other = standard((32, 48), blur_p=0.0, jitter_p=0.0).draw(60, 80, np.random.default_rng(seed))
        assert (params.window, params.flip, params.gamma) == (other.window, other.flip, other.gamma)


def test_probabilities_are_kept() -> None:
    level = standard((40, 60), scale=(1.01, 1.2))
    draws = [level.draw(60, 90, sample_rng(0, 0, i)) for i in range(4000)]
    shares = {
        "flip": np.mean([d.flip for d in draws]),
        "blur": np.mean([d.blur_sigma > 0 for d in draws]),
        "gamma": np.mean([d.gamma != 1 for d in draws]),
        "jitter": np.mean([d.hue != 0 for d in draws]),
    }
    for name, expected in {"flip": 0.5, "blur": 0.3, "gamma": 0.25, "jitter": 0.5}.items():
        assert abs(shares[name] - expected) < 0.03, name
    scaled = [d for d in draws if d.window[2] not in (40, 60)]
    assert abs(len(scaled) / len(draws) - 0.5) < 0.04
    crops = [d for d in draws if d.window[2] <= 40]
    assert abs(len(crops) / len(draws) - 0.4) < 0.03
    assert all(0.7 <= d.gamma <= 1.4 and 0.7 <= d.brightness <= 1.3 and abs(d.hue) <= 0.05 for d in draws)


# colours


def recolored(rgb: np.ndarray, **params: float) -> np.ndarray:
    labels = np.zeros(rgb.shape[:2], np.uint8)
    window = (0, 0, *rgb.shape[:2])
    return Augmentation(rgb.shape[:2]).apply(rgb, labels, Params(window=window, **params))[0]  # type: ignore[arg-type]


def test_neutral_parameters_change_nothing() -> None:
    rgb = sample(0).rgb
    np.testing.assert_array_equal(recolored(rgb), rgb)
    np.testing.assert_array_equal(recolored(rgb, hue=0.0, saturation=1.0, gamma=1.0), rgb)


def test_the_table_equals_the_formula() -> None:
    rgb = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    level = np.clip((rgb / 255 * 1.2 - 0.5) * 0.8 + 0.5, 0, 1) ** 1.3
    np.testing.assert_allclose(recolored(rgb, brightness=1.2, contrast=0.8, gamma=1.3), level * 255, atol=0.5)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.4])
def test_saturation_agrees_with_pillow(factor: float) -> None:
    rgb = sample(3, height=30, width=30).rgb
    expected = np.array(ImageEnhance.Color(Image.fromarray(rgb)).enhance(factor))
    assert np.abs(recolored(rgb, saturation=factor).astype(int) - expected).max() <= 1


def test_hue_turns_red_to_green_to_blue_and_keeps_grey() -> None:
    grey = np.full((4, 4, 3), 77, np.uint8)
    np.testing.assert_array_equal(recolored(grey, hue=0.3, saturation=0.2), grey)
    for turns, strongest in ((0, 0), (1 / 3, 1), (2 / 3, 2), (1, 0)):
        assert recolored(np.full((1, 1, 3), (200, 40, 40), np.uint8), hue=turns)[0, 0].argmax() == strongest


# bad input


def test_every_level_takes_its_size_and_short_side() -> None:
    for name in ("none", "standard", "advanced"):
        level = AUGMENTATIONS[name]
        assert {"size", "short_side"} <= set(inspect.signature(level).parameters), name
        assert level((8, 9)).size == (8, 9)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"flip_p": 1.5}, "flip_p is 1.5"),
        ({"scale": (0, 1)}, "scale is"),
        ({"scale": (2.0, 1.0)}, "scale is"),
        ({"gamma": (1.0,)}, "gamma is"),
        ({"hue": -0.1}, "hue is"),
        ({"short_side": 0}, "short_side is 0"),
        ({"size": (0, 4)}, "size is"),
        ({"size": (4,)}, "size is"),
    ],
)
def test_wrong_arguments_are_named(args: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        standard(**({"size": (8, 8)} | args))


def test_samples_without_exclusive_labels_are_refused() -> None:
    rgb = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(DataError, match="x: it has no mask"):
        none((4, 4))(Sample(name="x", planes={"rgb": rgb}, labels=None), sample_rng(0, 0, 0))
    many = Sample(name="x", planes={"rgb": rgb}, labels=np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(UserError, match="one class a pixel"):
        none((4, 4))(many, sample_rng(0, 0, 0))
