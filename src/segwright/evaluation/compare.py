"""Runs compared on the same pictures: better, worse, or cannot tell.

Letters: N pictures, K classes, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segwright.contracts import UserError
from segwright.evaluation.costs import Cost
from segwright.evaluation.repeats import Setting, find_settings
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelSpace
from segwright.metrics.intervals import RESAMPLES, Interval, Resampled, paired_difference
from segwright.metrics.scores import Floats
from segwright.metrics.seeds import Noise, SeedDifference, pooled_noise, seed_difference
from segwright.names import did_you_mean
from segwright.training.changes import differences

if TYPE_CHECKING:
    from rich.console import Group

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One of the runs.

    evaluation: in the common label space, under the common protocol. recipe, data, environment: what the run folder
    holds, {} where it is a bare evaluation. path: of the run or file. cost: None where it was not asked for.
    """

    name: str
    path: Path
    evaluation: Evaluation
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost | None = None


@dataclass(frozen=True, kw_only=True)
class ClassDifference:
    """IoU of one class, that of the run minus that of the reference.

    p: how often resampling alone would give a difference of 0 or of the other sign, both sides; NaN where undefined.
    holds: still beyond chance after Holm's correction for all classes.
    """

    name: str
    interval: Interval
    p: float
    holds: bool

    @property
    def verdict(self) -> str:
        return self.interval.verdict


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A run against the reference, paired: the same resamples of pictures for both."""

    run: str
    miou: Interval
    accuracy: Interval
    classes: tuple[ClassDifference, ...]
    equal: bool
    """The counts of every picture are the same."""

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `cannot tell`, by mIoU."""
        return self.miou.verdict

    def named(self, verdict: str) -> list[str]:
        """The classes with this verdict."""
        return [one.name for one in self.classes if one.verdict == verdict]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two or more runs on the same pictures.

    reference: the name of the run that the others are compared with. notes: what was done to make them comparable.
    page: the HTML page, where one was written.
    """

    entries: tuple[Entry, ...]
    reference: str
    notes: tuple[str, ...] = ()
    resamples: int = RESAMPLES
    page: Path | None = None

    def __post_init__(self) -> None:
        names = [one.name for one in self.entries]
        if len(names) < 2:
            raise UserError("a comparison needs two runs or more, such as: segwright compare runs/A runs/B")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"'{twice[0]}' is given twice; a comparison takes each run once.")
        if self.reference not in names:
            hint = did_you_mean(self.reference, names)
            raise UserError(f"--against {self.reference}: no such run here.{hint} There are: {', '.join(names)}.")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.entries)

    @property
    def against(self) -> Entry:
        """The reference."""
        return self[self.reference]

    @property
    def others(self) -> tuple[Entry, ...]:
        return tuple(one for one in self.entries if one.name != self.reference)

    def __getitem__(self, name: str) -> Entry:
        return next(one for one in self.entries if one.name == name)

    @property
    def space(self) -> LabelSpace:
        """The classes in which all are scored."""
        return self.against.evaluation.space

    @property
    def pictures(self) -> int:
        return len(self.against.evaluation.names)

    @cached_property
    def _resampled(self) -> dict[str, Resampled]:
        groups = self.against.evaluation.groups
        return {
            one.name: Resampled(
                one.evaluation.counts_NKK, groups, missed_NK=one.evaluation.missed_NK, resamples=self.resamples
            )
            for one in self.entries
        }

    @cached_property
    def miou(self) -> dict[str, Interval]:
        """mIoU of each run with its interval."""
        protocol = self.against.evaluation.rule
        return {name: drawn.interval(drawn.miou_R(protocol)) for name, drawn in self._resampled.items()}

    @cached_property
    def class_iou(self) -> dict[str, tuple[Interval, ...]]:
        """IoU of each class with its interval, by run."""
        found: dict[str, tuple[Interval, ...]] = {}
        for name, drawn in self._resampled.items():
            iou_RK = self._iou(drawn)
            found[name] = tuple(drawn.interval(iou_RK[:, k]) for k in range(self.space.num_classes))
        return found

    def _iou(self, drawn: Resampled) -> Floats:
        return self.against.evaluation.rule.counting(drawn.iou_RK, drawn.truth_RK)

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """Every other run minus the reference, by the run's name."""
        return {one.name: self._difference(one) for one in self.others}

    def _difference(self, entry: Entry) -> Difference:
        rule = self.against.evaluation.rule
        one, other = self._resampled[entry.name], self._resampled[self.reference]
        gaps_RK = self._iou(one) - self._iou(other)
        p_K = [chance(gaps_RK[:, k]) for k in range(gaps_RK.shape[1])]
        holds_K = holm(p_K)
        return Difference(
            run=entry.name,
            miou=paired_difference(one, other, lambda drawn: drawn.miou_R(rule)),
            accuracy=paired_difference(one, other, lambda drawn: drawn.accuracy_R),
            classes=tuple(
                ClassDifference(name=name, interval=one.interval(gaps_RK[:, k]), p=p_K[k], holds=holds_K[k])
                for k, name in enumerate(self.space.class_names)
            ),
            equal=bool(np.array_equal(entry.evaluation.counts_NKK, self.against.evaluation.counts_NKK)),
        )

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """The recipes behind the runs; runs that differ in the seed alone share one."""
        return find_settings(
            self.names,
            [one.recipe for one in self.entries],
            [one.data for one in self.entries],
            [one.evaluation.miou for one in self.entries],
        )

    def setting_of(self, run: str) -> Setting:
        return next(one for one in self.settings if run in one.runs)

    @cached_property
    def noise(self) -> Noise | None:
        """What the settings that were repeated say about seed noise; None where none was."""
        return pooled_noise([one.miou for one in self.settings])

    @cached_property
    def seed_differences(self) -> dict[str, SeedDifference]:
        """Every other setting minus that of the reference, by its name; {} where nothing was repeated."""
        base = self.setting_of(self.reference)
        found = {one.name: seed_difference(one.miou, base.miou, self.noise) for one in self.settings if one is not base}
        return {name: one for name, one in found.items() if one is not None}

    def within_noise(self, run: str) -> bool:
        """Whether another seed alone could make the difference between this one training and the reference."""
        return self.noise is not None and abs(self.differences[run].miou.value) <= self.noise.least(LEVEL)

    @property
    def conditions(self) -> str:
        """What was resampled, in words."""
        return self.miou[self.reference].conditions

    @property
    def left_out(self) -> tuple[str, ...]:
        """Classes that count in no run's mean."""
        return tuple(n for n in self.space.class_names if all(n in one.evaluation.left_out for one in self.entries))

    @cached_property
    def recipe_changes(self) -> dict[str, tuple[Any, ...]]:
        """Dotted key -> its value in each run, for the keys that differ; None where a run has no such key."""
        return _side_by_side([one.recipe for one in self.entries])

    @cached_property
    def data_changes(self) -> dict[str, tuple[Any, ...]]:
        """The same of the data fingerprints: what each run trained and validated on."""
        return _side_by_side([one.data.get("splits", {}) for one in self.entries])

    @cached_property
    def machine_changes(self) -> dict[str, tuple[Any, ...]]:
        """The same of machines and versions; the date is left out."""
        return _side_by_side([{k: v for k, v in one.environment.items() if k != "date"} for one in self.entries])

    @property
    def headline(self) -> str:
        """The answer in words."""
        from segwright.evaluation.compare_words import headline

        return headline(self)

    @property
    def caveats(self) -> list[str]:
        """What nobody may overlook about these numbers."""
        from segwright.evaluation.compare_words import caveats

        return caveats(self)

    def table(self) -> Group:
        """For terminals: the runs, their classes, the settings, and what to beware of."""
        from segwright.evaluation.compare_table import tables

        return tables(self)

    def markdown(self) -> str:
        """The tables as Markdown."""
        from segwright.evaluation.compare_table import markdown

        return markdown(self)

    def csv(self) -> str:
        """One line a run and class, and one a run for all classes together; shares in 0..1, empty where undefined."""
        from segwright.evaluation.compare_table import csv

        return csv(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the counts of pictures."""
        from segwright.evaluation.compare_table import to_dict

        return to_dict(self)


def chance(gaps_R: Floats) -> float:
    """The share of resamples that speak against a difference's sign, twice, as a p-value of at least 2 / (R + 1).

    gaps_R: row 0 is the set itself. NaN where no resample is defined.
    """
    drawn = gaps_R[1:][~np.isnan(gaps_R[1:])]
    if not drawn.size or math.isnan(gaps_R[0]):
        return math.nan
    against = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (1 + against) / (drawn.size + 1))


def holm(p_values: Sequence[float], *, level: float = LEVEL) -> list[bool]:
    """Which of several differences hold together, by Holm's step-down correction (1979); NaN takes no part."""
    order = sorted((p, k) for k, p in enumerate(p_values) if not math.isnan(p))
    holds = [False] * len(p_values)
    for rank, (p, k) in enumerate(order):
        if p > (1 - level) / (len(order) - rank):
            break
        holds[k] = True
    return holds


def _side_by_side(contents: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    keys: dict[str, None] = {}
    for content in contents[1:]:
        keys |= dict.fromkeys(differences(contents[0], content))
    flat = [{key: new for key, (_, new) in differences({}, content).items()} for content in contents]
    return {key: tuple(one.get(key) for one in flat) for key in keys}
