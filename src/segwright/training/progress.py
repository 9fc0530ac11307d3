"""What a user sees while a model trains: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 30.0


@dataclass
class TrainingProgress:
    """Epoch, loss, learning rate, data wait, pictures per second and time left. `total` counts optimiser steps."""

    console: Console
    total: int
    epochs: int
    step: int = 0
    _bar: Progress | None = None
    _task: TaskID | None = None
    _last_line: float = field(default_factory=time.monotonic)
    _started: float = field(default_factory=time.monotonic)
    _first_step: int = 0

    @contextmanager
    def live(self, start: int) -> Iterator[TrainingProgress]:
        """Show progress until the block ends."""
        self.step = self._first_step = start
        self._started = self._last_line = time.monotonic()
        if not self.console.is_terminal:
            yield self
            return
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(
            *columns, TimeRemainingColumn(), TextColumn("{task.fields[status]}"), console=self.console
        ) as bar:
            self._bar, self._task = bar, bar.add_task("training", total=self.total, completed=start, status="")
            yield self
        self._bar = None

    def update(self, step: int, *, epoch: int, loss: float, rate: float, wait: float, images_per_s: float) -> None:
        """Show the state after optimiser step `step`. wait: share of the epoch's time spent waiting for data, 0..1."""
        self.step = step
        status = f"loss {loss:.3f} · lr {rate:.2e} · data wait {wait:.1%} · {images_per_s:.1f} img/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, description=f"epoch {epoch + 1}/{self.epochs}", status=status)
        elif not self.console.is_terminal and time.monotonic() - self._last_line > PLAIN_INTERVAL_S:
            self._last_line = time.monotonic()
            self.console.print(
                f"epoch {epoch + 1}/{self.epochs} · step {step}/{self.total} · {status} · {self.left()} left"
            )

    def left(self) -> str:
        """Estimated time left, such as 3:05."""
        done = self.step - self._first_step
        if not done:
            return "?"
        seconds = (time.monotonic() - self._started) / done * (self.total - self.step)
        return duration(seconds)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, highlight=False)


def duration(seconds: float) -> str:
    """Seconds as M:SS or H:MM:SS."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Counting:
    """A progress bar for `done of total` callbacks; silent where there is no terminal."""

    def __init__(self, console: Console, what: str) -> None:
        columns = (TextColumn(what), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> Counting:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
