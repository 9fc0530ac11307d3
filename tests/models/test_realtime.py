"""Real-time nets: parameters of the public ones, torchvision's blocks, auxiliary heads, odd sizes, what exports."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from segwright.contracts import UserError
from segwright.models import MODELS, Segmenter
from segwright.models.ddrnet import DDRNet, DeepPyramid, Residual
from segwright.models.experimental.enet import Down, ENet, Up
from segwright.models.experimental.erfnet import ERFNet
from segwright.models.pidnet import BoundaryFusion, ParallelPyramid, PixelAttention
from tests.models.conftest import pictures, space, with_real_statistics


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "args", "count"),
    [
        ("bisenet_v1", {}, 13_275_539),
        ("bisenet_v2", {}, 3_358_883),
        ("ddrnet", {}, 5_695_923),  # the paper: 5.7 M
        ("ddrnet", {"variant": "23"}, 20_148_819),  # the paper: 20.1 M
        ("pidnet", {}, 7_625_651),  # the paper: 7.6 M
        ("pidnet", {"variant": "m"}, 28_538_387),
        ("pidnet", {"variant": "l"}, 36_939_443),  # the paper: 36.9 M
        ("icnet", {"backbone": "resnet50c"}, 47_527_507),
    ],
)
def test_parameters_are_those_of_mmsegmentation(name: str, args: dict[str, Any], count: int) -> None:
    """mmsegmentation 1.2.2, its Cityscapes configurations: the layers that take part in evaluation, counted there."""
    with torch.device("meta"):
        assert parameters(MODELS[name](19, auxiliary=False, **args)) == count


def test_erfnet_has_the_parameters_of_mmsegmentations_body_and_of_the_authors_classifier() -> None:
    """mmsegmentation 1.2.2: 2,084,095 with a head of a 3×3 from 16 to 128 channels, BatchNorm and a 1×1."""
    with torch.device("meta"):
        net = ERFNet(19)
    body = 2_084_095 - (9 * 16 * 128 + 2 * 128) - (128 * 19 + 19)
    assert parameters(net) == body + (4 * 16 * 19 + 19)


def test_enet_has_the_parameters_of_the_papers_table() -> None:
    """The paper says 0.37 M; this follows from its table, with the module's choices where the table is silent."""

    def norm(channels: int, *, prelu: bool = True) -> int:
        return channels * (3 if prelu else 2)

    def block(channels: int, out: int, middle: int, *, first: int = 1, prelu: bool = True) -> int:
        few = channels // 4
        inner = first * channels * few + norm(few, prelu=prelu) + middle + norm(few, prelu=prelu)
        return inner + few * out + norm(out, prelu=False) + (out if prelu else 0)

    def stage() -> int:
        plain = block(128, 128, 9 * 32 * 32)
        asymmetric = block(128, 128, 2 * 5 * 32 * 32 + norm(32))
        return 6 * plain + 2 * asymmetric

    down = block(16, 64, 9 * 4 * 4, first=4) + block(64, 128, 9 * 16 * 16, first=4)
    up = sum(
        block(i, o, 9 * (i // 4) ** 2, prelu=False) + i * o + norm(o, prelu=False) for i, o in ((128, 64), (64, 16))
    )
    encoder = 9 * 3 * 13 + norm(16) + down + 4 * block(64, 64, 9 * 16 * 16) + 2 * stage()
    decoder = up + 2 * block(64, 64, 9 * 16 * 16, prelu=False) + block(16, 16, 9 * 4 * 4, prelu=False)
    with torch.device("meta"):
        assert parameters(ENet(19)) == encoder + decoder + 4 * 16 * 19 + 19 == 360_298


@pytest.mark.parametrize("stride", [1, 2])
@torch.no_grad()
def test_residual_blocks_are_torchvisions_before_the_last_relu(stride: int) -> None:
    x = torch.randn(2, 8, 12, 10)

    def shortcut(out: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    pairs = [
        (Residual(8, 16, stride=stride), BasicBlock(8, 16, stride, shortcut(16))),
        (Residual(8, 16, stride=stride, narrow=4), Bottleneck(8, 4, stride, shortcut(16))),
    ]
    for ours, theirs in pairs:
        with_real_statistics(theirs, x)
        # torchvision registers the shortcut last, ours comes first
        state = list(theirs.state_dict().values())
        names = sorted(ours.state_dict(), key=lambda name: name.startswith("shortcut"))
        ours.load_state_dict(dict(zip(names, state, strict=True)))
        assert torch.allclose(ours.eval()(x).relu(), theirs(x), atol=1e-5)


@torch.no_grad()
def test_pyramids_pool_as_described() -> None:
    """Both pyramids from the means over windows, with torch's functions; 1×1 means stay as they are."""
    x = torch.randn(2, 8, 12, 20)
    for pyramid in (DeepPyramid(8, 4, 6), ParallelPyramid(8, 4, 6)):
        with_real_statistics(pyramid, x)

        def level(i: int, pyramid: Any = pyramid) -> Tensor:
            pooled = x if i == 0 else x.mean((2, 3), keepdim=True) if i == 4 else window_means(x, 2**i)
            y: Tensor = pyramid.levels[i][1:](pooled)
            return F.interpolate(y, size=x.shape[-2:], mode="bilinear")

        said = [level(0)]
        if isinstance(pyramid, DeepPyramid):
            for i in range(1, 5):
                said.append(pyramid.process[i - 1](level(i) + said[-1]))
        else:
            said.append(pyramid.process(torch.cat([level(i) + said[0] for i in range(1, 5)], dim=1)))
        expected = pyramid.compress(torch.cat(said, dim=1)) + pyramid.shortcut(x)
        assert torch.allclose(pyramid(x), expected, atol=1e-5)


def window_means(x: Tensor, step: int) -> Tensor:
    """Means over windows of 2·step + 1 around every step-th pixel, zeros outside counted."""
    side = 2 * step + 1
    patches = F.unfold(x, side, padding=step, stride=step).unflatten(1, (x.shape[1], side * side))
    means: Tensor = patches.mean(2).unflatten(2, tuple((n - 1) // step + 1 for n in x.shape[-2:]))
    return means


@torch.no_grad()
def test_attention_and_boundaries_choose_between_detail_and_context() -> None:
    detail, context = torch.randn(2, 8, 6, 10), torch.randn(2, 8, 3, 5)
    chosen = PixelAttention(8, 4).eval()(detail, context)
    wide = F.interpolate(context, size=(6, 10), mode="bilinear")
    assert (chosen >= torch.minimum(detail, wide) - 1e-6).all()
    assert (chosen <= torch.maximum(detail, wide) + 1e-6).all()
    fuse, edge = BoundaryFusion(8).eval(), torch.ones(2, 8, 6, 10)
    assert torch.allclose(fuse(detail, wide, edge), fuse.mix(detail), atol=1e-5)
    assert torch.allclose(fuse(detail, wide, 0 * edge), fuse.mix(wide), atol=1e-5)


@torch.no_grad()
def test_enet_pools_with_zeros_and_puts_values_back() -> None:
    x = torch.rand(2, 4, 6, 10) + 1
    down: Any = Down(4, 8, 0.0).eval()
    up: Any = Up(8, 4, 0.0).eval()
    for branch in (down.layers, up.layers):
        nn.init.zeros_(branch[-2].weight)  # the last BatchNorm: nothing but the shortcut is left
    pooled, places = down(x)
    assert torch.equal(pooled[:, :4], F.max_pool2d(x, 2))
    assert (pooled[:, 4:] == 0).all()
    nn.init.zeros_(up.narrow[0].weight)
    up.narrow[0].weight[:, :4, 0, 0] = torch.eye(4)
    back = up(pooled, places)
    assert torch.allclose(back, x * (F.interpolate(F.max_pool2d(x, 2), scale_factor=2) == x), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "args", "strides"),
    [
        ("bisenet_v1", {"backbone": "resnet10t", "channels": 16}, [8, 16]),
        ("bisenet_v2", {"width": 0.125}, [4, 8, 16, 32]),
        ("ddrnet", {"width": 0.125}, [8]),
        ("pidnet", {"width": 0.125}, [8]),
        ("icnet", {"backbone": "resnet10t", "channels": 16}, [16, 8]),
    ],
)
def test_auxiliary_heads_speak_in_training_only(name: str, args: dict[str, Any], strides: list[int]) -> None:
    image = torch.randn(2, 3, 64, 96)
    net = MODELS[name](3, **args)
    assert [tuple(a.shape) for a in net.train()(image).auxiliary] == [(2, 3, 64 // s, 96 // s) for s in strides]
    assert net.eval()(image).auxiliary == ()
    without = MODELS[name](3, auxiliary=False, **args).train()
    assert without(image).auxiliary == ()
    assert without(image).logits_BKhw.shape == (2, 3, 8, 12)


@torch.no_grad()
def test_ddrnet_rounds_up_what_64_does_not_divide() -> None:
    net = DDRNet(3, width=0.125).eval()
    assert net(torch.randn(1, 3, 72, 104)).logits_BKhw.shape == (1, 3, 9, 13)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("bisenet_v1", {"backbone": "resnet10t", "channels": 8}),
        ("bisenet_v2", {"width": 0.125}),
        ("ddrnet", {"width": 0.125}),
        ("pidnet", {"width": 0.125}),
        ("icnet", {"backbone": "resnet10t", "channels": 16}),
        ("enet", {"width": 0.25}),
        ("erfnet", {"width": 0.25}),
    ],
)
def test_they_export_with_dynamic_sizes(name: str, args: dict[str, Any]) -> None:
    """The example is so large that no level of a pyramid is one pixel, nor as large as its regions: no special case."""
    model = Segmenter(MODELS[name](4, **args), labels=space(4), model={"name": name})
    with_real_statistics(model, pictures(2, 65, 97))
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 585, 700),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 65, 97), (3, 64, 128)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("bisenet_v1", {"channels": 30}, "channels is 30"),
        ("bisenet_v1", {"backbone": "vit_tiny_patch16_224"}, "end in 16 and 32"),
        ("bisenet_v2", {"width": 0}, "width is 0"),
        ("bisenet_v2", {"dropout": 1.0}, "dropout is 1"),
        ("ddrnet", {"variant": "39"}, "allowed are 23_slim, 23"),
        ("pidnet", {"variant": "xl"}, "allowed are s, m, l"),
        ("pidnet", {"width": -1.0}, "allowed are factors above 0"),
        ("icnet", {"channels": 24}, "multiple of 16"),
        ("icnet", {"backbone": "densenet121"}, "it takes a ResNet"),
        ("enet", {"width": 0}, "width is 0"),
        ("erfnet", {"width": 0.1}, "from 0.25"),
    ],
)
def test_impossible_arguments_are_refused(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MODELS[name](2, **args)
