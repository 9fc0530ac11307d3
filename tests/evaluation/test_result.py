"""Evaluation results: saved and read back unchanged, damage found, scores and table equal to the counts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from segwright.contracts import DataError, UserError
from segwright.evaluation.result import Evaluation
from segwright.metrics.scores import scores
from tests.evaluation.fakes import evaluation_of, random_counts


def test_saving_and_loading_loses_nothing(tmp_path: Path) -> None:
    evaluation = evaluation_of(random_counts(7, 5), protocol="camvid")
    loaded = Evaluation.load(evaluation.save(tmp_path / "evaluation.json"))
    for name in ("run", "checkpoint", "split", "protocol", "space", "names", "groups", "seconds"):
        assert getattr(loaded, name) == getattr(evaluation, name)
    assert np.array_equal(loaded.counts_NKK, evaluation.counts_NKK)
    assert np.array_equal(loaded.ignored_N, evaluation.ignored_N)
    assert loaded.counts_NKK.dtype == np.int64
    assert loaded.to_dict() == evaluation.to_dict()


def test_the_file_is_plain_json_with_the_answer_on_top(tmp_path: Path) -> None:
    counts = np.zeros((2, 3, 3), np.int64)
    counts[0, 0, 1], counts[1, 0, 0] = 4, 12
    evaluation = evaluation_of(counts, ["road", "car", "sky"])
    content = json.loads(evaluation.save(tmp_path / "e.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(evaluation.to_dict()))
    assert content["miou"] == pytest.approx(0.375)
    assert content["iou"] == {"road": 0.75, "car": 0.0, "sky": None}
    assert content["definition"].startswith("pooled: ")
    assert [p["counts"] for p in content["pictures"]] == [[[0, 1, 4]], [[0, 0, 12]]]
    assert [p.name for p in tmp_path.iterdir()] == ["e.json"]


def test_no_pictures_survive_the_round_trip(tmp_path: Path) -> None:
    loaded = Evaluation.load(evaluation_of(np.zeros((0, 3, 3), np.int64)).save(tmp_path / "e.json"))
    assert loaded.counts_NKK.shape == (0, 3, 3)
    assert loaded.to_dict()["miou"] is None


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "found format None": lambda c: c.pop("format"),
    "'run' is missing": lambda c: c.pop("run"),
    "out of bounds": lambda c: c["pictures"][0]["counts"].append([0, 5, 1]),
    "is negative": lambda c: c["pictures"][0]["counts"].append([0, 1, -1]),
    "not enough values": lambda c: c["pictures"][0]["counts"].append([0, 1]),
    "unknown protocol": lambda c: c.update(protocol="mine"),
    "needs a `name`": lambda c: c["labels"].pop("name"),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damage_is_found_and_named(tmp_path: Path, message: str) -> None:
    path = tmp_path / "e.json"
    content = evaluation_of(random_counts(2, 3)).to_dict()
    DAMAGE[message](content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        Evaluation.load(path)
    assert str(path) in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Evaluation.load(tmp_path / "e.json")
    (tmp_path / "e.json").write_text('{"format": "segw')
    with pytest.raises(DataError, match="not a readable evaluation"):
        Evaluation.load(tmp_path / "e.json")
    (tmp_path / "e.json").write_text("[1]")
    with pytest.raises(DataError, match="found list"):
        Evaluation.load(tmp_path / "e.json")


def test_scores_follow_from_the_counts() -> None:
    evaluation = evaluation_of(random_counts(6, 4))
    expected = scores(evaluation.counts_NKK.sum(0))
    assert evaluation.miou == expected.macro_iou
    assert evaluation.accuracy == expected.accuracy
    assert evaluation.images_K.tolist() == [sum(bool(c[k].any()) for c in evaluation.counts_NKK) for k in range(4)]


def shown(evaluation: Evaluation) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(evaluation.table())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_shows_every_class_absent_ones_as_dashes_and_the_definition() -> None:
    counts = np.zeros((2, 4, 4), np.int64)
    counts[0, 0, 0], counts[0, 0, 1], counts[1, 1, 1], counts[1, 0, 0] = 30, 10, 59, 1
    text = shown(evaluation_of(counts, ["road", "[bold]car[/bold]", "sky", "dog"]))
    rows = {
        line.split("│")[1].strip(): [c.strip() for c in line.split("│")[2:-1]]
        for line in text.splitlines()
        if "│" in line
    }
    assert rows["road"] == ["41.0", "75.6", "100.0", "75.6", "86.1", "2"]
    assert rows["[bold]car[/bold]"] == ["59.0", "85.5", "85.5", "100.0", "92.2", "1"]
    assert rows["sky"] == ["0.0", "–", "–", "–", "–", "0"]
    assert "mIoU 80.6 %" in text
    flowing = " ".join(text.split())
    assert "Protocol pooled: the pixels of all pictures are counted together" in flowing
    assert "Left out of the mean: sky, dog." in flowing
    assert "IoU macro 80.6 · micro 81.8 · weighted 81.4" in flowing
