"""Decoded samples kept in memory, so that a training reads every file once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import psutil

from segwright.contracts import DataError, Dataset, Sample
from segwright.data.pairs import refuse_unreadable

MEMORY_SHARE = 0.25
"""`auto` keeps the samples in memory when they need less than this share of the free memory."""
_PROBES = 8

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class MemoryCache:
    """A Dataset that decodes each sample of another one once and keeps it: pictures and labels, not instance maps.

    Samples come out equal to the source's but for `instances`, which is None. Readers must not write to the arrays.
    """

    def __init__(self, source: Dataset) -> None:
        self.source = source
        self.names: Sequence[str] = source.names
        self.groups: Sequence[str] = source.groups
        self._kept: list[Sample | None] = [None] * len(source)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self._kept[index]
        if sample is None:
            sample = self._kept[index] = replace(self.source[index], instances=None)
        return sample

    @property
    def complete(self) -> bool:
        return all(sample is not None for sample in self._kept)

    def preload(self, progress: Progress | None = None) -> None:
        """Decode everything that is not kept yet, in threads. progress: called with (done, total).

        Raises one DataError that lists every sample that could not be read.
        """
        missing = [i for i, sample in enumerate(self._kept) if sample is None]
        problems: list[str] = []
        done = len(self) - len(missing)
        pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="segwright-decode")
        try:
            for future in as_completed([pool.submit(self.__getitem__, i) for i in missing]):
                try:
                    future.result()
                except DataError as error:
                    problems.append(str(error))
                done += 1
                if progress is not None:
                    progress(done, len(self))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        refuse_unreadable(problems, len(self))


def fits_in_memory(dataset: Dataset) -> bool:
    """Whether all decoded samples need less than MEMORY_SHARE of the free memory, judged from a few of them."""
    return len(dataset) == 0 or estimated_bytes(dataset) < MEMORY_SHARE * free_memory()


def estimated_bytes(dataset: Dataset) -> float:
    """Bytes of all decoded pictures and labels, judged from a few of them; 0 for an empty data set."""
    step = max(1, len(dataset) // _PROBES)
    probes = [_bytes_of(dataset, i) for i in range(0, len(dataset), step)[:_PROBES]]
    return sum(probes) / len(probes) * len(dataset) if probes else 0.0


def free_memory() -> int:
    """Bytes that this process may still use: what the machine has free, or less where a container sets a limit."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free  # no such limit on this system
    return free if limit == "max" else max(0, min(free, int(limit) - used))


def _bytes_of(dataset: Dataset, index: int) -> int:
    """Decoded size of a sample; 0 for one that cannot be read, which reading all of them will report."""
    try:
        sample = dataset[index]
    except DataError:
        return 0
    planes = sum(plane.nbytes for plane in sample.planes.values())
    return planes + (0 if sample.labels is None else sample.labels.nbytes)
