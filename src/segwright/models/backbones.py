"""Backbones: networks that turn a picture into features at several strides. Decoders read what a backbone declares.

Letters: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.models.dilated import train_by_taps
from segwright.models.hub import check_timm_weights
from segwright.models.tracing import evaluation_mode, trace, without_memory
from segwright.names import did_you_mean

_SWIN = {"strict_img_size": False, "always_partition": True}
ANY_SIZE: dict[str, dict[str, Any]] = {
    "vision_transformer": {"dynamic_img_size": True},
    "deit": {"dynamic_img_size": True},
    "eva": {"dynamic_img_size": True},
    "swin_transformer": _SWIN,
    "swin_transformer_v2": _SWIN,
    "swin_transformer_v2_cr": _SWIN,
}
"""Module of timm -> the arguments by which its models take pictures of any size.

Swin's windows then shift in the last stage too, as its authors have it for segmentation; for pictures of 224×224 they
would be as large as the map there.
"""
PLAIN = ("vision_transformer", "vision_transformer_sam", "deit", "eva", "beit", "naflexvit")
"""Modules of timm whose models keep one resolution."""


class Backbone(nn.Module):
    """Any convolutional or hierarchical timm model, by its timm name, as a list of features from fine to coarse.

    name: resnet18, resnet50, densenet161, mobilenetv2_100, hrnet_w18, convnext_tiny, swin_tiny_patch4_window7_224, ...
        (`timm.list_models()`). Swin transformers take pictures of any size.
    output_stride: 8, 16 or 32; below 32 the last stages are dilated instead of strided.
    levels: how many features, counted from the coarsest; 4 means strides 4, 8, 16, 32 for most models.
    weights: None for random ones, "imagenet" for timm's default ones (from the hub, unless in its cache).
    timm_args: further arguments of the timm model, such as HRNet's `feature_location`.
    tile: for models that take pictures of one size: that size, pixels. They see the picture in tiles of it.
    channels, strides: of each feature, in the order of the list that `forward` returns.
    unnormalised: the features are those of a transformer or ConvNeXt before its last LayerNorm.
    Input: float [B, 3, H, W], normalised, H and W multiples of the largest stride (before dilation: of 32), or of
    `tile`. Raises UserError for an unknown model, one that cannot be dilated, and weights that cannot be had.
    """

    net: Any

    def __init__(
        self,
        name: str,
        *,
        output_stride: int = 32,
        levels: int = 4,
        weights: str | None = None,
        timm_args: Mapping[str, Any] | None = None,
        tile: int | None = None,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise UserError(f"output_stride is {output_stride}; allowed are 8, 16 and 32.")
        dense = name.startswith("densenet")
        dilated: dict[str, Any] = {} if output_stride == 32 or dense else {"output_stride": output_stride}
        self.tile = tile
        self.net = _create(
            name,
            weights,
            tile,
            {"features_only": True, "out_indices": tuple(range(-levels, 0))} | dilated | dict(timm_args or {}),
            what=f"with output_stride {output_stride} and {levels} features",
        )
        if dense:
            _dilate_densenet(self.net, output_stride)
        train_by_taps(self.net)
        self.channels: tuple[int, ...] = tuple(self.net.feature_info.channels())
        self.strides: tuple[int, ...] = tuple(min(s, output_stride) for s in self.net.feature_info.reduction())
        self.channels_last = getattr(self.net, "output_fmt", None) == "NHWC"
        kinds = {type(part) for part in self.net.modules()}
        self.unnormalised = any(issubclass(k, nn.LayerNorm) for k in kinds) and nn.BatchNorm2d not in kinds

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        return in_tiles(self._features, image_BCHW, self.tile)

    def _features(self, image_BCHW: Tensor) -> list[Tensor]:
        features: list[Tensor] = list(self.net(image_BCHW))
        return [x.permute(0, 3, 1, 2) for x in features] if self.channels_last else features


class PlainBackbone(nn.Module):
    """A transformer of timm that keeps one resolution (ViT, DINOv2, DINOv3, EVA, BEiT, SAM, ...), by its timm name.

    name: vit_small_patch14_dinov2, vit_base_patch16_dinov3, eva02_base_patch14_448, beitv2_base_patch16_224, ...
    blocks: whose outputs are the features, from 0; negative ones count from the last; one may come twice. A number: how
        many, evenly spaced, the last one among them.
    norm: every feature goes through the model's last LayerNorm (SAM's: its neck).
    weights, timm_args, tile: as for `Backbone`. BEiT needs `tile`: its position biases suit one size.
    patch: side of a patch, pixels; every feature has this stride, and `channels` channels.
    unnormalised: the features are those before the last LayerNorm, which some models have in their classifier only.
    Input: float [B, 3, H, W], normalised, H and W multiples of `patch`, or of `tile`. Output: floats [B, C, H/patch,
    W/patch], in the order of `blocks`.
    Raises UserError as Backbone does, and for blocks that the model does not have.
    """

    net: Any

    def __init__(
        self,
        name: str,
        *,
        blocks: tuple[int, ...] | int = 1,
        norm: bool = False,
        weights: str | None = None,
        timm_args: Mapping[str, Any] | None = None,
        tile: int | None = None,
    ) -> None:
        super().__init__()
        self.net = _create(name, weights, tile, {"num_classes": 0} | dict(timm_args or {}))
        depth = len(self.net.feature_info)
        if isinstance(blocks, int):
            blocks = tuple(max(0, depth * (i + 1) // blocks - 1) for i in range(blocks))
        if not blocks or not all(-depth <= block < depth for block in blocks):
            raise UserError(f"blocks is {list(blocks)}; the backbone '{name}' has the blocks 0 to {depth - 1}.")
        self.blocks = tuple(block % depth for block in blocks)
        self.norm = norm
        self.tile = tile
        last = self.net.feature_info[-1]
        self.patch = int(last["reduction"])
        self.channels = int(last.get("num_chs_norm", last["num_chs"]) if norm else last["num_chs"])
        self.unnormalised = not norm or isinstance(getattr(self.net, "norm", None), nn.Identity)
        self.net.prune_intermediate_layers(sorted(set(self.blocks)), prune_norm=not norm)
        if tile is not None and tile % self.patch:
            raise UserError(f"tile is {tile}; the backbone '{name}' takes multiples of its patches' side {self.patch}.")

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        return in_tiles(self._features, image_BCHW, self.tile)

    def _features(self, image_BCHW: Tensor) -> list[Tensor]:
        order = sorted(set(self.blocks))
        found = self.net.forward_intermediates(image_BCHW, indices=order, norm=self.norm, intermediates_only=True)
        by_block = dict(zip(order, found, strict=True))
        return [by_block[block] for block in self.blocks]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel: float [B, C, h, w] in and out."""

    def forward(self, x_BChw: Tensor) -> Tensor:
        return super().forward(x_BChw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def is_plain(name: str) -> bool:
    """Whether timm's model of this name is for `PlainBackbone` rather than `Backbone`."""
    from timm.models import is_model, is_model_in_modules

    return bool(is_model(name) and is_model_in_modules(name, PLAIN))


def in_tiles(features: Callable[[Tensor], list[Tensor]], image_BCHW: Tensor, tile: int | None) -> list[Tensor]:
    """Features of the picture's tiles, side × side pixels, put together again; of the whole picture for None.

    H and W are multiples of `tile`. The tiles go through `features` as one batch.
    """
    if tile is None:
        return features(image_BCHW)
    rows, columns = image_BCHW.shape[2] // tile, image_BCHW.shape[3] // tile
    tiles = image_BCHW.unflatten(3, (columns, tile)).unflatten(2, (rows, tile))
    found = features(tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2))
    apart = [x.unflatten(0, (-1, rows, columns)).permute(0, 3, 1, 4, 2, 5) for x in found]
    return [x.flatten(4).flatten(2, 3) for x in apart]


