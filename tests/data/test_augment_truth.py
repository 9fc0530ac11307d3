"""The truth test: it passes everything that ships, and catches what goes wrong in real pipelines."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segwright.contracts import IGNORE, Sample
from segwright.data.augment import Augment, Pool, advanced, none, standard
from segwright.data.augment.truth import check_pipeline

SIZE = (72, 96)
Change = Callable[[NDArray[np.uint8], NDArray[np.uint8]], tuple[Any, Any]]


@pytest.mark.parametrize(
    "level",
    [
        none(SIZE),
        standard(SIZE),
        advanced(SIZE),
        standard(SIZE, crop_p=0.7, scale_p=1, scale=(0.4, 2.5)),
        standard(SIZE, crop_p=0.5, short_side=50, aspect=(0.6, 1.6)),
        standard(SIZE, crop_p=0.5, scale_p=1, scale=(0.3, 2.5), rotate_p=1, rotate=180),
        standard(SIZE, crop_p=0.5, scale_p=1, scale=(0.4, 1.5), elastic_p=1, elastic=(0.02, 0.05)),
        standard(SIZE, cutout_p=1),
        standard(SIZE, cutout_p=1, cutout_labels="keep"),
        standard(SIZE, scale_p=1, scale=(0.6, 1.5), mosaic_p=1),
        standard(SIZE, copy_paste_p=1),
        standard(SIZE, crop_p=1, balanced_crops=1.0),
        advanced(SIZE, crop_p=0.7, rotate_p=0.5, elastic_p=0.5, mosaic_p=0.5, copy_paste_p=0.5, cutout_p=0.5),
    ],
    ids=lambda level: "",
)
def test_all_levels_and_extras_tell_the_truth(level: Augment) -> None:
    assert check_pipeline(level, draws=16) == []


def test_pictures_far_larger_than_the_crop() -> None:
    assert check_pipeline(none(SIZE, rotate_p=0.5), stored=(289, 411), draws=6) == []


class Broken:
    """A level with a mistake after it."""

    needs_pool = needs_classes = False
    mask_steps = 1
    size = SIZE

    def __init__(self, change: Change) -> None:
        self.change = change
        self.level = standard(SIZE, scale_p=1, scale=(0.7, 1.3), jitter_p=0, gamma_p=0, blur_p=0)

    def __call__(self, sample: Sample, rng: np.random.Generator, pool: Pool | None = None) -> tuple[Any, Any]:
        return self.change(*self.level(sample, rng))

    def geometry(self) -> Broken:
        return self


def _turned(image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[Any, Any]:
    """A rotation as people write it: the fill of the mask is class 0."""
    turn = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), 9, 1)
    return (
        cv2.warpAffine(image, turn, SIZE[::-1]),
        cv2.warpAffine(labels, turn, SIZE[::-1], flags=cv2.INTER_NEAREST, borderValue=(0,)),
    )


def _resized(way: int, by: int) -> Change:
    small = (SIZE[1] // by, SIZE[0] // by)
    return lambda image, labels: (
        image,
        cv2.resize(cv2.resize(labels, small, interpolation=way), SIZE[::-1], interpolation=way),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image, labels: (image[:, ::-1].copy(), labels), "show another label"),
        (lambda image, labels: (image, np.roll(labels, 1, 1)), "the mask lies beside the picture"),
        (_resized(cv2.INTER_LINEAR, 2), "beside the picture|show another label|labels that no probe has"),
        (_resized(cv2.INTER_NEAREST, 3), "beside the picture"),
        (lambda image, labels: (image, np.where(labels == IGNORE, 0, labels).astype(np.uint8)), "filled without"),
        (_turned, "filled without being 255"),
        (lambda image, labels: (image, np.where(labels == 3, 99, labels).astype(np.uint8)), "no probe has: .99"),
        (lambda image, labels: (image[:-1], labels[:-1]), "where .72, 96. is asked for"),
        (lambda image, labels: (image, labels.astype(np.int64)), "int64"),
        (lambda image, labels: (image + np.uint8(np.random.randint(9)), labels), "give another result"),
    ],
    ids=["flip", "roll", "linear", "offset", "void", "turn", "ids", "size", "type", "random"],
)
def test_mistakes_are_caught(change: Change, words: str) -> None:
    problems = check_pipeline(Broken(change), draws=12)
    assert problems
    assert re.search(words, "\n".join(problems)), problems


def test_a_sample_that_was_written_to_is_noticed() -> None:
    def spoil(sample: Sample) -> None:
        assert sample.labels is not None
        sample.labels[0, 0] = 1 - sample.labels[0, 0] % 2

    class Spoiler(Broken):
        def __call__(self, sample: Sample, rng: np.random.Generator, pool: Pool | None = None) -> tuple[Any, Any]:
            result = self.level(sample, rng)
            spoil(sample)
            return result

    assert any("the sample itself was changed" in p for p in check_pipeline(Spoiler(lambda i, m: (i, m)), draws=2))
