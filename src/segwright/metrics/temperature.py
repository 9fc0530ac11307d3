"""Temperatures: one number, or one a predicted class, that makes probabilities as often right as they say.

Scores z are divided by T > 0, which leaves the best class the best. T minimises the negative log-likelihood of labelled
pixels. In a = 1/T that is convex (its second derivative is a variance), so a Newton step, kept inside a bracket of the
sign of the slope, finds the minimum from anywhere; a fixed number of steps of gradient descent or L-BFGS in T may end
far from it or at a negative T (gpleiss/temperature_scaling#23).

Source: Guo et al. 2017 (temperature scaling); Gupta & Ramdas 2022 (calibrating by predicted class).
Letters: P pixels, K classes, G groups of pixels that share a temperature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

WIDEST = 1e4
"""T is looked for within this factor of the spread of the scores, up and down."""
STEPS = 200
PRECISE = 1e-9
BLOCK = 1 << 21
"""Scores taken to float64 together: 16 MB."""


class Pixels(NamedTuple):
    """Labelled pixels to fit on: logits_PK float32 [P, K], labels_P int64 [P], weights_P float64 [P], above 0."""

    logits_PK: Tensor
    labels_P: Tensor
    weights_P: Tensor


@dataclass(frozen=True)
class Fitted:
    """temperatures_G: float64 [G]. settled_G: False where the minimum lies beyond the range that is searched: scores
    that are right without exception ask for T = 0, scores worse than chance for infinity; and where a group has no pixel."""

    temperatures_G: Floats
    settled_G: NDArray[np.bool_]


def fit_temperatures(pixels: Pixels, groups_P: NDArray[np.int64], groups: int, *, start: float = 1.0) -> Fitted:
    """The temperature of each group of pixels with the least negative log-likelihood.

    groups_P: int64 [P], 0..groups-1. start: T to begin at; any number above 0 gives the same result.
    Everything is added in float64 in a fixed order. Raises ValueError for scores that are not finite.
    """
    spread_G = _spread(pixels, groups_P, groups)
    # a = 1/T lies between these. The slope d NLL / d a grows with a: below 0, the minimum lies to the right.
    low_G, high_G = 1 / (WIDEST * spread_G), WIDEST / spread_G
    falls_G, rises_G = _slopes(pixels, low_G, groups_P)[0] < 0, _slopes(pixels, high_G, groups_P)[0] > 0
    end_G = np.where(falls_G, high_G, low_G)  # the better end, where the slope has one sign all over the range
    a_G = np.clip(1 / start, low_G, high_G)
    for _ in range(STEPS):
        slope_G, bend_G = _slopes(pixels, a_G, groups_P)
        low_G, high_G = np.where(slope_G < 0, a_G, low_G), np.where(slope_G < 0, high_G, a_G)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton_G = a_G - slope_G / bend_G
        inside_G = (newton_G > low_G) & (newton_G < high_G)
        before_G, a_G = a_G, np.where(inside_G, newton_G, np.sqrt(low_G * high_G))
        if np.all((np.abs(a_G - before_G) <= PRECISE * a_G) | ~falls_G | ~rises_G):
            break
    settled_G = falls_G & rises_G
    return Fitted(1 / np.where(settled_G, a_G, end_G), settled_G)


def log_likelihoods(logits_PK: Tensor, labels_P: Tensor, temperatures_P: Tensor) -> Tensor:
    """float64 [P]: the natural logarithm of the true class's probability of each pixel."""
    found = torch.empty(len(labels_P), dtype=torch.float64)
    for part in _blocks(logits_PK):
        scaled_PK = logits_PK[part].double() / temperatures_P[part, None]
        found[part] = -torch.nn.functional.cross_entropy(scaled_PK, labels_P[part], reduction="none")
    return found


def _spread(pixels: Pixels, groups_P: NDArray[np.int64], groups: int) -> Floats:
    """Of each group, how far the largest score lies above the mean one on average: the unit of its temperature."""
    above_P = np.empty(len(groups_P))
    for part in _blocks(pixels.logits_PK):
        scores_PK = pixels.logits_PK[part].double()
        above_P[part] = (scores_PK.amax(1) - scores_PK.mean(1)).numpy()
    if not np.isfinite(above_P).all():
        raise ValueError("the scores are not all finite")
    pixels_G = np.bincount(groups_P, minlength=groups)
    spread_G = np.bincount(groups_P, above_P, groups) / np.maximum(pixels_G, 1)
    return np.where(spread_G > 0, spread_G, 1.0)


def _slopes(pixels: Pixels, a_G: Floats, groups_P: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """First and second derivative of the summed NLL of each group by a = 1/T, float64 [G] each."""
    slope_P, bend_P = np.empty(len(groups_P)), np.empty(len(groups_P))
    a_P1 = torch.from_numpy(a_G[groups_P])[:, None]
    for part in _blocks(pixels.logits_PK):
        scores_PK = pixels.logits_PK[part].double()
        scores_PK -= scores_PK.amax(1, keepdim=True)
        probabilities_PK = (scores_PK * a_P1[part]).softmax(1)
        mean_P = (probabilities_PK * scores_PK).sum(1)
        true_P = scores_PK.gather(1, pixels.labels_P[part, None])[:, 0]
        slope_P[part] = (mean_P - true_P).numpy()
        scores_PK -= mean_P[:, None]
        bend_P[part] = (probabilities_PK * scores_PK.square_()).sum(1).numpy()
    weights_P = pixels.weights_P.numpy()
    slope_G = np.asarray(np.bincount(groups_P, weights_P * slope_P, len(a_G)), np.float64)
    bend_G = np.asarray(np.bincount(groups_P, weights_P * bend_P, len(a_G)), np.float64)
    return slope_G, bend_G


def _blocks(scores_PK: Tensor) -> Iterator[slice]:
    rows = max(1, BLOCK // max(1, scores_PK.shape[1]))
    return (slice(start, start + rows) for start in range(0, len(scores_PK), rows))


def confidences(logits_PK: Tensor, temperatures_P: Tensor) -> Floats:
    """float64 [P]: the largest probability of each pixel after its scores were divided."""
    found = torch.empty(len(logits_PK), dtype=torch.float64)
    for part in _blocks(logits_PK):
        found[part] = (logits_PK[part].double() / temperatures_P[part, None]).softmax(1).amax(1)
    return np.asarray(found.numpy(), np.float64)
