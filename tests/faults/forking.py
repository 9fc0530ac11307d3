"""Children of a process that has torch loaded: many kills are cheap.

A forked child must not inherit threads that torch started, so such tests run as `python -m MODULE` in a process of their
own (`in_fresh_process`), which loads first, once for all children, what training imports late.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def in_fresh_process(module: str, *arguments: str) -> None:
    """Run `python -m module arguments`; a failure fails the test with what it printed."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def warmed_up() -> None:
    """Load what training imports late, and let torch stay in one thread."""
    import torch

    from segwright.training import prepare  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def forked(work: Callable[[], None]) -> int:
    """Run `work()` in a child process; returns its id. The child's exit status is 1 when it raises."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            work()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)
    return child
