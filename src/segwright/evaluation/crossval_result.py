"""What a cross-validation came to: every round's folds and candidates, the winner, and how far each number can be trusted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.evaluation.candidates import Candidate, Fold, RoundResult
from segwright.evaluation.result import Evaluation
from segwright.metrics.intervals import Interval, miou_interval
from segwright.training.folds import WINNER, Crossvalidation

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class CrossvalResult:
    """A finished cross-validation. test: of the winner, on a split that nothing was chosen on; None without one."""

    crossval: Crossvalidation
    rounds: tuple[RoundResult, ...]
    test: Evaluation | None

    @property
    def path(self) -> Path:
        return self.crossval.path

    @property
    def winner(self) -> Candidate:
        """That of the last round."""
        return self.rounds[-1].winner

    @property
    def winner_file(self) -> Path:
        return self.path / WINNER

    @property
    def report(self) -> Path:
        return self.crossval.page

    @property
    def miou(self) -> float:
        """Of the winner on the common split, 0..1, which chose it; `test` has an untouched one."""
        return self.winner.miou

    @cached_property
    def test_interval(self) -> Interval | None:
        found = self.test
        return None if found is None else miou_interval(found.counts_NKK, found.groups, protocol=found.protocol)

    @property
    def caveats(self) -> list[str]:
        """What nobody may overlook about the numbers."""
        settings = self.crossval.settings
        told = [
            f"mIoU on {settings.common} chose the winner, so it is a little too good for it: selected on {settings.common}.",
            "A mean of folds is made of models that have, together, trained on every fold's held-out pictures: the folds "
            "do not estimate its score.",
            "The score of a fold is that of its best epoch, chosen on the same held-out pictures: selected on them.",
        ]
        if self.crossval.settings.per_stage and len(self.rounds) > 1:
            told.append(
                "From the second stage on, folds start from a model that may have trained on their held-out pictures, so "
                "their scores there are too good; the common split stays unseen by training."
            )
        if self.test is None:
            told.append(
                "No number here is an untouched estimate. Name a split that nothing is chosen on: --test SPLIT."
            )
        else:
            told.append(f"Split {self.test.split} chose nothing: the winner's score there is the untouched estimate.")
        return told

    def table(self) -> Table:
        """One line a candidate of each round; below it what to beware of."""
        from rich.table import Table

        protocol = self.winner.evaluation.protocol
        table = Table(
            title=f"{self.crossval.name}: candidates on {self.crossval.settings.common} (protocol {protocol})",
            title_justify="left",
            title_style="bold",
            caption="\n".join(f"· {text}" for text in self._captions()),
            caption_justify="left",
            caption_style="dim",
        )
        staged = self.crossval.settings.per_stage
        for heading in (["stage"] if staged else []) + ["candidate", "made of folds"]:
            table.add_column(heading)
        for heading in (f"mIoU % (selected on {self.crossval.settings.common})", "95 % interval", "behind the winner"):
            table.add_column(heading, justify="right")
        for one in self.rounds:
            for candidate in one.candidates:
                won = candidate is one.winner
                cells = [one.round.title] * staged + [candidate.name, ", ".join(map(str, candidate.folds))]
                behind = "winner" if won else _behind(one.difference(candidate))
                table.add_row(*cells, *_cells(candidate.interval), behind, style="bold" if won else None)
            table.add_section()
        return table

    def _captions(self) -> list[str]:
        told = []
        for one in self.rounds:
            mean, deviation = one.spread
            stage = "" if one.round.name is None else f"{one.round.name}: "
            low, high = 100 * one.held_out.low, 100 * one.held_out.high
            told.append(
                f"{stage}folds on their held-out pictures: {100 * mean:.1f} ± {100 * deviation:.1f} % (mean, standard "
                f"deviation of {len(one.folds)}); all pictures together {100 * one.held_out.value:.1f} [{low:.1f}, {high:.1f}]"
            )
        if self.test is not None and self.test_interval is not None:
            value, bounds = _cells(self.test_interval)
            told.append(f"winner on {self.test.split}, untouched: {value} % {bounds}")
        told.append(f"Intervals: {self.winner.interval.conditions}.")
        return [*told, *self.caveats]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without per-picture counts."""
        return {
            "path": str(self.path),
            "settings": asdict(self.crossval.settings),
            "rounds": [
                {
                    "stage": one.round.name,
                    "folds": [_fold(fold) for fold in one.folds],
                    "held_out": _interval(one.held_out),
                    "mean": one.spread[0],
                    "standard_deviation": one.spread[1],
                    "candidates": [
                        {
                            "name": candidate.name,
                            "folds": list(candidate.folds),
                            "file": str(candidate.file),
                            "miou": _interval(candidate.interval),
                            "behind_winner": _interval(one.difference(candidate)),
                            "selected_on": self.crossval.settings.common,
                        }
                        for candidate in one.candidates
                    ],
                    "winner": one.winner.name,
                }
                for one in self.rounds
            ],
            "winner": str(self.winner_file),
            "test": None
            if self.test is None or self.test_interval is None
            else {"split": self.test.split, "miou": _interval(self.test_interval)},
            "caveats": self.caveats,
        }


def _fold(fold: Fold) -> dict[str, Any]:
    return {
        "number": fold.number,
        "run": str(fold.run.path),
        "miou": fold.miou,
        "epoch": fold.epoch,
        "seconds": fold.seconds,
        "pictures": len(fold.evaluation.names),
    }


def _interval(interval: Interval) -> dict[str, Any]:
    numbers = {"value": interval.value, "low": interval.low, "high": interval.high}
    finite = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
    return {**finite, "unit": interval.unit, "units": interval.units}


def _cells(interval: Interval) -> tuple[str, str]:
    return f"{100 * interval.value:.1f}", f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _behind(difference: Interval) -> str:
    told = {"better": "surely", "worse": "surely not", "cannot tell": "within the noise"}[difference.verdict]
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.value:.1f} [{low:.1f}, {high:.1f}] {told}"
