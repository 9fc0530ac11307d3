"""Scores of parts of the data: cities or sequences, dark and bright pictures, bands of image rows, sizes of regions.

A slice is compared with the rest of the same data over the classes that are about as frequent in both, so that a slice
is not called hard only because it has other classes, or less of them.

Letters: N pictures, K classes, R resamples (row 0 is the set itself), U units that are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwright.evaluation.result import Evaluation
from segwright.metrics.intervals import MIN_GROUPS, Draws, Interval
from segwright.metrics.scores import Floats, ratio
from segwright.metrics.sizes import LIMITS, SIZES
from segwright.metrics.slices import ROW_BANDS, thirds

MIN_PICTURES = 10
"""A slice of fewer pictures has no interval."""
SIMILAR = 4
"""IoU of a class depends on how frequent it is: only classes less than this factor apart in frequency are compared."""
MOST_GROUPS = 12
"""Cities or sequences beyond these, the largest, are not told apart."""
LEVEL = 0.95
KINDS: Mapping[str, str] = {
    "group": "City or sequence",
    "brightness": "Brightness",
    "contrast": "Contrast",
    "rows": "Image rows",
    "size": "Size of the true region",
}

Marginals = NDArray[np.int64]
"""[N, 3, K]: hits, true and predicted pixels."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One part of the data.

    kind: a key of KINDS. title: in words. pictures: with pixels in it. pixels: labelled ones. measure: what `value` is,
    mIoU over the classes with true pixels in the slice, or recall (their mean) for sizes of regions, where IoU does not
    exist. difference: to the rest of the data, mean over `classes` classes with true pixels in both (and for mIoU about
    as frequent, see SIMILAR); its interval is widened for the number of slices (Bonferroni). None for too few pictures,
    and without such a class.
    """

    kind: str
    title: str
    pictures: int
    pixels: int
    measure: str
    value: Interval
    difference: Interval | None
    classes: int

    @property
    def verdict(self) -> str:
        """`better` or `worse` than the rest, `cannot tell`, `too few pictures`, or `other classes`."""
        if self.difference is not None:
            return self.difference.verdict
        return "other classes" if self.classes == 0 else "too few pictures"


@dataclass(frozen=True, kw_only=True)
class _Part:
    kind: str
    title: str
    inside: Marginals
    outside: Marginals
    grouped: bool = True
    measure: str = "mIoU"


def slices(evaluation: Evaluation) -> tuple[Slice, ...]:
    """Every slice that the evaluation can tell apart, by kind; () for counts of a single picture without measures.

    Cities or sequences need no measure; brightness, contrast and rows need `slices`, sizes of regions `sizes`.
    """
    parts = [*_groups(evaluation), *_light(evaluation), *_rows(evaluation), *_sizes(evaluation)]
    return tuple(_slice(part, evaluation.groups, 1 - (1 - LEVEL) / max(1, len(parts))) for part in parts)


def clear(found: Sequence[Slice]) -> tuple[Slice, ...]:
    """The slices that differ clearly from the rest, the worst first."""
    told = [one for one in found if one.verdict in ("better", "worse")]
    return tuple(sorted(told, key=lambda one: one.difference.value if one.difference else 0.0))


def _marginals(counts_NKK: NDArray[np.int64]) -> Marginals:
    return np.stack([np.einsum("nkk->nk", counts_NKK), counts_NKK.sum(2), counts_NKK.sum(1)], axis=1)


def _by_picture(kind: str, evaluation: Evaluation, chosen: Mapping[str, NDArray[np.bool_]]) -> list[_Part]:
    whole = _marginals(evaluation.counts_NKK)
    return [
        _Part(
            kind=kind,
            title=title,
            inside=whole * inside_N[:, None, None],
            outside=whole * ~inside_N[:, None, None],
            grouped=kind != "group",  # a group drawn as a whole has one score, and no interval
        )
        for title, inside_N in chosen.items()
    ]


def _groups(evaluation: Evaluation) -> list[_Part]:
    groups = np.array(evaluation.groups)
    common = [name for name, _ in Counter(evaluation.groups).most_common(MOST_GROUPS)]
    if not MIN_GROUPS <= len(set(evaluation.groups)) < len(groups):
        return []
    return _by_picture("group", evaluation, {name: groups == name for name in sorted(common)})


def _light(evaluation: Evaluation) -> list[_Part]:
    light_N2 = evaluation.arrays.get("slices.light")
    if light_N2 is None or len(light_N2) < 3 * MIN_PICTURES:
        return []
    parts = []
    for kind, values_N, words in (
        ("brightness", light_N2[:, 0], ("dark", "middling", "bright")),
        ("contrast", light_N2[:, 1], ("flat", "middling", "rich in contrast")),
    ):
        low, high = thirds(values_N).tolist()
        ends = (f"mean luma up to {low:.2f}", f"up to {high:.2f}", "above")
        if kind == "contrast":
            ends = (f"deviation of luma up to {low:.2f}", f"up to {high:.2f}", "above")
        third_N = (values_N > low).astype(int) + (values_N > high)
        chosen = {f"{word} third ({end})": third_N == i for i, (word, end) in enumerate(zip(words, ends, strict=True))}
        parts += _by_picture(kind, evaluation, {title: inside for title, inside in chosen.items() if inside.any()})
    return parts


def _rows(evaluation: Evaluation) -> list[_Part]:
    rows_NB3K = evaluation.arrays.get("slices.rows")
    if rows_NB3K is None:
        return []
    whole, step = rows_NB3K.sum(1), 100 // ROW_BANDS
    return [
        _Part(
            kind="rows",
            title=f"{band * step}–{(band + 1) * step} % from the top",
            inside=rows_NB3K[:, band],
            outside=whole - rows_NB3K[:, band],
        )
        for band in range(ROW_BANDS)
        if rows_NB3K[:, band].any()
    ]


def _sizes(evaluation: Evaluation) -> list[_Part]:
    """Recall by size of region. Predicted pixels are set to the hits, which turns IoU into recall."""
    pixels_NKS, found_NKS = (evaluation.arrays.get(f"sizes.{name}") for name in ("pixels", "found"))
    if pixels_NKS is None or found_NKS is None:
        return []
    rows_NS3K = np.stack([found_NKS, pixels_NKS, found_NKS], axis=1).transpose(0, 3, 1, 2)
    whole = rows_NS3K.sum(1)
    small, large = (f"{100 * limit:.2g} %" for limit in LIMITS)
    ends = (f"up to {small} of the picture", f"{small} to {large}", f"more than {large}")
    return [
        _Part(
            kind="size",
            title=f"{name} ({end})",
            inside=rows_NS3K[:, i],
            outside=whole - rows_NS3K[:, i],
            measure="recall",
        )
        for i, (name, end) in enumerate(zip(SIZES, ends, strict=True))
        if rows_NS3K[:, i].any()
    ]


def _slice(part: _Part, groups: Sequence[str], level: float) -> Slice:
    """The slice's score, and its difference to the rest in the same resamples: paired where both come from a picture."""
    inside_N, outside_N = (np.asarray(rows[:, 1].sum(1) > 0) for rows in (part.inside, part.outside))
    pictures = int(inside_N.sum())
    apart = [
        len({g for g, used in zip(groups, used_N.tolist(), strict=True) if used}) for used_N in (inside_N, outside_N)
    ]
    grouped = part.grouped and min(apart) >= MIN_GROUPS
    draws = Draws(len(groups), groups if grouped else None)
    inside_RK, here_K = _ratios(draws, part.inside)
    outside_RK, there_K = _ratios(draws, part.outside)
    both_K = here_K & there_K
    if part.measure == "mIoU":
        both_K &= _similar(part)
    value = draws.interval(_mean(inside_RK, here_K), level=LEVEL)
    if pictures < MIN_PICTURES:
        value = Interval(value.value, np.nan, np.nan, LEVEL, value.unit, value.units, value.resamples)
    enough = pictures >= MIN_PICTURES and int(outside_N.sum()) >= MIN_PICTURES and both_K.any()
    apart_RK = inside_RK - outside_RK
    return Slice(
        kind=part.kind,
        title=part.title,
        pictures=pictures,
        pixels=int(part.inside[:, 1].sum()),
        measure=part.measure,
        value=value,
        difference=draws.interval(_mean(apart_RK, both_K), level=level) if enough else None,
        classes=int(both_K.sum()),
    )


