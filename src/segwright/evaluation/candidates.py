"""After the folds: three candidate models compared on pictures that no fold trained on, and the winner kept.

The candidates are the model of the fold with the best score on its own held-out pictures, the mean of the parameters of
every fold's best model, and the mean of the top 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from segwright.build import build_scored_set, pick_device, prediction_map, score_space
from segwright.evaluation.evaluate import evaluate
from segwright.evaluation.result import Evaluation
from segwright.metrics.intervals import Interval, miou_difference, miou_interval
from segwright.models import Segmenter
from segwright.models.converted import in_space
from segwright.models.weights import load_segmenter, save_segmenter
from segwright.recipe import Recipe
from segwright.runs import Run
from segwright.training.folds import Crossvalidation, Round, finished
from segwright.training.means import averaged
from segwright.training.progress import Counting

TOP = 3


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A trained fold. evaluation: of its best model on the pictures that it held out. epoch: of that model."""

    number: int
    run: Run
    epoch: int
    seconds: float
    evaluation: Evaluation

    @property
    def miou(self) -> float:
        return self.evaluation.miou


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of the models that are compared. key: of its files. folds: whose parameters it is made of."""

    key: str
    name: str
    folds: tuple[int, ...]
    file: Path
    evaluation: Evaluation

    @property
    def miou(self) -> float:
        return self.evaluation.miou

    @cached_property
    def interval(self) -> Interval:
        """Of its mIoU on the common split."""
        found = self.evaluation
        return miou_interval(found.counts_NKK, found.groups, protocol=found.protocol)


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """What a round of folds came to."""

    round: Round
    folds: tuple[Fold, ...]
    candidates: tuple[Candidate, ...]

    @cached_property
    def winner(self) -> Candidate:
        """The highest mIoU on the common split; of equals the one made of fewer folds."""
        return max(self.candidates, key=lambda c: (c.miou, -len(c.folds)))

    @cached_property
    def held_out(self) -> Interval:
        """mIoU over the held-out pictures of all folds together, each predicted by the model that did not train on it."""
        ones = [fold.evaluation for fold in self.folds]
        groups = [group for one in ones for group in one.groups]
        return miou_interval(np.concatenate([one.counts_NKK for one in ones]), groups, protocol=ones[0].protocol)

    @property
    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation (of a sample) of the folds' held-out mIoU."""
        scores = np.array([fold.miou for fold in self.folds])
        return float(scores.mean()), float(scores.std(ddof=1))

    def difference(self, candidate: Candidate) -> Interval:
        """mIoU of the winner minus that of the candidate, on the same pictures, paired."""
        one, other = self.winner.evaluation, candidate.evaluation
        return miou_difference(one.counts_NKK, other.counts_NKK, one.groups, protocol=one.protocol)


