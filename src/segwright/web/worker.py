"""The worker process: pictures come in through one pipe, answers leave through another.

One thread reads the pipe, some decode, one computes, some encode: while a picture is computed, the next is decoded.
The process ends when its input ends, so it never outlives the server. Ctrl-C and SIGTERM are the server's business.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, SegwrightError
from segwright.web.frames import Frame, pack, read

if TYPE_CHECKING:
    from segwright.inference.maps import Predicts
    from segwright.web.answers import Wish


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model that is ready. name: of the run or file. backend: what computes it. weights: sha256 of its file.

    architecture, licence, provenance: of the model. size: the height and width that it takes, None for any.
    paths: texts that name places of this machine, which no message may hold.
    """

    predictor: Predicts
    name: str
    architecture: str
    backend: str
    weights: str
    licence: str
    provenance: Mapping[str, Any]
    size: tuple[int, int] | None = None
    paths: tuple[str, ...] = ()


@dataclass(eq=False)
class _Picture:
    """A picture on its way through the process."""

    number: int
    wish: Wish
    pixels: NDArray[np.uint8]


def describe(opened: Opened) -> dict[str, Any]:
    """What /model says: plain data without a path."""
    space = opened.predictor.labels
    provenance = json.dumps(opened.provenance, sort_keys=True, default=str)
    return {
        "name": opened.name,
        "architecture": opened.architecture,
        "backend": opened.backend,
        "device": opened.predictor.device,
        "licence": opened.licence,
        "weights_sha256": opened.weights,
        "provenance_sha256": hashlib.sha256(provenance.encode()).hexdigest(),
        "labels": {
            "name": space.name,
            "classes": [{"id": k, "name": c.name, "color": list(c.color)} for k, c in enumerate(space.classes)],
            "without_class": 255,
        },
        "input": {"channels": "RGB", "formats": ["PNG", "JPEG", "BMP", "TIFF", "WebP", "GIF", "PPM"], "size": "any"},
    }


def work(open_model: Callable[[], Opened], *, batch: int, wait_ms: float, pixels: int, folder: Path) -> None:
    """Answers frames from standard input on standard output until the input ends.

    open_model: called when the first frame says so; a SegwrightError of it is told, and the process ends. folder: for the
    pictures while they are decoded. The other settings as in Limits.
    """
    if hasattr(os, "nice"):
        os.nice(5)  # when cores are short, the server answers before the next picture is computed
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    inlet, outlet = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the frames
    if read(inlet) is None:
        return
    send = _Sender(outlet)
    try:
        opened = open_model()
        desk = _Desk(opened, send, batch=batch, wait_ms=wait_ms, pixels=pixels, folder=folder)
        opened.predictor.predict(np.zeros((*(opened.size or (64, 64)), 3), np.uint8))
    except SegwrightError as error:
        send({"is": "failed", "message": str(error), "code": error.exit_code})
        return
    send({"is": "ready", "model": describe(opened)})
    threading.Thread(target=desk.read_all, args=(inlet,), daemon=True).start()
    desk.compute_all()


