"""Everything that lies flat: road, markings, kerbs, sidewalks, verges, rails, cracks, and the shadows on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.data.streets.camera import Points
from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.ids import GROUND, RAIL_TRACK, ROAD, SIDEWALK, TERRAIN
from segwright.data.streets.light import UP, Colour, mix, scaled
from segwright.data.streets.noise import TILE, fractal, surfaces

FAR = 320.0
"""Where the ground ends, metres."""

WHITE: Colour = (212, 212, 206)
YELLOW: Colour = (214, 176, 62)


@dataclass(frozen=True)
class Strip:
    """A lengthwise strip of the street: from `left` to `right` (s, metres), from `start` to `stop` (z, metres)."""

    left: float
    right: float
    label: int | None
    albedo: Colour
    start: float = 0.8
    stop: float = FAR


@dataclass
class Surface:
    """What the ground of a scene is made of, in painting order."""

    base_label: int = SIDEWALK
    base_albedo: Colour = (120, 118, 112)
    strips: list[Strip] = field(default_factory=list)
    markings: list[Strip] = field(default_factory=list)
    blots: list[tuple[Points, Colour, float]] = field(default_factory=list)
    """Patches, cracks and covers: street polygon (s, z) [N, 2], albedo, and the distance from which it is left out."""
    cobbles: bool = False
    slabs: bool = True


def _reach(start: float, stop: float) -> Points:
    """Distances at which a strip bends with the street, closer together near the camera."""
    count = 2 if stop - start < 4 else 6 if stop - start < 30 else 22
    return np.geomspace(max(start, 0.8), max(stop, 0.9), count)


def strip_polygon(canvas: Canvas, left: float, right: float, start: float, stop: float) -> Points:
    zs = _reach(start, stop)
    return np.concatenate([canvas.camera.path(left, zs), canvas.camera.path(right, zs)[::-1]])


def paint_ground(canvas: Canvas, surface: Surface, rng: Random) -> None:
    """Paint every flat thing, then its texture. Shadows come later, through `darken`."""
    camera, light = canvas.camera, canvas.light
    edge = array([(-900, 0, 0.8), (-900, 0, 2000), (900, 0, 2000), (900, 0, 0.8)])
    canvas.face(edge, light.shade(surface.base_albedo, UP, 60), surface.base_label)
    for strip in surface.strips:
        polygon = strip_polygon(canvas, strip.left, strip.right, strip.start, strip.stop)
        canvas.face(polygon, light.shade(strip.albedo, UP, 0), strip.label)
    for polygon_sz, albedo, limit in surface.blots:
        if polygon_sz[:, 1].min() < limit:
            world = array([camera.street(s, z) for s, z in polygon_sz.tolist()])
            canvas.face(world, light.shade(albedo, UP, 0))
    for mark in surface.markings:
        if mark.right - mark.left > 0.03 * mark.start / 8 * 1000 / camera.focal * 0.2:
            polygon = strip_polygon(canvas, mark.left, mark.right, mark.start, mark.stop)
            canvas.face(polygon, light.shade(mark.albedo, UP, 0))
    _texture(canvas, surface, rng)


def _texture(canvas: Canvas, surface: Surface, rng: Random) -> None:
    """Grain, slabs, grass, stains and wheel tracks, then haze, all in street coordinates."""
    camera, light = canvas.camera, canvas.light
    tilt = abs(float(camera.rotation[0, 1])) * camera.width / 2
    horizon = camera.centre_y + camera.focal * float(camera.rotation[1, 2])
    first = int(min(max(horizon - tilt + 1, 0), camera.height - 1))
    s, z = camera.ground(first)
    image, ids = canvas.image[first:], canvas.ids[first:]
    texel = np.float32(TILE / 8.0)
    shift = np.float32(rng.uniform(0, TILE))
    fine = cv2.remap(
        surfaces(), np.mod(s * texel + shift, TILE), np.mod(z * texel, TILE), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    broad = cv2.remap(
        fractal(6, 64), np.mod(s * 24 + shift, TILE), np.mod(z * 9, TILE), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    factor = np.asarray(fine[..., 0], np.float32)
    paved = (ids == SIDEWALK) if surface.slabs else np.zeros(ids.shape, bool)
    green = (ids == TERRAIN) | (ids == RAIL_TRACK) | (ids == GROUND)
    if surface.cobbles:
        stones = cv2.remap(
            surfaces()[..., 1].copy(), np.mod(s * texel * 2.6, TILE), np.mod(z * texel * 2.6, TILE), cv2.INTER_LINEAR
        )
        cv2.copyTo(stones.astype(np.float32), (ids == ROAD).astype(np.uint8), factor)
    cv2.copyTo(fine[..., 1].astype(np.float32), paved.astype(np.uint8), factor)
    cv2.copyTo(fine[..., 2].astype(np.float32), green.astype(np.uint8), factor)
    texel_px = camera.focal * camera.eye_height / np.maximum(z * z, 1.0) / texel
    near = int(np.argmax(texel_px.min(axis=1) > 0.8)) if texel_px[-1].min() > 0.8 else len(z)
    if near < len(z):  # a second, finer grain where a texel of the first covers whole pixels
        finer = cv2.remap(
            surfaces()[..., 0].copy(), np.mod(s[near:] * texel * 5.3, TILE), np.mod(z[near:] * texel * 4.1, TILE),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        factor[near:] += (np.asarray(finer, np.float32) - 128) * np.clip(texel_px[near:] - 0.8, 0, 0.9)
    # Far away a texel is smaller than a pixel: fade the grain there instead of letting it flicker.
    keep = np.clip(texel_px * 2.6, 0.12, 1)
    factor = 1 + (factor / 128 - 1) * keep + broad * np.float32(0.03)
    if light.snow > 0:
        return _snow(canvas, first, factor, np.asarray(broad, np.float32), z)
    if light.night > 0.5:  # our own headlights
        beam = np.exp(-(((s - np.float32(camera.eye_s)) / (1.6 + 0.12 * z)) ** 2) - ((z - 10) / 11) ** 2)
        factor *= 1 + np.float32(1.5) * beam
    lit = image * factor[..., None]
    fog = (1 - np.exp(-z * np.float32(light.haze_per_m)))[..., None]
    lit += (np.array(light.haze, np.float32) - lit) * fog
    canvas.image[first:] = np.clip(lit, 0, 255)
    return None


def _snow(
    canvas: Canvas, first: int, factor: NDArray[np.float32], broad: NDArray[np.float32], z: NDArray[np.float32]
) -> None:
    """Snow lies on verges and sidewalks and in thin patches on the road."""
    light = canvas.light
    ids, image = canvas.ids[first:], canvas.image[first:]
    depth = np.where(ids == ROAD, np.float32(-1.3 + light.snow * 0.7), np.float32(0.2 + light.snow))
    cover = np.clip(depth + broad * 0.6 * np.clip(30 / np.maximum(z, 1), 0.1, 1), 0, 0.9)[..., None]
    white = np.array(light.shade((214, 219, 228), UP, 0), np.float32)
    lit = (image * (1 - cover) + white * cover) * factor[..., None]
    fog = (1 - np.exp(-z * np.float32(light.haze_per_m)))[..., None]
    lit += (np.array(light.haze, np.float32) - lit) * fog
    canvas.image[first:] = np.clip(lit, 0, 255)


class Shade:
    """Shadows on the ground, gathered as a mask and applied at once."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        shape = canvas.ids.shape
        self.cast: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.contact: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        sun = canvas.light.sun
        self.slope = (-sun[0] / sun[1], -sun[2] / sun[1])
        self.strength = min(0.5, 0.7 * sum(canvas.light.direct) / 3)

    def prism(self, footprint_N2: Points, low: float, high: float) -> None:
        """Shadow of an upright prism: footprint in world (x, z), from height low to high."""
        if self.strength < 0.1:
            return
        slope = np.array(self.slope)
        feet = np.concatenate([footprint_N2 + slope * low, footprint_N2 + slope * high]).astype(np.float32)
        self._fill(self.cast, np.asarray(cv2.convexHull(feet)[:, 0], np.float64), 255)

    def under(self, footprint_N2: Points) -> None:
        """The dark that every thing has at its foot, in any weather."""
        self._fill(self.contact, footprint_N2, 255)

    def _fill(self, mask: NDArray[np.uint8], flat_N2: Points, value: int) -> None:
        px = self.canvas.camera.polygon(np.column_stack([flat_N2[:, 0], np.zeros(len(flat_N2)), flat_N2[:, 1]]))
        if px is not None:
            px = np.clip(px, -30000, 30000)
            cv2.fillPoly(mask, [np.rint(px * 16).astype(np.int32)], (value,), cv2.LINE_AA, 4)

    def lit(self, world: Sequence[float]) -> float:
        """How much sun reaches a point on the ground: 1, or 0.25 in a cast shadow."""
        px, depth = self.canvas.camera.project(array([world]))
        col, row = int(np.clip(px[0, 0], -1e6, 1e6)), int(np.clip(px[0, 1], -1e6, 1e6))
        if depth[0] < 1 or not (0 <= row < self.cast.shape[0] and 0 <= col < self.cast.shape[1]):
            return 1.0
        return 0.25 if self.cast[row, col] > 127 else 1.0

    def darken(self) -> None:
        """Put the shadows onto the picture, slightly blurred."""
        canvas = self.canvas
        size = max(1, canvas.camera.height // 160) | 1
        soft = max(3, canvas.camera.height // 60) | 1
        cast = cv2.blur(self.cast, (size, size))
        contact = cv2.blur(self.contact, (soft, soft))
        ground = np.asarray(cast, np.float32) * np.float32(self.strength / 255)
        keep = (1 - ground) * (1 - np.asarray(contact, np.float32) * np.float32(0.62 / 255))
        rows = np.flatnonzero(keep.min(axis=1) < 0.999)
        if len(rows) == 0:
            return
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        # Shadows are lit by the blue sky alone, so red fades a little more than blue.
        gain = cv2.merge([keep[span], keep[span], keep[span] * 0.94 + 0.06])
        canvas.image[span] = cv2.multiply(canvas.image[span], gain, dtype=cv2.CV_8U)


def kerb(s: float, outward: float, albedo: Colour, start: float = 0.8, stop: float = FAR) -> list[Strip]:
    """Kerb stones at s: a dark face towards the road and a pale top, outward = +1 on the right, -1 on the left."""
    face = sorted((s, s + 0.07 * outward))
    top = sorted((s + 0.07 * outward, s + 0.26 * outward))
    gutter = sorted((s - 0.3 * outward, s))
    return [
        Strip(gutter[0], gutter[1], None, (88, 87, 86), start, stop),
        Strip(face[0], face[1], SIDEWALK, scaled(albedo, 0.72), start, stop),
        Strip(top[0], top[1], SIDEWALK, mix(albedo, (200, 198, 192), 0.5), start, stop),
    ]


def dashes(s: float, length: float, gap: float, width: float, start: float, stop: float, albedo: Colour) -> list[Strip]:
    marks: list[Strip] = []
    z = start
    while z < stop:
        marks.append(Strip(s - width / 2, s + width / 2, None, albedo, max(z, 0.8), min(z + length, stop)))
        z += length + gap
    return marks


def zebra(left: float, right: float, start: float, depth: float, albedo: Colour = WHITE) -> list[Strip]:
    """A crosswalk over the road from s = left to right."""
    marks: list[Strip] = []
    s = left + 0.3
    while s + 0.5 < right:
        marks.append(Strip(s, s + 0.5, None, albedo, start, start + depth))
        s += 1.0
    return marks


def rails(s: float, start: float = 0.8) -> list[Strip]:
    """Two tram rails whose middle is at s, flush with the road."""
    strips: list[Strip] = []
    for side in (-0.72, 0.72):
        strips.append(Strip(s + side - 0.1, s + side + 0.1, None, (84, 82, 80), start, FAR))
        strips.append(Strip(s + side - 0.035, s + side + 0.035, None, (168, 164, 158), start, FAR))
    return strips


def wear(rng: Random, left: float, right: float, reach: float) -> list[tuple[Points, Colour, float]]:
    """Patches, cracks, manhole covers and oil stains on the road between s = left and right."""
    blots: list[tuple[Points, Colour, float]] = []
    for _ in range(rng.randint(1, 5)):
        s, z = rng.uniform(left, right - 1), rng.uniform(4, reach)
        w, d, tone = rng.uniform(0.6, 2.2), rng.uniform(0.8, 7), rng.choice((74, 80, 104, 110)) + rng.uniform(-4, 4)
        skew = rng.uniform(-0.3, 0.3)
        blots.append((array([(s, z), (s + w, z), (s + w + skew, z + d), (s + skew, z + d)]), (tone, tone, tone), 60))
    for _ in range(rng.randint(1, 5)):
        s, z, tone = rng.uniform(left, right), rng.uniform(4, reach * 0.7), rng.uniform(54, 76)
        path = [(s, z)]
        for _ in range(rng.randint(4, 9)):
            s, z = s + rng.uniform(-0.4, 0.4), z + rng.uniform(0.2, 1.3)
            path.append((s, z))
        width = rng.uniform(0.025, 0.06)
        blots.append((array(path + [(a + width, b) for a, b in reversed(path)]), (tone, tone, tone), 26))
    for _ in range(rng.randint(0, 3)):
        s, z, tone = rng.uniform(left, right), rng.uniform(5, reach), rng.uniform(62, 92)
        for radius, level in ((0.42, 1.12), (0.34, 0.8)):
            angle = np.arange(14) * (2 * np.pi / 14)
            ring = np.column_stack([s + radius * np.cos(angle), z + radius * np.sin(angle)])
            blots.append((ring, (tone * level, tone * level, tone * level), 40))
    return blots
