"""Effective receptive fields as one picture: a row a model, a column a stage, the theoretical field around each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segwright.evaluation.receptive_field import EffectiveField, FieldRow
from segwright.files import atomic_path

PANEL = 2.9
"""Side of one panel, inches."""


@dataclass(frozen=True, kw_only=True)
class FieldsOfModel:
    """A model's name, its stages, and the effective field of each, in the same order."""

    title: str
    theory: Sequence[FieldRow]
    fields: Sequence[EffectiveField]


def draw_fields(models: Sequence[FieldsOfModel], out: Path, *, note: str) -> Path:
    """Write a PNG. note: a sentence below the panels, such as what was averaged.

    Colour is the square root of the gradient, each panel on its own scale from 0 to its largest value; circles hold 50
    and 95 % of it; the dashed square is the theoretical field where it fits into the picture.
    """
    from matplotlib.figure import Figure

    columns = max(len(m.fields) for m in models)
    figure = Figure(figsize=(PANEL * columns, (PANEL + 0.6) * len(models) + 0.3), layout="constrained")
    axes = figure.subplots(len(models), columns, squeeze=False)
    for model, row in zip(models, axes, strict=True):
        row[0].set_ylabel(model.title, fontsize=11, fontweight="bold")
        for axis in row[len(model.fields) :]:
            axis.set_axis_off()
        for axis, theory, field in zip(row, model.theory, model.fields, strict=False):
            _panel(axis, theory, field)
    figure.supxlabel(note, fontsize=9, color="#50565e")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight", pad_inches=0.15)
    with atomic_path(out) as temporary:
        temporary.write_bytes(content.getvalue())
    return out


def _panel(axis: object, theory: FieldRow, field: EffectiveField) -> None:
    from matplotlib.patches import Circle, Rectangle

    height, width = field.heat_HW.shape
    axis.imshow(np.sqrt(field.heat_HW), cmap="magma", vmin=0, interpolation="nearest")  # type: ignore[attr-defined]
    row, column = field.centre
    for radius, style in ((field.radius50, "-"), (field.radius95, ":")):
        axis.add_patch(Circle((column, row), radius, fill=False, color="#7fe3ff", lw=1.2, ls=style))  # type: ignore[attr-defined]
    tall, wide = theory.field
    if 0 < tall < height and wide < width:
        box = Rectangle((column - wide / 2, row - tall / 2), wide, tall, fill=False, color="white", lw=1, ls="--")
        axis.add_patch(box)  # type: ignore[attr-defined]
    axis.set_xlim(-0.5, width - 0.5)  # type: ignore[attr-defined]
    axis.set_ylim(height - 0.5, -0.5)  # type: ignore[attr-defined]
    axis.set_xticks([])  # type: ignore[attr-defined]
    axis.set_yticks([])  # type: ignore[attr-defined]
    title = f"{_short(field.layer)} · stride {theory.jump[0]:g}"
    numbers = f"50 % in {field.radius50:.0f} px · 95 % in {field.radius95:.0f} px\ntheory {field_text(theory)}"
    axis.set_title(f"{title}\n{numbers}", fontsize=8.5)  # type: ignore[attr-defined]


def field_text(row: FieldRow) -> str:
    """`212×212`, `whole picture`, or both where something mixes all positions."""
    parts = [f"{row.field[0]}×{row.field[1]}"] * (max(row.field) > 0) + ["whole picture"] * row.whole
    return " + ".join(parts) or "nothing"


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"…{name[-25:]}"
