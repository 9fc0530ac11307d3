"""The model card of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import new_console
from segwright.api.verbs import RUNS, evaluate

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.recipe import Recipe


def card(source: str | Path, *, runs: Path = RUNS, console: Console | None = None) -> str:
    """Write a run's MODEL_CARD.md again from what the run holds (evaluating first if it was never scored).

    Returns its text, Markdown. Raises UserError for a run that does not exist or cannot be written.
    """
    from segwright.contracts import UserError
    from segwright.evaluation.result import Evaluation
    from segwright.files import write_text
    from segwright.models.registry import CARDS
    from segwright.models.weights import load_segmenter
    from segwright.recipe import load_recipe
    from segwright.report.compose import told_notes
    from segwright.report.model_card import CARD_FILE, CardFacts, model_card
    from segwright.runs import find_run

    run = find_run(source, runs=Path(runs))
    recipe = load_recipe(run.recipe_file).recipe
    scored = run.path / "evaluation" / f"{recipe.data.val}.json"
    if scored.is_file():
        evaluation = Evaluation.load(scored)
    else:
        evaluation = evaluate(run.path, console=console or new_console())
    segmenter = load_segmenter(run.best)
    history = run.metrics()
    name = recipe.model.name
    data = run.read_json("data.json")
    temperature = segmenter.temperature
    text = model_card(
        CardFacts(
            run=run.name,
            recipe=recipe,
            evaluation=evaluation,
            labels=segmenter.labels,
            parameters=sum(weight.numel() for weight in segmenter.parameters()),
            licence=segmenter.licence,
            architecture=CARDS[name].description if name in CARDS else "",
            code_licence=CARDS[name].licence if name in CARDS else "",
            start=_start(recipe),
            temperature=None if temperature is None else temperature.tolist(),
            data=data.get("splits", {}),
            history=history,
            environment=run.read_json("environment.json"),
            notes=[*told_notes(recipe, history, evaluation), *data.get("notes", [])],
        )
    )
    path = run.path / CARD_FILE
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(
            f"{path}: the model card cannot be written ({error.strerror}). Free the path or make its folder writable, then "
            "write it again."
        ) from error
    return text


def _start(recipe: Recipe) -> str:
    """The weights that training began with."""
    from segwright.models.registry import CARDS

    if recipe.model.weights is not None:
        return recipe.model.weights
    names = CARDS[recipe.model.name].initial_weights if recipe.model.name in CARDS else ()
    chosen = [f"{name}={recipe.model.args[name]}" for name in names if recipe.model.args.get(name)]
    return ", ".join(chosen) or "random numbers"
