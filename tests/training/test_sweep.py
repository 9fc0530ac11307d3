"""Sweeps: what is tried depends on the seed alone, a stop costs nothing, a failure is recorded, the page shows all."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from segwright import api, cli
from segwright.contracts import SegwrightError, UserError
from segwright.recipe import LoadedRecipe, Recipe, dump, load_recipe
from segwright.runs import Run, create_run
from segwright.training import sweep as sweep_module
from segwright.training.interrupt import Interrupted
from segwright.training.progress import TrainingProgress
from segwright.training.trials import Sweep

from .tiny import write_pictures, write_recipe

pytestmark = pytest.mark.skipif(find_spec("optuna") is None, reason='needs the extra: pip install "segwright[sweep]"')

QUIET = Console(quiet=True)
SPACE = [
    "optimizer.lr=log(1e-5,1.0)",
    "training.batch=int(2,8)",
    "schedule.name=choice(poly,cosine)",
    "training.epochs=4",
]


class Toy:
    """Stands for a training: its score is a function of the recipe, and it can be stopped after any epoch."""

    score: Callable[[Recipe, int], float]
    stop_after = math.inf
    """Validations until Ctrl-C, over all trainings."""
    begun: list[str]

    def __init__(self, recipe: Recipe, run: Run) -> None:
        self.recipe, self.run = recipe, run
        self.watch: Callable[[Mapping[str, Any]], None]
        done = [row["miou"] for row in run.metrics()]
        self.learner = SimpleNamespace(counters=SimpleNamespace(best_miou=max(done, default=None)))

    def fit(self) -> None:
        counters = self.learner.counters
        for epoch in range(len(self.run.metrics()) + 1, self.recipe.training.epochs + 1):
            if Toy.stop_after == 0:
                raise Interrupted("stopped", 2)
            Toy.stop_after -= 1
            miou = Toy.score(self.recipe, epoch)
            counters.best_miou = max(miou, counters.best_miou or 0)
            self.run.append_metrics({"kind": "val", "epoch": epoch, "step": epoch, "miou": miou})
            self.run.last.touch()
            self.watch({"kind": "val", "epoch": epoch, "miou": miou})


def start(loaded: LoadedRecipe, *, runs: Path, name: str, console: Console) -> Toy:
    Toy.begun.append(name)
    return Toy(loaded.recipe, create_run(runs, name=name, label="toy", recipe_text=dump(loaded.recipe)))


def resume(run: Run, *, console: Console) -> Toy:
    Toy.begun.append(f"{run.name} again")
    return Toy(load_recipe(run.recipe_file).recipe, run)


def hill(recipe: Recipe, epoch: int) -> float:
    """Best at a learning rate of 0.01 and a large batch."""
    return max(0.0, 0.6 - 0.1 * abs(math.log10(recipe.optimizer.lr) + 2) + recipe.training.batch_size / 100) * epoch / 4


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def relax(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", relax)
    yield
    event.remove(Engine, "connect", relax)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> type[Toy]:
    monkeypatch.setattr(sweep_module, "start", start)
    monkeypatch.setattr(sweep_module, "resume", resume)
    Toy.score, Toy.stop_after, Toy.begun = staticmethod(hill), math.inf, []
    return Toy


def sweep(runs: Path, *, name: str = "s", trials: int = 8, seed: int = 0, **options: Any) -> Sweep:
    runner = sweep_module.new_sweep(
        "camvid-cpu",
        options.pop("texts", SPACE),
        **{"trials": trials, "seed": seed, "name": name, "storage": None, "prune": False} | options,
        runs=runs,
        console=QUIET,
    )
    runner.run(lambda so_far: None)
    return runner.result()


def go_on(runs: Path, *, name: str = "s", trials: int | None = None) -> Sweep:
    runner = sweep_module.open_sweep(name, trials=trials, runs=runs, console=QUIET)
    runner.run(lambda so_far: None)
    return runner.result()


def outcome(found: Sweep) -> list[tuple[int, str, Mapping[str, str], float | None]]:
    return [(t.number, t.state, t.values, t.miou) for t in found.trials]


def test_the_same_seed_tries_the_same_and_another_does_not(toys: type[Toy], tmp_path: Path) -> None:
    one, two = (outcome(sweep(tmp_path, name=name, trials=12)) for name in ("one", "two"))
    assert one == two
    assert [t[2] for t in outcome(sweep(tmp_path, name="other", trials=3, seed=1))] != [t[2] for t in one[:3]]
    assert len({t[2]["optimizer.lr"] for t in one}) == 12  # a fresh sampler for each trial does not repeat itself


@pytest.mark.parametrize("stop_after", [0, 6, 16])
def test_a_stopped_sweep_goes_on_as_if_it_had_not_been(toys: type[Toy], tmp_path: Path, stop_after: int) -> None:
    whole = sweep(tmp_path, name="whole", trials=12, prune=True)
    toys.stop_after = stop_after
    with pytest.raises(Interrupted, match=r"segwright sweep --resume .*cut") as caught:
        sweep(tmp_path, name="cut", trials=12, prune=True)
    assert caught.value.exit_code == 130
    toys.stop_after, toys.begun = 1, []
    with pytest.raises(Interrupted):
        go_on(tmp_path, name="cut")  # and stopped once more
    toys.stop_after = math.inf
    assert outcome(go_on(tmp_path, name="cut")) == outcome(whole)
    assert any("again" in name for name in toys.begun)
    assert len(list((tmp_path / "sweeps" / "cut").glob("trial-*"))) == 12


def test_the_count_goes_on_and_can_be_raised(toys: type[Toy], tmp_path: Path) -> None:
    sweep(tmp_path, trials=3)
    assert len(go_on(tmp_path).trials) == 3
    assert toys.begun == ["trial-001", "trial-002", "trial-003"]
    more = go_on(tmp_path, trials=5)
    assert (len(more.trials), more.wanted) == (5, 5)
    assert len(go_on(tmp_path).trials) == 5
    assert outcome(more) == outcome(sweep(tmp_path, name="at-once", trials=5))


def test_the_best_trial_and_its_command(toys: type[Toy], tmp_path: Path) -> None:
    found = sweep(tmp_path, trials=15, texts=[*SPACE, "data.root=my data"])
    assert {t.state for t in found.trials} == {"done"}  # nothing is pruned unless asked for
    best = found.best
    assert best is not None
    assert best.miou == max(t.miou or 0 for t in found.trials)
    assert best.miou > 0.5  # TPE found the hill
    assert found.command is not None
    assert found.command.startswith("segwright train camvid-cpu training.epochs=4 'data.root=my data' optimizer.lr=")
    recipe = load_recipe(best.run / "recipe.yaml").recipe
    again = load_recipe("camvid-cpu", [*found.fixed, *best.overrides]).recipe
    assert recipe.model_copy(update={"data": again.data}) == again
    assert Path(recipe.data.root or "").name == "my data"


def test_lagging_trials_are_pruned_and_their_score_is_kept(toys: type[Toy], tmp_path: Path) -> None:
    found = sweep(tmp_path, trials=12, prune=True)
    pruned = [t for t in found.trials if t.state == "pruned"]
    assert pruned
    assert min(t.number for t in pruned) > 5  # there is no median before
    assert all(t.miou is not None and t.epochs < 4 for t in pruned)


def test_a_failure_is_recorded_and_the_others_go_on(toys: type[Toy], tmp_path: Path) -> None:
    def score(recipe: Recipe, epoch: int) -> float:
        if recipe.schedule.name == "cosine":
            raise RuntimeError("out of memory")
        return 0.5

    toys.score = staticmethod(score)
    found = sweep(tmp_path, trials=8, texts=["schedule.name=choice(poly,cosine)", "lr=log(1e-3,1e-1)"], seed=1)
    assert {(t.values["schedule.name"], t.state, t.error) for t in found.trials} == {
        ("poly", "done", ""),
        ("cosine", "failed", "RuntimeError: out of memory"),
    }
    assert len(found.trials) == 8


def test_when_the_first_trials_all_fail_it_stops(toys: type[Toy], tmp_path: Path) -> None:
    def score(recipe: Recipe, epoch: int) -> float:
        raise UserError("/data does not exist")

    toys.score = staticmethod(score)
    with pytest.raises(SegwrightError, match=r"first 3 trials all failed.*/data does not exist"):
        sweep(tmp_path, trials=8)
    assert len(toys.begun) == 3


def test_a_trial_killed_before_its_first_checkpoint_begins_again(toys: type[Toy], tmp_path: Path) -> None:
    whole = sweep(tmp_path, name="whole", trials=2)
    toys.stop_after = 0
    with pytest.raises(Interrupted):
        sweep(tmp_path, trials=2)
    assert not (tmp_path / "sweeps/s/trial-001/checkpoints/last.safetensors").exists()
    toys.stop_after = math.inf
    assert outcome(go_on(tmp_path)) == outcome(whole)


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        (["optimizer.lr=log(1e-5,100)"], "optimizer.lr is 100.0"),
        (["loss.name=choice(cross_entropy,cross_entrpy)"], "Did you mean 'cross_entropy'"),
        (["model.name=choice(fast_scnn,unnet)"], "Did you mean 'unet'"),
        (["model.args.widht=uniform(0.5,1)"], "Did you mean 'width'"),
        (["schedule.args.powr=uniform(0.5,1)"], "powr"),
        (["training.batch=choice(2,many)"], "training.batch is 'many'"),
        (["lr=log(1e-5,1e-2)", "training.epoch=3"], "Did you mean 'training.epochs'"),
    ],
)
def test_wrong_values_are_refused_before_a_folder_is_made(tmp_path: Path, texts: list[str], part: str) -> None:
    with pytest.raises(UserError) as caught:
        sweep(tmp_path / "runs", texts=texts)
    assert part in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_names_and_places(toys: type[Toy], tmp_path: Path) -> None:
    sweep(tmp_path, trials=1)
    with pytest.raises(UserError, match=r"exists already.*--resume"):
        sweep(tmp_path, trials=1)
    with pytest.raises(UserError, match="cannot name a sweep"):
        sweep(tmp_path, name="a/b")
    with pytest.raises(UserError, match="expected a URL"):
        sweep(tmp_path, name="x", storage="study.db")
    with pytest.raises(UserError, match=r"storage nosuch://x.*cannot be used"):
        sweep(tmp_path, name="y", storage="nosuch://x")
    with pytest.raises(UserError, match="Did you mean 's'"):
        go_on(tmp_path, name="s2")
    with pytest.raises(UserError, match="folder without one"):
        sweep_module.new_sweep(
            str(tmp_path), SPACE, trials=1, seed=0, name="z", storage=None, prune=True, runs=tmp_path, console=QUIET
        )


def test_several_sweeps_share_a_storage_of_ones_own(toys: type[Toy], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'all.db'}"
    one = sweep(tmp_path, name="one", trials=2, storage=url)
    sweep(tmp_path, name="two", trials=3, storage=url, seed=5)
    assert outcome(go_on(tmp_path, name="one")) == outcome(one)
    assert not (one.path / "study.db").exists()


def test_without_optuna_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "segwright\[sweep\]"'):
        sweep(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_command_line_trains_stops_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data"))
    runs = str(tmp_path / "runs")
    texts = ["lr=log(1e-3,1e-1)", "schedule.name=choice(poly,cosine)", "epochs=2", "training.accumulation=1"]
    shown = TrainingProgress.update
    steps = []

    def update(self: TrainingProgress, now: int, **values: Any) -> None:
        shown(self, now, **values)
        steps.append(now)
        if len(steps) == 8:  # in the second trial
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "update", update)
        with pytest.raises(SystemExit) as caught:
            cli.main(["sweep", str(recipe), *texts, "--trials", "2", "--name", "cut", "--runs", runs])
    assert caught.value.code == 130
    assert "segwright sweep --resume" in "".join(capsys.readouterr().err.split("\n"))
    page = tmp_path / "runs" / "sweeps" / "cut" / "sweep.html"
    assert page.read_text().count('class="hit trial') == 2
    with pytest.raises(SystemExit) as done:
        cli.main(["sweep", "--resume", "cut", "--runs", runs, "--json"])
    assert done.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert [t["state"] for t in result["trials"]] == ["done", "done"]
    assert result["command"].startswith("segwright train ")
    best = Path(result["trials"][result["best"] - 1]["run"])
    assert (best / "report.html").is_file()
    assert (
        len([r for r in map(json.loads, (best / "metrics.jsonl").read_text().splitlines()) if r["kind"] == "val"]) == 2
    )


def test_resume_takes_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["sweep", "camvid-cpu", "--resume", "cut", "--runs", str(tmp_path)])
    assert caught.value.code == 2
    assert api.resume_sweep.__doc__
