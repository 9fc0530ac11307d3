"""Pictures of what comes before a training: learning rates over its steps, the rate search, the first batch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from segwright.contracts import IGNORE, Batch
from segwright.files import atomic_path
from segwright.labels import LabelSpace
from segwright.report.contact_sheet import Cell, contact_sheet

if TYPE_CHECKING:
    from segwright.training.dry_run import DryRun
    from segwright.training.lr_finder import RateSearch

COLUMNS = 4
MOST_PICTURES = 16
BLUE, FAINT, ORANGE, GREEN = "#2f6fb3", "#b8c4d0", "#c8741c", "#2c8a57"


def draw_rates(plan: DryRun, out: Path) -> Path:
    """Write a PNG with the learning rate at every step, a vertical line where a stage begins."""
    figure, axis = _figure()
    points = [point for stage in plan.stages for point in stage.rates]
    axis.plot([step for step, _ in points], [rate for _, rate in points], color=BLUE, lw=1.6)
    for stage in plan.stages[1:]:
        axis.axvline(stage.rates[0][0], color=FAINT, lw=1)
        axis.text(stage.rates[0][0], 1.01, stage.name or "", fontsize=8, transform=axis.get_xaxis_transform())
    axis.set(xlabel="optimiser step", ylabel="learning rate", title=plan.name, ylim=(0, None))
    return _save(figure, out)


def draw_rate_search(found: RateSearch, out: Path) -> Path:
    """Write a PNG with the loss over the learning rate, each step's and smoothed, and both suggested rates."""
    figure, axis = _figure()
    axis.plot(found.rates, found.losses, color=FAINT, lw=0.8, label="each step")
    axis.plot(found.rates, found.smoothed, color=BLUE, lw=1.8, label="smoothed")
    marks = (("steepest fall", found.steepest, GREEN), ("a tenth of the lowest", found.tenth_of_lowest, ORANGE))
    for name, rate, color in marks:
        if rate is not None:
            axis.axvline(rate, color=color, lw=1.2, ls="--", label=f"{name}: {rate:.2g}")
    low, high = min(found.smoothed), max(found.smoothed[: max(1, len(found.smoothed) // 2)])
    room = 0.3 * (high - low or 1.0)
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - room, high + room))
    axis.legend(frameon=False, fontsize=8)
    return _save(figure, out)


def draw_batch(batch: Batch, space: LabelSpace, out: Path, *, title: str) -> Path:
    """Write a PNG with the pictures of a batch as the network gets them, their masks laid over them.

    batch: on the processor. Labels that stand for several classes are drawn like ignored pixels. At most 16 pictures.
    """
    cells = [_cell(batch, row, space.num_classes) for row in range(min(MOST_PICTURES, len(batch.names)))]
    rows = [cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)]
    sheet = contact_sheet(rows, space, title=title)
    content = io.BytesIO()
    Image.fromarray(sheet).save(content, format="png")
    return _write(content.getvalue(), out)


def _cell(batch: Batch, row: int, classes: int) -> Cell:
    image = np.ascontiguousarray(batch.image[row].permute(1, 2, 0).numpy())
    labels = batch.labels[row].numpy()
    known = np.where(labels < classes, labels, IGNORE).astype(np.uint8)
    return Cell(image=image, labels=known, caption=batch.names[row])


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e6eaee", lw=0.6)
    return figure, axis


def _save(figure: Any, out: Path) -> Path:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return _write(content.getvalue(), out)


def _write(content: bytes, out: Path) -> Path:
    with atomic_path(out) as temporary:
        temporary.write_bytes(content)
    return out
