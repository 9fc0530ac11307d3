"""Sliding windows: every pixel covered, the sum written out by hand, little memory, equal to the whole where it can be."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from segwright.contracts import DataError, Outputs, UserError
from segwright.inference.ensemble import Ensemble
from segwright.inference.predictor import Predictor
from segwright.inference.refine import Refined
from segwright.inference.tiling import Tiled, Window, parse_window, probability_bands, starts
from segwright.inference.tta import Augmented, Views
from segwright.labels import load_label_space
from segwright.labels.mapping import map_labels
from segwright.models import build_architecture
from segwright.models.converted import in_space
from segwright.models.crf import CrfSettings
from segwright.models.segmenter import Segmenter
from tests.export.models import small_model
from tests.inference.fakes import space_of


def picture(height: int, width: int, *, count: int = 1) -> Tensor:
    """Smooth blobs under a little noise: uint8 [B, 3, H, W]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, 3, height // 24 + 2, width // 24 + 2), generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = torch.randint(-4, 5, smooth.shape, generator=generator)
    return (smooth + noise).clamp(0, 255).to(torch.uint8)


@given(
    st.integers(1, 500), st.integers(1, 120), st.floats(0, 0.9), st.sampled_from([1, 4, 8, 32]), st.sampled_from([0, 3])
)
def test_windows_cover_a_side_and_keep_the_grid(length: int, extra: int, overlap: float, stride: int, odd: int) -> None:
    window = stride + extra + odd
    found = starts(length, window, overlap, stride)
    assert found[0] == 0
    assert all(start % stride == 0 for start in found)
    assert found == sorted(set(found))
    assert found[-1] < length
    assert found[-1] + window >= length
    for one, following in itertools.pairwise(found):
        assert following - one <= max(stride, window * (1 - overlap))


@pytest.mark.parametrize("size", [(203, 301), (64, 301), (203, 90), (65, 97)])
def test_probabilities_are_the_weighted_mean_of_the_windows(size: tuple[int, int]) -> None:
    model, window = small_model(), Window(64, 96, 0.4)
    image = picture(*size, count=2)
    total, weights = torch.zeros((2, 4, *size)), torch.zeros(size)
    with torch.no_grad():
        for top in starts(size[0], 64, 0.4, model.stride):
            for left in starts(size[1], 96, 0.4, model.stride):
                probs = model(image[..., top : top + 64, left : left + 96]).softmax(1)
                h, w = probs.shape[-2:]
                rows, columns = (torch.exp(-32 * ((torch.arange(n) - (n - 1) / 2) / n) ** 2) for n in (64, 96))
                weight = torch.outer(rows, columns)[:h, :w]
                total[..., top : top + h, left : left + w] += weight * probs
                weights[top : top + h, left : left + w] += weight
        tiled = Tiled(model, window)
        expected = total / weights
        torch.testing.assert_close(tiled(image).softmax(1), expected, atol=1e-6, rtol=1e-4)
        bands = torch.cat([probs.clone() for _, probs in probability_bands(tiled, image)], 2)
        torch.testing.assert_close(bands, expected, atol=1e-6, rtol=1e-4)
        assert (tiled.ids(image) == expected.argmax(1)).float().mean() >= 0.9999
        among = torch.tensor([0, 2])
        assert (tiled.ids(image, [0, 2]) == among[expected[:, among].argmax(1)]).float().mean() >= 0.9999


def test_a_window_that_covers_the_picture_changes_nothing() -> None:
    model, image = small_model(), picture(61, 90)
    tiled = Tiled(model, Window(61, 200))
    with torch.no_grad():
        assert torch.equal(tiled(image), model(image))
        assert torch.equal(tiled.ids(image), model.ids(image))
        assert torch.equal(tiled.ids(image, [1, 3]), model.ids(image, [1, 3]))
        bands = torch.cat([probs for _, probs in probability_bands(tiled, image)], 2)
        assert torch.equal(bands, model(image).softmax(1))


def test_windows_agree_with_the_whole_where_they_overlap_by_what_the_network_sees() -> None:
    model, image = small_model(), picture(331, 457)  # it sees 31 pixels
    with torch.no_grad():
        whole, tiled = model(image), Tiled(model, Window(128, 160, 0.5))
        assert (tiled.ids(image) == whole.argmax(1)).float().mean() >= 0.995
        assert (tiled(image).softmax(1) - whole.softmax(1)).abs().mean() < 0.01


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives, in numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(one, Tensor) and one.dtype == torch.float32:
                self.size = max(self.size, one.numel())
        return found


