"""DeepLab v1 to v3+ and PSPNet: the same nets as the public ones, by their counts and by their outputs."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet101, vgg16
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

from segwright.contracts import UserError
from segwright.models import MODELS, Segmenter
from segwright.models.backbones import Backbone
from segwright.models.deeplab_v1 import DeepLabV1
from segwright.models.deeplab_v2 import DeepLabV2
from segwright.models.deeplab_v3 import DeepLabV3, torchvision_keys
from segwright.models.deeplab_v3_plus import DeepLabV3Plus
from segwright.models.dilated import DilatedConv2d
from segwright.models.pspnet import PSPNet, PyramidPooling
from segwright.models.vgg import copy_in_order
from tests.models.conftest import pictures, space, with_real_statistics
from tests.models.entries import ENTRIES

NO_WEIGHTS: dict[str, Any] = {"weights": None, "weights_backbone": None}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def test_v3_gives_what_torchvisions_gives() -> None:
    theirs = deeplabv3_resnet50(num_classes=4, aux_loss=True, **NO_WEIGHTS)
    with_real_statistics(theirs, torch.randn(2, 3, 64, 96))
    ours = DeepLabV3(4, auxiliary=True).eval()
    ours.load_state_dict(torchvision_keys(theirs.state_dict()))
    image = torch.randn(1, 3, 64, 96)
    inner, features = theirs.backbone(image)["aux"], theirs.backbone(image)["out"]
    assert torch.allclose(ours(image).logits_BKhw, theirs.classifier(features), atol=1e-5)
    assert ours.auxiliary is not None
    assert torch.allclose(ours.auxiliary(ours.backbone(image)[0]), theirs.aux_classifier(inner), atol=1e-5)


def test_names_that_torchvision_does_not_have_stay() -> None:
    tensor = torch.zeros(1)
    assert torchvision_keys({"head.weight": tensor, "classifier.4.bias": tensor}).keys() == {
        "head.weight",
        "classify.bias",
    }


def test_v3_has_as_many_parameters_as_torchvisions() -> None:
    with torch.device("meta"):
        theirs = deeplabv3_resnet101(num_classes=21, aux_loss=True, **NO_WEIGHTS)
        assert count(DeepLabV3(21, backbone="resnet101", auxiliary=True)) == count(theirs) == 60_996_202


def test_v1_has_the_papers_20_5_million_parameters() -> None:
    """The paper's table 2: 20.5 M. By the layers: VGG-16's convolutions, fc6 3×3×512→1024, fc7 1024→1024, 21 classes."""
    with torch.device("meta"):
        ours, vgg = count(DeepLabV1(21)), count(vgg16(weights=None).features)
    assert ours == vgg + (9 * 512 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 21 == 20_505_429


@torch.no_grad()
def test_v1_takes_vggs_weights_and_dilates_its_last_stage() -> None:
    net, vgg = DeepLabV1(2), vgg16(weights=None).features
    copy_in_order(net.vgg, vgg.state_dict())
    theirs = [m for m in vgg if isinstance(m, nn.Conv2d)]
    ours = [m for m in net.vgg.modules() if isinstance(m, nn.Conv2d)]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(ours, theirs, strict=True))
    assert [m.dilation[0] for m in ours] == [1] * 10 + [2] * 3
    assert net.eval()(torch.zeros(1, 3, 64, 128)).logits_BKhw.shape == (1, 2, 8, 16)


def test_v2_is_a_resnet_and_four_classifiers() -> None:
    """No public count: by the paper's table, ResNet-101 and four 3×3 classifiers with biases."""
    with torch.device("meta"):
        backbone = count(resnet101(weights=None)) - (2048 + 1) * 1000
        assert count(DeepLabV2(21)) == backbone + 4 * (9 * 2048 + 1) * 21 == 44_048_532


@torch.no_grad()
def test_v2_sums_its_branches() -> None:
    net = DeepLabV2(3, backbone="resnet10t").eval()
    image = torch.randn(1, 3, 32, 48)
    (features,) = net.backbone(image)
    expected = torch.zeros(1, 3, 4, 6)
    for branch, rate in zip(net.aspp.branches, (6, 12, 18, 24), strict=True):
        expected += F.conv2d(features, branch.weight, branch.bias, padding=rate, dilation=rate)
    assert torch.allclose(net(image).logits_BKhw, expected, atol=1e-5)


