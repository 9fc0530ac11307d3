"""Segment a video, a stream or a camera with one or more models."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self

from segwright.api.backends import open_as_one
from segwright.api.showing import new_console
from segwright.api.verbs import RUNS
from segwright.contracts import DataError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.inference.predictor import Predictor
    from segwright.inference.video.segmenting import SegmentedVideo

FOLDER = Path("predictions")
PLAIN_INTERVAL_S = 30.0


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """found: what was written and seen. summary: a JSON file of it. plot: a PNG, class shares over time."""

    found: SegmentedVideo
    summary: Path
    plot: Path


class IncompleteVideo(DataError):
    """The video is damaged or cut off. `result` holds what was made of the part that could be decoded."""

    def __init__(self, message: str, result: VideoResult) -> None:
        super().__init__(message)
        self.result = result


def segment_video(
    sources: Sequence[str | Path],
    video: str | Path | int,
    out: str | Path | None = None,
    *,
    layout: str | None = None,
    smooth: float = 0.0,
    hysteresis: int = 1,
    every: int = 1,
    start: float = 0.0,
    end: float | None = None,
    opacity: float = 0.5,
    palette: str = "official",
    legend: bool = True,
    ensemble: bool = False,
    labels: str | None = None,
    backend: str | None = None,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> VideoResult:
    """Segment a video file, an address (rtsp://, http://, ...) or a camera (its number) with one or more models.

    out: a .mp4, .m4v, .mov or .mkv file; by default predictions/NAME_LAYOUT.mp4.
    layout: `overlay` or `mask` of one model, `side-by-side` or `grid` of the original and any number; by default overlay
    for one model, grid for several.
    smooth: memory of the running mean of class probabilities, 0 (off) to below 1. hysteresis: frames in a row that a class
    has to last before it is shown. every: take only each so-manieth frame. start, end: the part to take, seconds.
    opacity, palette: of the colours. legend: a strip with the classes below. ensemble: all models together as one.
    labels: label space in which the predictions are told (a name or a .yaml file); without `smooth`.
    backend: as for `predict`.
    Frame times, rotation and sound are kept. Ctrl-C ends a camera or stream, and cuts a file off; what is written stays.
    Writes OUT, OUT's name with .json (what was seen) and with _shares.png (class shares over time).
    Raises UserError for wrong arguments, a missing source and a full disk; DataError where no frame can be decoded;
    IncompleteVideo, after all is written, where the video is damaged or cut off.
    """
    from segwright.files import write_json
    from segwright.inference.video.places import find_place
    from segwright.inference.video.segmenting import Look, segment
    from segwright.inference.video.summary import describe_video
    from segwright.report.video_shares import draw_shares
    from segwright.training.interrupt import Interrupted, stop_requests

    console = console or new_console()
    models = len(sources) if not ensemble else min(1, len(sources))
    look = Look(layout=layout, smooth=smooth, hysteresis=hysteresis, opacity=opacity, palette=palette, legend=legend)
    look.check(models)
    place = find_place(video)
    target = Path(out) if out is not None else FOLDER / f"{place.stem}_{look.layout_of(models)}.mp4"
    predictors = _open(sources, ensemble, labels, backend, device, Path(runs), console)
    with (
        stop_requests(lambda text: console.print(text, highlight=False)) as asked,
        _Progress(console) as progress,
    ):
        found = segment(
            predictors,
            place,
            target,
            look=look,
            every=every,
            start=start,
            end=end,
            stop=lambda: asked.number is not None,
            progress=progress,
        )
    try:
        summary = write_json(target.with_suffix(".json"), describe_video(found, look))
        plot = draw_shares(found, target.with_name(f"{target.stem}_shares.png"), palette=palette)
    except OSError as error:
        raise UserError(f"{target} is whole, but not what belongs beside it: {error.strerror or error}.") from error
    frames = f"{found.written} frame{'s' * (found.written != 1)}"
    result = VideoResult(found=found, summary=summary, plot=plot)
    if found.problem is not None:
        raise IncompleteVideo(
            f"{found.info.name}: {found.problem}. {target} holds what was predicted: {frames}.", result
        )
    if asked.number not in (None, signal.SIGINT) or (asked.number is not None and not found.info.live):
        raise Interrupted(f"stopped; {target} holds the part until then: {frames}.", int(asked.number or 0))
    return result


def _open(
    sources: Sequence[str | Path],
    ensemble: bool,
    labels: str | None,
    backend: str | None,
    device: str,
    runs: Path,
    console: Console,
) -> dict[str, Predictor]:
    """Models by name, in order; of one name, all but the first get a number."""
    from segwright.build import build_space, pick_device, prediction_map
    from segwright.inference.predictor import Predictor
    from segwright.models.converted import in_space

    space = None if labels is None else build_space(labels, "--labels")
    opened: dict[str, Predictor] = {}
    for members in [sources] if ensemble else [[source] for source in sources]:
        segmenter, name = open_as_one(members, runs, backend, console)
        console.print(f"{name}: licence of the weights: {segmenter.licence}", highlight=False, markup=False)
        told = None if space is None else prediction_map(segmenter.labels, space)
        same = sum(known.partition(" (")[0] == name for known in opened)
        opened[f"{name} ({same + 1})" if same else name] = Predictor(
            in_space(segmenter, told), device=pick_device(device)
        )
    return opened


class _Progress:
    """Frames, frames a second and the time left: a bar on a terminal, a line every half minute elsewhere."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("frames"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("frames", total=None, rate="")

    def __enter__(self) -> Self:
        self._began = self._said = monotonic()
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int | None) -> None:
        now = monotonic()
        rate = done / max(1e-6, now - self._began)
        self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.1f} frames/s")
        if not self._console.is_terminal and now - self._said > PLAIN_INTERVAL_S:
            from segwright.training.progress import duration

            self._said = now
            left = "" if total is None else f" of {total}, {duration((total - done) / rate)} left"
            self._console.print(f"frame {done}{left}, {rate:.1f} frames/s", highlight=False)