@pytest.mark.slow  # the mode loads torch's compiler
def test_ids_need_the_memory_of_one_row_of_windows() -> None:
    model, image = small_model(), picture(1024, 256)
    with torch.no_grad(), Largest() as seen:
        Tiled(model, Window(64, 64)).ids(image)
    assert seen.size == 4 * 64 * 256
    predictor = Predictor(Tiled(model, Window(64, 64)), device="cpu")
    with Largest() as seen:
        predictor.maps([image[0].permute(1, 2, 0).numpy()], ["confidence", "entropy"])
    assert seen.size == 4 * 64 * 256


class Reddest(torch.nn.Module):
    """The class of each pixel's red value; it sees one pixel."""

    stride = 1
    unused = ()

    def forward(self, image: Tensor) -> Outputs:
        return Outputs(torch.cat([image[:, :1], -image[:, :1], image[:, :1] * 0.5 - 0.4], 1) * 3)


def test_windows_go_with_everything_else() -> None:
    labels = space_of(("a", "b", "c"))
    models = [Segmenter(Reddest(), labels=labels, model={"name": "red", "args": {}}).eval() for _ in range(2)]
    image, window = picture(50, 70), Window(16, 24)
    together = Tiled(Augmented(Ensemble(models), Views(flip=True)), window)
    expected = models[0].ids(image)
    assert torch.equal(together.ids(image), expected)  # a pixel alone decides, wherever the window lies
    assert together.provenance["window"] == "windows of 16×24, overlap 0.5"
    assert together.provenance["tta"] == "flip"
    refined = Refined(Tiled(models[0], window), CrfSettings(iterations=2))
    with torch.no_grad():
        alone = Refined(models[0], CrfSettings(iterations=2))(image)
        torch.testing.assert_close(refined(image).softmax(1), alone.softmax(1), atol=1e-4, rtol=1e-3)


def test_windows_predict_in_another_label_space() -> None:
    map = map_labels(load_label_space("cityscapes19"), load_label_space("cityscapes7"))
    torch.manual_seed(0)
    model = Segmenter(
        build_architecture("small_cnn", 19, {"width": 4}), labels=map.source, model={"name": "small_cnn", "args": {}}
    ).eval()
    image = picture(60, 80)
    tiled, whole = in_space(Tiled(model, Window(32, 40)), map), in_space(model, map)
    assert tiled.labels.name == "cityscapes7"
    assert (tiled.ids(image) == whole.ids(image)).float().mean() > 0.9
    with pytest.raises(UserError, match="Leave out either the label space or confidence"):
        Predictor(tiled, device="cpu").maps([image[0].permute(1, 2, 0).numpy()], ["confidence"])


def test_scores_that_are_no_numbers_are_told() -> None:
    model = small_model()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
        with pytest.raises(DataError, match="are no numbers"):
            Tiled(model, Window(16, 16)).ids(picture(40, 40))


@pytest.mark.parametrize(
    ("text", "overlap", "message"),
    [
        ("big", 0.5, "--window big: expected HEIGHTxWIDTH"),
        ("0x4", 0.5, "holds no pixel"),
        ("512x", 0.5, "expected HEIGHTxWIDTH"),
        ("64", 0.95, "--overlap is 0.95; allowed are shares of the window from 0 to 0.9"),
        ("64", -0.1, "--overlap is -0.1"),
        ("64", float("nan"), "--overlap is nan"),
    ],
)
def test_wrong_windows_are_refused(text: str, overlap: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_window(text, overlap)


def test_windows_in_words() -> None:
    assert parse_window("512x1024") == Window(512, 1024)
    assert parse_window("256", 0.25) == Window(256, 256, 0.25)
    with pytest.raises(UserError, match="smaller than the stride of the network, 4 pixels"):
        Tiled(small_model(), Window(2, 64))
    with pytest.raises(UserError, match="cannot be trained"):
        Tiled(small_model(), Window(64, 64)).outputs(picture(64, 64))


def test_windows_make_an_export_of_one_size_fit_any_picture(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from segwright.inference.backends.opening import load_exported
    from tests.export.test_backends import description, red_model, write

    fixed = load_exported(write(tmp_path / "m.onnx", red_model(description(size=(16, 24)))))
    anysize = load_exported(write(tmp_path / "any.onnx", red_model(description())))
    rgb = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="alone"):
        Predictor(fixed, device="cpu").predict(rgb)
    for views in (Views(), Views(flip=True)):
        one, other = (Predictor(Tiled(Augmented(m, views), Window(16, 24)), device="cpu") for m in (fixed, anysize))
        assert np.array_equal(one.predict(rgb), other.predict(rgb))
