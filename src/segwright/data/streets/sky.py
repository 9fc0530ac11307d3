"""Sky: gradient, clouds in perspective, and the glare of a sun that stands in view."""

from __future__ import annotations

from random import Random

import cv2
import numpy as np

from segwright.data.streets.canvas import Canvas
from segwright.data.streets.ids import SKY
from segwright.data.streets.light import Light
from segwright.data.streets.noise import TILE, fractal


def paint_sky(canvas: Canvas, rng: Random) -> None:
    """Fill the whole picture with sky; the ground covers the rest later."""
    camera, light = canvas.camera, canvas.light
    canvas.ids[:] = SKY
    rows = min(camera.height, int(camera.centre_y + 0.12 * camera.height) + 2)
    step = max(2, camera.height // 128)
    v = np.arange(step / 2, rows + step, step, dtype=np.float32)[:, None]
    u = np.arange(step / 2, camera.width + step, step, dtype=np.float32)[None, :]
    rise = (camera.centre_y - v) / camera.focal - float(camera.rotation[1, 2])
    aside = (u - camera.centre_x) / camera.focal + 0 * rise
    rise = np.clip(rise, 0.0, None) + 0 * aside
    up = np.clip(rise / 0.42, 0, 1)[..., None] ** 0.7
    sky = np.array(light.horizon, np.float32) * (1 - up) + np.array(light.zenith, np.float32) * up
    if light.clouds > 0:
        veil = _clouds(light, rise, aside, rng)[..., None]
        sky = sky * (1 - veil) + _cloud_colour(light, rise, rng) * veil
    if light.kind in ("clear", "fair", "dusk") and light.sun[2] > 0.1:
        sky = sky + _glare(light, rise, aside)[..., None] * np.array((255, 232, 190), np.float32)
    small = np.asarray(np.clip(sky, 0, 255), np.uint8)
    canvas.image[:rows] = cv2.resize(small, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)[
        :rows, : camera.width
    ]


def _sample(kind: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(
        fractal(kind, 64), np.mod(x, TILE), np.mod(y, TILE), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _clouds(light: Light, rise: np.ndarray, aside: np.ndarray, rng: Random) -> np.ndarray:
    """Cover of the sky by clouds, 0..1."""
    away = 1.0 / (rise + 0.10)
    scale = rng.uniform(16, 34)
    x = (aside * away * scale + rng.uniform(0, TILE)).astype(np.float32)
    y = (away * scale * 1.4 + rng.uniform(0, TILE)).astype(np.float32)
    field = _sample(4, x, y) * 0.8 + _sample(5, x * 3.1, y * 3.1) * 0.35
    threshold = 1.3 - 2.6 * light.clouds
    return np.clip((field - threshold) / 0.9, 0, 1) * min(1.0, 0.75 + 0.25 * light.clouds)


def _cloud_colour(light: Light, rise: np.ndarray, rng: Random) -> np.ndarray:
    top = np.array(light.horizon, np.float32)
    if light.kind in ("clear", "fair"):
        top = np.array((248, 248, 250), np.float32)
    bottom = top * rng.uniform(0.78, 0.92)
    mixing = np.clip(rise / 0.3, 0, 1)[..., None]
    return np.asarray(bottom * mixing + top * (1 - mixing), np.float32)


def _glare(light: Light, rise: np.ndarray, aside: np.ndarray) -> np.ndarray:
    dx, dy = aside - light.sun[0] / light.sun[2], rise - light.sun[1] / light.sun[2]
    near = np.sqrt(dx * dx + dy * dy)
    return np.asarray(0.55 * np.exp(-near / 0.16) + 0.9 * np.exp(-((near / 0.03) ** 2)), np.float32)
