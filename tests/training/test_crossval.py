"""Cross-validation: folds cover every picture once, a stop costs nothing, the winner is kept and starts the next stage."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.data.splits import read_splits
from segwright.evaluation.crossval_result import CrossvalResult
from segwright.evaluation.result import Evaluation
from segwright.models.weights import load_segmenter
from segwright.recipe import load_recipe
from segwright.report.crossval_page import class_weights_of
from segwright.training import crossval as crossval_module
from segwright.training.folds import Settings, check_settings, make_folds
from segwright.training.interrupt import Interrupted

from .test_training import interrupt_at
from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
STAGES = [
    "training.epochs=2",
    "training.accumulation=1",
    "stages=[{name: plain, epochs: 1}, {name: overlap, loss: {name: dice}}]",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As folds in processes have: another number of threads adds numbers in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    root = write_pictures(folder / "data", train=10, val=4)
    write_pictures(folder / "more", train=1, val=4, seed=9)
    (folder / "more" / "val").rename(root / "test")
    return write_recipe(folder, root)


@pytest.fixture(scope="module")
def staged(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossvalResult:
    """Three folds of each of two stages, never stopped."""
    return run(recipe, tmp_path_factory.mktemp("runs"))


def run(recipe: Path, runs: Path, name: str = "cv", **options: Any) -> CrossvalResult:
    settings: dict[str, Any] = {"folds": 3, "per_stage": True, "test": "test"} | options
    return api.crossval(recipe, STAGES, name=name, runs=runs, console=QUIET, **settings)


def settings(**changes: Any) -> Settings:
    usual = Settings(source="r", folds=3, by="plain", common="val", test=None, per_stage=False, processes=1)
    return replace(usual, **changes)


def without_places(result: CrossvalResult) -> Any:
    """What a cross-validation found, without folders and times."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                k: clean(v)
                for k, v in value.items()
                if k not in ("path", "run", "file", "winner", "seconds", "settings")
            }
        return [clean(v) for v in value] if isinstance(value, list) else value

    return clean(json.loads(json.dumps(result.to_dict())))


@pytest.mark.parametrize("by", ["plain", "stratified"])
def test_folds_hold_out_every_picture_once(recipe: Path, by: str) -> None:
    base = load_recipe(recipe).recipe
    made = make_folds(base, settings(by=by), QUIET)
    held_out = [name for names in made.splits.values() for name in names]
    assert sorted(held_out) == [f"train_{n:02d}" for n in range(10)]
    assert list(made.splits) == ["fold1", "fold2", "fold3"]
    for fold in made.splits:
        assert sorted([*made.names(fold), *made.names(f"not-{fold}")]) == sorted(held_out)


def test_folds_of_a_part_leave_the_other_parts_alone(recipe: Path, tmp_path: Path) -> None:
    root = load_recipe(recipe).recipe.data.root
    assert root is not None
    file = tmp_path / "own.json"
    api.split_data(root, out=file, splits=["train"], console=QUIET)
    own = read_splits(file)
    base = load_recipe(recipe, [f"data.split_file={file}"]).recipe
    made = make_folds(base, settings(), QUIET)
    assert sorted(n for names in made.splits.values() for n in names) == sorted(own.names("train"))
    assert made.unused == tuple(sorted(own.names("val")))


