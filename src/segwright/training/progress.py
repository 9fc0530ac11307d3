"""What a user sees while a model trains: a few live lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_INTERVAL_S = 30.0
REFRESHES_PER_S = 4  # of the live lines; a thread of their own draws them, the training loop only leaves numbers
SMOOTHING = 0.95
SLOW_DATA = 0.05  # share of waiting from which on the number is marked
SPARK = "▁▂▃▄▅▆▇█"
SPARKS = 16  # validations in the little curve


@dataclass
class TrainingProgress:
    """Epoch, loss, learning rate, data wait, pictures per second, memory, validations and time left.

    total: optimiser steps. memory_mb: peak memory so far, asked for when it is shown.
    """

    console: Console
    total: int
    epochs: int
    memory_mb: Callable[[], int] | None = None
    step: int = 0
    epoch: int = 0
    rate: float = math.nan
    wait: float = math.nan
    images_per_s: float = math.nan
    mious: list[float] = field(default_factory=list)
    """mIoU of each validation so far, 0..1."""
    best: str = ""
    validating: tuple[int, int] | None = None
    """(done, total) pictures while a validation runs."""
    _loss_sum: float = 0.0
    _loss_weight: float = 0.0
    _last_line: float = field(default_factory=time.monotonic)
    _started: float = field(default_factory=time.monotonic)
    _first_step: int = 0

    @contextmanager
    def live(self, start: int, mious: Sequence[float] = (), *, best: str = "") -> Iterator[TrainingProgress]:
        """Show progress until the block ends. start: steps done before; mious, best: of the validations before."""
        self.step = self._first_step = start
        self.mious, self.best = list(mious), best
        self._started = self._last_line = time.monotonic()
        if not self.console.is_terminal:
            yield self
            return
        with Live(self, console=self.console, refresh_per_second=REFRESHES_PER_S):
            yield self

    def update(self, step: int, *, epoch: int, loss: float, rate: float, wait: float, images_per_s: float) -> None:
        """Note the state after optimiser step `step`. loss: of its last batch; wait: share of the epoch's time, 0..1."""
        self.step, self.epoch, self.rate, self.wait, self.images_per_s = step, epoch, rate, wait, images_per_s
        if math.isfinite(loss):
            self._loss_sum = SMOOTHING * self._loss_sum + (1 - SMOOTHING) * loss
            self._loss_weight = SMOOTHING * self._loss_weight + (1 - SMOOTHING)
        if not self.console.is_terminal and time.monotonic() - self._last_line > PLAIN_INTERVAL_S:
            self._last_line = time.monotonic()
            where = f"epoch {epoch + 1}/{self.epochs} · step {step}/{self.total}"
            self.console.print(" · ".join([where, *self._state(), f"{self.left()} left"]), highlight=False)

    def validation(self, done: int, total: int) -> None:
        """Note how far a validation is, in pictures."""
        self.validating = (done, total)

    def validated(self, miou: float, *, best: str) -> None:
        """Note the result of a validation. best: the best so far in words, such as `0.5813 in epoch 12`."""
        self.validating = None
        self.best = best
        if math.isfinite(miou):
            self.mious.append(miou)

    @property
    def loss(self) -> float:
        """Loss of the last batches, the newest counting most; NaN before the first."""
        return self._loss_sum / self._loss_weight if self._loss_weight else math.nan

    def left(self) -> str:
        """Estimated time left, such as 3:05."""
        done = self.step - self._first_step
        if not done:
            return "?"
        seconds = (time.monotonic() - self._started) / done * (self.total - self.step)
        return duration(seconds)

    def say(self, text: str) -> None:
        """Print a line above the live ones."""
        self.console.print(text, highlight=False)

    def _state(self) -> list[str]:
        if not self._loss_weight:
            return []
        found = [
            f"loss {self.loss:.3f}",
            f"lr {self.rate:.2e}",
            f"data wait {self.wait:.1%}",
            f"{self.images_per_s:.1f} img/s",
        ]
        return found + ([] if self.memory_mb is None else [f"{self.memory_mb() / 1000:.1f} GB"])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plain, width = options.ascii_only, options.max_width
        yield self._bar_line(width, plain)
        state = [
            Text(part, "yellow" if part.startswith("data wait") and self.wait > SLOW_DATA else "")
            for part in self._state()
        ]
        yield from _flow(state, width, plain)
        yield from _flow(self._validations(plain), width, plain)

    def _bar_line(self, width: int, plain: bool) -> Text:
        share = min(1.0, self.step / self.total) if self.total else 1.0
        head = f"epoch {min(self.epoch + 1, self.epochs)}/{self.epochs} "
        tail = f" {share:4.0%}  {self.left()} left"
        steps = f"  step {self.step}/{self.total}"
        room = width - len(head) - len(tail)
        if room >= len(steps) + 16:
            tail, room = f" {share:4.0%}{steps}  {self.left()} left", room - len(steps)
        full = round(share * room) if room > 0 else 0
        mark = "=" if plain else "━"
        line = Text(head, "bold", no_wrap=True, overflow="crop")
        line.append(mark * full, "cyan").append(("-" if plain else mark) * (room - full), "bright_black")
        return line.append(tail, "default")

    def _validations(self, plain: bool) -> list[Text]:
        found = []
        if self.validating is not None:
            done, total = self.validating
            found.append(Text(f"validating {done}/{total}", "cyan"))
        if self.mious:
            curve = "" if plain else f"{sparkline(self.mious[-SPARKS:])} "
            found.append(Text("mIoU ").append(curve, "cyan").append(f"{self.mious[-1]:.4f}"))
        if self.best:
            found.append(Text(f"best {self.best}"))
        return found


def sparkline(values: Sequence[float]) -> str:
    """One block a value, from the lowest to the highest of them; all in the middle where they are equal."""
    low, high = min(values), max(values)
    if high <= low:
        return SPARK[3] * len(values)
    return "".join(SPARK[round((value - low) / (high - low) * (len(SPARK) - 1))] for value in values)


def _flow(parts: Sequence[Text], width: int, plain: bool) -> Iterator[Text]:
    """The parts beside each other, on as many lines as the width needs."""
    between = " | " if plain else " · "
    line: Text | None = None
    for part in parts:
        if line is not None and line.cell_len + len(between) + part.cell_len <= width:
            line = line.append(between, "bright_black").append_text(part)
            continue
        if line is not None:
            yield line
        line = Text(no_wrap=True, overflow="crop").append_text(part)
    if line is not None:
        yield line


def duration(seconds: float) -> str:
    """Seconds as M:SS or H:MM:SS."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Counting:
    """A progress bar for `done of total` callbacks; where there is no terminal, a line every half minute."""

    def __init__(self, console: Console, what: str) -> None:
        columns = (TextColumn(what), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=None)
        self._console, self._what = console, what
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Counting:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if not self._console.is_terminal and 0 < done < total and now - self._last_line > PLAIN_INTERVAL_S:
            self._last_line = now
            left = duration((now - self._started) / done * (total - done))
            self._console.print(f"{self._what} {done}/{total} · {left} left", highlight=False)
