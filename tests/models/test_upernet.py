"""UPerNet and the linear head: the nets of public implementations, backbones of every kind, tiles, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from torch import nn

from segwright.contracts import UserError
from segwright.models import Segmenter
from segwright.models.backbones import Backbone, PlainBackbone, in_tiles
from segwright.models.linear_head import LinearHead
from segwright.models.upernet import UPerNet
from tests.models.conftest import pictures, space, with_real_statistics


@pytest.mark.parametrize(
    ("classes", "args", "count"),
    [  # of mmsegmentation 1.2.2's configurations, auxiliary head included, counted with its code
        (19, {"backbone": "resnet50c"}, 66_415_238),
        (150, {"backbone": "swin_tiny_patch4_window7_224"}, 59_941_862),  # the paper's table: 60 M
        (
            150,
            {"backbone": "beit_base_patch16_224", "tile": 640, "channels": 768, "blocks": (3, 5, 7, 11)},
            163_407_980,
        ),
    ],
)
def test_parameters_are_those_of_the_public_nets(classes: int, args: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        net = UPerNet(classes, **args)
    assert sum(p.numel() for p in net.parameters()) == count


def test_a_linear_head_adds_one_layer() -> None:
    """DINOv2's ViT-S/14 has 22,056,192 parameters without its mask token and classifier."""
    with torch.device("meta"):
        net = LinearHead(19)
    assert sum(p.numel() for p in net.parameters()) == 22_056_192 + 19 * 385


@torch.no_grad()
def test_it_is_the_upernet_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    widths = [24, 32, 48, 64]  # timm's test_convnext
    backbone = transformers.ConvNextConfig(
        hidden_sizes=widths,
        depths=[1, 2, 4, 2],
        hidden_act="gelu_pytorch_tanh",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, num_labels=5, auxiliary_in_channels=48, auxiliary_channels=8
    )
    theirs = transformers.UperNetForSemanticSegmentation(config).eval()
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
        elif isinstance(part, nn.LayerNorm):
            part.weight.uniform_(0.5, 1.5)
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    ours = UPerNet(5, backbone="test_convnext", channels=16).eval()
    ours.load_state_dict({_from_transformers(name): tensor for name, tensor in theirs.state_dict().items()})
    image = torch.randn(2, 3, 64, 96)
    expected = theirs(pixel_values=image).logits  # enlarged to the picture's size at the end
    full = nn.functional.interpolate(ours(image).logits_BKhw, size=(64, 96), mode="bilinear", align_corners=False)
    assert expected.std() > 0.01
    assert (full - expected).abs().max() <= 1e-5 * expected.abs().max()
    auxiliary = ours.train()(image).auxiliary
    assert [tuple(a.shape) for a in auxiliary] == [(2, 5, 4, 6)]


def _from_transformers(name: str) -> str:
    """A name of UperNetForSemanticSegmentation with ConvNeXt, spelled as ours."""
    for old, new in (
        (r"backbone\.embeddings\.patch_embeddings", "backbone.net.stem_0"),
        (r"backbone\.embeddings\.layernorm", "backbone.net.stem_1"),
        (r"backbone\.encoder\.stages\.(\d)\.layers", r"backbone.net.stages_\1.blocks"),
        (r"backbone\.encoder\.stages\.(\d)\.downsampling_layer", r"backbone.net.stages_\1.downsample"),
        (r"backbone\.hidden_states_norms\.stage1", "norms.0"),
        (r"backbone\.hidden_states_norms\.stage2", "norms.1"),
        (r"backbone\.hidden_states_norms\.stage3", "norms.2"),
        (r"backbone\.hidden_states_norms\.stage4", "norms.3"),
        ("layer_scale_parameter", "gamma"),
        ("dwconv", "conv_dw"),
        ("layernorm", "norm"),
        ("pwconv", "mlp.fc"),
        (r"decode_head\.psp_modules\.(\d)\.1", r"pyramid.branches.\1"),
        (r"decode_head\.bottleneck", "context"),
        (r"decode_head\.lateral_convs", "lateral"),
        (r"decode_head\.fpn_convs", "smooth"),
        (r"decode_head\.fpn_bottleneck", "fuse"),
        (r"decode_head\.classifier", "classify"),
        (r"auxiliary_head\.convs\.0", "auxiliary"),
        (r"auxiliary_head\.classifier", "auxiliary.4"),
        (r"\.conv\.", ".0."),
        (r"\.batch_norm\.", ".1."),
    ):
        name = re.sub(old, new, name)
    return name


