"""The arguments of the built-in levels: probabilities and ranges, each checked, each with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from segwright.contracts import UserError


@dataclass(kw_only=True, eq=False)
class Settings:
    """Probabilities (`*_p`) are 0..1. Ranges are [smallest, largest]; nothing is drawn while its probability is 0.

    size: (height, width) of the result in pixels; the only argument without a default.
    Raises UserError for sizes, probabilities or ranges outside their bounds.
    """

    size: tuple[int, int] = field(kw_only=False)
    short_side: int | None = None
    """Shorter side, in pixels, at which the network sees whole pictures (the Segmenter's); None: as stored."""
    centred: bool = False
    """Windows sit in the middle instead of at a random place."""

    flip_p: float = 0.0
    """Mirrors left to right."""
    scale_p: float = 0.0
    scale: Sequence[float] = (1.0, 1.2)
    """Zoom; below 1 the picture shrinks and its border is filled."""
    crop_p: float = 0.0
    """A crop of `size` pixels; otherwise the whole picture is used."""
    balanced_crops: float = 0.0
    """Share of the crops, 0..1, that is centred on a pixel of a class drawn with weight 1/√(share of its pixels)."""
    aspect: Sequence[float] = (1.0, 1.0)
    """Width of the window in relation to its height, times that of `size`; drawn evenly in its logarithm, always."""
    rotate_p: float = 0.0
    rotate: float = 10.0
    """Largest angle to either side, degrees, 0..180."""
    elastic_p: float = 0.0
    elastic: Sequence[float] = (0.005, 0.015)
    """Largest shift of a pixel, share of the crop's shorter side."""

    jitter_p: float = 0.0
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    """Factors are drawn from 1 - x .. 1 + x."""
    hue: float = 0.05
    """Drawn from -x .. x of a full turn of the colour wheel."""
    strong_jitter_p: float = 0.0
    strong_jitter: float = 2.0
    """How many times wider than those of the jitter the ranges of the strong jitter are."""
    gamma_p: float = 0.0
    gamma: Sequence[float] = (0.7, 1.4)
    """Exponent, drawn evenly in its logarithm."""
    grey_p: float = 0.0
    """Takes all colour away."""
    shuffle_p: float = 0.0
    """Puts R, G and B in another order."""
    balance_p: float = 0.0
    balance: float = 0.2
    """R, G and B are multiplied by a factor each, drawn from 1 - x .. 1 + x."""
    color_mixup_p: float = 0.0
    color_mixup: Sequence[float] = (0.1, 0.5)
    """Share, 0..1, by which the channels' means and deviations move to those of another picture."""

    blur_p: float = 0.0
    blur_sigma: Sequence[float] = (0.3, 1.5)
    """Gaussian, pixels of the crop."""
    strong_blur_p: float = 0.0
    strong_blur_sigma: Sequence[float] = (1.5, 2.5)
    """A second Gaussian after the first."""
    sharpen_p: float = 0.0
    sharpen: Sequence[float] = (0.3, 1.0)
    """Weight of the unsharp mask."""
    noise_p: float = 0.0
    noise: Sequence[float] = (2.0, 10.0)
    """Standard deviation of Gaussian noise, grey levels of 255."""

    cutout_p: float = 0.0
    cutout_count: int = 3
    """Rectangles a picture."""
    cutout_size: Sequence[float] = (0.1, 0.3)
    """Sides of a rectangle, share of the crop's sides."""
    cutout_labels: Literal["ignore", "keep"] = "ignore"
    """What the labels under a rectangle become: IGNORE, or what they were."""
    mosaic_p: float = 0.0
    """Quarters from four samples, each keeping its place."""
    copy_paste_p: float = 0.0
    """Pixels of a rare class (fewer pixels than the median class) from another sample."""

    def __post_init__(self) -> None:
        _check_size(self.size)
        self.size = (int(self.size[0]), int(self.size[1]))
        if self.short_side is not None and self.short_side < 1:
            raise UserError(f"short_side is {self.short_side}; give pixels, at least 1, or leave it out.")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_p") or item.name in _SHARES:
                _check_number(item.name, value, 0, 1)
            elif item.name in _RANGES:
                _check_range(item.name, value, _RANGES[item.name])
        _check_number("rotate", self.rotate, 0, 180)
        _check_number("strong_jitter", self.strong_jitter, 0, 100)
        self._check_together()

    def _check_together(self) -> None:
        widest = max(self.brightness, self.contrast, self.saturation, self.hue)
        if self.strong_jitter_p and self.strong_jitter * widest > 1:
            raise UserError(
                f"augmentation.args.strong_jitter is {self.strong_jitter}: times {widest}, the widest range of the "
                f"jitter, it is above 1. Give at most {1 / widest:.2f}, or smaller ranges."
            )
        if self.balanced_crops and not self.crop_p:
            raise UserError(
                "augmentation.args.balanced_crops moves crops, but crop_p is 0: there are none. Set it, such as 1.0."
            )
        if isinstance(self.cutout_count, bool) or not isinstance(self.cutout_count, int) or self.cutout_count < 1:
            raise UserError(f"augmentation.args.cutout_count is {self.cutout_count}; give a whole number above 0.")
        if self.cutout_labels not in ("ignore", "keep"):
            raise UserError(f"augmentation.args.cutout_labels is {self.cutout_labels!r}; allowed are ignore, keep.")

    @property
    def needs_pool(self) -> bool:
        """Whether other samples are needed."""
        return bool(self.mosaic_p or self.color_mixup_p or self.needs_classes)

    @property
    def needs_classes(self) -> bool:
        """Whether the pixels of every class have to be counted before the first sample."""
        return bool(self.copy_paste_p or self.balanced_crops)


_SHARES = ("balanced_crops", "brightness", "contrast", "saturation", "hue", "balance")
_RANGES: dict[str, float] = {
    **dict.fromkeys(("scale", "aspect", "blur_sigma", "strong_blur_sigma", "gamma", "sharpen", "noise"), float("inf")),
    **{"color_mixup": 1.0, "cutout_size": 1.0, "elastic": 0.1},
}
"""Range -> the largest value that it may have; every value has to be above 0."""


def _check_size(size: Sequence[int]) -> None:
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"augmentation.size is {list(size)}; give height and width in pixels, such as [240, 320].")


def _check_number(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UserError(f"augmentation.args.{name} is {value}; allowed is a number from {low} to {high}.")


def _check_range(name: str, limits: Sequence[float], most: float) -> None:
    numbers = isinstance(limits, (tuple, list)) and all(isinstance(v, (int, float)) for v in limits)
    if not numbers or len(limits) != 2 or not 0 < limits[0] <= limits[1] <= most:
        bound = "both above 0" if most == float("inf") else f"both above 0 and at most {most:g}"
        found = list(limits) if isinstance(limits, (tuple, list)) else limits
        raise UserError(f"augmentation.args.{name} is {found}; give the smallest and largest value, {bound}.")
