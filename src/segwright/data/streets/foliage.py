"""Leafy sprites: crowns built from lobes of lit leaf clumps, kept in several sizes so that far ones stay calm."""

from __future__ import annotations

import math
from functools import lru_cache
from random import Random
from typing import Final

import cv2
import numpy as np

from segwright.data.streets.canvas import Image
from segwright.data.streets.noise import TILE, fractal

SPRITE: Final = 384
"""Side of the largest sprite in texels; each further level halves it."""

LEVELS: Final = 6
VARIANTS: Final = 5
SHAPES: Final = ("round", "oval", "column", "bush")

Lobe = tuple[float, float, float]
"""Middle x and y (y upwards, both 0..1 of the sprite) and radius."""


def _lobes(shape: str, rng: Random) -> list[Lobe]:
    """The big bulges of a crown, the rear and lower ones first."""
    v = rng.uniform
    if shape == "column":
        return [
            (0.5 + v(-0.06, 0.06), 0.14 + 0.72 * k / 7, (0.2, 0.24, 0.25, 0.24, 0.21, 0.18, 0.14, 0.09)[k])
            for k in range(8)
        ]
    if shape == "bush":
        lobes = [(0.5 + v(-0.28, 0.28), v(0.2, 0.42), v(0.17, 0.26)) for _ in range(6)]
        lobes += [(x, 0.14, 0.15) for x in (0.16, 0.38, 0.62, 0.84)]
        return sorted(lobes, key=lambda lobe: -lobe[1])[::-1]
    narrow = 0.8 if shape == "oval" else 1.0
    lobes = [(0.5, 0.52, 0.3 * narrow)]
    for k in range(9):
        angle = 2 * math.pi * (k + v(-0.3, 0.3)) / 9
        reach = v(0.18, 0.27)
        x, y = 0.5 + reach * 1.05 * narrow * math.cos(angle), 0.5 + reach * math.sin(angle)
        lobes.append((x, y, v(0.13, 0.2)))
    lobes += [(0.5 + v(-0.16, 0.16) * narrow, 0.5 + v(-0.12, 0.2), v(0.14, 0.2)) for _ in range(3)]
    return sorted(lobes, key=lambda lobe: lobe[1] + (0.3 if lobe[2] > 0.26 else 0))[::-1][:1] + sorted(
        lobes, key=lambda lobe: lobe[1]
    )


def _draw(shape: str, number: int) -> tuple[Image, Image]:
    """Brightness and opacity before leaves are cut: uint8 [SPRITE, SPRITE] each, lit from the upper left."""
    rng = Random(500 + number)
    tone: Image = np.zeros((SPRITE, SPRITE), np.uint8)
    alpha: Image = np.zeros((SPRITE, SPRITE), np.uint8)

    def dab(x: float, y: float, radius: float, level: float) -> None:
        at = (int(x * SPRITE * 16), int((1 - y) * SPRITE * 16))
        size = int(radius * SPRITE * 16)
        cv2.circle(tone, at, size, (min(max(level, 12.0), 250.0),), -1, cv2.LINE_AA, 4)
        cv2.circle(alpha, at, size, (255,), -1, cv2.LINE_AA, 4)

    for x, y, radius in _lobes(shape, rng):
        base = 36 + 46 * y
        for _ in range(26):  # the shaded inside shows between the clumps
            angle, reach = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.5, 0.98)
            dab(
                x + reach * math.cos(angle),
                y + reach * math.sin(angle),
                radius * rng.uniform(0.1, 0.26),
                base * rng.uniform(0.7, 1.2),
            )
        dab(x, y, radius * 0.8, base)
        clumps = sorted((rng.uniform(-1, 1), math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)) for _ in range(120))
        for drop, reach, angle in clumps:
            nx, ny = reach * math.cos(angle), reach * math.sin(angle)
            facing = 0.72 * ny - 0.46 * nx + 0.3 * math.sqrt(max(0.0, 1 - reach * reach))
            level = 92 + 88 * facing + 44 * (y - 0.5) + 26 * drop
            dab(x + nx * radius, y + ny * radius, radius * rng.uniform(0.05, 0.15), level)
    return tone, alpha


def _leafy(tone: Image, alpha: Image, number: int) -> Image:
    """Break clumps into leaves: shift every pixel at random, punch holes near the rim. uint8 [SPRITE, SPRITE, 2]."""
    grid_y, grid_x = np.mgrid[0:SPRITE, 0:SPRITE].astype(np.float32)
    roll = number * 37 % TILE
    wobble_x, wobble_y = (np.roll(fractal(k, 256), roll, (0, 1))[:SPRITE, :SPRITE] for k in (8, 9))
    rng = np.random.default_rng([91, number])
    jitter = cv2.GaussianBlur(rng.standard_normal((SPRITE, SPRITE, 2)).astype(np.float32), (0, 0), 0.8) * 6.5
    map_x, map_y = grid_x + wobble_x * 4 + jitter[..., 0], grid_y + wobble_y * 4 + jitter[..., 1]
    tone = cv2.remap(tone, map_x, map_y, cv2.INTER_LINEAR).astype(np.uint8)
    alpha = cv2.remap(alpha, map_x, map_y, cv2.INTER_LINEAR).astype(np.uint8)
    rim = cv2.GaussianBlur(alpha, (0, 0), 11).astype(np.float32) / 255
    holes = np.roll(fractal(10, 128), roll, 1)[:SPRITE, :SPRITE] > 0.9 + 3.2 * np.clip(rim - 0.5, 0, 1)
    alpha = np.where(holes, 0, alpha).astype(np.uint8)
    leaf = cv2.GaussianBlur(rng.standard_normal((SPRITE, SPRITE)).astype(np.float32), (0, 0), 1.1)
    lit = tone.astype(np.float32) * (1 + 0.2 * leaf / leaf.std())
    return np.dstack([np.clip(lit, 0, 255).astype(np.uint8), cv2.GaussianBlur(alpha, (3, 3), 0.6).astype(np.uint8)])


@lru_cache(maxsize=64)
def foliage(shape: str, variant: int, *, flip: bool) -> tuple[Image, ...]:
    """A crown in LEVELS sizes, the largest first: uint8 [s, s, 2] brightness and opacity, s = SPRITE / 2^level."""
    number = SHAPES.index(shape) * VARIANTS + variant
    if flip:
        return tuple(np.ascontiguousarray(level[:, ::-1]) for level in foliage(shape, variant, flip=False))
    levels = [_leafy(*_draw(shape, number), number)]
    for _ in range(LEVELS - 1):
        half = levels[-1].shape[0] // 2
        # Weigh brightness by opacity, or the black around a crown would darken its rim.
        weight = levels[-1][..., 1].astype(np.float32)
        small = cv2.resize(weight, (half, half), interpolation=cv2.INTER_AREA)
        tone = cv2.resize(levels[-1][..., 0] * weight, (half, half), interpolation=cv2.INTER_AREA) / np.maximum(
            small, 1
        )
        levels.append(np.dstack([np.clip(tone, 0, 255), small]).astype(np.uint8))
    return tuple(levels)