@torch.no_grad()
def test_a_linear_head_sees_the_normalised_patches() -> None:
    net = LinearHead(5, backbone="test_vit").eval()
    vit = timm.create_model("test_vit", dynamic_img_size=True, num_classes=0).eval()
    missing = vit.load_state_dict(net.backbone.net.state_dict(), strict=False).missing_keys
    assert [n for n in missing if not n.startswith("fc_norm")] == []
    image = torch.randn(2, 3, 64, 96)
    patches_BPC = vit.forward_features(image)[:, vit.num_prefix_tokens :]
    weight, bias = net.classify.weight.flatten(1), net.classify.bias
    expected = (patches_BPC @ weight.T + bias).unflatten(1, (4, 6)).movedim(-1, 1)
    assert torch.allclose(net(image).logits_BKhw, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stride", "strides"),
    [
        ("test_convnext", 32, (4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", 32, (4, 8, 16, 32)),  # gives its channels last
        ("vit_tiny_patch16_224", 32, (4, 8, 16, 32)),
        ("eva02_tiny_patch14_224", 28, (3, 7, 14, 28)),  # two patches of 14; 3.5 rounded down
    ],
)
def test_any_backbone_becomes_four_scales(name: str, stride: int, strides: tuple[int, ...]) -> None:
    with torch.device("meta"):
        net = UPerNet(3, backbone=name, channels=8)
        assert (net.stride, net.backbone.strides) == (stride, strides)
        features = net.backbone(torch.empty(2, 3, 3 * stride, 5 * stride))
    assert [x.shape[1] for x in features] == list(net.backbone.channels)
    assert [tuple(x.shape[2:]) for x in features] == [(24, 40), (12, 20), (6, 10), (3, 5)]


@torch.no_grad()
def test_pictures_of_any_size_suit_patches_of_14() -> None:
    net = UPerNet(3, backbone="eva02_tiny_patch14_224", channels=8)
    model = Segmenter(net, labels=space(3), model={"name": "upernet"}).eval()
    assert model(pictures(1, 65, 97)).shape == (1, 3, 65, 97)


@torch.no_grad()
def test_tiles_are_seen_one_by_one() -> None:
    backbone = PlainBackbone("test_vit", blocks=2, tile=32).eval()
    image = torch.randn(2, 3, 64, 96)
    first, last = backbone(image)
    assert first.shape == last.shape == (2, 64, 4, 6)
    for row in range(2):
        for column in range(3):
            part = backbone(image[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32])[1]
            assert torch.allclose(last[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2], part, atol=1e-5)
    same = in_tiles(lambda tiles: [tiles], image, 16)
    assert torch.equal(same[0], image)


@torch.no_grad()
def test_a_backbone_of_one_size_works_in_tiles() -> None:
    net = LinearHead(3, backbone="beit_base_patch16_224", tile=32)
    assert net.stride == 32
    assert net(torch.randn(1, 3, 64, 32)).logits_BKhw.shape == (1, 3, 4, 2)


@torch.no_grad()
def test_one_block_may_feed_all_scales() -> None:
    backbone = PlainBackbone("test_vit", blocks=(-1, -1, 0)).eval()
    last, again, first = backbone(torch.randn(1, 3, 32, 32))
    assert torch.equal(last, again)
    assert not torch.equal(last, first)


def test_transformers_are_told_from_nets_with_batch_norm() -> None:
    with torch.device("meta"):
        bare = {n: Backbone(n).unnormalised for n in ("resnet18", "convnext_tiny", "swin_tiny_patch4_window7_224")}
    assert bare == {"resnet18": False, "convnext_tiny": True, "swin_tiny_patch4_window7_224": True}


@pytest.mark.parametrize(
    ("net", "args", "words"),
    [
        (UPerNet, {"backbone": "beit_base_patch16_224"}, "does not take pictures of 64×96 .* as `tile`"),
        (UPerNet, {"backbone": "maxvit_tiny_tf_224"}, "does not take pictures of 64×96"),
        (
            UPerNet,
            {"backbone": "beit_base_patch16_224", "tile": 100},
            "tile is 100; .* multiples of its patches' side 16",
        ),
        (
            UPerNet,
            {"backbone": "beit_base_patch16_224", "tile": 16},
            "tile is 16, but the coarsest scale needs multiples of 32",
        ),
        (UPerNet, {"backbone": "resnet18", "tile": 64}, "cannot be built: .*img_size"),
        (UPerNet, {"tile": 0}, "tile is 0"),
        (UPerNet, {"backbone": "vit_small_r26_s32_224"}, r"features at the strides \[32, 32, 32, 32\]"),
        (UPerNet, {"backbone": "test_vit", "blocks": (1, 2, 3)}, r"blocks is \[1, 2, 3\]; it takes four"),
        (UPerNet, {"backbone": "test_vit", "blocks": (1, 2, 3, 9)}, "has the blocks 0 to 5"),
        (UPerNet, {"backbone": "resnet18", "blocks": (1, 2, 3, 4)}, "'resnet18' has scales of its own"),
        (UPerNet, {"backbone": "test_vitt"}, "timm has no backbone 'test_vitt'. Did you mean"),
        (UPerNet, {"bins": ()}, r"bins is \[\]"),
        (UPerNet, {"drop_path": 1.0}, "drop_path is 1.0"),
        (LinearHead, {"backbone": "test_vit", "levels": 9}, "has the blocks 0 to 5"),
        (LinearHead, {"levels": 0}, "levels is 0"),
        (LinearHead, {"drop_path": -0.1}, "drop_path is -0.1"),
        (LinearHead, {"backbone_weights": "in22k"}, "backbone weights are 'in22k'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(net: type[nn.Module], args: dict[str, Any], words: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=words):
        net(3, **args)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "args"),
    [
        (UPerNet, {"backbone": "test_convnext", "channels": 16}),
        (UPerNet, {"backbone": "test_vit", "channels": 16}),
        (LinearHead, {"backbone": "test_vit"}),
    ],
)
@torch.no_grad()
def test_it_exports_with_dynamic_sizes(net: type[nn.Module], args: dict[str, Any]) -> None:
    model = Segmenter(net(4, **args), labels=space(4), model={"name": "upernet"})
    with_real_statistics(model, pictures(2, 113, 177))
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 113, 177),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 113, 177), (3, 64, 128), (1, 90, 41)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4
