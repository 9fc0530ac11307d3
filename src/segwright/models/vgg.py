"""The convolutions of VGG-16, which several early segmenters start from.

Source: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015 (arXiv
1409.1556), configuration D. The form with BatchNorm keeps the biases, as torchvision's and timm's do.

Letters: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.models.hub import check_timm_weights

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""3×3 convolutions of each stage; a 2×2 max-pooling follows each stage."""


def vgg_channels(width: int = 64) -> tuple[int, ...]:
    """Channels of the five stages: 64, 128, 256, 512, 512 for VGG-16."""
    return tuple(width * factor for factor in (1, 2, 4, 8, 8))


def vgg_stages(width: int = 64, *, norm: bool, last_dilation: int = 1) -> nn.ModuleList:
    """The five stages without the poolings between them.

    norm: a BatchNorm after every convolution. last_dilation: of the convolutions of the fifth stage.
    """
    channels, stages = 3, nn.ModuleList()
    for out, count, dilation in zip(vgg_channels(width), CONVOLUTIONS, (1, 1, 1, 1, last_dilation), strict=True):
        layers: list[nn.Module] = []
        for _ in range(count):
            layers += vgg_layer(channels, out, norm=norm, dilation=dilation)
            channels = out
        stages.append(nn.Sequential(*layers))
    return stages


def vgg_layer(channels: int, out: int, *, norm: bool, dilation: int = 1) -> list[nn.Module]:
    """3×3 convolution with bias, BatchNorm where asked for, ReLU."""
    conv = nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation)
    return [conv, *([nn.BatchNorm2d(out)] if norm else []), nn.ReLU(inplace=True)]


def start_from_imagenet(parts: nn.Module, weights: str, *, width: int, timm_name: str) -> None:
    """Copy timm's ImageNet weights of a VGG into `parts`, whose tensors are in the same order.

    Raises UserError for other weights than "imagenet", another width than VGG's 64, and weights that cannot be had.
    """
    if weights != "imagenet":
        raise UserError(f"backbone weights are '{weights}'; allowed are imagenet, or null to train from scratch.")
    if width != 64:
        raise UserError(f"ImageNet's weights are for width 64, but width is {width}. Leave out one of the two.")
    check_timm_weights(timm_name)
    import timm

    copy_in_order(parts, timm.create_model(timm_name, pretrained=True).state_dict())


@torch.no_grad()
def copy_in_order(parts: nn.Module, source: Mapping[str, Tensor]) -> None:
    """Fill the tensors of `parts` from the first ones of `source`, by position. Raises UserError where they differ."""
    targets = parts.state_dict()
    if len(source) < len(targets):
        raise UserError(
            f"the given weights have {len(source)} tensors, but {len(targets)} are needed: another network."
        )
    for (name, target), (theirs, tensor) in zip(targets.items(), source.items(), strict=False):
        if target.shape != tensor.shape:
            raise UserError(
                f"'{theirs}' of the given weights has the shape {list(tensor.shape)}, but '{name}' needs "
                f"{list(target.shape)}: they are of another network."
            )
        target.copy_(tensor)
