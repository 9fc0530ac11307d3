"""The way from picture to ids without torch gives what the Segmenter gives: any size, short sides, chosen classes, NaN."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.contracts import DataError, UserError
from segwright.export.onnx import describe
from segwright.inference.backends.description import Description
from segwright.inference.backends.plain import PlainModel, best_class
from segwright.models import Segmenter
from tests.export.models import small_model
from tests.inference.fakes import random_rgb


class TorchSession:
    """The architecture itself where a runtime would stand."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter.eval()
        self.backend, self.input_type = "torch", np.dtype("float32")
        self.input_shape: tuple[int | None, ...] = (None, 3, None, None)
        self.output_shapes: dict[str, tuple[int | None, ...]] = {"logits": (None, 4, None, None)}

    def run(self, image: Any, outputs: Sequence[str]) -> list[Any]:
        with torch.inference_mode():
            return [self.segmenter.architecture(torch.from_numpy(image)).logits_BKhw.numpy()]


def plain(segmenter: Segmenter, **changes: Any) -> PlainModel:
    about = describe(segmenter)
    facts = {name: getattr(about, name) for name in about.__dataclass_fields__} | changes
    return PlainModel(TorchSession(segmenter), Description(**facts), where="m.onnx")


def by_torch(segmenter: Segmenter, rgb: Any, among: Sequence[int] | None = None) -> Any:
    with torch.inference_mode():
        return segmenter.ids(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None], among)[0].numpy()


@pytest.mark.parametrize("short_side", [None, 40, 90])
@pytest.mark.parametrize("size", [(1, 1), (64, 96), (61, 83), (33, 200)])
def test_ids_are_those_of_the_segmenter(size: tuple[int, int], short_side: int | None) -> None:
    model = small_model(short_side=short_side)
    rgb = random_rgb(*size, 0)
    for among in (None, [0, 2, 3], [1]):
        found = plain(model).ids(rgb, among)
        assert found.dtype == np.uint8
        assert found.shape == size
        assert (found == by_torch(model, rgb, among)).mean() >= 0.999


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 9), st.integers(1, 8), st.integers(0, 1000))
def test_the_best_class_is_that_of_scores_resized_by_torch(
    h: int, w: int, classes: int, stride: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, h, w)).astype(np.float32)
    padded = (h * stride, w * stride)
    inner = (max(1, padded[0] - seed % stride), max(1, padded[1] - seed % stride))
    full = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=padded, mode="bilinear")[0]
    top = full[:, : inner[0], : inner[1]].sort(0, descending=True)
    sure = (top.values[0] - top.values[1] > 1e-4).numpy()
    found = best_class(logits, padded, inner, inner)
    assert (found == top.indices[0].numpy())[sure].all()


def test_of_equal_scores_the_first_class_wins() -> None:
    logits = np.zeros((3, 2, 2), np.float32)
    assert best_class(logits, (8, 8), (8, 8), (8, 8)).max() == 0
    assert best_class(logits, (8, 8), (8, 8), (8, 8), [1, 2]).tolist() == [[1] * 8] * 8


def test_what_cannot_be_predicted_is_said() -> None:
    model = small_model()
    with pytest.raises(UserError, match="pad to 8×12 alone"):
        plain(model, size=(8, 12)).ids(random_rgb(9, 11, 0))
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match=r"m\.onnx.*NaN"):
        plain(model).ids(random_rgb(9, 11, 0))


@pytest.mark.slow
def test_torch_is_not_loaded() -> None:
    code = "import sys, segwright.inference.backends.plain; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stdout + done.stderr
