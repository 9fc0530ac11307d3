"""Runs compared on the same pictures: better, worse, or cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.compare import Comparison
    from segwright.evaluation.costs import Cost
    from segwright.evaluation.differing import PictureGap
    from segwright.evaluation.result import Evaluation
    from segwright.labels import LabelSpace
    from segwright.report.compare_page import ComparedPicture
    from segwright.runs import Run

SIZE = (512, 1024)
"""Height and width for the costs, where the data does not say them."""


def compare(
    sources: Sequence[str | Path],
    *,
    split: str | None = None,
    against: str | None = None,
    labels: str | None = None,
    protocol: str | None = None,
    speed: bool = True,
    size: tuple[int, int] | None = None,
    repeats: int = 10,
    resamples: int = 2000,
    out: str | Path | None = None,
    pictures: int = 12,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> Comparison:
    """Compare runs on the same pictures, with paired intervals for mIoU and every class.

    sources: runs, their names, or evaluation files (`evaluation/SPLIT.json`). A run that was never scored on the split is
    scored now. split: each run's own validation split by default. against: the name of the run that the others are
    compared with, the first by default.
    labels: label space to compare in; by default the runs' own, or where these differ the finest that tells them all.
    protocol: by default that of the run compared with. speed: also count parameters, arithmetic and memory, and
    measure the time of a picture, run after run in turn (`repeats` times) on this machine, at `size` (height, width;
    that of most pictures by default). resamples: of the bootstrap, which draws whole groups where there are several.
    out: the HTML page to write; none by default. pictures: how many of those where the runs differ most it shows.
    Raises UserError for fewer than two runs, unequal pictures or masks (saying what differs), and spaces that no one
    space tells.
    """
    from segwright.evaluation.compare import Comparison, Entry
    from segwright.evaluation.pairing import in_order_of, refuse_other_data, refuse_other_truth

    if len(sources) < 2:
        raise UserError("a comparison needs two runs or more, such as: segwright compare runs/A runs/B")
    if resamples < 100:
        raise UserError(f"resamples is {resamples}; an interval needs 100 or more, and 2000 are the default.")
    console = console or new_console()
    opened = _named([_open(source, split, Path(runs), device, console) for source in sources])
    first = next((one for one in opened if one.name == against), opened[0])
    for one in opened:
        refuse_other_data(first.scored, one.scored, first.facts, one.facts)
        one.scored = in_order_of(first.scored, one.scored)
    notes = _into_one_space(opened, first, labels, device, console) + _under_one_protocol(opened, first, protocol)
    for one in opened:
        refuse_other_truth(first.scored, one.scored)
    entries = tuple(
        Entry(
            name=one.name,
            path=one.path,
            evaluation=replace(one.scored, run=one.name),
            recipe=one.recipe,
            data=one.data,
            environment=one.environment,
        )
        for one in opened
    )
    costs = _costs(opened, size or _usual_size(first.facts), repeats, device, console) if speed else {}
    found = Comparison(
        entries=tuple(replace(one, cost=costs.get(one.name)) for one in entries),
        reference=against or first.name,
        notes=tuple(notes),
        resamples=resamples,
    )
    return _with_page(found, opened, Path(out), pictures, device, console) if out is not None else found


@dataclass
class _Opened:
    """One source: its scores, and what its run folder says."""

    name: str
    path: Path
    scored: Evaluation
    split: str = ""
    run: Run | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The fingerprint of the scored split; {} where the run has none of it."""
        of_validation = self.run is not None and self.recipe.get("data", {}).get("val") == self.scored.split
        found: Mapping[str, Any] = self.data.get("splits", {}).get("val", {}) if of_validation else {}
        return found


def _open(source: str | Path, split: str | None, runs: Path, device: str, console: Console) -> _Opened:
    from segwright.evaluation.result import Evaluation
    from segwright.recipe import load_recipe
    from segwright.runs import find_run
    from segwright.training.changes import plain

    if Path(source).suffix == ".json":
        scored = Evaluation.load(Path(source))
        if split is not None and scored.split != split:
            raise UserError(f"{source} holds the scores of split '{scored.split}', not of '{split}'.")
        return _Opened(scored.run, Path(source), scored, scored.split)
    run = find_run(source, runs=runs)
    recipe = load_recipe(run.recipe_file).recipe
    scored = _scored(run, split or recipe.data.val, None, device, console)
    data, environment = run.read_json("data.json"), run.read_json("environment.json")
    return _Opened(run.name, run.path, scored, scored.split, run, plain(recipe), data, environment)


