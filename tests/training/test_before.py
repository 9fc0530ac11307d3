"""Before a training: the plan's numbers against independent counts, the rate search, the overfit check, automatic batches."""

from __future__ import annotations

import io
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from segwright import api, cli
from segwright.contracts import SegwrightError, UserError
from segwright.recipe import load_recipe
from segwright.training import batch_size, dry_run, memory
from segwright.training.batch_size import Trial, largest_crop, sizes
from segwright.training.lr_finder import suggestions
from segwright.training.prepare import prepare
from segwright.training.terminal_plot import text_plot

from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
ENDS = ("a", "b")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data", train=11, val=5))


def plan(recipe: Path, *overrides: str, **more: Any) -> dry_run.DryRun:
    return api.dry_run(recipe, overrides, console=QUIET, **more)


def test_the_plan_counts_as_one_does_by_hand(recipe: Path, tmp_path: Path) -> None:
    found = plan(recipe, "training.epochs=5", "training.val_every=2")
    (stage,) = found.stages
    assert stage.batches == 3  # 4 + 4 + 3 pictures
    assert stage.steps == math.ceil(3 / 2)  # accumulation 2
    assert (stage.total_steps, found.total_steps) == (10, 10)
    assert stage.validations == len({2, 4, 5})
    assert stage.training_s == pytest.approx(5 * 3 * stage.batch_s)
    assert found.total_s == pytest.approx(stage.training_s + 3 * found.validation_s)
    assert 0.6 * math.log(3) < found.first_loss < 1.7 * math.log(3)
    assert found.ln_k == pytest.approx(math.log(3))
    masks = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "data" / "train" / "masks").iterdir())]
    shares = np.bincount(np.concatenate([m.ravel() for m in masks]), minlength=3) / sum(m.size for m in masks)
    assert list(found.splits["train"].classes.values()) == pytest.approx(shares.tolist())
    assert {name: split.pictures for name, split in found.splits.items()} == {"train": 11, "val": 5}
    assert not (tmp_path / "runs").exists()


def test_the_plan_has_torchs_learning_rates(recipe: Path) -> None:
    found = plan(recipe, "training.epochs=4", "schedule.name=poly", "schedule.warmup=0.0", "lr=0.02")
    weights = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    theirs = torch.optim.lr_scheduler.PolynomialLR(weights, total_iters=8, power=0.9)
    expected = []
    for _ in range(8):
        expected.append(weights.param_groups[0]["lr"])
        weights.step()
        theirs.step()
    assert [step for step, _ in found.stages[0].rates] == list(range(8))
    assert [rate for _, rate in found.stages[0].rates] == pytest.approx(expected)


def test_every_stage_is_planned(recipe: Path) -> None:
    text = recipe.read_text() + (
        "stages:\n  - {name: small, until: 1}\n"
        "  - {name: large, augmentation: {size: [48, 64]}, training: {batch: 2, accumulation: 1}}\n"
    )
    recipe.write_text(text)
    small, large = plan(recipe, "training.epochs=3", "training.val_every=5").stages
    assert (small.name, small.epochs, small.crop, small.batch) == ("small", (1, 1), (32, 32), 4)
    assert (large.name, large.epochs, large.crop, large.batch) == ("large", (2, 3), (48, 64), 2)
    assert (small.total_steps, large.total_steps) == (2, 5 * 2)  # the last batch of one picture is left out
    assert (small.validations, large.validations) == (1, 1)
    assert large.needed_bytes is not None
    assert small.needed_bytes is not None
    assert large.needed_bytes > small.needed_bytes


