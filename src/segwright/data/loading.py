"""From a data set to training batches: the order, the pixels and the resume point depend on seed and epoch alone.

`workers=0` reads and augments in background threads, two batches ahead of the model: decoding and OpenCV release
Python's lock, so this is the fast way on few cores. `workers>0` uses processes. Both give the same batches, and neither
touches torch's random state.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.contracts import IGNORE, Batch, Dataset, UserError
from segwright.data.assembling import Arrays, BatchMaker
from segwright.data.augment import Augment
from segwright.data.cache import MemoryCache, Progress, fits_in_memory
from segwright.data.pack import Pack
from segwright.data.prefetch import Check, prefetched
from segwright.data.processes import Workers

DEPTH = 2
"""Batches that wait ready while the model computes."""

THREADS = 2
"""Background threads where there are as many cores. More of them wait for Python's lock: use workers there."""


def batches_in(count: int, batch: int) -> int:
    """Batches an epoch of so many samples has: a last one of one sample is left out. Raises UserError when none is left."""
    if count == 1 and batch > 1:
        raise UserError("the training split has one picture, too few for batch normalisation: add some, or batch=1.")
    return count // batch + (1 if count % batch > 1 else 0)


def share_of(indices: Sequence[int], rank: int, ranks: int, batch: int) -> list[int]:
    """The samples of a batch that process `rank` of `ranks` takes; together they take each of them once.

    A short last batch goes to fewer processes where these would hold a single sample and full batches do not, since
    batch normalisation after global pooling fails on one: the others then get none.
    """
    least = 2 if batch >= 2 * ranks else 1
    takers = max(1, min(ranks, len(indices) // least))
    if rank >= takers:
        return []
    borders = [i * len(indices) // takers for i in (rank, rank + 1)]
    return list(indices[borders[0] : borders[1]])


class TrainLoader:
    """Batches of augmented samples.

    batch: samples a batch. The last batch of an epoch may be smaller; it is left out when it would hold one sample,
    since batch normalisation after global pooling fails on it.
    seed: with the epoch it decides the order, with epoch and sample index every pixel.
    workers: processes; 0 for threads of this process.
    cache: `memory` keeps decoded samples, `none` reads them every epoch, `auto` keeps them when they need less than a
    quarter of the free memory and are not read from a pack, which is mapped memory already.
    pin: page-locked batches, for a faster copy to a CUDA device.
    membership_LK: goes into every batch: which classes each label may be, where some stand for several.
    rank, ranks: this process of how many that train together: each makes its share of every batch, and `batch` counts
    all of them. A process without a share gets two samples of the batch with every pixel void and no names.
    waited_s: seconds that the consumer of `epoch` has waited for batches so far.
    Raises UserError for an empty data set, one sample with batch > 1, and numbers below their bounds.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augment,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        cache: Literal["auto", "memory", "none"] = "auto",
        pin: bool = False,
        membership_LK: NDArray[np.bool_] | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        count = len(dataset)
        if count == 0:
            raise UserError("the training split is empty: choose another split, or add pictures.")
        if batch < 1 or workers < 0:
            raise UserError(f"batch is {batch} and workers is {workers}; allowed are batch >= 1 and workers >= 0.")
        if cache not in ("auto", "memory", "none"):
            raise UserError(f"cache is {cache!r}; allowed are auto, memory, none.")
        keep = cache == "memory" or (cache == "auto" and not isinstance(dataset, Pack) and fits_in_memory(dataset))
        self.dataset: Dataset = MemoryCache(dataset) if keep else dataset
        self.batch, self.seed, self.workers, self.pin = batch, seed, workers, pin
        self.rank, self.ranks = rank, ranks
        self.batches_per_epoch = batches_in(count, batch)
        self.waited_s = 0.0
        self._membership_LK = None if membership_LK is None else torch.from_numpy(membership_LK)
        self._maker = BatchMaker(self.dataset, augmentation, seed)
        self._workers = Workers(self._maker, workers) if workers > 0 else None
        self._running: Callable[[], Generator[Batch, None, None] | None] = lambda: None

    @property
    def sets(self) -> int:
        """How many labels stand for several classes each."""
        return 0 if self._membership_LK is None else self._membership_LK.shape[0] - self._membership_LK.shape[1]

    @property
    def cached(self) -> bool:
        """Whether decoded samples stay in memory."""
        return isinstance(self.dataset, MemoryCache)

    def order(self, epoch: int) -> list[list[int]]:
        """Sample indices of every batch of an epoch, of all processes together."""
        shuffled = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset)).tolist()
        return [shuffled[i * self.batch : (i + 1) * self.batch] for i in range(self.batches_per_epoch)]

    def preload(self, progress: Progress | None = None) -> None:
        """Decode all samples into memory now, where there is a cache, and count classes if the augmentation asks.

        progress: called with (done, total).
        """
        if isinstance(self.dataset, MemoryCache) and not self.dataset.complete:
            self.dataset.preload(progress)
        self._maker.prepare(progress)

    def change(self, augmentation: Augment, batch: int) -> None:
        """Go on with another augmentation and batch size from the next `epoch` on; decoded samples are kept.

        Raises UserError as the constructor does.
        """
        self.batches_per_epoch = batches_in(len(self.dataset), batch)
        self.close()
        self.batch = batch
        self._maker = BatchMaker(self.dataset, augmentation, self.seed)
        self._workers = Workers(self._maker, self.workers) if self.workers > 0 else None

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `start_batch` on; the same ones whether or not the epoch was interrupted.

        An iterator that is still running from an earlier call is closed first. Leaving the loop early ends the threads
        or the processes behind it as soon as the iterator is closed or forgotten.
        Raises UserError for a start outside the epoch; DataError for bad files; RuntimeError naming the sample for any
        other failure, or the samples in progress when a worker process died.
        """
        if not 0 <= start_batch <= self.batches_per_epoch:
            raise UserError(f"start_batch is {start_batch}; this epoch has batches 0..{self.batches_per_epoch - 1}.")
        self._stop_running()
        self.preload()
        running = self._batches(epoch, start_batch)
        self._running = weakref.ref(running)
        return running

    def close(self) -> None:
        """End the background threads or the worker processes. The loader can be used again."""
        self._stop_running()
        if self._workers is not None:
            self._workers.close()

    def __enter__(self) -> TrainLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop_running(self) -> None:
        running = self._running()
        if running is not None:
            running.close()

    def _batches(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        whole = self.order(epoch)
        shares = [share_of(indices, self.rank, self.ranks, self.batch) for indices in whole]
        todo = [(i, share or whole[i][:2]) for i, share in enumerate(shares)][start:]
        workers = self._workers
        source = self._from_threads(epoch, todo) if workers is None else self._from_processes(workers, epoch, todo)
        try:
            for number, _ in todo:
                began = time.perf_counter()
                batch = next(source)
                self.waited_s += time.perf_counter() - began
                yield batch if shares[number] else _void(batch)
            for _ in source:  # lets the source end by itself, so that worker processes are kept for the next epoch
                pass
        finally:
            source.close()

    def _from_threads(self, epoch: int, todo: Sequence[tuple[int, list[int]]]) -> Generator[Batch, None, None]:
        def job(numbered: tuple[int, list[int]]) -> Callable[[Check], Batch]:
            return lambda check: self._make(epoch, *numbered, check)

        return prefetched(map(job, todo), ready=DEPTH, threads=min(THREADS, os.cpu_count() or 1))

    def _from_processes(
        self, workers: Workers, epoch: int, todo: Sequence[tuple[int, list[int]]]
    ) -> Generator[Batch, None, None]:
        made = workers.run(epoch, [indices for _, indices in todo])
        try:
            for (number, _), arrays in zip(todo, made, strict=True):
                yield self._to_batch(arrays, number)
        finally:
            made.close()

    def _make(self, epoch: int, number: int, indices: list[int], check: Check) -> Batch:
        """Batch `number` of an epoch; runs in a background thread."""
        return self._to_batch(self._maker.make(epoch, indices, lambda _: check()), number)

    def _to_batch(self, arrays: Arrays, number: int) -> Batch:
        image = torch.from_numpy(arrays.image_B3hw)
        labels = torch.from_numpy(arrays.labels_Bhw.astype(np.int64))
        weights = torch.from_numpy(arrays.weights_B)
        if self.pin:
            image, labels = image.pin_memory(), labels.pin_memory()
        return Batch(
            image=image,
            labels=labels,
            names=arrays.names,
            weights=weights,
            index=number,
            membership_LK=self._membership_LK,
            known_labelled=bool((arrays.labels_Bhw != IGNORE).any()),
        )


def _void(batch: Batch) -> Batch:
    """The same pictures, which teach nothing."""
    labels, weights = torch.full_like(batch.labels, IGNORE), torch.zeros_like(batch.weights)
    return replace(batch, labels=labels, weights=weights, names=(), known_labelled=False)
