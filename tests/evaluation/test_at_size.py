"""Scoring at the network's size: what the network sees, and outputs that say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from segwright import api, cli
from segwright.build import build_scored_set, score_space
from segwright.contracts import UserError
from segwright.evaluation.result import Evaluation
from segwright.metrics.confusion import confusion
from segwright.models.weights import load_segmenter
from segwright.recipe import load_recipe
from segwright.runs import Run
from tests.evaluation.compared_runs import make_run

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs"), "small", "model.short_side=48")


def expected_counts(run: Run, size: tuple[int, int]) -> np.ndarray:
    """By torch alone: the picture made smaller, predicted, and compared with the mask made smaller."""
    recipe, segmenter = load_recipe(run.recipe_file).recipe, load_segmenter(run.best)
    dataset = build_scored_set(recipe.data, "val", score_space(recipe))
    found = []
    for index in range(len(dataset)):
        sample = dataset[index]
        image = torch.from_numpy(sample.rgb.copy()).permute(2, 0, 1)[None].float()
        inner = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
        logits = segmenter(inner.round().clamp(0, 255))
        mask = torch.from_numpy(np.array(sample.labels))[None, None].float()
        mask = F.interpolate(mask, size=size, mode="nearest-exact").to(torch.uint8)
        found.append(confusion(mask[0], logits.argmax(1).to(torch.uint8), segmenter.num_classes).numpy())
    return np.stack(found)


@torch.no_grad()
def test_the_networks_size_is_scored_and_named(small: Run, capsys: pytest.CaptureFixture[str]) -> None:
    usual = api.evaluate(small.path, measures=["none"], device="cpu", console=QUIET)
    found = api.evaluate(small.path, at="network", measures=["none"], device="cpu", console=QUIET)
    wanted = expected_counts(small, (48, 64))
    assert found.at == "48×64"
    assert found.counts_NKK.sum() < usual.counts_NKK.sum() / 3
    assert np.abs(found.counts_NKK - wanted).sum() <= 0.001 * wanted.sum()  # channels last: other last bits
    assert "at 48×64, not the original size" in found.definition
    assert usual.at is None
    assert "at original size" in usual.definition
    saved = small.path / "evaluation" / "val-at-network.json"
    again = Evaluation.load(saved)
    assert (again.at, again.miou) == ("48×64", found.miou)
    assert Evaluation.load(small.path / "evaluation" / "val.json").at is None
    with pytest.raises(SystemExit, match="0"):
        cli.main(["evaluate", str(small.path), "--at", "network", "--measure", "none", "--device", "cpu"])
    out = capsys.readouterr().out
    assert "% at 48×64, not the original size" in out
    assert "counted together at 48×64, not the original size" in " ".join(out.split())
    with pytest.raises(SystemExit, match="0"):
        cli.main(["evaluate", str(small.path), "--at", "network", "--measure", "none", "--device", "cpu", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["at"] == "48×64"
    assert "not the original size" in content["definition"]


def test_explaining_a_model_adds_its_networks_size(small: Run) -> None:
    before = sorted(p.name for p in (small.path / "evaluation").glob("*"))
    found = api.explain(small.path, device="cpu", console=QUIET)
    usual = api.evaluate(small.path, ["data.val=val"], measures=["none"], device="cpu", console=QUIET)
    assert found.row("resized").title == "at 48×64"
    assert found.row("pooled").value == pytest.approx(usual.miou, abs=1e-12)
    assert sorted(p.name for p in (small.path / "evaluation").glob("*")) == before  # nothing is saved


def test_sizes_that_make_no_sense_are_refused(small: Run, tmp_path: Path) -> None:
    whole = make_run(tmp_path, "whole")
    fixed = api.evaluate(whole.path, at="48x80", measures=["none"], device="cpu", console=QUIET)
    assert fixed.at == "48×80"
    assert fixed.counts_NKK.sum() + fixed.ignored_N.sum() == 4 * 48 * 80
    for source, at, message in (
        (whole, "network", "this model sees pictures at their own size"),
        (whole, "48", "--at 48: allowed are network, or HEIGHTxWIDTH"),
        (small, "48x80", "resizes every picture to a short side of 48 itself. Use --at network"),
    ):
        with pytest.raises(UserError, match=message):
            api.evaluate(source.path, at=at, device="cpu", console=QUIET)
    with pytest.raises(UserError, match="--at goes with one model"):
        api.evaluate(small.path, ensemble=[whole.path], at="network", device="cpu", console=QUIET)
    with pytest.raises(UserError, match="prediction files are scored as they are, at the size of their masks"):
        api.evaluate(None, ["data.root=x"], predictions=tmp_path, at="48x80", console=QUIET)