def test_groups_stay_whole(recipe: Path) -> None:
    with pytest.raises(UserError, match="group"):
        make_folds(load_recipe(recipe).recipe, settings(by="grouped"), QUIET)  # every picture is a group of its own
    grouped = load_recipe(recipe, [r"data.args={group_regex: '_(\d)'}", "data.train=val"])
    with pytest.raises(UserError, match="folds"):
        make_folds(grouped.recipe, settings(by="grouped"), QUIET)  # all are of group 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"by": "plane"}, "Did you mean 'plain'"),
        ({"folds": 1}, "at least two"),
        ({"processes": 0}, "at least one"),
        ({"common": "train"}, "every model has seen most of it"),
        ({"test": "val"}, "it is no test"),
        ({"test": "train"}, "it is no test"),
        ({"per_stage": True}, "the recipe has no stages"),
    ],
)
def test_settings_that_cannot_be_are_refused(recipe: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_settings(load_recipe(recipe).recipe, settings(**changes))


def test_a_missing_split_is_refused_before_anything_is_written(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        api.crossval(recipe, test="tset", runs=tmp_path / "runs", console=QUIET)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="there is no cross-validation"):
        api.resume_crossval("none", runs=tmp_path, console=QUIET)


def test_every_stage_has_its_candidates_and_starts_from_the_winner_before(staged: CrossvalResult) -> None:
    first, second = staged.rounds
    assert [one.round.name for one in staged.rounds] == ["plain", "overlap"]
    for one in staged.rounds:
        assert [c.key for c in one.candidates] == ["best", "mean", "top"]
        assert [len(c.folds) for c in one.candidates] == [1, 3, 2]
        ranked = sorted(one.folds, key=lambda fold: (-fold.miou, fold.number))
        assert one.candidates[0].folds == (ranked[0].number,)
        assert set(one.candidates[2].folds) == {fold.number for fold in ranked[:2]}
        assert one.winner.miou == max(c.miou for c in one.candidates)
        assert all(one.difference(c).value >= 0 for c in one.candidates)
        assert sum(len(fold.evaluation.names) for fold in one.folds) == 10
    for fold in second.folds:
        recipe = load_recipe(fold.run.recipe_file).recipe
        assert recipe.model.weights == str((staged.path / "stage1" / "winner.safetensors").resolve())
        assert recipe.loss.name == "dice"
        assert recipe.training.epochs == 1
    started = json.loads((second.folds[0].run.path / "weights.json").read_text())
    assert started["provenance"]["candidate"] == first.winner.name
    assert started["provenance"]["chosen_on"] == "val"


def test_the_mean_candidate_is_the_mean_of_the_folds(staged: CrossvalResult) -> None:
    one = staged.rounds[0]
    mean = load_segmenter(one.candidates[1].file)
    models = [load_segmenter(fold.run.best) for fold in one.folds]
    for name, parameter in mean.named_parameters():
        expected = np.mean([m.get_parameter(name).detach().double().numpy() for m in models], axis=0)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-6, atol=1e-8)


def test_the_result_says_what_its_numbers_are_worth(staged: CrossvalResult) -> None:
    content = json.loads((staged.path / "result.json").read_text())
    assert all(c["selected_on"] == "val" for one in content["rounds"] for c in one["candidates"])
    assert content["test"]["split"] == "test"
    told = "\n".join(staged.caveats)
    assert "selected on val" in told
    assert "trained on every fold's held-out pictures" in told
    assert "Split test chose nothing" in told
    page = staged.report.read_text(encoding="utf-8")
    assert "untouched estimate" in page
    assert "selected on val" in page
    for name in ("candidates", "folds", "curves", "classes", "confusion", "weights", "pictures"):
        assert f'<section id="{name}"' in page
    assert page.count('<article class="row"') == 4
    pooled = staged.rounds[0].held_out
    counts = np.concatenate([f.evaluation.counts_NKK for f in staged.rounds[0].folds]).sum(0)
    iou = counts.diagonal() / np.maximum(1, counts.sum(0) + counts.sum(1) - counts.diagonal())
    assert math.isclose(pooled.value, iou.mean())


def test_the_winner_scores_as_told_and_starts_a_training(staged: CrossvalResult, recipe: Path, tmp_path: Path) -> None:
    root = load_recipe(recipe).recipe.data.root
    again = api.evaluate(
        staged.winner_file, ["data.name=paired_folders", f"data.root={root}"], split="test", console=QUIET
    )
    assert staged.test is not None
    assert again.miou == staged.test.miou
    next_one = api.train(
        recipe, [f"model.weights={staged.winner_file}", "training.epochs=1"], runs=tmp_path, name="next", console=QUIET
    )
    assert json.loads((next_one.path / "weights.json").read_text())["provenance"]["crossval"] == "cv"