def _scored(run: Run, split: str, labels: tuple[str, str] | None, device: str, console: Console) -> Evaluation:
    """The saved evaluation of a run, made now where it is missing. labels: a space as the user names it, and its name."""
    from segwright.api import evaluate
    from segwright.evaluation.result import Evaluation

    suffix = "" if labels is None else f"-{labels[1]}"
    saved = run.path / "evaluation" / f"{split}{suffix}.json"
    if saved.is_file():
        return Evaluation.load(saved)
    console.print(f"{run.name} has no scores of {split}{suffix} yet: scoring it", highlight=False, markup=False)
    given = None if labels is None else labels[0]
    return evaluate(run.path, split=split, labels=given, device=device, console=console)


def _named(opened: list[_Opened]) -> list[_Opened]:
    """Runs of one name in several folders are called by their paths."""
    names = [one.name for one in opened]
    for one in opened:
        if names.count(one.name) > 1:
            one.name = str(one.path)
            one.scored = replace(one.scored, run=one.name)
    return opened


def _into_one_space(
    opened: list[_Opened], first: _Opened, labels: str | None, device: str, console: Console
) -> list[str]:
    """Every evaluation in one label space; what was done to get there."""
    from segwright.build import build_space
    from segwright.evaluation.pairing import common_space, different_truth, in_order_of, told_in

    spaces = [one.scored.space for one in opened]
    if labels is None and all(space.class_names == spaces[0].class_names for space in spaces):
        return []
    space = common_space(spaces) if labels is None else build_space(labels, "--labels")
    told = {one.name: told_in(one.scored, space) for one in opened}
    notes, again = [], [one for one in opened if told[one.name] is None]
    direct = next((one for one in opened if one.scored.space.class_names == space.class_names), None)
    if direct is not None:  # where the masks have classes that a run's own space lacks, its merged counts lack them too
        for one in opened:
            merged = told[one.name]
            if merged is not None and different_truth(direct.scored, merged).any():
                again.append(one)
    for one in opened:
        if one.scored.space.class_names == space.class_names:
            continue
        own, merged = one.scored.space.name, told[one.name]
        if one in again or merged is None:
            one.scored = in_order_of(first.scored, _again(one, space, labels or space.name, device, console))
            notes.append(f"{one.name} was scored in '{own}' and has been scored again in '{space.name}'.")
        else:
            one.scored = merged
            notes.append(
                f"{one.name} was scored in '{own}'; its counts are merged into '{space.name}', which is exact."
            )
    return [f"All runs are compared in label space '{space.name}' ({space.num_classes} classes).", *notes]


def _again(one: _Opened, space: LabelSpace, given: str, device: str, console: Console) -> Evaluation:
    from segwright.labels import catalogue

    if one.run is None or (given not in catalogue() and not Path(given).is_file()):
        raise UserError(
            f"the scores of {one.name}, in '{one.scored.space.name}', cannot be told in '{space.name}' from their counts. "
            f"Score it in that space: segwright evaluate MODEL --labels {given}"
        )
    return _scored(one.run, one.scored.split, (given, space.name), device, console)


def _under_one_protocol(opened: list[_Opened], first: _Opened, protocol: str | None) -> list[str]:
    """Every evaluation under one protocol; what was done to get there."""
    from segwright.metrics.protocols import find_protocol

    before = {one.name: one.scored.protocol for one in opened}
    rule, notes = find_protocol(protocol or first.scored.protocol), []
    if not _suits(rule.name, first.scored.space):
        if protocol is not None:
            rule.check(first.scored.space)
            raise UserError(
                f"protocol '{rule.name}' is not made of pixel counts, from which intervals are resampled. Choose another, such "
                "as --protocol pooled."
            )
        notes.append(f"Protocol '{rule.name}' does not suit these counts and classes: pooled is used.")
        rule = find_protocol("pooled")
    changed = [name for name, own in before.items() if own != rule.name]
    for one in opened:
        one.scored = replace(one.scored, protocol=rule.name)
    if changed and not notes:
        listed = ", ".join(f"{name} under '{before[name]}'" for name in changed)
        notes.append(f"Scored before: {listed}. Here protocol '{rule.name}' is applied to all, from the same counts.")
    return notes


