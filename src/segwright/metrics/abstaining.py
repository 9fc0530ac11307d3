"""How well confidence sorts right pixels from wrong ones: what is left when the least sure answers are withheld.

Coverage is the share of labelled pixels that get an answer, risk the share of wrong ones among those. A histogram of
confidence stands for the sorted pixels: its edges are exact points of the curve, and what lies between is bounded.

Source: El-Yaniv & Wiener 2010 (risk and coverage); Geifman, Uziel & El-Yaniv 2019 (area under their curve).
Letters: F bins of confidence, from least to most sure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

LOWEST, HIGHEST, STEP = -6.0, 16.0, 0.02
RANKS = round((HIGHEST - LOWEST) / STEP)
"""Bins of confidence p, equally wide in its log-odds ln(p / (1 − p)): 0.02, which is 0.005 at 0.5 and 0.0002 at 0.99.
So the many pixels near 1, where equal bins of p would not tell one from another, are kept apart."""
POINTS = 101


def rank_of(others: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bin of each confidence, 0..RANKS-1. others: (1 − p) / p, 0 or more; 0 is the last bin."""
    with np.errstate(divide="ignore"):
        odds = -np.log(others)
    return np.clip((odds - np.float32(LOWEST)) * np.float32(1 / STEP), 0, RANKS - 1).astype(np.int64)


def confidence_at(rank: int) -> float:
    """The confidence at the lower edge of a bin, 0..1; 0 for the first, which holds everything below its upper edge."""
    return 0.0 if rank <= 0 else float(1 / (1 + np.exp(-(LOWEST + STEP * rank))))


@dataclass(frozen=True)
class Point:
    """Answering only from `threshold` on: coverage and risk, all 0..1."""

    threshold: float
    coverage: float
    risk: float


@dataclass(frozen=True)
class RiskCoverage:
    """Risk by coverage. pixels_F, wrong_F: int64 [F], labelled pixels and wrong ones by bin, the least sure bin first."""

    pixels_F: Counts
    wrong_F: Counts

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Exact points of the curve, one for each bin that has pixels, the highest threshold first; empty without any."""
        total = int(self.pixels_F.sum())
        found, answered, wrong = [], 0, 0
        for rank in np.flatnonzero(self.pixels_F)[::-1].tolist():
            answered += int(self.pixels_F[rank])
            wrong += int(self.wrong_F[rank])
            found.append(Point(confidence_at(rank), answered / total, wrong / answered))
        return tuple(found)

    def thinned(self, most: int = POINTS) -> tuple[Point, ...]:
        """At most about `most` of the points, spread evenly over coverage, both ends among them."""
        steps = {round(point.coverage * (most - 1)): point for point in self.points}  # of each step the last one
        return tuple(dict.fromkeys([*self.points[:1], *steps.values()]))

    def at_risk(self, wished: float) -> Point | None:
        """The point with most answers whose risk is not above `wished` (0..1); None where every point's is."""
        return max((p for p in self.points if p.risk <= wished), key=lambda p: p.coverage, default=None)

    @property
    def area(self) -> float:
        """AURC: the mean over n = 1..N of the risk of the n surest of N pixels, 0..1; NaN without pixels.

        Pixels of one bin are taken in random order (the expected value), which is also how ties are meant.
        """
        return self._mean_risk(_even)

    @property
    def bounds(self) -> tuple[float, float]:
        """Between these lies the area for any order of the pixels inside their bins, also that of the exact sort."""
        return self._mean_risk(_right_first), self._mean_risk(_wrong_first)

    @property
    def best_area(self) -> float:
        """The area with as many wrong pixels, all ranked last: no confidence can do better; NaN without pixels."""
        total, wrong = self.pixels_F.sum()[None], self.wrong_F.sum()[None]
        return RiskCoverage(total, wrong)._mean_risk(_right_first)

    def _mean_risk(self, sum_in_bins: SumInBins) -> float:
        filled = np.flatnonzero(self.pixels_F)[::-1]
        if not filled.size:
            return float("nan")
        n_F, wrong_F = self.pixels_F[filled].astype(np.float64), self.wrong_F[filled].astype(np.float64)
        before_F, errors_F = np.cumsum(n_F) - n_F, np.cumsum(wrong_F) - wrong_F
        return float(sum_in_bins(before_F, errors_F, n_F, wrong_F).sum() / n_F.sum())


SumInBins = Callable[[Floats, Floats, Floats, Floats], Floats]
"""The sum of the risks after each pixel of a bin, from: pixels and errors before it, pixels and errors in it."""


def _even(before: Floats, errors: Floats, n: Floats, wrong: Floats) -> Floats:
    """Errors spread evenly: the sum over i = 1..n of (errors + wrong·i/n) / (before + i)."""
    return wrong + (errors - wrong * before / n) * _harmonic(before, before + n)


def _right_first(before: Floats, errors: Floats, n: Floats, wrong: Floats) -> Floats:
    right = n - wrong
    first = errors * _harmonic(before, before + right)
    return first + wrong - (before - errors + right) * _harmonic(before + right, before + n)


def _wrong_first(before: Floats, errors: Floats, n: Floats, wrong: Floats) -> Floats:
    first = wrong - (before - errors) * _harmonic(before, before + wrong)
    return first + (errors + wrong) * _harmonic(before + wrong, before + n)


def _harmonic(low: Floats, high: Floats) -> Floats:
    """1/(low + 1) + … + 1/high, of whole numbers."""
    return _harmonic_number(high) - _harmonic_number(low)


def _harmonic_number(n: Floats) -> Floats:
    """1 + 1/2 + … + 1/n less Euler's constant: added up to FEW, its asymptotic series above (an error below 1e-11)."""
    large = np.maximum(n, FEW)
    series = np.log(large) + 1 / (2 * large) - 1 / (12 * large**2) + 1 / (120 * large**4)
    return np.where(n < FEW, _FIRST[np.minimum(n, FEW).astype(np.int64)], series)


FEW = 32
_FIRST = np.concatenate([[0.0], np.cumsum(1 / np.arange(1.0, FEW + 1))]) - np.euler_gamma
