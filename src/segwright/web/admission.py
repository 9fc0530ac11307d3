"""How much the server takes on: slots for pictures, and bytes of their bodies."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from segwright.web.limits import Limits
from segwright.web.refusals import Refused

RECENT = 64
"""Answers from which the speed is told."""
LONGEST = 30
"""Seconds that anyone is asked to wait at most."""


class Admission:
    """Counts what is pending. All of it runs in one thread, that of the event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.pending = 0
        self.held = 0
        self._refused = 0
        self._answered: deque[tuple[float, int]] = deque(maxlen=RECENT)
        """When a picture was answered, and how many had been refused until then."""

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
        self._answered.append((time.monotonic(), self._refused))

    def retry_after(self) -> int:
        """Whole seconds, 1..30: what is pending should be done by then, and later by chance the more are refused.

        Those who were refused together would otherwise come back together, second after second, and wait for each other.
        """
        if len(self._answered) < 2:
            return 1
        start, refused = self._answered[0]
        seconds = max(1e-3, time.monotonic() - start) / len(self._answered)
        soonest = max(1, math.ceil(seconds * self.pending))
        for_each_answered = (self._refused - refused) / len(self._answered)
        return min(LONGEST, random.randint(soonest, soonest + round(for_each_answered)))

    def busy(self) -> Refused:
        """What is said when nothing more is taken on."""
        self._refused += 1
        return Refused(
            503, "busy", "The server has as many pictures as it can take. Try again.", retry_after=self.retry_after()
        )
