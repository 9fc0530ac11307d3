"""Receptive fields against published numbers, hand calculation, and gradients of a network whose ReLUs are all open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import segwright
from segwright.contracts import Outputs, UserError
from segwright.evaluation.layers import find_layers, stages
from segwright.evaluation.receptive_field import effective_fields, energy_radius, theoretical_field
from segwright.models import Segmenter, build_architecture
from tests.models.conftest import space


class Plain(nn.Module):
    """Any layers as an architecture."""

    stride = 1
    unused: tuple[str, ...] = ()

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Outputs:
        return Outputs(self.layers(image))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def output_field(net: nn.Module) -> tuple[int, bool]:
    found = theoretical_field(Plain(net))
    assert found.complete
    assert found.stages[-1].field[0] == found.stages[-1].field[1]
    return found.stages[-1].field[0], found.stages[-1].whole


def test_the_worked_example_of_the_course() -> None:
    net = Plain(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    rows = {row.type + row.name[-1]: row for row in theoretical_field(net).rows}
    assert [rows[k].field[0] for k in ("Conv2d0", "ReLU1", "MaxPool2d2", "Conv2d3")] == [3, 3, 4, 8]
    assert (rows["Conv2d3"].kernel, rows["MaxPool2d2"].stride) == ((3, 3), (2, 2))
    assert not rows["ReLU1"].looks


def test_published_fields() -> None:
    """Araujo et al., Distill 2019: VGG-16 212, MobileNet v1 315, Inception v3 1311."""
    assert output_field(torchvision.models.vgg16().features) == (212, False)
    assert output_field(timm.create_model("mobilenetv1_100", num_classes=0, global_pool="")) == (315, False)


@pytest.mark.slow
def test_published_fields_of_large_nets() -> None:
    net = timm.create_model("inception_v3", num_classes=0, global_pool="")
    assert output_field(net) == (1311, False)


def test_resnets_by_hand_and_in_the_form_that_distill_lists() -> None:
    """torchvision strides in the first block of a stage: 427. TensorFlow's slim form in the last: 483, as published."""
    net = torchvision.models.resnet50()
    assert output_field(nn.Sequential(*list(net.children())[:-2])) == (427, False)
    layers: list[nn.Module] = [nn.Conv2d(3, 1, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    for count, last in ((3, 2), (4, 2), (6, 2), (3, 1)):
        layers += [nn.Conv2d(1, 1, 3, last if i == count - 1 else 1, 1) for i in range(count)]
    assert output_field(nn.Sequential(*layers)) == (483, False)


def test_branches_dilation_resizing_and_global_means() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, (3, 5), padding=(4, 8), dilation=4)

        def forward(self, x: Tensor) -> Tensor:
            return self.narrow(x) + self.wide(x) * x.mean((2, 3), keepdim=True).sum(1, keepdim=True)

    found = theoretical_field(Plain(Branches())).stages[-1]
    assert (found.field, found.whole) == ((9, 17), True)
    assert output_field(nn.Upsample(scale_factor=2, mode="bilinear")) == (2, False)
    assert output_field(nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1), nn.ConvTranspose2d(4, 2, 4, 2, 1))) == (6, False)


