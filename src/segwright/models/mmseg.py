"""Names of mmsegmentation's weight files (1.x) -> ours, for the nets that are the same in both.

Rows: a pattern of a module's name there -> its name here. `a.0|1` stands for a block of convolution and BatchNorm: the
convolution, which they call `conv`, is our `a.0`, and their `bn` is our `a.1`. The first row that fits counts; names
that no row fits stay as they are. (A dot of a pattern may be any character: no two names differ in that alone.)

Not the same nets there, so that no table can help: DeepLab v3 and v3+ (a 3×3 joins the pyramid's branches, where ours
and torchvision's have a 1×1), Fast-SCNN (BatchNorm behind the global mean, no dilation in the fusion), U-Net (a 1×1
behind each up-sampling, a 3×3 head), FCN (ResNets), ERFNet (a head of 3×3 and 1×1), ICNet (pools with other borders).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Rows = dict[str, str]
Renaming = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

FCN_HEAD: Rows = {r"decode_head.convs.0": "classify.0|1", r"decode_head.conv_seg": "classify.4"}
AUXILIARY: Rows = {r"auxiliary_head.convs.0": "auxiliary.0|1", r"auxiliary_head.conv_seg": "auxiliary.4"}
AUXILIARIES: Rows = {
    r"auxiliary_head.(\d).convs.0": r"auxiliary.\1.0|1",
    r"auxiliary_head.(\d).conv_seg": r"auxiliary.\1.4",
}
PYRAMID: Rows = {r"decode_head.psp_modules.(\d).1": r"pyramid.branches.\1.0|1", r"decode_head.conv_seg": "classify"}
RESNET: Rows = {
    r"backbone.stem.7": "backbone.net.bn1",
    r"backbone.stem.(\d)": r"backbone.net.conv1.\1",
    r"backbone.(.+)": r"backbone.net.\1",
}
"""mmsegmentation's ResNets begin with three 3×3: timm's resnet50c and resnet101c."""
SWIN: Rows = {
    r"backbone.patch_embed.projection": "backbone.net.patch_embed.proj",
    r"backbone.patch_embed.norm": "backbone.net.patch_embed.norm",
    **{
        rf"backbone.stages.{i}.downsample.(norm|reduction)": rf"backbone.net.layers_{i + 1}.downsample.\1"
        for i in range(3)
    },
    r"backbone.stages.(\d).blocks.(\d+).attn.w_msa(.*)": r"backbone.net.layers_\1.blocks.\2.attn\3",
    r"backbone.stages.(\d).blocks.(\d+).ffn.layers.0.0": r"backbone.net.layers_\1.blocks.\2.mlp.fc1",
    r"backbone.stages.(\d).blocks.(\d+).ffn.layers.1": r"backbone.net.layers_\1.blocks.\2.mlp.fc2",
    r"backbone.stages.(\d).blocks.(\d+).(norm\d)": r"backbone.net.layers_\1.blocks.\2.\3",
    r"backbone.norm(\d)": r"norms.\1",
}
MERGING = r"backbone\.stages\.\d\.downsample\..*"
CONVNEXT: Rows = {
    r"backbone.downsample_layers.0.(\d)": r"backbone.net.stem_\1",
    r"backbone.downsample_layers.(\d).(\d)": r"backbone.net.stages_\1.downsample.\2",
    r"backbone.stages.(\d).(\d+).depthwise_conv": r"backbone.net.stages_\1.blocks.\2.conv_dw",
    r"backbone.stages.(\d).(\d+).pointwise_conv(\d)": r"backbone.net.stages_\1.blocks.\2.mlp.fc\3",
    r"backbone.stages.(\d).(\d+).grn": r"backbone.net.stages_\1.blocks.\2.mlp.grn",
    r"backbone.stages.(\d).(\d+)(|.norm)": r"backbone.net.stages_\1.blocks.\2\3",
    r"backbone.norm(\d)": r"norms.\1",
}
BEIT: Rows = {
    r"backbone.patch_embed.projection": "backbone.plain.net.patch_embed.proj",
    r"backbone.layers.(\d+).ln(\d)": r"backbone.plain.net.blocks.\1.norm\2",
    r"backbone.layers.(\d+).ffn.layers.0.0": r"backbone.plain.net.blocks.\1.mlp.fc1",
    r"backbone.layers.(\d+).ffn.layers.1": r"backbone.plain.net.blocks.\1.mlp.fc2",
    r"backbone.layers.(\d+)(|.attn|.attn.qkv|.attn.proj)": r"backbone.plain.net.blocks.\1\2",
    r"backbone": "backbone.plain.net",
    r"neck.upsample_4x.(\d)": r"backbone.up4.\1",
    r"neck.upsample_2x.0": "backbone.up2",
}
UPER_HEAD: Rows = {
    **PYRAMID,
    r"decode_head.bottleneck": "context.0|1",
    r"decode_head.lateral_convs.(\d)": r"lateral.\1.0|1",
    r"decode_head.fpn_convs.(\d)": r"smooth.\1.0|1",
    r"decode_head.fpn_bottleneck": "fuse.0|1",
    **AUXILIARY,
}
HRNET: Rows = {r"backbone.(.+)": r"backbone.net.net.\1"}
OCR: Rows = {
    r"decode_head.0.convs.0": "regions.0|1",
    r"decode_head.0.conv_seg": "regions.3",
    r"decode_head.1.bottleneck": "pixels.0|1",
    **{
        rf"decode_head.1.object_context_block.{kind}_project.{i}": f"context.{kind}.{3 * i}|{3 * i + 1}"
        for kind in ("query", "key")
        for i in range(2)
    },
    r"decode_head.1.object_context_block.value_project": "context.value.0|1",
    r"decode_head.1.object_context_block.out_project": "context.widen.0|1",
    r"decode_head.1.object_context_block.bottleneck": "fuse.0|1",
    r"decode_head.1.conv_seg": "classify",
}
BISENET_V1: Rows = {
    **{rf"backbone.spatial_path.layer{i + 1}": f"spatial.{i}.0|1" for i in range(4)},
    r"backbone.context_path.backbone.(.+)": r"context.backbone.net.\1",
    r"backbone.context_path.arm(\d+).conv_layer": r"context.refine\1.conv.0|1",
    r"backbone.context_path.arm(\d+).atten_conv_layer.1": r"context.refine\1.gate.0|1",
    r"backbone.context_path.conv_head(\d+)": r"context.smooth\1.0|1",
    r"backbone.context_path.gap_conv.1": "context.mean.0|1",
    r"backbone.ffm.conv1": "fuse.mix.0|1",
    r"backbone.ffm.conv_atten.0": "fuse.gate.0|1",
    **FCN_HEAD,
    **AUXILIARIES,
}


def _bisenet_v2() -> Rows:
    rows: Rows = {}
    for stage, first in enumerate((0, 2, 5)):
        rows |= {rf"backbone.detail.detail_branch.{stage}.{k}": f"detail.{first + k}.0|1" for k in range(3)}
    rows |= {
        r"backbone.semantic.stage1.conv_first": "semantic.0.first.0|1",
        r"backbone.semantic.stage1.convs.(\d)": r"semantic.0.conv.\1.0|1",
        r"backbone.semantic.stage1.fuse_last": "semantic.0.join.0|1",
    }
    for stage in (2, 3, 4):
        theirs, ours = rf"backbone.semantic.stage{stage}", f"semantic.{stage - 1}"
        rows |= {
            rf"{theirs}.(\d).conv1": rf"{ours}.\1.layers.0|1",
            rf"{theirs}.(\d).dwconv.0": rf"{ours}.\1.layers.3|4",
            rf"{theirs}.0.dwconv.1": f"{ours}.0.layers.5|6",
            rf"{theirs}.0.conv2.0": f"{ours}.0.layers.8|9",
            rf"{theirs}.(\d).conv2.0": rf"{ours}.\1.layers.6|7",
            rf"{theirs}.0.shortcut.0.depthwise_conv": f"{ours}.0.shortcut.0|1",
            rf"{theirs}.0.shortcut.0.pointwise_conv": f"{ours}.0.shortcut.2|3",
        }
    for theirs, ours in (("detail_dwconv", "detail"), ("semantic_dwconv", "semantic")):
        rows |= {
            rf"backbone.bga.{theirs}.0.depthwise_conv": f"fuse.{ours}.0|1",
            rf"backbone.bga.{theirs}.0.pointwise_conv.conv": f"fuse.{ours}.2",
        }
    return rows | {
        r"backbone.semantic.stage4_CEBlock.gap.1": "context.mean.0",
        r"backbone.semantic.stage4_CEBlock.conv_gap": "context.mean.1|2",
        r"backbone.semantic.stage4_CEBlock.conv_last": "context.mix.0|1",
        r"backbone.bga.detail_down.0": "fuse.detail_down.0|1",
        r"backbone.bga.semantic_conv.0": "fuse.semantic_up.0|1",
        r"backbone.bga.conv": "fuse.mix.0|1",
        **FCN_HEAD,
    }


def _residual(theirs: str, ours: str) -> Rows:
    """A basic block or a bottleneck of DDRNet (`downsample.0`, `.1`) or PIDNet (`downsample.conv`, `.bn`)."""
    layers = {rf"{theirs}.conv{i + 1}": f"{ours}.layers.{3 * i}|{3 * i + 1}" for i in range(3)}
    return layers | {
        rf"{theirs}.downsample.([01])": rf"{ours}.shortcut.\1",
        rf"{theirs}.downsample": f"{ours}.shortcut.0|1",
    }


def _residuals(theirs: str, ours: str, count: int, *, first: int = 0) -> Rows:
    """Blocks one after the other; ours have a ReLU between them, which counts."""
    rows: Rows = {}
    for i in range(count):
        rows |= _residual(f"{theirs}.{i}", f"{ours}.{first + 2 * i}")
    return rows


def _two_branches(context: str, detail: str, *, few: int, many: int) -> Rows:
    """What DDRNet and PIDNet share: stem, two stages of both branches, the pyramid's parts; `few`, `many` blocks."""
    rows: Rows = {r"backbone.stem.([01])": r"stem.\1.0|1"}
    rows |= _residuals("backbone.stem.2", "stem", few, first=2)
    rows |= _residuals("backbone.stem.4", "stem", few, first=2 + 2 * few)
    for i in range(2):
        rows |= _residuals(f"backbone.{context}.{i}", f"context.{i}", many)
        rows |= _residuals(f"backbone.{detail}.{i}", f"detail.{i}", few)
    rows |= _residual(f"backbone.{context}.2.0", "deep.0")
    rows |= _residual(f"backbone.{detail}.2.0", "fine")
    pyramid = "deep.1" if context == "context_branch_layers" else "deep.2"
    return rows | {
        r"backbone.spp.scales.0": f"{pyramid}.levels.0.3|1",
        r"backbone.spp.scales.(\d).1": rf"{pyramid}.levels.\1.3|1",
        r"backbone.spp.processes.(\d)": rf"{pyramid}.process.\1.2|0",
        r"backbone.spp.processes": f"{pyramid}.process.2|0",
        r"backbone.spp.(compress|shortcut)(?:ion)?": rf"{pyramid}.\1.2|0",
    }