class Comparison:
    """Scores models on splits of a cross-validation's data, each once: what is scored lies beside the model as JSON."""

    def __init__(self, crossval: Crossvalidation, console: Console) -> None:
        self.crossval, self.console = crossval, console
        self.base = crossval.base
        self.device = pick_device(self.base.training.device)

    def finish_round(self, own: Round) -> RoundResult:
        """Score the folds, make and score the candidates, and keep the winner."""
        folds = tuple(self.fold(own, number) for number in self.crossval.numbers)
        ranked = sorted(folds, key=lambda fold: (-fold.miou, fold.number))
        found: list[Candidate] = []
        for key, name, chosen in recipes_of_candidates(ranked):
            found.append(self._candidate(own, key, name, chosen))
        result = RoundResult(round=own, folds=folds, candidates=tuple(found))
        self._keep_winner(own, result.winner)
        return result

    def fold(self, own: Round, number: int) -> Fold:
        """A fold with its score on the pictures that it held out."""
        run, part = own.fold(number), f"fold{number}"
        recipe = own.fold_recipe(number, self.crossval.folds_file)
        file = run.path / "evaluation" / f"{part}.json"
        facts = finished(run)
        evaluation = self.scored(run.best, recipe, part, file, called=f"{run.name}")
        return Fold(number=number, run=run, epoch=facts["epoch"], seconds=facts["seconds"], evaluation=evaluation)

    def scored(self, model: Path, recipe: Recipe, split: str, file: Path, *, called: str) -> Evaluation:
        """The evaluation in `file`, made first where it is not there."""
        if file.is_file():
            return Evaluation.load(file)
        space = score_space(recipe)
        segmenter = load_segmenter(model)
        dataset = build_scored_set(recipe.data, split, space)
        with Counting(self.console, f"scoring {called} on {split}") as progress:
            result = evaluate(
                in_space(segmenter, prediction_map(segmenter.labels, space)),
                dataset,
                run=called,
                checkpoint=model.name,
                split=split,
                protocol=recipe.protocol,
                device=self.device,
                memory_format="channels_last",
                progress=progress,
            )
        result.save(file)
        return result

    def test(self, result: RoundResult) -> Evaluation | None:
        """The winner of the last round on the split that nothing was chosen on; None where none was named."""
        split = self.crossval.settings.test
        if split is None:
            return None
        file = self.crossval.path / "evaluation" / f"{split}.json"
        return self.scored(result.round.winner, self.base, split, file, called="winner")

    def _candidate(self, own: Round, key: str, name: str, chosen: Sequence[Fold]) -> Candidate:
        folder = own.path / "candidates"
        file = folder / f"{key}.safetensors"
        numbers = tuple(sorted(fold.number for fold in chosen))
        if not file.is_file():
            ordered = sorted(chosen, key=lambda fold: fold.number)
            models = [load_segmenter(fold.run.best) for fold in ordered]
            with Counting(self.console, f"{name}: batch statistics") as progress:
                made = averaged(
                    models,
                    own.measured,
                    device=self.device,
                    names=[f"fold {fold.number}" for fold in ordered],
                    progress=progress,
                )
            made.provenance = self._provenance(own, name, numbers, models)
            save_segmenter(made, file)
        split = self.crossval.settings.common
        evaluation = self.scored(file, self.base, split, folder / f"{key}-{split}.json", called=name)
        return Candidate(key=key, name=name, folds=numbers, file=file, evaluation=evaluation)

    def _provenance(self, own: Round, name: str, folds: Sequence[int], models: Sequence[Segmenter]) -> dict[str, Any]:
        stage = {} if own.name is None else {"stage": own.name}
        known: dict[str, Any] = {"data": self.base.data.name, "protocol": self.base.protocol}
        return {"crossval": self.crossval.name, **stage, "candidate": name, "folds": list(folds), **known} | {
            "of": [dict(model.provenance) for model in models]
        }

    def _keep_winner(self, own: Round, winner: Candidate) -> None:
        places = [own.winner]
        if own is self.crossval.rounds[-1]:
            places.append(self.crossval.path / own.winner.name)
        segmenter = load_segmenter(winner.file)
        chosen = {"val_miou": winner.miou, "chosen_on": self.crossval.settings.common}
        segmenter.provenance = dict(segmenter.provenance) | chosen
        for place in dict.fromkeys(places):
            save_segmenter(segmenter, place)


def recipes_of_candidates(ranked: Sequence[Fold]) -> list[tuple[str, str, Sequence[Fold]]]:
    """(key, name, folds) of each candidate. ranked: the folds, the best first.

    With three folds or fewer the mean of the top 3 would be the mean of all: it is then of one fold fewer than there
    are, and left out where that is the best fold itself.
    """
    found = [("best", f"best fold ({ranked[0].number})", ranked[:1]), ("mean", f"mean of all {len(ranked)}", ranked)]
    top = min(TOP, len(ranked) - 1)
    return [*found, ("top", f"mean of the top {top}", ranked[:top])] if top > 1 else found
