"""Put a report's content together from a run: its files, its evaluation, and a few pictures predicted again."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import Dataset, Sample
from segwright.evaluation.hardest import Mistake, PictureScore, largest_region, showcase, worst_mistakes
from segwright.evaluation.label_errors import LabelRegion
from segwright.evaluation.label_files import FOLDER, REGIONS, read_review
from segwright.evaluation.result import Evaluation
from segwright.evaluation.robustness import ROBUSTNESS, Robustness, load_robustness
from segwright.files import sha256
from segwright.inference.predictor import Predictor
from segwright.models import Segmenter
from segwright.models.converted import Converted
from segwright.recipe import Recipe, dump
from segwright.report.content import MistakePicture, ReportPicture, Role, RunReport
from segwright.report.shelf import BUDGET, fill_shelf
from segwright.runs import Run


def compose(
    run: Run,
    recipe: Recipe,
    evaluation: Evaluation,
    segmenter: Segmenter | Converted,
    dataset: Dataset,
    *,
    budget: int = BUDGET,
) -> RunReport:
    """The report of `run` with the pictures of `dataset` (those that `evaluation` scored, in the same order).

    budget: bytes that the page may have; it decides how many pictures are predicted again.
    """
    looked_at = _Looking(Predictor(segmenter, memory_format="channels_last"), dataset)
    pictures = _pictures(evaluation, looked_at)
    mistakes = [_mistake(m, looked_at) for m in worst_mistakes(evaluation)]
    in_rows = [evaluation.names.index(picture.name) for picture in pictures]
    history = run.metrics()
    data = run.read_json("data.json")
    left_out = [(split, one) for split, ones in data.get("skipped", {}).items() for one in ones]
    return RunReport(
        title=f"{run.name} on {recipe.data.name}",
        run=run.name,
        evaluation=evaluation,
        history=history,
        recipe_text=dump(recipe),
        environment=run.read_json("environment.json"),
        data=data.get("splits", {}),
        pictures=pictures,
        mistakes=mistakes,
        notes=[*told_notes(recipe, history, evaluation), *data.get("notes", [])],
        skipped=[f"{split}: {one['reason']}" for split, one in left_out],
        shelf=fill_shelf(evaluation, looked_at.glance, budget=budget, leave_out=in_rows),
        budget=budget,
        robustness=_robustness(run, evaluation),
        doubted=_doubted(run, evaluation),
    )


def _robustness(run: Run, evaluation: Evaluation) -> Robustness | None:
    """What `segwright robustness` found of this very model and label space, under the evaluation's protocol."""
    file = run.path / "evaluation" / ROBUSTNESS
    if not file.is_file() or not run.best.is_file() or not evaluation.rule.counted:
        return None
    found = load_robustness(file, evaluation.rule)
    same = found.identity["sha256"] == sha256(run.best) and found.identity["space"] == evaluation.space.name
    return found if same and found.corruptions else None


def _doubted(run: Run, evaluation: Evaluation) -> tuple[LabelRegion, ...]:
    """What `segwright data errors` doubts in the scored split, as long as these are errors of the evaluation, too."""
    if not (run.path / FOLDER / REGIONS).is_file():
        return ()
    review = read_review(run.path / FOLDER)
    if review.space.class_names != evaluation.space.class_names:
        return ()
    index = {name: place for place, name in enumerate(evaluation.names)}
    found = tuple(one for one in review.regions if one.part == evaluation.split and one.picture in index)
    left_NKK = evaluation.counts_NKK.copy()
    for one in found:
        left_NKK[index[one.picture], one.truth, one.predicted] -= one.pixels
    return found if (left_NKK >= 0).all() else ()


class _Looking:
    """Samples and predictions by index, each made once."""

    def __init__(self, predictor: Predictor, dataset: Dataset) -> None:
        self.predictor, self.dataset = predictor, dataset
        self._seen: dict[int, tuple[Sample, NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def __call__(self, index: int) -> tuple[Sample, NDArray[np.uint8], NDArray[np.uint8]]:
        """The sample, its truth and its prediction."""
        if index not in self._seen:
            self._seen[index] = self._look(index)
        return self._seen[index]

    def glance(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Image, truth and prediction of a picture that need not stay in memory."""
        sample, truth, prediction = self._seen.get(index) or self._look(index)
        return sample.rgb, truth, prediction

    def _look(self, index: int) -> tuple[Sample, NDArray[np.uint8], NDArray[np.uint8]]:
        sample = self.dataset[index]
        truth = sample.labels if sample.labels is not None else np.full(sample.rgb.shape[:2], 255, np.uint8)
        return sample, truth, self.predictor.predict(sample.rgb)


def _pictures(evaluation: Evaluation, looked_at: _Looking) -> list[ReportPicture]:
    shown = showcase(evaluation)
    roles: list[tuple[Role, tuple[PictureScore, ...]]] = [
        ("best", shown.best),
        ("median", shown.median),
        ("worst", shown.worst),
    ]
    return [_picture(score, role, looked_at) for role, scores in roles for score in scores]


def _picture(score: PictureScore, role: Role, looked_at: _Looking) -> ReportPicture:
    sample, truth, prediction = looked_at(score.index)
    return ReportPicture(
        name=score.name, role=role, image=sample.rgb, truth=truth, prediction=prediction, miou=score.miou
    )


def _mistake(mistake: Mistake, looked_at: _Looking) -> MistakePicture | Mistake:
    """The mistake with the picture that holds most of it; without one when predicting again does not show it."""
    for part in mistake.pictures:
        sample, truth, prediction = looked_at(part.index)
        box = largest_region(truth, prediction, mistake.truth, mistake.predicted)
        if box is not None:
            return MistakePicture(
                mistake=mistake, name=part.name, image=sample.rgb, truth=truth, prediction=prediction, box=box
            )
    return mistake


def told_notes(recipe: Recipe, history: list[dict[str, object]], evaluation: Evaluation) -> list[str]:
    notes = []
    epochs = [row["epoch"] for row in history if row.get("kind") == "train"]
    if epochs and len(epochs) < recipe.training.epochs:
        notes.append(f"Training stopped after {len(epochs)} of {recipe.training.epochs} epochs.")
    validated = [row for row in history if row.get("kind") == "val"]
    best = [row["epoch"] for row in validated if row.get("best")]
    if best and len(validated) > 1:
        notes.append(
            f"The model is that of epoch {best[-1]}, chosen because it scored best on these validation pictures: "
            "its score here is slightly optimistic."
        )
    if recipe.data.name == "streets":
        notes.append("These are generated scenes; the score says nothing about photographs.")
    if math.isnan(evaluation.miou):
        notes.append("No pixel of this split is labelled, so nothing could be scored.")
    return notes
