"""DUC-HDC, DFN, NAS-FPN, HANet, SPGNet, hierarchical multi-scale attention: counts, and the authors' arithmetic again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50, resnet101

from segwright.contracts import UserError
from segwright.models import MODELS, Segmenter
from segwright.models.experimental.dfn import DFN, ChannelAttention
from segwright.models.experimental.duc_hdc import DUCHDC
from segwright.models.experimental.hanet import HANet, HeightAttention, height_code
from segwright.models.experimental.hmsa import HMSA
from segwright.models.experimental.nas_fpn import LEVELS, NASFPN, NODES, Cell
from segwright.models.experimental.spgnet import Guidance, SPGNet
from tests.models.conftest import pictures, space, with_real_statistics
from tests.models.entries import ENTRIES

NETS = ("duc_hdc", "dfn", "nas_fpn", "hanet", "spgnet", "hmsa")
WIDTHS = (256, 512, 1024, 2048)
"""Channels of the four stages of ResNet-50 and ResNet-101."""


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def features_of(net: nn.Module) -> int:
    """Parameters of torchvision's ResNet without its classifier."""
    return count(net) - (WIDTHS[-1] + 1) * 1000


def layer(channels: int, out: int, kernel: int = 1) -> int:
    """Bias-free convolution and BatchNorm."""
    return kernel * channels * out + 2 * out


def test_duc_hdc_is_a_resnet_and_four_dense_classifiers() -> None:
    """No public count: by the authors' model file, four 3×3 with biases to 16 scores a class at a cell of two pixels."""
    with torch.device("meta"):
        expected = features_of(resnet101(weights=None)) + 4 * (9 * 2048 + 1) * 16 * 19
        assert count(DUCHDC(19, backbone="resnet101")) == expected == 64_914_688


def test_hybrid_dilations_are_those_of_the_authors_model_file() -> None:
    with torch.device("meta"):
        hybrid, plain = (DUCHDC(2, backbone="resnet101", hybrid=h).backbone.net for h in (True, False))

    def dilations(stage: nn.Module) -> list[int]:
        return [m.dilation[0] for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]

    assert dilations(hybrid["layer3"]) == [2, 2, 5, 9, *[1, 2, 5, 9] * 4, 1, 2, 5]
    assert dilations(hybrid["layer4"]) == [5, 9, 17]
    assert dilations(plain["layer3"]) == [1] + 22 * [2]  # the first block of a stage has the dilation before it
    assert dilations(plain["layer4"]) == [2, 4, 4]


@torch.no_grad()
def test_scores_unfold_as_the_authors_predictor_lays_them_out() -> None:
    net = DUCHDC(3, backbone="resnet10t").eval()
    image = torch.randn(1, 3, 32, 48)
    (features,) = net.backbone(image)
    scores = sum(F.conv2d(features, c.weight, c.bias, padding=c.dilation, dilation=c.dilation) for c in net.classify)
    assert isinstance(scores, Tensor)
    cells = scores.numpy().reshape(3, 4, 4, 4, 6)  # class, row and column inside a feature, row and column of features
    expected = np.transpose(cells, (0, 3, 1, 4, 2)).reshape(1, 3, 16, 24)
    assert torch.allclose(net(image).logits_BKhw, torch.from_numpy(expected), atol=1e-5)