def test_what_cannot_fit_is_refused_with_what_would(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generous = plan(recipe).stages[0].needed_bytes
    assert generous is not None
    monkeypatch.setattr(memory, "free_on", lambda device: int(generous * 0.8))
    with pytest.raises(
        UserError, match=r"does not fit into memory: 4 crops of 32×32 need about .* would fit"
    ) as caught:
        plan(recipe)
    fitting = [word for word in str(caught.value).replace(";", " ").split() if word.startswith("training.batch=")]
    assert plan(recipe, *fitting).stages[0].batch == int(fitting[0].partition("=")[2])
    assert plan(recipe, "training.halve_on_oom=true").stages[0].batch == 4


def test_a_loss_that_is_not_finite_is_refused(recipe: Path) -> None:
    with pytest.raises(SegwrightError, match="a trial step cannot train"):
        plan(recipe, "optimizer.name=sgd", "lr=10", "loss.args={class_weights: [1.0e+38, 1.0e+38, 1.0e+38]}")


def run(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command_line_draws_and_prints(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot, sheet = tmp_path / "rates.png", tmp_path / "batch.png"
    runs = tmp_path / "runs"
    code, out, _ = run("train", recipe, "--dry-run", "--plot", plot, "--sheet", sheet, "--runs", runs, capsys=capsys)
    assert code == 0
    for part in ("steps an epoch", "32×32", "first loss", "3 classes has 1.10", "in all", "learning rate"):
        assert part in out
    assert Image.open(plot).size[0] > 400
    assert Image.open(sheet).size[0] > 400
    code, out, _ = run("train", recipe, "--dry-run", "--json", "--runs", runs, capsys=capsys)
    content = json.loads(out)
    assert (code, content["total_steps"], content["recipe"]["training"]["batch"]) == (0, 6, 4)
    assert len(content["pictures"]) == 4
    assert not runs.exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--dry-run", "--overfit-one-batch"], "two checks"),
        (["--plot", "x.png"], "--dry-run"),
        (["--json"], "--json goes with"),
        (["training.batch=0", "--dry-run"], "training.batch is 0"),
        (["training.batch=auto2", "--dry-run"], "training.batch is 'auto2'"),
        (["--resume", "r", "--dry-run"], "new training"),
    ],
)
def test_wrong_use_is_explained(
    recipe: Path, arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run("train", recipe, *arguments, capsys=capsys)
    assert code == 2
    assert part in err


# ---- automatic batch


def test_sizes_are_powers_of_two_and_one_and_a_half_times_them() -> None:
    assert list(sizes(20)) == [2, 3, 4, 6, 8, 12, 16]
    assert list(sizes(2)) == [2]
    assert list(sizes(1)) == [1]


def measured(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], *, free: int = 10**12) -> None:
    monkeypatch.setattr(batch_size._Trials, "seconds", lambda self, pictures: seconds[pictures])
    monkeypatch.setattr(memory, "free_on", lambda device: free)


def choice(recipe: Path, *overrides: str) -> tuple[int, str]:
    console = Console(record=True, file=io.StringIO(), width=300)
    loaded = load_recipe(recipe, ["training.batch=auto", *overrides])
    found = prepare(loaded, console=console)
    assert found.data.loader.batch == found.recipe.training.batch
    assert found.origins["training.batch"] == "measured here"
    return found.recipe.training.batch_size, console.export_text()


def test_a_processor_takes_the_fastest_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data", train=64))
    measured(monkeypatch, {2: 0.2, 3: 0.27, 4: 0.32, 6: 0.48, 8: 0.63})
    batch, said = choice(recipe)
    assert batch == 4  # 6 and 8 are not 3 % faster
    assert "4: 80 ms" in said
    assert "Using training.batch=4" in said


def test_an_epoch_keeps_eight_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data", train=24))
    measured(monkeypatch, {2: 0.2, 3: 0.2})
    assert choice(recipe)[0] == 3


def test_no_batch_that_fits_is_refused(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, {}, free=1000)
    with pytest.raises(UserError, match=r"training.batch=auto: no batch fits.*2 crops of 32×32 need about"):
        choice(recipe)


def test_a_gpu_takes_the_largest() -> None:
    trials = [Trial(2, 1e6, 0.1), Trial(3, 2e6, 0.2), Trial(4, 3e6, 0.4)]
    assert batch_size._chosen(trials, gpu=True) == 4
    assert batch_size._chosen(trials, gpu=False) == 2


class FakeTrials:
    """Steps whose memory is 1 MB a picture, on a GPU with 10 MB free, of which another program takes some."""

    device, free, running = "cuda", 10**7, 0

    def __init__(self, most: int) -> None:
        self.most = most

    def seconds(self, pictures: int) -> float:
        self.running = pictures
        if pictures > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return 0.1 * pictures


@pytest.mark.parametrize(("limit", "most", "best"), [(64, 99, 8), (64, 5, 4), (3, 99, 3), (64, 1, None)])
def test_a_gpu_is_filled_to_four_fifths(
    limit: int, most: int, best: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: Any = FakeTrials(most)
    monkeypatch.setattr(batch_size, "release", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 5)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5 + trials.running * 10**6)
    found = batch_size._largest_on_gpu(trials, limit)
    assert (found[-1].batch if found else None) == best


def test_a_run_keeps_the_measured_batch(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, {2: 0.1})
    keys = ["batch=auto", "training.epochs=1", "training.accumulation=1"]
    result = api.train(recipe, keys, runs=tmp_path / "runs", name="r", console=QUIET)
    text = (result.path / "recipe.yaml").read_text()
    assert load_recipe(result.path / "recipe.yaml").recipe.training.batch == 2
    assert [line for line in text.splitlines() if "batch: 2" in line and "measured here" in line]


def test_stages_share_a_batch_for_the_largest_crop(recipe: Path) -> None:
    recipe.write_text(
        recipe.read_text()
        + "stages:\n  - {until: 1}\n  - {until: 2, augmentation: {size: [64, 96]}}\n"
        + "  - {augmentation: {size: [128, 128]}, training: {batch: 2}}\n"
    )
    assert largest_crop(load_recipe(recipe, ["batch=auto"]).recipe) == (64, 96)
    recipe.write_text(recipe.read_text().replace("training: {batch: 2}", "training: {batch: auto}"))
    with pytest.raises(UserError, match=r"stages.2.training.batch is auto; a stage takes a number"):
        load_recipe(recipe)


# ---- learning-rate finder


def test_suggestions_are_where_the_curve_says() -> None:
    rates = np.logspace(-6, 0, 61)
    x = np.log(rates)
    fall, bottom = math.log(1e-3), math.log(1e-2)
    curve = 2 - 1 / (1 + np.exp(-4 * (x - fall))) + np.exp(np.clip(4 * (x - bottom - 2), None, 10))
    steepest, tenth = suggestions(rates.tolist(), curve.tolist())
    assert steepest == pytest.approx(1e-3, rel=0.01)
    assert tenth == pytest.approx(rates[int(curve.argmin())] / 10)
    assert suggestions([1e-3, 1e-2, 1e-1, 1.0], [1.0, 1.0, 1.1, 1.2]) == (None, None)


def test_the_rate_search_repeats_and_ends_when_it_diverges(recipe: Path, tmp_path: Path) -> None:
    keys = ["optimizer.name=sgd", "training.accumulation=1"]
    first, second = (
        api.lr_find(recipe, keys, low=1e-4, high=10, steps=30, plot=tmp_path / "f.png", console=QUIET) for _ in "ab"
    )
    assert first.losses == second.losses
    assert first.rates[0] == pytest.approx(1e-4)
    assert first.rates[1] / first.rates[0] == pytest.approx((10 / 1e-4) ** (1 / 29))
    expected = [  # the textbook form, as a check of the running one
        sum(0.1 * 0.9 ** (n - i) * first.losses[i] for i in range(n + 1)) / (1 - 0.9 ** (n + 1))
        for n in range(len(first.losses))
    ]
    assert first.smoothed == pytest.approx(expected)
    assert first.suggestion is None or 1e-4 < first.suggestion < 10
    assert Image.open(tmp_path / "f.png").size[0] > 400
    for low, high, steps in ((0.1, 0.01, 30), (0, 1, 30), (1e-3, 20, 30), (1e-4, 1, 3)):
        with pytest.raises(UserError):
            api.lr_find(recipe, keys, low=low, high=high, steps=steps, console=QUIET)


# ---- overfit check


def test_a_sound_model_learns_a_batch_by_heart(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["lr=0.03", "training.accumulation=1", "--runs", tmp_path / "runs"]
    code, out, _ = run("train", recipe, "--overfit-one-batch", *keys, capsys=capsys)
    assert code == 0
    assert "passed" in out
    assert not (tmp_path / "runs").exists()


def test_what_cannot_learn_fails_with_causes(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "overfit_one_batch", partial(api.overfit_one_batch, steps=12))
    weak = api.overfit_one_batch(recipe, ["lr=1e-7"], console=QUIET)
    assert not weak.passed
    assert any("lr=1e-07 is too low" in cause for cause in weak.causes)
    assert weak.reachable == 1.0  # this net's output has the size of the picture
    code, out, _ = run("train", recipe, "--overfit-one-batch", "--json", "lr=1e-7", capsys=capsys)
    assert code == 1
    assert json.loads(out)["passed"] is False


# ---- the curve of characters


def test_text_plot_shows_shape_and_range() -> None:
    lines = text_plot([0, 1, 2, 3, 4, 5, 6, 7], ends=ENDS, width=8, height=2, form=lambda v: f"{v:.0f}")
    assert lines == ["7 │    ▁▃▆█", "0 │ ▂▅▇████", "   a      b"]
    assert text_plot([1.0, math.nan, 2.0], ends=ENDS, width=3, height=1, plain=True)[0] == "2 |# #"
    assert text_plot([math.nan], ends=ENDS) == []
