"""Training curves from the rows of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from segwright.report.figures import Series, line_chart
from segwright.report.wording import THIN, duration, number, percent

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Curve:
    """One chart with its heading. `main`: shown large, the others are small multiples."""

    title: str
    note: str
    svg: Markup
    main: bool


def points(rows: Rows, kind: str, key: str) -> tuple[tuple[float, float], ...]:
    """(epoch, value) of the rows of one kind; values that are missing or not finite are left out."""
    found: dict[float, float] = {}
    for row in rows:
        epoch, value = row.get("epoch"), row.get(key)
        if row.get("kind") == kind and _finite(epoch) and _finite(value):
            found[float(epoch)] = float(value)  # type: ignore[arg-type]
    return tuple(sorted(found.items()))


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def time_spent(rows: Rows) -> str:
    """`60 epochs in 12 min 18 s, and 20 validations in 1 min 4 s.`; "" when the rows do not say."""
    told = []
    for kind, name in (("train", "epoch"), ("val", "validation")):
        seconds = [value for _, value in points(rows, kind, "seconds")]
        if seconds:
            plural = "" if len(seconds) == 1 else "s"
            told.append(f"{len(seconds)} {name}{plural} in {duration(math.fsum(seconds))}")
    return f"{', and '.join(told)}." if told else ""


def best_point(rows: Rows) -> tuple[float, float] | None:
    """(epoch, mIoU) of the last row marked best, else of the highest mIoU; None without validation."""
    marked = points([row for row in rows if row.get("best")], "val", "miou")
    found = points(rows, "val", "miou")
    return marked[-1] if marked else max(found, key=lambda p: p[1], default=None)


def stage_starts(rows: Rows) -> tuple[tuple[float, str], ...]:
    """(epoch with which the stage before ended, name) of each stage in order; empty where the training has none."""
    found: list[tuple[float, str]] = []
    ended = 0.0
    for row in rows:
        if row.get("kind") != "train" or not _finite(row.get("epoch")):
            continue
        name = row.get("stage")
        if isinstance(name, str) and (not found or found[-1][1] != name):
            found.append((ended, name))
        ended = float(row["epoch"])
    return tuple(found)


def curves(rows: Rows) -> list[Curve]:
    """Loss and mIoU, then learning rate, speed, waiting for data and memory; those without a point are left out.

    Where the training has stages, lines mark their borders.
    """
    best = best_point(rows)
    chart = partial(_curve, stages=stage_starts(rows))
    drawn = [
        chart(
            "Loss",
            "mean over each epoch",
            [
                Series("training", "a", points(rows, "train", "loss")),
                Series("validation", "b", points(rows, "val", "loss")),
            ],
            number,
            main=True,
        ),
        chart(
            "Validation mIoU",
            "in %; the ring marks the best" if best else "in %",
            [Series("mIoU", "a", points(rows, "val", "miou"))],
            percent,
            axis_form=lambda v: f"{v * 100:.0f}",
            best=best,
            main=True,
        ),
        chart("Learning rate", "last of each epoch", [Series("rate", "c", points(rows, "train", "lr"))], number),
        chart(
            "Speed",
            "pictures per second",
            [Series("speed", "c", points(rows, "train", "images_per_s"))],
            lambda v: f"{number(v)}{THIN}/s",
            axis_form=number,
        ),
        chart(
            "Waiting for data",
            "in % of the time",
            _waiting(rows),
            percent,
            axis_form=lambda v: number(v * 100),
            top=_waiting_top(rows),
        ),
        chart(
            "Peak memory",
            "in GB",
            [Series("memory", "c", tuple((x, y / 1000) for x, y in points(rows, "train", "peak_memory_mb")))],
            lambda v: f"{v:.2f}{THIN}GB",
            axis_form=number,
        ),
    ]
    return [curve for curve in drawn if curve]


def _waiting(rows: Rows) -> list[Series]:
    return [Series("waiting", "c", points(rows, "train", "data_wait"))]


def _waiting_top(rows: Rows) -> float:
    """At least 5 %, so that noise near zero stays small on the page."""
    return max([0.05, *(value for _, value in points(rows, "train", "data_wait"))])


def _curve(
    title: str,
    note: str,
    series: list[Series],
    form: Callable[[float], str],
    *,
    axis_form: Callable[[float], str] | None = None,
    best: tuple[float, float] | None = None,
    top: float | None = None,
    main: bool = False,
    stages: Sequence[tuple[float, str]] = (),
) -> Curve | None:
    width, height = (520, 290) if main else (250, 140)
    svg = line_chart(
        title, series, form=form, axis_form=axis_form, width=width, height=height, best=best, top=top, stages=stages
    )
    return Curve(title, note, svg, main) if svg else None
