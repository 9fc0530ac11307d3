"""Reading the next picture while the last one is worked on, and telling how far the work is. Nothing here needs torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[int, int], None]
"""Called with (done, total) after each picture."""

Item = TypeVar("Item")


def read_ahead(read: Callable[[int], Item], count: int, *, depth: int = 1) -> Generator[Item, None, None]:
    """read(0), read(1), ... read(count - 1), in order; a thread reads the next `depth` items while the last one is used.

    An error of `read` is raised where its item would come. The thread has ended when the iterator is done or closed.
    """
    if count == 0:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        following = deque(reader.submit(read, index) for index in range(min(depth, count)))
        try:
            for index in range(count):
                item = following.popleft().result()
                if index + depth < count:
                    following.append(reader.submit(read, index + depth))
                yield item
        finally:
            for future in following:
                future.cancel()
