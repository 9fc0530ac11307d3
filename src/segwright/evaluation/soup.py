"""A greedy soup: the mean of the parameters of trained models, each kept only where held-out pictures say so.

Models are sorted by their mIoU on the held-out split. The soup begins with the best; each further model joins where the
mean with it is not worse beyond doubt: the paired bootstrap interval of the difference does not lie below zero, and the
difference itself is not negative; or, in strict mode, where the interval lies above zero.
Source: Wortsman et al. 2022, "Model soups" (greedy recipe); the interval is ours, theirs compares single numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright.build import build_scored_set, pick_device, prediction_map, score_space
from segwright.contracts import Dataset, UserError
from segwright.evaluation.evaluate import evaluate
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelSpace
from segwright.metrics.intervals import Interval, miou_difference, miou_interval
from segwright.models import Segmenter
from segwright.models.converted import in_space
from segwright.models.weights import load_segmenter, save_segmenter
from segwright.recipe import Recipe, load_recipe
from segwright.runs import Run
from segwright.training.means import averaged, mean_of
from segwright.training.progress import Counting

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A model that was tried. miou: of itself, on the held-out split, 0..1.

    difference: mIoU of the soup with it minus that of the soup before, paired; None for the first. kept: it is in.
    """

    name: str
    miou: float
    difference: Interval | None
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Soup:
    """A soup as it was made. evaluation: of the finished soup on the held-out split, which chose its ingredients."""

    file: Path
    held_out: str
    ingredients: tuple[Ingredient, ...]
    evaluation: Evaluation

    @property
    def miou(self) -> float:
        return self.evaluation.miou

    @property
    def interval(self) -> Interval:
        found = self.evaluation
        return miou_interval(found.counts_NKK, found.groups, protocol=found.protocol)

    def table(self) -> Table:
        """One line an ingredient, in the order in which they were tried."""
        from rich.markup import escape
        from rich.table import Table

        found = self.interval
        low, high = 100 * found.low, 100 * found.high
        table = Table(
            title=f"soup: mIoU {100 * found.value:.1f} % [{low:.1f}, {high:.1f}], selected on {escape(self.held_out)}",
            title_justify="left",
            title_style="bold",
            caption=f"{found.conditions}. The held-out split chose the ingredients: score the soup on another one.",
            caption_justify="left",
            caption_style="dim",
        )
        for heading in ("ingredient", "mIoU % alone", "change of the soup", ""):
            table.add_column(heading, justify="left" if heading in ("ingredient", "") else "right")
        for one in self.ingredients:
            change = "–" if one.difference is None else _change(one.difference)
            table.add_row(escape(one.name), f"{100 * one.miou:.1f}", change, "kept" if one.kept else "left out")
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "file": str(self.file),
            "selected_on": self.held_out,
            "miou": self.interval.value,
            "interval": [self.interval.low, self.interval.high],
            "ingredients": [
                {
                    "name": one.name,
                    "miou": one.miou,
                    "kept": one.kept,
                    "change": None
                    if one.difference is None
                    else [one.difference.value, one.difference.low, one.difference.high],
                }
                for one in self.ingredients
            ],
        }


def make_soup(
    runs: Sequence[Run], out: Path, *, held_out: str | None, strict: bool, device: str, console: Console
) -> Soup:
    """Make a soup of the runs' best models and write it to `out`.

    held_out: a split of the first run's data; its validation split when None. strict: keep what is surely better, and not
    also what does no harm. Batch statistics are measured on the first run's training pictures.
    Raises UserError for fewer than two runs, for models that have no mean, and for a split that a run trains on.
    """
    if len(runs) < 2:
        raise UserError("a soup needs two runs or more, such as: segwright soup runs/A runs/B -o soup.safetensors")
    recipe = load_recipe(runs[0].recipe_file).recipe
    split = held_out or recipe.data.val
    for run in runs:
        if split == (own := load_recipe(run.recipe_file).recipe.data).train and own.name == recipe.data.name:
            raise UserError(f"--held-out {split}: run {run.name} trains on this split. Name one that no run trains on.")
    kitchen = _Kitchen(recipe, split, pick_device(device), console)
    models = {run.name: _model(run) for run in runs}
    if len(models) < len(runs):
        raise UserError("two of the runs have the same name; a soup takes each once.")
    mean_of(list(models.values()), list(models))  # refuses what has no mean before anything is scored
    alone = {name: kitchen.score(model, name) for name, model in models.items()}
    order = sorted(models, key=lambda name: -alone[name].miou)
    inside, best = [order[0]], alone[order[0]]
    soup = models[order[0]]
    tried = [Ingredient(name=order[0], miou=best.miou, difference=None, kept=True)]
    for name in order[1:]:
        with_it = kitchen.mixed([models[other] for other in [*inside, name]])
        found = kitchen.score(with_it, f"{'+'.join(inside)}+{name}")
        difference = miou_difference(found.counts_NKK, best.counts_NKK, best.groups, protocol=best.protocol)
        kept = helps(difference, strict=strict)
        tried.append(Ingredient(name=name, miou=alone[name].miou, difference=difference, kept=kept))
        if kept:
            inside, best, soup = [*inside, name], found, with_it
    of = {name: dict(models[name].provenance) for name in inside}
    soup.provenance = {"soup": inside, "chosen_on": split, "val_miou": best.miou, "of": of}
    save_segmenter(soup, out)
    return Soup(file=out, held_out=split, ingredients=tuple(tried), evaluation=best)


def helps(difference: Interval, *, strict: bool) -> bool:
    """Whether an ingredient that changes the soup so is kept."""
    if strict:
        return difference.verdict == "better"
    return difference.value >= 0 and difference.verdict != "worse"


def _model(run: Run) -> Segmenter:
    if not run.best.is_file():
        raise UserError(f"run {run.path} has no validated model yet. Let it train: segwright train --resume {run.path}")
    return load_segmenter(run.best)


class _Kitchen:
    """Mixes and scores, all on the same pictures."""

    def __init__(self, recipe: Recipe, split: str, device: str, console: Console) -> None:
        self.recipe, self.split, self.device, self.console = recipe, split, device, console
        self.space: LabelSpace = score_space(recipe)
        self.dataset: Dataset = build_scored_set(recipe.data, split, self.space)

    def mixed(self, models: Sequence[Segmenter]) -> Segmenter:
        with Counting(self.console, "batch statistics") as progress:
            return averaged(models, self.recipe, device=self.device, progress=progress)

    def score(self, model: Segmenter, name: str) -> Evaluation:
        with Counting(self.console, f"scoring {name}") as progress:
            return evaluate(
                in_space(model, prediction_map(model.labels, self.space)),
                self.dataset,
                run=name,
                checkpoint=name,
                split=self.split,
                protocol=self.recipe.protocol,
                device=self.device,
                memory_format="channels_last",
                progress=progress,
            )


def _change(found: Interval) -> str:
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
