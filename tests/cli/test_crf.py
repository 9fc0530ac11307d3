"""`--crf` and `tune-crf` on the command line: announced, named in the result, refused where they mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segwright.labels import LabelClass, LabelSpace
from segwright.models import MODELS, Segmenter
from segwright.models.weights import save_segmenter
from tests.cli.test_cli import run

SPACE = LabelSpace(
    name="two",
    title="Two",
    classes=(
        LabelClass(name="ground", values=(0,), color=(10, 20, 30)),
        LabelClass(name="thing", values=(1,), color=(200, 20, 30)),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model file, and four labelled pictures."""
    root = tmp_path_factory.mktemp("crf")
    torch.manual_seed(0)
    model = Segmenter(MODELS["small_cnn"](2), labels=SPACE, model={"name": "small_cnn", "args": {}})
    save_segmenter(model, root / "model.safetensors")
    for part in ("images", "masks"):
        (root / "data" / "val" / part).mkdir(parents=True)
    for index in range(4):
        rng = np.random.default_rng(index)
        mask = np.zeros((32, 48), np.uint8)
        mask[8:24, 10 + index : 30] = 1
        picture = np.where(mask[..., None], 200, 50) + rng.integers(0, 20, (32, 48, 3))
        Image.fromarray(picture.astype(np.uint8)).save(root / "data" / "val" / "images" / f"p{index}.png")
        Image.fromarray(mask).save(root / "data" / "val" / "masks" / f"p{index}.png")
    return root


def test_predict_and_evaluate_say_that_a_crf_refined(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = folder / "model.safetensors", folder / "data"
    picture = data / "val" / "images" / "p0.png"
    code, out, err = run("predict", model, picture, "-o", folder / "out", "--crf", capsys=capsys)
    assert code == 0, err
    assert "refined by a fully connected CRF" in out
    assert "model+crf: 1 picture" in out
    keys = ["data.name=paired_folders", f"data.root={data}", "--measure", "none", "--json"]
    code, plain, err = run("evaluate", model, *keys, capsys=capsys)
    assert code == 0, err
    code, out, err = run("evaluate", model, *keys, "--crf-set", "iterations=2", capsys=capsys)
    assert code == 0, err
    assert (json.loads(plain)["run"], json.loads(out)["run"]) == ("model", "model+crf")
    for wrong, says in (
        ("iterations", "KEY=VALUE"),
        ("iteration=2", "Did you mean"),
        ("sigma_xy=wide", "0.5 to 10000"),
    ):
        code, _, err = run("predict", model, picture, "--crf-set", wrong, capsys=capsys)
        assert code == 2
        assert says in err
    code, _, err = run("evaluate", "--predictions", folder / "out", *keys[:2], "--crf", capsys=capsys)
    assert code == 2
    assert "--crf" in err


def test_tune_crf_keeps_what_helps_and_only_that(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = folder / "model.safetensors", folder / "data"
    keys = ["data.name=paired_folders", f"data.root={data}", "--tries", "2"]
    code, out, err = run("tune-crf", model, *keys, "--json", capsys=capsys)
    assert code == 0, err
    found = json.loads(out)
    assert found["pictures"] == [2, 2]
    assert (folder / "model.crf.json").is_file() == found["helps"]
    code, out, err = run("tune-crf", model, *keys, "--no-save", capsys=capsys)
    assert code == 0, err
    assert "half that judged" in out
