"""The folds of a cross-validation: what it keeps in its folder, its rounds, and the pictures of each fold.

runs/NAME/crossval.json   the settings
          base.yaml       the recipe that all folds share
          folds.json      a split file: what each fold holds out
          fold1, fold2 …  run folders; with one round for each stage: stage1/fold1 …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from segwright.build import build_dataset, build_space
from segwright.contracts import Dataset, UserError
from segwright.data.splits import REST, Joined, Plan, SplitFile, Subset, make_splits, read_splits, write_splits
from segwright.data.statistics import count_classes
from segwright.files import write_json, write_text
from segwright.names import did_you_mean
from segwright.recipe import LoadedRecipe, Recipe, dump, load_recipe
from segwright.recipe.stages import stage_recipes
from segwright.runs import Run
from segwright.training.prepare import settled
from segwright.training.progress import Counting

KINDS = {"plain": Plan(), "stratified": Plan(stratified=True), "grouped": Plan(by_group=True)}
"""How pictures are put into folds: by chance, so that classes are even, or whole groups."""
WINNER = "winner.safetensors"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a cross-validation keeps in crossval.json.

    source: the recipe as the user named it. by: a key of KINDS. common: the split on which candidates are compared.
    test: a split that nothing was chosen on, or None. per_stage: one round of folds for each stage. processes: folds that
    train at the same time.
    """

    source: str
    folds: int
    by: str
    common: str
    test: str | None
    per_stage: bool
    processes: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of folds: all of the training, or one of its stages.

    number: 1 for the first. name: of the stage, None where there is one round for everything. path: holds its folds.
    recipe: what each fold trains, but for its pictures. epochs_before: of the rounds before it.
    """

    number: int
    name: str | None
    path: Path
    recipe: Recipe
    epochs_before: int

    @property
    def title(self) -> str:
        return "all epochs" if self.name is None else self.name

    @property
    def winner(self) -> Path:
        """The model that the round ends with, once it does."""
        return self.path / WINNER

    def fold(self, number: int) -> Run:
        """The run folder of a fold, 1 for the first; it may not be there yet."""
        return Run(self.path / f"fold{number}")

    def fold_recipe(self, number: int, folds_file: Path) -> Recipe:
        """The recipe with the pictures of one fold, in the mode that the first fold measured."""
        data = self.recipe.data.model_copy(
            update={"split_file": str(folds_file.resolve()), "train": f"{REST}fold{number}", "val": f"fold{number}"}
        )
        recipe = self.recipe if number == 1 else self.measured
        return recipe.model_copy(update={"name": f"{recipe.name}-fold{number}", "data": data})

    @property
    def measured(self) -> Recipe:
        """The recipe with what its first fold measured in place of `auto`; as it is until that fold has begun."""
        first = self.fold(1).recipe_file
        if not first.is_file():
            return self.recipe
        training = load_recipe(first).recipe.training
        found = {key: getattr(training, key) for key in ("batch", "precision", "memory_format")}
        return self.recipe.model_copy(update={"training": self.recipe.training.model_copy(update=found)})


@dataclass(frozen=True)
class Crossvalidation:
    """A cross-validation in its folder."""

    path: Path
    settings: Settings

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def folds_file(self) -> Path:
        return self.path / "folds.json"

    @property
    def numbers(self) -> range:
        """Of the folds, from 1."""
        return range(1, self.settings.folds + 1)

    @property
    def page(self) -> Path:
        """The report to look at."""
        return self.path / "report.html"

    @cached_property
    def base(self) -> Recipe:
        """The recipe that all folds share, without their pictures."""
        return load_recipe(self.path / "base.yaml").recipe

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """Each starts from the winner of the one before, with a fresh optimiser."""
        if not self.settings.per_stage:
            return (Round(number=1, name=None, path=self.path, recipe=self.base, epochs_before=0),)
        found: list[Round] = []
        for number, stage in enumerate(stage_recipes(self.base), start=1):
            epochs = stage.end - stage.start
            swa_from = _in_stage(stage.recipe.training.swa_from, stage.start, stage.end)
            training = stage.recipe.training.model_copy(update={"epochs": epochs, "swa_from": swa_from})
            recipe = stage.recipe.model_copy(update={"training": training})
            if found:
                weights = {"weights": str(found[-1].winner.resolve()), "weights_labels": None}
                recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=weights)})
            path = self.path / f"stage{number}"
            found.append(Round(number=number, name=stage.name, path=path, recipe=recipe, epochs_before=stage.start))
        return tuple(found)


def new_crossvalidation(
    loaded: LoadedRecipe, settings: Settings, *, name: str | None, runs: Path, console: Console
) -> Crossvalidation:
    """Divide the pictures and make the folder, ready to train.

    Raises UserError, before anything is written, for settings that do not fit the recipe or its pictures.
    """
    base = settled(loaded.recipe)
    check_settings(base, settings)
    folds = make_folds(base, settings, console)
    path = _new_folder(runs, name, f"{base.name}-crossval")
    write_text(path / "base.yaml", dump(base))
    write_splits(path / "folds.json", folds)
    write_json(path / "crossval.json", asdict(settings))
    return Crossvalidation(path, settings)


def open_crossvalidation(source: str | Path, *, processes: int | None, runs: Path) -> Crossvalidation:
    """The cross-validation at a path, or of that name under `runs`. processes: instead of those it began with.

    Raises UserError naming the nearest ones when there is none.
    """
    for path in (Path(source), runs / str(source)):
        if (path / "crossval.json").is_file():
            break
    else:
        known = sorted(p.parent.name for p in runs.glob("*/crossval.json"))
        here = did_you_mean(Path(source).name, known) or (f" There are: {', '.join(known[:10])}." if known else "")
        raise UserError(
            f"there is no cross-validation '{source}' (a folder with a crossval.json).{here} One that was stopped before "
            "its folder was complete has to be started again."
        )
    settings = Settings(**Run(path).read_json("crossval.json"))
    return Crossvalidation(path, settings if processes is None else replace(settings, processes=processes))


def check_settings(recipe: Recipe, settings: Settings) -> None:
    """Raises UserError for settings that are wrong or do not fit the recipe."""
    if settings.by not in KINDS:
        raise UserError(f"--by {settings.by}:{did_you_mean(settings.by, KINDS)} Allowed are {', '.join(KINDS)}.")
    if settings.folds < 2:
        raise UserError(f"--folds {settings.folds}: at least two are needed.")
    if settings.processes < 1:
        raise UserError(f"--processes {settings.processes}: at least one is needed.")
    if settings.common == recipe.data.train:
        raise UserError(
            f"--common {settings.common} is the split that the folds are made of, so every model has seen most of it. Name "
            "a split that no fold trains on."
        )
    if settings.test in (recipe.data.train, settings.common):
        raise UserError(
            f"--test {settings.test}: models are trained or chosen on this split, so it is no test. Name a third one, or "
            "leave --test out."
        )
    if settings.per_stage and not recipe.stages:
        raise UserError("--per-stage runs the folds of each stage in turn, and the recipe has no stages.")


def make_folds(recipe: Recipe, settings: Settings, console: Console) -> SplitFile:
    """What each fold holds out of the recipe's training pictures. Chance is the recipe's seed.

    Raises UserError for more folds than pictures or groups, and where no two pictures share a group.
    """
    data, space = recipe.data, build_space(recipe.data.labels)
    dataset = build_dataset(data, data.train, space)
    plan = replace(KINDS[settings.by], method="folds", folds=settings.folds, seed=recipe.seed)
    shows_NK = None
    if plan.needs_classes:
        with Counting(console, f"reading masks of {data.train}") as progress:
            shows_NK = count_classes(dataset, space.num_classes, progress=progress) > 0
    made = make_splits(Joined({data.train: dataset}), data.name, plan, shows_NK)
    folded = {name for names in made.splits.values() for name in names}
    if data.split_file is None:
        return replace(made, unused=tuple(sorted(set(_everything(dataset)) - folded)))
    own = read_splits(Path(data.split_file))
    listed = {*own.unused, *(name for names in own.splits.values() for name in names)}
    return replace(made, source_splits=own.source_splits, unused=tuple(sorted(listed - folded)))


def _in_stage(epoch: int | None, start: int, end: int) -> int | None:
    """An epoch of the whole training counted within a stage; its first epoch for earlier ones, None for later ones."""
    return None if epoch is None or epoch > end else max(1, epoch - start)


def _everything(dataset: Dataset) -> Sequence[str]:
    """Names of a split, those included that `skip_bad` left out after it was opened."""
    return dataset.source.names if isinstance(dataset, Subset) else dataset.names


def _new_folder(parent: Path, name: str | None, label: str) -> Path:
    if name is not None and (name in ("latest", "", ".", "..") or set(name) & set("/\\:")):
        raise UserError(
            f"--name {name!r} cannot name a cross-validation: it must be one folder name, and not 'latest'."
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = parent / (name or f"{label}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                if name:
                    raise UserError(
                        f"{path} exists already. Choose another name, or continue it: segwright crossval --resume {path}"
                    ) from None
            else:
                return path
    except OSError as error:
        raise UserError(
            f"nothing can be written under {parent}: {error.strerror}. Choose another folder with --runs DIR."
        ) from None
    raise UserError(f"no free name for {label} was found under {parent}; give one with --name.")


def finished(run: Run) -> dict[str, Any]:
    """What a fold came to: best mIoU on its held-out pictures, its epoch, seconds of training; {} until it is trained."""
    found: dict[str, Any] = run.read_json("fold.json")
    return found
