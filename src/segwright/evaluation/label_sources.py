"""Which model looks at which pictures for label errors: one that was not trained on them.

Of a cross-validation, each fold's model looks at the pictures that it held out. Of a run, its model looks at a split
that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segwright.build import build_dataset, build_scored_set, build_space, model_space
from segwright.contracts import Dataset, UserError
from segwright.data.mixing import Relabelled, Together
from segwright.data.pairs import Pair, PairedFiles
from segwright.data.splits import Subset
from segwright.labels import LabelSpace
from segwright.models import Segmenter
from segwright.models.weights import load_segmenter
from segwright.recipe import Data, Recipe, load_recipe
from segwright.runs import Run
from segwright.training.folds import WINNER, Crossvalidation, finished


@dataclass(frozen=True, kw_only=True)
class Part:
    """Pictures and the model that looks at them. name: of the split or fold. load: reads the model when it is needed."""

    name: str
    dataset: Dataset
    load: Callable[[], Segmenter]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is searched, and what has to be said about it.

    title: the run or cross-validation. space: in which labels and answers are told, the model's. data: of the recipe.
    splits: of that data, to which corrected masks belong. notes: what a reader has to know, one sentence each.
    seen: models look at pictures that they were trained on.
    """

    title: str
    parts: tuple[Part, ...]
    space: LabelSpace
    data: Data
    splits: tuple[str, ...]
    notes: tuple[str, ...]
    seen: bool = False

    @property
    def kept(self) -> dict[str, Any]:
        """What regions.json keeps, so that marks find the masks again."""
        return {
            "source": self.title,
            "data": self.data.model_dump(mode="json"),
            "splits": list(self.splits),
            "searched": [part.name for part in self.parts],
            "labels": self.space.to_dict(),
            "seen": self.seen,
            "notes": list(self.notes),
        }


def fold_models(crossval: Crossvalidation) -> list[tuple[int, Run]]:
    """The folds whose models have surely not seen what they held out: those of the first round.

    From the second stage on folds start from a winner that may have trained on any of the pictures.
    Raises UserError where a fold is not trained yet.
    """
    found = [(number, crossval.rounds[0].fold(number)) for number in crossval.numbers]
    if missing := [number for number, run in found if not finished(run) or not run.best.is_file()]:
        raise UserError(
            f"{crossval.path}: fold {missing[0]} is not trained to its end, and each picture needs the model of its fold. "
            f"Go on with: segwright crossval --resume {crossval.path}"
        )
    return found


def crossval_sources(crossval: Crossvalidation, splits: Sequence[str] = ()) -> Sources:
    """All training pictures, each with its fold's model; other splits with the winner.

    splits: of the recipe's data; none for the training pictures. Raises UserError for folds that are not trained, and
    for other splits before there is a winner.
    """
    base, own = crossval.base, crossval.rounds[0]
    parts: list[Part] = []
    for split in dict.fromkeys(splits or [base.data.train]):
        if split == base.data.train:
            for number, run in fold_models(crossval):
                recipe = own.fold_recipe(number, crossval.folds_file)
                parts.append(_part(recipe, f"fold{number}", run.best))
        else:
            _check_split(base.data, split, seen=False)
            winner = crossval.path / WINNER
            if not winner.is_file():
                raise UserError(
                    f"{crossval.path} has no winner yet, which is what looks at split '{split}'. Go on with: "
                    f"segwright crossval --resume {crossval.path}"
                )
            parts.append(_part(base, split, winner))
    notes = ["Each picture was predicted by a model that was not trained on it."]
    if any(part.name.startswith("fold") for part in parts):
        notes.append(
            "The epoch of each fold's model was chosen on the pictures that it held out, wrong labels included; that is a "
            "weak influence."
        )
    if crossval.settings.per_stage and len(crossval.rounds) > 1:
        notes.append(
            f"The models are those of the first stage ({own.title}): later stages start from a winner that may have seen any "
            "picture."
        )
    listed = [base.data.train, base.data.val, crossval.settings.common, crossval.settings.test]
    return _sources(crossval.name, parts, base, [s for s in listed if s], notes)


