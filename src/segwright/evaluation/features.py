"""What layers put out: activations of one picture, filters of the first layer, features of many pictures as arrays.

Letters: B batch, C channels, H W pixels, N filters, h w reduced sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segwright.contracts import UserError
from segwright.evaluation.layers import Layer, missing, watching
from segwright.models.segmenter import Segmenter
from segwright.models.tracing import evaluation_mode

Float = NDArray[np.float32]
Progress = Callable[[int, int], None]


@torch.no_grad()
def activations(segmenter: Segmenter, rgb_HWC: NDArray[np.uint8], layers: Sequence[Layer]) -> dict[str, Float]:
    """What each layer puts out for one picture, in evaluation mode: title -> float32 [C, h, w], padding included.

    rgb: uint8 [H, W, 3], RGB, any size. Raises UserError for a layer that is not called or gives no map.
    """
    device = device_of(segmenter)
    image = torch.from_numpy(np.array(rgb_HWC)).permute(2, 0, 1)[None].to(device)
    with evaluation_mode(segmenter), watching(layers) as seen:
        segmenter(image)
    if error := missing(layers, seen):
        raise error
    return {layer.title: seen[layer.title][0].float().cpu().numpy() for layer in layers}


def device_of(segmenter: Segmenter) -> torch.device:
    """Where the weights are."""
    return next(segmenter.parameters()).device


def first_filters(architecture: nn.Module) -> tuple[str, Float]:
    """Name and weights of the first convolution that reads the picture: float32 [N, 3, kernel h, kernel w].

    Raises UserError where no convolution reads three channels.
    """
    for name, part in architecture.named_modules():
        if isinstance(part, nn.Conv2d) and part.in_channels == 3 and part.groups == 1:
            return name, part.weight.detach().float().cpu().numpy()
    raise UserError(f"{type(architecture).__name__} has no convolution that reads the picture's three channels.")


def strongest(maps_CHW: Float, count: int) -> list[int]:
    """The channels that vary most over the picture, at most `count`, in their own order."""
    spread = maps_CHW.reshape(len(maps_CHW), -1).std(1)
    return sorted(np.argsort(-spread, kind="stable")[:count].tolist())


def extract(
    segmenter: Segmenter,
    pictures: Iterable[NDArray[np.uint8]],
    layer: Layer,
    *,
    pooled: bool,
    progress: Progress = lambda done, total: None,
    total: int = 0,
) -> list[NDArray[Any]]:
    """The network as a feature extractor: for each picture the layer's map, float32 [C, h, w], or its mean, [C].

    pictures: uint8 [H, W, 3], RGB, of any sizes. An empty list for no pictures. Raises UserError as `activations`.
    """
    found: list[NDArray[Any]] = []
    for rgb in pictures:
        maps = activations(segmenter, rgb, [layer])[layer.title]
        found.append(maps.mean((1, 2)) if pooled else maps)
        progress(len(found), total)
    return found