def by_gradient(net: nn.Module, side: int) -> tuple[int, int]:
    """Rows of input with a gradient, for the output position that sees most: convolutions of ones, no activations."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(part.weight, 1 / part.weight[0].numel())
    image = torch.ones(1, 3, side, 32, dtype=torch.float64, requires_grad=True)
    output = net.double().eval()(image)
    while not isinstance(output, Tensor):
        output = output[0]
    best = 0
    for row in range(output.shape[2] // 2 - 4, output.shape[2] // 2 + 4):
        (gradient,) = torch.autograd.grad(output[:, :, row].sum(), image, retain_graph=True)
        seen = gradient.abs().sum((0, 1, 3)).nonzero()[:, 0]
        best = max(best, int(seen.max() - seen.min()) + 1)
    return best, image.shape[2]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("unet", {"width": 2, "depth": 2}),
        ("unet", {"width": 2, "depth": 2, "up": "bilinear"}),
        ("unet", {"width": 2, "depth": 2, "up": "pixel_shuffle"}),
        ("resnet_decoder", {"backbone": "resnet10t", "channels": [4, 4, 4, 4, 4]}),
    ],
)
def test_gradients_reach_exactly_as_far(name: str, args: dict[str, Any]) -> None:
    """Independent of the interval arithmetic: a linear network with positive weights hides no path."""
    net = build_architecture(name, 2, args)
    expected = theoretical_field(net)
    for parent in list(net.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU | nn.BatchNorm2d):
                setattr(parent, key, nn.Identity())
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, key, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    reached, side = by_gradient(net, 512)
    assert reached < side
    assert reached == expected.stages[-1].field[0]


def test_stages_of_backbones_and_of_plain_nets() -> None:
    unet = build_architecture("unet", 2, {"width": 2, "depth": 4})
    assert [s.title for s in stages(unet)] == [*(f"encoder.{i}.5" for i in (1, 2, 3, 4)), "output"]
    net = build_architecture("smp", 2, {"architecture": "FPN", "encoder": "resnet18"})
    found = theoretical_field(net)
    assert [(r.name, r.field[0]) for r in found.stages[:4]] == [  # by hand, as for ResNet-50 above
        ("net.encoder[2]", 43),
        ("net.encoder[3]", 99),
        ("net.encoder[4]", 211),
        ("net.encoder[5]", 435),
    ]
    assert isinstance(net.net, smp.FPN)
    dilated = build_architecture("deeplab_v3", 2, {"backbone": "resnet18", "channels": 8})
    assert [s.title for s in stages(dilated)][:4] == [f"backbone.net.layer{i}" for i in (1, 2, 3, 4)]
    with pytest.raises(UserError, match=r"no layer 'encoder.9'. Did you mean 'encoder"):
        find_layers(unet, ["encoder.9"])


def test_effective_field_of_a_box_filter() -> None:
    """Two 3×3 means weigh a pixel by the number of ways to it: 1 2 3 2 1 along each axis."""
    net = Plain(nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.Conv2d(2, 2, 3, padding=1, bias=False))
    for part in net.layers:
        nn.init.ones_(part.weight)  # type: ignore[arg-type]
    model = Segmenter(net, labels=space(2), model={"name": "plain"})
    image = torch.randint(0, 256, (1, 3, 33, 33), dtype=torch.uint8)
    (found,) = effective_fields(model, [image, image], find_layers(net, ["output"]), count=2)
    line = np.array([1, 2, 3, 2, 1]) / 9
    assert found.centre == pytest.approx((16, 16), abs=1e-4)
    np.testing.assert_allclose(found.heat_HW[14:19, 14:19], np.outer(line, line), rtol=1e-5)
    assert found.heat_HW.sum() == pytest.approx(1, abs=1e-5)
    # in order of distance: 9/81, then 4 × 6/81, 4 × 4/81: 49/81 within the square root of 2
    assert found.radius50 == pytest.approx(2**0.5, abs=1e-3)
    assert energy_radius(found.heat_HW, (16, 16), 0.1) == 0
    dead = Plain(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    nn.init.zeros_(dead.layers[0].weight)  # type: ignore[arg-type]
    model = Segmenter(dead, labels=space(2), model={"name": "plain"})
    with pytest.raises(UserError, match="depends on no pixel"):
        effective_fields(model, [image], find_layers(dead, ["output"]), count=1)


def test_the_verb_draws_two_models_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    found = segwright.receptive_field(
        "fast_scnn", "small_cnn", out=tmp_path / "f.png", pictures=tmp_path / "photos", count=3, size=(60, 64)
    )
    assert [t.title for t in found.theory] == ["fast_scnn", "small_cnn"]
    assert found.effective[0][-1].heat_HW.shape == (64, 64)
    assert Image.open(tmp_path / "f.png").width > 1000
    assert segwright.receptive_field("small_cnn").sheet is None
