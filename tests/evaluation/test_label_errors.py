"""Label errors: regions are what a slow, independent search finds; planted errors lead the list."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from segwright.contracts import IGNORE, DataError, Dataset, Sample
from segwright.data.streets import Streets
from segwright.evaluation.label_errors import (
    LabelRegion,
    Searched,
    best_regions,
    looked_at,
    mask_of,
    picture_regions,
    runs_of,
    search,
)
from segwright.evaluation.label_sources import Part
from segwright.labels import LabelSpace, load_label_space
from segwright.metrics.measure import Scored
from tests.inference.fakes import Pictures, RedSegmenter

SQUARE = np.ones((5, 5), bool)
TOUCHING = np.ones((3, 3), bool)


def blobs(seed: int, classes: int, shape: tuple[int, int] = (72, 96)) -> NDArray[np.uint8]:
    """Smooth random classes, so that regions have cores."""
    noise = np.random.default_rng(seed).normal(size=(classes, *shape))
    return np.asarray(ndimage.gaussian_filter(noise, (0, 7, 7)).argmax(0), np.uint8)


def scored(seed: int, classes: int = 3) -> Scored:
    labels = blobs(seed, classes)
    labels[blobs(seed + 1, 9) == 0] = IGNORE
    noise = np.random.default_rng(seed + 99).normal(size=(classes, *labels.shape)) * 8
    logits = torch.from_numpy(ndimage.gaussian_filter(noise, (0, 7, 7)) * 5).float()
    ids = logits.argmax(0).to(torch.uint8).numpy()
    rgb = np.zeros((*labels.shape, 3), np.uint8)
    return Scored(index=0, name="one", rgb=rgb, labels=labels, ids=ids, logits=logits)


def slow_regions(seen: Scored) -> list[tuple[float, int, int, NDArray[np.bool_]]]:
    """(score, truth, predicted, full-size mask) of every region, pair by pair of classes."""
    assert seen.logits is not None
    powers = np.exp(seen.logits.double().numpy())
    shares = powers / powers.sum(0)
    found = []
    for truth in range(len(shares)):
        for predicted in range(len(shares)):
            pair = (seen.labels == truth) & (seen.ids == predicted)
            if truth == predicted:
                continue
            core = ndimage.binary_erosion(pair, SQUARE, border_value=1)
            numbered, count = ndimage.label(core, TOUCHING)
            for number in range(1, count + 1):
                own = numbered == number
                score = own.sum() * shares[predicted][own].mean() * (1 - shares[truth][own].mean())
                found.append((float(score), truth, predicted, ndimage.binary_dilation(own, SQUARE) & pair))
    return sorted(found, key=lambda item: -item[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_regions_are_those_of_a_slow_search(seed: int, classes: int) -> None:
    seen = scored(seed, classes)
    expected = slow_regions(seen)
    found, count = picture_regions(seen, part="val", top=1000)
    assert count == len(found) == len(expected)
    for region, (score, truth, predicted, mask) in zip(found, expected, strict=True):
        assert math.isclose(region.score, score, rel_tol=1e-4)
        assert (region.truth, region.predicted) == (truth, predicted)
        whole = np.zeros(mask.shape, bool)
        box = region.box
        whole[box.top : box.bottom, box.left : box.right] = region.mask
        np.testing.assert_array_equal(whole, mask)
        assert region.pixels == mask.sum()
        assert region.score == pytest.approx(region.core * region.confidence * (1 - region.given))


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=6))
def test_runs_keep_a_mask(rows: list[list[bool]]) -> None:
    mask = np.array(rows)
    np.testing.assert_array_equal(mask_of(runs_of(mask), *mask.shape), mask)
    assert runs_of(mask)[0] == 0 or not mask.ravel()[0]


def test_a_border_of_two_pixels_is_no_region_and_the_edge_wears_nothing_off() -> None:
    labels = np.zeros((20, 30), np.uint8)
    ids = labels.copy()
    ids[:, 10:14] = 1  # a border, four pixels wide
    ids[0:6, 20:30] = 1  # in the corner
    logits = torch.from_numpy(np.stack([ids == 0, ids == 1]) * 10.0).float()
    seen = Scored(index=0, name="x", rgb=np.zeros((20, 30, 3), np.uint8), labels=labels, ids=ids, logits=logits)
    (region,), count = picture_regions(seen, part="val", top=5)
    assert count == 1
    assert (region.pixels, region.core) == (60, 4 * 8)


def test_equal_scores_keep_an_order_of_their_own() -> None:
    found, _ = picture_regions(scored(3), part="val", top=5)
    one = found[0]
    twins = [replace(one, picture=name) for name in "bca"]
    assert [r.picture for r in best_regions(twins, 2)] == ["a", "b"]
    assert [r.rank for r in best_regions(twins, 2)] == [1, 2]
    assert LabelRegion.from_dict(one.to_dict()) == one
    with pytest.raises(ValueError, match="do not fill its box"):
        LabelRegion.from_dict(one.to_dict() | {"runs": [1, 2]})


def test_scores_that_are_no_numbers_are_refused() -> None:
    seen = scored(0)
    assert seen.logits is not None
    seen.logits[0] = torch.nan
    with pytest.raises(DataError, match="one: the model's scores are not finite"):
        picture_regions(seen, part="val", top=5)


def test_nothing_is_found_where_labels_are_right_or_void() -> None:
    rgb = np.zeros((16, 16, 3), np.uint8)
    right = Sample(name="a", planes={"rgb": rgb}, labels=np.zeros((16, 16), np.uint8))
    void = Sample(name="b", planes={"rgb": rgb}, labels=np.full((16, 16), IGNORE, np.uint8))
    part = Part(name="val", dataset=Pictures([right, void]), load=RedSegmenter)  # type: ignore[arg-type]
    found = search([part], top=5)
    assert found == Searched(regions=(), found=0, pictures=2, wrong=0, labelled=256)
    assert list(looked_at([part], found.regions)) == []


class Planted:
    """Street scenes of which some have one wrong rectangle in the mask. wrong: picture -> (box, wrong class)."""

    def __init__(self, scenes: Dataset, wrong: dict[str, tuple[slice, slice, int]]) -> None:
        self.scenes, self.wrong = scenes, wrong
        self.names, self.groups = scenes.names, scenes.groups

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Sample:
        sample = self.scenes[index]
        if sample.name not in self.wrong or sample.labels is None:
            return sample
        rows, columns, label = self.wrong[sample.name]
        labels = sample.labels.copy()
        labels[rows, columns] = label
        return replace(sample, labels=labels)


class NoisyOracle(nn.Module):
    """Knows the truth of each scene but for its borders, blurs it, and errs in places of its own."""

    def __init__(self, scenes: Dataset, space: LabelSpace) -> None:
        super().__init__()
        self.labels, self.num_classes = space, space.num_classes
        samples = [scenes[i] for i in range(len(scenes))]
        self.known = {s.rgb.tobytes(): (i, s.labels) for i, s in enumerate(samples)}

    def forward(self, image_BCHW: Tensor) -> Tensor:
        rgb = np.ascontiguousarray(image_BCHW[0].permute(1, 2, 0).numpy())
        place, truth = self.known[rgb.tobytes()]
        assert truth is not None
        ids = torch.from_numpy(np.where(truth == IGNORE, 0, truth).astype(np.int64))
        clean = F.one_hot(ids, self.num_classes).movedim(-1, 0)[None].float()
        blurred = F.avg_pool2d(F.pad(clean, (3, 3, 3, 3), mode="replicate"), 7, 1) * 6
        noise = torch.randn(1, self.num_classes, 8, 16, generator=torch.Generator().manual_seed(place))
        return blurred + 1.6 * F.interpolate(noise, size=truth.shape, mode="bicubic")

    def ids(self, image_BCHW: Tensor) -> Tensor:
        return self(image_BCHW).argmax(1).to(torch.uint8)


def test_errors_planted_in_street_scenes_lead_the_list() -> None:
    drawn = Streets("train", count=14, size=(128, 256), seed=3)
    scenes = Pictures([drawn[i] for i in range(len(drawn))])
    space = load_label_space("cityscapes19")
    rng = np.random.default_rng(0)
    wrong = {}
    for index, name in enumerate(scenes.names[:10]):
        top, left = int(rng.integers(10, 100)), int(rng.integers(10, 230))
        rows, columns = slice(top, top + 14), slice(left, left + 18)
        truth = scenes[index].labels
        assert truth is not None
        absent = [k for k in range(19) if k not in truth[rows, columns]]
        wrong[name] = (rows, columns, int(rng.choice(absent)))
    part = Part(name="train", dataset=Planted(scenes, wrong), load=partial(NoisyOracle, scenes, space))  # type: ignore[arg-type]
    found = search([part], top=20)
    assert found.found > 20
    hit = set()
    for region in found.regions:
        if region.picture not in wrong:
            continue
        rows, columns, label = wrong[region.picture]
        box = region.box
        inside = box.top >= rows.start and box.bottom <= rows.stop and box.left >= columns.start
        if inside and box.right <= columns.stop and region.truth == label:
            hit.add(region.picture)
    assert len(hit) >= 8
    looks = {look.region.rank: look for look in looked_at([part], found.regions)}
    assert sorted(looks) == list(range(1, 21))
    for look in looks.values():
        box = look.region.box
        cut = np.s_[box.top : box.bottom, box.left : box.right]
        assert (look.truth[cut][look.region.mask] == look.region.truth).all()
        assert (look.prediction[cut][look.region.mask] == look.region.predicted).all()
