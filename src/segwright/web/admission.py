"""How much the server takes on: slots for pictures, and bytes of their bodies."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from segwright.web.limits import Limits
from segwright.web.refusals import Refused

RECENT = 64
"""Answers from which the speed is told."""


class Admission:
    """Counts what is pending. All of it runs in one thread, that of the event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pending = 0
        self.held = 0
        self._answered: deque[float] = deque(maxlen=RECENT)

    @property
    def full(self) -> bool:
        return self.pending >= self.limits.queue

    @contextmanager
    def slots(self, pictures: int = 1) -> Iterator[None]:
        """Takes slots before anything of the picture is read. Raises Refused, 503 with Retry-After, when there are none."""
        if self.pending + pictures > self.limits.queue:
            raise self.busy()
        self.pending += pictures
        try:
            yield
        finally:
            self.pending -= pictures

    def hold(self, count: int) -> None:
        """`count` more bytes of bodies are held. Raises Refused when there are too many; then none is added."""
        if self.held + count > self.limits.held_bytes:
            raise self.busy()
        self.held += count

    def release(self, count: int) -> None:
        self.held -= count

    def answered(self) -> None:
        """A picture was answered: tells how fast it goes."""
        self._answered.append(time.monotonic())

    def retry_after(self) -> int:
        """Seconds in which what is pending should be done, 1..30."""
        if len(self._answered) < 2:
            return 1
        seconds = max(1e-3, time.monotonic() - self._answered[0]) / len(self._answered)
        return min(30, max(1, math.ceil(seconds * self.pending)))

    def busy(self) -> Refused:
        """What is said when nothing more is taken on."""
        return Refused(
            503, "busy", "The server has as many pictures as it can take. Try again.", retry_after=self.retry_after()
        )
