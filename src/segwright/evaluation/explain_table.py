"""The conventions of an explanation as a table for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from segwright.evaluation.compare_words import MINUS
from segwright.evaluation.table import percent

if TYPE_CHECKING:
    from segwright.evaluation.definitions import Step
    from segwright.evaluation.explain import Explanation, Row


def explain_table(explanation: Explanation) -> Table:
    """One row a convention, the highest score first: what it is, its score in per cent, and the steps to it from the headline."""
    main = explanation.row(explanation.headline)
    pictures = f"{explanation.pictures} picture{'s' * (explanation.pictures != 1)}"
    table = Table(
        title=f"{escape(explanation.run)} on {escape(explanation.split)}: one prediction, {len(explanation.rows)} numbers",
        caption=escape(
            f"{pictures}, label space {explanation.space}; all in %. The headline is in bold. Each other row is the headline "
            f"({percent(main.value)}) with the changes listed, one at a time; they add up. Compare numbers of one row only."
        ),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="dim",
        show_lines=True,
    )
    table.add_column("what is called mIoU", ratio=2)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("how it differs from the headline", ratio=4)
    table.add_column("who scores so", ratio=3)
    for row in explanation.rows:
        style = "bold" if row is main else None
        table.add_row(
            escape(row.title), percent(row.value), _points(row, main), _how(row), escape(row.users), style=style
        )
    return table


def _points(row: Row, main: Row) -> str:
    if row is main:
        return ""
    undefined = np.isnan(row.value) or np.isnan(main.value)
    return "–" if undefined else signed(row.value - main.value)


def _how(row: Row) -> str:
    if not row.steps:
        return escape(f"the headline: {row.sentence}")
    return escape("\n".join(_told(step, alone=len(row.steps) == 1) for step in row.steps))


def _told(step: Step, *, alone: bool) -> str:
    if alone:
        return f"no difference here: {step.text}" if step.change == 0 else step.text
    return f"{'undefined' if step.change is None else signed(step.change)}  {step.text}"


def signed(change: float) -> str:
    """0.0123 -> "+1.2", with a minus as wide as the plus; a change that is not zero never shows as 0.0."""
    if change == 0:
        return "0.0"
    sign = "+" if change > 0 else MINUS
    size = abs(100 * change)
    return f"{sign}<0.1" if 0 < size < 0.05 else f"{sign}{size:.1f}"
