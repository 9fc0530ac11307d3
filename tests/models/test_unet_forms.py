"""U-Net A, U-Net with ASPP, the ResNet encoder-decoder and the small CNN: layers, libraries; what exports."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34
from torchvision.models.segmentation import deeplabv3

from segwright.contracts import UserError
from segwright.models import MODELS, Segmenter
from segwright.models.blocks import ASPP
from segwright.models.resnet_decoder import ResNetDecoder
from segwright.models.small_cnn import SmallCNN
from segwright.models.unet_a import UNetA
from segwright.models.unet_aspp import UNetASPP
from tests.models.conftest import pictures, space, with_real_statistics

WIDTHS = (64, 128, 256, 512, 1024)


def parameters(build: Any, num_classes: int = 19, **args: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(num_classes, **args).parameters())


def expected_unet_a(num_classes: int) -> int:
    """From the study's description: 3×3 everywhere, biases, BatchNorm after each convolution of a block."""

    def block(i: int, o: int) -> int:
        return 9 * (i + o) * o + 2 * o + 4 * o

    down = sum(block(i, o) for i, o in zip((3, *WIDTHS), WIDTHS, strict=False))
    up = sum(9 * 2 * o * o + o + block(2 * o, o) for o in WIDTHS[:-1])
    return down + up + 9 * 64 * num_classes + num_classes


def expected_aspp(channels: int) -> int:
    """Branches of a quarter of the channels: two 1×1, three 3×3; each with BatchNorm; then five quarters to all."""
    quarter = channels // 4
    return (2 + 27) * channels * quarter + 5 * 2 * quarter + 5 * quarter * channels + 2 * channels


def test_the_parameters_follow_from_the_description() -> None:
    assert parameters(UNetA) == expected_unet_a(19) == 34_536_019
    assert parameters(UNetA, 7) == expected_unet_a(7)
    assert parameters(UNetASPP) == expected_unet_a(19) + expected_aspp(1024)
    assert parameters(UNetASPP, placement=2) == expected_unet_a(19) + sum(map(expected_aspp, WIDTHS))


@torch.no_grad()
def test_unet_a_equals_plain_functions() -> None:
    net = UNetA(3, width=4, depth=1)
    image = torch.randn(2, 3, 16, 24)
    with_real_statistics(net, image)

    def block(x: Tensor, layers: nn.Sequential) -> Tensor:
        for conv, norm in ((layers[0], layers[2]), (layers[3], layers[5])):
            x = F.conv2d(x, conv.weight, conv.bias, padding=1).clamp_min(0)
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return x

    full = block(image, net.encoder[0])
    bottom = block(F.max_pool2d(full, 2), net.encoder[1])
    up = F.conv_transpose2d(bottom, net.up[0].weight, net.up[0].bias, stride=2, padding=1, output_padding=1)
    merged = block(torch.cat([full, up], 1), net.decoder[0])
    expected = F.conv2d(merged, net.classify.weight, net.classify.bias, padding=1)
    assert torch.allclose(net(image).logits_BKhw, expected, atol=1e-5)


@torch.no_grad()
def test_aspp_is_that_of_torchvision() -> None:
    ours, theirs = ASPP(12, 8, (2, 4, 8), dropout=0.5).eval(), deeplabv3.ASPP(12, [2, 4, 8], 8).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 12, 9, 7)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def test_placement_says_where_the_pyramids_are() -> None:
    for placement, places in ((1, [2]), (2, [0, 1, 2])):
        net = UNetASPP(2, width=4, depth=2, placement=placement)
        assert [i for i, m in enumerate(net.context) if isinstance(m, ASPP)] == places
        assert [conv[0].dilation[0] for conv in net.context[-1].branches] == [1, 2, 4, 8]


@torch.no_grad()
@pytest.mark.parametrize(("name", "theirs"), [("resnet18", resnet18), ("resnet34", resnet34)])
def test_the_encoder_is_torchvisions_resnet(name: str, theirs: Any) -> None:
    net, public = ResNetDecoder(3, backbone=name).eval(), theirs(weights=None).eval()
    state = {k: t for k, t in public.state_dict().items() if not k.startswith("fc.")}
    net.encoder.net.load_state_dict(state)
    image = torch.randn(1, 3, 64, 96)
    expected = nn.Sequential(*list(public.children())[:-2])(image)
    assert torch.allclose(net.encoder(image)[-1], expected, atol=1e-5)
    steps = zip((512, 256, 128, 64, 64), (256, 128, 64, 64, 64), strict=True)
    decoder = sum(16 * i * o + o + 2 * o for i, o in steps) + 9 * 64 * 3 + 3
    assert (
        sum(p.numel() for p in net.parameters())
        == sum(p.numel() for n, p in public.named_parameters() if n in state) + decoder
    )
    assert net(image).logits_BKhw.shape == (1, 3, 64, 96)


def test_a_score_of_the_small_cnn_sees_48_pixels() -> None:
    net = SmallCNN(2, width=4).eval()
    image = torch.randn(1, 3, 128, 128, requires_grad=True)
    for index, part in enumerate(net.layers):
        if isinstance(part, nn.ReLU):
            net.layers[index] = nn.Identity()
        elif isinstance(part, nn.MaxPool2d):
            net.layers[index] = nn.AvgPool2d(2)
    net(image).logits_BKhw[0, 0, 16, 16].backward()
    seen = image.grad[0].abs().sum(0).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [48, 48]
    assert parameters(SmallCNN) == 289_907


@pytest.mark.parametrize(
    ("build", "args"),
    [
        (UNetA, {"width": 0}),
        (UNetA, {"depth": 9}),
        (UNetASPP, {"placement": 3}),
        (UNetASPP, {"depth": 0}),
        (ResNetDecoder, {"channels": (8, 8)}),
        (ResNetDecoder, {"backbone": "resnet18x"}),
        (ResNetDecoder, {"backbone": "xcit_nano_12_p16_224"}),
        (SmallCNN, {"width": 0}),
        (SmallCNN, {"dropout": 1.0}),
    ],
)
def test_impossible_arguments_are_refused(build: Any, args: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"allowed|five|backbone|placement"):
        build(2, **args)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("deeplab_v3_plus_d", {"width": 4}),
        ("unet", {"width": 4, "depth": 1, "up": "bilinear", "attention": "se+scse"}),
        ("unet_aspp", {"width": 4, "depth": 1}),
        ("fcn", {"width": 1}),
        ("segnet", {"width": 1}),
    ],
)
def test_they_export_with_dynamic_sizes(name: str, args: dict[str, Any]) -> None:
    model = Segmenter(MODELS[name](4, **args), labels=space(4), model={"name": name})
    with_real_statistics(model, pictures(2, 65, 97))
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 65, 97),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 65, 97), (3, 64, 128)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4
