"""Train, evaluate, predict, report, and what describes models and machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.applying import applied, file_words
from segwright.api.backends import open_as_one, open_backend
from segwright.api.crf import Crf
from segwright.api.scoring import data_of, is_crossval, score_files, scored_set
from segwright.api.showing import counting, new_console
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.result import Evaluation
    from segwright.recipe import LoadedRecipe
    from segwright.runs import Run
    from segwright.runs.environment import Finding

RUNS = Path("runs")


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    path: the run folder. evaluation: scores of its best model on the validation split. report: the page to look at.
    """

    path: Path
    evaluation: Evaluation
    report: Path

    @property
    def miou(self) -> float:
        """Validation mIoU, 0..1, under the recipe's protocol."""
        return self.evaluation.miou


def train(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> TrainResult:
    """Train from a shipped recipe, a recipe file, or a folder of images and masks (a recipe is then made for it).

    overrides: `key=value` texts such as "training.epochs=50". Writes runs/NAME with checkpoints, metrics and report.
    Raises UserError or DataError before anything is written when recipe or data are wrong.
    """
    from segwright.runs.launch import run_before
    from segwright.training.distributed import team as together
    from segwright.training.joining import join
    from segwright.training.prepare import resume as prepare_again
    from segwright.training.prepare import start

    with together() as team:
        console = team.console(console or new_console())
        if not team.first:
            trainer = join(team, console)
        elif begun := run_before(Path(runs), name):
            trainer = prepare_again(begun, console=console, team=team)
        else:
            loaded = recipe_of(source, overrides, runs=Path(runs), console=console)
            trainer = start(loaded, runs=Path(runs), name=name, console=console, team=team)
        trainer.fit()
        return finish_training(trainer.run, console)


def recipe_of(source: str | Path, overrides: Sequence[str], *, runs: Path, console: Console) -> LoadedRecipe:
    """What `train` would train: a shipped recipe, a file, that of a run, or one made for a folder of pictures."""
    from segwright.recipe import load_recipe

    if Path(source).is_dir() and not (Path(source) / "recipe.yaml").is_file():
        from segwright.training.plan import plan_folder

        return plan_folder(Path(source), overrides, console=console)
    of_run = [f for f in (Path(source) / "recipe.yaml", runs / source / "recipe.yaml") if f.is_file()]
    return load_recipe(of_run[0] if of_run else source, overrides)


def resume(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    force: bool = False,
    runs: Path = RUNS,
    console: Console | None = None,
) -> TrainResult:
    """Continue a run exactly where it stopped, in its own folder. A finished run only gets its report again.

    overrides: `key=value` texts to change from here on, which needs `force`. Raises UserError showing the difference
    when the recipe is not the one so far and `force` is off; DataError when no checkpoint is whole.
    """
    from segwright.runs import find_run
    from segwright.training.distributed import team as together
    from segwright.training.joining import join
    from segwright.training.prepare import resume as prepare_again

    with together() as team:
        console = team.console(console or new_console())
        if team.first:
            found = find_run(run, runs=Path(runs))
            trainer = prepare_again(found, console=console, overrides=overrides, force=force, team=team)
        else:
            trainer = join(team, console)
        if trainer.finished:
            console.print(
                f"{trainer.run.path} has finished already ({trainer.learner.counters.epoch} epochs). For a longer training "
                f"start a new run: segwright train {trainer.run.recipe_file} training.epochs=N",
                highlight=False,
            )
        trainer.fit()
        return finish_training(trainer.run, console)


def finish_training(run: Run, console: Console) -> TrainResult:
    """Score a trained run's best model, write its report and its model card; several processes share the scoring."""
    from segwright.api.cards import card
    from segwright.training.distributed import team as together

    with together() as team:
        team.meet()  # the best model is on disk when the first process is here
        evaluation = evaluate(run.path, console=console)
        report = write_report(run.path, console=console) if team.first else run.report_file
        if team.first:
            card(run.path, console=console)
    return TrainResult(run.path, evaluation, report)


def evaluate(
    source: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    ensemble: Sequence[str | Path] = (),
    predictions: str | Path | None = None,
    prediction_ids: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    labels: str | None = None,
    at: str | None = None,
    window: str | None = None,
    overlap: float | None = None,
    tta: str | None = None,
    measures: Sequence[str] = ("all",),
    crf: Crf = False,
    backend: str | None = None,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> Evaluation:
    """Score a run's best model, or a .safetensors file, on a labelled split, at the pictures' original size; of a
    cross-validation's folder all training pictures, each by the fold that has not seen it.

    overrides: `data.*` keys, to score on other data than the run's own (a bare model file needs data.name and data.root).
    predictions: score the files of this folder instead of a model; source is then a run, for its data, or None, and the
    overrides say which data. prediction_ids: `label` or `train`, what the files' numbers are; see `evaluation.predictions`.
    ensemble: further models, whose class probabilities are averaged with this one's.
    labels: label space to score in (a name or a .yaml file), in which truth and predictions are told; by default the
    recipe's `score_labels`, else the model's.
    at: `network` or `512x1024`: pictures and masks are resized to the network's size, or to that one, before all else, and
    the result says so. window, overlap, tta, crf, backend: as for `predict`; the result says what was applied, and the model
    is called NAME+tta, NAME+window, NAME+crf. measures: what else to measure, names of
    `segwright.evaluation.measures.MEASURES`, or ("all",) or ("none",).
    The result is saved as evaluation/SPLIT.json in the run, when the run's own data was scored by its model alone.
    Several processes share the pictures, and all return the same result.
    """
    from segwright.build import build_space, pick_device, prediction_map, score_space
    from segwright.evaluation.at_size import find_size
    from segwright.evaluation.evaluate import evaluate as score
    from segwright.evaluation.measures import find_measures
    from segwright.metrics.protocols import find_protocol
    from segwright.models.converted import in_space
    from segwright.recipe import load_recipe
    from segwright.runs import find_run
    from segwright.training.distributed import team as together

    if predictions is not None:
        if at is not None or crf is not False or window or overlap is not None or tta:
            raise UserError(
                "--at, --window, --tta and --crf are for a model; prediction files are scored as they are, at the size of their "
                "masks."
            )
        return score_files(
            Path(predictions),
            None if source is None else find_run(source, runs=Path(runs)),
            overrides,
            ids=prediction_ids,
            split=split,
            protocol=protocol,
            labels=labels,
            measures=measures,
            console=console or new_console(),
        )
    if source is not None and is_crossval(source, Path(runs)):
        from segwright.api.folds import evaluate_folds

        if overrides or ensemble or split or crf is not False or window or overlap is not None or tta:
            raise UserError(
                "a cross-validation is scored on what its folds held out: leave out split, data keys, ensemble, windows, "
                "--tta, CRF."
            )
        return evaluate_folds(
            source, protocol=protocol, labels=labels, measures=measures, device=device, runs=runs, console=console
        )
    if source is None:
        raise UserError("what to score is missing: a run or a model file, or --predictions DIR.")
    with together() as team:
        console = team.console(console or new_console())
        segmenter, checkpoint, run = open_backend(source, Path(runs), backend, console)
        name = run.name if run else checkpoint.stem
        if ensemble:
            segmenter, name = open_as_one([source, *ensemble], Path(runs), backend, console)
        if at == "network" and window is not None:
            raise UserError(
                "--at network and --window do not go together: each window would be resized. Leave out one."
            )
        size = None if at is None else find_size(at, segmenter)
        segmenter, name = applied(
            segmenter,
            name,
            [source, *ensemble],
            window=window,
            overlap=overlap,
            tta=tta,
            crf=crf,
            runs=Path(runs),
            console=console,
        )
        data, default_protocol = data_of(run, segmenter, overrides)
        split = split or data.val
        own_space = score_space(load_recipe(run.recipe_file).recipe) if run else segmenter.labels
        space = own_space if labels is None else build_space(labels, "--labels")
        rule = find_protocol(protocol or default_protocol)
        dataset = scored_set(data, split, space, rule, console)
        with counting(console, f"scoring {split}") as progress:
            result = score(
                in_space(segmenter, prediction_map(segmenter.labels, space)),
                dataset,
                run=name,
                checkpoint="ensemble" if ensemble else checkpoint.name,
                split=split,
                protocol=rule.name,
                device=pick_device(device),
                precision="fp32",
                memory_format="channels_last",
                measures=find_measures(measures),
                at=size,
                progress=progress,
                shard=team,
            )
        if run and not overrides and not ensemble and team.first:
            # the report shows the recipe's protocol and space
            other = [result.protocol] * (result.protocol != default_protocol) + [space.name] * bool(labels)
            other += file_words(at=at, window=window, overlap=overlap, tta=tta, crf=crf)
            other += [] if checkpoint.suffix == ".safetensors" else [checkpoint.name]
            result.save(run.path / "evaluation" / f"{'-'.join([split, *other])}.json")
        return result


def write_report(
    source: str | Path, *, budget_mb: float = 15, runs: Path = RUNS, console: Console | None = None
) -> Path:
    """Write the run's report.html again from what the run holds (evaluating first if it was never scored).

    budget_mb: size of the page in megabytes, 1 or more; it decides how many pictures are in it, and how fine.
    """
    from segwright.build import build_scored_set, prediction_map
    from segwright.evaluation.result import Evaluation
    from segwright.models.converted import in_space
    from segwright.recipe import load_recipe
    from segwright.report import html
    from segwright.report.compose import compose
    from segwright.runs import find_run

    if not 1 <= budget_mb <= 1000:
        raise UserError(
            f"budget_mb is {budget_mb}; allowed are 1 to 1000 megabytes. A report has 15 unless told otherwise."
        )
    console = console or new_console()
    run = find_run(source, runs=Path(runs))
    recipe = load_recipe(run.recipe_file).recipe
    scored = run.path / "evaluation" / f"{recipe.data.val}.json"
    evaluation = Evaluation.load(scored) if scored.is_file() else evaluate(run.path, console=console)
    segmenter, _, _ = open_backend(run.path, Path(runs))
    dataset = build_scored_set(recipe.data, evaluation.split, evaluation.space)
    seen = in_space(segmenter, prediction_map(segmenter.labels, evaluation.space))
    content = compose(run, recipe, evaluation, seen, dataset, budget=round(budget_mb * 1e6))
    return html.write_report(content, run.report_file)


def doctor(*, runs: Path = RUNS) -> list[Finding]:
    """Is this machine fit for training? One finding a check."""
    from segwright.runs.environment import check_environment

    return check_environment(Path(runs))


def demo(*, runs: Path = RUNS, name: str | None = None, console: Console | None = None) -> TrainResult:
    """The whole way on generated street scenes: train, score on scenes from other cities, report."""
    return train("streets-demo", name=name, runs=runs, console=console)


def make_streets(
    root: str | Path,
    *,
    train: int = 200,
    val: int = 50,
    size: tuple[int, int] = (512, 1024),
    seed: int = 0,
    console: Console | None = None,
) -> Path:
    """Write generated street scenes in the folder layout of Cityscapes; read them with `data.name=cityscapes`."""
    from segwright.data.streets import write_streets

    with counting(console or new_console(), "drawing scenes") as progress:
        write_streets(Path(root), counts={"train": train, "val": val}, size=size, seed=seed, progress=progress)
    return Path(root)
