"""kill -9 at any moment leaves a run that resumes: 50 trials on real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.runs import find_run
from segwright.runs.checkpoint import load_checkpoint
from segwright.training import prepare  # noqa: F401  loaded once, so that the forked children need not

from .tiny import write_pictures, write_recipe

TRIALS = 50
PROJECT = Path(__file__).resolve().parents[2]


def forked(work: object) -> int:
    """Run `work()` in a child process with torch already loaded; returns its id."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            work()  # type: ignore[operator]
        except BaseException:
            code = 1
        os._exit(code)
    return child


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_fifty_kills_never_lose_a_run(tmp_path: Path) -> None:
    """In a fresh process: a forked child must not inherit the threads that torch started for earlier tests."""
    command = [sys.executable, "-m", "tests.training.test_kills", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def fifty_kills(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # loads, once for all children, what optimisers import late
    recipe = write_recipe(folder, write_pictures(folder / "data", train=8, val=2))
    quiet = Console(quiet=True)
    runs = folder / "runs"

    def begin() -> None:
        api.train(
            recipe,
            ["training.epochs=10000", "training.val_every=2", "model.args={width: 16, depth: 2}"],
            runs=runs,
            name="r",
            console=quiet,
        )

    def go_on() -> None:
        api.resume("r", runs=runs, console=quiet)

    rng = random.Random(0)
    step = -1
    for trial in range(TRIALS):
        child = forked(begin if trial == 0 else go_on)
        deadline = time.monotonic() + 60
        last = runs / "r" / "checkpoints" / "last.safetensors"
        before = last.stat().st_mtime_ns if last.exists() else 0
        while not (last.exists() and last.stat().st_mtime_ns != before):  # it trains and saves
            assert time.monotonic() < deadline
            assert os.waitpid(child, os.WNOHANG) == (0, 0), f"trial {trial}: the run did not resume"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.25))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        state = load_checkpoint(find_run("r", runs=runs).last).state
        assert state["counters"]["step"] >= step, "a kill lost a checkpoint that was there"
        step = state["counters"]["step"]
    assert step > TRIALS  # every trial went on from the one before
    run = find_run("r", runs=runs)
    run.truncate_metrics(load_checkpoint(run.last).state["metrics_length"])  # as the next resume would
    epochs = [r["epoch"] for r in run.metrics() if r["kind"] == "train"]
    assert epochs == list(range(1, len(epochs) + 1)), "an epoch is missing or stands twice"


if __name__ == "__main__":
    fifty_kills(Path(sys.argv[1]))