class _Sender:
    """Writes frames whole, from any thread."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def __call__(self, head: Mapping[str, Any], payload: bytes = b"") -> None:
        with self._lock:
            try:
                self._stream.write(pack(head, payload))
                self._stream.flush()
            except OSError:  # the server has gone
                os._exit(0)


class _Desk:
    def __init__(self, opened: Opened, send: _Sender, *, batch: int, wait_ms: float, pixels: int, folder: Path) -> None:
        from segwright.web.batching import Batches

        self._opened, self._send = opened, send
        self._batches = Batches(opened.predictor, batch)
        self._batch, self._wait, self._pixels, self._folder = batch, wait_ms / 1000, pixels, folder
        self._decoded: queue.SimpleQueue[_Picture] = queue.SimpleQueue()
        self._aside: deque[_Picture] = deque()
        self._coming = 0
        self._counting = threading.Lock()
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._encoders = ThreadPoolExecutor(2, thread_name_prefix="encode")

    def read_all(self, inlet: Any) -> None:
        while (frame := read(inlet)) is not None:
            with self._counting:
                self._coming += 1
            self._decoders.submit(self._decode, frame)
        shutil.rmtree(self._folder, ignore_errors=True)  # the server was killed, else it does so
        os._exit(0)

    def _decode(self, frame: Frame) -> None:
        from segwright.web.answers import Wish

        number = frame.head["number"]
        try:
            self._decoded.put(_Picture(number, Wish(**frame.head["wish"]), self._pixels_of(frame.payload)))
        except Exception as error:
            self._fail(number, error)
        finally:
            with self._counting:
                self._coming -= 1

    def _pixels_of(self, content: bytes) -> NDArray[np.uint8]:
        from segwright.data.reading import read_header, read_image

        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".picture")
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            header = read_header(path)
            if header.height * header.width > self._pixels:
                raise _TooLarge(
                    f"The picture has {header.height}×{header.width} pixels; this server takes {self._pixels:,} in all."
                )
            return read_image(path)
        except DataError as error:
            raise DataError(str(error).replace(f"{path}: ", "").replace(str(path), "the picture")) from None
        finally:
            path.unlink(missing_ok=True)

    def compute_all(self) -> None:
        while True:
            group = self._gather()
            start = time.monotonic()
            for picture, ids in zip(group, self._predict(group), strict=True):
                if isinstance(ids, Exception):
                    self._fail(picture.number, ids)
                else:
                    seconds = (time.monotonic() - start) / len(group)
                    self._encoders.submit(self._encode, picture, ids, len(group), seconds)

    def _gather(self) -> list[_Picture]:
        """One picture, and others of its size that are here or come within the wait."""
        first = self._aside.popleft() if self._aside else self._decoded.get()
        group = [first]
        if self._batch == 1 or not self._batches.worth_waiting(first.pixels):
            return group
        same = [p for p in self._aside if p.pixels.shape == first.pixels.shape][: self._batch - 1]
        for picture in same:
            self._aside.remove(picture)
        group += same
        until = time.monotonic() + self._wait
        while len(group) < self._batch:
            waiting = max(0.0, until - time.monotonic()) if self._coming else 0.0
            try:
                picture = self._decoded.get(timeout=waiting) if waiting else self._decoded.get_nowait()
            except queue.Empty:
                break
            if picture.pixels.shape == first.pixels.shape:
                group.append(picture)
            else:
                self._aside.append(picture)
        return group

    def _predict(self, group: Sequence[_Picture]) -> Sequence[NDArray[np.uint8] | Exception]:
        try:
            return self._batches.predict([picture.pixels for picture in group])
        except Exception as error:
            if len(group) == 1:
                return [error]
        return [self._predict([picture])[0] for picture in group]

    def _encode(self, picture: _Picture, ids: NDArray[np.uint8], together: int, seconds: float) -> None:
        from segwright.web.answers import encode

        try:
            content = encode(picture.pixels, ids, self._opened.predictor.labels, picture.wish)
            self._send({"is": "done", "number": picture.number, "batch": together, "seconds": seconds}, content)
        except Exception as error:
            self._fail(picture.number, error)

    def _fail(self, number: int, error: Exception) -> None:
        status, code, message = _said(error)
        for path in self._opened.paths:
            message = message.replace(path, "the model")
        if status == 500:
            traceback.print_exception(error, file=sys.stderr)
        self._send({"is": "refused", "number": number, "status": status, "code": code, "message": message})


class _TooLarge(Exception):
    """The picture has more pixels than the server takes."""


def _said(error: Exception) -> tuple[int, str, str]:
    from segwright.web.outlines import MOST_POINTS, TooManyPoints

    if isinstance(error, _TooLarge):
        return 413, "too_many_pixels", str(error)
    if isinstance(error, SegwrightError):
        return 422, "bad_picture", f"{str(error)[:1].upper()}{str(error)[1:]}"
    if isinstance(error, TooManyPoints):
        message = f"The outlines have more than {MOST_POINTS:,} corners. Ask with a larger min_pixels, or for ids."
        return 422, "too_many_points", message
    if isinstance(error, MemoryError):
        return 413, "no_memory", "The picture needs more memory than the server has. Send a smaller one."
    return 500, "internal", "The server has a defect; its log says more."
