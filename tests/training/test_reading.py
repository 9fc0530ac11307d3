"""What a run reads: bad files left out on request, splits from a file, packs and resident pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from segwright import api
from segwright.contracts import DataError, UserError

from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_recipe(tmp_path, write_pictures(tmp_path / "data"))


def train(recipe: Path, *overrides: str) -> api.TrainResult:
    return api.train(recipe, ["training.epochs=2", *overrides], runs=recipe.parent / "runs", name="r", console=QUIET)


def losses(result: api.TrainResult) -> list[float]:
    rows = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["kind"] == "train"]


def test_bad_files_stop_the_start_unless_they_are_to_be_left_out(recipe: Path) -> None:
    images = recipe.parent / "data" / "train" / "images"
    (images / "train_03.png").write_bytes(b"nothing")
    (recipe.parent / "data" / "val" / "masks" / "val_01.png").unlink()
    with pytest.raises(DataError, match=r"val_01\.png"):
        train(recipe)
    assert not (recipe.parent / "runs").exists()
    result = train(recipe, "data.skip_bad=true")
    data = json.loads((result.path / "data.json").read_text())
    assert data["splits"]["train"]["pictures"] == 9
    assert [s["name"] for s in data["skipped"]["paired_folders train"]] == ["train_03"]
    page = result.report.read_text(encoding="utf-8")
    assert "2 files could not be read" in page
    assert all(name in page for name in ("train_03.png", "val_01.png"))
    assert api.resume(result.path, runs=recipe.parent / "runs", console=QUIET).miou == result.miou


@pytest.mark.parametrize("cache", ["none", "pack", "device"])
def test_where_pictures_are_kept_changes_no_pixel(recipe: Path, cache: str) -> None:
    """On a processor, `device` is memory."""
    other = write_recipe(recipe.parent / "data", recipe.parent / "data")
    kept = losses(train(recipe, "data.cache=memory"))
    found = losses(train(other, f"data.cache={cache}"))
    assert found == kept


def test_a_split_file_decides_what_is_trained_on(recipe: Path) -> None:
    names = [f"train/train_{i:02d}" for i in range(10)] + [f"val/val_{i:02d}" for i in range(4)]
    content = {
        "seed": 0,
        "method": "random",
        "source": {"data": "paired_folders", "splits": ["all"]},
        "splits": {"mine": names[:6], "yours": names[6:]},
    }
    (recipe.parent / "splits.json").write_text(json.dumps(content), encoding="utf-8")
    chosen = [f"data.split_file={recipe.parent}/splits.json", "data.train=mine", "data.val=yours"]
    result = train(recipe, *chosen)
    splits = json.loads((result.path / "data.json").read_text())["splits"]
    assert (splits["train"]["pictures"], splits["val"]["pictures"]) == (6, 8)
    with pytest.raises(UserError, match="Did you mean 'yours'"):
        train(recipe, *chosen[:2], "data.val=your")
