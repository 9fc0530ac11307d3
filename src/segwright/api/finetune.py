"""Going on from a trained model: one transfer, or several compared under one budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.showing import new_console
from segwright.api.verbs import RUNS, TrainResult, finish_training

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from segwright.metrics.intervals import Interval
    from segwright.recipe import LoadedRecipe


@dataclass(frozen=True)
class TransferRow:
    """One way to transfer. learning, total: parameters that learned, and all. difference: mIoU minus the last row's."""

    title: str
    result: TrainResult
    learning: int
    total: int
    miou: Interval
    difference: Interval | None


@dataclass(frozen=True)
class TransferComparison:
    """Ways to transfer, trained with the same budget and scored on the same pictures; the last one is from scratch."""

    rows: tuple[TransferRow, ...]

    def table(self) -> Table:
        """`rich.print(comparison.table())`."""
        from rich.table import Table

        space = self.rows[0].result.evaluation
        caption = f"{self.rows[0].miou.conditions}. Differences are paired; `cannot tell`: 0 lies in the interval."
        table = Table(title=f"{space.split}, mIoU ({space.protocol})", caption=caption)
        for heading in ("transfer", "parameters that learn", "mIoU", "accuracy", "minus from scratch", ""):
            table.add_column(heading)
        for row in self.rows:
            difference = ("–", "") if row.difference is None else (str(row.difference), row.difference.verdict)
            share = f"{row.learning:,} of {row.total:,}"
            table.add_row(row.title, share, str(row.miou), f"{row.result.evaluation.accuracy:.4f}", *difference)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            row.title: {
                "run": str(row.result.path),
                "learning": row.learning,
                "parameters": row.total,
                "miou": _plain(row.miou),
                "accuracy": row.result.evaluation.accuracy,
                "iou": row.result.evaluation.iou,
                "minus_scratch": None if row.difference is None else _plain(row.difference),
            }
            for row in self.rows
        }


def finetune(
    source: str | Path,
    data: str | Path,
    overrides: Sequence[str] = (),
    *,
    freeze: str | None = None,
    name: str | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> TrainResult:
    """Train on from a model: its classifier goes over by class name, layers are frozen as `freeze` says.

    source: a run, its name, a weights file, or hf://owner/name[/file]; a file of another program also needs `model.name`
    and `model.weights_labels` from a recipe or the overrides. data: a folder of images and masks, a recipe, or a run.
    freeze: `backbone`, a share of the layers such as `0.5`, `none`, or `gradual`, stages that thaw from the head down;
    None decides by the rule of thumb. Raises UserError or DataError before anything is written when something is wrong.
    """
    from segwright.training.finetune import plan_transfer

    console = console or new_console()
    loaded = plan_transfer(source, data, overrides, freeze=freeze, runs=Path(runs), console=console)
    return _trained(loaded, name, Path(runs), console)


def compare_transfers(
    source: str | Path,
    data: str | Path,
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> TransferComparison:
    """Train three times with one budget: most layers frozen, half of them, and everything from random numbers.

    Arguments as in `finetune`; the runs are called NAME-frozen, NAME-half-frozen and NAME-from-scratch.
    """
    from segwright.metrics.intervals import Resampled, paired_difference
    from segwright.models.freezing import freeze as freeze_layers
    from segwright.models.weights import load_segmenter
    from segwright.recipe import load_recipe
    from segwright.runs import Run
    from segwright.training.finetune import contenders, plan_transfer

    console, folder = console or new_console(), Path(runs)
    planned = plan_transfer(source, data, overrides, freeze="none", runs=folder, console=console)
    found: list[tuple[str, TrainResult, Resampled, int, int]] = []
    for title, loaded in contenders(planned).items():
        console.print(f"— {title} —", highlight=False, markup=False)
        called = f"{name or planned.recipe.name}-{title.replace(' ', '-')}"
        result = _trained(loaded, called, folder, console)
        run = Run(result.path)
        architecture = load_segmenter(run.best).architecture
        frozen = load_recipe(run.recipe_file).recipe.model.freeze
        still = 0 if frozen is None else freeze_layers(architecture, frozen).parameters
        total = sum(p.numel() for p in architecture.parameters())
        scored = result.evaluation
        found.append((title, result, Resampled(scored.counts_NKK, scored.groups), total - still, total))
    protocol, last = found[-1][1].evaluation.protocol, found[-1][2]
    return TransferComparison(
        tuple(
            TransferRow(
                title,
                result,
                learning,
                total,
                one.interval(one.miou_R(protocol)),
                None if one is last else paired_difference(one, last, lambda resampled: resampled.miou_R(protocol)),
            )
            for title, result, one, learning, total in found
        )
    )


def _trained(loaded: LoadedRecipe, name: str | None, runs: Path, console: Console) -> TrainResult:
    from segwright.training.prepare import start

    trainer = start(loaded, runs=runs, name=name, console=console)
    trainer.fit()
    return finish_training(trainer.run, console)


def _plain(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "interval": interval.conditions}
