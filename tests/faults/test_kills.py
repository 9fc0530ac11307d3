"""kill -9 at any moment leaves a run that resumes: 150 kills of a process that saves in a loop, 50 of whole trainings."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from .forking import forked, in_fresh_process, warmed_up

SAVERS, TRAININGS = 150, 50

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


@pytest.mark.slow
def test_150_kills_of_a_saving_process_leave_two_whole_checkpoints(tmp_path: Path) -> None:
    in_fresh_process("tests.faults.test_kills", "savers", str(tmp_path))


@pytest.mark.slow
def test_fifty_kills_never_lose_a_run(tmp_path: Path) -> None:
    in_fresh_process("tests.faults.test_kills", "trainings", str(tmp_path))


def kill_savers(folder: Path) -> None:
    """Each child saves number after number; the newest whole file is never older than the last one that was reported."""
    import torch

    from segwright.files import remove_leftovers
    from segwright.runs.checkpoint import Checkpoint, load_checkpoint, load_newest, save_checkpoint

    last, previous = folder / "last.safetensors", folder / "previous.safetensors"
    weights = torch.arange(300_000, dtype=torch.float32)
    for value in (-1, 0):
        save_checkpoint(Checkpoint({"model.w": weights + value}, {"step": value}), last, previous=previous)
    rng = random.Random(0)
    number = left_behind = 0
    for trial in range(SAVERS):
        reader, writer = os.pipe()

        def save(start: int = number, to: int = writer) -> None:
            for value in range(start + 1, start + 10_000):
                save_checkpoint(Checkpoint({"model.w": weights + value}, {"step": value}), last, previous=previous)
                os.write(to, b".")

        child = forked(save)
        os.close(writer)
        os.read(reader, 1)  # one is saved
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported = 1 + len(os.read(reader, 1 << 16))
        os.close(reader)
        found, warning = load_newest(last, previous)
        assert warning == "", f"trial {trial}: {warning}"
        assert found.state["step"] >= number + reported, f"trial {trial}: a checkpoint that was there is lost"
        assert torch.equal(found.tensors["model.w"], weights + found.state["step"])
        assert load_checkpoint(previous).state["step"] in (found.state["step"] - 1, found.state["step"])
        number = found.state["step"]
        left_behind += len(remove_leftovers(folder))
        assert sorted(p.name for p in folder.iterdir()) == ["last.safetensors", "previous.safetensors"]
    assert left_behind > 0, "no kill hit a save, so this test shows nothing"


def kill_trainings(folder: Path) -> None:
    from rich.console import Console

    from segwright import api
    from segwright.runs import find_run
    from segwright.runs.checkpoint import load_checkpoint, load_newest
    from tests.training.tiny import write_pictures, write_recipe

    recipe = write_recipe(folder, write_pictures(folder / "data", train=8, val=2))
    quiet, runs = Console(quiet=True), folder / "runs"

    def begin() -> None:
        endless = ["training.epochs=10000", "training.val_every=2", "model.args={width: 16, depth: 2}"]
        api.train(recipe, endless, runs=runs, name="r", console=quiet)

    def go_on() -> None:
        api.resume("r", runs=runs, console=quiet)

    rng = random.Random(0)
    step = -1
    for trial in range(TRAININGS):
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
        run = find_run("r", runs=runs)
        found, warning = load_newest(run.last, run.previous)
        assert warning == ""
        assert found.state["counters"]["step"] >= step, "a kill lost a checkpoint that was there"
        step = found.state["counters"]["step"]
    assert step > TRAININGS  # every trial went on from the one before
    run = find_run("r", runs=runs)
    run.truncate_metrics(load_checkpoint(run.last).state["metrics_length"])  # as the next resume would
    epochs = [r["epoch"] for r in run.metrics() if r["kind"] == "train"]
    assert epochs == list(range(1, len(epochs) + 1)), "an epoch is missing or stands twice"


if __name__ == "__main__":
    warmed_up()
    {"savers": kill_savers, "trainings": kill_trainings}[sys.argv[1]](Path(sys.argv[2]))
