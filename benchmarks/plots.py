"""The plots of docs/performance.md as small SVG files: the same results give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.targets import Content, Row

VERDICTS = {
    "yes": ("#1b7f4d", "o", "met"),
    "too close to tell": ("#b07a00", "D", "too close to tell"),
    "no": ("#b3261e", "X", "missed"),
}
"""Verdict -> colour, mark, word in the legend."""
DECODED_MB = 480 * 360 * 4 / 1e6
"""A picture with its mask."""
LINES = ("#0b6fa4", "#b3261e", "#1b7f4d", "#b07a00", "#6a4c93", "#3d3d3d", "#c2528b")


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "segwright", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained")


def _save(figure: Any, file: Path) -> None:
    import matplotlib.pyplot as plt

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def plot_targets(asked: Sequence[Row], file: Path) -> None:
    """How many times as good as asked each measured target is: a point with its interval, from bad to good on a log axis."""
    measured = [row for row in asked if row.ratio is not None and row.target.wish][::-1]
    figure, axes = _figure(8.4, 0.8 + 0.3 * len(measured))
    for place, row in enumerate(measured):
        assert row.ratio is not None
        wish = row.target.wish
        low, middle, high = (
            wish / row.ratio[key] if row.target.lower else row.ratio[key] / wish for key in ("low", "median", "high")
        )
        color, mark, word = VERDICTS[row.verdict]
        axes.plot(sorted((low, high)), [place, place], color=color, linewidth=2.5, solid_capstyle="round")
        axes.plot([middle], [place], mark, color=color, markersize=6, label=word)
    axes.axvline(1, color="#555555", linewidth=1, linestyle="--")
    names = [
        row.target.what if row.target.what != "the same" else "confusion counting, beside torchmetrics"
        for row in measured
    ]
    axes.set_yticks(range(len(measured)), [name.replace("`", "").split(": time over")[0] for name in names])
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [2.0**power for power in range(-10, 11) if low <= 2.0**power <= high]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("times as good as asked")
    marks = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    words = [word for _, _, word in VERDICTS.values() if word in marks]
    figure.legend([marks[word] for word in words], words, loc="outside upper right", ncols=3, frameon=False)
    _save(figure, file)


def plot_growth(content: Content, file: Path) -> None:
    """Processor time over each axis, and memory over pictures; all axes logarithmic, with a line for linear growth."""
    figure, panels = _figure(8.4, 5.6, 2, 2)
    memory, places = panels[0][1], {"pictures": panels[0][0], "size": panels[1][0], "classes": panels[1][1]}
    for axis, axes in places.items():
        jobs = content["axes"].get(axis, {})
        for job, found in jobs.items():
            _line(axes, job, found["at"], [max(1e-3, seconds) for seconds in found["cpu_seconds"]])
        if jobs:
            at = next(iter(jobs.values()))["at"]
            middle = sorted(found["cpu_seconds"][0] for found in jobs.values())[len(jobs) // 2]
            axes.plot(at, [max(middle, 1e-3) * value / at[0] for value in at], ":", color="#777777", label="linear")
        axes.set(xlabel={"size": "pixels a picture"}.get(axis, axis), ylabel="processor time, s")
    for job, found in content["axes"].get("pictures", {}).items():
        _line(memory, job, found["at"], [max(0.1, mb) for mb in found["mb"]])
    counts = memory.get_lines()[0].get_xdata() if memory.get_lines() else []
    memory.plot(counts, [DECODED_MB * count for count in counts], "--", color="#777777", label="480×360, kept decoded")
    memory.set(xlabel="pictures", ylabel="memory, MB")
    for axes in panels.flat:
        axes.set(xscale="log", yscale="log")
        axes.minorticks_off()
    marks = {word: mark for axes in panels.flat for mark, word in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(marks.values(), marks, loc="outside lower center", ncols=5, frameon=False)
    _save(figure, file)


def _line(axes: Any, job: str, at: Sequence[float], values: Sequence[float]) -> None:
    color = LINES[len(axes.get_lines()) % len(LINES)]
    axes.plot(at, values, "o-", color=color, markersize=3.5, linewidth=1.4, label=job)