def _suits(protocol: str, space: LabelSpace) -> bool:
    from segwright.metrics.protocols import find_protocol

    rule = find_protocol(protocol)
    try:
        rule.check(space)
    except UserError:
        return False
    return rule.counted


def _usual_size(facts: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of most pictures, by the fingerprint."""
    most = next(iter(facts.get("sizes", {})), "")
    parts = most.split("×")
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 else SIZE


def _costs(
    opened: list[_Opened], size: tuple[int, int], repeats: int, device: str, console: Console
) -> dict[str, Cost]:
    from segwright.build import pick_device
    from segwright.evaluation.costs import count_costs, measure_in_turn
    from segwright.models.weights import load_segmenter
    from segwright.runs import model_file

    models = {one.name: load_segmenter(model_file(one.run.path)[0]) for one in opened if one.run is not None}
    if not models:
        return {}
    counted = {name: count_costs(model, size) for name, model in models.items()}
    with counting(console, "measuring time") as progress:
        timed = measure_in_turn(models, size, repeats=repeats, device=pick_device(device), progress=progress)
    return {name: replace(cost, latency=timed[name]) for name, cost in counted.items()}


def _with_page(
    found: Comparison, opened: list[_Opened], out: Path, count: int, device: str, console: Console
) -> Comparison:
    from segwright.contracts import SegwrightError
    from segwright.evaluation.differing import most_different
    from segwright.report.compare_page import write_compare_page

    gaps, shown, missing = most_different(found, count), [], ""
    try:
        shown = _looked_at(found, opened, gaps, device, console)
    except SegwrightError as error:  # the scores are whole without the pictures, which may have been moved
        missing = f"The pictures could not be shown: {error}"
        console.print(missing, highlight=False, markup=False)
    return replace(found, page=write_compare_page(found, shown, out, missing=missing))


def _looked_at(
    found: Comparison, opened: list[_Opened], gaps: Sequence[PictureGap], device: str, console: Console
) -> list[ComparedPicture]:
    """The pictures, predicted by every run that has a model."""
    from segwright.build import build_scored_set, pick_device, prediction_map
    from segwright.contracts import DataError
    from segwright.inference.predictor import Predictor
    from segwright.models.converted import in_space
    from segwright.models.weights import load_segmenter
    from segwright.recipe import load_recipe
    from segwright.report.compare_page import ComparedPicture
    from segwright.runs import model_file

    models = [(one, one.run) for one in opened if one.run is not None]
    if not models or not gaps:
        return []
    first, run = models[0]
    dataset = build_scored_set(load_recipe(run.recipe_file).recipe.data, first.split, found.space)
    place = {name: index for index, name in enumerate(dataset.names)}
    predictors = []
    for _, own in models:
        segmenter = load_segmenter(model_file(own.path)[0])
        told = in_space(segmenter, prediction_map(segmenter.labels, found.space))
        predictors.append(Predictor(told, device=pick_device(device), memory_format="channels_last"))
    shown = []
    with counting(console, "pictures for the page") as progress:
        for done, gap in enumerate(gaps, start=1):
            sample = dataset[place[gap.name]] if gap.name in place else None
            if sample is None or sample.labels is None:
                raise DataError(f"{gap.name} is no more in split '{first.split}' with its mask.")
            shown.append(
                ComparedPicture(
                    gap=gap,
                    image=sample.rgb,
                    truth=sample.labels,
                    runs=tuple(one.name for one, _ in models),
                    predictions=tuple(one.predict(sample.rgb) for one in predictors),
                )
            )
            progress(done, len(gaps))
    return shown
