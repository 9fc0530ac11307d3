"""Exported models beside their originals: several architectures, any size, int8, and what `segwright export` promises."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from segwright import api
from segwright.contracts import DataError, UserError
from segwright.export.onnx import describe, export_onnx
from segwright.inference.backends.opening import load_exported
from segwright.models.weights import load_segmenter, save_segmenter
from tests.export.models import labelled_folder, small_model
from tests.models.conftest import pictures, space

pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

QUIET = Console(quiet=True)
NETS: list[tuple[str, dict[str, Any]]] = [
    ("fast_scnn", {"width": 0.25, "head_stride": 4}),
    ("unet", {"width": 4}),
    ("smp", {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2"}),
    ("smp", {"architecture": "segformer", "encoder": "mit_b0"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize(("name", "args"), NETS)
def test_any_size_and_batch_gives_the_same_scores(
    tmp_path: Path, name: str, args: dict[str, Any], picture: bool
) -> None:
    model = small_model(name, args)
    export_onnx(model, tmp_path / "m.onnx", picture=picture)
    exported = load_exported(tmp_path / "m.onnx")
    for batch, height, width in ((1, 1, 1), (3, 65, 97), (1, 96, 128), (2, 70, 141)):
        image = pictures(batch, height, width)
        with torch.inference_mode():
            scores = model(image)
            assert (exported(image) - scores).abs().max() <= 1e-4 * max(1.0, float(scores.abs().max()))
            assert (exported.ids(image) == model.ids(image)).float().mean() >= 0.999


@pytest.mark.slow
def test_other_precisions_and_openvino_stay_close(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    from segwright.export.openvino import export_openvino

    model = small_model()
    image = pictures(1, 65, 97)
    calibration = [p.permute(1, 2, 0).numpy() for p in pictures(3, 80, 90, seed=1)]
    largest = float(model(image).detach().abs().max())
    for precision, allowed in (("fp16", 0.01), ("int8", 0.3)):
        about = export_onnx(model, tmp_path / "m.onnx", precision=precision, calibration=calibration)
        for path in (tmp_path / "m.onnx", tmp_path / "m.xml"):
            if path.suffix == ".xml":
                export_openvino(tmp_path / "m.onnx", path, about)
            exported = load_exported(path, "onnxruntime" if path.suffix == ".onnx" else "openvino-fp32")
            assert exported.description == about
            with torch.inference_mode():
                assert (exported(image) - model(image)).abs().max() <= allowed * max(1.0, largest)
    stored = (tmp_path / "m.onnx").read_bytes()
    assert b"QuantizeLinear" in stored


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, api.ExportResult]:
    """A model file, labelled pictures, and what `export` made of the two."""
    folder = tmp_path_factory.mktemp("exported")
    data = labelled_folder(folder / "data")
    save_segmenter(small_model(temperature=[2.0], licence="CC BY 4.0"), folder / "model.safetensors")
    result = api.export_model(folder / "model.safetensors", verify=data, console=QUIET)
    return folder, data, result


@pytest.mark.slow
def test_export_verifies_and_leaves_what_others_need(exported: tuple[Path, Path, api.ExportResult]) -> None:
    folder, _, result = exported
    assert result.path == folder / "export" / "model.onnx"
    assert sorted(p.name for p in result.path.parent.iterdir()) == sorted(
        ["MODEL_CARD.md", "labels.json", "model.onnx", "predict.py", "verified.json"]
    )
    judged = result.verified[0]
    assert judged.problems == []
    assert judged.miou[0] == judged.miou[1]
    assert judged.agreement == 1
    assert judged.border_shift == 0
    assert [c["name"] for c in json.loads((result.path.parent / "labels.json").read_text())["classes"]] == list(
        space(4).class_names
    )
    card = (result.path.parent / "MODEL_CARD.md").read_text()
    assert "CC BY 4.0" in card
    assert "onnxruntime" in card


@pytest.mark.slow
def test_predict_and_evaluate_take_the_file_as_they_take_the_model(
    exported: tuple[Path, Path, api.ExportResult], tmp_path: Path
) -> None:
    folder, data, result = exported
    picture = data / "images" / "val" / "val0.png"
    for source, out in ((folder / "model.safetensors", "torch"), (result.path, "onnx")):
        api.predict([source], picture, tmp_path / out, write=("ids",), console=QUIET)
    assert (tmp_path / "torch/val0_ids.png").read_bytes() == (tmp_path / "onnx/val0_ids.png").read_bytes()
    keys = ["data.name=paired_folders", f"data.root={data}"]
    before, after = (
        api.evaluate(source, keys, console=QUIET) for source in (folder / "model.safetensors", result.path)
    )
    assert (before.counts_NKK == after.counts_NKK).all()
    assert before.measures["calibration"]["ece"] == pytest.approx(after.measures["calibration"]["ece"], abs=1e-6)
    with pytest.raises(UserError, match="cannot be changed"):
        api.calibrate(result.path, keys, console=QUIET)


@pytest.mark.slow
def test_the_script_beside_the_file_gives_the_same_ids_without_torch(
    exported: tuple[Path, Path, api.ExportResult], tmp_path: Path
) -> None:
    folder, data, result = exported
    script = result.path.parent / "predict.py"
    picture = data / "images" / "val" / "val1.png"
    block = (
        "import runpy, sys\nfor name in ('torch', 'segwright', 'cv2', 'onnx'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-I", "-c", block, str(script), str(result.path), str(picture), "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = load_segmenter(folder / "model.safetensors")
    rgb = np.asarray(Image.open(picture).convert("RGB"))
    expected = model.ids(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None])[0].numpy()
    assert (np.asarray(Image.open(tmp_path / "val1_ids.png")) == expected).mean() >= 0.999


@pytest.mark.slow
def test_the_script_runs_in_a_fresh_environment(exported: tuple[Path, Path, api.ExportResult], tmp_path: Path) -> None:
    _, data, result = exported
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = next(p for p in (tmp_path / "venv/bin/python", tmp_path / "venv/Scripts/python.exe") if p.exists())
    install = [str(python), "-m", "pip", "install", "-q", "numpy", "pillow", "onnxruntime"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False, timeout=500)
    if installed.returncode:
        pytest.skip(f"no package index can be reached: {installed.stderr.strip().splitlines()[-1]}")
    command = [str(python), str(result.path.parent / "predict.py"), str(result.path)]
    command += [str(data / "images" / "val" / "val2.png"), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "val2_ids.png").is_file()


@pytest.mark.slow
def test_a_model_that_does_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segwright.export import onnx as writing

    plain = writing._NetworkGraph.forward
    monkeypatch.setattr(writing._NetworkGraph, "forward", lambda self, image: plain(self, image) + image.new_ones(1))
    save_segmenter(small_model(), tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="does not do what the original does"):
        api.export_model(tmp_path / "model.safetensors", out=tmp_path / "out" / "m.onnx", console=QUIET)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_exported_is_said_before_anything_is_written(tmp_path: Path) -> None:
    save_segmenter(small_model(), tmp_path / "model.safetensors")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"to": "tensorrt"}, "allowed are onnx, openvino"),
        ({"precision": "int4"}, "allowed are fp32, fp16, int8"),
        ({"precision": "int8"}, "--calibrate DIR"),
        ({"calibrate": tmp_path}, "--precision int8"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"out": tmp_path / "model.pt"}, "ends in .onnx"),
        ({"size": (65, 97)}, "68x100"),
        ({"verify": "val"}, "no splits to name"),
    ]
    for options, told in wrong:
        with pytest.raises(UserError, match=told):
            api.export_model(tmp_path / "model.safetensors", console=QUIET, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    with pytest.raises(UserError, match="--with-processing"):
        describe(small_model(short_side=90), picture=True)


def test_pictures_to_calibrate_on_are_brought_to_half_a_megapixel() -> None:
    from segwright.export.int8 import PIXELS
    from segwright.export.onnx import _shown

    large, small = np.zeros((1024, 2048, 3), np.uint8), np.zeros((50, 70, 3), np.uint8)
    shown = _shown(large, None)
    assert 0.99 * PIXELS <= shown.shape[0] * shown.shape[1] <= PIXELS
    assert shown.shape[1] == 2 * shown.shape[0]
    assert _shown(small, None) is small
    assert _shown(small, (64, 96)).shape == (64, 96, 3)


def test_the_reader_gives_what_was_announced_and_then_none() -> None:
    from segwright.export.int8 import _Reader

    reader = _Reader(iter([np.zeros(1), np.ones(1), np.full(1, 2)]), 3)
    assert len(reader) == 3
    seen = []
    for start in range(3):
        reader.set_range(start, start + 1)
        while (found := reader.get_next()) is not None:
            seen.append(float(found["image"][0]))
    assert seen == [0, 1, 2]


@pytest.mark.slow
def test_a_fixed_size_takes_one_picture_and_several(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    model = small_model()
    export_onnx(model, tmp_path / "m.onnx", size=(64, 96))
    pair = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    for backend in ("onnxruntime", "openvino-fp32"):
        exported = load_exported(tmp_path / "m.onnx", backend)
        with torch.inference_mode():
            for batch in (pair[:1], pair, pair[1:]):
                torch.testing.assert_close(exported(batch), model(batch), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once there")
def test_an_export_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    save_segmenter(small_model(), tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "segwright.cli", "export", "m.safetensors", "-o", "out/m.onnx"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("out/.export-*")):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143
    assert list((tmp_path / "out").iterdir()) == []