def _similar(part: _Part) -> NDArray[np.bool_]:
    """bool [K]: classes whose shares of the pixels, inside and outside, are less than a factor SIMILAR apart."""
    inside_K, outside_K = part.inside[:, 1].sum(0).astype(float), part.outside[:, 1].sum(0).astype(float)
    inside_K, outside_K = inside_K * outside_K.sum(), outside_K * inside_K.sum()
    return np.asarray((inside_K < SIMILAR * outside_K) & (outside_K < SIMILAR * inside_K))


def _ratios(draws: Draws, rows: Marginals) -> tuple[Floats, NDArray[np.bool_]]:
    """IoU (recall, where predicted are the hits) [R, K], and bool [K]: classes with true pixels in the set."""
    totals_R3K = draws.totals(rows)
    hits_RK, truth_RK, predicted_RK = (totals_R3K[:, i] for i in range(3))
    return ratio(hits_RK, truth_RK + predicted_RK - hits_RK), truth_RK[0] > 0


def _mean(values_RK: Floats, chosen_K: NDArray[np.bool_]) -> Floats:
    """Mean over the chosen classes that are defined in a resample; NaN where none is."""
    defined_RK = ~np.isnan(values_RK) & chosen_K
    return ratio(np.where(defined_RK, values_RK, 0.0).sum(1), defined_RK.sum(1))
