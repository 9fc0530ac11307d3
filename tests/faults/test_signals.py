"""Ctrl-C, SIGTERM and SIGUSR1 in the middle of an epoch: saved, said, and a distinct exit code; a second Ctrl-C quits."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .forking import forked, in_fresh_process, warmed_up

TRIALS = 10
LATEST_S, AT_ONCE_S = 30, 2

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


@pytest.mark.slow
def test_ten_of_each_signal_save_and_say_how_to_go_on(tmp_path: Path) -> None:
    in_fresh_process("tests.faults.test_signals", "once", str(tmp_path))


@pytest.mark.slow
def test_a_second_ctrl_c_quits_at_once_and_the_older_checkpoint_is_whole(tmp_path: Path) -> None:
    in_fresh_process("tests.faults.test_signals", "twice", str(tmp_path))


def command_line(log: Path, *arguments: str) -> Callable[[], None]:
    """`segwright …` in a child, what it prints in a file."""

    def work() -> None:
        from segwright.cli import main

        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        main(list(arguments))

    return work


def wait_until(condition: Callable[[], bool], child: int, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        assert os.waitpid(child, os.WNOHANG) == (0, 0), log.read_text()
        time.sleep(0.005)


def ended(child: int, seconds: float) -> int:
    """The exit code of a child that has to end within so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"still running after {seconds} s")
        time.sleep(0.005)


def announce_steps(marker: Path) -> None:
    """From now on children touch a file after every optimiser step."""
    from segwright.training.progress import TrainingProgress

    shown = TrainingProgress.update

    def update(self: TrainingProgress, step: int, **values: Any) -> None:
        shown(self, step, **values)
        marker.touch()

    TrainingProgress.update = update  # type: ignore[method-assign]


def training(log: Path, marker: Path, *arguments: str) -> int:
    """A child that trains; returns once it has done a step."""
    marker.unlink(missing_ok=True)
    child = forked(command_line(log, *arguments))
    wait_until(marker.exists, child, log)
    return child


def endless(folder: Path) -> list[str]:
    """A training of many long epochs."""
    from tests.training.tiny import write_pictures, write_recipe

    recipe = write_recipe(folder, write_pictures(folder / "data", train=200, val=2))
    return ["train", str(recipe), "training.epochs=1000", "--runs", str(folder / "runs"), "--name", "r"]


def each_once(folder: Path) -> None:
    from segwright.runs import Run
    from segwright.runs.checkpoint import load_checkpoint

    run, log, marker = Run(folder / "runs" / "r"), folder / "log", folder / "stepped"
    announce_steps(marker)
    arguments, rng, step, cut_inside = endless(folder), random.Random(0), 0, 0
    for trial in range(TRIALS):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            child = training(log, marker, *arguments)
            arguments = ["train", "--resume", str(run.path)]
            time.sleep(rng.uniform(0, 0.2))
            os.kill(child, number)
            if number == signal.SIGUSR1:  # Slurm's warning is followed by SIGTERM, which must not spoil the save
                os.kill(child, signal.SIGTERM)
            code = ended(child, LATEST_S)
            text = log.read_text()
            first = (
                {number, signal.SIGTERM} if number == signal.SIGUSR1 else {number}
            )  # sent together, either may be seen first
            assert code - 128 in first, f"trial {trial}: {code}\n{text}"
            assert f"segwright train --resume {run.path}" in text
            assert "everything is saved" in text
            counters = load_checkpoint(run.last).state["counters"]
            assert counters["step"] >= step
            step = counters["step"]
            cut_inside += counters["batch"] > 0
    assert cut_inside >= 2 * TRIALS, "most signals have to come in the middle of an epoch"


def each_twice(folder: Path) -> None:
    from segwright.runs import Run, checkpoint, saving
    from segwright.runs.checkpoint import load_newest

    run, log, marker, writing = Run(folder / "runs" / "r"), folder / "log", folder / "stepped", folder / "writing"
    announce_steps(marker)
    child = training(log, marker, *endless(folder))
    os.kill(child, signal.SIGINT)
    assert ended(child, LATEST_S) == 130
    before = load_newest(run.last, run.previous)[0].state["counters"]

    def slow(*_: object, **__: object) -> None:
        writing.write_text("")
        time.sleep(120)

    saving.save_checkpoint = slow  # type: ignore[assignment]
    for _ in range(5):
        writing.unlink(missing_ok=True)
        child = training(log, marker, "train", "--resume", str(run.path))
        os.kill(child, signal.SIGINT)
        wait_until(writing.exists, child, log)
        os.kill(child, signal.SIGINT)
        assert ended(child, AT_ONCE_S) == 130
    saving.save_checkpoint = checkpoint.save_checkpoint
    assert load_newest(run.last, run.previous)[0].state["counters"] == before


if __name__ == "__main__":
    warmed_up()
    {"once": each_once, "twice": each_twice}[sys.argv[1]](Path(sys.argv[2]))
