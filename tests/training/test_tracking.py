"""Trackers hold each row of metrics.jsonl once, whatever happened in between, and nothing needs a network."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.recipe import Recipe, dump, load_recipe
from segwright.runs import Run
from segwright.training import tracking
from segwright.training.interrupt import Interrupted
from segwright.training.progress import TrainingProgress
from segwright.training.tracking import Tracking, check_trackers, params, scalars

from .tiny import write_pictures, write_recipe

needs = {
    name: pytest.mark.skipif(find_spec(name) is None, reason=f'needs the extra: pip install "segwright[{name}]"')
    for name in ("tensorboard", "mlflow", "wandb")
}


@pytest.fixture(autouse=True)
def _no_variables_and_no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trackers find none of the user's variables, and none of them may look for another machine."""
    for name in [n for n in os.environ if n.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    asked: list[str] = []
    find = socket.getaddrinfo

    def note(host: Any, *args: Any, **options: Any) -> Any:
        if host not in (None, "localhost", "127.0.0.1", "::1", socket.gethostname()):
            asked.append(str(host))
        return find(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    yield
    assert asked == []


def row(kind: str, epoch: int, **values: Any) -> dict[str, Any]:
    return {"kind": kind, "epoch": epoch, "step": 10 * epoch, **values}


def rows(epochs: Sequence[int]) -> list[dict[str, Any]]:
    found = []
    for epoch in epochs:
        found.append(row("train", epoch, loss=1 / epoch, lr=0.1, data_wait=0.0))
        found.append(
            row("val", epoch, miou=epoch / 10, best=True, loss=None, iou={"road": 0.5, "sky +": None, "a+b": 0.25})
        )
    return found


def recipe_with(*names: str) -> Recipe:
    return load_recipe("camvid-cpu", [f"training.track=[{','.join(names)}]"]).recipe


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "fox")
    run.path.mkdir()
    run.recipe_file.write_text(dump(recipe_with()))
    return run


def track(run: Run, name: str, new: list[dict[str, Any]], told: list[str] | None = None, *, stop: bool = False) -> None:
    """One process of a training: its rows reach metrics.jsonl, then the tracker."""
    follower = Tracking(run, recipe_with(name), (told if told is not None else []).append)
    with follower.open():
        for one in new:
            run.append_metrics(one)
            follower.write(one)
        if stop:
            raise Interrupted("stopped", 2)


def track_in_two(run: Run, name: str) -> None:
    """Stopped after epoch 2, which is then trained again: its rows were dropped with the checkpoint that came too late."""
    with pytest.raises(Interrupted):
        track(run, name, rows([1]), stop=True)
    length = run.metrics_file.stat().st_size
    with pytest.raises(Interrupted):
        track(run, name, rows([2]), stop=True)
    run.truncate_metrics(length)
    track(run, name, rows([2, 3]))


def test_numbers_of_a_row_have_names_and_undefined_ones_are_left_out() -> None:
    train, val = rows([2])
    assert scalars(train) == {"train/epoch": 2, "train/loss": 0.5, "train/lr": 0.1, "train/data_wait": 0.0}
    assert scalars(val) == {"val/epoch": 2, "val/miou": 0.2, "val/iou/road": 0.5, "val/iou/a+b": 0.25}


def test_the_recipe_becomes_flat_parameters() -> None:
    found = params(load_recipe("camvid-cpu", ["lr=0.003", "augmentation.size=[96,128]"]).recipe)
    assert found["optimizer.lr"] == 0.003
    assert found["augmentation.size"] == "[96, 128]"
    assert found["training.patience"] == "null"
    assert all(isinstance(value, str | int | float) and len(str(value)) <= 500 for value in found.values())
    written_out = load_recipe("camvid-cpu", ["data.labels={name: two, classes: []}"]).recipe
    assert params(written_out)["data.labels"] == "two"


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_told_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda module: None)
    recipe = write_recipe(tmp_path, tmp_path / "no_pictures")
    with pytest.raises(UserError, match=rf'pip install "segwright\[{name}\]"'):
        api.train(recipe, [f"training.track=[{name}]"], runs=tmp_path / "runs", console=Console(quiet=True))
    assert not (tmp_path / "runs").exists()


def test_a_folder_named_like_a_tracker_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "segwright_no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(tracking.TRACKERS, "wandb", "segwright_no_such_tracker")
    with pytest.raises(UserError, match="not installed"):
        check_trackers(["wandb"])


def test_unknown_trackers_are_refused() -> None:
    with pytest.raises(UserError, match="training.track"):
        load_recipe("camvid-cpu", ["training.track=[tensorbord]"])