def _ddrnet() -> Rows:
    return _two_branches("context_branch_layers", "spatial_branch_layers", few=2, many=2) | {
        r"backbone.compression_1": "to_detail.0.0|1",
        r"backbone.compression_2": "to_detail.1.0|1",
        r"backbone.down_1": "to_context.0.0|1",
        r"backbone.down_2.0": "to_context.1.0|1",
        r"backbone.down_2.1": "to_context.1.3|4",
        r"decode_head.head.0": "classify.2|0",
        r"decode_head.head.1": "classify.3",
        r"decode_head.conv_seg": "classify.5",
        r"decode_head.aux_head.0": "auxiliary.2|0",
        r"decode_head.aux_head.1": "auxiliary.3",
        r"decode_head.aux_cls_seg": "auxiliary.5",
    }


def _pidnet(*, large: bool) -> Rows:
    rows = _two_branches("i_branch_layers", "p_branch_layers", few=3 if large else 2, many=4 if large else 3)
    for i in range(2):
        rows |= {rf"backbone.compression_{i + 1}": f"compress.{i}.0|1"}
        rows |= {rf"backbone.pag_{i + 1}.f_p": f"select.{i}.detail.0|1"}
        rows |= {rf"backbone.pag_{i + 1}.f_i": f"select.{i}.context.0|1"}
        rows |= {rf"backbone.diff_{i + 1}": f"differ.{i}.0|1"}
    rows |= _residual("backbone.d_branch_layers.0", "boundary.0")
    rows |= _residual("backbone.d_branch_layers.1" if large else "backbone.d_branch_layers.1.0", "boundary.1")
    rows |= _residual("backbone.d_branch_layers.2.0", "edge")
    rows |= _residual("backbone.i_branch_layers.2.1", "deep.1")
    for theirs, ours in (("i_head", "classify"), ("p_head", "auxiliary")):
        rows |= {rf"decode_head.{theirs}.conv": f"{ours}.2|0", rf"decode_head.{theirs}.norm": f"{ours}.3"}
    return rows | {
        r"backbone.dfm.f_p": "fuse.detail.0|1",
        r"backbone.dfm.f_i": "fuse.context.0|1",
        r"backbone.dfm.conv": "fuse.mix.2|0",
        r"decode_head.conv_seg": "classify.5",
        r"decode_head.p_cls_seg": "auxiliary.5",
    }


