"""Trees, bushes and hedges: leafy sprites in a few shapes, coloured and lit for each scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.data.streets.canvas import Canvas, Image, array
from segwright.data.streets.ids import VEGETATION
from segwright.data.streets.light import Colour, mix
from segwright.data.streets.noise import TILE, fractal

SPRITE = 320
"""Side of a foliage sprite in texels."""

VARIANTS = 4
SHAPES = ("round", "oval", "column", "bush")


@dataclass(frozen=True)
class Tree:
    """A tree at street point (s, z); crown is its (width, height) in metres, trunk the height of bare stem."""

    shape: str
    s: float
    z: float
    trunk: float
    crown: tuple[float, float]
    dark: Colour
    light: Colour
    seed: int


def _outline(shape: str, t: float) -> float:
    """Half width of a crown, 0..1, at height t, 0 at its foot and 1 at its top."""
    if shape == "column":
        return float(min(1.0, 3.2 * t) * (1 - t) ** 0.55)
    if shape == "bush":
        return float((1 - t**2.6) ** 0.5)
    if shape == "oval":
        return float(np.sqrt(max(0.0, 1 - (2 * t - 0.82) ** 2)) if t < 0.41 else np.sqrt(max(0.0, 1 - ((t - 0.41) / 0.59) ** 2)))
    return float(np.sqrt(max(0.0, 1 - (2 * t - 1) ** 2)))


@lru_cache(maxsize=32)
def foliage(shape: str, variant: int) -> tuple[Image, Image]:
    """Brightness and opacity of a crown: uint8 [SPRITE, SPRITE] each, lit from the upper left."""
    number = SHAPES.index(shape) * VARIANTS + variant
    rng = Random(500 + number)
    tone: Image = np.zeros((SPRITE, SPRITE), np.uint8)
    alpha: Image = np.zeros((SPRITE, SPRITE), np.uint8)
    clumps = []
    for _ in range(330):
        t = rng.uniform(0.02, 0.98)
        half = _outline(shape, t) * 0.45
        x = rng.uniform(-1, 1)
        x = half * np.sign(x) * abs(x) ** 0.7
        clumps.append((t + rng.uniform(-0.25, 0.25), t, x))
    for _, t, x in sorted(clumps):  # lower and inner clumps first: the lit ones lie on top
        radius = rng.uniform(0.022, 0.062)
        height = t + rng.uniform(-0.05, 0.05)
        side = -x / 0.45
        level = 70 + 105 * height + 38 * side + rng.uniform(-42, 42)
        middle = (int((0.5 + x) * SPRITE * 16), int((0.965 - 0.93 * t) * SPRITE * 16))
        cv2.circle(tone, middle, int(radius * SPRITE * 16), (level * 0.72,), -1, cv2.LINE_AA, 4)
        lifted = (middle[0] - int(radius * SPRITE * 3), middle[1] - int(radius * SPRITE * 4))
        cv2.circle(tone, lifted, int(radius * SPRITE * 12), (min(level * 1.06, 255),), -1, cv2.LINE_AA, 4)
        cv2.circle(alpha, middle, int(radius * SPRITE * 16), (255,), -1, cv2.LINE_AA, 4)
    return _leafy(tone, alpha, number)


def _leafy(tone: Image, alpha: Image, number: int) -> tuple[Image, Image]:
    """Break round clumps into leaves: shift every pixel a little at random, punch holes near the rim."""
    grid_y, grid_x = np.mgrid[0:SPRITE, 0:SPRITE].astype(np.float32)
    roll = number * 37 % TILE
    wobble_x, wobble_y = (np.roll(fractal(k, 256), roll, (0, 1))[:SPRITE, :SPRITE] for k in (8, 9))
    rng = np.random.default_rng([91, number])
    jitter = rng.standard_normal((2, SPRITE, SPRITE)).astype(np.float32) * 1.3
    map_x, map_y = grid_x + wobble_x * 4.5 + jitter[0], grid_y + wobble_y * 4.5 + jitter[1]
    tone = cv2.remap(tone, map_x, map_y, cv2.INTER_LINEAR).astype(np.uint8)
    alpha = cv2.remap(alpha, map_x, map_y, cv2.INTER_LINEAR).astype(np.uint8)
    rim = cv2.GaussianBlur(alpha, (0, 0), 9).astype(np.float32) / 255
    holes = np.roll(fractal(10, 128), roll, 1)[:SPRITE, :SPRITE] > 1.1 + 2.2 * np.clip(rim - 0.55, 0, 1)
    alpha = np.where(holes, 0, alpha).astype(np.uint8)
    grain = np.roll(fractal(11, 256), roll, 0)[:SPRITE, :SPRITE]
    lit = np.clip(tone.astype(np.float32) * (1 + 0.17 * grain), 0, 255)
    return lit.astype(np.uint8), cv2.GaussianBlur(alpha, (3, 3), 0.6).astype(np.uint8)


def paint_tree(canvas: Canvas, tree: Tree, lit: float = 1.0) -> None:
    """Trunk and branches, then the crown of two or three overlapping sprites."""
    rng = Random(tree.seed)
    x, _, z = canvas.camera.street(tree.s, tree.z)
    width, height = tree.crown
    if tree.trunk > 0:
        stem = 0.022 * (tree.trunk + height) + 0.05
        bark = mix((74, 60, 48), (104, 96, 84), rng.random())
        lean = rng.uniform(-0.15, 0.15)
        fork = (x + lean, tree.trunk * 0.9, z)
        canvas.rod(array([(x, -0.05, z), fork]), stem, bark, VEGETATION, lit)
        for side in (-0.32, 0.06, 0.3):
            tip = (x + lean + side * width, tree.trunk + height * 0.42, z)
            canvas.rod(array([fork, tip]), stem * 0.45, bark, VEGETATION, lit)
    pieces = 1 if tree.shape in ("column", "bush") else 3
    for k in range(pieces):
        share = 1.0 if pieces == 1 else (0.86, 0.72, 0.66)[k]
        dx = 0.0 if pieces == 1 else (rng.uniform(-0.06, 0.06), -0.24, 0.22)[k] * width
        dy = 0.0 if pieces == 1 else (0.14, rng.uniform(0, 0.16), rng.uniform(0.0, 0.2))[k] * height
        foot = tree.trunk * (0.82 if tree.trunk > 0 else 1.0) + dy
        sprite(canvas, tree, (x + dx, foot, z), (width * share, height * share), rng, lit)


def sprite(
    canvas: Canvas, tree: Tree, foot: tuple[float, float, float], size: tuple[float, float], rng: Random, lit: float
) -> None:
    """One piece of crown: its lowest point `foot` in the world, size (width, height) in metres."""
    camera = canvas.camera
    px, depth = camera.project(array([foot, (foot[0], foot[1] + size[1], foot[2])]))
    variant, flip, quarter = rng.randrange(VARIANTS), rng.random() < 0.35, rng.uniform(0.9, 1.1)
    if depth.min() < 2.0:
        return
    wide = camera.focal * size[0] / float(depth[0]) * quarter
    high = float(px[0, 1] - px[1, 1])
    left, top = float(px[0, 0]) - wide / 2, float(px[1, 1])
    box = _crop(left, top, wide, high, camera.width, camera.height)
    if box is None or wide < 1 or high < 1:
        return
    tone, alpha = foliage(tree.shape, variant)
    if flip != (canvas.light.sun[0] > 0):
        tone, alpha = tone[:, ::-1], alpha[:, ::-1]
    x0, x1, y0, y1 = box
    columns, rows = (x0 + 0.5 - left) / wide * SPRITE, (y0 + 0.5 - top) / high * SPRITE
    warp = np.array([[SPRITE / wide, 0, columns - 0.5], [0, SPRITE / high, rows - 0.5]])
    smaller = min(wide, high) < SPRITE
    if smaller:  # shrink first, so that far crowns do not flicker
        fit = (max(1, round(wide)), max(1, round(high)))
        tone, alpha = (cv2.resize(np.ascontiguousarray(m), fit, interpolation=cv2.INTER_AREA) for m in (tone, alpha))
        warp = np.array([[fit[0] / wide, 0, (x0 + 0.5 - left) / wide * fit[0] - 0.5],
                         [0, fit[1] / high, (y0 + 0.5 - top) / high * fit[1] - 0.5]])  # fmt: skip
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    tone, alpha = (
        np.asarray(cv2.warpAffine(np.ascontiguousarray(m), warp, (x1 - x0, y1 - y0), flags=flags), np.uint8)
        for m in (tone, alpha)
    )
    canvas.blend(y0, x0, _palette(canvas, tree, float(depth[0]), lit)[tone], alpha, VEGETATION)


def _palette(canvas: Canvas, tree: Tree, depth: float, lit: float) -> Image:
    """Colour of each brightness: uint8 [256, 3]."""
    light = canvas.light
    dark = np.array(light.shade(tree.dark, (0.0, -0.3, 0.0), depth, 0.0))
    bright = np.array(light.shade(tree.light, (light.sun[0] * 0.5, 0.8, -0.3), depth, lit))
    t = np.linspace(0, 1, 256)[:, None]
    return np.clip(dark + (bright - dark) * t**0.9, 0, 255).astype(np.uint8)


def _crop(left: float, top: float, wide: float, high: float, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Whole pixels (x0, x1, y0, y1) of the part inside the picture."""
    x0, x1 = max(0, int(np.floor(left))), min(width, int(np.ceil(left + wide)) + 1)
    y0, y1 = max(0, int(np.floor(top))), min(height, int(np.ceil(top + high)) + 1)
    return (x0, x1, y0, y1) if x0 < x1 and y0 < y1 else None


def crown_shadow(tree: Tree) -> NDArray[np.float64]:
    """Footprint of the crown around its stem, metres: float64 [12, 2]."""
    rng = Random(tree.seed + 1)
    angle = np.arange(12) * (2 * np.pi / 12)
    radius = np.array([rng.uniform(0.34, 0.52) for _ in range(12)]) * tree.crown[0]
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
