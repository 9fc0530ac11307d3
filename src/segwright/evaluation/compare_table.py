"""A comparison as tables: for terminals, as Markdown, CSV and plain data."""

from __future__ import annotations

import csv as csv_files
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from segwright.evaluation.compare_words import MINUS, bounds, class_sentence, points
from segwright.evaluation.table import NONE, percent
from segwright.metrics.intervals import Interval

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from segwright.evaluation.compare import Comparison, Entry

MARKS = {"better": "▲", "worse": "▼", "cannot tell": ""}
LONGEST_VALUE = 60


@dataclass(frozen=True)
class Grid:
    """A table as texts. The first column is left-aligned; `left` says how many more are."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 0


def run_grid(comparison: Comparison) -> Grid:
    """One row a run: scores, difference to the reference, verdict, costs."""
    timed = any(one.cost is not None and one.cost.latency for one in comparison.entries)
    costed = any(one.cost is not None for one in comparison.entries)
    head = ["run", "mIoU %", "95 % interval", f"against {comparison.reference}", "verdict", "accuracy %"]
    head += ["micro IoU %", "weighted IoU %"] + ["params M", "GMAC", "memory MB"] * costed + ["ms"] * timed
    rows = []
    for one in comparison.entries:
        scores, interval = one.evaluation.scores, comparison.miou[one.name]
        cells = [one.name, percent(interval.value), f"[{percent(interval.low)}, {percent(interval.high)}]"]
        cells += _against(comparison, one)
        cells += [percent(scores.accuracy), percent(scores.micro_iou), percent(scores.weighted_iou)]
        cells += (_cost_cells(one) if costed else []) + (_time_cell(one) if timed else [])
        rows.append(tuple(cells))
    title = f"{comparison.pictures} pictures of {comparison.against.evaluation.split}, protocol "
    return Grid(title + comparison.against.evaluation.protocol, tuple(head), tuple(rows))


def class_grid(comparison: Comparison) -> Grid:
    """One row a class: its share of the pixels, the IoU of each run, and each difference with its interval.

    ▲ better, ▼ worse, * also after Holm's correction.
    """
    head = [
        "class",
        "px %",
        *comparison.names,
        *(f"{n} {MINUS} {comparison.reference}" for n in comparison.differences),
    ]
    share = comparison.against.evaluation.scores.share
    rows = []
    for k, name in enumerate(comparison.space.class_names):
        cells = [name, percent(float(share[k]))]
        cells += [percent(comparison.class_iou[run][k].value) for run in comparison.names]
        for found in comparison.differences.values():
            one = found.classes[k]
            mark = MARKS[one.verdict] + "*" * (one.holds and one.verdict != "cannot tell")
            cells.append(NONE if math.isnan(one.interval.value) else f"{_change(one.interval)} {mark}".rstrip())
        rows.append(tuple(cells))
    return Grid("IoU % of each class; ▲ better, ▼ worse, * also after Holm's correction", tuple(head), tuple(rows))


def setting_grid(comparison: Comparison) -> Grid | None:
    """One row a setting: mean and deviation over its seeds; None where nothing was repeated."""
    if comparison.noise is None:
        return None
    base = comparison.setting_of(comparison.reference)
    head = (
        "setting",
        "seeds",
        "mIoU % mean",
        "deviation",
        "95 % interval (Student)",
        f"against {base.name}",
        "verdict",
    )
    rows = []
    for one in comparison.settings:
        spread, gap = one.miou, comparison.seed_differences.get(one.name)
        told = f"[{percent(spread.low)}, {percent(spread.high)}]" if spread.count > 1 else NONE
        deviation = f"{100 * spread.deviation:.1f}" if spread.count > 1 else NONE
        change = [NONE, "reference" if one is base else NONE]
        if gap is not None:
            borrowed = " (noise of the others)" if gap.assumed else ""
            change = [f"{points(gap.value)} [{points(gap.low)}, {points(gap.high)}]", gap.verdict + borrowed]
        rows.append((one.name, str(spread.count), percent(spread.mean), deviation, told, *change))
    rows = [tuple(cell.replace("-", MINUS) if place == 4 else cell for place, cell in enumerate(row)) for row in rows]
    return Grid("settings: runs that differ in the seed alone", head, tuple(rows))


def change_grid(title: str, names: Sequence[str], changes: Mapping[str, Sequence[Any]]) -> Grid | None:
    """One row a key that differs, one column a run; None where nothing does."""
    if not changes:
        return None
    rows = tuple((key, *(short_value(v) for v in values)) for key, values in changes.items())
    return Grid(title, ("key", *names), rows, left=len(names))


def short_value(value: Any) -> str:
    """A value of a recipe or fingerprint; "–" where there is none, cut where it is long."""
    text = NONE if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def grids(comparison: Comparison) -> list[Grid]:
    """All tables in their order."""
    names = comparison.names
    found = [
        run_grid(comparison),
        class_grid(comparison),
        setting_grid(comparison),
        change_grid("what differs in the recipes", names, comparison.recipe_changes),
        change_grid("what differs in the data", names, _told_data(comparison)),
        change_grid("what differs in machine and versions", names, comparison.machine_changes),
    ]
    return [one for one in found if one is not None]


def _told_data(comparison: Comparison) -> dict[str, tuple[Any, ...]]:
    """Without the pixel counts of each class, which the sums tell too."""
    skipped = ("classes", "class_pixels", "class_image_pixels", "ignored_image_pixels")
    return {
        key: values for key, values in comparison.data_changes.items() if not any(f".{part}" in key for part in skipped)
    }


def cost_note(comparison: Comparison) -> str:
    """For what size and on which machine costs hold; empty without costs."""
    cost = next((one.cost for one in comparison.entries if one.cost is not None), None)
    if cost is None:
        return ""
    height, width = cost.size
    text = (
        f"Costs for one picture of {height}×{width}: GMAC are 10⁹ multiply-adds; memory is weights and the most that one "
        "forward pass in fp32 holds (counted, not measured)."
    )
    if cost.latency is not None:
        from segwright.runs.environment import processor

        text += f" ms: {cost.latency.conditions}, the runs in turn; {processor()}."
    return text


def tables(comparison: Comparison) -> Group:
    """Everything for the terminal."""
    from rich.console import Group
    from rich.text import Text

    notes = [*comparison.caveats, *([cost_note(comparison)] if cost_note(comparison) else [])]
    parts: list[Any] = [Text(comparison.headline, style="bold")]
    parts += [Text(f"{one.run}: {class_sentence(one)}") for one in comparison.differences.values() if not one.equal]
    parts += [_rich(grid) for grid in grids(comparison)]
    return Group(*parts, *(Text(f"· {note}", style="dim") for note in notes))


def _rich(grid: Grid) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(grid.title), title_justify="left", title_style="bold")
    for place, heading in enumerate(grid.head):
        table.add_column(escape(heading), justify="left" if place <= grid.left else "right", overflow="fold")
    for row in grid.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def markdown(comparison: Comparison) -> str:
    """The headline, every table, and what to beware of."""
    parts = [f"**{_plain(comparison.headline)}**"]
    for grid in grids(comparison):
        rule = ["---" if place <= grid.left else "---:" for place in range(len(grid.head))]
        lines = [_row(grid.head), f"|{'|'.join(rule)}|", *(_row(row) for row in grid.rows)]
        parts += [f"{_plain(grid.title[0].upper() + grid.title[1:])}:", "\n".join(lines)]
    notes = [*comparison.caveats, *([cost_note(comparison)] if cost_note(comparison) else [])]
    parts.append("\n".join(f"- {_plain(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Nothing in it is read as Markdown or HTML."""
    for sign in "\\|*_`<[":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")


