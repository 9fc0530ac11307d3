"""Parallel coordinates: an upright axis for each swept key and one for the mIoU, a line through them for each trial."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from segwright.recipe.ranges import Range
from segwright.report.figures import Frame, Scale, covering_ticks, join, log_ticks, nice_ticks, tag
from segwright.report.wording import THIN, number, percent
from segwright.training.trials import Sweep, Trial, ranked

WIDTH, HEIGHT = 1100, 430
SCORE = "mIoU in %"
SHADES = 5
"""Steps of colour from the lowest to the highest mIoU."""
SPREAD = 0.62  # share of a choice's room over which its trials are spread


@dataclass(frozen=True)
class Axis:
    """One upright line. ticks: (text, y); places: trial number -> y, missing for what has no place on it."""

    name: str
    x: float
    ticks: tuple[tuple[str, float], ...]
    places: dict[int, float]


def parallel_chart(sweep: Sweep) -> Markup | None:
    """The chart; None when no trial was begun. Trials without a score end below the last axis."""
    trials = [trial for trial in ranked(sweep.trials) if trial.values]
    if not trials:
        return None
    longest = max(len(_short(text)) for text in sweep.ranges[0].values or ("0.0001",))
    room = max(longest * 7 + 14, len(sweep.ranges[0].key) * 4)
    frame = Frame(WIDTH, HEIGHT, left=room, right=70, top=46, bottom=34)
    left, right = frame.x_range
    step = (right - left) / len(sweep.ranges)
    axes = [_axis(found, left + step * index, trials, frame) for index, found in enumerate(sweep.ranges)]
    axes.append(_score_axis(right, trials, frame))
    nowhere = frame.height - frame.bottom + 24
    best = sweep.best
    # the best is drawn last, on top
    lines = [_line(trial, axes, nowhere, trials, best=trial is best) for trial in reversed(trials)]
    parts = [
        *(_upright(axis, frame) for axis in axes),
        *lines,
        *(_labels(axis, frame) for axis in axes),
        *(_brush(number, axis, frame) for number, axis in enumerate(axes)),
    ]
    if any(trial.miou is None for trial in trials):
        parts.append(tag("text", "no score", x=right + 10, y=nowhere + 4, class_="tick"))
    return frame.svg(_summary(sweep, trials), parts, "parallel")


def _axis(found: Range, x: float, trials: Sequence[Trial], frame: Frame) -> Axis:
    if found.form == "choice":
        return _choice_axis(found, x, trials, frame)
    scale = Scale(found.low, found.high, *frame.y_range, log=found.form == "log")
    places = {t.number: scale(float(t.values[found.key])) for t in trials if found.key in t.values}
    if found.form == "log":
        ticks = log_ticks(found.low, found.high)
    else:
        ticks = [t for t in nice_ticks(found.low, found.high, 6) if found.form != "int" or t == int(t)]
    return Axis(found.key, x, tuple((number(t), scale(t)) for t in ticks), places)


def _choice_axis(found: Range, x: float, trials: Sequence[Trial], frame: Frame) -> Axis:
    """Each choice has a room of its own; its trials are spread in it by rank, so that no line hides another."""
    bottom, top = frame.y_range
    room = (bottom - top) / len(found.values)
    middles = {value: top + room * (index + 0.5) for index, value in enumerate(found.values)}
    members: dict[str, list[int]] = defaultdict(list)
    for trial in trials:  # best first
        if found.key in trial.values:
            members[trial.values[found.key]].append(trial.number)
    places = {}
    for value, numbers in members.items():
        for index, member in enumerate(numbers):
            offset = (index + 0.5) / len(numbers) - 0.5
            places[member] = middles[value] + offset * room * SPREAD
    return Axis(found.key, x, tuple((_short(value), y) for value, y in middles.items()), places)


def _score_axis(x: float, trials: Sequence[Trial], frame: Frame) -> Axis:
    found = {t.number: t.miou for t in trials if t.miou is not None}
    low, high = min(found.values(), default=0.0), max(found.values(), default=1.0)
    ticks = covering_ticks(low * 100, high * 100 if high > low else low * 100 + 1, 6)
    scale = Scale(ticks[0] / 100, ticks[-1] / 100, *frame.y_range)
    texts = tuple((number(tick), scale(tick / 100)) for tick in ticks)
    return Axis(SCORE, x, texts, {n: scale(miou) for n, miou in found.items()})


def _upright(axis: Axis, frame: Frame) -> Markup:
    bottom, top = frame.y_range
    marks = [tag("line", x1=axis.x - 3, x2=axis.x + 3, y1=y, y2=y, class_="axis") for _, y in axis.ticks]
    line = tag("line", x1=axis.x, x2=axis.x, y1=top - 8, y2=bottom + 8, class_="axis")
    return tag("g", line + join(marks), aria_hidden="true")


def _labels(axis: Axis, frame: Frame) -> Markup:
    """Name and ticks, drawn over the lines so that they stay readable."""
    side, place = (10, "tick") if axis.name == SCORE else (-10, "tick end")
    name = tag("text", axis.name, x=axis.x, y=frame.top - 24, class_="axis-name middle")
    texts = [tag("text", text, x=axis.x + side, y=y + 4, class_=place) for text, y in axis.ticks]
    return tag("g", name + join(texts), aria_hidden="true")


def _brush(index: int, axis: Axis, frame: Frame) -> Markup:
    """Where a range is chosen by dragging."""
    bottom, top = frame.y_range
    kinds = [
        tag("rect", class_=kind, data_axis=index, x=axis.x - 11, y=top - 8, width=22, height=bottom - top + 16)
        for kind in ("brush", "chosen")
    ]
    return join(kinds)


def _line(trial: Trial, axes: Sequence[Axis], nowhere: float, trials: Sequence[Trial], *, best: bool) -> Markup:
    ys = [axis.places.get(trial.number, nowhere) for axis in axes]
    path = "M" + "L".join(f"{axis.x:.1f} {y:.1f}" for axis, y in zip(axes, ys, strict=True))
    kind = "best" if best else f"{trial.state} q{_shade(trial, trials)}"
    return tag(
        "g",
        tag("title", told(trial)) + tag("path", d=path, class_="line") + tag("path", d=path, class_="reach"),
        class_=f"hit trial {kind}",
        data_trial=trial.number,
        data_x=f"{axes[-1].x:.1f}",
        data_y=f"{ys[-1]:.1f}",
        data_places=" ".join(f"{y:.1f}" for y in ys),
    )


def _shade(trial: Trial, trials: Sequence[Trial]) -> int:
    """0 for the lowest mIoU of the trials to SHADES - 1 for the highest."""
    found = [t.miou for t in trials if t.miou is not None]
    if trial.miou is None or max(found) == min(found):
        return 0
    return round((trial.miou - min(found)) / (max(found) - min(found)) * (SHADES - 1))


def told(trial: Trial) -> str:
    """The text of a trial where it is pointed at."""
    spent = f"{trial.epochs} epoch{'' if trial.epochs == 1 else 's'}"
    score = "no score" if trial.miou is None else f"mIoU {percent(trial.miou)}"
    state = {"done": spent, "pruned": f"pruned after {spent}", "failed": "failed", "stopped": "stopped, to go on"}
    values = [f"{key} {value}" for key, value in trial.values.items()]
    return "\n".join([f"trial {trial.number}: {score}", state[trial.state], *values])


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _summary(sweep: Sweep, trials: Sequence[Trial]) -> str:
    keys = ", ".join(found.key for found in sweep.ranges)
    best = sweep.best
    end = "" if best is None else f"; the best, trial {best.number}, has an mIoU of {percent(best.miou)}"
    return f"Parallel coordinates of {len(trials)} trials over {keys} and mIoU{end}.".replace(THIN, " ")
