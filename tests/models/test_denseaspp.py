"""DenseASPP against its public implementation (DeepMotionAIResearch/DenseASPP), and its old checkpoints."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import densenet121, mobilenet_v2

from segwright.contracts import UserError
from segwright.models.backbones import Backbone
from segwright.models.denseaspp import RATES, DenseASPP, old_keys
from tests.models.conftest import with_real_statistics

MIDDLE, GROWTH = 128, 64
"""Of the authors' configuration for DenseNet-121 (`d_feature0`, `d_feature1`)."""


class PublicForm(nn.Module):
    """The structure of the public code for DenseNet-121, on torchvision's DenseNet, with its names of today."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = densenet121(weights=None).features
        for block, dilation in ((3, 2), (4, 4)):
            self.features.get_submodule(f"transition{block - 1}").pool = nn.Identity()
            for layer in self.features.get_submodule(f"denseblock{block}").children():
                layer.conv2.dilation = layer.conv2.padding = (dilation, dilation)
        self.features.norm5 = nn.BatchNorm2d(512)
        self.features.transition4 = nn.ModuleDict(
            {"norm": nn.BatchNorm2d(1024), "conv": nn.Conv2d(1024, 512, 1, bias=False)}
        )
        for index, rate in enumerate(RATES):
            channels = 512 + index * GROWTH
            parts: dict[str, nn.Module] = {"norm1": nn.BatchNorm2d(channels)} if index else {}
            parts |= {"conv1": nn.Conv2d(channels, MIDDLE, 1), "norm2": nn.BatchNorm2d(MIDDLE)}
            parts |= {"conv2": nn.Conv2d(MIDDLE, GROWTH, 3, padding=rate, dilation=rate)}
            self.add_module(f"ASPP_{rate}", nn.ModuleDict(parts))
        self.classification = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(512 + 5 * GROWTH, num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for name, part in self.features.named_children():
            if name not in ("norm5", "transition4"):
                x = part(x)
        last = self.features.transition4
        x = F.relu(self.features.norm5(last["conv"](F.relu(last["norm"](x)))))
        for rate in RATES:
            parts = self.get_submodule(f"ASPP_{rate}")
            inside = F.relu(parts["norm1"](x)) if "norm1" in parts else x
            x = torch.cat((parts["conv2"](F.relu(parts["norm2"](parts["conv1"](inside)))), x), dim=1)
        return self.classification(x)


def as_of_torch_0_3(name: str) -> str:
    return "module." + re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name)


@torch.no_grad()
def test_old_checkpoints_give_what_they_gave() -> None:
    public = PublicForm(7)
    with_real_statistics(public, torch.randn(2, 3, 64, 64))
    old = {as_of_torch_0_3(name): tensor for name, tensor in public.state_dict().items()}
    assert "module.features.denseblock1.denselayer1.norm.1.weight" in old
    assert "module.ASPP_24.conv.2.bias" in old
    ours = DenseASPP(7, backbone="densenet121").eval()
    ours.load_state_dict(old_keys(old))
    image = torch.randn(1, 3, 48, 64)
    assert torch.allclose(ours(image).logits_BKhw, public(image), atol=1e-5)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in public.parameters())


@pytest.mark.parametrize("spelling", ["norm.1", "norm_1", "norm1"])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_every_spelling_of_a_key_is_understood(spelling: str, prefix: str) -> None:
    tensor = torch.zeros(3)
    found = old_keys(
        {
            f"{prefix}features.denseblock2.denselayer7.{spelling}.running_mean": tensor,
            f"{prefix}ASPP_12.{spelling}.weight": tensor,
            f"{prefix}classification.1.bias": tensor,
            f"{prefix}something.else": tensor,
        }
    )
    assert list(found) == [
        "backbone.net.features_denseblock2.denselayer7.norm1.running_mean",
        "layers.2.norm1.weight",
        "classify.bias",
        "something.else",
    ]
    assert all(value is tensor for value in found.values())


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("densenet121", 8_280_851),
        ("densenet161", 35_395_427),
        ("densenet169", 18_420_675),
        ("densenet201", 28_639_987),
    ],
)
def test_parameters_are_those_of_the_public_code(backbone: str, expected: int) -> None:
    """Counted on the public code's layers for 19 classes, without their ImageNet classifier."""
    with torch.device("meta"):
        assert sum(p.numel() for p in DenseASPP(19, backbone=backbone).parameters()) == expected


def test_mobilenet_is_its_features_without_the_last_convolution() -> None:
    """By the authors' configuration (128 and 64 channels): features of 320 channels, five layers, a classifier."""
    with torch.device("meta"):
        ours = sum(p.numel() for p in DenseASPP(19, backbone="mobilenetv2_100").parameters())
        features = sum(p.numel() for p in mobilenet_v2(weights=None).features[:-1].parameters())
    wide = [320 + 64 * index for index in range(6)]
    layers = sum(c * 128 + 128 + 2 * 128 + (9 * 128 + 1) * 64 for c in wide[:5]) + sum(2 * c for c in wide[1:5])
    assert ours == features + layers + (wide[5] + 1) * 19


@torch.no_grad()
def test_a_densenet_at_stride_32_is_torchvisions() -> None:
    theirs, ours = densenet121(weights=None).features.eval(), Backbone("densenet121", levels=1).eval()
    ours.net.load_state_dict({f"features_{name}": tensor for name, tensor in theirs.state_dict().items()})
    image = torch.randn(1, 3, 64, 96)
    assert torch.allclose(ours(image)[0], F.relu(theirs(image)), atol=1e-5)


@pytest.mark.parametrize(("output_stride", "strides"), [(8, (4, 8, 8, 8)), (16, (4, 8, 16, 16))])
def test_a_densenet_keeps_the_size_that_is_asked_for(output_stride: int, strides: tuple[int, ...]) -> None:
    with torch.device("meta"):
        net = Backbone("densenet121", output_stride=output_stride)
        features = net(torch.empty(2, 3, 64, 128))
    assert net.strides == strides
    assert [x.shape[-1] for x in features] == [128 // stride for stride in strides]


@pytest.mark.parametrize("output_stride", [8, 16])
def test_logits_come_at_an_eighth(output_stride: int) -> None:
    with torch.device("meta"):
        net = DenseASPP(4, backbone="densenet121", output_stride=output_stride)
        assert net(torch.empty(2, 3, 64, 128)).logits_BKhw.shape == (2, 4, 8, 16)


def test_wrong_rates_are_refused() -> None:
    with pytest.raises(UserError, match="denseaspp: rates is .3, -6."):
        DenseASPP(3, backbone="mobilenetv2_035", rates=(3, -6))
