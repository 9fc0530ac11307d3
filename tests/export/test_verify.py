"""Verification: numbers of two models that are known to the pixel, and the record that `--backend auto` reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from segwright.api.backends import open_backend
from segwright.contracts import DataError, Sample, UserError
from segwright.export import standalone
from segwright.export.record import known, remember
from segwright.export.verify import Verification, border_distances, check_scores, verify
from segwright.models import Segmenter
from segwright.models.weights import save_segmenter
from tests.export.models import small_model
from tests.inference.fakes import Pictures, random_rgb
from tests.models.conftest import space


class Red(Segmenter):
    """Class `red % 4`, but class 0 where the column is below `wrong`."""

    def __init__(self, wrong: int = 0, scale: float = 1.0) -> None:
        super().__init__(nn.Identity(), labels=space(4), model={"name": "red", "args": {}})
        self.wrong, self.scale = wrong, scale

    def ids(self, image: Tensor, among: object = None) -> Tensor:
        ids = image[:, 0] % 4
        ids[..., : self.wrong] = 0
        return ids

    def forward(self, image: Tensor) -> Tensor:
        return self.scale * F.one_hot(self.ids(image).long(), 4).movedim(-1, 1).float()


def two_pictures() -> Pictures:
    found = []
    for seed in range(2):
        rgb = random_rgb(10, 20, seed)
        found.append(Sample(name=f"p{seed}", planes={"rgb": rgb}, labels=rgb[..., 0] % 4))
    return Pictures(found)


def judged(exported: Segmenter, **options: object) -> Verification:
    facts = {"backend": "onnxruntime", "precision": "fp32", "split": "val"} | options
    return verify(Red(), exported, two_pictures(), **facts)  # type: ignore[arg-type]


def test_equal_models_pass() -> None:
    found = judged(Red())
    assert (found.miou, found.agreement, found.logits, found.border_shift) == ((1.0, 1.0), 1.0, 0.0, 0.0)
    assert found.problems == []


def test_every_number_of_a_worse_model() -> None:
    found = judged(Red(wrong=5))
    truth = np.stack([s.labels for s in two_pictures().samples if s.labels is not None])
    ids = truth.copy()
    ids[..., :5] = 0
    iou = [((truth == k) & (ids == k)).sum() / ((truth == k) | (ids == k)).sum() for k in range(4)]
    assert found.miou == (1.0, pytest.approx(np.mean(iou)))
    assert found.points == pytest.approx(100 * (np.mean(iou) - 1))
    assert found.agreement == pytest.approx((truth == ids).mean())
    assert found.logits == 1
    assert len(found.problems) == 3
    assert len(judged(Red(wrong=5), precision="int8", tolerance=100.0).problems) == 0
    assert judged(Red(scale=1.001)).problems == ["scores differ by 0.001 of the largest one; allowed are 0.0001"]
    assert judged(Red(scale=float("nan"))).problems


def test_no_labels_is_an_error() -> None:
    void = Pictures([Sample(name="v", planes={"rgb": random_rgb(4, 4, 0)}, labels=np.full((4, 4), 255, np.uint8))])
    with pytest.raises(DataError, match="no labelled pixel"):
        verify(Red(), Red(), void, backend="x", precision="fp32", split="val")


def test_a_moved_border_is_as_far_as_it_moved() -> None:
    first, second = (np.zeros((6, 30), np.uint8) for _ in range(2))
    first[:, 10:], second[:, 13:] = 1, 1
    assert np.concatenate(border_distances(first, second)).tolist() == pytest.approx([3.0] * 12)
    assert border_distances(first, np.zeros_like(first)) == []


def test_generated_pictures_tell_a_wrong_graph() -> None:
    original, wrong = small_model(), small_model()
    wrong.description = SimpleNamespace(size=None)  # type: ignore[assignment]
    check_scores(original, wrong, precision="fp32")  # type: ignore[arg-type]
    with torch.no_grad():
        next(wrong.parameters()).add_(0.01)
    with pytest.raises(DataError, match="does not do what the original does"):
        check_scores(original, wrong, precision="fp32")  # type: ignore[arg-type]


def test_the_scripts_resize_is_torchs() -> None:
    plane = torch.randn(1, 1, 7, 9)
    for height, width in ((28, 36), (5, 4), (7, 20), (7, 9), (1, 1)):
        expected = F.interpolate(plane, size=(height, width), mode="bilinear", align_corners=False)[0, 0]
        found = standalone.resized(plane[0, 0].numpy(), height, width)
        assert np.abs(found - expected.numpy()).max() <= 1e-5


def test_the_script_predicts_as_the_segmenter_does_with_a_short_side() -> None:
    for side in (40, 90):
        model = small_model(short_side=side)
        alone = standalone.Model.__new__(standalone.Model)
        alone.facts = {
            "form": "network", "stride": model.stride, "min_size": model.min_size, "short_side": side, "size": None,
            "mean": model.mean.flatten().tolist(), "std": model.std.flatten().tolist(),
        }  # fmt: skip
        with torch.inference_mode():
            alone._run = lambda image, name, net=model.architecture: net(torch.from_numpy(image)).logits_BKhw.numpy()  # type: ignore[assignment, misc]
            rgb = random_rgb(61, 83, 0)
            expected = model.ids(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None])[0].numpy()
            assert (alone.ids(rgb) == expected).mean() >= 0.999


def test_the_record_knows_files_as_long_as_they_stay(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    remember(file, "abc", [judged(Red()), judged(Red(), backend="openvino")])
    assert {one.backend for one in known(tmp_path)} == {"onnxruntime", "openvino"}
    assert {one.weights for one in known(tmp_path)} == {"abc"}
    file.write_bytes(b"other")
    assert known(tmp_path) == []
    busy = replace(
        judged(Red(), backend="onnxruntime"), milliseconds=(400.0, 80.0)
    )  # verified while others computed, too
    quiet = replace(judged(Red(), backend="openvino"), milliseconds=(100.0, 50.0))
    remember(file, "abc", [quiet, busy])
    assert [one.backend for one in known(tmp_path)] == ["onnxruntime", "openvino"], (
        "beside the original, not in absolute time"
    )
    assert known(tmp_path)[0].miou == quiet.miou
    remember(file, "abc", [])
    (tmp_path / "verified.json").write_text('{"model.onnx": 3}')
    with pytest.raises(DataError, match="damaged"):
        known(tmp_path)


def test_backends_without_a_record_are_refused_and_auto_says_so(tmp_path: Path) -> None:
    save_segmenter(small_model(), tmp_path / "model.safetensors")
    console = Console(record=True, quiet=False, file=(tmp_path / "out.txt").open("w"), width=200)
    model, path, run = open_backend(tmp_path / "model.safetensors", tmp_path, "auto", console)
    assert (type(model), path.name, run) == (Segmenter, "model.safetensors", None)
    assert "torch is used" in console.export_text()
    with pytest.raises(UserError, match="no verified export"):
        open_backend(tmp_path / "model.safetensors", tmp_path, "openvino")
    with pytest.raises(UserError, match="allowed are auto, torch"):
        open_backend(tmp_path / "model.safetensors", tmp_path, "tensorflow")
