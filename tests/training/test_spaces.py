"""Training in one label space, on data told in several, and scoring in another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from segwright import api
from segwright.contracts import UserError

from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
SHAPES = """name: shapes
classes:
  - {name: ground, values: [0], color: [30, 30, 30]}
  - {name: red, values: [1], color: [200, 40, 40], group: thing}
  - {name: green, values: [2], color: [40, 200, 60], group: thing}
"""
THINGS = """name: things
classes:
  - {name: ground, values: [0], color: [30, 30, 30]}
  - {name: thing, values: [1, 2], color: [200, 200, 40]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "data")
    write_pictures(tmp_path / "coarse", seed=7)
    (tmp_path / "shapes.yaml").write_text(SHAPES, encoding="utf-8")
    (tmp_path / "things.yaml").write_text(THINGS, encoding="utf-8")
    write_recipe(tmp_path, tmp_path / "data")
    return tmp_path


def train(folder: Path, *overrides: str) -> api.TrainResult:
    shared = [f"data.labels={folder}/shapes.yaml", "training.accumulation=1", "lr=0.03"]
    return api.train(folder / "tiny.yaml", [*shared, *overrides], runs=folder / "runs", name="r", console=QUIET)


def test_fine_and_coarse_labels_train_one_model_together(folder: Path) -> None:
    """The coarse half says only `thing`; red and green are told apart through the fine half."""
    also = f"[{{name: paired_folders, root: {folder}/coarse, labels: {folder}/things.yaml, train: all}}]"
    result = train(folder, f"data.also={also}", "training.epochs=12")
    facts = json.loads((result.path / "data.json").read_text())["splits"]["train"]
    assert facts["pictures"] == 10 + 14
    assert facts["set_pixels"] > 0
    assert result.evaluation.space.class_names == ("ground", "red", "green")
    assert result.miou > 0.75
    resumed = api.resume(result.path, runs=folder / "runs", console=QUIET)
    assert resumed.miou == result.miou


def test_a_model_is_scored_and_shown_in_a_coarser_space(folder: Path) -> None:
    result = train(folder, f"score_labels={folder}/things.yaml", "training.epochs=10")
    assert result.evaluation.space.class_names == ("ground", "thing")
    own = api.evaluate(result.path, labels=str(folder / "shapes.yaml"), console=QUIET)
    merged = np.zeros((2, 2), np.int64)
    for truth in range(3):
        for predicted in range(3):
            merged[min(truth, 1), min(predicted, 1)] += own.counts_KK[truth, predicted]
    assert result.evaluation.counts_KK.tolist() == merged.tolist()
    rows = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    assert set(next(r for r in rows if r["kind"] == "val")["iou"]) == {"ground", "thing"}
    picture = folder / "data" / "val" / "images" / "val_00.png"
    api.predict([result.path], picture, folder / "fine", write=["ids"], console=QUIET)
    api.predict([result.path], picture, folder / "told", write=["ids"], labels=f"{folder}/things.yaml", console=QUIET)
    fine, told = (np.array(Image.open(folder / f / "val_00_ids.png")) for f in ("fine", "told"))
    assert (np.minimum(fine, 1) == told).all()


def test_classes_that_the_scored_space_lacks_are_not_predicted(folder: Path) -> None:
    result = train(folder, "training.epochs=4")
    (folder / "two.yaml").write_text(SHAPES.replace("  - {name: green", "ignored:\n  - {name: green"), encoding="utf-8")
    told = api.evaluate(result.path, labels=str(folder / "two.yaml"), console=QUIET)
    own = api.evaluate(result.path, console=QUIET)
    assert told.space.class_names == ("ground", "red")
    assert told.counts_KK.sum() == own.counts_KK[:2].sum()  # every labelled pixel of both classes has an answer
    assert told.counts_KK[0, 0] >= own.counts_KK[0, 0]


def test_a_model_trains_in_another_space_than_its_masks(folder: Path) -> None:
    result = train(folder, f"model.labels={folder}/things.yaml", "training.epochs=10")
    assert result.evaluation.space.class_names == ("ground", "thing")
    assert result.miou > 0.75


def test_a_coarser_truth_is_refused_before_any_folder_is_made(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'thing' may be red or green.*score_labels=things"):
        train(folder, f"data.labels={folder}/things.yaml", f"model.labels={folder}/shapes.yaml")
    assert not (folder / "runs").exists()
