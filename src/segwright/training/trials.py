"""The trials of a sweep as its storage holds them: what was tried, what came of it, which one is best."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from segwright.recipe.ranges import Range
from segwright.training.progress import duration

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

State = Literal["done", "pruned", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a sweep.

    number: 1 for the first. values: swept key -> value, as in an override. miou: best validation, 0..1, None where there
    was none. epochs: until the last validation. seconds: None while it is stopped. run: its folder, which is missing when
    it failed early. error: why it failed.
    """

    number: int
    state: State
    values: Mapping[str, str]
    miou: float | None = None
    epochs: int = 0
    seconds: float | None = None
    run: Path
    error: str = ""

    @property
    def overrides(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.values.items()]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep so far.

    source, fixed: the recipe and the overrides that all trials share. wanted: how many trials there shall be.
    """

    path: Path
    source: str
    fixed: tuple[str, ...]
    ranges: tuple[Range, ...]
    trials: tuple[Trial, ...]
    wanted: int
    seed: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.path / "sweep.html"

    @property
    def best(self) -> Trial | None:
        """The trial with the highest mIoU that trained to its end; the first one among equals."""
        done = [trial for trial in self.trials if trial.state == "done" and trial.miou is not None]
        return max(done, key=lambda trial: (trial.miou, -trial.number), default=None)

    @property
    def command(self) -> str | None:
        """The command that trains the best trial again."""
        if self.best is None:
            return None
        return shlex.join(["segwright", "train", self.source, *self.fixed, *self.best.overrides])

    def table(self) -> Table:
        """One line a trial, the best first."""
        table = Table("trial", "mIoU", "epochs", "time", "state", *(r.key for r in self.ranges), title=self._title())
        for trial in ranked(self.trials):
            miou = "–" if trial.miou is None else f"{100 * trial.miou:.1f}"
            spent = "–" if trial.seconds is None else duration(trial.seconds)
            state = f"failed: {trial.error.splitlines()[0]}" if trial.error else trial.state
            style = "bold" if trial is self.best else ""
            values = [trial.values.get(r.key, "–") for r in self.ranges]
            table.add_row(str(trial.number), miou, str(trial.epochs), spent, state, *values, style=style)
        return table

    def _title(self) -> str:
        best = "no trial is done" if self.best is None else f"best mIoU {100 * (self.best.miou or 0):.1f} %"
        return f"{self.name}: {len(self.trials)} of {self.wanted} trials, {best}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "path": str(self.path),
            "source": self.source,
            "fixed": list(self.fixed),
            "space": [str(r) for r in self.ranges],
            "seed": self.seed,
            "wanted": self.wanted,
            "best": None if self.best is None else self.best.number,
            "command": self.command,
            "trials": [
                {
                    "number": trial.number,
                    "state": trial.state,
                    "values": dict(trial.values),
                    "miou": trial.miou,
                    "epochs": trial.epochs,
                    "seconds": trial.seconds,
                    "run": str(trial.run),
                    "error": trial.error or None,
                }
                for trial in self.trials
            ],
        }


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Finished ones by mIoU, then pruned, stopped and failed ones."""
    order = {"done": 0, "pruned": 1, "stopped": 2, "failed": 3}
    return sorted(trials, key=lambda t: (order[t.state], math.inf if t.miou is None else -t.miou, t.number))


def read_trials(study: Study, folder: Path) -> list[Trial]:
    """The trials of a study in the order in which they were begun.

    A trial that was stopped goes on as a new one of the study; here both are one.
    """
    from optuna.trial import TrialState

    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "done",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "stopped",
        TrialState.WAITING: "stopped",
    }
    return [
        _trial(number, found, states[found.state], folder)
        for number, found in enumerate(latest_forms(study.get_trials(deepcopy=False)), start=1)
    ]


def latest_forms(found: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Each trial in the form in which it went on last, in the order of their beginnings."""
    by_number = {trial.number: trial for trial in found}
    continued = {trial.user_attrs["continues"]: trial for trial in found if "continues" in trial.user_attrs}

    def last(number: int) -> FrozenTrial:
        return last(continued[number].number) if number in continued else by_number[number]

    return [last(trial.number) for trial in found if "continues" not in trial.user_attrs]


def folder_name(number: int) -> str:
    """Of the run of a trial."""
    return f"trial-{number:03d}"


def _trial(number: int, found: FrozenTrial, state: State, folder: Path) -> Trial:
    scores = {epoch: miou for epoch, miou in found.intermediate_values.items() if math.isfinite(miou)}
    return Trial(
        number=number,
        state=state,
        values=dict(text.split("=", 1) for text in found.user_attrs.get("overrides", [])),
        miou=found.value if state == "done" else max(scores.values(), default=None),
        epochs=max(found.intermediate_values, default=0),
        seconds=None if found.duration is None else found.duration.total_seconds(),
        run=folder / folder_name(number),
        error=found.user_attrs.get("error", ""),
    )