def test_v3_plus_on_xception_has_the_published_count() -> None:
    """43.48 M: Xception-71 for 19 classes, in the table of Liu et al., "Auto-DeepLab", CVPR 2019."""
    with torch.device("meta"):
        assert round(count(DeepLabV3Plus(19, backbone="xception71")) / 1e6, 2) == 43.48


@torch.no_grad()
def test_v3_plus_and_the_library_differ_where_the_page_says() -> None:
    """Same encoder; ours has BatchNorms behind depthwise layers, and both 3×3 layers behind the concatenation."""
    theirs = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=19)
    ours = DeepLabV3Plus(19)
    state = {k: v for k, v in theirs.encoder.state_dict().items() if not k.startswith("fc.")}
    ours.backbone.net.load_state_dict(state)
    norms_in_pyramid = 3 * 2 * 2048
    theirs_behind = (9 * 256 + 256 * 256) + (9 * 304 + 304 * 256) + 2 * (2 * 256)
    ours_behind = theirs_behind + 2 * 304 + 2 * 256
    assert count(ours) == count(theirs) + norms_in_pyramid + (ours_behind - theirs_behind)


@pytest.mark.parametrize(("output_stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18))])
def test_rates_follow_the_output_stride(output_stride: int, rates: tuple[int, ...]) -> None:
    with torch.device("meta"):
        for net in (DeepLabV3(2, output_stride=output_stride), DeepLabV3Plus(2, output_stride=output_stride)):
            dilations = [m.dilation[0] for m in net.aspp.modules() if isinstance(m, nn.Conv2d)]
            assert tuple(d for d in dilations if d > 1) == rates


def test_pspnet_has_the_count_that_mmsegmentation_prints() -> None:
    """48.98 M: mmsegmentation's documentation of get_flops, its PSPNet on ResNet-50 with three 3×3 layers first."""
    with torch.device("meta"):
        assert round(count(PSPNet(19, backbone="resnet50c")) / 1e6, 2) == 48.98


@torch.no_grad()
def test_the_pyramid_is_adaptive_pooling_and_bilinear_up_sampling() -> None:
    pyramid = PyramidPooling(8, (1, 2, 3, 6)).eval()
    features = torch.randn(2, 8, 7, 11)
    expected = [features]
    for side, branch in zip((1, 2, 3, 6), pyramid.branches, strict=True):
        means = branch(F.adaptive_avg_pool2d(features, side))
        expected.append(F.interpolate(means, size=(7, 11), mode="bilinear", align_corners=False))
    assert torch.allclose(pyramid(features), torch.cat(expected, dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("deeplab_v1", {"dilation": 0}, "deeplab_v1: dilation is 0; allowed are whole numbers from 1"),
        ("deeplab_v2", {"fusion": "max"}, "fusion is 'max'; allowed are sum, concat"),
        ("deeplab_v2", {"rates": ()}, "rates is []"),
        ("deeplab_v3", {"output_stride": 32}, "output_stride is 32; allowed are 8 (finer) and 16 (faster)"),
        ("deeplab_v3", {"rates": (6, 0)}, "deeplab_v3: rates is [6, 0]"),
        ("deeplab_v3", {"dropout": 1.0}, "dropout is 1.0; allowed are numbers from 0 to below 1"),
        ("deeplab_v3", {"backbone": "resnet500"}, "timm has no backbone 'resnet500'. Did you mean"),
        ("deeplab_v3_plus", {"backbone": "vgg16_bn", "output_stride": 8}, "Choose"),
        ("pspnet", {"bins": (1, 0)}, "bins is [1, 0]"),
    ],
)
def test_wrong_arguments_are_refused_by_name(name: str, args: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        MODELS[name](3, **args)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "output_stride"), [("xception41", 16), ("mobilenetv2_035", 8), ("resnext50_32x4d", 8)]
)
def test_backbones_train_dilated_groups_by_taps(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        net = Backbone(name, output_stride=output_stride)
    grouped = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and m.dilation[0] > 1]
    assert grouped
    assert all(isinstance(m, DilatedConv2d) for m in grouped)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["deeplab_v1", "deeplab_v2", "deeplab_v3", "deeplab_v3_plus", "pspnet", "denseaspp", "hrnet", "hrnet_ocr"],
)
@torch.no_grad()
def test_it_exports_with_dynamic_sizes(name: str) -> None:
    model = Segmenter(MODELS[name](4, **ENTRIES[name]), labels=space(4), model={"name": name})
    with_real_statistics(model, pictures(2, 65, 97))
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 65, 97),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 65, 97), (3, 64, 128), (1, 90, 41)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4
