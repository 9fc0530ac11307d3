"""Ctrl-C and SIGTERM while training: finish the batch, save, say how to go on. A second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from segwright.contracts import SegwrightError


class Interrupted(SegwrightError):
    """Training was stopped by the user or the scheduler; everything is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # 130 for Ctrl-C, 143 for SIGTERM, as shells count


class StopHere(Exception):  # a message from a callback to the loop that called it, no error that anybody sees
    """Leave what is running now: a signal asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequest:
    """Whether a signal asked to stop."""

    number: int | None = None

    def agree(self) -> None:
        """Where several processes train together, hear whether any of them was asked."""

    def stop_here(self, done: int, total: int) -> None:
        """Raise StopHere if so. done, total: how much of what would be left is done."""
        if self.number is not None:
            raise StopHere(self.number)


@contextmanager
def stop_requests(say: Callable[[str], None]) -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM (and SIGUSR1, Slurm's warning) into a request that the loop looks at after each batch.

    A second Ctrl-C raises KeyboardInterrupt. Other signals in between do not: Slurm sends SIGTERM after its warning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # signals belong to the main thread
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request.number is None:
            request.number = number
            say(f"{signal.Signals(number).name}: saving, then stopping (Ctrl-C to stop at once)")
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    watched = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGUSR1"):
        watched.append(signal.SIGUSR1)
    before = {number: signal.signal(number, handle) for number in watched}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