@pytest.mark.parametrize("cell", [1, 2, 4, 8])
@torch.no_grad()
def test_a_score_stands_for_a_cell_of_pixels(cell: int) -> None:
    net = DUCHDC(2, backbone="resnet10t", cell=cell).eval()
    assert net(torch.zeros(1, 3, 32, 40)).logits_BKhw.shape == (1, 2, 32 // cell, 40 // cell)


def test_dfn_has_the_smooth_network_of_its_authors() -> None:
    """No public count: by their code. A refinement: 1×1, 3×3 with BatchNorm, 3×3; attention: two layers with biases."""

    def refine(channels: int, out: int) -> int:
        return channels * out + layer(out, out, 9) + 9 * out * out

    wide, k = 512, 19
    head = refine(wide, 9 * k) + (9 * k + 1) * k
    stage = (2 * wide + 1) * wide + (wide + 1) * wide + refine(wide, wide) + head
    smooth = layer(2048, wide) + sum(refine(c, wide) + stage for c in WIDTHS)
    with torch.device("meta"):
        assert count(DFN(k, backbone="resnet101")) == features_of(resnet101(weights=None)) + smooth == 89_941_168
        assert count(DFN(k, backbone="resnet101", auxiliary=False)) == 89_941_168 - 3 * head


@torch.no_grad()
def test_channels_are_weighed_by_the_means_of_both_stages() -> None:
    attend = ChannelAttention(4)
    fine, coarse = torch.randn(2, 4, 5, 7), torch.randn(2, 4, 5, 7)
    first, _, second, _ = attend.weigh
    hidden = F.linear(torch.cat([fine, coarse], 1).mean((2, 3)), first.weight.flatten(1), first.bias).relu()
    weights = F.linear(hidden, second.weight.flatten(1), second.bias).sigmoid()
    assert torch.allclose(attend(fine, coarse), fine * weights[..., None, None] + coarse, atol=1e-6)


@pytest.mark.parametrize(("size", "published"), [("b7", 71), ("l2", 485)])
def test_nas_fpn_has_the_millions_that_its_authors_print(size: str, published: int) -> None:
    """71 M and 485 M for VOC's 21 classes, in their repository. They count EfficientNet with its ImageNet classifier."""
    with torch.device("meta"):
        net = NASFPN(21, backbone=f"tf_efficientnet_{size}")
        whole = timm.create_model(f"tf_efficientnet_{size}")
    assert (count(net) - count(net.backbone) + count(whole)) // 10**6 == published


def test_nodes_take_in_the_inputs_that_nothing_else_uses() -> None:
    """As the authors' code finds them: from the third node on, unused features of its level join it."""
    levels, used = list(LEVELS), [0] * len(LEVELS)
    for number, node in enumerate(NODES):
        for i in (node.first, node.second):
            used[i] += 1
        unused = [i for i, n in enumerate(used) if n == 0 and levels[i] == node.level and number >= 2]
        assert unused == ([] if node.extra is None else [node.extra])
        for i in unused:
            used[i] += 1
        levels.append(node.level)
        used.append(0)
    assert sorted(levels[-5:]) == list(LEVELS)


@torch.no_grad()
def test_the_searched_cell_is_that_of_its_figure() -> None:
    """Written out step by step, at sizes that level 7 does not divide."""
    cell = Cell(4).eval()
    p3, p4, p5, p6, p7 = given = [torch.randn(1, 4, -(-12 * 8 // 2**i), -(-20 * 8 // 2**i)) for i in (3, 4, 5, 6, 7)]

    def to(x: Tensor, like: Tensor) -> Tensor:
        ratio = 2 ** round(math.log2(x.shape[2] / like.shape[2]))
        if ratio <= 1:
            return F.interpolate(x, size=like.shape[2:], mode="nearest")
        pad = (0, -x.shape[3] % ratio, 0, -x.shape[2] % ratio)
        return F.max_pool2d(F.pad(x, pad, value=-torch.inf), ratio)

    def attention(coarse: Tensor, fine: Tensor) -> Tensor:
        return coarse + fine * F.adaptive_max_pool2d(coarse, 1).sigmoid()

    f = [lambda x, part=part: part(x.relu()) for part in cell.filters]
    n5 = f[0](attention(to(p6, p4), p4))
    n6 = f[1](p4 + n5)
    n7 = f[2](p3 + to(n6, p3))
    n8 = f[3](n6 + to(n7, p4))
    n9 = f[4](attention(to(n8, p5), to(n7, p5)) + p5)
    n10 = f[5](attention(to(n9, p7), to(n6, p7)) + p7)
    n11 = f[6](attention(to(n10, p6), to(n9, p6)))
    for found, expected in zip(cell(given), (n7, n8, n9, n11, n10), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


def test_hanet_is_deeplab_and_four_attentions() -> None:
    """No public count that we know: by the authors' code, less the biases in front of a BatchNorm."""
    deeplab = layer(2048, 256) * 2 + 3 * layer(2048, 256, 9) + layer(1280, 256) + layer(256, 48)
    deeplab += layer(304, 256, 9) + layer(256, 256, 9) + 257 * 19
    auxiliary = layer(1024, 512, 9) + 513 * 19
    attentions = 0
    for before, behind, few in ((1024, 2048, 16), (2048, 1280, 32), (1280, 256, 20), (304, 256, 5)):
        attentions += layer(before, few) + layer(few, 2 * few, 3) + (3 * 2 * few + 1) * behind
    with torch.device("meta"):
        expected = features_of(resnet101(weights=None)) + deeplab + attentions
        assert count(HANet(19, backbone="resnet101", auxiliary=False)) == expected == 59_948_111
        assert count(HANet(19, backbone="resnet101")) == expected + auxiliary


@torch.no_grad()
def test_rows_are_weighed_as_by_one_dimensional_layers() -> None:
    attend = HeightAttention(70, 6, dropout=0.5).eval()
    before, behind = torch.randn(2, 70, 21, 9), torch.randn(2, 6, 30, 11)
    conv, norm, _ = attend.narrow[1:]
    second, norm2, _, third = attend.widen

    def normal(x: Tensor, by: Any) -> Tensor:
        return F.batch_norm(x, by.running_mean, by.running_var, by.weight, by.bias)

    rows = F.adaptive_avg_pool2d(before, (16, 1)).squeeze(3)
    hidden = normal(F.conv1d(rows, conv.weight.squeeze(3)), norm).relu() + height_code(2)
    hidden = normal(F.conv1d(hidden, second.weight.squeeze(3), padding=1), norm2).relu()
    weights = F.conv1d(hidden, third.weight.squeeze(3), third.bias, padding=1).sigmoid()
    expected = behind * F.interpolate(weights, size=30, mode="linear").unsqueeze(3)
    assert torch.allclose(attend(before, behind), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [5, 32, 64])
def test_heights_are_coded_as_in_the_authors_table(channels: int) -> None:
    row, channel = np.meshgrid(np.arange(16), np.arange(channels), indexing="xy")
    angle = row / np.power(10 if channels > 50 else 100, 2 * (channel // 2) / channels)
    expected = np.where(channel % 2, np.cos(angle), np.sin(angle)) + 1
    assert np.allclose(height_code(channels).numpy(), expected, atol=1e-5)


def test_spgnet_is_two_resnets_two_decoders_and_the_guidance() -> None:
    """No public count: by the module's choices where the paper leaves sizes open."""
    wide, k = 256, 19
    decoder = layer(2048, wide)
    for c in WIDTHS:
        decoder += layer(c, wide // 4) + layer(wide // 4, wide // 4, 9) + layer(wide // 4, wide)
        decoder += layer(c, wide) if c != wide else 0
    between = layer(wide, 64) + sum(layer(c, c) + layer(wide, c) for c in WIDTHS)
    guidance = (wide + 1) * k + (k + 1) * wide
    with torch.device("meta"):
        stage = features_of(resnet50(weights=None))
        stem = 49 * 3 * 64 + 2 * 64
        expected = 2 * stage - stem + 2 * decoder + between + guidance + (wide + 1) * k
        assert count(SPGNet(k)) == expected == 57_418_214


@torch.no_grad()
def test_guidance_weighs_features_by_their_prediction() -> None:
    guide = Guidance(6, 3)
    features = torch.randn(1, 6, 4, 5)
    guided, prediction = guide(features)
    assert torch.allclose(prediction, F.conv2d(features, guide.classify.weight, guide.classify.bias))
    back = guide.weigh[0]
    assert torch.allclose(guided, features * F.conv2d(prediction, back.weight, back.bias).sigmoid(), atol=1e-6)


def test_hmsa_is_hrnet_ocr_and_an_attention_head() -> None:
    """HRNet-OCR's count is tested with hrnet_ocr; the head: by the authors' code, 3×3, 3×3, and a 1×1 without bias."""
    with torch.device("meta"):
        ocr = count(MODELS["hrnet_ocr"](19))
        assert count(HMSA(19)) == ocr + layer(512, 256, 9) + layer(256, 256, 9) + 256 == 72_142_198


@torch.no_grad()
def test_scales_are_joined_as_in_the_paper() -> None:
    net = HMSA(3, scales=(0.5, 1, 2), **ENTRIES["hmsa"])
    with_real_statistics(net, torch.randn(2, 3, 64, 64))
    image = torch.randn(1, 3, 64, 128)
    said, trust = {}, {}
    for scale in (0.5, 1, 2):
        scaled = F.interpolate(image, scale_factor=scale, mode="bilinear", recompute_scale_factor=True)
        features, _ = net.net.in_context(scaled)
        said[scale], trust[scale] = net.net.classify(features), net.trust(features)

    def to_1(x: Tensor) -> Tensor:
        return F.interpolate(x, size=(16, 32), mode="bilinear")

    upper = trust[1] * said[1] + (1 - trust[1]) * to_1(said[2])
    expected = to_1(trust[0.5] * said[0.5]) + (1 - to_1(trust[0.5])) * upper
    assert torch.allclose(net(image).logits_BKhw, expected, atol=1e-5)


@torch.no_grad()
def test_one_scale_is_hrnet_ocr() -> None:
    net = HMSA(3, scales=(1,), **ENTRIES["hmsa"]).eval()
    image = torch.randn(1, 3, 64, 32)
    assert torch.equal(net(image).logits_BKhw, net.net(image).logits_BKhw)


@pytest.mark.parametrize(
    ("name", "strides"), [("dfn", [8, 16, 32]), ("hanet", [16]), ("spgnet", [4]), ("hmsa", [4]), ("nas_fpn", [])]
)
def test_auxiliary_heads_speak_in_training_only(name: str, strides: list[int]) -> None:
    image = torch.randn(2, 3, 64, 96)
    net = MODELS[name](3, **ENTRIES[name])
    outputs = net.train()(image)
    assert outputs.logits_BKhw.shape == (2, 3, 16, 24)
    assert [tuple(a.shape) for a in outputs.auxiliary] == [(2, 3, 64 // s, 96 // s) for s in strides]
    assert net.eval()(image).auxiliary == ()
    if name in ("dfn", "hanet", "spgnet"):
        assert MODELS[name](3, auxiliary=False, **ENTRIES[name]).train()(image).auxiliary == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_they_export_with_dynamic_sizes(name: str) -> None:
    model = Segmenter(MODELS[name](4, **ENTRIES[name]), labels=space(4), model={"name": name})
    with_real_statistics(model, pictures(2, 65, 97))
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 329, 457),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 65, 97), (3, 64, 128)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("duc_hdc", {"cell": 3}, "duc_hdc: cell is 3; allowed are 1, 2, 4 and 8 pixels"),
        ("duc_hdc", {"rates": ()}, "duc_hdc: rates is []"),
        ("duc_hdc", {"backbone": "mobilenetv2_035"}, "set hybrid to false"),
        ("dfn", {"channels": 0}, "dfn: channels is 0; allowed are whole numbers from 1"),
        ("dfn", {"backbone": "xcit_nano_12_p16_224"}, "the decoder needs 4, 8, 16, 32"),
        ("nas_fpn", {"repeats": 0}, "nas_fpn: repeats is 0"),
        ("nas_fpn", {"backbone": "tf_efficientnet_b9"}, "Did you mean"),
        ("hanet", {"output_stride": 32}, "hanet: output_stride is 32"),
        ("hanet", {"rates": (0,)}, "hanet: rates is [0]"),
        ("spgnet", {"channels": 30}, "spgnet: channels is 30"),
        ("spgnet", {"backbone": "mobilenetv2_035"}, "it takes a ResNet"),
        ("hmsa", {"scales": (0.5, 2)}, "hmsa: scales is [0.5, 2]"),
        ("hmsa", {"scales": (1, 0.3)}, "multiples of 0.25"),
        ("hmsa", {"backbone": "resnet18"}, "it takes an HRNet"),
    ],
)
def test_wrong_arguments_are_refused_by_name(name: str, args: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        MODELS[name](3, **args)
    assert words in str(caught.value)
