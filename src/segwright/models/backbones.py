"""Backbones: networks that turn a picture into features at several strides. Decoders read what a backbone declares.

Letters: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.models.blocks import GroupedDilatedConv2d
from segwright.models.hub import check_timm_weights
from segwright.names import did_you_mean


class Backbone(nn.Module):
    """Any convolutional or hierarchical timm model, by its timm name, as a list of features from fine to coarse.

    name: resnet18, resnet50, densenet161, mobilenetv2_100, xception65, hrnet_w18, convnext_tiny, ... (`timm.list_models()`).
    output_stride: 8, 16 or 32; below 32 the last stages are dilated instead of strided.
    levels: how many features, counted from the coarsest; 4 means strides 4, 8, 16, 32 for most models.
    weights: None for random ones, "imagenet" for timm's default ones (from the hub, unless in its cache).
    timm_args: further arguments of the timm model, such as HRNet's `feature_location`.
    channels, strides: of each feature, in the order of the list that `forward` returns.
    Input: float [B, 3, H, W], normalised, H and W multiples of the largest stride (before dilation: of 32).
    Raises UserError for an unknown model, one that cannot be dilated, and weights that cannot be had.
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
    ) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            hint = did_you_mean(name, timm.list_models())
            raise UserError(f"timm has no backbone '{name}'.{hint} `timm.list_models()` lists all of them.")
        if output_stride not in (8, 16, 32):
            raise UserError(f"output_stride is {output_stride}; allowed are 8, 16 and 32.")
        if weights not in (None, "imagenet"):
            raise UserError(f"backbone weights are '{weights}'; allowed are imagenet, or null to train from scratch.")
        if weights:
            check_timm_weights(name)
        dense = name.startswith("densenet")
        dilated: dict[str, Any] = {} if output_stride == 32 or dense else {"output_stride": output_stride}
        try:
            self.net = timm.create_model(
                name,
                pretrained=weights is not None,
                features_only=True,
                out_indices=tuple(range(-levels, 0)),
                **dilated | dict(timm_args or {}),
            )
        except (TypeError, RuntimeError, AssertionError, IndexError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160].rstrip(".")
            raise UserError(
                f"the backbone '{name}' with output_stride {output_stride} and {levels} features cannot be built: "
                f"{reason}. Choose output_stride 32, or another backbone such as resnet50."
            ) from error
        if dense:
            _dilate_densenet(self.net, output_stride)
        for part in self.net.modules():
            if type(part) is nn.Conv2d and part.groups > 1 and max(part.dilation) > 1:
                part.__class__ = GroupedDilatedConv2d  # the same tensors; its docstring says why
        self.channels: tuple[int, ...] = tuple(self.net.feature_info.channels())
        self.strides: tuple[int, ...] = tuple(min(s, output_stride) for s in self.net.feature_info.reduction())

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        features: list[Tensor] = list(self.net(image_BCHW))
        return features


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
