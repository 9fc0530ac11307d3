"""`training.compile`: the same training, translated."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.runs import Run
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
KEYS = ["training.precision=fp32", "training.memory_format=contiguous", "training.ema_decay=null"]


@pytest.mark.slow
def test_a_compiled_training_learns_what_an_eager_one_does(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data"))
    losses = []
    for name, on in (("eager", "false"), ("compiled", "true")):
        keys = [*KEYS, f"training.compile={on}"]
        run = Run(api.train(recipe, keys, name=name, runs=tmp_path / "runs", console=QUIET).path)
        rows = [row for row in run.metrics() if row["kind"] == "train"]
        losses.append([row["loss"] for row in rows])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_without_a_compiler_it_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        api.train(recipe, [*KEYS, "training.compile=true"], runs=tmp_path / "runs", console=QUIET)
    assert not (tmp_path / "runs").exists()
