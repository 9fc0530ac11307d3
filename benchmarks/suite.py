"""What `make bench` runs, with how many rounds, and what is too long for it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.recording import PROJECT, SKIPPED


@dataclass(frozen=True)
class Part:
    """One benchmark: a module of this package that takes --out FILE.

    short: options with which it fits into half an hour with all others; without them it takes its own number of rounds.
    quick: the least that shows that it runs.
    """

    name: str
    short: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


def _options(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SHORT = (
    Part("limits", (), _options("--rounds 1")),
    Part("start_up", _options("--rounds 5"), _options("--rounds 1")),
    Part("confusion", _options("--rounds 15"), _options("--rounds 3")),
    Part("scoring", _options("--pictures 10 --rounds 5"), _options("--pictures 2 --rounds 1")),
    Part("validation", _options("--rounds 9"), _options("--rounds 1")),
    Part("augmentation", _options("--rounds 9"), _options("--rounds 1 --pictures 2")),
    Part("loading", _options("--rounds 5 --scenes 4"), _options("--rounds 1 --scenes 2")),
    Part("dilated", _options("--rounds 7"), _options("--rounds 1")),
    Part("epoch", _options("--pairs 3 --pictures 12"), _options("--pairs 1 --pictures 4 --nets Fast-SCNN")),
    Part("loop", _options("--pairs 7 --pictures 96"), _options("--pairs 1 --pictures 16")),
    Part("ddp", _options("--pairs 7 --steps 3"), _options("--pairs 1 --steps 1")),
    Part("prediction", _options("--rounds 5"), _options("--rounds 1 --pictures 2")),
    Part(
        "backends",
        _options("--rounds 2 --calls 5 --nets fast_scnn unet_mobilenet_v2"),
        _options("--rounds 1 --calls 1 --size 128x256 --nets fast_scnn"),
    ),
    Part("video", _options("--rounds 3 --frames 50"), _options("--rounds 1 --frames 5")),
    Part("serving", _options("--seconds 5"), _options("--seconds 1 --concurrency 1 8")),
    Part("crf", _options("--rounds 2 --pictures 2"), _options("--rounds 1 --pictures 1")),
    Part("report", (), _options("--pictures 20")),
    Part("growth", (), _options("--most 1000 --axes pictures --jobs open statistics")),
)
"""In the order of `make bench`."""

LONG = {
    "gpu": "minutes, on a GPU",
    "networks": "10 minutes",
    "equal_epochs": "20 minutes",
    "zoo": "15 minutes",
    "transfer": "half an hour",
    "losses": "75 minutes",
    "windows": "two minutes",
    "camvid_steps": "some minutes",
    "camvid_grid": "two minutes",
    "camvid_cpu": "an hour",
    "camvid_tries": "some hours",
    "camvid_families": "an hour",
}
"""Run by name only -> about how long on two cores."""


def run(part: Part, options: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Run one in a process of its own; its output goes through. Returns how it ended and what it took."""
    command = [sys.executable, "-m", f"benchmarks.{part.name}", *options, "--out", str(folder / f"{part.name}.json")]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, check=False)
    told = done.stderr.strip().splitlines()
    status = {0: "done", SKIPPED: "skipped"}.get(done.returncode, f"failed with exit code {done.returncode}")
    found: dict[str, Any] = {"options": " ".join(options), "seconds": round(time.perf_counter() - began, 1)}
    if status == "done":
        return found | {"status": status}
    if status != "skipped":
        print(done.stderr, file=sys.stderr)
    return found | {"status": status, "why": told[-1].removeprefix("skipped: ") if told else "it said nothing"}
