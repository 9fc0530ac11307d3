"""Reading a video: upright RGB frames with their times, and the packets of its sound, decoded ahead by a thread.

A video that ends early, holds damaged frames or falls silent gives what can be decoded; what was wrong is told at its end.

Letters: H W pixels.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, SegwrightError, UserError
from segwright.inference.video.describing import (
    VideoInfo,
    describe,
    picture_stream,
    promised_seconds,
    sound_stream,
    upright,
)
from segwright.inference.video.places import TIMEOUT_S, Place, av_package

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

PATIENCE_S = 25.0
"""So long the reader may go without a new frame, whatever the reason."""
AHEAD = 4
"""Frames that wait decoded."""
MOST_WAITING = 1000
"""Frames and packets of sound that wait. Sound has room of its own: it must not hold up the frames of a live video."""


class Frame(NamedTuple):
    """rgb: uint8 [H, W, 3], upright. time: seconds from the wanted start, rising from frame to frame."""

    rgb: NDArray[np.uint8]
    time: Fraction


class Sound(NamedTuple):
    """A packet of the sound track, and when it plays: seconds from the wanted start."""

    packet: Any
    time: Fraction


class Reader:
    """The frames of one video, in order. Use it in a `with` block; `info` and `sound` are known from the first frame on,
    and the sound track and its packets may be used until the block ends.

    start, end: the part to read, seconds. every: take only each so-manieth frame of it.
    While it iterates, `decoded`, `damaged`, `dropped` and `resized` count frames: all that were decoded; those that came
    with errors; those that a live video brought too fast; those of another size than the first.
    After it, `problem` says what is wrong with the video, or is None.
    Iterating raises UserError where the video cannot be opened or has nothing between start and end, DataError where no
    frame can be decoded. No call waits longer than half a minute for a frame.
    """

    def __init__(self, place: Place, *, start: float = 0.0, end: float | None = None, every: int = 1) -> None:
        if not 0 <= start < math.inf or (end is not None and not start < end):
            until = "" if end is None else f" --end {end:g}"
            raise UserError(f"--start {start:g}{until}: allowed are seconds with 0 ≤ start < end.")
        if every < 1:
            raise UserError(f"--every {every}: allowed are whole numbers from 1; 2 takes every second frame.")
        self.place, self.every = place, every
        self.start, self.end = _exact(start), None if end is None else _exact(end)
        self.info: VideoInfo | None = None
        self.sound: AudioStream | None = None
        self.decoded = self.damaged = self.dropped = self.resized = 0
        self.problem: str | None = None
        self._container: InputContainer | None = None
        self._in_part = 0
        self._last: Fraction | None = None
        self._longest = Fraction(0)  # that a frame was shown
        self._origin: Fraction | None = None
        self._waiting: queue.Queue[Frame | Sound | BaseException | None] = queue.Queue(MOST_WAITING)
        self._room = threading.Semaphore(AHEAD)
        self._stopped = threading.Event()
        self._alive = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="read-video", daemon=True)

    def __enter__(self) -> Self:
        av_package()
        self._alive = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=2)  # one that hangs in the operating system ends with the process
        if self._container is not None and not self._thread.is_alive():
            self._container.close()  # not before: the sound's packets and description belong to it

    def __iter__(self) -> Iterator[Frame | Sound]:
        while (item := self._next()) is not None:
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Frame):
                self._room.release()
            yield item

    def _next(self) -> Frame | Sound | BaseException | None:
        while True:
            try:
                return self._waiting.get(timeout=1)
            except queue.Empty:
                if time.monotonic() - self._alive > PATIENCE_S:
                    self._stopped.set()
                    return self._ended(f"no frame came for {PATIENCE_S:.0f} s")

    def _put(self, item: Frame | Sound | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._waiting.put(item, timeout=0.5)
            except queue.Full:
                continue
            self._alive = time.monotonic()
            return

    def _run(self) -> None:
        try:
            self._put(self._read())
        except BaseException as error:  # raised again by the thread that iterates
            self._put(error)

    def _read(self) -> SegwrightError | None:
        """Put frames and sounds until the end. Returns what is to be raised there, if anything."""
        av = av_package()
        try:
            container = av.open(
                self.place.file,
                format=self.place.format,
                options=dict(self.place.options),
                timeout=None if self.place.here else (TIMEOUT_S, TIMEOUT_S),
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, OSError) as error:
            return self._unreadable(error)
        self._container = container
        stream = picture_stream(container, self.place)
        try:
            whole = self._packets(container, stream)
        except (av.error.FFmpegError, OSError) as error:
            with suppress(av.error.FFmpegError):
                for frame in stream.decode(None):  # what the decoder still holds
                    self._frame(frame, container, stream)
            return self._ended(f"reading stopped ({_words(error)})")
        return self._ended(self._missing(container, stream) if whole else None)

    def _packets(self, container: InputContainer, stream: VideoStream) -> bool:
        """Whether the video was read to its own end, not to the wanted one."""
        av = av_package()
        stream.thread_type, heard = "AUTO", sound_stream(container)
        if container.start_time is not None:
            self._origin = Fraction(container.start_time, 1_000_000)
        if self.start:
            with suppress(av.error.FFmpegError, OSError):  # without an index it is decoded from the beginning
                container.seek(int(((self._origin or 0) + self.start) * 1_000_000))
        for packet in container.demux([stream, *([] if heard is None else [heard])]):
            if self._stopped.is_set():
                return False
            if packet.stream.type == "audio":
                self._sound(packet)
                continue
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                continue
            for frame in frames:
                self._alive = time.monotonic()
                if isinstance(frame, av.VideoFrame) and not self._frame(frame, container, stream):
                    return False
        return True

    def _frame(self, frame: VideoFrame, container: InputContainer, stream: VideoStream) -> bool:
        """Put a decoded frame where it is wanted. False where it lies behind the end."""
        at = self._time(frame, stream)
        if self.end is not None and at >= self.end:
            return False
        self.decoded += 1
        self.damaged += bool(frame.is_corrupt)
        if at < self.start:
            return True
        self._in_part += 1
        if (self._in_part - 1) % self.every:
            return True
        if self.info is None:
            self.info, self.sound = describe(frame, container, stream, self.place), sound_stream(container)
        while not self._room.acquire(timeout=0 if self.info.live else 0.5):
            if self.info.live:
                self.dropped += 1
                return True
            if self._stopped.is_set():
                return False
        self.resized += (frame.width, frame.height) != self.info.stored
        self._put(Frame(upright(frame, self.info), at - self.start))
        return True

    def _time(self, frame: VideoFrame, stream: VideoStream) -> Fraction:
        """Seconds from the start of the video; later than the frame before, whatever a damaged file says."""
        step = 1 / Fraction(stream.average_rate or 25)
        following = Fraction(0) if self._last is None else self._last + step
        at = following
        if frame.pts is not None:
            told = frame.pts * Fraction(frame.time_base or stream.time_base or 1)
            self._origin = told if self._origin is None else self._origin
            at = told - self._origin
        if self._last is not None and at <= self._last:
            at = following
        told_step = Fraction((frame.duration or 0) * (frame.time_base or 0))
        self._longest = max(self._longest, told_step, Fraction(0) if self._last is None else at - self._last)
        self._last = at
        return at

    def _sound(self, packet: Any) -> None:
        if packet.pts is None:
            return
        at = packet.pts * Fraction(packet.time_base) - (self._origin or 0)
        if at >= self.start and (self.end is None or at < self.end):
            self._put(Sound(packet, at - self.start))

    def _missing(self, container: InputContainer, stream: VideoStream) -> str | None:
        """What the header promised and the file does not hold, in words."""
        if self.info is not None and self.info.live:
            return None
        if stream.frames and not self.start:
            missing = stream.frames - self.decoded
            if missing > max(1, 0.01 * stream.frames):
                return f"{self.decoded} of {stream.frames} frames could be decoded; the file is cut off or damaged"
            return None
        seconds, reached = promised_seconds(container, stream), float((self._last or 0) + self._longest)
        if seconds is not None and reached < seconds - max(0.1, 0.02 * seconds):
            return f"the frames end after {reached:.1f} of {seconds:.1f} s; the file is cut off or damaged"
        return None

    def _ended(self, problem: str | None) -> SegwrightError | None:
        """Note what is wrong with the video; the error to raise where it gave no frame."""
        if problem is None and self.damaged:
            problem = f"{self.damaged} of {self.decoded} frames were decoded with errors; the file is damaged"
        self.problem = problem
        if self.info is not None or (self._stopped.is_set() and problem is None):
            return None
        if self.decoded or (problem is None and self.start):
            length = f"it ends after {float(self._last):.1f} s" if self._last is not None else "it ends before"
            return UserError(f"{self.place.name} has no frame from --start {float(self.start):g} s on: {length}.")
        return DataError(
            f"{self.place.name}: no frame can be decoded ({problem or 'it holds none'}). Check it in a player, copy it again, or "
            "convert it to H.264."
        )

    def _unreadable(self, error: Exception) -> SegwrightError:
        if self.place.here:
            return DataError(
                f"{self.place.name} cannot be read as a video ({_words(error)}). Check it in a player; a recording that was cut off "
                "has lost its index and can be repaired only with special tools."
            )
        return UserError(
            f"{self.place.name} cannot be opened ({_words(error)}). Check the address, the network and the password, or that the "
            "camera is not in use."
        )


def _exact(seconds: float) -> Fraction:
    """The decimal number that was meant: 0.2 is 1/5, not the nearest binary number."""
    return Fraction(seconds).limit_denominator(1_000_000)


def _words(error: Exception) -> str:
    """The reason in FFmpeg's words, without file names and addresses."""
    if type(error).__name__ == "ExitError":
        return f"nothing came for {TIMEOUT_S:.0f} s"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason)[:160]
