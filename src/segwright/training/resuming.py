"""Before a run goes on: its newest whole checkpoint, its recipe compared with the one so far, its best model looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from segwright.contracts import SegwrightError, UserError
from segwright.files import write_text
from segwright.models.weights import read_saved
from segwright.recipe import LoadedRecipe, Recipe
from segwright.recipe.loading import annotated
from segwright.runs import Run
from segwright.runs.checkpoint import load_newest
from segwright.runs.folder import check_place
from segwright.training.changes import changed_keys

if TYPE_CHECKING:
    from segwright.training.trainer import Trainer


class Resumption:
    """What a run goes on from. `done` finishes it, once the trainer has taken the checkpoint.

    loaded: the recipe of the run with `overrides`. Raises UserError when the folder cannot be written and when the recipe
    is another one than so far (`force` allows most changes); DataError when no checkpoint is whole. Nothing is changed yet.
    """

    def __init__(
        self, run: Run, loaded: LoadedRecipe, overrides: Sequence[str], *, force: bool, console: Console
    ) -> None:
        self.run, self.loaded, self.console = run, loaded, console
        check_place(run.last.parent)
        run.clean()
        self.checkpoint, self.warning = load_newest(run.last, run.previous)
        if self.warning:
            self._shout(self.warning)
        _refuse_auto(loaded.recipe)
        before = self.checkpoint.state.get("recipe", {})
        self.changed = changed_keys(before, loaded.recipe, run, overrides=overrides, force=force)

    def done(self, trainer: Trainer) -> None:
        """Put a damaged checkpoint out of the way, write down a changed recipe, and look at the best model.

        Raises UserError when that is lost and nothing is left to train.
        """
        if self.warning and self.run.last.exists():
            self.run.last.replace(self.run.last.with_name("last.damaged"))
        if self.changed:
            trainer.learner.counters.stopped_early = False  # patience may be one of the changes
            self._write_recipe(trainer.learner.counters.step)
        self._check_best(trainer)

    def _write_recipe(self, step: int) -> None:
        """The new recipe, and the old one beside it, which the origins of the new one speak of."""
        old = self.run.path / f"recipe-until-step-{step}.yaml"
        text = self.run.recipe_file.read_text(encoding="utf-8")
        if not old.exists():
            write_text(old, text)
        origins = {k: v.replace(str(self.run.recipe_file), old.name) for k, v in self.loaded.origins.items()}
        origins |= dict.fromkeys(self.changed, f"changed at step {step}")
        write_text(self.run.recipe_file, annotated(LoadedRecipe(self.loaded.recipe, origins)))
        self.console.print(f"changed from step {step} on: {', '.join(self.changed)}", highlight=False)

    def _check_best(self, trainer: Trainer) -> None:
        counters = trainer.learner.counters
        if counters.best_miou is None:
            return
        try:
            read_saved(self.run.best)
        except SegwrightError as error:
            lost = (
                f"the best model so far (mIoU {counters.best_miou:.4f} in epoch {counters.best_epoch}) is lost: {error}"
            )
        else:
            return
        if trainer.finished:
            raise UserError(
                f"{lost} The training is over, so no other one will come: put the file back from a copy, or train again: "
                f"segwright train {self.run.path}"
            )
        self._shout(f"{lost} The next validated model takes its place.")
        counters.best_miou, counters.best_epoch, counters.bad_validations = None, None, 0

    def _shout(self, text: str) -> None:
        self.console.print(f"[bold red]{escape(text)}[/]", highlight=False, soft_wrap=True)


def _refuse_auto(recipe: Recipe) -> None:
    for key in ("device", "precision", "memory_format"):
        if getattr(recipe.training, key) == "auto":
            raise UserError(
                f"training.{key} is auto; a run that goes on measures nothing again. Name the value that it shall have."
            )
