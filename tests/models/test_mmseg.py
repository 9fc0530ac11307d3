"""Weight files of mmsegmentation: every tensor finds its place, in the nets that are the same in both.

That the scores are the library's as well was checked with its wheel (1.2.2): equal within 2e-6 of their size for all
nets below, for HRNet with bilinear up-sampling between its branches, for Swin at sizes that its windows divide.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import PatchMerging

from segwright.contracts import UserError
from segwright.models import build_architecture
from segwright.models.convert import start_from
from segwright.models.layouts import RENAMINGS, match_tensors
from segwright.models.mmseg import swin_tensors
from tests.models import mmseg_files as files
from tests.models.conftest import space
from tests.models.test_convert import segmenter

SWIN = {"backbone": "swin_tiny_patch4_window7_224"}
BEIT = {"backbone": "beit_base_patch16_224", "tile": 640, "channels": 768, "blocks": (3, 5, 7, 11)}
POSITIONS = ("*.relative_position_index",)  # tables that follow from the window's size
BOUNDARY = ("decode_head.d_head.*", "decode_head.d_cls_seg.*")  # trained with maps of boundaries there
NETS: list[tuple[str, dict[str, Any], Callable[[], files.Shapes], tuple[str, ...], dict[str, str]]] = [
    (
        "pspnet",
        {"backbone": "resnet50c"},
        files.pspnet,
        (),
        {
            "backbone.stem.6.weight": "backbone.net.conv1.6.weight",
            "backbone.stem.7.bias": "backbone.net.bn1.bias",
            "decode_head.psp_modules.2.1.bn.running_var": "pyramid.branches.2.1.running_var",
            "auxiliary_head.conv_seg.weight": "auxiliary.4.weight",
        },
    ),
    (
        "upernet",
        {"backbone": "resnet50c"},
        files.upernet_r50,
        (),
        {
            "decode_head.fpn_convs.1.conv.weight": "smooth.1.0.weight",
            "decode_head.bottleneck.bn.bias": "context.1.bias",
        },
    ),
    (
        "upernet",
        SWIN,
        files.upernet_swin_tiny,
        POSITIONS,
        {
            "backbone.norm2.weight": "norms.2.weight",
            "backbone.stages.0.downsample.norm.weight": "backbone.net.layers_1.downsample.norm.weight",
            "backbone.stages.2.blocks.5.ffn.layers.1.bias": "backbone.net.layers_2.blocks.5.mlp.fc2.bias",
        },
    ),
    (
        "upernet",
        {"backbone": "convnext_tiny"},
        files.upernet_convnext_tiny,
        (),
        {
            "backbone.downsample_layers.0.1.bias": "backbone.net.stem_1.bias",
            "backbone.stages.2.8.norm.weight": "backbone.net.stages_2.blocks.8.norm.weight",
            "backbone.stages.1.0.gamma": "backbone.net.stages_1.blocks.0.gamma",
        },
    ),
    (
        "upernet",
        BEIT,
        files.upernet_beit_base,
        POSITIONS,
        {
            "backbone.layers.11.gamma_2": "backbone.plain.net.blocks.11.gamma_2",
            "backbone.layers.3.ln2.bias": "backbone.plain.net.blocks.3.norm2.bias",
            "neck.upsample_4x.3.weight": "backbone.up4.3.weight",
        },
    ),
    ("hrnet", {}, files.hrnet, (), {"decode_head.convs.0.conv.weight": "mix.0.weight"}),
    (
        "hrnet_ocr",
        {},
        files.hrnet_ocr,
        (),
        {
            "decode_head.1.object_context_block.key_project.1.conv.weight": "context.key.3.weight",
            "decode_head.1.object_context_block.query_project.1.bn.bias": "context.query.4.bias",
            "decode_head.0.conv_seg.bias": "regions.3.bias",
        },
    ),
    (
        "bisenet_v1",
        {},
        files.bisenet_v1,
        (),
        {
            "backbone.spatial_path.layer3.conv.weight": "spatial.2.0.weight",
            "backbone.context_path.arm32.atten_conv_layer.1.bn.bias": "context.refine32.gate.1.bias",
            "auxiliary_head.1.convs.0.conv.weight": "auxiliary.1.0.weight",
        },
    ),
    (
        "bisenet_v2",
        {"auxiliary": False},
        files.bisenet_v2,
        ("auxiliary_head.*",),
        {
            "backbone.detail.detail_branch.2.1.conv.weight": "detail.6.0.weight",
            "backbone.semantic.stage4.0.dwconv.1.bn.weight": "semantic.3.0.layers.6.weight",
            "backbone.bga.semantic_conv.0.conv.weight": "fuse.semantic_up.0.weight",
        },
    ),
    (
        "ddrnet",
        {},
        files.ddrnet_slim,
        (),
        {
            "backbone.stem.4.1.conv2.bn.bias": "stem.8.layers.4.bias",
            "backbone.spp.scales.3.1.bn.weight": "deep.1.levels.3.1.weight",
            "backbone.down_2.1.conv.weight": "to_context.1.3.weight",
        },
    ),
    (
        "pidnet",
        {},
        files.pidnet,
        BOUNDARY,
        {
            "backbone.pag_1.f_i.conv.weight": "select.0.context.0.weight",
            "backbone.p_branch_layers.2.0.conv3.bn.bias": "fine.layers.7.bias",
            "backbone.d_branch_layers.2.0.conv3.bn.bias": "edge.layers.7.bias",
        },
    ),
    (
        "pidnet",
        {"variant": "l"},
        lambda: files.pidnet(large=True),
        BOUNDARY,
        {
            "backbone.dfm.conv.conv.weight": "fuse.mix.2.weight",
            "backbone.stem.4.2.conv1.conv.weight": "stem.12.layers.0.weight",
        },
    ),
]


@pytest.mark.parametrize(
    ("name", "args", "theirs", "without", "pairs"), NETS, ids=lambda v: v if type(v) is str else ""
)
def test_every_tensor_finds_its_place(
    name: str, args: dict[str, Any], theirs: Callable[[], files.Shapes], without: tuple[str, ...], pairs: dict[str, str]
) -> None:
    shapes = theirs()
    classes = shapes[next(n for n in shapes if n.endswith("decode_head.conv_seg.bias") or "1.conv_seg.bias" in n)][0]
    with torch.device("meta"):
        expected = build_architecture(name, classes, args).state_dict()
        found = {f"module.{n}": torch.empty(shape) for n, shape in shapes.items()}
    state, report = match_tensors(expected, found, RENAMINGS[name])
    assert set(state) == set(expected)
    assert (report.missing, dict(report.mismatched)) == ((), {})
    left = [n.removeprefix("module.") for n in report.unexpected]
    assert [n for n in left if not any(fnmatchcase(n, pattern) for pattern in without)] == []
    assert len(shapes) == len(expected) + len(left)
    for there, here in pairs.items():
        assert report.renamed[f"module.{there}"] == here


def test_patch_merging_reads_its_inputs_in_timm_s_order() -> None:
    """mmsegmentation gathers 2×2 pixels by `unfold`, then applies norm and linear layer to the columns."""
    ours = PatchMerging(6)
    weight, scale, shift = torch.randn(12, 24), torch.randn(24), torch.randn(24)
    name = "backbone.stages.0.downsample"
    found = {f"{name}.reduction.weight": weight, f"{name}.norm.weight": scale, f"{name}.norm.bias": shift}
    renamed = {n.rpartition("downsample.")[2]: t for n, t in swin_tensors(found).items()}
    ours.load_state_dict(renamed)
    image = torch.randn(2, 6, 4, 8)
    columns = F.unfold(image, 2, stride=2).mT
    theirs = F.linear(F.layer_norm(columns, (24,), scale, shift), weight)
    with torch.no_grad():
        assert torch.allclose(ours(image.permute(0, 2, 3, 1)).flatten(1, 2), theirs, atol=1e-5)


def test_our_own_swin_stays_as_it_is() -> None:
    with torch.device("meta"):
        net = build_architecture("upernet", 3, SWIN | {"channels": 8})
    state = {n: torch.empty(t.shape) for n, t in net.state_dict().items() if "downsample" in n}
    found, _ = match_tensors(net.state_dict(), state, RENAMINGS["upernet"])
    assert all(found[n] is state[n] for n in state)


def test_a_net_that_differs_there_gives_its_backbone_when_asked(tmp_path: Path) -> None:
    """DeepLab v3+: what stays out is named; the three 3×3 at the start are found as well."""
    found = {n: torch.rand(s) for n, s in files.resnet50("backbone").items()}
    found["decode_head.bottleneck.conv.weight"] = torch.zeros(4, 4, 3, 3)
    torch.save({"state_dict": found}, tmp_path / "mmseg.pth")
    ours = segmenter("deeplab_v3_plus", space(3), {"backbone": "resnet50c", "channels": 8, "fine": 8})
    with pytest.raises(UserError, match="have no partner. Nothing was loaded"):
        start_from(ours, tmp_path / "mmseg.pth")
    heads = [f"missing:{part}.*" for part in ("aspp", "detail", "decoder", "classify")]
    done = start_from(ours, tmp_path / "mmseg.pth", allow=[*heads, "decode_head.*"])
    assert done.report.loaded == len(found) - 1
    assert torch.equal(ours.architecture.state_dict()["backbone.net.bn1.weight"], found["backbone.stem.7.weight"])
