"""Test-time augmentation: the mean of what a model says of a picture mirrored and at several scales.

Letters: B batch, H W pixels, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from segwright.contracts import UserError
from segwright.inference.ensemble import Ensemble
from segwright.inference.wrapping import Wrapping
from segwright.models.segmenter import Segmenter, likeliest

SMALLEST, LARGEST, MOST = 0.25, 4.0, 8
EXAMPLE = "flip,scales=0.75:1:1.25"


@dataclass(frozen=True)
class Views:
    """How a picture is looked at: at each of `scales` (0.25 to 4, eight at most), and mirrored too where `flip` is on."""

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not 1 <= len(self.scales) <= MOST or len(set(self.scales)) < len(self.scales):
            raise UserError(
                f"--tta: scales are {self._told}; allowed are 1 to {MOST} different ones, such as 0.75:1:1.25."
            )
        if wrong := [s for s in self.scales if not SMALLEST <= s <= LARGEST]:
            raise UserError(f"--tta: scale {wrong[0]:g} is outside of {SMALLEST:g} to {LARGEST:g}.")

    def __str__(self) -> str:
        parts = ["flip"] * self.flip + [f"scales={self._told}"] * (self.scales != (1.0,))
        return ",".join(parts) or "scales=1"

    @property
    def count(self) -> int:
        return len(self.scales) * (1 + self.flip)

    @property
    def _told(self) -> str:
        return ":".join(f"{s:g}" for s in self.scales)


def parse_views(text: str) -> Views:
    """`flip`, `scales=0.75:1:1.25`, or both with a comma between. Raises UserError for other texts."""
    flip, scales = False, Views.scales
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key == "flip" and not value:
            flip = True
        elif key == "scales" and value:
            try:
                scales = tuple(float(number) for number in value.split(":"))
            except ValueError:
                _refuse(text, f"'{value}' are no numbers with colons between")
        else:
            _refuse(text, f"'{part}' is unknown")
    return Views(flip, scales)


def _refuse(text: str, reason: str) -> NoReturn:
    raise UserError(f"--tta {text}: {reason}. Allowed are flip, scales=NUMBER:NUMBER..., or both, such as {EXAMPLE}.")


class Augmented(Wrapping):
    """Predicts with the mean of a model's class probabilities over several views of the picture.

    Each view is the picture resized (bilinear, antialiased where it shrinks, rounded to whole numbers) and maybe mirrored;
    its probabilities are brought back to the picture's size (bilinear). The scales are of the size at which the network sees
    pictures, its short side where it has one. It costs the time of all views, and the memory of the scores of the largest.
    It predicts and is not trained or saved. Raises UserError for a multi-label space.
    """

    def __init__(self, segmenter: Segmenter, views: Views) -> None:
        super().__init__(segmenter, "--tta", str(views))
        self.views = views

    def forward(self, image: Tensor) -> Tensor:
        """Scores whose softmax is the mean of the views' probabilities: float32 [B, K, H, W]. image: uint8 [B, 3, H, W]."""
        total: Tensor | None = None
        for probs_BKHW in self._seen(image):
            total = probs_BKHW if total is None else total.add_(probs_BKHW)
        if total is None:
            raise ValueError("there is no view")
        return total.div_(self.views.count).clamp_min_(torch.finfo(total.dtype).tiny).log_()

    @torch.no_grad()
    def ids(self, image: Tensor, among: Sequence[int] | None = None) -> Tensor:
        """The class of every pixel with the highest mean probability: uint8 [B, H, W]. Arguments as for Segmenter."""
        return likeliest(self.forward(image), among, self._name)

    def _seen(self, image: Tensor) -> Iterator[Tensor]:
        """Probabilities of each view at the picture's size and the right way round, each in memory of its own."""
        height, width = image.shape[-2:]
        for scale in self.views.scales:
            seen, model = self._at(image, scale)
            for turned in (False, True)[: 1 + self.views.flip]:
                probs = model(seen.flip(-1) if turned else seen).softmax(1)
                if probs.shape[-2:] != (height, width):
                    probs = F.interpolate(probs, size=(height, width), mode="bilinear", align_corners=False)
                yield probs.flip(-1) if turned else probs

    def _at(self, image: Tensor, scale: float) -> tuple[Tensor, Segmenter]:
        """The picture at a scale of the network's size, and the model that takes it at that size."""
        model: Segmenter = self.architecture  # type: ignore[assignment]
        if scale == 1:
            return image, model
        inner = self.sizes(image.shape[-2], image.shape[-1]).inner
        size = [max(1, round(side * scale)) for side in inner]
        if self.short_side is not None:
            model = copy.copy(model)  # shares the weights
            model.short_side = None
        shrinks = size[0] < image.shape[-2] or size[1] < image.shape[-1]
        seen = F.interpolate(image.float(), size=size, mode="bilinear", align_corners=False, antialias=shrinks)
        return seen.round_().clamp_(0, 255).to(torch.uint8), model


def with_views(segmenter: Segmenter, views: Views) -> Segmenter:
    """A model with test-time augmentation; of an ensemble each member, as they may see pictures at different sizes."""
    if not isinstance(segmenter, Ensemble):
        return Augmented(segmenter, views)
    together = Ensemble([Augmented(member, views) for member in segmenter.members])
    together.provenance = segmenter.provenance | {"tta": str(views)}
    return together
