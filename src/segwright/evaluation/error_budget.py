"""Where the lost points went: what mIoU would be if one kind of error were right, and the way from there to the top.

The idea of oracle gains by kind of error is TIDE's (Bolya et al., ECCV 2020), made for detection. Here they are exact:
every wrong pixel is in one cell (`metrics.errors`), correcting a set of cells changes hits and predicted pixels of each
class by known numbers, and the score is computed again under the evaluation's protocol.

Letters: N pictures, E cells, K classes, R resamples (row 0 is the set itself).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segwright.evaluation.label_errors import LabelRegion
from segwright.evaluation.result import Evaluation
from segwright.metrics.errors import BORDER_PX, SMALL, Cell, cells_where
from segwright.metrics.intervals import Draws, Interval
from segwright.metrics.scores import Floats, ratio
from segwright.metrics.sizes import MISSED

PAIRS = 8
CLASSES = 30
"""So many confused pairs and whole classes at most are judged, those with the highest gains."""

Marginals = NDArray[np.int64]
"""[..., 2, K]: wrong pixels by true class, and by called class."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What correcting one part of the errors, and nothing else, would add.

    key: border-1, border-3, border-5, small, missed, invented, renamed, doubted; class names (one or two) for classes and
    pairs.
    pixels: the wrong pixels of the part. share: of all wrong pixels, 0..1. gain: in mIoU, 0..1, with its interval.
    """

    key: str
    title: str
    meaning: str
    pixels: int
    share: float
    gain: Interval
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the waterfall: mIoU before and after it, 0..1, and the wrong pixels that it corrects."""

    key: str
    title: str
    start: float
    end: float
    pixels: int

    @property
    def gain(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """Oracle gains of each part, which overlap and do not add up, and the waterfall, which does.

    miou: now; ceiling: with every pixel right, 0..1. It is below 1 where the protocol counts classes without true
    pixels as 0. wrong: all wrong pixels. parts, pairs, classes: see `Gain`; pairs and classes by falling gain.
    steps: in a fixed order, each corrects what those before it left; the first starts at miou, the last ends at ceiling.
    """

    miou: float
    ceiling: float
    wrong: int
    parts: tuple[Gain, ...]
    pairs: tuple[Gain, ...]
    classes: tuple[Gain, ...]
    steps: tuple[Step, ...]

    @property
    def conditions(self) -> str:
        """How the intervals were made, in words."""
        return self.parts[0].gain.conditions

    def part(self, key: str) -> Gain:
        return next(part for part in self.parts if part.key == key)


Chosen = Callable[[Cell], bool]

_PARTS: tuple[tuple[str, str, str, Chosen], ...] = (
    *(
        (
            f"border-{limit}",
            f"Border, up to {limit} px",
            "border ambiguity: a second annotator would differ here, too"
            if number == 0
            else "wrong near a true border",
            lambda cell, band=number: cell.band <= band,
        )
        for number, limit in enumerate(BORDER_PX)
    ),
    ("small", "Small regions", f"true regions up to 1/{round(1 / SMALL)} of their picture", lambda cell: cell.small),
    (
        "missed",
        "Missed regions",
        f"true regions of which less than {100 * MISSED:g} % was found",
        lambda cell: cell.missed,
    ),
    ("invented", "Invented regions", "predicted where nothing of the class is", lambda cell: cell.invented),
    (
        "renamed",
        "Taken for another",
        "a region that is missed, called by a region that is invented: a thing taken for another",
        lambda cell: cell.missed and cell.invented,
    ),
)
_STEPS: tuple[tuple[str, str, Chosen], ...] = (
    *(
        (f"border-{limit}", f"border ≤ {limit} px", lambda cell, band=number: cell.band <= band)
        for number, limit in enumerate(BORDER_PX)
    ),
    ("missed", "missed regions", lambda cell: cell.missed),
    ("invented", "invented regions", lambda cell: cell.invented),
    ("small", "other small regions", lambda cell: cell.small),
    ("rest", "inside of the rest", lambda cell: True),
)


def error_budget(evaluation: Evaluation, doubted: Sequence[LabelRegion] = ()) -> ErrorBudget | None:
    """The budget of an evaluation that holds the measure `errors`.

    doubted: regions of the same pictures whose label a search doubts. They become the part `doubted`: the gain if the
    labels were wrong there and the model right, an upper limit of what label noise costs.
    None where it does not, where no pixel is wrong, and under protocols whose mean is no function of the classes'
    counts (or leaves out classes of the label space). Gains carry 95 % bootstrap intervals over groups or pictures.
    """
    wrong_NE2K = evaluation.arrays.get("errors.wrong")
    rule = evaluation.rule
    if wrong_NE2K is None or not wrong_NE2K.any() or not rule.counted or rule.void or evaluation.missed_NK is not None:
        return None
    return _Budget(evaluation, wrong_NE2K).whole(doubted)


@dataclass
class _Budget:
    evaluation: Evaluation
    wrong_NE2K: Marginals
    draws: Draws = field(init=False)

    def __post_init__(self) -> None:
        counts_NKK = self.evaluation.counts_NKK
        self.draws = Draws(len(counts_NKK), self.evaluation.groups)
        rows_N3K = np.stack([np.einsum("nkk->nk", counts_NKK), counts_NKK.sum(2), counts_NKK.sum(1)], axis=1)
        self.now_R3K = self.draws.totals(rows_N3K)
        self.miou_R = self._miou(self.now_R3K)
        self.wrong = int(self.wrong_NE2K[:, :, 0].sum())

    def whole(self, doubted: Sequence[LabelRegion]) -> ErrorBudget:
        steps = self._steps()
        noise = [self._doubted(doubted)] if doubted else []
        return ErrorBudget(
            miou=float(self.miou_R[0]),
            ceiling=steps[-1].end,
            wrong=self.wrong,
            parts=(
                *(
                    self._gain(key, title, meaning, self.wrong_NE2K[:, cells_where(chosen)].sum(1))
                    for key, title, meaning, chosen in _PARTS
                ),
                *noise,
            ),
            pairs=self._pairs(),
            classes=self._classes(),
            steps=steps,
        )

    def _miou(self, totals_R3K: Floats) -> Floats:
        """mIoU under the protocol of hits, true and predicted pixels [R, 3, K]."""
        hits_RK, truth_RK, predicted_RK = (totals_R3K[:, i] for i in range(3))
        iou_RK = ratio(hits_RK, truth_RK + predicted_RK - hits_RK)
        counted_RK = self.evaluation.rule.counting(iou_RK, truth_RK)
        defined_RK = ~np.isnan(counted_RK)
        return ratio(np.where(defined_RK, counted_RK, 0.0).sum(1), defined_RK.sum(1))

    def _corrected(self, totals_R3K: Floats, wrong_R2K: Floats) -> Floats:
        """mIoU with these pixels right: the missed become hits, the false leave what they were called."""
        missed_RK, false_RK = wrong_R2K[:, 0], wrong_R2K[:, 1]
        change_R3K = np.stack([missed_RK, np.zeros_like(missed_RK), missed_RK - false_RK], axis=1)
        return self._miou(totals_R3K + change_R3K)

    def _gain(self, key: str, title: str, meaning: str, wrong_N2K: Marginals, classes: tuple[int, ...] = ()) -> Gain:
        after_R = self._corrected(self.now_R3K, self.draws.totals(wrong_N2K))
        pixels = int(wrong_N2K[:, 0].sum())
        return Gain(
            key=key,
            title=title,
            meaning=meaning,
            pixels=pixels,
            share=pixels / self.wrong,
            gain=self.draws.interval(after_R - self.miou_R),
            classes=classes,
        )

    def _doubted(self, regions: Sequence[LabelRegion]) -> Gain:
        """Relabelling regions: their pixels become hits of the answer and leave the class of their label."""
        index = {name: place for place, name in enumerate(self.evaluation.names)}
        change_N3K = np.zeros((len(index), 3, self.wrong_NE2K.shape[3]), np.int64)
        for region in regions:
            row_3K = change_N3K[index[region.picture]]
            row_3K[:2, region.predicted] += region.pixels
            row_3K[1, region.truth] -= region.pixels
        pixels = sum(region.pixels for region in regions)
        return Gain(
            key="doubted",
            title="Doubted labels",
            meaning=f"the {len(regions)} regions of `segwright data errors`, if the label were wrong there and the model right",
            pixels=pixels,
            share=pixels / self.wrong,
            gain=self.draws.interval(self._miou(self.now_R3K + self.draws.totals(change_N3K)) - self.miou_R),
        )

    def _steps(self) -> tuple[Step, ...]:
        """The waterfall. Each step's cells are those that no step before it took."""
        steps, taken = [], np.zeros(self.wrong_NE2K.shape[1], bool)
        set_E2K, before, start = self.wrong_NE2K.sum(0), 0, float(self.miou_R[0])
        for key, title, chosen in _STEPS:
            taken |= cells_where(chosen)
            wrong_2K = set_E2K[taken].sum(0)
            end = float(self._corrected(self.now_R3K[:1], wrong_2K[None].astype(np.float64))[0])
            pixels = int(wrong_2K[0].sum())
            steps.append(Step(key=key, title=title, start=start, end=end, pixels=pixels - before))
            start, before = end, pixels
        return tuple(steps)

    def _pairs(self) -> tuple[Gain, ...]:
        names, counts_KK = self.evaluation.space.class_names, self.evaluation.counts_KK
        found = np.argwhere(np.triu(counts_KK + counts_KK.T, 1)).tolist()
        return self._best(
            [(a, b) for a, b in found],
            _of_pair,
            PAIRS,
            lambda pair: (" ↔ ".join(names[k] for k in pair), "pixels of either class that were called the other"),
        )

    def _classes(self) -> tuple[Gain, ...]:
        names, counts_KK = self.evaluation.space.class_names, self.evaluation.counts_KK
        wrong_K = counts_KK.sum(0) + counts_KK.sum(1) - 2 * counts_KK.diagonal()
        return self._best(
            [(k,) for k in np.flatnonzero(wrong_K).tolist()],
            _of_class,
            CLASSES,
            lambda one: (names[one[0]], "its missed pixels and those that were called it by mistake"),
        )

    def _best(
        self,
        candidates: list[tuple[int, ...]],
        marginals: Callable[[NDArray[np.int64], tuple[int, ...]], Marginals],
        most: int,
        words: Callable[[tuple[int, ...]], tuple[str, str]],
    ) -> tuple[Gain, ...]:
        """The `most` candidates of highest gain, the highest first."""
        counts_NKK, counts_1KK = self.evaluation.counts_NKK, self.evaluation.counts_KK[None]

        def gain(one: tuple[int, ...]) -> float:
            return float(self._corrected(self.now_R3K[:1], marginals(counts_1KK, one).astype(np.float64))[0])

        names = self.evaluation.space.class_names
        ranked = sorted(candidates, key=gain, reverse=True)[:most]
        return tuple(
            self._gain(" ".join(names[k] for k in one), *words(one), marginals(counts_NKK, one), one) for one in ranked
        )


def _of_pair(counts_NKK: NDArray[np.int64], pair: tuple[int, ...]) -> Marginals:
    """[N, 2, K]: the errors between two classes, both ways."""
    a, b = pair
    wrong = np.zeros((len(counts_NKK), 2, counts_NKK.shape[1]), np.int64)
    wrong[:, 0, a] = wrong[:, 1, b] = counts_NKK[:, a, b]
    wrong[:, 0, b] = wrong[:, 1, a] = counts_NKK[:, b, a]
    return wrong


def _of_class(counts_NKK: NDArray[np.int64], one: tuple[int, ...]) -> Marginals:
    """[N, 2, K]: the errors in which one class is the truth or the prediction."""
    k = one[0]
    missed_NK, false_NK = counts_NKK[:, k].copy(), counts_NKK[:, :, k].copy()
    missed_NK[:, k] = false_NK[:, k] = 0
    wrong = np.stack([false_NK, missed_NK], axis=1)  # what was called k is missed elsewhere, and the other way round
    wrong[:, 0, k], wrong[:, 1, k] = missed_NK.sum(1), false_NK.sum(1)
    return wrong
