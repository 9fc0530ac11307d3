"""The worker process seen from the server: jobs go in, answers come out, and a dead worker is replaced.

A second process waits with everything imported and no model loaded, so that the model is back within seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segwright.contracts import DataError, SegwrightError, UserError
from segwright.web.frames import Frame, pack, receive
from segwright.web.limits import Limits
from segwright.web.refusals import RETRY_SECONDS, Refused, not_ready

ATTEMPTS = 2
"""How many workers a picture may see die before it is refused."""
LONGEST_PAUSE = 10.0
"""Seconds between two starts of a worker that dies before it is ready."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One picture's answer. batch: pictures that were computed together. seconds: of computing, a picture."""

    content: bytes
    batch: int
    seconds: float


@dataclass(eq=False, kw_only=True)
class _Job:
    number: int
    wish: Mapping[str, Any]
    picture: bytes
    answer: asyncio.Future[Answer]
    attempts: int = 0
    sent: float = field(default=0.0)


class Engine:
    """Keeps one worker running from `start` to `stop`.

    command: starts a worker; the folder for pictures is added as its last argument. Use it in one event loop.
    model: what the worker says of its model, None until it is ready. failure: why the model cannot be opened at all.
    """

    def __init__(self, command: Sequence[str], limits: Limits) -> None:
        self.limits = limits
        self.model: dict[str, Any] | None = None
        self.failure: SegwrightError | None = None
        self.restarts = 0
        self.pid: int | None = None
        self.settled = asyncio.Event()
        """Set once the model is ready, or cannot be opened."""
        self._command = list(command)
        self._folder = Path()
        self._ready = False
        self._number = 0
        self._waiting: deque[_Job] = deque()
        self._inside: dict[int, _Job] = {}
        self._changed = asyncio.Event()
        self._standby: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def waiting(self) -> int:
        """Pictures that wait for the worker."""
        return len(self._waiting)

    def start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="segwright-serve-"))
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Ends the worker and removes its folder. What still waits is refused."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        if self._standby is not None:
            with contextlib.suppress(OSError):
                await _end(await self._standby)
        for job in [*self._waiting, *self._inside.values()]:
            _refuse(job, not_ready("the server stops"))
        shutil.rmtree(self._folder, ignore_errors=True)

    async def answer(self, wish: Mapping[str, Any], picture: bytes) -> Answer:
        """Raises Refused. Cancelling it takes the picture out of the queue."""
        if not self._ready:
            raise not_ready("it is loading" if self.failure is None else "it cannot be opened")
        self._number += 1
        future = asyncio.get_running_loop().create_future()
        job = _Job(number=self._number, wish=wish, picture=picture, answer=future)
        self._waiting.append(job)
        self._changed.set()
        try:
            return await future
        finally:
            if job in self._waiting:
                self._waiting.remove(job)

    async def _keep(self) -> None:
        pause = 0.5
        while True:
            try:
                process = await (self._standby or asyncio.create_task(self._spawn()))
            except OSError as error:
                _log(f"the worker cannot be started ({error})")
                await asyncio.sleep(pause)
                continue
            finally:
                self._standby = None
            self.pid = process.pid
            try:
                was_ready = await self._attend(process)
            finally:
                self._ready = False
                await _end(process)
                self._take_back()
            if self.failure is not None and self.restarts == 0 and not was_ready:
                return
            pause = 0.5 if was_ready else min(LONGEST_PAUSE, 2 * pause)
            self.restarts += 1
            _log(f"the worker ended ({process.returncode}); another one starts")
            if not was_ready:
                await asyncio.sleep(pause)

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            str(self._folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
            start_new_session=os.name != "nt",  # Ctrl-C in the terminal is for the server
        )

    async def _attend(self, process: asyncio.subprocess.Process) -> bool:
        """Talks with one worker until it ends. Returns whether it ever was ready."""
        assert process.stdin is not None
        assert process.stdout is not None
        beside = [asyncio.create_task(self._send(process.stdin)), asyncio.create_task(self._watch(process))]
        was_ready = False
        try:
            while (frame := await receive(process.stdout)) is not None:
                kind = frame.head["is"]
                if kind == "ready":
                    was_ready = self._ready = True
                    self.model, self.failure = frame.head["model"], None
                    self.settled.set()
                    self._changed.set()
                    self._standby = asyncio.create_task(self._spawn())
                elif kind == "failed":
                    error = DataError if frame.head["code"] == DataError.exit_code else UserError
                    self.failure = error(frame.head["message"])
                    if self.restarts:  # at the first start the server itself says so, and ends
                        _log(f"the model cannot be opened: {self.failure}")
                    self.settled.set()
                else:
                    self._deliver(frame)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
        return was_ready

    async def _send(self, stdin: asyncio.StreamWriter) -> None:
        try:
            stdin.write(pack({"do": "open"}))
            while True:
                while self._ready and self._waiting and len(self._inside) < self._window:
                    job = self._waiting.popleft()
                    job.attempts, job.sent = job.attempts + 1, time.monotonic()
                    self._inside[job.number] = job
                    stdin.write(pack({"number": job.number, "wish": job.wish}, job.picture))
                    await stdin.drain()
                self._changed.clear()
                await self._changed.wait()
        except ConnectionError:
            return  # the reader sees the end as well, and acts on it

    @property
    def _window(self) -> int:
        """Pictures inside the worker: one group computed, one decoded meanwhile."""
        return max(4, 2 * self.limits.batch)

    def _deliver(self, frame: Frame) -> None:
        job = self._inside.pop(frame.head["number"])
        self._changed.set()
        if job.answer.done():  # the client has gone
            return
        if frame.head["is"] == "done":
            head = frame.head
            job.answer.set_result(Answer(content=frame.payload, batch=head["batch"], seconds=head["seconds"]))
        else:
            _refuse(job, Refused(frame.head["status"], frame.head["code"], frame.head["message"]))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Ends a worker that hangs."""
        while True:
            await asyncio.sleep(1)
            oldest = min((job.sent for job in self._inside.values()), default=None)
            if oldest is not None and time.monotonic() - oldest > self.limits.predict_seconds * len(self._inside):
                _log("the worker hangs and is ended")
                process.kill()

    def _take_back(self) -> None:
        """What a dead worker held waits again, in its old order; what saw too many die is refused."""
        for job in reversed(list(self._inside.values())):
            if job.answer.done():
                continue
            if job.attempts < ATTEMPTS:
                self._waiting.appendleft(job)
            else:
                message = "The worker ended twice while it had this picture. Try again."
                _refuse(job, Refused(503, "worker_ended", message, retry_after=RETRY_SECONDS))
        self._inside.clear()
        for file in self._folder.glob("*.picture"):
            file.unlink(missing_ok=True)


def _refuse(job: _Job, refused: Refused) -> None:
    if not job.answer.done():
        job.answer.set_exception(refused)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
