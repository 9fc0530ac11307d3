"""Counts, fingerprint and class weights, against NumPy, scikit-learn and the published CamVid numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from segwright.api import data_statistics
from segwright.contracts import IGNORE, DataError, Sample, UserError
from segwright.data import CamVid, PairedFolders
from segwright.data import statistics as module
from segwright.data.inspect import fingerprint
from segwright.data.statistics import (
    WEIGHTINGS,
    Tally,
    channel_histograms,
    class_weights,
    count_classes,
    count_dataset,
)
from segwright.labels import load_label_space

from .files import FOUR, FakeDataset, fake_dataset, mask, photo, sample, save, write_pairs


def test_mean_std_and_counts_equal_numpys() -> None:
    samples = [sample(i, height=9 + i, width=14) for i in range(5)]
    tally = Tally(4)
    for one in samples:
        tally.add(one)
    pixels = np.concatenate([s.rgb.reshape(-1, 3) for s in samples]) / 255
    np.testing.assert_allclose(tally.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(tally.std, pixels.std(0), rtol=1e-12)
    labels = [s.labels for s in samples if s.labels is not None]
    assert tally.class_pixels_K.tolist() == [sum(int((x == k).sum()) for x in labels) for k in range(4)]
    assert tally.class_images_K.tolist() == [5] * 4
    assert tally.class_image_pixels_K.tolist() == [sum(x.size for x in labels)] * 4
    assert tally.ignored == sum(int((x == IGNORE).sum()) for x in labels)
    assert tally.sizes == {(9 + i, 14): 1 for i in range(5)}


def test_histograms_are_exact_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(50, 31)
    expected = np.stack([np.bincount(image[..., c].ravel(), minlength=256) for c in range(3)])
    np.testing.assert_array_equal(channel_histograms(image), expected)
    monkeypatch.setattr(module, "_EXACT", 100)
    np.testing.assert_array_equal(channel_histograms(image), expected)


def test_an_empty_tally_has_no_mean() -> None:
    assert np.isnan(Tally(3).mean).all()


def test_labels_outside_the_space_and_missing_masks_are_named() -> None:
    one = sample(0)
    with pytest.raises(DataError, match=r"a_000: found labels \[3\]; allowed are 0\.\.2 and 255"):
        Tally(3).add(one)
    with pytest.raises(DataError, match="a_000: the sample has no mask"):
        Tally(4).add(Sample(name=one.name, planes=one.planes, labels=None))


def test_multi_label_masks_count_every_class() -> None:
    maps = np.zeros((2, 12, 20), bool)
    maps[0, :3], maps[1, 2:5] = True, True
    tally = Tally(2)
    tally.add(Sample(name="a", planes={"rgb": photo()}, labels=maps))  # type: ignore[arg-type]
    assert tally.class_pixels_K.tolist() == [60, 60]
    assert tally.ignored == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_counting_in_threads_is_counting_one_by_one(workers: int) -> None:
    data = fake_dataset(21)
    one_by_one = Tally(4)
    for index in range(len(data)):
        one_by_one.add(data[index])
    done: list[tuple[int, int]] = []
    found = count_dataset(data, 4, workers=workers, progress=lambda *at: done.append(at))
    for name, value in vars(one_by_one).items():
        np.testing.assert_equal(getattr(found, name), value, err_msg=name)
    assert done == [(8, 21), (16, 21), (21, 21)]
    pixels_NK = count_classes(data, 4, workers=workers)
    np.testing.assert_array_equal(pixels_NK.sum(0), one_by_one.class_pixels_K)
    np.testing.assert_array_equal((pixels_NK > 0).sum(0), one_by_one.class_images_K)


def test_all_unreadable_files_are_listed_at_once(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, [f"p{i:02d}" for i in range(20)])
    (root / "masks" / "p03.png").write_bytes(b"")
    (root / "images" / "p17.png").write_bytes(b"text")
    data = PairedFolders(root, "all", FOUR)
    with pytest.raises(DataError, match=r"(?s)2 of 20 .*p17\.png.*p03\.png"):
        count_dataset(data, 4)
    with pytest.raises(DataError, match=r"1 of 20 .*\n.*p03\.png"):  # pictures are not read
        count_classes(data, 4)


# fingerprint


def test_fingerprint_is_json_and_complete() -> None:
    data = fake_dataset(5)
    done: list[tuple[int, int]] = []
    found = fingerprint(data, FOUR, lambda *at: done.append(at))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["pictures"] == 5
    assert found["sizes"] == {"12×20": 5}
    assert [c["pixels"] for c in found["classes"].values()] == found["class_pixels"]
    assert sum(found["class_pixels"]) + found["ignored_pixels"] == 5 * 12 * 20
    assert found["ignored_share"] == pytest.approx(found["ignored_pixels"] / (5 * 240))
    assert done == [(i, 5) for i in range(1, 6)]
    assert sorted(data.reads) == list(range(5))  # a single pass
    assert fingerprint(FakeDataset([]), FOUR)["mean"] is None


def test_fingerprint_tells_data_sets_apart() -> None:
    one = fake_dataset(3)
    base = fingerprint(one, FOUR)
    assert fingerprint(fake_dataset(3), FOUR) == base
    changed = one.samples[1].rgb.copy()
    changed[3, 4, 1] ^= 1
    pixel = [
        one.samples[0],
        Sample(name="b_001", planes={"rgb": changed}, labels=one.samples[1].labels),
        one.samples[2],
    ]
    label = [one.samples[0], Sample(name="b_001", planes=one.samples[1].planes, labels=mask()), one.samples[2]]
    name = [
        one.samples[0],
        Sample(name="new", planes=one.samples[1].planes, labels=one.samples[1].labels),
        one.samples[2],
    ]
    prints = [fingerprint(FakeDataset(s), FOUR) for s in (pixel, label, name, one.samples[::-1])]
    assert len({base["sha256"], *(p["sha256"] for p in prints)}) == 5
    assert [p["names_sha256"] == base["names_sha256"] for p in prints] == [True, True, False, False]


# class weights


def test_inverse_is_scikit_learns_balanced_up_to_scale() -> None:
    pixels = np.array([500, 30, 7, 1200])
    truth = np.repeat(np.arange(4), pixels)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=truth)
    np.testing.assert_allclose(class_weights(pixels, pixels * 2, "inverse"), expected / expected.mean())


def test_formulas_by_hand() -> None:
    pixels, image_pixels = np.array([60, 30, 10]), np.array([100, 50, 50])
    share = np.array([0.5, 0.25, 10 / 120])
    frequency = np.array([0.6, 0.6, 0.2])
    void = {"ignored_pixels": 20, "ignored_image_pixels": 40}
    weights = {m: class_weights(pixels, image_pixels, m, **void) for m in WEIGHTINGS}
    np.testing.assert_array_equal(weights["none"], [1, 1, 1])
    np.testing.assert_allclose(weights["median_frequency"], 0.6 / frequency)
    np.testing.assert_allclose(weights["median_frequency_segnet"], np.median([*frequency, 20 / 40]) / frequency)
    beta = 1 - 1 / pixels.mean()
    effective = 1 / (1 - beta**pixels)
    np.testing.assert_allclose(weights["effective"], effective / effective.mean())
    np.testing.assert_allclose(weights["enet"], 1 / np.log(1.02 + share))
    log = 1 / np.log(1.1 + share)
    np.testing.assert_allclose(weights["log"], log / log.mean())


@settings(max_examples=60, deadline=None)
@given(pixels=st.lists(st.integers(0, 10**9), min_size=1, max_size=20), method=st.sampled_from(list(WEIGHTINGS)))
def test_weights_are_finite_positive_and_favour_rare_classes(pixels: list[int], method: str) -> None:
    counts = np.array(pixels)
    weights = class_weights(counts, np.full(len(pixels), 10**9), method)
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert (weights[counts == 0] == 1).all()
    seen = np.flatnonzero(counts > 0)
    order = seen[np.argsort(counts[seen], kind="stable")]
    assert (np.diff(weights[order]) <= 1e-9 * weights[order][:-1]).all()


def test_wrong_weights_are_refused() -> None:
    with pytest.raises(
        UserError, match="'median'.* There are: none, inverse, median_frequency, median_frequency_segnet, enet"
    ):
        class_weights(np.array([1]), np.array([1]), "median")
    for pixels, image_pixels in (([2], [1]), ([-1], [1]), ([1, 1], [1])):
        with pytest.raises(UserError, match="pixel counts"):
            class_weights(np.array(pixels), np.array(image_pixels), "log")


def test_effective_numbers_lie_between_none_and_inverse() -> None:
    pixels = np.array([10**7, 10**6, 10**5])
    where = np.full(3, 10**8)
    inverse = class_weights(pixels, where, "inverse")
    np.testing.assert_allclose(class_weights(pixels, where, "effective", beta=0), 1)
    np.testing.assert_allclose(class_weights(pixels, where, "effective", beta=1 - 1e-12), inverse, rtol=1e-4)
    mild = class_weights(pixels, where, "effective")
    np.testing.assert_allclose(class_weights(100 * pixels, 100 * where, "effective"), mild, rtol=1e-6)  # of any size
    assert 1 < mild[2] / mild[0] < inverse[2] / inverse[0]
    papers = class_weights(np.array([500, 50, 5]), np.array([999] * 3), "effective", beta=0.9999)
    expected = (1 - 0.9999) / (1 - 0.9999 ** np.array([500, 50, 5]))  # the paper's formula, for picture counts
    np.testing.assert_allclose(papers, expected / expected.mean())


def test_wrong_arguments_of_weights_are_named() -> None:
    one = np.array([5]), np.array([9])
    for beta in (1.0, -0.1):
        with pytest.raises(UserError, match="beta is"):
            class_weights(*one, "effective", beta=beta)
    with pytest.raises(UserError, match="There are 7 ignored pixels, but ignored_image_pixels"):
        class_weights(*one, "median_frequency_segnet", ignored_pixels=7)


# CamVid, as published

SEGNETS_RULE = [0.2565, 0.1853, 4.3963, 0.1369, 0.9185, 0.3873, 3.5331, 1.8127, 0.7246, 5.8550, 8.1365]
"""PROTOCOLS section 3: class pixels / pixels of the pictures that have it, median over 12 classes with void."""


def test_median_frequency_weights_of_camvid(camvid: Path, camvid_tally: Tally) -> None:
    with_void = class_weights(camvid_tally.class_pixels_K, camvid_tally.class_image_pixels_K, "median_frequency")
    np.testing.assert_allclose(with_void[:11], SEGNETS_RULE, atol=5e-5)
    found = data_statistics(camvid)
    np.testing.assert_allclose(found.weights("median_frequency_segnet"), SEGNETS_RULE, atol=5e-5)
    # without void the median is that of the eleven classes: pavement
    np.testing.assert_allclose(found.weights("median_frequency"), np.array(SEGNETS_RULE) / SEGNETS_RULE[4], atol=4e-4)
    assert found.pictures == 367
    assert found.sizes == {(360, 480): 367}
    assert [c.pixels for c in found.classes] == camvid_tally.class_pixels_K[:11].tolist()
    assert found.ignored == camvid_tally.class_pixels_K[11]
    assert json.loads(json.dumps(found.to_dict()))["sizes"] == {"360×480": 367}


def test_mean_and_std_of_camvid_equal_torchs(camvid: Path, camvid_tally: Tally) -> None:
    """All pixels of the split pooled, in float64: the method of SYSTEMS.md, section A."""
    data = CamVid(camvid, "train", load_label_space("camvid11"))
    part = [data[i] for i in range(0, len(data), 24)]
    found = count_dataset(FakeDataset(part), 11)
    pixels = torch.cat([torch.from_numpy(s.rgb).reshape(-1, 3) for s in part]).to(torch.float64) / 255
    np.testing.assert_allclose(found.mean, pixels.mean(0), rtol=1e-10)
    np.testing.assert_allclose(found.std, pixels.std(0, correction=0), rtol=1e-10)
    np.testing.assert_allclose(camvid_tally.mean, [0.41189488, 0.42513280, 0.43267069], atol=5e-9)


def test_statistics_of_a_folder(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, ["a", "b", "c"])
    save(root / "images" / "d.png", photo(7, 9))
    save(root / "masks" / "d.png", mask(7, 9, values=[0]))
    found = data_statistics(root, ["data.args.group_regex=."], labels=FOUR, split="all")
    assert found.data == "paired_folders"
    assert list(found.sizes.items()) == [((12, 20), 3), ((7, 9), 1)]
    assert [c.pictures for c in found.classes] == [4, 3, 3, 3]
    assert sum(c.share for c in found.classes) + found.ignored_share == pytest.approx(1)
    assert found.table() is not None
    with pytest.raises(UserError, match=r"data\.args has no 'grupe'"):
        data_statistics(root, ["data.args.grupe=1"], labels=FOUR)
    with pytest.raises(UserError, match="only data.args.KEY=VALUE goes here"):
        data_statistics(root, ["training.epochs=1"], labels=FOUR)