def csv(comparison: Comparison) -> str:
    """Columns: run, class, iou, low, high, difference, difference_low, difference_high, p, holds, verdict."""
    stream = io.StringIO()
    writer = csv_files.writer(stream, lineterminator="\n")
    keys = ("iou", "low", "high", "difference", "difference_low", "difference_high", "p", "holds", "verdict")
    writer.writerow(("run", "class", *keys))
    for run in comparison.names:
        found = comparison.differences.get(run)
        lines: list[tuple[str, Interval, Interval | None, Any, Any, str]] = [
            (
                "(mean)",
                comparison.miou[run],
                found.miou if found else None,
                None,
                None,
                found.verdict if found else "reference",
            )
        ]
        for k, name in enumerate(comparison.space.class_names):
            one = found.classes[k] if found else None
            p, holds, verdict = (one.p, one.holds, one.verdict) if one else (None, None, "reference")
            lines.append((name, comparison.class_iou[run][k], one.interval if one else None, p, holds, verdict))
        for name, iou, gap, p, holds, verdict in lines:
            changes = (None,) * 3 if gap is None else (gap.value, gap.low, gap.high)
            numbers = (iou.value, iou.low, iou.high, *changes, p)
            writer.writerow((run, name, *map(_cell, numbers), "" if holds is None else holds, verdict))
    return stream.getvalue()


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain data; None where undefined."""
    return {
        "headline": comparison.headline,
        "against": comparison.reference,
        "split": comparison.against.evaluation.split,
        "protocol": comparison.against.evaluation.protocol,
        "labels": comparison.space.name,
        "pictures": comparison.pictures,
        "conditions": comparison.conditions,
        "runs": [_run(comparison, one) for one in comparison.entries],
        "settings": [
            {
                "name": one.name,
                "runs": list(one.runs),
                "seeds": list(one.seeds),
                "mean": one.miou.mean,
                "deviation": _number(one.miou.deviation),
                "interval": [_number(one.miou.low), _number(one.miou.high)],
                "against": _seed_gap(comparison, one.name),
            }
            for one in comparison.settings
        ],
        "recipe": {key: list(values) for key, values in comparison.recipe_changes.items()},
        "data": {key: list(values) for key, values in _told_data(comparison).items()},
        "machine": {key: list(values) for key, values in comparison.machine_changes.items()},
        "caveats": comparison.caveats,
        "page": None if comparison.page is None else str(comparison.page),
    }


def _run(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    found = comparison.differences.get(entry.name)
    return {
        "name": entry.name,
        "path": str(entry.path),
        "miou": _interval(comparison.miou[entry.name]),
        "scores": entry.evaluation.scores.summary(),
        "iou": {
            name: _interval(one)
            for name, one in zip(comparison.space.class_names, comparison.class_iou[entry.name], strict=True)
        },
        "cost": None if entry.cost is None else entry.cost.to_dict(),
        "difference": found
        and {
            "verdict": found.verdict,
            "miou": _interval(found.miou),
            "accuracy": _interval(found.accuracy),
            "within_seed_noise": comparison.within_noise(entry.name) if comparison.noise else None,
            "classes": {
                one.name: _interval(one.interval) | {"p": _number(one.p), "holds": one.holds, "verdict": one.verdict}
                for one in found.classes
            },
        },
    }


def _seed_gap(comparison: Comparison, name: str) -> dict[str, Any] | None:
    gap = comparison.seed_differences.get(name)
    if gap is None:
        return None
    return {"value": gap.value, "low": gap.low, "high": gap.high, "verdict": gap.verdict, "assumed": gap.assumed}


def _interval(interval: Interval) -> dict[str, Any]:
    return {"value": _number(interval.value), "low": _number(interval.low), "high": _number(interval.high)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6f}"


def _change(interval: Interval) -> str:
    return f"{points(interval.value)} {bounds(interval)}"


def _against(comparison: Comparison, entry: Entry) -> list[str]:
    found = comparison.differences.get(entry.name)
    if found is None:
        return [NONE, "reference"]
    noisy = found.verdict != "cannot tell" and comparison.within_noise(entry.name)
    return [_change(found.miou), found.verdict + (", within seed noise" if noisy else "")]


def _cost_cells(entry: Entry) -> list[str]:
    if (cost := entry.cost) is None:
        return [NONE] * 3
    return [f"{cost.parameters / 1e6:.2f}", f"{cost.macs / 1e9:.2f}", f"{cost.memory / 1e6:.0f}"]


def _time_cell(entry: Entry) -> list[str]:
    if entry.cost is None or entry.cost.latency is None:
        return [NONE]
    return [f"{entry.cost.latency.median_ms:.1f}"]
