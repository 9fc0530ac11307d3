"""Bench: how fast a model is under each backend and precision of this machine, with what memory, and at which mIoU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from segwright.contracts import UserError
from segwright.evaluation.bench_process import WARM_UP
from segwright.evaluation.ways import PLAIN, Way

FORMAT = "segwright bench 1"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One way to run the model, timed in a process of its own.

    milliseconds: of each call, one uint8 picture in memory to class ids. first_s: from the start of loading to the first
    answer, seconds. peak_mb: most memory of the process (of the GPU, where torch runs on one), MB of 10⁶ bytes.
    miou: pooled, 0..1; None where it is not known. where: what the mIoU comes from, in words.
    """

    way: Way
    milliseconds: tuple[float, ...]
    first_s: float
    peak_mb: float
    miou: float | None = None
    where: str | None = None

    @cached_property
    def median_ms(self) -> float:
        return float(np.median(self.milliseconds))

    @cached_property
    def p95_ms(self) -> float:
        """95 of 100 calls were at most as slow."""
        return float(np.percentile(self.milliseconds, 95))

    @property
    def per_second(self) -> float:
        """Pictures a second, one after the other."""
        return 1000 * len(self.milliseconds) / math.fsum(self.milliseconds)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What was timed, the fastest first. size: height and width of the picture, pixels. failed: reason by name of the way."""

    run: str
    split: str | None
    size: tuple[int, int]
    threads: int
    repeats: int
    device: str
    rows: tuple[Timed, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def plain(self) -> Timed | None:
        """Plain eager torch in fp32, which the others are compared with; None where it was not timed."""
        return next((row for row in self.rows if (row.way.backend, row.way.form) == ("torch", PLAIN)), None)

    @cached_property
    def front(self) -> tuple[Timed, ...]:
        """The ways that no other one beats in both time and mIoU, the fastest first."""
        found: list[Timed] = []
        for row in sorted(self.scored, key=lambda row: (row.median_ms, -(row.miou or 0))):
            if not found or (row.miou or 0) > (found[-1].miou or 0):
                found.append(row)
        return tuple(found)

    @property
    def scored(self) -> tuple[Timed, ...]:
        """The ways whose mIoU is known."""
        return tuple(row for row in self.rows if row.miou is not None)

    @property
    def conditions(self) -> str:
        """What was measured, in words."""
        place = (
            f"{self.threads} thread"
            + "s" * (self.threads > 1)
            + (f", torch on {self.device}" if self.device != "cpu" else "")
        )
        return (
            f"One uint8 picture of {self.size[0]}×{self.size[1]} in memory to class ids, {place}, each way in its own process: "
            f"{self.repeats} calls after {WARM_UP} to warm up."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: milliseconds, pictures a second, MB, mIoU in 0..1."""
        return {
            "format": FORMAT,
            "run": self.run,
            "split": self.split,
            "size": list(self.size),
            "threads": self.threads,
            "repeats": self.repeats,
            "device": self.device,
            "conditions": self.conditions,
            "ways": [self._row(row) for row in self.rows],
            "front": [row.way.name for row in self.front],
            "failed": dict(self.failed),
            "environment": dict(self.environment),
        }

    def _row(self, row: Timed) -> dict[str, Any]:
        plain = self.plain
        return {
            "name": row.way.name,
            "backend": row.way.backend,
            "form": row.way.form,
            "file": row.way.file.name,
            "median_ms": row.median_ms,
            "p95_ms": row.p95_ms,
            "per_second": row.per_second,
            "first_s": row.first_s,
            "peak_mb": row.peak_mb,
            "times_as_fast": None if plain is None else plain.median_ms / row.median_ms,
            "share_of_memory": None if plain is None else row.peak_mb / plain.peak_mb,
            "miou": row.miou,
            "miou_from": row.where,
        }


def time_ways(
    ways: Sequence[Way],
    size: tuple[int, int],
    *,
    threads: int,
    repeats: int = 20,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[Timed, ...], dict[str, str]]:
    """Time every way in a process of its own, the fastest first; and the reason why, by name of the way, where one failed.

    size: height and width of the picture, pixels. threads: of one call. device: that of torch; exported files run on the CPU.
    progress: called with (done, total) ways. Raises UserError for less than one repeat.
    """
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; allowed are whole numbers from 1.")
    found: list[Timed] = []
    failed: dict[str, str] = {}
    for done, way in enumerate(ways, start=1):
        asked = {"way": way.to_dict(), "size": list(size), "threads": threads, "repeats": repeats, "device": device}
        command = [sys.executable, "-W", "ignore", "-m", "segwright.evaluation.bench_process", json.dumps(asked)]
        settings = os.environ | {"OMP_NUM_THREADS": str(threads)}
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
        if ended.returncode:
            failed[way.name] = _reason(ended)
        else:
            told = json.loads(ended.stdout.strip().splitlines()[-1])
            found.append(
                Timed(
                    way=way,
                    milliseconds=tuple(told["milliseconds"]),
                    first_s=told["first_s"],
                    peak_mb=told["peak_mb"],
                )
            )
        if progress is not None:
            progress(done, len(ways))
    return tuple(sorted(found, key=lambda row: row.median_ms)), failed


def _reason(ended: subprocess.CompletedProcess[str]) -> str:
    """Why a process ended: its last words, or the signal that ended it."""
    if ended.returncode < 0:
        return f"the process was ended by signal {-ended.returncode}; with signal 9, memory may have run out"
    lines = ended.stderr.strip().splitlines()
    return lines[-1][:300] if lines else f"exit code {ended.returncode}"
