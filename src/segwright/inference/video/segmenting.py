"""A video through one or more models: reading, predicting, and drawing and writing overlap, each in a thread of its own.

Letters: H W pixels.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.inference.predictor import Predictor
from segwright.inference.video.describing import VideoInfo
from segwright.inference.video.panels import Panels, check_layout
from segwright.inference.video.places import Place
from segwright.inference.video.reading import Frame, Reader, Sound
from segwright.inference.video.steady import Track, check_steadying
from segwright.inference.video.timeline import Shares, Timeline
from segwright.inference.video.writing import Writer, check_out, pick_encoder
from segwright.labels import LabelSpace
from segwright.metrics.stability import Stability

BEHIND = 4
"""Frames that wait for being drawn and written."""
Progress = Callable[[int, int | None], None]
"""Called with (frames done, frames in all or None) after each frame."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the video is made.

    layout: `overlay`, `mask`, `side-by-side` or `grid`; by default overlay for one model, grid for several.
    smooth: memory of the running mean of probabilities, 0 (off) to below 1. hysteresis: frames in a row that a class has to
    last before it is shown, 1 for off. opacity: of overlays, 0..1. palette: official or safe. legend: a strip below.
    """

    layout: str | None = None
    smooth: float = 0.0
    hysteresis: int = 1
    opacity: float = 0.5
    palette: str = "official"
    legend: bool = True

    def layout_of(self, models: int) -> str:
        return self.layout or ("overlay" if models == 1 else "grid")

    def check(self, models: int) -> None:
        """Raises UserError for values out of range and for a layout that does not fit so many models."""
        check_layout(self.layout_of(models), models, self.opacity, self.palette)
        check_steadying(self.smooth, self.hysteresis)


@dataclass(frozen=True, kw_only=True)
class ModelOnVideo:
    """What one model saw. shares: over time, with the mean of each class in `mean`, by name, the largest first.

    before, after: how steady its answers are, and those that are shown (None where nothing steadies them).
    """

    name: str
    labels: LabelSpace
    shares: Shares
    mean: Mapping[str, float]
    before: Stability
    after: Stability | None


@dataclass(frozen=True, kw_only=True)
class SegmentedVideo:
    """A finished video. size: height and width of its frames, pixels. written: its frames.

    decoded, damaged, dropped: frames of the source, as in `Reader`. sound: whether it was copied.
    notes: what was changed on the way. problem: what is wrong with the source, or None.
    """

    out: Path
    info: VideoInfo
    encoder: str
    layout: str
    size: tuple[int, int]
    written: int
    decoded: int
    damaged: int
    dropped: int
    seconds: float
    sound: bool
    notes: tuple[str, ...]
    problem: str | None
    models: tuple[ModelOnVideo, ...]


def segment(
    predictors: Mapping[str, Predictor],
    place: Place,
    out: Path,
    *,
    look: Look | None = None,
    every: int = 1,
    start: float = 0.0,
    end: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> SegmentedVideo:
    """Segment a video with one or more models and write the result as a video.

    predictors: name -> model, at least one. every, start, end: which frames, as in `Reader`. stop: asked after each frame.
    Memory does not grow with the length of the video. At most four frames wait to be predicted, and four to be written.
    Frames keep their times. A source that ends early or is damaged gives what can be decoded; `problem` says so.
    Raises UserError for wrong arguments before anything is written, and where the disk is full: what is written stays.
    Raises DataError where no frame can be decoded.
    """
    look = look or Look()
    if not predictors:
        raise UserError("a video needs at least one model.")
    look.check(len(predictors))
    check_out(out)
    pick_encoder()
    if place.here and out.exists() and out.samefile(place.name):
        raise UserError(f"-o {out} is the video itself; choose another name.")
    tracks = {n: Track(p, smooth=look.smooth, hysteresis=look.hysteresis) for n, p in predictors.items()}
    lines = {name: Timeline(predictor.labels.num_classes) for name, predictor in predictors.items()}
    spaces = {name: predictor.labels for name, predictor in predictors.items()}
    begun: Finishing | None = None
    early: list[Sound] = []
    done, last = 0, Fraction(0)
    with Reader(place, start=start, end=end, every=every) as reader:
        try:
            for item in reader:
                if isinstance(item, Sound):
                    early.append(item) if begun is None else begun.put(item)
                    continue
                ids = [track.add(item.rgb) for track in tracks.values()]
                for line, one in zip(lines.values(), ids, strict=True):
                    line.add(one, float(item.time))
                if begun is None:
                    begun = _begin(reader, item, spaces, out, look, every)
                    for sound in early:
                        begun.put(sound)
                    early.clear()
                begun.put(Drawable(item, ids))
                done, last = done + 1, item.time
                if progress is not None:
                    progress(done, _expected(reader, start, end, every))
                if stop():
                    break
        except BaseException:
            if begun is not None:
                begun.finish(whole=False)
            raise
        if begun is None or reader.info is None:
            raise UserError(f"{place.name} gave no frame before it was stopped; nothing was written.")
        begun.finish()
    info, writer = reader.info, begun.writer
    return SegmentedVideo(
        out=out,
        info=info,
        encoder=writer.encoder,
        layout=look.layout_of(len(predictors)),
        size=begun.panels.size,
        written=writer.frames,
        decoded=reader.decoded,
        damaged=reader.damaged,
        dropped=reader.dropped,
        seconds=float(last),
        sound=writer.has_sound,
        notes=_notes(reader, info, writer),
        problem=reader.problem,
        models=tuple(_seen(name, spaces[name], lines[name], tracks[name]) for name in predictors),
    )


class Drawable(NamedTuple):
    """A frame and what each model says of it."""

    frame: Frame
    ids: list[NDArray[np.uint8]]


class Finishing:
    """A thread that draws and writes frames in order. Its error is raised by the next call."""

    def __init__(self, panels: Panels, writer: Writer) -> None:
        self.panels, self.writer = panels, writer
        self._waiting: queue.Queue[Drawable | Sound | None] = queue.Queue(BEHIND)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="write-video", daemon=True)
        self._thread.start()

    def put(self, item: Drawable | Sound) -> None:
        self._raise()
        self._waiting.put(item)

    def finish(self, *, whole: bool = True) -> None:
        """Wait for what was put, and close the file. Where not `whole`, another error is on its way: raise none."""
        self._waiting.put(None)
        self._thread.join()
        if self._error is None:
            try:
                self.writer.close()
            except UserError as error:
                self._error = error
        if self._error is not None:
            self.writer.give_up()
        if whole:
            self._raise()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is not None:
                continue  # makes room, so that nobody waits for ever
            try:
                if isinstance(item, Sound):
                    self.writer.sound(item.packet, item.time)
                else:
                    self.writer.frame(self.panels.draw(item.frame.rgb, item.ids), item.frame.time)
            except BaseException as error:  # raised again by the thread that puts
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def _begin(
    reader: Reader, frame: Frame, spaces: Mapping[str, LabelSpace], out: Path, look: Look, every: int
) -> Finishing:
    height, width = frame.rgb.shape[:2]
    panels = Panels(
        look.layout_of(len(spaces)),
        spaces,
        height=height,
        width=width,
        opacity=look.opacity,
        palette=look.palette,
        legend=look.legend,
    )
    info = reader.info
    if info is None:
        raise RuntimeError("a frame came before the description of its video")
    rate = None if info.rate is None else info.rate / every
    height, width = panels.size
    return Finishing(panels, Writer(out, info, reader.sound, height=height, width=width, rate=rate, origin=frame.time))


def _expected(reader: Reader, start: float, end: float | None, every: int) -> int | None:
    """Frames that will be predicted in all, as far as the header tells."""
    info = reader.info
    if info is None or info.rate is None or (info.seconds is None and end is None):
        return None
    until = min(x for x in (info.seconds, end) if x is not None)
    return max(1, round((until - start) * float(info.rate) / every))


def _notes(reader: Reader, info: VideoInfo, writer: Writer) -> tuple[str, ...]:
    resized = f"{reader.resized} frames of another size were resized to {info.width}×{info.height}"
    dropped = f"{reader.dropped} frames came faster than the models could follow and were left out"
    found = [info.note, resized if reader.resized else None, dropped if reader.dropped else None, writer.note]
    return tuple(note for note in found if note)


def _seen(name: str, space: LabelSpace, line: Timeline, track: Track) -> ModelOnVideo:
    mean = dict(zip(space.class_names, line.mean().tolist(), strict=True))
    return ModelOnVideo(
        name=name,
        labels=space,
        shares=line.shares(),
        mean=dict(sorted(((n, s) for n, s in mean.items() if s > 0), key=lambda pair: -pair[1])),
        before=track.before,
        after=track.after,
    )
