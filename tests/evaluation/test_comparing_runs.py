"""`segwright compare` on run folders: scored where needed, grouped by seed, told in one space, refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import segwright
from segwright import UserError, cli
from segwright.evaluation.costs import peak_memory
from segwright.evaluation.result import Evaluation
from tests.evaluation.compared_runs import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    make_run(runs, "calm-fox")
    make_run(runs, "keen-owl", "seed=1", weights=1)
    make_run(runs, "coarse-kite", "score_labels=streets10", weights=2)
    return runs


def test_runs_are_scored_grouped_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "compare.html"
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            ["compare", "calm-fox", "keen-owl", "--runs", str(folder), "--json", "--size", "64x96", "-o", str(out)]
        )
    assert stopped.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["runs"]] == ["calm-fox", "keen-owl"]
    assert found["settings"][0]["seeds"] == [0, 1]
    assert all(one["cost"]["latency_ms"] > 0 and one["cost"]["size"] == [64, 96] for one in found["runs"])
    assert (folder / "keen-owl" / "evaluation" / "val.json").is_file()
    assert 'class="slide"' in out.read_text(encoding="utf-8")


def test_spaces_are_merged_as_if_scored_there(folder: Path) -> None:
    found = segwright.compare(["calm-fox", "coarse-kite"], speed=False, resamples=100, runs=folder)
    assert found.space.name == "streets10"
    assert any("streets10" in note for note in found.notes)
    direct = segwright.evaluate(folder / "calm-fox", labels="streets10", measures=("none",), runs=folder)
    assert (found["calm-fox"].evaluation.counts_NKK == direct.counts_NKK).all()
    saved = folder / "calm-fox" / "evaluation" / "val.json"
    assert Evaluation.load(saved).space.name == "cityscapes19"


def test_other_data_is_refused(folder: Path) -> None:
    data = folder / "keen-owl" / "data.json"
    before = data.read_text(encoding="utf-8")
    content = json.loads(before)
    content["splits"]["val"]["sha256"] = "other"
    data.write_text(json.dumps(content), encoding="utf-8")
    try:
        with pytest.raises(UserError, match=r"(?s)different content.*sha256"):
            segwright.compare(["calm-fox", "keen-owl"], speed=False, runs=folder)
    finally:
        data.write_text(before, encoding="utf-8")
    with pytest.raises(UserError, match="two runs or more"):
        segwright.compare(["calm-fox"], runs=folder)


def test_peak_memory_counts_what_is_alive_at_once() -> None:
    class Chain(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            one = image + 1
            two = one * 2
            del one
            return two + 1

    assert peak_memory(Chain(), (10, 10)) == 3 * 3 * 10 * 10 * 4  # the picture and two results in fp32