@needs["tensorboard"]
def test_tensorboard_reads_back_each_row_once(run: Run) -> None:
    track_in_two(run, "tensorboard")
    assert tensorboard(run.path) == {
        "train/epoch": {10: 1, 20: 2, 30: 3},
        "train/loss": {10: 1.0, 20: 0.5, 30: pytest.approx(1 / 3)},
        "train/lr": {10: pytest.approx(0.1), 20: pytest.approx(0.1), 30: pytest.approx(0.1)},
        "train/data_wait": {10: 0, 20: 0, 30: 0},
        "val/epoch": {10: 1, 20: 2, 30: 3},
        "val/miou": {step: pytest.approx(step / 100) for step in (10, 20, 30)},
        "val/iou/road": {10: 0.5, 20: 0.5, 30: 0.5},
        "val/iou/a+b": {10: 0.25, 20: 0.25, 30: 0.25},
    }


def tensorboard(run: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value, read by TensorBoard's own reader; a step that stands twice fails."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "tensorboard"), purge_orphaned_data=False).Reload()
    assert "recipe/text_summary" in reader.Tags()["tensors"]
    found = {}
    for tag in reader.Tags()["scalars"]:
        events = reader.Scalars(tag)
        found[tag] = {event.step: event.value for event in events}
        assert len(found[tag]) == len(events), f"{tag} stands twice"
    return found


@needs["tensorboard"]
def test_a_training_that_was_stopped_and_resumed_stands_in_tensorboard_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data"))
    shown = TrainingProgress.validated

    def stop_after_second(self: TrainingProgress, miou: float, *, best: str) -> None:
        shown(self, miou, best=best)
        if len(self.mious) == 2:
            raise KeyboardInterrupt  # before the rows of epoch 2 are on disk

    runs, quiet = tmp_path / "runs", Console(quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "validated", stop_after_second)
        with pytest.raises(KeyboardInterrupt):
            api.train(recipe, ["training.track=[tensorboard]"], runs=runs, name="cut", console=quiet)
    assert list(tensorboard(runs / "cut")["val/epoch"].values()) == [1]
    result = api.resume("cut", runs=runs, console=quiet)
    found = tensorboard(result.path)
    written = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    assert list(found["val/miou"].items()) == [
        (one["step"], pytest.approx(one["miou"], abs=1e-6)) for one in written if one["kind"] == "val"
    ]
    assert set(found) >= {f"val/iou/{name}" for name in ("ground", "red", "green")} | {"train/loss", "train/lr"}


@needs["mlflow"]
def test_mlflow_reads_back_each_row_once(run: Run) -> None:
    track_in_two(run, "mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(run.path / "mlflow").as_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "segwright"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("fox", "FINISHED")
    assert found.data.params["training.track"] == '["mlflow"]'
    for name, values in {
        "train/loss": [1, 0.5, 1 / 3],
        "val/miou": [0.1, 0.2, 0.3],
        "val/iou/a_2b_b": [0.25] * 3,
    }.items():
        history = client.get_metric_history(found.info.run_id, name)
        assert [(m.step, m.value) for m in history] == list(zip((10, 20, 30), values, strict=True))
    assert [a.path for a in client.list_artifacts(found.info.run_id)] == ["recipe.yaml"]


@needs["wandb"]
def test_wandb_stays_offline_and_holds_each_row_once(run: Run) -> None:
    track_in_two(run, "wandb")
    import wandb

    wandb.teardown()  # its own process ends, and so has written everything
    (folder,) = (run.path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    from wandb.proto import wandb_internal_pb2

    history = []
    for data in wandb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            history.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item})
    assert [(h["_step"], h["train/loss"], h["val/iou/road"]) for h in history] == [
        (step, pytest.approx(10 / step), 0.5) for step in (10, 20, 30)
    ]


def wandb_records(content: bytes) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log format, after a header of seven bytes."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # no room for a header: the rest of the block is empty
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


class Broken:
    """A tracker whose server goes away."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        if recipe.name == "unreachable":
            raise ConnectionError("no route to [server]")

    def write(self, row: dict[str, Any]) -> None:
        raise ConnectionError("gone")

    def close(self, outcome: str) -> None:
        raise AssertionError("it was left behind")


def test_a_tracker_that_fails_is_told_and_training_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.WRITERS, "mlflow", Broken)
    told: list[str] = []
    track(run, "mlflow", rows([1, 2]), told)
    assert len(told) == 1
    assert "mlflow failed" in told[0]
    assert "ConnectionError: gone" in told[0]
    assert len(run.metrics()) == 4


def test_a_tracker_that_cannot_be_opened_stops_the_start(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.WRITERS, "mlflow", Broken)
    recipe = recipe_with("mlflow").model_copy(update={"name": "unreachable"})
    with pytest.raises(UserError, match=r"mlflow cannot be opened.*no route"), Tracking(run, recipe, print).open():
        pass


def test_without_trackers_none_of_their_packages_is_loaded(run: Run) -> None:
    before = set(sys.modules)
    with Tracking(run, recipe_with(), print).open():
        pass
    assert not {"tensorboard", "mlflow", "wandb"} & (set(sys.modules) - before)