def renaming(rows: Rows) -> Renaming:
    """What gives every tensor of a state its name of ours."""
    compiled = [(re.compile(pattern), ours) for pattern, ours in rows.items()]

    def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {_renamed(name, compiled): tensor for name, tensor in state.items()}

    return rename


def _renamed(name: str, rows: Sequence[tuple[re.Pattern[str], str]]) -> str:
    module, _, parameter = name.rpartition(".")
    block, _, part = module.rpartition(".")
    for pattern, ours in rows:
        if "|" not in ours:
            if found := pattern.fullmatch(module):
                return f"{found.expand(ours)}.{parameter}"
        elif part in ("conv", "bn") and (found := pattern.fullmatch(block)):
            conv, _, norm = found.expand(ours).partition("|")
            return f"{conv if part == 'conv' else conv.rpartition('.')[0] + '.' + norm}.{parameter}"
    return name


def swin_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """UPerNet with Swin: our names, and the inputs of patch merging in the order that Swin's authors and timm have.

    The 2×2 pixels that become one are read there channel by channel (C, rows, columns), here column by column, then row
    by row, then channel.
    """
    renamed = zip(renaming(UPER_HEAD | SWIN)(state).items(), state, strict=False)
    return {
        ours: tensor.unflatten(-1, (-1, 2, 2)).transpose(-3, -1).flatten(-3)
        if re.fullmatch(MERGING, theirs) and tensor.shape[-1] % 4 == 0
        else tensor
        for (ours, tensor), theirs in renamed
    }


backbone_only = renaming(RESNET)
"""For nets whose head is another one there."""
RENAMINGS: dict[str, tuple[Renaming, ...]] = {
    "deeplab_v3_plus": (backbone_only,),
    "pspnet": (renaming(PYRAMID | {r"decode_head.bottleneck": "fuse.0|1"} | AUXILIARY | RESNET),),
    "upernet": (
        renaming(UPER_HEAD | RESNET),
        swin_tensors,
        renaming(UPER_HEAD | CONVNEXT),
        renaming(UPER_HEAD | BEIT),
    ),
    "hrnet": (renaming({r"decode_head.convs.0": "mix.0|1", r"decode_head.conv_seg": "classify"} | HRNET),),
    "hrnet_ocr": (renaming(OCR | HRNET),),
    "bisenet_v1": (renaming(BISENET_V1),),
    "bisenet_v2": (renaming(_bisenet_v2()),),
    "ddrnet": (renaming(_ddrnet()),),
    "pidnet": (renaming(_pidnet(large=False)), renaming(_pidnet(large=True))),
}
"""Architecture -> the spellings that its files may have."""
