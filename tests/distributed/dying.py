"""`python -m tests.distributed.dying …` is `segwright …`, whose second process kills itself at step 3 of its first attempt."""

from __future__ import annotations

import os
import signal
from typing import Any

from segwright.cli import main
from segwright.runs.launch import attempt, place
from segwright.training.progress import TrainingProgress


def at_step(step: int, act: Any) -> None:
    """Call `act()` when that many optimiser steps have been done since this process began."""
    shown, seen = TrainingProgress.update, [0]

    def update(self: TrainingProgress, now: int, **values: Any) -> None:
        shown(self, now, **values)
        seen[0] += 1
        if seen[0] == step:
            act()

    TrainingProgress.update = update  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    if place()[0] == 1 and attempt() == 0:
        at_step(3, lambda: os.kill(os.getpid(), signal.SIGKILL))
    main()
