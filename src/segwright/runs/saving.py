"""Checkpoints written in the background: training goes on as soon as its state is copied."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from segwright.contracts import SegwrightError
from segwright.models import Segmenter
from segwright.models.weights import FrozenModel, frozen, save_frozen
from segwright.runs.checkpoint import Checkpoint, save_checkpoint
from segwright.runs.folder import Run


class CheckpointWriter:
    """Writes one checkpoint at a time in a thread; the next save waits for the last.

    A failure of the thread is raised in the caller's thread by the next `save`, `check`, `wait`, or the end of the
    `with` block. A KeyboardInterrupt waits for nothing: the half-written file has a temporary name, and the older
    checkpoints are whole.
    blocked_s: seconds for which callers have waited so far, for copies and for earlier files.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.blocked_s = 0.0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._best: FrozenModel | None = None

    def keep_best(self, segmenter: Segmenter) -> None:
        """Copy a model now, which the next `save` writes as the best one."""
        began = time.perf_counter()
        self._best = frozen(segmenter, copy=True)
        self.blocked_s += time.perf_counter() - began

    def save(self, checkpoint: Checkpoint) -> None:
        """Copy the checkpoint now and write it soon: first the best model, which its counters speak of, then `last`."""
        self.wait()
        began = time.perf_counter()
        arguments = (checkpoint.copied(), self._best)
        self._best = None
        self._thread = threading.Thread(target=self._write, args=arguments, daemon=True, name="segwright-checkpoint")
        self._thread.start()
        self.blocked_s += time.perf_counter() - began

    def wait(self) -> None:
        """Return when everything is on disk. Raises UserError when it could not be written."""
        if self._thread is not None:
            began = time.perf_counter()
            self._thread.join()
            self._thread = None
            self.blocked_s += time.perf_counter() - began
        self.check()

    def check(self) -> None:
        """Raise what went wrong in the background, if anything did."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            return
        try:
            self.wait()
        except SegwrightError as problem:
            if error is None:
                raise
            error.add_note(str(problem))

    def _write(self, checkpoint: Checkpoint, best: FrozenModel | None) -> None:
        try:
            if best is not None:
                save_frozen(best, self.run.best)
            save_checkpoint(checkpoint, self.run.last, previous=self.run.previous)
        except BaseException as error:
            self._error = error
