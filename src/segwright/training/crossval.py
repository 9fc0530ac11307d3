"""Training the folds of a cross-validation: one after the other, or several at once in processes of their own.

A fold that was trained to its end is kept; one that was stopped goes on in its run folder, to the last bit.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.markup import escape

from segwright.contracts import SegwrightError
from segwright.recipe import LoadedRecipe
from segwright.training.folds import Crossvalidation, Round, finished
from segwright.training.interrupt import Interrupted, StopRequest, stop_requests
from segwright.training.prepare import resume, start
from segwright.training.trainer import Trainer

POLL_S = 0.1
TAIL = 12  # lines of a fold's log in the message when it fails


def train_round(crossval: Crossvalidation, own: Round, console: Console) -> None:
    """Train every fold of a round that is not trained yet.

    Raises Interrupted when a signal asks to stop, with everything saved, and SegwrightError when a fold fails.
    """
    own.path.mkdir(exist_ok=True)
    waiting = [number for number in crossval.numbers if not finished(own.fold(number))]
    if crossval.settings.processes == 1 or len(waiting) < 2:
        for number in waiting:
            console.print(f"\n[bold]{escape(_title(crossval, own, number))}[/]", highlight=False)
            try:
                train_fold(crossval, own, number, console)
            except Interrupted as stopped:
                raise _stopped(crossval, stopped.exit_code - 128) from None
        return
    with stop_requests(lambda text: console.print(text, highlight=False)) as request:
        _Processes(crossval, own, console, request).run(waiting)


def train_fold(crossval: Crossvalidation, own: Round, number: int, console: Console) -> None:
    """Train one fold to its end, from where it stands. Raises SegwrightError where it has no score."""
    trainer = _trainer(crossval, own, number, console)
    trainer.fit()
    counters, run = trainer.learner.counters, trainer.run
    if counters.best_miou is None or not math.isfinite(counters.best_miou):
        raise SegwrightError(
            f"fold {number}: no validation gave a finite mIoU. Has it labelled pixels? --by stratified spreads rare classes."
        )
    seconds = math.fsum(row.get("seconds") or 0 for row in run.metrics() if row["kind"] in ("train", "val"))
    run.write_json(
        "fold.json", {"miou": counters.best_miou, "epoch": counters.best_epoch, "seconds": round(seconds, 1)}
    )


def _trainer(crossval: Crossvalidation, own: Round, number: int, console: Console) -> Trainer:
    run = own.fold(number)
    if run.last.is_file():
        return resume(run, console=console)
    if run.path.exists():
        shutil.rmtree(run.path)  # it was stopped before its first checkpoint
    recipe = own.fold_recipe(number, crossval.folds_file)
    held = f"fold {number} of {crossval.settings.folds}"
    loaded = LoadedRecipe(recipe, {"data.train": held, "data.val": held, "data.split_file": held})
    return start(loaded, runs=own.path, name=run.name, console=console)


def _title(crossval: Crossvalidation, own: Round, number: int) -> str:
    stage = "" if own.name is None else f"stage {own.number} of {len(crossval.rounds)}, {own.name}: "
    return f"{stage}fold {number} of {crossval.settings.folds}"


def _stopped(crossval: Crossvalidation, number: int) -> Interrupted:
    return Interrupted(
        f"stopped; everything is saved. Continue with:\n  segwright crossval --resume {crossval.path}", number
    )


@dataclass
class _Child:
    """A fold in a process of its own, which stops when its input is closed. log: what it prints."""

    number: int
    process: subprocess.Popen[bytes]
    log: Path
    output: IO[bytes]


class _Processes:
    """Up to `settings.processes` folds at the same time."""

    def __init__(self, crossval: Crossvalidation, own: Round, console: Console, request: StopRequest) -> None:
        self.crossval, self.own, self.console, self.request = crossval, own, console, request
        self.running: list[_Child] = []

    def run(self, waiting: list[int]) -> None:
        """Train these folds. Whatever ends it, no process stays behind."""
        left = list(waiting)
        try:
            while left or self.running:
                while left and self._may_begin():
                    self.running.append(self._begin(left.pop(0)))
                time.sleep(POLL_S)
                if self.request.number is not None:
                    raise _stopped(self.crossval, self.request.number)
                for child in [c for c in self.running if c.process.poll() is not None]:
                    self._ended(child)
        finally:
            self._stop_all()

    def _may_begin(self) -> bool:
        """The first fold measures the numerical mode for all of them, so the others wait until it has."""
        if len(self.running) >= self.crossval.settings.processes:
            return False
        return not self.running or self.own.fold(1).recipe_file.is_file()

    def _begin(self, number: int) -> _Child:
        log = self.own.path / f"fold{number}.log"
        threads = max(1, (os.cpu_count() or 1) // self.crossval.settings.processes)
        words = ["-m", "segwright.training.fold_process", self.crossval.path, self.own.number, number]
        output = log.open("ab")
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in order
        )
        self._say(f"{_title(self.crossval, self.own, number)}: begun, its output is in {log}")
        return _Child(number, process, log, output)

    def _ended(self, child: _Child) -> None:
        self.running.remove(child)
        _close(child)
        found = finished(self.own.fold(child.number))
        if child.process.returncode == 0 and found:
            self._say(
                f"{_title(self.crossval, self.own, child.number)}: mIoU {found['miou']:.4f} in epoch {found['epoch']}"
            )
            return
        lines = child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        raise SegwrightError(
            f"fold {child.number} ended with exit code {child.process.returncode}. The last lines of {child.log}:\n  "
            + "\n  ".join(lines)
            + f"\nThe other folds are saved. Go on with: segwright crossval --resume {self.crossval.path}"
        )

    def _stop_all(self) -> None:
        for child in self.running:
            child.process.terminate()
        for child in self.running:
            child.process.wait()
            _close(child)
        self.running = []

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _close(child: _Child) -> None:
    child.output.close()
    if child.process.stdin is not None:
        child.process.stdin.close()
