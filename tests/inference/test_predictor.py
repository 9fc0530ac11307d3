"""Predicting pictures in memory: exact ids, probabilities that add up, honest errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, UserError
from segwright.inference.predictor import Predictor
from tests.export.models import small_model
from tests.inference.fakes import RedSegmenter, Unsure, random_rgb

NAMES = ("road", "car", "sky")


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(RedSegmenter(NAMES), device="cpu")


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 17)])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_predict_gives_class_ids_of_the_pictures_size(size: tuple[int, int], memory_format: str) -> None:
    rgb = random_rgb(*size, 3)
    rgb.setflags(write=False)
    predictor = Predictor(RedSegmenter(NAMES), device="cpu", memory_format=memory_format)
    ids = predictor.predict(rgb)
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, rgb[..., 0] % 3)
    assert np.array_equal(predictor.predict(rgb[:, ::-1]), ids[:, ::-1])  # views with negative strides are fine


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((3, 4, 4), np.uint8)])
def test_predict_refuses_other_forms(predictor: Predictor, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"uint8 \[H, W, 3\] in RGB order; found"):
        predictor.predict(wrong)


def test_the_predictor_switches_its_model_and_refuses_multi_label_spaces() -> None:
    model = RedSegmenter(NAMES).train()
    assert not Predictor(model, device="cpu").segmenter.training
    model.labels = replace(model.labels, exclusive=False)
    with pytest.raises(UserError, match="multi-label"):
        Predictor(model, device="cpu")


def expected(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What Unsure says of a picture, by hand: probabilities [K, H, W]."""
    scores = np.where(np.arange(3)[:, None, None] == rgb[..., 0] % 3, rgb[..., 0] / 32, 0.0)
    powers = np.exp(scores)
    return powers / powers.sum(0)


def test_probabilities_confidence_and_entropy_are_what_the_scores_say() -> None:
    rgb = random_rgb(70, 30, 1)
    probs = expected(rgb)
    predictor = Predictor(Unsure(NAMES), device="cpu")
    found = predictor.probabilities(rgb)
    assert (found.dtype, found.shape) == (np.float32, (3, 70, 30))
    assert np.allclose(found, probs, atol=1e-6)
    [maps] = predictor.maps([rgb], ["confidence", "entropy", "probabilities"], depth="fp16")
    assert maps.confidence is not None
    assert maps.entropy is not None
    assert maps.probabilities is not None
    assert np.allclose(maps.confidence, probs.max(0), atol=1e-6)
    assert np.allclose(maps.entropy, -(probs * np.log(probs)).sum(0) / np.log(3), atol=1e-5)
    assert maps.probabilities.dtype == np.float16
    assert np.abs(maps.probabilities - probs).max() <= 1 / 4096
    quantised = predictor.maps([rgb], ["probabilities"], depth="uint8")[0].probabilities
    assert quantised is not None
    assert quantised.dtype == np.uint8
    assert np.abs(quantised / 255 - probs).max() <= 1 / 510 + 1e-7
    assert np.array_equal(maps.ids, predictor.predict(rgb))


def test_pictures_together_are_predicted_as_alone() -> None:
    model = small_model()
    predictor = Predictor(model, device="cpu")
    pictures = [random_rgb(45, 61, seed) for seed in range(5)]
    together = predictor.maps(pictures, ["confidence"])
    for rgb, maps in zip(pictures, together, strict=True):
        alone = predictor.maps([rgb], ["confidence"])[0]
        assert (maps.ids == alone.ids).mean() >= 0.9999
        assert np.allclose(maps.confidence, alone.confidence, atol=1e-4)  # type: ignore[arg-type]
        with torch.no_grad():
            image = torch.from_numpy(rgb).permute(2, 0, 1)[None]
            assert (model(image)[0].argmax(0).numpy() == maps.ids).mean() >= 0.9999
    assert predictor.maps([]) == []
    with pytest.raises(DataError, match="have one size"):
        predictor.maps([random_rgb(4, 4, 0), random_rgb(4, 5, 0)])
    with pytest.raises(UserError, match="kinds holds 'masks'"):
        predictor.maps(pictures, ["masks"])


def test_scores_that_are_no_numbers_are_told() -> None:
    model = small_model()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    for kinds in ((), ("confidence",)):
        with pytest.raises(DataError, match="are no numbers"):
            Predictor(model, device="cpu").maps([random_rgb(8, 8, 0)], kinds)


def test_it_abstains_in_memory_too() -> None:
    rgb = random_rgb(20, 30, 2)
    ids = Predictor(Unsure(NAMES), device="cpu", abstain_below=0.9).predict(rgb)
    assert np.array_equal(ids == IGNORE, expected(rgb).max(0) < 0.9)


@pytest.mark.parametrize("below", [0, -0.1, 1.01, float("nan")])
def test_a_confidence_is_a_share(below: float) -> None:
    with pytest.raises(UserError, match="allowed are confidences above 0 and up to 1"):
        Predictor(RedSegmenter(NAMES), device="cpu", abstain_below=below)
