"""Seed noise: how far a score moves when nothing but the random numbers of the training differ.

Scores of repeated trainings are taken as draws from a normal distribution, so means and differences have Student's
intervals. The intervals of `metrics.intervals` answer another question: what other pictures would say of one trained
model.

Source: Student 1908; Welch 1947 for two settings with deviations of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
TINY = 1e-300
MAX_TERMS = 500


@dataclass(frozen=True)
class Spread:
    """Scores of one setting over its seeds.

    mean: in the unit of the scores. deviation: standard deviation with n - 1 below; NaN for one score. low, high:
    Student's interval of the mean; NaN for one score.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def count(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Noise:
    """What one training's score is worth: the standard deviation over seeds, and how many degrees of freedom it has."""

    deviation: float
    freedom: int

    def least(self, level: float = LEVEL) -> float:
        """The smallest difference between two single trainings that is more than seed noise at this level."""
        return student_quantile((1 + level) / 2, self.freedom) * self.deviation * math.sqrt(2)


@dataclass(frozen=True)
class SeedDifference:
    """The difference between the means of two settings with its interval over seeds.

    assumed: one of them was trained once only, so the noise of the settings that were repeated stands for its own.
    """

    value: float
    low: float
    high: float
    assumed: bool
    level: float = LEVEL

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `within seed noise`."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "within seed noise"


def spread(values: Sequence[float], *, level: float = LEVEL) -> Spread:
    """Mean, standard deviation and Student's interval of the scores of one setting. Raises ValueError for no score."""
    if len(values) == 0:
        raise ValueError("no score to take the mean of")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(tuple(values), mean, math.nan, math.nan, math.nan, level)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    reach = student_quantile((1 + level) / 2, len(values) - 1) * deviation / math.sqrt(len(values))
    return Spread(tuple(values), mean, deviation, mean - reach, mean + reach, level)


def pooled_noise(settings: Sequence[Spread]) -> Noise | None:
    """One standard deviation for all settings that were repeated, weighted by their degrees of freedom; None without any."""
    repeated = [one for one in settings if one.count > 1]
    freedom = sum(one.count - 1 for one in repeated)
    if not freedom:
        return None
    squares = math.fsum(one.deviation**2 * (one.count - 1) for one in repeated)
    return Noise(math.sqrt(squares / freedom), freedom)


def seed_difference(one: Spread, other: Spread, noise: Noise | None, *, level: float = LEVEL) -> SeedDifference | None:
    """Mean of the first minus that of the other: Welch's interval where both were repeated, else that of the noise of
    the settings that were; None where nothing was repeated."""
    value = one.mean - other.mean
    if one.count > 1 and other.count > 1:
        parts = [s.deviation**2 / s.count for s in (one, other)]
        below = math.fsum(p**2 / (s.count - 1) for p, s in zip(parts, (one, other), strict=True))
        freedom = math.fsum(parts) ** 2 / below if below else float(one.count + other.count - 2)
        reach = student_quantile((1 + level) / 2, freedom) * math.sqrt(math.fsum(parts))
        return SeedDifference(value, value - reach, value + reach, False, level)
    if noise is None:
        return None
    error = noise.deviation * math.sqrt(1 / one.count + 1 / other.count)
    reach = student_quantile((1 + level) / 2, noise.freedom) * error
    return SeedDifference(value, value - reach, value + reach, True, level)


def student_quantile(share: float, freedom: float) -> float:
    """The value that Student's t with so many degrees of freedom stays below in `share` of the draws.

    share: inside 0..1. freedom: above 0, not only whole numbers. Raises ValueError for others.
    """
    if not 0 < share < 1 or not freedom > 0:
        raise ValueError(f"share is {share} (inside 0..1), freedom {freedom} (above 0)")
    if share < 0.5:
        return -student_quantile(1 - share, freedom)
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < share:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if student_cdf(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def student_cdf(value: float, freedom: float) -> float:
    """Share of draws of Student's t below `value`."""
    tail = 0.5 * incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value))
    return 1 - tail if value > 0 else tail


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (modified Lentz)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _away_from_zero(1 + step * d)
            c = _away_from_zero(1 + step / c)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction


def _away_from_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
