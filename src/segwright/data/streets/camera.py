"""A pinhole camera above a gently curved street.

World: x right, y up, z forward in metres, the origin on the ground below the camera. Street: s metres to the right of
the centre line, z metres ahead; the street drifts sideways by `curve`·z². Pixels: continuous, (0, 0) is the centre of
the top left pixel, as OpenCV's drawing functions expect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""float64 [N, 2] in pixels or street (x, z) metres, or [N, 3] in world metres."""

NEAR = 0.6
"""Nothing nearer than this many metres is drawn."""


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from. focal, centre_x, centre_y in pixels; rotation: world → camera, float [3, 3]."""

    height: int
    width: int
    focal: float
    centre_x: float
    centre_y: float
    rotation: Points
    eye_height: float
    eye_s: float
    curve: float

    @cached_property
    def _projection(self) -> tuple[Points, Points]:
        """Matrix [3, 3] and offset [3] that take a world point to (column·depth, row·depth, depth)."""
        lens = np.array([[self.focal, 0, self.centre_x - 0.5], [0, -self.focal, self.centre_y - 0.5], [0.0, 0.0, 1.0]])
        matrix = (lens @ self.rotation).T
        return np.ascontiguousarray(matrix), np.array([0.0, -self.eye_height, 0.0]) @ matrix

    def street(self, s: float, z: float, y: float = 0.0) -> tuple[float, float, float]:
        """World point of a street point."""
        return (s - self.eye_s + self.curve * z * z, y, z)

    def heading(self, z: float) -> float:
        """Direction of the street at distance z, radians clockwise from straight ahead."""
        return math.atan(2 * self.curve * z)

    def path(self, s: float, zs: Points, y: float = 0.0) -> Points:
        """World points of a line that keeps its distance from the centre line. zs: [N]; returns [N, 3]."""
        return np.column_stack([s - self.eye_s + self.curve * zs * zs, np.full_like(zs, y), zs])

    def project(self, world_N3: Points) -> tuple[Points, Points]:
        """Pixels [N, 2] and depths [N] in metres; pixels mean nothing where the depth is below NEAR."""
        matrix, offset = self._projection
        homogeneous = world_N3 @ matrix + offset
        depth = homogeneous[:, 2]
        return homogeneous[:, :2] / np.maximum(homogeneous[:, 2:], 1e-3), depth

    def polygon(self, world_N3: Points) -> Points | None:
        """Pixels of a polygon, cut at the near plane; None when all of it lies behind that plane."""
        px, depth = self.project(world_N3)
        depths = depth.tolist()
        if min(depths) >= NEAR:
            return px
        if max(depths) < NEAR:
            return None
        kept: list[Points] = []
        for a, b, da, db in zip(world_N3, np.roll(world_N3, -1, 0), depth, np.roll(depth, -1), strict=True):
            if da >= NEAR:
                kept.append(a)
            if (da >= NEAR) != (db >= NEAR):
                kept.append(a + (b - a) * ((NEAR + 1e-4 - da) / (db - da)))
        return self.project(np.array(kept))[0] if len(kept) > 2 else None

    def pixels_per_metre(self, z: float) -> float:
        return self.focal / max(z, NEAR)

    def ground(self, first_row: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Street coordinates (s, z) of the ground seen in each pixel of the rows from first_row: float32 [h, W] each.

        Rows must lie below the horizon; distances are capped at 400 m.
        """
        rows = np.arange(first_row, self.height, dtype=np.float32)[:, None] + np.float32(0.5 - self.centre_y)
        cols = np.arange(self.width, dtype=np.float32)[None, :] + np.float32(0.5 - self.centre_x)
        r = np.asarray(self.rotation, np.float32)
        f = np.float32(self.focal)
        down = -(r[0, 1] * cols - r[1, 1] * rows + r[2, 1] * f)  # columns of R turn camera rays into world rays
        reach = np.float32(self.eye_height) / np.maximum(down, np.float32(1e-3))
        z = np.clip(reach * (r[0, 2] * cols - r[1, 2] * rows + r[2, 2] * f), 0, 400)
        x = reach * (r[0, 0] * cols - r[1, 0] * rows + r[2, 0] * f)
        s = x + np.float32(self.eye_s) - np.float32(self.curve) * z * z
        return np.asarray(s, np.float32), np.asarray(z, np.float32)


def look(yaw: float, pitch: float, roll: float) -> Points:
    """World → camera rotation; yaw to the right, pitch down and roll clockwise are positive, radians."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn, np.float64)
