"""The models that come with the package: their size, licence, cards and scores, and opening them by name."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import segwright
from segwright.api.backends import open_backend
from segwright.contracts import UserError
from segwright.runs import home, model_file
from segwright.shipped import SHIPPED, LicenceNotice, shipped_file

PROJECT = Path(__file__).resolve().parents[2]
MOST_BYTES = 5_000_000


def quiet_file(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LicenceNotice)
        return shipped_file(name)


@pytest.mark.parametrize("name", SHIPPED)
def test_files_are_small_in_half_precision_and_have_cards(name: str) -> None:
    file = quiet_file(name)
    assert file.stat().st_size <= MOST_BYTES
    with safe_open(file, framework="pt") as tensors:
        kinds = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118  it is no mapping
    assert "F16" in kinds
    assert "F32" not in kinds
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    model = next(m for m in segwright.shipped_models() if m.name == name)
    assert model.licence.startswith(SHIPPED[name].licence)
    assert model.score
    for text in (model.licence, f"`{model.network}`", "## Training", "## Limits", "## Data"):
        assert text in card, text
    assert "/tmp" not in card


@pytest.mark.parametrize("name", SHIPPED)
def test_the_wheel_carries_them(name: str) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "src/segwright/shipped"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not in a git checkout")
    assert {f"src/segwright/shipped/{name}{end}" for end in (".safetensors", ".md")} <= set(tracked.stdout.split())


def picture(folder: Path) -> Path:
    file = folder / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(file)
    return file


@pytest.mark.parametrize("name", SHIPPED)
def test_a_picture_is_segmented_by_name_and_the_licence_is_told(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "segwright.cli", "predict", "--model", name, str(picture(tmp_path)), "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    written = {path.name for path in (tmp_path / "out").rglob("*.png")}
    assert any(file.startswith("photo") for file in written)
    told = [line for line in done.stderr.splitlines() if SHIPPED[name].licence in line]
    assert len(told) == (0 if SHIPPED[name].free else 1), done.stderr


def test_python_warns_of_a_licence_that_forbids_uses() -> None:
    with pytest.warns(LicenceNotice, match="camvid-small: weights under CC BY-NC 4.0"):
        open_backend("camvid-small", Path("runs"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_backend("streets-small", Path("runs"))


def test_a_run_of_the_same_name_comes_first(tmp_path: Path) -> None:
    best = tmp_path / "streets-small" / "checkpoints" / "best.safetensors"
    best.parent.mkdir(parents=True)
    best.touch()
    (tmp_path / "streets-small" / "recipe.yaml").touch()
    assert model_file("streets-small", runs=tmp_path)[0] == best
    assert model_file("streets-small", runs=tmp_path / "none") == (quiet_file("streets-small"), None)


def test_a_name_that_is_nearly_right_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'streets-small'"):
        model_file("street-small", runs=tmp_path)


def test_nothing_is_written_into_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = quiet_file("streets-small")
    assert home(weights, None) == Path("streets-small")
    assert home(tmp_path / "own.safetensors", None) == tmp_path
    with pytest.raises(UserError, match="stays as it is"):
        segwright.calibrate("streets-small", ["data.name=streets", "data.labels=cityscapes19"])
    before = {path.name for path in weights.parent.iterdir()}
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    done = segwright.export_model("streets-small")
    assert done.path == Path("streets-small/export/model.onnx")
    assert done.path.is_file()
    assert {path.name for path in weights.parent.iterdir()} == before
