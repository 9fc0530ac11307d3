"""The plot of a bench: latency against mIoU, and the front of the ways that no other one beats in both."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from segwright.contracts import UserError
from segwright.evaluation.bench import Bench, Timed
from segwright.files import atomic_path

SUFFIXES = (".png", ".svg")
COLORS = {"torch": "#c8741c", "onnxruntime": "#2c8a57", "openvino": "#2f6fb3", "openvino-fp32": "#7a5ea8"}
LINE, INK = "#b8c4d0", "#26313c"
LETTER = 8
"""Points of the labels' letters."""
SHIFTS = tuple(sign * (9 + 10 * step) for step in range(9) for sign in (1, -1))
"""How far a label may move up or down, points: the first one that leaves it free, else the last one."""
RING = 4.0
"""Pixels around the middle of a point that no label covers."""


def check_plot(path: Path) -> None:
    """Raises UserError for a file that is neither PNG nor SVG."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: the file ends in {' or '.join(SUFFIXES)}, such as {path.with_suffix('.png')}.")


def draw_bench(bench: Bench, out: Path) -> Path:
    """Write the plot as PNG or SVG, by the file's ending. Raises UserError where no way's mIoU is known."""
    from matplotlib.figure import Figure

    check_plot(out)
    rows = bench.scored
    if not rows:
        raise UserError("nothing to plot: no way's mIoU is known. Add --score.")
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e6eaee", lw=0.6)
    front = bench.front
    axis.plot(
        [r.median_ms for r in front], [_points(r) for r in front], color=LINE, lw=1.6, zorder=1, drawstyle="steps-post"
    )
    for backend in dict.fromkeys(row.way.backend for row in rows):
        own = [row for row in rows if row.way.backend == backend]
        axis.scatter(
            [r.median_ms for r in own],
            [_points(r) for r in own],
            s=[52 if r in front else 26 for r in own],
            color=COLORS[backend],
            zorder=2,
        )
    height, width = bench.size
    axis.set(
        xscale="log",
        xlabel=f"median milliseconds for one picture of {height}×{width}, {bench.threads} thread"
        + "s" * (bench.threads > 1),
        ylabel=f"mIoU on {bench.split}, % (pooled)",
        title=f"{bench.run}: time against mIoU; the line joins what no other way beats in both",
    )
    axis.title.set_fontsize(10)
    times, scores = [r.median_ms for r in rows], [_points(r) for r in rows]
    axis.set_xlim(0.85 * min(times), 2.2 * max(times))
    room = max(0.1, 0.15 * (max(scores) - min(scores)))
    axis.set_ylim(min(scores) - room, max(scores) + 2 * room)
    _ticks(axis)
    _label(figure, axis, rows)
    content = io.BytesIO()
    figure.savefig(content, format=out.suffix.lower()[1:], dpi=140)
    with atomic_path(out) as temporary:
        temporary.write_bytes(content.getvalue())
    return out


def _points(row: Timed) -> float:
    return 100 * (row.miou or 0.0)


def _ticks(axis: Any) -> None:
    """Plain numbers along the logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _label(figure: Any, axis: Any, rows: tuple[Timed, ...]) -> None:
    """Name each point above or below it, so far away that names touch neither each other nor a point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # only then are the places of points known
    places = axis.transData.transform([(row.median_ms, _points(row)) for row in rows])
    taken = [Bbox.from_bounds(x - RING, y - RING, 2 * RING, 2 * RING) for x, y in places]
    for row in sorted(rows, key=lambda row: (-_points(row), row.median_ms)):
        for shift in SHIFTS:
            text = axis.annotate(
                f"{row.way.backend} {row.way.form}" + " (.xml)" * (row.way.file.suffix == ".xml"),
                (row.median_ms, _points(row)),
                xytext=(4, shift),
                textcoords="offset points",
                fontsize=LETTER,
                color=INK,
                va="center",
                arrowprops={"arrowstyle": "-", "color": LINE, "lw": 0.6, "relpos": (0, 0.5)}
                if abs(shift) > abs(SHIFTS[0])
                else None,
            )
            text.update_positions(canvas.get_renderer())
            box = Text.get_window_extent(
                text, canvas.get_renderer()
            )  # of the words; the line to the point may cross others
            if shift == SHIFTS[-1] or not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
