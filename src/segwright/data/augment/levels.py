"""The levels `none`, `standard` and `advanced`: draw all random numbers once, place the crop, then colour it.

`draw` turns a random generator into `Params`, and `apply` turns a picture and its mask into a training crop of exactly
`size`; the same Params drive picture and mask.

Geometry. The picture counts as resized so that its shorter side is `short_side` (its own size without that), times the
drawn scale. A *crop* is a window of `size` pixels at a random place of that picture. Otherwise the *whole* picture is
used: the largest window with the aspect of `size`, shrunk by the drawn scale, at a random place (in the middle for the
level `none`), so nothing is distorted by more than the rounding of its edges unless `aspect` or `elastic` ask for it.
Where a window is larger than the picture, the rest is filled with the mean colour and IGNORE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from segwright.contracts import Sample, UserError
from segwright.data.augment.coloring import colors_of, finish
from segwright.data.augment.geometry import hold, place
from segwright.data.augment.params import PARTNERS, Params, Pixels, Window
from segwright.data.augment.partners import Pool, copy_paste, labels_of, mosaic, rare_pixel
from segwright.data.augment.settings import Settings

DRAWS = 48
"""Random numbers a sample. Each parameter has its own place in the row: a new one takes a free place, none moves."""
_ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


class Augmentation(Settings):
    """A function (Sample, generator, pool) -> (image uint8 [h, w, 3], labels uint8 [h, w]) of exactly `size` = (h, w).

    Arguments: those of `Settings`. pool: where partners come from; needed when `needs_pool` says so.
    Raises DataError for a sample without labels, UserError for multi-label samples and a missing pool.
    """

    mask_steps = 1

    def __call__(self, sample: Sample, rng: np.random.Generator, pool: Pool | None = None) -> tuple[Pixels, Pixels]:
        labels = labels_of(sample)
        if pool is None and self.needs_pool:
            raise UserError(
                "this augmentation takes pixels or colours of other samples (mosaic_p, copy_paste_p, color_mixup_p, "
                "balanced_crops): call it with a pool, such as segwright.data.assembling.DatasetPool(dataset)."
            )
        height, width = labels.shape
        params = self.draw(height, width, rng)
        if pool is None or not params.mixes:
            return self.apply(sample.rgb, labels, params)
        return self._mixed(sample, labels, params, pool)

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Params:
        """The parameters for a picture of height × width pixels.

        Every parameter has its own place in one row of random numbers: changing one probability moves no other draw.
        """
        u = rng.random(DRAWS).tolist()
        zoom = _between(self.scale, u[1]) if u[0] < self.scale_p else 1.0
        crop = u[2] < self.crop_p
        factors, hue = self._jitter(u)
        blur = _between(self.blur_sigma, u[7]) if u[6] < self.blur_p else 0.0
        if u[16] < self.strong_blur_p:
            blur = math.hypot(blur, _between(self.strong_blur_sigma, u[17]))  # what two Gaussians make together
        return Params(
            window=self._window(
                height, width, zoom, crop=crop, place=(u[3], u[4]), aspect=_geometric(self.aspect, u[15])
            ),
            flip=u[5] < self.flip_p,
            angle=self.rotate * (2 * u[19] - 1) if u[18] < self.rotate_p else 0.0,
            elastic=_between(self.elastic, u[21]) if u[20] < self.elastic_p else 0.0,
            blur_sigma=blur,
            sharpen=_between(self.sharpen, u[23]) if u[22] < self.sharpen_p else 0.0,
            gamma=_geometric(self.gamma, u[14]) if u[13] < self.gamma_p else 1.0,
            brightness=factors[0],
            contrast=factors[1],
            saturation=0.0 if u[24] < self.grey_p else factors[2],
            hue=hue,
            channels=_ORDERS[int(u[26] * len(_ORDERS))] if u[25] < self.shuffle_p else (0, 1, 2),
            balance=self._balance(u[28:31]) if u[27] < self.balance_p else (1.0, 1.0, 1.0),
            noise=_between(self.noise, u[32]) if u[31] < self.noise_p else 0.0,
            color_mixup=_between(self.color_mixup, u[34]) if u[33] < self.color_mixup_p else 0.0,
            cutout=u[35] < self.cutout_p,
            mosaic=u[36] < self.mosaic_p,
            copy_paste=u[37] < self.copy_paste_p,
            balanced=crop and u[38] < self.balanced_crops,
            seed=int(u[39] * 2**32),
        )

    def apply(self, image: Pixels, labels: Pixels, params: Params) -> tuple[Pixels, Pixels]:
        """The crop that `params` describes, of image uint8 [H, W, 3] and labels uint8 [H, W], which stay unchanged.

        What `params` say of other samples is left out: it needs `__call__` and a pool.
        """
        picture, mask = place(image, labels, params, self.size)
        return finish(picture, mask, params, self), mask

    def geometry(self) -> Augmentation:
        """The same without what changes colours only; what cut-out hides is IGNORE."""
        return replace(self, **dict.fromkeys(_COLORS, 0.0), cutout_labels="ignore")  # type: ignore[arg-type]

    def _mixed(self, sample: Sample, labels: Pixels, params: Params, pool: Pool) -> tuple[Pixels, Pixels]:
        rng = params.generator(PARTNERS)
        if params.balanced and (pixel := rare_pixel(labels, pool.class_index(), rng)):
            params = replace(params, window=hold(params.window, labels.shape, pixel))

        def placed(partner: Sample, pixel: tuple[int, int] | None) -> tuple[Pixels, Pixels]:
            theirs = labels_of(partner)
            drawn = self.draw(theirs.shape[0], theirs.shape[1], rng)
            if pixel is not None:
                drawn = replace(drawn, window=hold(drawn.window, theirs.shape, pixel, (rng.random(), rng.random())))
            return place(partner.rgb, theirs, drawn, self.size)

        picture, mask = place(sample.rgb, labels, params, self.size)
        if params.mosaic:
            picture, mask = mosaic(picture, mask, pool, rng, placed)
        if params.copy_paste:
            picture, mask = copy_paste(picture, mask, pool, rng, placed)
        colors = colors_of(pool.sample(int(rng.integers(len(pool)))).rgb) if params.color_mixup else None
        return finish(picture, mask, params, self, colors), mask

    def _jitter(self, u: Sequence[float]) -> tuple[list[float], float]:
        """Factors of brightness, contrast and saturation, and the turn of the hue; two jitters multiply and add."""
        strengths = (self.brightness, self.contrast, self.saturation)
        factors, hue = [1.0, 1.0, 1.0], 0.0
        if u[8] < self.jitter_p:
            factors = [1 + s * (2 * draw - 1) for s, draw in zip(strengths, u[9:12], strict=True)]
            hue = self.hue * (2 * u[12] - 1)
        if u[40] < self.strong_jitter_p:
            wide = self.strong_jitter
            factors = [f * (1 + wide * s * (2 * d - 1)) for f, s, d in zip(factors, strengths, u[41:44], strict=True)]
            hue += wide * self.hue * (2 * u[44] - 1)
        return factors, hue

    def _balance(self, u: Sequence[float]) -> tuple[float, float, float]:
        red, green, blue = (1 + self.balance * (2 * draw - 1) for draw in u)
        return red, green, blue

    def _window(
        self, height: int, width: int, zoom: float, *, crop: bool, place: tuple[float, float], aspect: float
    ) -> Window:
        h, w = self.size[0] / math.sqrt(aspect), self.size[1] * math.sqrt(aspect)
        if crop:
            pixel = (1.0 if self.short_side is None else min(height, width) / self.short_side) / zoom
        else:
            pixel = min(height / h, width / w) / zoom
        rows, columns = max(1, round(h * pixel)), max(1, round(w * pixel))
        down, right = (0.5, 0.5) if self.centred else place
        return round((height - rows) * down), round((width - columns) * right), rows, columns


_COLORS = (
    *("jitter_p", "strong_jitter_p", "gamma_p", "grey_p", "shuffle_p", "balance_p", "color_mixup_p"),
    *("blur_p", "strong_blur_p", "sharpen_p", "noise_p"),
)
_STANDARD: dict[str, float] = {
    **{"flip_p": 0.5, "blur_p": 0.3, "gamma_p": 0.25, "scale_p": 0.5, "crop_p": 0.4, "jitter_p": 0.5},
}
_ADVANCED: dict[str, float] = {
    **_STANDARD,
    **{"shuffle_p": 0.1, "grey_p": 0.1, "strong_blur_p": 0.15, "sharpen_p": 0.1, "balance_p": 0.1},
    **{"strong_jitter_p": 0.15, "noise_p": 0.1, "elastic_p": 0.1, "color_mixup_p": 0.05},
}

none = partial(Augmentation, centred=True)
"""The whole picture at `size`, cut in the middle where the aspect differs; nothing random."""
standard: partial[Augmentation] = partial(Augmentation, **_STANDARD)  # type: ignore[arg-type]
"""Flip, blur, gamma, up-scale, crop and colour jitter. crop_p=1, scale_p=1 and scale=(0.5, 2.0) make the usual random
scale and crop."""
advanced: partial[Augmentation] = partial(Augmentation, **_ADVANCED)  # type: ignore[arg-type]
"""`standard`, and more colour changes, sharpening, noise and mild elastic shifts."""


def _between(limits: Sequence[float], draw: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * draw)


def _geometric(limits: Sequence[float], draw: float) -> float:
    if limits[0] == limits[1]:
        return limits[0]
    low, high = math.log(limits[0]), math.log(limits[1])
    return math.exp(low + (high - low) * draw)
