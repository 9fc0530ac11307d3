"""The temperature that was hidden in scores is found again, from any start, by the only minimum there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from segwright.metrics.temperature import Pixels, confidences, fit_temperatures, log_likelihoods

ONE = np.zeros(8000, np.int64)


def drawn(temperature: float, classes: int = 5, pixels: int = 8000, spread: float = 2.0, seed: int = 0) -> Pixels:
    """Labels drawn with the probabilities of scores, and these scores times `temperature`."""
    rng = torch.Generator().manual_seed(seed)
    scores_PK = spread * torch.randn(pixels, classes, generator=rng, dtype=torch.float64)
    labels_P = torch.multinomial(scores_PK.softmax(1), 1, generator=rng)[:, 0]
    return Pixels((temperature * scores_PK).float(), labels_P, torch.ones(pixels, dtype=torch.float64))


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1, 3, 10])
@pytest.mark.parametrize("classes", [2, 11])
def test_a_known_temperature_comes_back(temperature: float, classes: int) -> None:
    fitted = fit_temperatures(drawn(temperature, classes), ONE, 1)
    assert fitted.settled_G.all()
    assert fitted.temperatures_G[0] == pytest.approx(temperature, rel=0.06)  # 8000 pixels say no more


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("start", [1e-9, 1.0, 1e9])
def test_every_start_and_every_scale_of_the_scores_gives_the_same(scale: float, start: float) -> None:
    expected = fit_temperatures(drawn(1.0), ONE, 1).temperatures_G[0]
    fitted = fit_temperatures(drawn(scale), ONE, 1, start=start)
    assert fitted.temperatures_G[0] == pytest.approx(scale * expected, rel=1e-6)


def nll(pixels: Pixels, temperature: float) -> float:
    return float(torch.nn.functional.cross_entropy(pixels.logits_PK.double() / temperature, pixels.labels_P))


def test_it_is_the_minimum() -> None:
    pixels = drawn(4.0)
    found = fit_temperatures(pixels, ONE, 1).temperatures_G[0]
    assert all(nll(pixels, found) < nll(pixels, found * factor) for factor in (0.5, 0.999, 1.001, 2))
    values = log_likelihoods(pixels.logits_PK, pixels.labels_P, torch.full((8000,), found, dtype=torch.float64))
    assert -float(values.mean()) == pytest.approx(nll(pixels, found))
    said = confidences(pixels.logits_PK, torch.full((8000,), found, dtype=torch.float64))
    assert said.mean() == pytest.approx(float((pixels.logits_PK / found).softmax(1).amax(1).mean()), rel=1e-5)
    right = (pixels.logits_PK.argmax(1) == pixels.labels_P).double().mean()
    assert said.mean() == pytest.approx(float(right), abs=0.02)


def test_groups_are_fitted_apart() -> None:
    one, two = drawn(0.5, seed=1), drawn(6.0, seed=2)
    both = Pixels(*(torch.cat(pair) for pair in zip(one, two, strict=True)))
    groups_P = np.repeat([2, 0], 8000)
    fitted = fit_temperatures(both, groups_P, 3)
    alone = [fit_temperatures(p, ONE, 1).temperatures_G[0] for p in (two, one)]
    assert fitted.temperatures_G[[0, 2]] == pytest.approx(alone)
    assert fitted.settled_G.tolist() == [True, False, True]  # group 1 has no pixel


def test_weights_are_repeated_pixels() -> None:
    pixels = drawn(2.0, pixels=8000)
    weights_P = torch.ones(8000, dtype=torch.float64)
    weights_P[:4000] = 3
    order = torch.cat([torch.arange(8000), torch.arange(4000), torch.arange(4000)])
    repeated = Pixels(pixels.logits_PK[order], pixels.labels_P[order], torch.ones(16000, dtype=torch.float64))
    found = fit_temperatures(pixels._replace(weights_P=weights_P), ONE, 1).temperatures_G[0]
    assert found == pytest.approx(fit_temperatures(repeated, np.zeros(16000, np.int64), 1).temperatures_G[0])


def scores(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (scores([5, 0], [9, 0]), [0, 0]),  # never wrong: the surer the better
        (scores([5, 0], [9, 0]), [1, 1]),  # never right: nothing but "no idea" will do
        (scores([0, 0], [3, 3]), [0, 1]),  # no temperature changes anything
    ],
)
def test_where_there_is_no_minimum_it_says_so(logits: Tensor, labels: list[int]) -> None:
    pixels = Pixels(logits, torch.tensor(labels), torch.ones(2, dtype=torch.float64))
    fitted = fit_temperatures(pixels, np.zeros(2, np.int64), 1)
    assert not fitted.settled_G.any()
    assert np.isfinite(fitted.temperatures_G).all()


def test_scores_that_are_no_numbers_are_refused() -> None:
    pixels = Pixels(scores([torch.nan, 0]), torch.tensor([0]), torch.ones(1, dtype=torch.float64))
    with pytest.raises(ValueError, match="not all finite"):
        fit_temperatures(pixels, np.zeros(1, np.int64), 1)
