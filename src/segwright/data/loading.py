"""From a data set to training batches: the order, the pixels and the resume point depend on seed and epoch alone.

`workers=0` reads and augments in one background thread, two batches ahead of the model: decoding and OpenCV release
Python's lock, so this is the fast way on few cores. `workers>0` uses processes. Both give the same batches, and neither
touches torch's random state.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from segwright.contracts import Batch, Dataset, UserError
from segwright.data.assembling import Arrays, BatchMaker
from segwright.data.augment import Augmentation
from segwright.data.cache import MemoryCache, Progress, fits_in_memory
from segwright.data.prefetch import prefetched
from segwright.data.processes import Workers

DEPTH = 2
"""Batches that wait ready while the model computes."""


class TrainLoader:
    """Batches of augmented samples.

    batch: samples a batch. The last batch of an epoch may be smaller; it is left out when it would hold one sample,
    since batch normalisation after global pooling fails on it.
    seed: with the epoch it decides the order, with epoch and sample index every pixel.
    workers: processes; 0 for a thread of this process.
    cache: `memory` keeps decoded samples, `none` reads files every epoch, `auto` keeps them when they need less than a
    quarter of the free memory.
    pin: page-locked batches, for a faster copy to a CUDA device.
    waited_s: seconds that the consumer of `epoch` has waited for batches so far.
    Raises UserError for an empty data set, one sample with batch > 1, and numbers below their bounds.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augmentation,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        cache: Literal["auto", "memory", "none"] = "auto",
        pin: bool = False,
    ) -> None:
        count = len(dataset)
        if count == 0:
            raise UserError("the training split is empty: choose another split, or add pictures.")
        if batch < 1 or workers < 0:
            raise UserError(f"batch is {batch} and workers is {workers}; allowed are batch >= 1 and workers >= 0.")
        if count == 1 and batch > 1:
            raise UserError(
                "the training split has one picture, too few for batch normalisation: add some, or batch=1."
            )
        if cache not in ("auto", "memory", "none"):
            raise UserError(f"cache is {cache!r}; allowed are auto, memory, none.")
        keep = cache == "memory" or (cache == "auto" and fits_in_memory(dataset))
        self.dataset: Dataset = MemoryCache(dataset) if keep else dataset
        self.batch, self.seed, self.workers, self.pin = batch, seed, workers, pin
        self.batches_per_epoch = count // batch + (1 if count % batch > 1 else 0)
        self.waited_s = 0.0
        self._maker = BatchMaker(self.dataset, augmentation, seed)
        self._workers = Workers(self._maker, workers) if workers > 0 else None
        self._running: Callable[[], Generator[Batch, None, None] | None] = lambda: None

    @property
    def cached(self) -> bool:
        """Whether decoded samples stay in memory."""
        return isinstance(self.dataset, MemoryCache)

    def order(self, epoch: int) -> list[list[int]]:
        """Sample indices of every batch of an epoch."""
        shuffled = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset)).tolist()
        return [shuffled[i * self.batch : (i + 1) * self.batch] for i in range(self.batches_per_epoch)]

    def preload(self, progress: Progress | None = None) -> None:
        """Decode all samples into memory now; nothing without a cache. progress: called with (done, total)."""
        if isinstance(self.dataset, MemoryCache) and not self.dataset.complete:
            self.dataset.preload(progress)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `start_batch` on; the same ones whether or not the epoch was interrupted.

        An iterator that is still running from an earlier call is closed first. Leaving the loop early ends the thread
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
        """End the background thread or the worker processes. The loader can be used again."""
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
        todo = self.order(epoch)[start:]
        source = self._from_thread(epoch, todo) if self._workers is None else self._workers.run(epoch, todo)
        try:
            for index in range(start, self.batches_per_epoch):
                began = time.perf_counter()
                arrays = next(source)
                batch = self._to_batch(arrays, index)
                self.waited_s += time.perf_counter() - began
                yield batch
            for _ in source:  # lets the source end by itself, so that worker processes are kept for the next epoch
                pass
        finally:
            source.close()

    def _from_thread(self, epoch: int, todo: Sequence[Sequence[int]]) -> Generator[Arrays, None, None]:
        def make(check: Callable[[], None]) -> Iterator[Arrays]:
            for indices in todo:
                yield self._maker.make(epoch, indices, lambda _: check())

        return prefetched(make, DEPTH)

    def _to_batch(self, arrays: Arrays, index: int) -> Batch:
        image = torch.from_numpy(arrays.image_B3hw)
        labels = torch.from_numpy(arrays.labels_Bhw.astype(np.int64))
        weights = torch.from_numpy(arrays.weights_B)
        if self.pin:
            image, labels, weights = image.pin_memory(), labels.pin_memory(), weights.pin_memory()
        return Batch(image=image, labels=labels, names=arrays.names, weights=weights, index=index)
