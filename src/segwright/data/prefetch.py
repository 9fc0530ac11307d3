"""Results that background threads make ahead, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Check = Callable[[], None]
"""Called now and then during long work; raises Abandoned when nobody wants the result any more."""

_NAME = "segwright-prefetch"


class Abandoned(Exception):  # a signal between threads, no error that anybody sees
    """Raised inside the background threads once the consumer has gone."""


def prefetched(jobs: Iterable[Callable[[Check], T]], *, ready: int, threads: int = 1) -> Generator[T, None, None]:
    """The results of the jobs, in order, made in background threads; up to `ready` finished ones wait for the consumer.

    An error of a job is raised here, after the results before it. However the consumer leaves (exhausted, error, close,
    garbage collection), the threads have ended when this generator has.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Abandoned

    todo = iter(jobs)
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=_NAME)
    try:
        waiting.extend(pool.submit(job, check) for job in islice(todo, ready + threads))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(job, check) for job in islice(todo, 1))
            yield result
    finally:
        stop.set()
        own = threading.current_thread().name.startswith(_NAME)  # garbage collection may close this anywhere
        pool.shutdown(wait=not own, cancel_futures=True)
