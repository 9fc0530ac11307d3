"""An iterator that runs ahead in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Abandoned(Exception):  # a signal between two threads, no error that anybody sees
    """Raised inside the background thread once nobody wants its items any more."""


class _End:
    """The last thing in the queue: the iterator is exhausted, or failed."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Item(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value


def prefetched(make: Callable[[Callable[[], None]], Iterator[T]], depth: int) -> Generator[T, None, None]:
    """The items of make(check), in order, made up to `depth` ahead in one background thread.

    make: gets a function that it calls now and then during long work; it raises Abandoned when the consumer has gone.
    An error of the iterator is raised here, after the items made before it. However the consumer leaves (exhausted,
    error, close, garbage collection), the thread has ended when this generator has.
    """
    ready: queue.Queue[_Item[T] | _End] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(make, ready, stop), daemon=True, name="segwright-prefetch")
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item.value
    finally:
        stop.set()
        if threading.current_thread() is not thread:
            thread.join()


def _fill(
    make: Callable[[Callable[[], None]], Iterator[T]], ready: queue.Queue[_Item[T] | _End], stop: threading.Event
) -> None:
    def check() -> None:
        if stop.is_set():
            raise Abandoned

    def put(item: _Item[T] | _End) -> None:
        while True:
            check()
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    try:
        try:
            for value in make(check):
                put(_Item(value))
            put(_End(None))
        except Abandoned:
            raise
        except BaseException as error:  # also KeyboardInterrupt and MemoryError: the consumer must see them, not wait
            put(_End(error))
    except Abandoned:
        return
