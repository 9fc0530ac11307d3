"""Whole trainings of two processes: they agree with one process, stop together, resume, and score alike."""

from __future__ import annotations

import io
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.interrupt import Interrupted
from segwright.training.progress import TrainingProgress
from segwright.training.shared_step import SharedStep
from segwright.training.step import Step
from tests.training.tiny import write_pictures, write_recipe

from .several import together

QUIET = Console(quiet=True)
SYNCED = (
    "training.sync_batchnorm=true",
    "optimizer.name=sgd",
    "optimizer.lr=0.05",
)  # Adam makes noise as large as steps
WIDE = ("training.batch=6", "training.accumulation=1")  # 10 pictures: 6 and 4


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data", train=10, val=7))


def trained(
    recipe: Path, runs: Path, name: str, overrides: tuple[str, ...], stop: tuple[int, int] | None = None
) -> Any:
    """Train; stop = (process, step): that process gets a SIGTERM then. Returns names seen by (epoch, step), or the exit code."""
    seen: list[tuple[str, ...]] = []
    watch(seen, stop)
    try:
        result = api.train(recipe, overrides, runs=runs, name=name, console=QUIET)
    except Interrupted as stopped:
        return seen, stopped.exit_code
    return seen, result.evaluation.counts_NKK.tolist()


def resumed(runs: Path, name: str) -> Any:
    seen: list[tuple[str, ...]] = []
    watch(seen, None)
    told = Console(record=True, width=400, file=io.StringIO())
    result = api.resume(name, runs=runs, console=told)
    return seen, result.evaluation.counts_NKK.tolist(), told.export_text()


def watch(seen: list[tuple[str, ...]], stop: tuple[int, int] | None) -> None:
    for kind in (Step, SharedStep):
        add = kind.add

        def noting(self: Any, batch: Any, *, share: float, add: Any = add) -> None:
            seen.append(batch.names)
            add(self, batch, share=share)

        kind.add = noting  # type: ignore[method-assign]
    shown = TrainingProgress.update

    def update(self: TrainingProgress, now: int, **values: Any) -> None:
        shown(self, now, **values)
        if stop is not None and now == stop[1] and os.environ.get("RANK", "0") == str(stop[0]):
            os.kill(os.getpid(), signal.SIGTERM)

    TrainingProgress.update = update  # type: ignore[method-assign,assignment]


def last(run: Path) -> Any:
    return load_checkpoint(run / "checkpoints" / "last.safetensors")


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows]


def names(found: list[Any]) -> Counter[str]:
    return Counter(name for part in found for batch in part[0] for name in batch)


def test_two_processes_train_as_one_does(recipe: Path, tmp_path: Path) -> None:
    runs, options = tmp_path / "runs", (*SYNCED, *WIDE)
    (alone,) = together(1, trained, recipe, runs, "one", options)
    two = together(2, trained, recipe, runs, "two", options)
    assert names(two) == names([alone])
    assert set(names(two).values()) == {3}  # once an epoch
    assert two[0][1] == two[1][1]
    assert losses(runs / "two") == pytest.approx(losses(runs / "one"), abs=1e-4)
    one, other = last(runs / "one"), last(runs / "two")
    assert one.state["counters"].keys() == other.state["counters"].keys()
    for key in ("step", "epoch", "batch", "skipped", "void"):
        assert one.state["counters"][key] == other.state["counters"][key]
    for name, weight in one.group("ema").items():
        if weight.is_floating_point():
            torch.testing.assert_close(weight, other.group("ema")[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("asked", [0, 1])
def test_all_stop_when_one_is_asked_and_resume_bit_for_bit(recipe: Path, tmp_path: Path, asked: int) -> None:
    runs = tmp_path / "runs"
    whole = together(2, trained, recipe, runs, "whole", WIDE)
    cut = together(2, trained, recipe, runs, "cut", WIDE, (asked, 2))
    assert [code for _, code in cut] == [143, 143]
    again = together(2, resumed, runs, "cut")
    assert again[0][1] == again[1][1] == whole[0][1]
    assert names(cut) + names(again) == names(whole)
    one, other = last(runs / "whole"), last(runs / "cut")
    assert [n for n in one.tensors if not torch.equal(one.tensors[n], other.tensors[n])] == []
    assert losses(runs / "whole") == losses(runs / "cut")
    assert "trained this run so far" not in again[0][2]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), pytest.param(2, 3, marks=pytest.mark.slow)])
def test_another_number_of_processes_sees_each_picture_once_an_epoch(
    recipe: Path, tmp_path: Path, before: int, after: int
) -> None:
    runs = tmp_path / "runs"
    cut = together(before, trained, recipe, runs, "cut", WIDE, (0, 3))
    again = together(after, resumed, runs, "cut")
    seen = names(cut) + names(again)
    assert len(seen) == 10
    assert set(seen.values()) == {3}
    assert f"{before} process" in again[0][2]


def scored(run: Path, root: Path) -> Any:
    return api.evaluate(run, [f"data.root={root}"], console=QUIET).counts_NKK.tolist()


def test_scores_are_the_same_numbers_for_any_number_of_processes(recipe: Path, tmp_path: Path) -> None:
    (_,) = together(1, trained, recipe, tmp_path / "runs", "one", ("training.epochs=1",))
    for count in (1, 7):
        root = write_pictures(tmp_path / f"of-{count}", train=1, val=count)
        found = [each for size in (1, 2, 4) for each in together(size, scored, tmp_path / "runs" / "one", root)]
        assert len(found[0]) == count
        assert all(each == found[0] for each in found)
