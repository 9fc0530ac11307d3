"""Work in several processes that find each other on this machine, as torchrun would start them, without torchrun's cost."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.distributed.loaded"])


@dataclass
class Started:
    """Processes at work, process r at place r, and where each sends its result."""

    processes: list[BaseProcess]
    results: list[Connection]

    def wait(self, seconds: float) -> list[int | None]:
        """Their exit codes; None for one that still runs then. All are ended."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
            process.join()
        return codes

    def found(self, seconds: float = 120) -> list[Any]:
        """What each returned. Fails with the traceback of the first that did not."""
        end = time.monotonic() + seconds
        sent = [result.poll(max(0.0, end - time.monotonic())) for result in self.results]
        found = [_received(result) if there else None for result, there in zip(self.results, sent, strict=True)]
        codes = self.wait(max(1.0, end - time.monotonic()))
        lost = [("lost", f"exit code {code}") for code in codes]
        for rank, (kind, value) in enumerate(one or other for one, other in zip(found, lost, strict=True)):
            assert kind == "returned", f"process {rank}: {value}"
        return [one[1] for one in found if one]


def _received(result: Connection) -> tuple[str, Any] | None:
    try:
        found: tuple[str, Any] = pickle.loads(result.recv_bytes())
    except EOFError:
        return None
    return found


def start(count: int, work: Callable[..., Any], *arguments: Any, **variables: str) -> Started:
    """Begin `work(*arguments)` in `count` processes; variables: of their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    found = Started([], [])
    for rank in range(count):
        mine, theirs = CONTEXT.Pipe(duplex=False)
        own = place | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | variables
        process = CONTEXT.Process(target=_work, args=(own, theirs, work, arguments))
        process.start()
        theirs.close()
        found.processes.append(process)
        found.results.append(mine)
    return found


def together(count: int, work: Callable[..., Any], *arguments: Any, **variables: str) -> list[Any]:
    """What `work(*arguments)` returns in each of `count` processes."""
    return start(count, work, *arguments, **variables).found()


def _work(variables: dict[str, str], result: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(variables)
    try:
        value = work(*arguments)
    except BaseException as error:
        _send(result, ("raised", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
        result.close()
        raise SystemExit(getattr(error, "exit_code", 1)) from None
    _send(result, ("returned", value))


def _send(result: Connection, value: tuple[str, Any]) -> None:
    result.send_bytes(pickle.dumps(value))  # by value: torch's own way would share memory that goes with this process
