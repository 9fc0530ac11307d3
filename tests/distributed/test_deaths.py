"""A process that is killed or stopped ends the whole training within a minute, and the training resumes exactly."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.runs.checkpoint import load_checkpoint
from tests.training.tiny import write_pictures, write_recipe

from .dying import at_step
from .several import start, together

PROJECT = Path(__file__).resolve().parents[2]
QUIET = Console(quiet=True)
LIMIT_S = 60
WIDE = ("training.batch=6", "training.accumulation=1", "training.epochs=26", "training.val_every=100")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data"))


def work(recipe: Path, runs: Path, name: str, hurt: tuple[int, int, int] | None = None) -> str:
    """Train or go on; hurt = (process, step, signal): that process sends itself the signal then."""
    if hurt is not None and os.environ["RANK"] == str(hurt[0]):
        at_step(hurt[1], lambda: os.kill(os.getpid(), hurt[2]))
    if (runs / name / "checkpoints" / "last.safetensors").exists():
        return str(api.resume(name, runs=runs, console=QUIET).path)
    return str(api.train(recipe, WIDE, runs=runs, name=name, console=QUIET).path)


def last(run: Path) -> Any:
    return load_checkpoint(run / "checkpoints" / "last.safetensors")


def assert_same(one: Path, other: Path) -> None:
    tensors, others = last(one).tensors, last(other).tensors
    assert [n for n in tensors if not torch.equal(tensors[n], others[n])] == []
    rows = [
        [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)
    ]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_twenty_kills_of_one_process(recipe: Path, tmp_path: Path) -> None:
    runs, rng = tmp_path / "runs", random.Random(5)
    together(2, work, recipe, runs, "whole")
    for _ in range(20):
        hurt = (rng.randrange(2), rng.randint(1, 4), signal.SIGKILL)
        codes = start(2, work, recipe, runs, "hurt", hurt).wait(LIMIT_S)
        assert codes[hurt[0]] == -signal.SIGKILL
        assert codes[1 - hurt[0]] == 1
    together(2, work, recipe, runs, "hurt")
    assert_same(runs / "whole", runs / "hurt")


@pytest.mark.slow
def test_five_stops_of_one_process(recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    together(2, work, recipe, runs, "whole")
    for turn in range(5):
        began = start(2, work, recipe, runs, "hurt", (turn % 2, 1 + turn % 3, signal.SIGSTOP), SEGWRIGHT_SILENCE="5")
        stopped, other = began.processes[turn % 2], began.processes[1 - turn % 2]
        other.join(LIMIT_S)
        assert other.exitcode == 1
        assert stopped.is_alive()
        began.wait(0)
    together(2, work, recipe, runs, "hurt")
    assert_same(runs / "whole", runs / "hurt")


def command(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_torchrun_starts_again_and_the_training_goes_on(recipe: Path, tmp_path: Path) -> None:
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1", "-m")
    train = (
        "tests.distributed.dying",
        "train",
        str(recipe),
        *WIDE,
        "training.epochs=4",
        "--runs",
        str(tmp_path / "runs"),
    )
    told, _ = command(*torchrun, *train).communicate(timeout=240)
    assert "resuming" in told, told[-4000:]
    runs = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    assert len(runs) == 1
    assert last(runs[0]).state["counters"]["epoch"] == 4


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_once(recipe: Path, tmp_path: Path) -> None:
    arguments = ["training.epochs=100000", "--runs", str(tmp_path), "--name", "cut", "--processes", "2"]
    launcher = command("segwright.cli", "train", str(recipe), *WIDE, *arguments)
    end = time.monotonic() + 120
    while not (tmp_path / "cut" / "metrics.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.2)
    launcher.send_signal(signal.SIGTERM)
    told, _ = launcher.communicate(timeout=LIMIT_S)
    assert told.count("everything is saved") == 1, told[-3000:]
    counters = last(tmp_path / "cut").state["counters"]
    assert counters["step"] > 0
    assert f"after step {counters['step']}" in told
