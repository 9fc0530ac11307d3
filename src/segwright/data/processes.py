"""Worker processes that make batches, in order, and never outlive the training.

They are plain processes without torch in their work: a worker's death is noticed at once and named after the picture it
was reading, where torch's DataLoader would raise from a signal handler in the middle of the training step.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from ctypes import Array, c_long
from typing import Any

import cv2

from segwright.contracts import SegwrightError
from segwright.data.assembling import Arrays, BatchMaker

_IDLE = -1


class WorkerDied(SegwrightError, RuntimeError):
    """A loader process ended by itself; the message names the samples that it was reading."""


class Workers:
    """A pool of processes for one BatchMaker; started by the first `run`, kept between epochs, ended by `close`."""

    def __init__(self, maker: BatchMaker, count: int) -> None:
        self._maker, self._count = maker, count
        self._reading: Array[c_long] = multiprocessing.RawArray("l", [_IDLE] * count)
        self._pool: ProcessPoolExecutor | None = None

    def run(self, epoch: int, batches: Sequence[Sequence[int]]) -> Generator[Arrays, None, None]:
        """The batches in order, two a worker in the making. Leaving early ends the processes.

        Raises what BatchMaker.make raises, and WorkerDied naming the samples in progress when a process died.
        """
        pool = self._started()
        waiting: deque[Future[Arrays]] = deque()
        todo = deque(batches)
        complete = False
        try:
            while todo or waiting:
                while todo and len(waiting) < 2 * self._count:
                    waiting.append(pool.submit(_make, epoch, tuple(todo.popleft())))
                yield waiting.popleft().result()
            complete = True
        except BrokenProcessPool as error:
            raise WorkerDied(self._died()) from error
        finally:
            if not complete:
                self.close()

    def close(self) -> None:
        """End the processes; they finish the batch that they are making."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._reading[:] = [_IDLE] * self._count
            number = multiprocessing.Value("i", 0)
            start = (self._maker, self._reading, number)
            self._pool = ProcessPoolExecutor(self._count, initializer=_start_worker, initargs=start)
        return self._pool

    def _died(self) -> str:
        names = [self._maker.dataset.names[i] for i in self._reading if i != _IDLE]
        during = f"while these samples were being read: {', '.join(names)}" if names else "between two samples"
        return (
            f"a loader process died {during}. Usual causes: the machine ran out of memory, or a decoder crashed on a "
            "damaged file. Try training.workers=0 or fewer workers; check the files named here."
        )


_worker: dict[str, Any] = {}
"""What a worker process keeps between batches; empty in every other process."""


def _start_worker(maker: BatchMaker, reading: Array[c_long], number: Any) -> None:
    with number.get_lock():
        slot = number.value
        number.value += 1
    _worker.update(maker=maker, reading=reading, slot=slot)
    for number in (signal.SIGINT, signal.SIGTERM):  # these reach the whole group; the trainer decides
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, daemon=True, name="segwright-parent-watch").start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(epoch: int, indices: tuple[int, ...]) -> Arrays:
    def note(index: int) -> None:
        _worker["reading"][_worker["slot"]] = index

    maker: BatchMaker = _worker["maker"]
    try:
        return maker.make(epoch, indices, note)
    finally:
        _worker["reading"][_worker["slot"]] = _IDLE
