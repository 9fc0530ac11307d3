"""Class shares over the time of a video as one picture: a stacked band a class, a row a model."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from segwright.data.safe_palette import safe_space
from segwright.files import atomic_path
from segwright.inference.video.segmenting import ModelOnVideo, SegmentedVideo
from segwright.report.wording import percent

LEAST = 0.0005
"""Share of all pixels; smaller classes are drawn without a name."""
MOST_NAMED = 14


def draw_shares(video: SegmentedVideo, out: Path, *, palette: str = "official") -> Path:
    """Write a PNG: for each model the share of pixels of every class over the time of the video, in the class colours.

    palette: `official` or `safe`, without its stripes.
    """
    from matplotlib.figure import Figure

    rows = len(video.models)
    figure = Figure(figsize=(9, 0.6 + 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    for model, axis in zip(video.models, axes, strict=True):
        _bands(axis, model, palette == "safe")
    axes[-1].set_xlabel("seconds")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    with atomic_path(out) as temporary:
        temporary.write_bytes(content.getvalue())
    return out


def _bands(axis: Any, model: ModelOnVideo, safe: bool) -> None:
    from matplotlib.patches import Patch

    space = safe_space(model.labels) if safe else model.labels
    times, shares_TK = model.shares.times_T, 100 * model.shares.shares_TK
    if len(times) == 1:  # one frame still makes a band
        times, shares_TK = times.repeat(2), shares_TK.repeat(2, 0)
        times[1] += 1
    colors = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in (item.color for item in space.classes)]
    axis.stackplot(times, shares_TK.T, colors=colors, lw=0.25, edgecolor="white")
    axis.set(xlim=(times[0], times[-1]), ylim=(0, 100), ylabel="% of pixels")
    axis.set_title(model.name, fontsize=10, loc="left", fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    named = [name for name, share in model.mean.items() if share >= LEAST][:MOST_NAMED]
    places = {name: k for k, name in enumerate(space.class_names)}
    handles = [
        Patch(facecolor=colors[places[name]], edgecolor="#969ca4", lw=0.5, label=f"{name}  {percent(model.mean[name])}")
        for name in named
    ]
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.03), frameon=False, fontsize=8)
