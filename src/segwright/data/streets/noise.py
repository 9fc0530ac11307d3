"""Seamless noise tiles, made once a process and shared by every scene."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 512
"""Side of every tile in texels."""


def _smooth(rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
    """Seamless noise of about `cells` bumps across the tile, mean 0, deviation 1: float32 [TILE, TILE]."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    pad = 3
    wrapped = np.pad(coarse, pad, mode="wrap")
    scale = TILE // cells
    big = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    tile = np.asarray(big[pad * scale : pad * scale + TILE, pad * scale : pad * scale + TILE], np.float32)
    return np.asarray((tile - tile.mean()) / tile.std(), np.float32)


@lru_cache(maxsize=16)
def fractal(kind: int, finest: int = 256) -> NDArray[np.float32]:
    """Seamless fractal noise from 4 up to `finest` bumps across, mean 0, deviation 1: float32 [TILE, TILE]."""
    rng = np.random.default_rng([77, kind])
    total = np.zeros((TILE, TILE), np.float32)
    cells, weight = 4, 1.0
    while cells <= finest:
        total += np.float32(weight) * _smooth(rng, cells)
        cells, weight = cells * 2, weight * 0.62
    return np.asarray((total - total.mean()) / total.std(), np.float32)


@lru_cache(maxsize=1)
def grain() -> NDArray[np.int16]:
    """Sensor grain, deviation 32 (gains then scale it finely): int16 [TILE, TILE, 3], slightly shared by channels."""
    rng = np.random.default_rng(78)
    shared = rng.standard_normal((TILE, TILE, 1))
    own = rng.standard_normal((TILE, TILE, 3))
    return np.asarray(np.rint((shared * 0.8 + own * 0.6) * 32), np.int16)


def _byte(field: NDArray[np.float32], mean: float, deviation: float) -> NDArray[np.uint8]:
    return np.asarray(np.clip(mean + deviation * field, 0, 255), np.uint8)


@lru_cache(maxsize=1)
def surfaces() -> NDArray[np.uint8]:
    """Brightness of three ground surfaces, 128 = unchanged: uint8 [TILE, TILE, 3] asphalt, paving, grass.

    The tile is 8 m wide on the street.
    """
    rng = np.random.default_rng(79)
    speckle = rng.standard_normal((TILE, TILE)).astype(np.float32)
    asphalt = 0.75 * speckle + 0.55 * _smooth(rng, 256) + 0.3 * _smooth(rng, 64) + 0.4 * fractal(1, 32)
    slab = TILE // 16
    tone = np.kron(rng.standard_normal((16, 16)).astype(np.float32), np.ones((slab, slab), np.float32))
    for row in range(0, 16, 2):  # a running bond: every second course is shifted by half a slab
        band = slice(row * slab, (row + 1) * slab)
        tone[band] = np.roll(tone[band], slab // 2, axis=1)
    joints = np.zeros((TILE, TILE), np.float32)
    for row in range(16):
        joints[row * slab : row * slab + 2] = 1
        shift = slab // 2 if row % 2 == 0 else 0
        for col in range(16):
            at = (col * slab + shift) % TILE
            joints[row * slab : (row + 1) * slab, at : at + 2] = 1
    paving = 0.5 * tone + 0.35 * speckle - 2.4 * joints + 0.3 * fractal(2, 64)
    blades = cv2.GaussianBlur(speckle, (0, 0), sigmaX=0.7, sigmaY=2.2)
    grass = 1.3 * blades / blades.std() + 0.8 * fractal(3, 128)
    return np.dstack([_byte(asphalt, 128, 13), _byte(paving, 130, 13), _byte(grass, 128, 17)])
