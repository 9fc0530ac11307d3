"""`predict` and `evaluate` with windows, views and maps, as a user types them: what is written, named and refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright import api
from segwright.evaluation.result import Evaluation
from segwright.models.weights import save_segmenter
from tests.cli.test_cli import run
from tests.export.models import labelled_folder, small_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.safetensors, another.safetensors and labelled pictures in data."""
    folder = tmp_path_factory.mktemp("predict")
    labelled_folder(folder / "data")
    save_segmenter(small_model(), folder / "model.safetensors")
    save_segmenter(small_model(short_side=40), folder / "another.safetensors")
    return folder


def scored(place: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> Evaluation:
    code, out, err = run(
        *("evaluate", place / "model.safetensors", "data.name=paired_folders", f"data.root={place / 'data'}"),
        *("--measure", "none", "--json", *options),
        capsys=capsys,
    )
    assert code == 0, err
    return Evaluation.from_dict(json.loads(out))


def test_everything_goes_together(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        *("predict", place / "model.safetensors", place / "another.safetensors", place / "data" / "images" / "val"),
        *(
            "-o",
            tmp_path,
            "--ensemble",
            "--window",
            "32x48",
            "--overlap",
            "0.25",
            "--tta",
            "flip,scales=0.5:1",
            "--crf",
        ),
        *(
            "--write",
            "ids,confidence",
            "--write",
            "entropy",
            "--format",
            "tif",
            "--batch",
            "2",
            "--abstain-below",
            "0.5",
        ),
    ]
    code, out, err = run(*command, capsys=capsys)
    assert code == 0, err
    said = " ".join(out.split())
    assert "model+another+tta: mean of 4 views (flip,scales=0.5:1)" in said
    assert "model+another+tta+window: windows of 32×48, overlap 0.25" in said
    assert "model+another+tta+window+crf" in said
    assert "without an answer" in said
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == sorted(
        [*(f"val{n}_{kind}.tif" for n in range(3) for kind in ("ids", "confidence", "entropy")), "predictions.jsonl"]
    )
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tif")}
    code, again, err = run(*command, "--resume", capsys=capsys)
    assert code == 0, err
    assert again == out
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tif")} == before


def test_another_label_space_goes_with_windows_and_not_with_confidence(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = small_model().labels.to_dict() | {"name": "two"}
    classes = space["classes"]
    space["classes"] = [dict(classes[0]), dict(classes[1])]
    (tmp_path / "two.yaml").write_text(json.dumps(space))
    command = ["predict", place / "model.safetensors", place / "data" / "images" / "val", "-o", tmp_path / "out"]
    command += ["--labels", tmp_path / "two.yaml", "--window", "32", "--tta", "flip"]
    code, _, err = run(*command, "--write", "ids", capsys=capsys)
    assert code == 0, err
    ids = np.asarray(Image.open(tmp_path / "out" / "val0_ids.png"))
    assert set(np.unique(ids)) <= {0, 1}
    for kind in ("confidence", "entropy", "probabilities"):
        code, _, err = run(*command, "--write", kind, "-o", tmp_path / kind, capsys=capsys)
        assert code == 2
        assert "Leave out either the label space or" in " ".join(err.split())
        assert not (tmp_path / kind).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overlap", "0.5"], "--overlap 0.5 goes with --window"),
        (["--window", "big"], "expected HEIGHTxWIDTH"),
        (["--tta", "flop"], "Allowed are flip, scales="),
        (["--write", "overlay,masks"], "write holds 'masks'"),
        (["--format", "bmp"], "format is 'bmp'; allowed are png, npy, tif"),
        (["--probabilities", "fp8"], "allowed are fp16, uint8"),
        (["--batch", "0"], "--batch is 0; allowed are 1 to 64"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    place: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(
        *("predict", place / "model.safetensors", place / "data" / "images" / "val", "-o", tmp_path / "out", *options),
        capsys=capsys,
    )
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_each_of_several_models_predicts_though_a_picture_is_bad(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_text("no picture")
    code, _, err = run(
        *("predict", place / "model.safetensors", place / "another.safetensors", tmp_path / "in"),
        *("-o", tmp_path / "out", "--write", "ids"),
        capsys=capsys,
    )
    assert code == 3
    assert err.count("1 of 2 pictures could not be predicted") == 2
    assert sorted(p.parent.name for p in (tmp_path / "out").rglob("good_ids.png")) == ["another", "model"]


def test_an_evaluation_says_what_was_applied(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = scored(place, capsys=capsys)
    assert plain.applied == {}
    covered = scored(place, "--window", "512", capsys=capsys)
    assert np.array_equal(covered.counts_NKK, plain.counts_NKK)
    assert covered.applied == {"window": "windows of 512×512, overlap 0.5"}
    assert covered.run == "model+window"
    other = scored(place, "--tta", "flip,scales=0.5:1", "--window", "32", "--crf", capsys=capsys)
    assert set(other.applied) == {"tta", "window", "crf"}
    assert other.applied["crf"]["iterations"] > 0
    assert other.definition.endswith(
        "Predicted with --tta flip,scales=0.5:1, windows of 32×32, overlap 0.5, a fully connected CRF."
    )
    assert not np.array_equal(other.counts_NKK, plain.counts_NKK)
    again = Evaluation.from_dict(json.loads(json.dumps(other.to_dict())))
    assert (again.applied, again.definition) == (dict(other.applied), other.definition)
    code, out, _ = run(
        *("evaluate", place / "model.safetensors", "data.name=paired_folders", f"data.root={place / 'data'}"),
        *("--measure", "none", "--tta", "flip"),
        capsys=capsys,
    )
    assert code == 0
    assert "with --tta flip" in out


def test_an_evaluation_refuses_what_does_not_go_together(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--predictions", str(place)], ["--explain"]):
        code, _, err = run("evaluate", place / "model.safetensors", *options, "--tta", "flip", capsys=capsys)
        assert code == 2
        assert "--tta" in err
    code, _, err = run(
        *("evaluate", place / "another.safetensors", "data.name=paired_folders", f"data.root={place / 'data'}"),
        *("--at", "network", "--window", "32"),
        capsys=capsys,
    )
    assert code == 2
    assert "do not go together" in err


def test_stored_evaluations_have_names_of_their_own() -> None:
    words = api.applying.file_words(at="network", window="64x64", overlap=0.25, tta="flip,scales=0.5:1", crf=True)
    assert words == ["at-network", "tta-flip-scales-0.5-1", "window-64x64-overlap-0.25", "crf"]
    assert all(re.fullmatch(r"[\w.-]+", word) for word in words)
    assert api.applying.file_words(at=None, window=None, overlap=None, tta=None, crf=False) == []


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it fails
from segwright.cli.app import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino-fp32"])
def test_an_exported_file_predicts_without_torch_what_it_predicts_with_it(
    place: Path, tmp_path: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(backend.removesuffix("-fp32"), reason="the extra `export` is not installed")
    pictures = place / "data" / "images" / "val"
    code, _, err = run("export", place / "model.safetensors", "--out", tmp_path / "m.onnx", capsys=capsys)
    assert code == 0, err
    command = ("predict", tmp_path / "m.onnx", pictures, "--backend", backend, "--batch", "2", "--write", "ids")
    alone = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, command), "-o", str(tmp_path / "alone")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    # confidence needs torch, so the same pictures take the other way
    code, _, err = run(*command, "--write", "confidence", "-o", tmp_path / "beside", capsys=capsys)
    assert code == 0, err
    for picture in pictures.iterdir():
        name = f"{picture.stem}_ids.png"
        without, with_torch = (np.array(Image.open(tmp_path / folder / name)) for folder in ("alone", "beside"))
        assert (without == with_torch).mean() > 0.999  # confidence takes the best of probabilities, not of scores
        assert len(np.unique(without)) > 1