def run_sources(run: Run, splits: Sequence[str] = (), *, seen: bool = False) -> Sources:
    """A run's model on splits that it was not trained on; by default the validation split.

    seen: allow pictures that it was trained on. Raises UserError for such pictures without that.
    """
    recipe = load_recipe(run.recipe_file).recipe
    if not run.best.is_file():
        raise UserError(f"run {run.path} has no validated model yet. Let it train: segwright train --resume {run.path}")
    chosen = list(dict.fromkeys(splits or [recipe.data.val]))
    trained = [split for split in chosen if _check_split(recipe.data, split, seen=seen)]
    parts = [_part(recipe, split, run.best) for split in chosen]
    if trained:
        notes = [
            f"The model was trained on pictures of {', '.join(trained)}, with the very labels that are doubted here. It has "
            "learnt to repeat some of them: what stands here is worth a look, but many wrong labels are missing."
        ]
    else:
        notes = ["The model was not trained on these pictures."]
        if recipe.data.val in chosen:
            notes.append(f"Its epoch was chosen on {recipe.data.val}, wrong labels included; that is a weak influence.")
    listed = [recipe.data.train, recipe.data.val, *chosen]
    return _sources(run.name, parts, recipe, listed, notes, seen=bool(trained))


def _part(recipe: Recipe, split: str, model: Path) -> Part:
    dataset = build_scored_set(recipe.data, split, model_space(recipe))
    return Part(name=split, dataset=dataset, load=partial(load_segmenter, model))


def _sources(
    title: str,
    parts: Sequence[Part],
    recipe: Recipe,
    splits: Sequence[str],
    notes: Sequence[str],
    *,
    seen: bool = False,
) -> Sources:
    also = [source.name for source in recipe.data.also]
    told = [f"Pictures of the further training data ({', '.join(also)}) were not searched."] if also else []
    return Sources(
        title=title,
        parts=tuple(parts),
        space=model_space(recipe),
        data=recipe.data,
        splits=tuple(dict.fromkeys(splits)),
        notes=(*notes, *told),
        seen=seen,
    )


def _check_split(data: Data, split: str, *, seen: bool) -> bool:
    """Whether the model was trained on pictures of this split. Raises UserError for that without `seen`, and for `all`."""
    if split == "all":
        raise UserError(
            "--split all: name the splits one by one (--split train --split val), so that masks keep theirs."
        )
    space = build_space(data.labels)
    own = _identities(build_dataset(data, data.train, space))
    shared = len(own & _identities(build_dataset(data, split, space)))
    if shared and not seen:
        raise UserError(
            f"the model was trained on {shared} of the pictures of '{split}', with the labels that would be doubted: it "
            "repeats wrong ones. Search with a cross-validation, whose folds have not seen what they judge (segwright "
            "crossval RECIPE, then segwright data errors runs/NAME), or say --seen."
        )
    return shared > 0


def _identities(dataset: Dataset) -> set[str]:
    pairs = pairs_of(dataset)
    return set(dataset.names) if pairs is None else {str(pair.image.resolve()) for pair in pairs}


def pairs_of(dataset: Dataset) -> tuple[Pair, ...] | None:
    """The files of every sample, in order; None where samples are no files."""
    if isinstance(dataset, PairedFiles):
        return dataset.pairs
    if isinstance(dataset, Relabelled):
        return pairs_of(dataset.source)
    if isinstance(dataset, Subset):
        found = pairs_of(dataset.source)
        return None if found is None else tuple(found[i] for i in dataset.indices)
    if isinstance(dataset, Together):
        parts = [pairs_of(source) for source in dataset.sources]
        known = [part for part in parts if part is not None]
        return tuple(pair for part in known for pair in part) if len(known) == len(parts) else None
    return None
