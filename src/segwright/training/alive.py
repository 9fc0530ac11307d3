"""Signs of life between processes: one that was killed, stopped or cut off ends the whole training instead of hanging it.

A thread of each process adds to a counter in the store every two seconds. The first process watches all others, and all
watch the first; the launcher then ends the rest. A process that waits for its own thread of work keeps giving signs, so
slow disks and long validations are no death; the process group's own time limit is for those.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, and not in its __all__

from segwright.contracts import UserError
from segwright.runs.launch import attempt, note_error

VARIABLE = "SEGWRIGHT_SILENCE"
SILENCE_S = 15.0
"""How long a process may give no sign of life; torchrun needs up to 30 s more to end one that is stopped."""
INTERVAL_S = 2.0


def allowed_silence() -> float:
    """Seconds, from the environment where that says so. Raises UserError for less than 5."""
    text = os.environ.get(VARIABLE, str(SILENCE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds >= 5:
        raise UserError(f"the environment variable {VARIABLE} is {text!r}; allowed are seconds from 5 on.")
    return seconds


def store() -> TCPStore:
    """A connection of its own to where the processes leave each other notes."""
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), None, False)


class SignsOfLife:
    """Begins with the constructor; `end` says that this process leaves in peace."""

    def __init__(self, rank: int, count: int, store: TCPStore, silence_s: float) -> None:
        self.rank, self.store, self.silence_s = rank, store, silence_s
        self.watched = range(1, count) if rank == 0 else range(1)
        self.count = count
        self._over = threading.Event()
        self._answered = time.monotonic()
        store.set_timeout(timedelta(seconds=silence_s))
        store.set(self._key(rank, "name"), f"process {rank} of {count} ({socket.gethostname()}, pid {os.getpid()})")
        self._threads = [
            threading.Thread(target=work, daemon=True, name="segwright-signs-of-life")
            for work in (self._talk, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Give the last sign."""
        self._over.set()
        for thread in self._threads:
            thread.join(INTERVAL_S)
        if self._threads[0].is_alive():
            return  # the store does not answer
        try:
            self.store.set(self._key(self.rank, "left"), "yes")
        except RuntimeError:
            return  # whoever held the store has left already

    def _key(self, rank: int, what: str) -> str:
        return f"segwright/{attempt()}/{rank}/{what}"

    def _listen(self) -> None:
        """A stopped process may hold the store, and a question to it then never returns."""
        while not self._over.wait(INTERVAL_S):
            if time.monotonic() - self._answered > self.silence_s:
                self._leave(f"process 0 gave no sign of life for {self.silence_s:g} s: stopped, frozen or cut off")

    def _talk(self) -> None:
        heard = dict.fromkeys(self.watched, (-1, time.monotonic()))
        while not self._over.wait(INTERVAL_S):
            try:
                self.store.add(self._key(self.rank, "signs"), 1)
                silent = [rank for rank in self.watched if self._silent(rank, heard)]
                named = [self._name(rank) for rank in silent]
                self._answered = time.monotonic()
            except RuntimeError as error:
                if not self._over.is_set():
                    self._leave(f"the store of process 0 does not answer any more ({str(error).splitlines()[0]})")
                return
            if named:
                self._leave(
                    f"{', '.join(named)} gave no sign of life for {self.silence_s:g} s: stopped, frozen or cut off"
                )

    def _silent(self, rank: int, heard: dict[int, tuple[int, float]]) -> bool:
        signs, now = self.store.add(self._key(rank, "signs"), 0), time.monotonic()
        if signs != heard[rank][0] or self.store.check([self._key(rank, "left")]):
            heard[rank] = (signs, now)
        return now - heard[rank][1] > self.silence_s

    def _name(self, rank: int) -> str:
        key = self._key(rank, "name")
        return self.store.get(key).decode() if self.store.check([key]) else f"process {rank} of {self.count}"

    def _leave(self, why: str) -> None:
        """End this process from its watching thread: the working one may wait for the lost process for ever."""
        text = f"error: {why}. The training ends here; resume it from its last checkpoint.\n"
        note_error(text)
        os.write(2, text.encode())
        os._exit(1)