def check_sizes(name: str, backbone: nn.Module, stride: int, *, fixed: bool) -> None:
    """Raise UserError where the backbone refuses pictures of 2 × 3 strides, found without arithmetic.

    fixed: the backbone already sees tiles of one size.
    """
    try:
        with evaluation_mode(backbone), torch.no_grad():
            trace(backbone, without_memory(backbone), (2 * stride, 3 * stride))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        advice = (
            "Choose another backbone."
            if fixed
            else ("Give the size of the pictures that it takes as `tile`, such as 512, or choose another backbone.")
        )
        raise UserError(
            f"the backbone '{name}' does not take pictures of {2 * stride}×{3 * stride} ({_reason(error)}). {advice}"
        ) from error


def _create(name: str, weights: str | None, tile: int | None, args: dict[str, Any], *, what: str = "") -> Any:
    import timm
    from timm.models import is_model_in_modules

    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        raise UserError(f"timm has no backbone '{name}'.{hint} `timm.list_models()` lists all of them.")
    if weights not in (None, "imagenet"):
        raise UserError(f"backbone weights are '{weights}'; allowed are imagenet, or null to train from scratch.")
    if tile is not None and tile < 1:
        raise UserError(f"tile is {tile}; it is the side of a square in pixels, such as 512, or null.")
    if weights:
        check_timm_weights(name)
    if tile is None:
        sizes = next((switch for module, switch in ANY_SIZE.items() if is_model_in_modules(name, [module])), {})
    else:
        sizes = {"img_size": tile}
    try:
        return timm.create_model(name, pretrained=weights is not None, **sizes | args)
    except (TypeError, RuntimeError, AssertionError, IndexError, ValueError) as error:
        wanted = f" {what}" if what else ""
        raise UserError(
            f"the backbone '{name}'{wanted} cannot be built: {_reason(error)}. "
            "Choose output_stride 32, no tile, or another backbone such as resnet50."
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160].rstrip(".")


def _dilate_densenet(net: Any, output_stride: int) -> None:
    """timm's DenseNets know no output stride: leave out the last poolings, and dilate the 3×3 layers behind them."""
    dilation = 1
    for block, stride in ((3, 16), (4, 32)):
        if stride <= output_stride:
            continue
        dilation *= 2
        net[f"features_transition{block - 1}"].pool = nn.Identity()
        for part in net[f"features_denseblock{block}"].modules():
            if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
                part.dilation = part.padding = (dilation, dilation)
