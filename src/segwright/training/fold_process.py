"""One fold of a cross-validation in a process of its own: `python -m segwright.training.fold_process FOLDER ROUND FOLD`.

It ends, with everything saved, when the process that began it does: its standard input is closed then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from segwright.contracts import SegwrightError


def main(arguments: list[str]) -> int:
    """Train the fold; returns the exit code."""
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch loads
    threading.Thread(target=_follow_parent, daemon=True).start()
    from rich.console import Console

    from segwright.training.crossval import train_fold
    from segwright.training.folds import open_crossvalidation

    crossval = open_crossvalidation(arguments[0], processes=None, runs=Path())
    try:
        train_fold(crossval, crossval.rounds[int(arguments[1]) - 1], int(arguments[2]), Console(width=140))
    except SegwrightError as error:
        print(error, flush=True)
        return error.exit_code
    return 0


def _follow_parent() -> None:
    while os.read(0, 1):  # nothing is ever written: it returns when nobody holds the other end any more
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
