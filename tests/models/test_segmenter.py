"""The Segmenter's rules for colour, size and classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from segwright.contracts import Outputs, UserError
from segwright.models import Segmenter
from segwright.models.fast_scnn import FastSCNN
from segwright.models.unet import UNet
from tests.models.conftest import pictures, space, with_real_statistics

MODEL = {"name": "fast_scnn", "args": {"width": 0.25}}


class Quarter(nn.Module):
    """Scores at a quarter of the picture's size: a fixed mixture of its colours."""

    stride = 8
    unused = ()

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, num_classes, 4, stride=4)

    def forward(self, image: Tensor) -> Outputs:
        return Outputs(self.mix(image))


def segmenter(num_classes: int = 5, **settings: Any) -> Segmenter:
    return Segmenter(Quarter(num_classes), labels=space(num_classes), model={"name": "quarter"}, **settings).eval()


@torch.no_grad()
def test_pixels_become_mean_0_and_deviation_1_as_torchvision_has_it() -> None:
    image = pictures(2, 5, 7)
    expected = normalize(image / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert torch.allclose(segmenter().normalise(image), expected, atol=1e-6)
    own = segmenter(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert torch.allclose(
        own.normalise(image.float()), normalize(image / 255, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]), atol=1e-6
    )
    last = image.contiguous(memory_format=torch.channels_last)
    assert own.normalise(last).is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_pictures_are_padded_right_and_bottom_with_the_mean_colour() -> None:
    model = segmenter(mean=(0.2, 0.4, 0.6))
    image = pictures(1, 13, 21).float()
    padded = torch.tensor([51.0, 102.0, 153.0]).view(1, 3, 1, 1).repeat(1, 1, 16, 24)
    padded[..., :13, :21] = image
    expected = F.interpolate(model.outputs(padded).logits_BKhw, size=(16, 24), mode="bilinear")[..., :13, :21]
    assert torch.allclose(model(image), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("side", "inner"), [(16, (16, 32)), (80, (80, 160))])
def test_the_short_side_is_resized_before_and_undone_after(side: int, inner: tuple[int, int]) -> None:
    image = pictures(1, 40, 80)
    small = F.interpolate(image.float(), size=inner, mode="bilinear", antialias=side < 40)
    expected = F.interpolate(segmenter_with_seed()(small), size=(40, 80), mode="bilinear")
    assert torch.allclose(segmenter_with_seed(short_side=side)(image), expected, atol=1e-5)


def segmenter_with_seed(**settings: Any) -> Segmenter:
    torch.manual_seed(3)
    return segmenter(**settings)


@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([2, 5, 30]),
    st.sampled_from([None, 9, 24]),
)
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_ids_are_the_argmax_of_the_scores(batch: int, height: int, width: int, classes: int, side: int | None) -> None:
    model = segmenter(classes, short_side=side)
    image = pictures(batch, height, width)
    logits, ids = model(image), model.ids(image)
    assert ids.shape == (batch, height, width)
    assert ids.dtype == torch.uint8
    assert torch.equal(ids.long(), logits.argmax(1))


@torch.no_grad()
def test_ids_leave_full_size_scores_of_the_network_as_they_were() -> None:
    net = UNet(4, width=4, depth=2)
    model = Segmenter(net, labels=space(4), model={"name": "unet"}).eval()
    kept: list[Tensor] = []
    net.register_forward_hook(lambda _, __, out: kept.append(out.logits_BKhw))
    ids = model.ids(pictures(2, 16, 16))
    assert torch.equal(kept[0].argmax(1), ids.long())


def test_training_takes_multiples_of_the_stride_and_names_the_nearest() -> None:
    model = Segmenter(FastSCNN(5, width=0.25), labels=space(5), model=MODEL).train()
    assert model.outputs(pictures(2, 64, 96)).logits_BKhw.shape == (2, 5, 8, 12)
    with pytest.raises(UserError, match=r"350×470 do not fit fast_scnn.*multiples of 32.*nearest size is 352×480"):
        model.outputs(pictures(1, 350, 470))
    with pytest.raises(UserError, match=r"nearest size is 32×32"):
        model.outputs(pictures(1, 5, 7))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(3, 8, 8), r"shape \[3, 8, 8\]: expected \[B, 3, H, W\]"),
        (torch.zeros(1, 4, 8, 8), r"shape \[1, 4, 8, 8\]"),
        (torch.zeros(1, 8, 8, 3), r"shape \[1, 8, 8, 3\]"),
        (torch.zeros(1, 3, 0, 8), r"shape \[1, 3, 0, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "type torch.int64: expected torch.uint8"),
    ],
)
def test_other_tensors_are_refused(image: Tensor, words: str) -> None:
    model = segmenter()
    for use in (model, model.outputs, model.ids):
        with pytest.raises(UserError, match=words):
            use(image)


def test_classes_and_scores_have_to_agree() -> None:
    with pytest.raises(UserError, match="one class, so every pixel would be 'class 0'"):
        segmenter(1)
    many = Segmenter(Quarter(7), labels=space(5), model={"name": "quarter"})
    with pytest.raises(UserError, match="gives 7 scores a pixel, but label space 'few' has 5 classes"):
        many(pictures(1, 8, 8))


def test_a_multi_label_space_has_scores_but_no_ids() -> None:
    model = Segmenter(Quarter(1), labels=space(1, exclusive=False), model={"name": "quarter"})
    assert model(pictures(1, 9, 9)).shape == (1, 1, 9, 9)
    with pytest.raises(UserError, match="multi-label: a pixel has no single class"):
        model.ids(pictures(1, 9, 9))


@pytest.mark.parametrize(
    "settings", [{"mean": (0.5, 0.5)}, {"mean": (120, 110, 100)}, {"std": (0.2, 0, 0.2)}, {"short_side": 0}]
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"units of 0\.\.1|short_side is 0"):
        segmenter(**settings)


@torch.no_grad()
def test_a_model_converted_as_a_whole_takes_the_same_pictures() -> None:
    model = segmenter()
    image = pictures(1, 20, 30)
    expected = model(image)
    found = model.to(torch.bfloat16)(image)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 0.05 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize(("name", "short_side"), [("unet", None), ("fast_scnn", 48)])
def test_it_exports_with_dynamic_sizes(name: str, short_side: int | None) -> None:
    """From an example with padding. The guards that torch adds are on memory layout, so they are left out."""
    net = UNet(4, width=4, depth=3) if name == "unet" else FastSCNN(4, width=0.25)
    model = Segmenter(net, labels=space(4), model={"name": name}, short_side=short_side)
    with_real_statistics(model, pictures(2, 65, 97))
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 65, 97),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 65, 97), (3, 64, 128), (1, 90, 41), (2, 40, 77)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4
