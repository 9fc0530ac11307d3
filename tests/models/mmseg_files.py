"""What mmsegmentation 1.2.2 calls the tensors of its nets, and their shapes: written from its modules, not from ours.

Each function gives name -> shape of a whole state dict with auxiliary heads, for 19 classes (ADE20K's 150 for
transformers). The lists were compared with the state dicts of the library itself, and agree in every name and shape.
"""

from __future__ import annotations

from collections.abc import Sequence

Shapes = dict[str, tuple[int, ...]]
K = 19


def conv(name: str, out: int, channels: int, kernel: int = 1, *, bias: bool = False) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (out, channels, kernel, kernel)}
    return shapes | ({f"{name}.bias": (out,)} if bias else {})


def linear(name: str, out: int, channels: int, *, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (out, channels)}
    return shapes | ({f"{name}.bias": (out,)} if bias else {})


def layer_norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def batch_norm(name: str, channels: int) -> Shapes:
    statistics: Shapes = {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
    return layer_norm(name, channels) | statistics | {f"{name}.num_batches_tracked": ()}


def block(name: str, out: int, channels: int, kernel: int = 1, *, norm: int | None = None) -> Shapes:
    """mmcv's ConvModule; `norm` channels where its norm comes before the convolution."""
    return conv(f"{name}.conv", out, channels, kernel) | batch_norm(f"{name}.bn", norm or out)


def separable(name: str, out: int, channels: int) -> Shapes:
    return block(f"{name}.depthwise_conv", channels, 1, 3) | block(f"{name}.pointwise_conv", out, channels)


def fcn_head(name: str, out: int, channels: int, kernel: int = 3, *, convs: int = 1, classes: int = K) -> Shapes:
    shapes = conv(f"{name}.conv_seg", classes, out, bias=True)
    for i in range(convs):
        shapes |= block(f"{name}.convs.{i}", out, out if i else channels, kernel)
    return shapes


def plain_block(name: str, out: int, channels: int, *, narrow: int | None = None, shortcut: bool = False) -> Shapes:
    """A ResNet's basic block, or its bottleneck where `narrow` is given, with unnamed layers: conv1, bn1, ..."""
    if narrow is None:
        sizes = [(out, channels, 3), (out, out, 3)]
    else:
        sizes = [(narrow, channels, 1), (narrow, narrow, 3), (out, narrow, 1)]
    shapes: Shapes = {}
    for i, (o, c, k) in enumerate(sizes, 1):
        shapes |= conv(f"{name}.conv{i}", o, c, k) | batch_norm(f"{name}.bn{i}", o)
    if shortcut:
        shapes |= conv(f"{name}.downsample.0", out, channels) | batch_norm(f"{name}.downsample.1", out)
    return shapes


def resnet50(name: str) -> Shapes:
    """ResNetV1c: three 3×3 at the start."""
    shapes: Shapes = {}
    for index, (o, c) in zip((0, 3, 6), ((32, 3), (32, 32), (64, 32)), strict=True):
        shapes |= conv(f"{name}.stem.{index}", o, c, 3) | batch_norm(f"{name}.stem.{index + 1}", o)
    channels = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        narrow = 64 * 2**stage
        for i in range(count):
            at = f"{name}.layer{stage + 1}.{i}"
            shapes |= plain_block(at, 4 * narrow, channels, narrow=narrow, shortcut=i == 0)
            channels = 4 * narrow
    return shapes


def resnet18(name: str) -> Shapes:
    shapes = conv(f"{name}.conv1", 64, 3, 7) | batch_norm(f"{name}.bn1", 64)
    channels = 64
    for stage in range(4):
        out = 64 * 2**stage
        for i in range(2):
            shapes |= plain_block(f"{name}.layer{stage + 1}.{i}", out, channels, shortcut=i == 0 and stage > 0)
            channels = out
    return shapes


def pyramid(channels: int, out: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(4):
        shapes |= block(f"decode_head.psp_modules.{i}.1", out, channels)
    return shapes | block("decode_head.bottleneck", out, channels + 4 * out, 3)


def pspnet() -> Shapes:
    head = conv("decode_head.conv_seg", K, 512, bias=True) | pyramid(2048, 512)
    return resnet50("backbone") | head | fcn_head("auxiliary_head", 256, 1024)


def uper_head(channels: Sequence[int], out: int, classes: int) -> Shapes:
    shapes = conv("decode_head.conv_seg", classes, out, bias=True) | pyramid(channels[-1], out)
    for i, c in enumerate(channels[:-1]):
        shapes |= block(f"decode_head.lateral_convs.{i}", out, c) | block(f"decode_head.fpn_convs.{i}", out, out, 3)
    shapes |= block("decode_head.fpn_bottleneck", out, 4 * out, 3)
    return shapes | fcn_head("auxiliary_head", 256, channels[2], classes=classes)


def upernet_r50() -> Shapes:
    return resnet50("backbone") | uper_head((256, 512, 1024, 2048), 512, K)


def upernet_swin_tiny() -> Shapes:
    shapes = conv("backbone.patch_embed.projection", 96, 3, 4, bias=True)
    shapes |= layer_norm("backbone.patch_embed.norm", 96)
    widths = (96, 192, 384, 768)
    for stage, (wide, depth, heads) in enumerate(zip(widths, (2, 2, 6, 2), (3, 6, 12, 24), strict=True)):
        for i in range(depth):
            at = f"backbone.stages.{stage}.blocks.{i}"
            shapes |= layer_norm(f"{at}.norm1", wide) | layer_norm(f"{at}.norm2", wide)
            shapes |= {f"{at}.attn.w_msa.relative_position_bias_table": (13 * 13, heads)}
            shapes |= {f"{at}.attn.w_msa.relative_position_index": (49, 49)}
            shapes |= linear(f"{at}.attn.w_msa.qkv", 3 * wide, wide) | linear(f"{at}.attn.w_msa.proj", wide, wide)
            shapes |= linear(f"{at}.ffn.layers.0.0", 4 * wide, wide) | linear(f"{at}.ffn.layers.1", wide, 4 * wide)
        if stage < 3:
            shapes |= layer_norm(f"backbone.stages.{stage}.downsample.norm", 4 * wide)
            shapes |= linear(f"backbone.stages.{stage}.downsample.reduction", 2 * wide, 4 * wide, bias=False)
        shapes |= layer_norm(f"backbone.norm{stage}", wide)
    return shapes | uper_head(widths, 512, 150)


def upernet_convnext_tiny() -> Shapes:
    """The backbone is mmpretrain's."""
    shapes = conv("backbone.downsample_layers.0.0", 96, 3, 4, bias=True)
    shapes |= layer_norm("backbone.downsample_layers.0.1", 96)
    widths = (96, 192, 384, 768)
    for stage, (wide, depth) in enumerate(zip(widths, (3, 3, 9, 3), strict=True)):
        if stage:
            shapes |= layer_norm(f"backbone.downsample_layers.{stage}.0", wide // 2)
            shapes |= conv(f"backbone.downsample_layers.{stage}.1", wide, wide // 2, 2, bias=True)
        for i in range(depth):
            at = f"backbone.stages.{stage}.{i}"
            shapes |= {f"{at}.gamma": (wide,)} | layer_norm(f"{at}.norm", wide)
            shapes |= {f"{at}.depthwise_conv.weight": (wide, 1, 7, 7), f"{at}.depthwise_conv.bias": (wide,)}
            shapes |= linear(f"{at}.pointwise_conv1", 4 * wide, wide)
            shapes |= linear(f"{at}.pointwise_conv2", wide, 4 * wide)
        shapes |= layer_norm(f"backbone.norm{stage}", wide)
    return shapes | uper_head(widths, 512, 150)


def upernet_beit_base() -> Shapes:
    """For pictures of 640×640: 40×40 patches and the class token."""
    shapes: Shapes = {"backbone.cls_token": (1, 1, 768)}
    shapes |= conv("backbone.patch_embed.projection", 768, 3, 16, bias=True)
    for i in range(12):
        at = f"backbone.layers.{i}"
        shapes |= {f"{at}.gamma_1": (768,), f"{at}.gamma_2": (768,)}
        shapes |= layer_norm(f"{at}.ln1", 768) | layer_norm(f"{at}.ln2", 768)
        shapes |= {f"{at}.attn.q_bias": (768,), f"{at}.attn.v_bias": (768,)}
        shapes |= {f"{at}.attn.relative_position_bias_table": (79 * 79 + 3, 12)}
        shapes |= {f"{at}.attn.relative_position_index": (1601, 1601)}
        shapes |= linear(f"{at}.attn.qkv", 2304, 768, bias=False) | linear(f"{at}.attn.proj", 768, 768)
        shapes |= linear(f"{at}.ffn.layers.0.0", 3072, 768) | linear(f"{at}.ffn.layers.1", 768, 3072)
    for name in ("upsample_4x.0", "upsample_4x.3", "upsample_2x.0"):
        shapes |= conv(f"neck.{name}", 768, 768, 2, bias=True)
    return shapes | batch_norm("neck.upsample_4x.1", 768) | uper_head((768,) * 4, 768, 150)


def hrnet48_backbone() -> Shapes:
    shapes = conv("backbone.conv1", 64, 3, 3) | batch_norm("backbone.bn1", 64)
    shapes |= conv("backbone.conv2", 64, 64, 3) | batch_norm("backbone.bn2", 64)
    for i in range(4):
        shapes |= plain_block(f"backbone.layer1.{i}", 256, 64 if i == 0 else 256, narrow=64, shortcut=i == 0)

    def layer(name: str, out: int, channels: int, kernel: int) -> Shapes:
        return conv(f"{name}.0", out, channels, kernel) | batch_norm(f"{name}.1", out)

    shapes |= layer("backbone.transition1.0", 48, 256, 3) | layer("backbone.transition1.1.0", 96, 256, 3)
    shapes |= layer("backbone.transition2.2.0", 192, 96, 3) | layer("backbone.transition3.3.0", 384, 192, 3)
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        for module in range(modules):
            at = f"backbone.stage{stage}.{module}"
            for branch in range(stage):
                wide = 48 * 2**branch
                for i in range(4):
                    shapes |= plain_block(f"{at}.branches.{branch}.{i}", wide, wide)
                for source in range(stage):
                    fuse, given = f"{at}.fuse_layers.{branch}.{source}", 48 * 2**source
                    if source > branch:
                        shapes |= layer(fuse, wide, given, 1)
                    for step in range(branch - source):
                        last = step == branch - source - 1
                        shapes |= layer(f"{fuse}.{step}", wide if last else given, given, 3)
    return shapes


def hrnet() -> Shapes:
    return hrnet48_backbone() | fcn_head("decode_head", 720, 720, 1)


def hrnet_ocr() -> Shapes:
    at = "decode_head.1.object_context_block"
    shapes = hrnet48_backbone() | fcn_head("decode_head.0", 720, 720, 1)
    shapes |= conv("decode_head.1.conv_seg", K, 512, bias=True) | block("decode_head.1.bottleneck", 512, 720, 3)
    for kind in ("key", "query"):
        shapes |= block(f"{at}.{kind}_project.0", 256, 512) | block(f"{at}.{kind}_project.1", 256, 256)
    shapes |= block(f"{at}.value_project", 256, 512) | block(f"{at}.out_project", 512, 256)
    return shapes | block(f"{at}.bottleneck", 512, 1024)


def bisenet_v1() -> Shapes:
    shapes = resnet18("backbone.context_path.backbone")
    for i, (o, c, k) in enumerate(((64, 3, 7), (64, 64, 3), (64, 64, 3), (128, 64, 1)), 1):
        shapes |= block(f"backbone.spatial_path.layer{i}", o, c, k)
    for arm, channels in (("arm16", 256), ("arm32", 512)):
        at = f"backbone.context_path.{arm}"
        shapes |= block(f"{at}.conv_layer", 128, channels, 3) | block(f"{at}.atten_conv_layer.1", 128, 128)
    for head in ("conv_head32", "conv_head16"):
        shapes |= block(f"backbone.context_path.{head}", 128, 128, 3)
    shapes |= block("backbone.context_path.gap_conv.1", 128, 512)
    shapes |= block("backbone.ffm.conv1", 256, 256) | block("backbone.ffm.conv_atten.0", 256, 256)
    shapes |= fcn_head("auxiliary_head.0", 64, 128) | fcn_head("auxiliary_head.1", 64, 128)
    return shapes | fcn_head("decode_head", 256, 256)


def bisenet_v2() -> Shapes:
    shapes: Shapes = {}
    for stage, sizes in enumerate(([(64, 3), (64, 64)], [(64, 64)] * 3, [(128, 64), (128, 128), (128, 128)])):
        for i, (o, c) in enumerate(sizes):
            shapes |= block(f"backbone.detail.detail_branch.{stage}.{i}", o, c, 3)
    first = "backbone.semantic.stage1"
    shapes |= block(f"{first}.conv_first", 16, 3, 3) | block(f"{first}.fuse_last", 16, 32, 3)
    shapes |= block(f"{first}.convs.0", 8, 16) | block(f"{first}.convs.1", 16, 8, 3)
    channels = 16
    for stage, (out, count) in enumerate(((32, 2), (64, 2), (128, 4)), 2):
        for i in range(count):
            at = f"backbone.semantic.stage{stage}.{i}"
            shapes |= block(f"{at}.conv1", channels, channels, 3) | block(f"{at}.dwconv.0", 6 * channels, 1, 3)
            if i == 0:
                shapes |= block(f"{at}.dwconv.1", 6 * channels, 1, 3) | separable(f"{at}.shortcut.0", out, channels)
            shapes |= block(f"{at}.conv2.0", out, 6 * channels)
            channels = out
    last = "backbone.semantic.stage4_CEBlock"
    shapes |= batch_norm(f"{last}.gap.1", 128) | block(f"{last}.conv_gap", 128, 128)
    shapes |= block(f"{last}.conv_last", 128, 128, 3)
    for branch in ("detail", "semantic"):
        at = f"backbone.bga.{branch}_dwconv.0"
        shapes |= block(f"{at}.depthwise_conv", 128, 1, 3) | conv(f"{at}.pointwise_conv.conv", 128, 128, bias=True)
    for name in ("detail_down.0", "semantic_conv.0", "conv"):
        shapes |= block(f"backbone.bga.{name}", 128, 128, 3)
    for i, (out, channels) in enumerate(((16, 16), (64, 32), (256, 64), (1024, 128))):
        shapes |= fcn_head(f"auxiliary_head.{i}", out, channels, convs=2)
    return shapes | fcn_head("decode_head", 1024, 128)


def residual(name: str, out: int, channels: int, *, narrow: int | None = None, shortcut: str = "") -> Shapes:
    """A block of DDRNet (shortcut `0`) or PIDNet (`conv`), whose layers are ConvModules."""
    if narrow is None:
        sizes = [(out, channels, 3), (out, out, 3)]
    else:
        sizes = [(narrow, channels, 1), (narrow, narrow, 3), (out, narrow, 1)]
    shapes: Shapes = {}
    for i, (o, c, k) in enumerate(sizes, 1):
        shapes |= block(f"{name}.conv{i}", o, c, k)
    if shortcut == "conv":
        shapes |= block(f"{name}.downsample", out, channels)
    elif shortcut:
        shapes |= conv(f"{name}.downsample.0", out, channels) | batch_norm(f"{name}.downsample.1", out)
    return shapes


def stage(name: str, out: int, channels: int, count: int, shortcut: str) -> Shapes:
    shapes: Shapes = {}
    for i in range(count):
        shapes |= residual(
            f"{name}.{i}", out, out if i else channels, shortcut="" if i or out == channels else shortcut
        )
    return shapes


def stem(c: int, blocks: int, shortcut: str) -> Shapes:
    shapes = block("backbone.stem.0", c, 3, 3) | block("backbone.stem.1", c, c, 3)
    return (
        shapes | stage("backbone.stem.2", c, c, blocks, shortcut) | stage("backbone.stem.4", 2 * c, c, blocks, shortcut)
    )


def deep_pyramid(channels: int, branch: int, out: int, *, together: bool) -> Shapes:
    """`together`: one grouped convolution processes the four pooled levels."""
    at = "backbone.spp"
    shapes = block(f"{at}.scales.0", branch, channels, norm=channels)
    for i in range(1, 5):
        shapes |= block(f"{at}.scales.{i}.1", branch, channels, norm=channels)
        if not together:
            shapes |= block(f"{at}.processes.{i - 1}", branch, branch, 3)
    if together:
        shapes |= block(f"{at}.processes", 4 * branch, branch, 3)
    shapes |= block(f"{at}.compression", out, 5 * branch, norm=5 * branch)
    return shapes | block(f"{at}.shortcut", out, channels, norm=channels)


def ddrnet_slim() -> Shapes:
    shapes = stem(32, 2, "0")
    context, spatial = "backbone.context_branch_layers", "backbone.spatial_branch_layers"
    shapes |= stage(f"{context}.0", 128, 64, 2, "0") | stage(f"{context}.1", 256, 128, 2, "0")
    shapes |= residual(f"{context}.2.0", 512, 256, narrow=256, shortcut="0")
    shapes |= stage(f"{spatial}.0", 64, 64, 2, "0") | stage(f"{spatial}.1", 64, 64, 2, "0")
    shapes |= residual(f"{spatial}.2.0", 128, 64, narrow=64, shortcut="0")
    shapes |= block("backbone.compression_1", 64, 128) | block("backbone.compression_2", 64, 256)
    shapes |= block("backbone.down_1", 128, 64, 3)
    shapes |= block("backbone.down_2.0", 128, 64, 3) | block("backbone.down_2.1", 256, 128, 3)
    shapes |= deep_pyramid(512, 128, 128, together=False)
    for head, channels, classify in (("head", 128, "conv_seg"), ("aux_head", 64, "aux_cls_seg")):
        shapes |= block(f"decode_head.{head}.0", 64, channels, 3, norm=channels)
        shapes |= batch_norm(f"decode_head.{head}.1", 64) | conv(f"decode_head.{classify}", K, 64, bias=True)
    return shapes


def pidnet(large: bool = False) -> Shapes:
    c, few, many, branch, inner = (64, 3, 4, 112, 256) if large else (32, 2, 3, 96, 128)
    i_, p_, d_ = (f"backbone.{letter}_branch_layers" for letter in "ipd")
    shapes = stem(c, few, "conv")
    shapes |= stage(f"{i_}.0", 4 * c, 2 * c, many, "conv") | stage(f"{i_}.1", 8 * c, 4 * c, many, "conv")
    shapes |= residual(f"{i_}.2.0", 16 * c, 8 * c, narrow=8 * c, shortcut="conv")
    shapes |= residual(f"{i_}.2.1", 16 * c, 16 * c, narrow=8 * c)
    shapes |= stage(f"{p_}.0", 2 * c, 2 * c, few, "conv") | stage(f"{p_}.1", 2 * c, 2 * c, few, "conv")
    first = 2 * c if large else c
    shapes |= residual(f"{d_}.0", first, 2 * c, shortcut="" if large else "conv")
    if large:
        shapes |= residual(f"{d_}.1", 2 * c, 2 * c)
    else:
        shapes |= residual(f"{d_}.1.0", 2 * c, c, narrow=c, shortcut="conv")
    for last in (p_, d_):
        shapes |= residual(f"{last}.2.0", 4 * c, 2 * c, narrow=2 * c, shortcut="conv")
    for i, wide in ((1, 4 * c), (2, 8 * c)):
        shapes |= block(f"backbone.compression_{i}", 2 * c, wide)
        shapes |= block(f"backbone.pag_{i}.f_i", c, 2 * c) | block(f"backbone.pag_{i}.f_p", c, 2 * c)
        shapes |= block(f"backbone.diff_{i}", first if i == 1 else 2 * c, wide, 3)
    shapes |= deep_pyramid(16 * c, branch, 4 * c, together=not large)
    if large:
        shapes |= block("backbone.dfm.conv", 4 * c, 4 * c, 3)
    else:
        shapes |= block("backbone.dfm.f_p", 4 * c, 4 * c) | block("backbone.dfm.f_i", 4 * c, 4 * c)
    for head, out, channels in (("i_head", inner, 4 * c), ("p_head", inner, 2 * c), ("d_head", c, 2 * c)):
        shapes |= block(f"decode_head.{head}.conv", out, channels, 3, norm=channels)
        shapes |= batch_norm(f"decode_head.{head}.norm", out)
    shapes |= conv("decode_head.conv_seg", K, inner, bias=True) | conv("decode_head.p_cls_seg", K, inner, bias=True)
    return shapes | conv("decode_head.d_cls_seg", 1, c, bias=True)
