"""The picture and its id map, painted together from far to near.

Every call paints the picture with soft edges and, when given an id, the id map with hard edges at the same place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.data.streets.camera import NEAR, Camera, Points
from segwright.data.streets.light import BACK, Colour, Light, Vector, scaled

SHIFT = 4
"""Fractional bits of the coordinates handed to OpenCV."""

Image = NDArray[np.uint8]


@lru_cache(maxsize=4)
def _circle(corners: int) -> Points:
    """Unit circle: float64 [corners, 2]."""
    angle = np.arange(corners) * (2 * np.pi / corners)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def array(points: Sequence[Sequence[float]]) -> Points:
    return np.array(points, dtype=np.float64)


class Canvas:
    """image: uint8 [H, W, 3] RGB; ids: int32 [H, W], a label id, or label id·1000 + n for a counted object."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        self.image: Image = np.zeros((camera.height, camera.width, 3), np.uint8)
        self._right, self._bottom = camera.width << SHIFT, camera.height << SHIFT
        self.ids: NDArray[np.int32] = np.zeros((camera.height, camera.width), np.int32)

    def fill(self, px_N2: Points, colour: Colour, ident: int | None = None) -> None:
        """Fill a polygon given in pixels."""
        fixed = np.rint(px_N2 * (1 << SHIFT)).astype(np.int32)
        left, top, width, height = cv2.boundingRect(fixed)
        if left > self._right or top > self._bottom or left + width < -16 or top + height < -16:
            return
        cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, SHIFT)
        if ident is not None:
            cv2.fillPoly(self.ids, [fixed], (ident,), cv2.LINE_8, SHIFT)

    def label(self, px_N2: Points, ident: int) -> None:
        """Give a polygon its id without painting it."""
        cv2.fillPoly(self.ids, [np.rint(px_N2 * (1 << SHIFT)).astype(np.int32)], (ident,), cv2.LINE_8, SHIFT)

    def stroke(self, px_N2: Points, half: float, colour: Colour) -> None:
        """A soft line through points in pixels, `half` of its width on either side."""
        if half < 0.75:
            fixed = np.rint(px_N2 * (1 << SHIFT)).astype(np.int32)
            cv2.polylines(self.image, [fixed], False, colour, 1, cv2.LINE_AA, SHIFT)
            return
        along = np.gradient(px_N2, axis=0) if len(px_N2) > 2 else np.repeat(px_N2[1:] - px_N2[:1], 2, 0)
        across = np.column_stack([-along[:, 1], along[:, 0]])
        across *= half / np.maximum(np.hypot(across[:, 0], across[:, 1]), 1e-6)[:, None]
        for a, b in zip(range(len(px_N2) - 1), range(1, len(px_N2)), strict=True):
            self.fill(
                np.stack([px_N2[a] - across[a], px_N2[b] - across[b], px_N2[b] + across[b], px_N2[a] + across[a]]),
                colour,
            )

    def face(self, world_N3: Points, colour: Colour, ident: int | None = None) -> None:
        """Fill a flat polygon given in the world; colour is final (shade it before)."""
        px = self.camera.polygon(world_N3)
        if px is not None:
            self.fill(px, colour, ident)

    def panel(
        self, world_N3: Points, albedo: Colour, ident: int | None = None, normal: Vector = BACK, lit: float = 1.0
    ) -> None:
        """Fill a flat polygon given in the world, shaded and hazed at its mean distance."""
        depth = float(world_N3[:, 2].mean())
        self.face(world_N3, self.light.shade(albedo, normal, depth, lit), ident)

    def rod(self, ends_23: Points, radius: float, albedo: Colour, ident: int | None = None, lit: float = 1.0) -> None:
        """A round bar between two world points, radius in metres, lit from the sun's side."""
        px, depth = self.camera.project(ends_23)
        (ax, ay), (bx, by) = px.tolist()
        first, second = depth.tolist()
        length = math.hypot(bx - ax, by - ay)
        if min(first, second) < NEAR or length < 1e-6:
            return
        dx, dy = (ay - by) / length, (bx - ax) / length
        a, b = (max(self.camera.focal * radius / d, 0.3) for d in (first, second))
        mean, sun = (first + second) / 2, self.light.sun
        shape = [
            (ax - dx * a, ay - dy * a),
            (bx - dx * b, by - dy * b),
            (bx + dx * b, by + dy * b),
            (ax + dx * a, ay + dy * a),
        ]
        self.fill(np.array(shape), self.light.shade(albedo, (0.0, 0.1, -0.5), mean, lit), ident)
        if max(a, b) < 1.3:
            return
        if dx * sun[0] - dy * sun[1] < 0:
            dx, dy = -dx, -dy
        bright = self.light.shade(scaled(albedo, 1.22), (sun[0] * 0.9, 0.3, -0.4), mean, lit)
        rims = ((ax, ay, a * 0.1), (bx, by, b * 0.1), (bx, by, b * 0.8), (ax, ay, a * 0.8))
        self.fill(np.array([(x + dx * r, y + dy * r) for x, y, r in rims]), bright)

    def disc(self, world: Sequence[float], radius: float, colour: Colour, ident: int | None = None) -> None:
        """A ball seen as a disc; colour is final."""
        px, depth = self.camera.project(array([world]))
        if depth[0] > NEAR:
            self.fill(px + _circle(14) * max(self.camera.focal * radius / depth[0], 0.4), colour, ident)

    def hull(
        self, px_N2: Points, radii_N: Points, colour: Colour, ident: int | None = None, *, rim: float = 0.0
    ) -> None:
        """Convex hull of discs in pixels: limbs, torsos. rim > 0 adds a lighter inner shape towards the sun."""
        corners = 8 if radii_N.max() < 6 else 14
        rim_px = (px_N2[:, None] + radii_N[:, None, None] * _circle(corners)).reshape(-1, 2).astype(np.float32)
        shape = np.asarray(cv2.convexHull(rim_px)[:, 0], np.float64)
        self.fill(shape, colour, ident)
        if rim > 0 and radii_N.max() > 2.0:
            middle = shape.mean(0)
            drift = np.array([np.sign(self.light.sun[0]), -0.35]) * radii_N.max() * 0.22
            self.fill(middle + (shape - middle) * (0.62, 0.86) + drift, scaled(colour, 1.0 + rim))

    def wall(
        self, ends_22: Points, low: float, high: float, texture: Image, ident: int | None, *, alpha: bool = False
    ) -> None:
        """Hang a texture on an upright wall.

        ends_22: (x, z) of its two ends; texture: uint8 [h, w, 3], or [h, w, 4] with alpha, columns from the first end
        to the second, top row at height `high`. With alpha the whole wall still gets the id: a fence owns its holes.
        """
        span = _visible(self.camera, ends_22)
        if span is None:
            return
        start, stop = span
        a, b = ends_22[0] + (ends_22[1] - ends_22[0]) * start, ends_22[0] + (ends_22[1] - ends_22[0]) * stop
        corners = array([(a[0], high, a[1]), (b[0], high, b[1]), (b[0], low, b[1]), (a[0], low, a[1])])
        px, _ = self.camera.project(corners)
        box = self._box(px)
        if box is None:
            return
        top, bottom, left, right = box
        rows, cols = texture.shape[:2]
        source = array([(cols * start, 0), (cols * stop, 0), (cols * stop, rows), (cols * start, rows)]) - 0.5
        warp = cv2.getPerspectiveTransform(source.astype(np.float32), (px - (left, top)).astype(np.float32))
        size = (right - left, bottom - top)
        if alpha:
            seen = cv2.warpPerspective(texture, warp, size, flags=cv2.INTER_LINEAR)
            self.blend(top, left, np.asarray(seen[..., :3], np.uint8), np.asarray(seen[..., 3], np.uint8))
        else:
            seen = cv2.warpPerspective(texture, warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            mask = np.zeros((size[1], size[0]), np.uint8)
            cv2.fillPoly(mask, [np.rint((px - (left, top)) * 16).astype(np.int32)], (255,), cv2.LINE_8, SHIFT)
            cv2.copyTo(seen, mask, self.image[top:bottom, left:right])
        if ident is not None:
            cv2.fillPoly(self.ids, [np.rint(px * 16).astype(np.int32)], (ident,), cv2.LINE_8, SHIFT)

    def blend(self, top: int, left: int, colour: Image, alpha: Image, ident: int | None = None) -> None:
        """Lay a picture over the canvas. colour: uint8 [h, w, 3]; alpha: uint8 [h, w], 255 = opaque, id where > 127."""
        bottom, right = top + alpha.shape[0], left + alpha.shape[1]
        under = self.image[top:bottom, left:right]
        weight = alpha[..., None].astype(np.uint16)
        mixed = colour * weight + under * (np.uint16(255) - weight)
        self.image[top:bottom, left:right] = (mixed + np.uint16(128)) >> 8
        if ident is not None:
            self.ids[top:bottom, left:right][alpha > 127] = ident

    def _box(self, px_N2: Points) -> tuple[int, int, int, int] | None:
        """Rows and columns (top, bottom, left, right) that hold the points and lie in the picture; None if empty."""
        (left, top), (right, bottom) = np.floor(px_N2.min(0)).astype(int).tolist(), np.ceil(px_N2.max(0)).tolist()
        top, bottom = max(top - 1, 0), min(int(bottom) + 2, self.camera.height)
        left, right = max(left - 1, 0), min(int(right) + 2, self.camera.width)
        return (top, bottom, left, right) if top < bottom and left < right else None


def _visible(camera: Camera, ends_22: Points) -> tuple[float, float] | None:
    """Part of a wall, as fractions from its first end, that lies in front of the near plane."""
    feet = np.column_stack([ends_22[:, 0], np.zeros(2), ends_22[:, 1]])
    first, second = camera.project(feet)[1].tolist()
    limit = NEAR + 0.4
    if first < limit and second < limit:
        return None
    cut = (limit - first) / (second - first) if first != second else 0.0
    return (cut if first < limit else 0.0), (cut if second < limit else 1.0)
