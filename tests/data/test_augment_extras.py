"""Operations beyond `standard`: turns, elastic shifts, colours, cut-out, and everything that needs other samples."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import IGNORE, DataError, Sample, UserError
from segwright.data.assembling import BatchMaker, DatasetPool
from segwright.data.augment import MEAN_COLOR, Augmentation, Params, advanced, none, sample_rng, standard
from segwright.data.augment.partners import ClassIndex

from .files import FakeDataset, fake_dataset, photo, sample

OFF = dict.fromkeys(("flip_p", "blur_p", "gamma_p", "scale_p", "crop_p", "jitter_p"), 0.0)
SIZE = (48, 64)


def flat(label: int, *, name: str = "flat", size: tuple[int, int] = SIZE) -> Sample:
    """One label, whose colour is 20 times it."""
    labels = np.full(size, label, np.uint8)
    return Sample(name=name, planes={"rgb": np.repeat(labels[..., None] * 20, 3, 2)}, labels=labels)


def pool_of(*samples: Sample) -> DatasetPool:
    return DatasetPool(FakeDataset(samples))


def applied(rgb: NDArray[np.uint8], labels: NDArray[np.uint8] | None = None, **params: Any) -> tuple[Any, Any]:
    """The whole picture under these parameters, at its own size."""
    ids = np.zeros(rgb.shape[:2], np.uint8) if labels is None else labels
    return Augmentation(rgb.shape[:2]).apply(rgb, ids, Params(window=(0, 0, *ids.shape), **params))


# What recipes and their results rely on


@pytest.mark.parametrize(
    ("level", "digest"),
    [
        (none(SIZE), "2d3a67152a341bac"),
        (standard(SIZE), "7ca67204119d2487"),
        (standard((40, 56), crop_p=1.0, scale_p=1.0, scale=(0.5, 2.0), short_side=50), "4dbf7d3d363b1545"),
    ],
    ids=["none", "standard", "crops"],
)
def test_the_draws_and_masks_of_old_recipes_never_change(level: Augmentation, digest: str) -> None:
    """Computed with the version that knew no other operations."""
    names = ("window", "flip", "blur_sigma", "gamma", "brightness", "contrast", "saturation", "hue")
    found = hashlib.sha256()
    for i in range(40):
        params = level.draw(60 + i, 90, sample_rng(7, i % 3, i))
        values = [getattr(params, name) for name in names]
        found.update(" ".join(f"{v:.6f}" if isinstance(v, float) else str(v) for v in values).encode())
        labels = np.random.default_rng(i).integers(0, 11, (60 + i, 90)).astype(np.uint8)
        found.update(level.apply(np.dstack([labels] * 3), labels, params)[1].tobytes())
    assert found.hexdigest()[:16] == digest


def test_standard_does_nothing_of_advanced() -> None:
    neutral = Params(window=(0, 0, 1, 1))
    old = {"window", "flip", "blur_sigma", "gamma", "brightness", "contrast", "saturation", "hue", "seed"}
    for i in range(200):
        params = standard(SIZE).draw(60, 80, sample_rng(0, 0, i))
        assert all(getattr(params, f.name) == getattr(neutral, f.name) for f in fields(Params) if f.name not in old)


def test_advanced_keeps_its_probabilities() -> None:
    level = advanced(SIZE, jitter_p=0.0, blur_p=0.0)
    draws = [level.draw(60, 90, sample_rng(0, 0, i)) for i in range(4000)]
    shares = {
        "shuffle": np.mean([d.channels != (0, 1, 2) for d in draws]) / 0.1,
        "grey": np.mean([d.saturation == 0 for d in draws]) / 0.1,
        "strong blur": np.mean([d.blur_sigma > 0 for d in draws]) / 0.15,
        "sharpen": np.mean([d.sharpen > 0 for d in draws]) / 0.1,
        "balance": np.mean([d.balance != (1, 1, 1) for d in draws]) / 0.1,
        "strong jitter": np.mean([d.hue != 0 for d in draws]) / 0.15,
        "noise": np.mean([d.noise > 0 for d in draws]) / 0.1,
        "elastic": np.mean([d.elastic > 0 for d in draws]) / 0.1,
        "color mixup": np.mean([d.color_mixup > 0 for d in draws]) / 0.05,
    }
    assert all(abs(share - 1) < 0.25 for share in shares.values()), shares
    assert not any(d.cutout or d.mosaic or d.copy_paste or d.angle or d.balanced for d in draws)


def test_an_extra_moves_no_other_draw() -> None:
    for seed in range(20):
        plain = standard(SIZE).draw(60, 80, np.random.default_rng(seed))
        more = advanced(SIZE, rotate_p=1, cutout_p=1, strong_jitter_p=0, strong_blur_p=0, grey_p=0).draw(
            60, 80, np.random.default_rng(seed)
        )
        for name in ("window", "flip", "gamma", "hue", "brightness", "blur_sigma", "saturation", "seed"):
            assert getattr(plain, name) == getattr(more, name)


# Geometry


@pytest.mark.parametrize("angle", [-30.0, 7.0, 90.0])
def test_turns_agree_with_pillow(angle: float) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (12, 12)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    rgb = np.dstack([labels * 20] * 3)
    picture, mask = applied(rgb, labels, angle=angle)
    expected = np.asarray(Image.fromarray(labels).rotate(angle, Image.Resampling.NEAREST, fillcolor=IGNORE))
    assert (mask == expected).mean() > 0.99
    inside = cv2.erode(mask, np.ones((5, 5))) == cv2.dilate(mask, np.ones((5, 5)))
    assert (picture[inside & (mask != IGNORE), 0] == mask[inside & (mask != IGNORE)] * 20).all()
    assert (picture[mask == IGNORE] == MEAN_COLOR).all()


def test_elastic_shifts_are_smooth_bounded_and_never_void() -> None:
    columns = np.tile(np.arange(200, dtype=np.uint8), (150, 1))
    rgb = np.dstack([columns] * 3)
    for seed in range(10):
        picture, mask = applied(rgb, columns, elastic=0.03, seed=seed)
        shift = mask.astype(int) - columns
        assert 1 <= np.abs(shift).max() <= 0.03 * 150 + 0.5
        assert np.abs(np.diff(shift, axis=0)).max() <= 1
        assert (mask != IGNORE).all()  # the picture is mirrored at its edges, and its labels with it
        assert np.abs(picture[..., 0].astype(int) - mask).max() <= 1
    assert not np.array_equal(applied(rgb, columns, elastic=0.03, seed=1)[1], mask)


def test_aspect_stretches_windows_within_its_range() -> None:
    level = standard((60, 60), crop_p=1, aspect=(0.5, 2.0), **{k: v for k, v in OFF.items() if k != "crop_p"})
    ratios = []
    for i in range(300):
        _, _, rows, columns = level.draw(400, 400, sample_rng(0, 0, i)).window
        assert abs(rows * columns - 3600) < 150
        ratios.append(columns / rows)
    assert 0.48 < min(ratios) < 0.6
    assert 1.7 < max(ratios) < 2.1
    whole = standard((60, 60), aspect=(0.5, 2.0), **OFF).draw(100, 100, sample_rng(0, 0, 1)).window
    assert max(whole[2:]) == 100  # the largest window of that aspect still fits


# Colours


def test_grey_and_shuffled_and_balanced_channels() -> None:
    rgb = photo(40, 50)
    grey = applied(rgb, saturation=0.0)[0]
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    assert np.abs(grey[..., 0].astype(int) - np.asarray(Image.fromarray(rgb).convert("L"))).max() <= 1
    np.testing.assert_array_equal(applied(rgb, channels=(2, 0, 1))[0], rgb[..., [2, 0, 1]])
    np.testing.assert_allclose(
        applied(rgb, balance=(0.8, 1.0, 1.1))[0], (rgb * [0.8, 1.0, 1.1]).clip(0, 255), atol=0.51
    )


def test_noise_and_sharpening_have_their_strength() -> None:
    rgb = np.full((100, 100, 3), 128, np.uint8)
    noisy = applied(rgb, noise=6.0, seed=3)[0]
    assert abs(noisy.std() - 6) < 0.2
    assert abs(noisy.mean() - 128) < 0.2
    np.testing.assert_array_equal(applied(rgb, sharpen=1.0)[0], rgb)
    rgb[:, 50:] = 100
    sharp = applied(rgb, sharpen=1.0)[0]
    assert sharp.max() > 128
    assert sharp.min() < 100


def test_two_blurs_are_one() -> None:
    level = standard(SIZE, **OFF | {"blur_p": 1.0}, strong_blur_p=1, blur_sigma=(1, 1), strong_blur_sigma=(2, 2))
    rgb = photo(*SIZE)
    once = level.apply(rgb, np.zeros(SIZE, np.uint8), level.draw(*SIZE, sample_rng(0, 0, 0)))[0]
    twice = cv2.GaussianBlur(cv2.GaussianBlur(rgb, (0, 0), 1), (0, 0), 2)
    inner = np.abs(once.astype(int) - twice)[12:-12, 12:-12]  # borders are extended once or twice
    assert inner.max() <= 2


def test_color_mixup_takes_over_colours_and_nothing_else() -> None:
    one, other = sample(0, height=48, width=64), flat(10)
    level = none(SIZE, color_mixup_p=1, color_mixup=(0.5, 0.5))
    image, labels = level(one, sample_rng(0, 0, 0), pool_of(other))
    np.testing.assert_array_equal(labels, one.labels)
    means = one.rgb.reshape(-1, 3).mean(0)
    np.testing.assert_allclose(image.reshape(-1, 3).mean(0), means + 0.5 * (200 - means), atol=2)
    for channel in range(3):  # the same picture, only flatter: the other one has a single colour
        assert np.corrcoef(image[..., channel].ravel(), one.rgb[..., channel].ravel())[0, 1] > 0.99
    assert abs(image.std() / one.rgb.std() - 0.5) < 0.15


# Cut-out


@pytest.mark.parametrize("kept", [False, True])
def test_cut_out_is_void_or_keeps_its_labels(kept: bool) -> None:
    one = flat(3)
    level = none(SIZE, cutout_p=1, cutout_count=2, cutout_size=(0.25, 0.5), cutout_labels="keep" if kept else "ignore")
    for index in range(10):
        image, labels = level(one, sample_rng(0, 0, index))
        hole = (image == MEAN_COLOR).all(-1)
        assert 0.25**2 <= hole.mean() <= 2 * 0.5**2
        expected = np.full(SIZE, 3, np.uint8)
        if not kept:
            expected[hole] = IGNORE
        np.testing.assert_array_equal(labels, expected)
    assert (one.labels == 3).all()


# Other samples


def test_a_mosaic_has_four_corners_from_the_pool() -> None:
    pool = pool_of(*(flat(label) for label in range(1, 10)))
    level = none(SIZE, mosaic_p=1)
    mixed = 0
    for index in range(20):
        image, labels = level(flat(0), sample_rng(0, 0, index), pool)
        np.testing.assert_array_equal(image[..., 0], labels * 20)
        corners = {int(labels[y, x]) for y in (0, -1) for x in (0, -1)}
        assert 0 in corners
        assert corners == set(np.unique(labels).tolist())
        mixed += len(corners) > 2
    assert mixed > 15


def test_copy_paste_brings_rare_classes_with_their_pixels() -> None:
    rare = np.zeros(SIZE, np.uint8)
    rare[10:14, 20:30] = 5
    partner = Sample(name="p", planes={"rgb": np.repeat(rare[..., None] * 20, 3, 2)}, labels=rare)
    pool = pool_of(*(flat(k) for k in range(5)), partner)
    assert pool.class_index().rare.tolist() == [5]
    level = standard(SIZE, **OFF, copy_paste_p=1)
    image, labels = level(flat(1), sample_rng(0, 0, 0), pool)
    assert set(np.unique(labels)) == {1, 5}
    assert (labels == 5).sum() == 40
    np.testing.assert_array_equal(image[..., 0], labels * 20)
    same, kept = level(flat(1), sample_rng(0, 0, 0), pool_of(flat(1), flat(2)))  # no class is rarer than another
    assert (kept == 1).all()
    assert (same == 20).all()


def test_balanced_crops_are_centred_on_rare_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((200, 200), np.uint8)
    labels[rng.integers(20, 180, 40), rng.integers(20, 180, 40)] = 7
    one = Sample(name="x", planes={"rgb": np.repeat(labels[..., None], 3, 2)}, labels=labels)
    centre = {}
    for share in (0.0, 1.0):
        level = standard((20, 20), **OFF | {"crop_p": 1.0}, balanced_crops=share)
        crops = [level(one, sample_rng(0, 0, i), pool_of(one))[1] for i in range(100)]
        centre[share] = np.mean([c[10, 10] == 7 for c in crops])
    assert centre[0.0] < 0.05
    assert centre[1.0] > 0.85  # weights 1/√40 against 1/√39960


def test_rare_means_fewer_pixels_than_the_median_class() -> None:
    pixels = np.zeros(256, np.int64)
    pixels[[0, 3, 9, 200]] = 1000, 10, 400, 50
    index = ClassIndex(samples={}, pixels=pixels)
    assert index.rare.tolist() == [3, 200]
    np.testing.assert_allclose(index.weights[[0, 3, 4]], [1 / np.sqrt(1000), 1 / np.sqrt(10), 0])


def test_the_class_index_counts_every_label_but_ignore() -> None:
    dataset = fake_dataset(5, height=9, width=11, values=(0, 2, 200, 255))
    seen: list[tuple[int, int]] = []
    index = DatasetPool(dataset).class_index(lambda done, total: seen.append((done, total)))
    labels = np.stack([s.labels for s in dataset.samples])
    for label in range(255):
        assert index.pixels[label] == (labels == label).sum()
    assert index.pixels[IGNORE] == 0
    assert list(index.samples) == [0, 2, 200]
    assert index.samples[2].tolist() == [i for i in range(5) if (labels[i] == 2).any()]
    assert seen[-1] == (5, 5)


def test_partners_follow_from_seed_epoch_and_index_alone() -> None:
    level = advanced((16, 24), mosaic_p=0.5, copy_paste_p=0.5, cutout_p=0.5, color_mixup_p=0.5)
    whole = BatchMaker(fake_dataset(6), level, seed=4).make(2, range(6), lambda _: None)
    again = BatchMaker(fake_dataset(6), level, seed=4)
    again.prepare()
    for index in (5, 0, 3):
        alone = again.make(2, [index], lambda _: None)
        np.testing.assert_array_equal(alone.image_B3hw[0], whole.image_B3hw[index])
        np.testing.assert_array_equal(alone.labels_Bhw[0], whole.labels_Bhw[index])


# Bad input


@pytest.mark.parametrize("name", ["mosaic_p", "copy_paste_p", "color_mixup_p"])
def test_partners_need_a_pool(name: str) -> None:
    level = none(SIZE, **{name: 0.01})
    assert level.needs_pool
    with pytest.raises(UserError, match="call it with a pool"):
        level(flat(0), sample_rng(0, 0, 0))


def test_a_partner_without_mask_is_named() -> None:
    blank = Sample(name="blank", planes={"rgb": photo(*SIZE)}, labels=None)
    with pytest.raises(DataError, match="blank: it has no mask"):
        none(SIZE, mosaic_p=1)(flat(0), sample_rng(0, 0, 0), pool_of(blank))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"mosaic_p": 1.2}, "mosaic_p is 1.2; allowed is a number from 0 to 1"),
        ({"grey_p": "often"}, "grey_p is often"),
        ({"rotate": 200}, "rotate is 200"),
        ({"scale": 3}, "scale is 3; give the smallest and largest"),
        ({"aspect": (0.0, 1.0)}, "aspect is"),
        ({"color_mixup": (0.1, 1.5)}, "color_mixup is .* at most 1"),
        ({"elastic": (0.1, 0.5)}, "elastic is .* at most 0.1"),
        ({"strong_jitter": 4, "strong_jitter_p": 0.1}, "strong_jitter is 4.*at most 3.33"),
        ({"balanced_crops": 0.5, "crop_p": 0.0}, "balanced_crops moves crops, but crop_p is 0"),
        ({"cutout_count": 0}, "cutout_count is 0"),
        ({"cutout_labels": "void"}, "allowed are ignore, keep"),
    ],
)
def test_wrong_arguments_are_named(args: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        advanced(SIZE, **args)
