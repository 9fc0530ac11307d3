"""Seg-Grad-CAM: which parts of a picture speak for a class in a region.

Source: Vinogradova, Dibrov, Myers, "Towards Interpretable Semantic Segmentation via Gradient-Weighted Class Activation
Mapping", AAAI 2020 (arXiv 2002.11434). The logits of the class, summed over the region, are differentiated with respect
to a layer's channels; the means of the gradients weigh the channels, and what is positive in their sum is the map.

Letters: C channels, H W pixels, h w reduced sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.evaluation.features import device_of
from segwright.evaluation.layers import Layer, missing, watching
from segwright.models.segmenter import Segmenter
from segwright.models.tracing import evaluation_mode

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, right and bottom not included."""


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """Where the layer's evidence for the class lies.

    heat_HW: float32 [H, W], 0..1, of the picture's size; all 0 where nothing speaks for the class. peak: the value that
    was scaled to 1. pixels: how many logits were summed. ids_HW: uint8 [H, W], what the model predicts.
    """

    layer: str
    heat_HW: NDArray[np.float32]
    ids_HW: NDArray[np.uint8]
    peak: float
    pixels: int


def class_map(
    segmenter: Segmenter, rgb_HWC: NDArray[np.uint8], class_index: int, layer: Layer, *, region: Box | None = None
) -> ClassMap:
    """The Seg-Grad-CAM of one class, in evaluation mode.

    rgb: uint8 [H, W, 3], RGB, any size. region: the box whose logits are summed; the whole picture by default.
    Raises UserError for a region outside the picture, and a layer without a map.
    """
    height, width = rgb_HWC.shape[:2]
    left, top, right, bottom = region or (0, 0, width, height)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UserError(
            f"region {left},{top},{right},{bottom} is not inside the picture of {width}×{height} pixels: give "
            f"x0,y0,x1,y1 with 0 ≤ x0 < x1 ≤ {width} and 0 ≤ y0 < y1 ≤ {height}."
        )
    image = torch.from_numpy(np.array(rgb_HWC)).permute(2, 0, 1)[None].to(device_of(segmenter))
    with evaluation_mode(segmenter), torch.enable_grad(), watching([layer]) as seen:
        logits_BKHW = segmenter(image)
        if error := missing([layer], seen):
            raise error
        maps = seen[layer.title]
        score = logits_BKHW[0, class_index, top:bottom, left:right].sum()
        (gradient,) = torch.autograd.grad(score, maps, allow_unused=True)
    if gradient is None:
        raise UserError(f"the scores do not depend on layer '{layer.title}'. Choose another.")
    weights_C = gradient[0].mean((1, 2))
    raw_hw = (weights_C[:, None, None] * maps[0]).sum(0).clamp_min(0).detach().float()
    sizes = segmenter.sizes(height, width)
    grown = _resize(raw_hw[None, None], sizes.padded)[..., : sizes.inner[0], : sizes.inner[1]]
    heat = _resize(grown, sizes.given)[0, 0]
    peak = float(heat.max())
    ids = logits_BKHW.detach()[0].argmax(0).to(torch.uint8)
    return ClassMap(
        layer=layer.title,
        heat_HW=(heat / peak if peak > 0 else heat).cpu().numpy(),
        ids_HW=ids.cpu().numpy(),
        peak=peak,
        pixels=(right - left) * (bottom - top),
    )


def _resize(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)
