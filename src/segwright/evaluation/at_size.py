"""Scoring at another size than the pictures have: pictures and masks are resized before the model sees them.

Letters: B batch, C colour, H W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segwright.contracts import Dataset, Sample, UserError
from segwright.data.nearest import nearest_exact
from segwright.inference.ensemble import Ensemble
from segwright.metrics.protocols import Protocol
from segwright.models.converted import Converted

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter

NETWORK = "network"
_SIZE = re.compile(r"(\d+)[x×](\d+)")


@dataclass(frozen=True)
class AtSize:
    """A size to score at: fixed (height, width), or the one at which a network sees each picture, by its short side."""

    fixed: tuple[int, int] | None = None
    short_side: int | None = None

    def of(self, height: int, width: int) -> tuple[int, int]:
        """What becomes of a picture of this height and width, pixels."""
        if self.fixed is not None:
            return self.fixed
        if self.short_side is None:
            return height, width
        factor = self.short_side / min(height, width)  # as in Segmenter.sizes
        return max(1, round(height * factor)), max(1, round(width * factor))


def find_size(text: str, segmenter: Segmenter | Converted | None) -> AtSize:
    """`network` or `512x1024` (height × width), for a model; None where there is none, as with prediction files.

    Raises UserError for other texts, for a model without a size of its own, and for a size that a model would change again.
    """
    told = _SIZE.fullmatch(text.lower())
    if text != NETWORK and (told is None or min(int(told[1]), int(told[2])) < 1):
        raise UserError(f"--at {text}: allowed are network, or HEIGHTxWIDTH in pixels, such as 512x1024.")
    model = segmenter.segmenter if isinstance(segmenter, Converted) else segmenter
    if isinstance(model, Ensemble):
        raise UserError(
            "--at goes with one model: the members of an ensemble may see a picture at different sizes. Score them "
            "one by one, or the ensemble at the original size."
        )
    short_side = None if model is None else model.short_side
    if told is not None:
        if short_side is not None:
            raise UserError(
                f"--at {text}: this model resizes every picture to a short side of {short_side} itself. Use --at network."
            )
        return AtSize(fixed=(int(told[1]), int(told[2])))
    if short_side is None:
        raise UserError(
            "--at network: this model sees pictures at their own size, so it has none of its own. Name one, such as "
            "--at 512x1024."
        )
    return AtSize(short_side=short_side)


def check_protocol(rule: Protocol) -> None:
    """Raises UserError for a protocol that fixes a size of its own."""
    if "original size" not in rule.sentence:
        raise UserError(
            f"protocol '{rule.name}' compares masks at a size of its own, so --at does not go with it. Leave out one of them."
        )


class ResizedSet:
    """A data set at another size: pictures bilinear (antialiased where they shrink) and rounded to whole numbers, masks
    and instance maps by the nearest pixel."""

    def __init__(self, source: Dataset, size: AtSize) -> None:
        self.source, self.size = source, size
        self.names: Sequence[str] = source.names
        self.groups: Sequence[str] = source.groups

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        size = self.size.of(*sample.rgb.shape[:2])
        if size == sample.rgb.shape[:2]:
            return sample
        return replace(
            sample,
            planes={name: _smooth(plane, size) for name, plane in sample.planes.items()},
            labels=None if sample.labels is None else nearest_exact(sample.labels, size),
            instances=None if sample.instances is None else nearest_exact(sample.instances, size),
        )


def _smooth(plane: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    image_BCHW = torch.from_numpy(np.atleast_3d(plane)).permute(2, 0, 1)[None].float()
    shrinks = size[0] < plane.shape[0] or size[1] < plane.shape[1]
    small = F.interpolate(image_BCHW, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    found = small[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return np.asarray(found.reshape(*size, *plane.shape[2:]), np.uint8)
