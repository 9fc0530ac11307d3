"""How the benchmarks compare: contenders alternate in one process, and ratios are taken pair by pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def alternate(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round; every other round runs in reverse order."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(top: Sequence[float], bottom: Sequence[float]) -> dict[str, float]:
    """Median of the paired ratios, and its 95 % bootstrap interval."""
    pairs = np.array(top) / np.array(bottom)
    draws = np.random.default_rng(0).choice(pairs, (2000, len(pairs)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return {"median": round(float(np.median(pairs)), 3), "low": round(float(low), 3), "high": round(float(high), 3)}
