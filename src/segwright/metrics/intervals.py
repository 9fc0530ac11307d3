"""Bootstrap intervals of scores: what the number could have been with other pictures of the same kind.

Pictures of one sequence or city resemble each other, so whole groups are drawn where there are several; a set that is
one group can only be resampled picture by picture, which is too narrow, and the interval says so.

Source: Efron & Tibshirani 1993 (percentile interval); groups as in Davison & Hinkley 1997, section 3.8.
Letters: N pictures, G groups, R resamples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.metrics.protocols import Protocol, find_protocol
from segwright.metrics.scores import Floats, ratio

RESAMPLES = 2000
MIN_GROUPS = 2


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval.

    value, low, high: the score (or difference) and the bounds, in the score's unit; NaN where undefined.
    level: share of the resamples inside, 0..1. unit: what was drawn, `groups` or `pictures`. units: how many there are.
    """

    value: float
    low: float
    high: float
    level: float
    unit: str
    units: int
    resamples: int

    @property
    def conditions(self) -> str:
        """What was resampled, in words; says so where the interval is too narrow."""
        text = f"{self.level:.0%} bootstrap interval, {self.resamples} resamples of {self.units} {self.unit}"
        if self.unit == "pictures":
            text += " of one group: pictures of a group resemble each other, so the true interval is wider"
        return text

    @property
    def verdict(self) -> str:
        """For a difference: `better` (above 0), `worse` (below 0) or `cannot tell`."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "cannot tell"

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


class Draws:
    """Which pictures R resamples of one set draw: sums over them of anything that is noted picture by picture.

    groups: one name a picture, or None for none. With MIN_GROUPS groups or more, whole groups are drawn with
    replacement, else pictures. Draws of the same groups with the same seed are the same.
    Raises ValueError for no pictures or a wrong number of groups (a mistake of the caller).
    """

    def __init__(
        self, pictures: int, groups: Sequence[str] | None = None, *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        if pictures == 0 or (groups is not None and len(groups) != pictures):
            raise ValueError(f"{pictures} pictures with {None if groups is None else len(groups)} groups")
        labels = np.unique(list(groups), return_inverse=True)[1] if groups is not None else np.zeros(pictures, int)
        grouped = int(labels.max()) + 1 >= MIN_GROUPS
        self.unit = "groups" if grouped else "pictures"
        self.resamples = resamples
        self._unit_N = labels if grouped else np.arange(pictures)
        self.units = int(self._unit_N.max()) + 1
        self._weights_RU = np.ones((1 + resamples, self.units), np.uint16)  # row 0: the set itself
        rng, even = np.random.default_rng(seed), np.full(self.units, 1 / self.units)
        for rows in _parts(1, len(self._weights_RU)):
            self._weights_RU[rows] = rng.multinomial(self.units, even, rows.stop - rows.start)

    def totals(self, rows_N: NDArray[Any]) -> Floats:
        """[N, ...] -> float64 [1 + R, ...]: row 0 sums the set itself, the others the resamples."""
        sums_U = np.zeros((self.units, *rows_N.shape[1:]))
        np.add.at(sums_U, self._unit_N, rows_N)
        flat_U = sums_U.reshape(self.units, -1)
        totals = [self._weights_RU[rows].astype(np.float64) @ flat_U for rows in _parts(0, len(self._weights_RU))]
        return np.concatenate(totals).reshape(len(self._weights_RU), *sums_U.shape[1:])

    def interval(self, values_R: Floats, *, level: float = 0.95) -> Interval:
        """The interval of a score whose row 0 is the set itself; resamples where it is undefined are left out."""
        drawn = values_R[1:][~np.isnan(values_R[1:])]
        tail = 100 * (1 - level) / 2
        low, high = np.percentile(drawn, [tail, 100 - tail]) if drawn.size else (np.nan, np.nan)
        return Interval(float(values_R[0]), float(low), float(high), level, self.unit, self.units, self.resamples)


class Resampled:
    """Class totals of R resamples of one set of pictures: every score of every resample follows from them.

    counts_NKK: int64 [N, K, K], pixels [truth, predicted] of each picture. groups: one name a picture, or None for
    none. With MIN_GROUPS groups or more, whole groups are drawn with replacement, else pictures.
    missed_NK: int64 [N, K], true pixels that got no class (`Scores.missed_K`); None for none.
    Two sets of counts of the same pictures, resampled with the same seed, are drawn alike: their differences are paired.
    Raises ValueError for no pictures or a wrong number of groups (a mistake of the caller).
    """

    def __init__(
        self,
        counts_NKK: NDArray[np.int64],
        groups: Sequence[str] | None = None,
        *,
        missed_NK: NDArray[np.int64] | None = None,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.draws = Draws(len(counts_NKK), groups, resamples=resamples, seed=seed)
        self.unit, self.units, self.resamples = self.draws.unit, self.draws.units, resamples
        truth_NK = counts_NKK.sum(2) if missed_NK is None else counts_NKK.sum(2) + missed_NK
        totals_N3K = np.stack([np.einsum("nkk->nk", counts_NKK), truth_NK, counts_NKK.sum(1)], axis=1)
        totals = self.draws.totals(totals_N3K)
        self.hits_RK, self.truth_RK, self.predicted_RK = totals[:, 0], totals[:, 1], totals[:, 2]

    @cached_property
    def iou_RK(self) -> Floats:
        """IoU by class; row 0 is the set itself. NaN for a class in neither truth nor prediction of a resample."""
        return ratio(self.hits_RK, self.truth_RK + self.predicted_RK - self.hits_RK)

    def miou_R(self, protocol: str | Protocol = "pooled") -> Floats:
        """mIoU under a protocol; row 0 is the set itself."""
        rule = find_protocol(protocol) if isinstance(protocol, str) else protocol
        iou_RK = rule.counting(self.iou_RK, self.truth_RK)
        return _mean(iou_RK)

    @property
    def accuracy_R(self) -> Floats:
        """Share of labelled pixels that are right; row 0 is the set itself."""
        return ratio(self.hits_RK.sum(1), self.truth_RK.sum(1))

    def interval(self, values_R: Floats, *, level: float = 0.95) -> Interval:
        """The interval of a score whose row 0 is the set itself; resamples where it is undefined are left out."""
        return self.draws.interval(values_R, level=level)


def miou_interval(
    counts_NKK: NDArray[np.int64], groups: Sequence[str] | None = None, *, protocol: str = "pooled", **options: Any
) -> Interval:
    """mIoU with its interval. options: of `Resampled` (resamples, seed, missed_NK)."""
    resampled = Resampled(counts_NKK, groups, **options)
    return resampled.interval(resampled.miou_R(protocol))


def miou_difference(
    counts_NKK: NDArray[np.int64],
    other_NKK: NDArray[np.int64],
    groups: Sequence[str] | None = None,
    *,
    protocol: str = "pooled",
    **options: Any,
) -> Interval:
    """mIoU of the first minus that of the other on the same pictures in the same order, paired."""
    return paired_difference(
        Resampled(counts_NKK, groups, **options),
        Resampled(other_NKK, groups, **options),
        lambda resampled: resampled.miou_R(protocol),
    )


def paired_difference(one: Resampled, other: Resampled, score: Callable[[Resampled], Floats]) -> Interval:
    """The interval of score(one) - score(other), both [R]; they must have been drawn with the same seed and groups."""
    if (one.unit, one.units, one.resamples) != (other.unit, other.units, other.resamples):
        raise ValueError("the two sets were not drawn alike")
    return one.interval(score(one) - score(other))


def class_differences(one: Resampled, other: Resampled) -> list[Interval]:
    """The intervals of the differences in IoU, one a class."""

    def iou_of(k: int) -> Callable[[Resampled], Floats]:
        return lambda resampled: resampled.iou_RK[:, k]

    return [paired_difference(one, other, iou_of(k)) for k in range(one.iou_RK.shape[1])]


def _parts(start: int, stop: int) -> list[slice]:
    """A few resamples at a time: of ten thousand pictures they are 5 MB, all together 160."""
    return [slice(first, min(first + 64, stop)) for first in range(start, stop, 64)]


def _mean(values_RK: Floats) -> Floats:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values_RK)
    return ratio(np.where(defined, values_RK, 0.0).sum(1), defined.sum(1).astype(float))
