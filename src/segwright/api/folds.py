"""Cross-validation of a recipe, and means of trained models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import new_console
from segwright.api.verbs import RUNS

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.crossval_result import CrossvalResult
    from segwright.evaluation.result import Evaluation
    from segwright.evaluation.soup import Soup
    from segwright.recipe import LoadedRecipe, Recipe
    from segwright.training.folds import Crossvalidation


def crossval(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    folds: int = 5,
    by: str = "plain",
    common: str | None = None,
    test: str | None = None,
    per_stage: bool = False,
    processes: int = 1,
    name: str | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> CrossvalResult:
    """Train a recipe on folds of its training pictures, then compare three candidate models on a common split.

    by: plain (by chance), stratified (classes even), grouped (cities or sequences stay whole). common: the split on which
    candidates are compared, the recipe's `data.val` when None. test: a further split that chooses nothing, for an
    untouched estimate. per_stage: folds for each of the recipe's stages in turn, each from the winner of the one before,
    with a fresh optimiser. processes: folds that train at the same time.
    Writes runs/NAME with a run folder for each fold, the candidates, winner.safetensors and report.html.
    Raises UserError before anything is written when recipe, data or settings are wrong; Interrupted when a signal asks to
    stop (everything is saved).
    """
    from segwright.training.folds import Settings, new_crossvalidation

    console = console or new_console()
    loaded = _recipe(source, overrides, Path(runs))
    settings = Settings(
        source=str(source),
        folds=folds,
        by=by,
        common=common or loaded.recipe.data.val,
        test=test,
        per_stage=per_stage,
        processes=processes,
    )
    _open_splits(loaded.recipe, settings.common, settings.test)
    found = new_crossvalidation(loaded, settings, name=name, runs=Path(runs), console=console)
    console.print(f"cross-validation [bold]{found.path}[/]", highlight=False)
    return _run(found, console)


def resume_crossval(
    source: str | Path, *, processes: int | None = None, runs: Path = RUNS, console: Console | None = None
) -> CrossvalResult:
    """Continue a cross-validation, given by its folder or name: trained folds are kept, a half-trained one goes on.

    processes: instead of those it began with. A finished one only gets its report again. Raises as `crossval` does.
    """
    from segwright.training.folds import open_crossvalidation

    return _run(open_crossvalidation(source, processes=processes, runs=Path(runs)), console or new_console())


def _run(crossval: Crossvalidation, console: Console) -> CrossvalResult:
    from segwright.evaluation.candidates import Comparison
    from segwright.evaluation.crossval_result import CrossvalResult
    from segwright.files import write_json
    from segwright.report.crossval_page import write_crossval_page
    from segwright.training.crossval import train_round

    comparison, rounds = Comparison(crossval, console), []
    for one in crossval.rounds:
        train_round(crossval, one, console)
        rounds.append(comparison.finish_round(one))
    result = CrossvalResult(crossval=crossval, rounds=tuple(rounds), test=comparison.test(rounds[-1]))
    write_json(crossval.path / "result.json", result.to_dict())
    write_crossval_page(result)
    return result


def _recipe(source: str | Path, overrides: Sequence[str], runs: Path) -> LoadedRecipe:
    from segwright.contracts import UserError
    from segwright.recipe import load_recipe

    for folder in (Path(source), runs / str(source)):
        if (folder / "recipe.yaml").is_file():
            return load_recipe(folder / "recipe.yaml", overrides)
    if Path(source).is_dir():
        raise UserError(
            f"cross-validation trains a recipe, and {source} is a folder without one. Train it once, "
            f"`segwright train {source}`, then give that run: segwright crossval runs/NAME"
        )
    return load_recipe(source, overrides)


def _open_splits(recipe: Recipe, *splits: str | None) -> None:
    """Refuse a split that does not exist before any fold is trained."""
    from segwright.build import build_scored_set, score_space

    for split in splits:
        if split is not None:
            build_scored_set(recipe.data, split, score_space(recipe))


def evaluate_folds(
    source: str | Path,
    *,
    protocol: str | None = None,
    labels: str | None = None,
    measures: Sequence[str] = ("all",),
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> Evaluation:
    """What `evaluate` does with a cross-validation: one evaluation of all training pictures, each by the fold that held
    it out, with intervals in `measures["intervals"]`; saved as evaluation/out-of-fold.json in its folder.
    """
    from segwright.evaluation.out_of_fold import evaluate_out_of_fold
    from segwright.training.folds import open_crossvalidation

    return evaluate_out_of_fold(
        open_crossvalidation(source, processes=None, runs=Path(runs)),
        protocol=protocol,
        labels=labels,
        measures=measures,
        device=device,
        console=console or new_console(),
    )


def soup(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    held_out: str | None = None,
    strict: bool = False,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> Soup:
    """Average the parameters of runs greedily: each run joins only where held-out pictures do not speak against it.

    held_out: the split that decides, the first run's validation split when None. strict: a run joins only where the paired
    interval says that it makes the soup better. out: the model file to write.
    Raises UserError for fewer than two runs, models that have no mean, and a split that a run trains on.
    """
    from segwright.evaluation.soup import make_soup
    from segwright.runs import find_run

    return make_soup(
        [find_run(source, runs=Path(runs)) for source in sources],
        Path(out),
        held_out=held_out,
        strict=strict,
        device=device,
        console=console or new_console(),
    )
