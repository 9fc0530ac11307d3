"""Exported files as models: what is refused before a runtime sees it, and what a description may say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segwright.contracts import DataError, UserError
from segwright.export.onnx import export_onnx
from segwright.inference.backends.description import Description
from segwright.inference.backends.opening import load_exported, load_plain
from segwright.inference.backends.predicting import IdsPredictor
from tests.export.models import small_model
from tests.models.conftest import space

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
helper = onnx.helper


def description(**changes: Any) -> Description:
    facts: dict[str, Any] = {"form": "network", "precision": "fp32", "labels": space(3), "stride": 4, "min_size": 4}
    return Description(**(facts | {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)} | changes))


def red_model(about: Description | None = None, **parts: Any) -> Any:
    """An ONNX model written by hand: scores of three classes are the channels, every fourth pixel of them."""

    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [None, 3, None, None])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, parts.get("shape", [None, 3, None, None]))
    nodes = parts.get("nodes") or [
        helper.make_node("AveragePool", ["image"], ["logits"], kernel_shape=[4, 4], strides=[4, 4])
    ]
    graph = helper.make_graph(nodes, "red", [image], [logits], parts.get("initializer", []))
    imports = [helper.make_opsetid("", 18), *parts.get("imports", [])]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    if about is not None:
        model.metadata_props.add(key="segwright", value=about.to_json())
    return model


def write(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino-fp32", marks=pytest.mark.slow)])
def test_a_graph_written_by_hand_predicts_as_its_arithmetic_says(tmp_path: Path, backend: str) -> None:
    if backend != "onnxruntime":
        pytest.importorskip("openvino", reason="the extra `export` is not installed")
    model = load_exported(write(tmp_path / "m.onnx", red_model(description())), backend)
    image = torch.zeros(1, 3, 10, 7, dtype=torch.uint8)
    image[:, 0], image[:, 2] = 40, 20
    image[:, 2, :, 4:] = 250
    ids = model.ids(image)
    assert ids.shape == (1, 10, 7)
    assert ids[0, 0].tolist()[:2] == [0, 0]
    assert ids[0, 0].tolist()[5:] == [2, 2]
    with pytest.raises(UserError, match="cannot be trained"):
        model.outputs(image)


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("picture", "size"), [(True, None), (False, (68, 104))])
def test_pictures_side_by_side_get_what_each_gets_alone(
    tmp_path: Path, backend: str, picture: bool, size: tuple[int, int] | None
) -> None:
    pytest.importorskip(backend, reason="the extra `export` is not installed")
    file = tmp_path / "m.onnx"
    export_onnx(small_model(), file, picture=picture, size=size)
    model = load_exported(file, backend)
    height, width = size or (67, 101)
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 3, height, width), dtype=np.uint8))
    alone = torch.cat([model.ids(images[n : n + 1]) for n in range(5)])
    among = torch.cat([model.ids(images[n : n + 1], [1, 3]) for n in range(5)])
    for _ in range(20):  # in whatever order the threads come
        assert torch.equal(model.ids(images), alone)
    assert torch.equal(model.ids(images, [1, 3]), among)
    lean = IdsPredictor(load_plain(file, backend, threads=2), threads=2)
    pictures = list(images.permute(0, 2, 3, 1).numpy())
    assert lean.same_together(pictures)
    assert np.array_equal(np.stack([found.ids for found in lean.maps(pictures)]), alone.numpy())
    wrong = images[..., : width - 40]
    if size is not None:
        with pytest.raises(UserError, match="m.onnx"):
            model.ids(wrong)
        assert torch.equal(model.ids(images), alone)  # an error leaves all sessions free


def test_a_description_comes_back_as_it_was() -> None:
    one = description(size=(64, 96), temperature=(1.5,), provenance={"run": "r"}, short_side=90)
    assert Description.read(one.to_json(), "here") == one


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 99),
        ("form", "code"),
        ("precision", "fp1"),
        ("stride", 0),
        ("stride", 1 << 40),
        ("stride", True),
        ("min_size", "8"),
        ("size", [64]),
        ("mean", [0.5]),
        ("std", [0.1, 0.1, "x"]),
        ("labels", {"name": "x", "classes": []}),
        ("labels", None),
        ("temperature", [None]),
    ],
)
def test_a_wrong_description_is_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    model = red_model()
    model.metadata_props.add(key="segwright", value=json.dumps(json.loads(description().to_json()) | {key: value}))
    with pytest.raises(DataError, match="m.onnx"):
        load_exported(write(tmp_path / "m.onnx", model))


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not say which classes"):
        load_exported(write(tmp_path / "m.onnx", red_model()))
    with pytest.raises(UserError, match="does not exist"):
        load_exported(tmp_path / "none.onnx")
    with pytest.raises(UserError, match="no exported model"):
        load_exported(tmp_path / "none.pt")
    with pytest.raises(UserError, match="not in 'torch'"):
        load_exported(tmp_path / "m.onnx", "torch")


def outside(folder: Path) -> Any:
    (folder.parent / "secret.bin").write_bytes(bytes(12))
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[3], data_location=1)
    tensor.external_data.add(key="location", value="../secret.bin")
    return red_model(description(), initializer=[tensor])


def custom(folder: Path) -> Any:
    nodes = [helper.make_node("Run", ["image"], ["logits"], domain="evil")]
    return red_model(description(), nodes=nodes, imports=[helper.make_opsetid("evil", 1)])


def giant(folder: Path) -> Any:
    shape = onnx.numpy_helper.from_array(np.array([1, 3, 1 << 20, 1 << 20]), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["much"]),
        helper.make_node("Resize", ["image", "", "", "shape"], ["logits"]),
    ]
    return red_model(description(), nodes=nodes, initializer=[shape])


def claims(folder: Path) -> Any:
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1 << 20, 1 << 20], raw_data=bytes(4))
    return red_model(description(), initializer=[tensor])


def endless(folder: Path) -> Any:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"])],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("again", onnx.TensorProto.BOOL, [])],
    )
    nodes = [
        helper.make_node("Loop", ["", ""], [], body=body),
        helper.make_node("Identity", ["image"], ["logits"]),
    ]
    return red_model(description(), nodes=nodes)


@pytest.mark.parametrize("hostile", [outside, custom, giant, claims, endless])
def test_a_hostile_file_is_refused(tmp_path: Path, hostile: Callable[[Path], Any]) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(DataError, match="refused"):
        load_exported(write(folder / "m.onnx", hostile(folder)))


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:60] + b"\xff" * 20 + b[80:]]
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(damage(red_model(description()).SerializeToString()))
    with pytest.raises((DataError, UserError), match="m.onnx"):
        load_exported(path)


def test_graph_and_description_must_agree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lists 5 classes"):
        load_exported(write(tmp_path / "k.onnx", red_model(description(labels=space(5)))))
    with pytest.raises(DataError, match="no output 'ids'"):
        load_exported(write(tmp_path / "f.onnx", red_model(description(form="picture"))))


def test_a_fixed_size_refuses_others(tmp_path: Path) -> None:
    model = load_exported(write(tmp_path / "m.onnx", red_model(description(size=(8, 12)))))
    assert model.ids(torch.zeros(1, 3, 7, 11, dtype=torch.uint8)).shape == (1, 7, 11)
    with pytest.raises(UserError, match="8×12 alone"):
        model.ids(torch.zeros(1, 3, 9, 11, dtype=torch.uint8))


@pytest.mark.slow
def test_sessions_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, segwright.inference.backends.sessions as s; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stdout + done.stderr


def test_openvino_comes_without_its_telemetry_and_whole_for_who_asks() -> None:
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    asked = """
import sys
from segwright.inference.backends.sessions import openvino_package
assert openvino_package().Core().available_devices
assert not [name for name in sys.modules if name.startswith(("openvino_telemetry", "openvino.tools"))]
from openvino.tools.ovc import convert_model
assert openvino_package() is sys.modules["openvino"]
"""
    subprocess.run([sys.executable, "-c", asked], check=True)
