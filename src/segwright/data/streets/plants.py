"""Trees, bushes and hedges: trunks, and leafy sprites coloured and lit for each scene."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from segwright.data.streets.camera import Points
from segwright.data.streets.canvas import Canvas, Image, array
from segwright.data.streets.foliage import LEVELS, SPRITE, VARIANTS, foliage
from segwright.data.streets.ids import VEGETATION
from segwright.data.streets.light import Colour, mix


@dataclass(frozen=True)
class Tree:
    """A plant at street point (s, z); crown is its (width, height) in metres, trunk the height of bare stem."""

    shape: str
    s: float
    z: float
    trunk: float
    crown: tuple[float, float]
    dark: Colour
    light: Colour
    seed: int


def paint_tree(canvas: Canvas, tree: Tree, lit: float = 1.0) -> None:
    """Trunk and branches, then the crown."""
    camera = canvas.camera
    x, _, z = camera.street(tree.s, tree.z)
    width, height = tree.crown
    if z < 2.5 or abs(x) - width > (0.6 * camera.width / camera.focal + 0.1) * z:
        return
    rng = Random(tree.seed)
    variant, squeeze = rng.randrange(VARIANTS), rng.uniform(0.92, 1.1)
    if tree.trunk > 0:
        stem = 0.02 * (tree.trunk + height) + 0.04
        bark = mix((86, 70, 56), (118, 108, 94), rng.random())
        fork = (x + rng.uniform(-0.15, 0.15), tree.trunk + 0.12 * height, z)
        canvas.rod(array([(x, -0.05, z), fork]), stem, bark, VEGETATION, lit)
        if z < 35:
            for side in (-0.3, 0.05, 0.28):
                tip = (fork[0] + side * width, tree.trunk + height * 0.5, z)
                canvas.rod(array([fork, tip]), stem * 0.45, bark, VEGETATION, lit)
    foot = tree.trunk * 0.86 if tree.trunk > 0 else -0.1
    _crown(canvas, tree, (x, foot, z), (width * 1.08 * squeeze, height * 1.05), variant, lit)


def _crown(
    canvas: Canvas,
    tree: Tree,
    foot: tuple[float, float, float],
    size: tuple[float, float],
    variant: int,
    lit: float,
) -> None:
    """The sprite of a crown: its lowest point `foot` in the world, size (width, height) in metres."""
    camera = canvas.camera
    px, depth = camera.project(array([foot, (foot[0], foot[1] + size[1], foot[2])]))
    wide, high = camera.focal * size[0] / float(depth[0]), float(px[0, 1] - px[1, 1])
    left, top = float(px[0, 0]) - wide / 2, float(px[1, 1])
    x0, x1 = max(0, int(np.floor(left))), min(camera.width, int(np.ceil(left + wide)) + 1)
    y0, y1 = max(0, int(np.floor(top))), min(camera.height, int(np.ceil(top + high)) + 1)
    if x0 >= x1 or y0 >= y1 or wide < 1 or high < 1:
        return
    level = int(np.clip(np.floor(np.log2(SPRITE / max(wide, high)) + 0.35), 0, LEVELS - 1))
    # Sprites are lit from the left: turn them over when the sun stands on the right.
    sprite = foliage(tree.shape, variant, flip=canvas.light.sun[0] > 0)[level]
    texels = sprite.shape[0]
    sx, sy = texels / wide, texels / high
    warp = np.array([[sx, 0, (x0 + 0.5 - left) * sx - 0.5], [0, sy, (y0 + 0.5 - top) * sy - 0.5]])
    seen = np.asarray(
        cv2.warpAffine(sprite, warp, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), np.uint8
    )
    canvas.blend(y0, x0, _palette(canvas, tree, float(depth[0]), lit)[seen[..., 0]], seen[..., 1], VEGETATION)


_RAMP = np.linspace(0, 1, 256)[:, None] ** 0.9


def _palette(canvas: Canvas, tree: Tree, depth: float, lit: float) -> Image:
    """Colour of each brightness: uint8 [256, 3]."""
    light = canvas.light
    dark = np.array(light.shade(tree.dark, (0.0, -0.3, 0.0), depth, 0.0))
    bright = np.array(light.shade(tree.light, (light.sun[0] * 0.5, 0.8, -0.3), depth, lit))
    return np.asarray(np.minimum(dark + (bright - dark) * _RAMP, 255), np.uint8)


def crown_ring(tree: Tree) -> Points:
    """Footprint of the crown around its stem, metres: float64 [10, 2]."""
    rng = Random(tree.seed + 1)
    angle = np.arange(10) * (2 * np.pi / 10)
    radius = np.array([rng.uniform(0.34, 0.52) for _ in range(10)]) * tree.crown[0]
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