def test_stopped_between_and_within_folds_it_ends_the_same(
    staged: CrossvalResult, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    real = crossval_module.train_fold

    def killed_after_one(crossval: Any, own: Any, number: int, console: Console) -> None:
        if trained:
            raise MemoryError  # nothing is tidied up, as when the process is killed
        real(crossval, own, number, console)
        trained.append(f"{own.number}/{number}")

    with monkeypatch.context() as patch:
        patch.setattr(crossval_module, "train_fold", killed_after_one)
        with pytest.raises(MemoryError):
            run(recipe, tmp_path)
    before = (tmp_path / "cv" / "stage1" / "fold1" / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1)
        with pytest.raises(Interrupted, match="segwright crossval --resume") as caught:
            api.resume_crossval("cv", runs=tmp_path, console=QUIET)
    assert caught.value.exit_code == 130
    assert (tmp_path / "cv" / "stage1" / "fold2" / "checkpoints" / "last.safetensors").is_file()
    assert not (tmp_path / "cv" / "stage1" / "fold2" / "fold.json").exists()
    resumed = api.resume_crossval("cv", runs=tmp_path, console=QUIET)
    assert (tmp_path / "cv" / "stage1" / "fold1" / "checkpoints" / "last.safetensors").stat().st_mtime_ns == before
    assert without_places(resumed) == without_places(staged)


def test_an_ensemble_of_folds_is_scored_as_one(staged: CrossvalResult) -> None:
    folder = staged.path / "stage2"
    runs = [folder / f"fold{n}" for n in (1, 2, 3)]
    alone = api.evaluate(runs[0], console=QUIET)
    assert api.evaluate(runs[0], ensemble=[runs[0]], console=QUIET).miou == pytest.approx(alone.miou)
    together = api.evaluate(runs[0], ensemble=runs[1:], console=QUIET)
    assert isinstance(together, Evaluation)
    assert together.run == "fold1+fold2+fold3"
    assert together.names == alone.names
    assert not (together.counts_NKK == alone.counts_NKK).all()


def test_class_weights_are_found_in_a_sum_of_losses() -> None:
    inner = {"losses": [{"name": "dice", "args": {}}, {"name": "cross_entropy", "args": {"class_weights": [1, 2]}}]}
    assert class_weights_of(inner) == [1.0, 2.0]
    assert class_weights_of({"class_weights": None}) is None


@pytest.mark.slow
def test_processes_give_the_same_table(
    staged: CrossvalResult, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    together = run(recipe, tmp_path, processes=2)
    assert without_places(together) == without_places(staged)


@pytest.mark.slow
def test_five_stages_of_folds_on_generated_streets(tmp_path: Path) -> None:
    """The system of a published study, tiny: five stages, each from the best of three candidates, with its figures."""
    combined = (
        "{{name: combined, args: {{losses: [{{name: cross_entropy, weight: {0}}}, {{name: dice, weight: {1}}}]}}}}"
    )
    stages = [
        "{name: plain, epochs: 1}",
        "{name: summed, epochs: 1, loss: " + combined.format(0.6, 0.4) + "}",
        "{name: more, epochs: 1, loss: " + combined.format(0.6, 0.4) + "}",
        "{name: augmented, epochs: 1, augmentation: {name: standard}, loss: " + combined.format(0.6, 0.4) + "}",
        "{name: cosine, schedule: {name: cosine}, loss: " + combined.format(0.5, 0.5) + "}",
    ]
    result = api.crossval(
        "streets-demo",
        [
            "data.args={count: {train: 15, val: 6}, size: [64, 128], seed: 0}",
            "model.args={width: 0.25}",
            "augmentation.name=none",
            "augmentation.size=[64,128]",
            "training.epochs=5",
            "training.batch=4",
            "training.ema_decay=null",
            "training.precision=fp32",
            "training.memory_format=channels_last",
            f"stages=[{', '.join(stages)}]",
        ],
        folds=5,
        by="grouped",
        per_stage=True,
        runs=tmp_path,
        console=QUIET,
    )
    assert [one.round.name for one in result.rounds] == ["plain", "summed", "more", "augmented", "cosine"]
    assert all(len(one.candidates) == 3 and len(one.folds) == 5 for one in result.rounds)
    assert [len(c.folds) for c in result.rounds[0].candidates] == [1, 5, 3]
    page = result.report.read_text(encoding="utf-8")
    assert page.count("chart candidates") == 1
    assert page.count('<article class="row"') == 6
