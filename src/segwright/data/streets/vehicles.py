"""Painting a vehicle's shape at a place and heading on the street."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segwright.data.streets.bodies import DARK, GLASS, TYRE, Body, Decal
from segwright.data.streets.camera import NEAR, Points
from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.light import Colour, Vector, mix, scaled

_ANGLE = np.arange(16) * (2 * np.pi / 16)
_CIRCLE = np.column_stack([np.cos(_ANGLE), np.sin(_ANGLE), np.zeros(16)])
_RINGS: tuple[tuple[float, Colour], ...] = (
    (1.16, (20, 20, 22)), (1.0, TYRE), (0.66, (150, 152, 156)), (0.5, (112, 114, 118)), (0.16, (60, 60, 62)),
)  # fmt: skip
"""Radius shares and colours of a wheel: arch, tyre, rim, spokes' shade, hub."""

DETAIL_PX = 14.0
"""Bodies lower than this on the picture are painted without decals."""


@dataclass(frozen=True)
class Pose:
    """Where a vehicle stands: world x and z of its middle, heading clockwise from straight ahead in radians."""

    x: float
    z: float
    heading: float

    def world(self, local_N3: Points) -> Points:
        """Vehicle points (x forward, y up, w to the right) → world points."""
        turn, shift = self._motion
        return np.asarray(local_N3 @ turn + shift)

    @cached_property
    def _motion(self) -> tuple[Points, Points]:
        c, s = math.cos(self.heading), math.sin(self.heading)
        return array([(s, 0, c), (0, 1, 0), (c, 0, -s)]), np.array([self.x, 0.0, self.z])

    def footprint(self, length: float, width: float, offset: float = 0.0) -> Points:
        """Ground rectangle (x, z): float64 [4, 2]."""
        a, b = length / 2, width / 2
        local = array([(offset - a, 0, -b), (offset + a, 0, -b), (offset + a, 0, b), (offset - a, 0, b)])
        return np.asarray(self.world(local)[:, [0, 2]])

    def normal(self, forward: float, up: float, right: float) -> Vector:
        c, s = math.cos(self.heading), math.sin(self.heading)
        return (forward * s + right * c, up, forward * c - right * s)

    def moved(self, forward: float) -> Pose:
        return Pose(self.x + forward * math.sin(self.heading), self.z + forward * math.cos(self.heading), self.heading)


def paint_bodies(canvas: Canvas, bodies: list[tuple[Body, float]], pose: Pose, ident: int, lit: float) -> None:
    """A vehicle of one or more bodies in a row, the farthest first."""
    placed = [(pose.moved(offset), body) for body, offset in bodies]
    for where, body in sorted(placed, key=lambda item: -(item[0].x ** 2 + item[0].z ** 2)):
        _BodyPainter(canvas, body, where, ident, lit).paint()


class _BodyPainter:
    """Collects the faces of one body in painting order, then projects them all at once."""

    def __init__(self, canvas: Canvas, body: Body, pose: Pose, ident: int, lit: float) -> None:
        self.canvas, self.body, self.pose, self.ident, self.lit = canvas, body, pose, ident, lit
        self.depth = max(pose.z, 1.0)
        self.detail = canvas.camera.pixels_per_metre(self.depth) * float(np.ptp(body.profile[:, 1])) > DETAIL_PX
        right = pose.normal(0, 0, 1)
        across = -(pose.x * right[0] + pose.z * right[2])
        self.side = 0 if abs(across) <= body.half * 0.98 else int(math.copysign(1, across))
        halves = np.array([body.half_at(x, y) for x, y in body.profile.tolist()])
        self.left, self.right = (np.column_stack([body.profile, halves * sign]) for sign in (-1.0, 1.0))
        self.faces: list[tuple[Points, Colour, int | None]] = []

    def shade(self, albedo: Colour, normal: Vector, shine: float = 0.0) -> Colour:
        light = self.canvas.light
        colour = light.shade(albedo, normal, self.depth, self.lit)
        if shine == 0:
            return colour
        return mix(
            colour, light.glow((min(albedo[0] * 1.25, 255), albedo[1] * 1.1, albedo[2] * 1.1), self.depth), shine
        )

    def paint(self) -> None:
        if self.pose.world(self.right)[:, 2].max() < NEAR:
            return
        body, pose = self.body, self.pose
        self._under()
        middles = pose.world((self.left[:-1] + self.right[:-1] + self.left[1:] + self.right[1:]) / 4)
        for k in np.argsort(-np.hypot(middles[:, 0], middles[:, 2]), kind="stable").tolist():
            self._strip(k, middles[k].tolist())
        if self.side:
            normal = pose.normal(0.0, 0.12, float(self.side))
            self.faces.append((self.right if self.side > 0 else self.left, self.shade(body.paint, normal), self.ident))
            for decal in body.side:
                if self.detail or decal.mirror:
                    self._on_side(decal, normal)
            for x, radius in body.wheels:
                self._wheel(x, radius)
        self._flush()

    def _flush(self) -> None:
        world = self.pose.world(np.concatenate([points for points, _, _ in self.faces]))
        px, depth = self.canvas.camera.project(world)
        whole = bool(depth.min() >= NEAR)
        at = 0
        for points, colour, ident in self.faces:
            stop = at + len(points)
            if whole:
                self.canvas.fill(px[at:stop], colour, ident)
            else:
                self.canvas.face(world[at:stop], colour, ident)
            at = stop

    def _under(self) -> None:
        """The dark below the body and the tyres that show under its end."""
        body = self.body
        low = float(body.profile[0, 1])
        facing = math.cos(self.pose.heading) > 0
        rubber, shadow = self.shade(TYRE, (0, 0, -0.6)), self.shade(DARK, (0, 0, -0.5))
        for x, radius in body.wheels:
            for sign in (-1, 1):
                outer, inner = sign * (body.half - 0.02), sign * (body.half - 0.2)
                edge = x - radius * 0.5 if facing else x + radius * 0.5
                tread = [(edge, 0.0, outer), (edge, 0.0, inner), (edge, radius, inner), (edge, radius, outer)]
                self.faces.append((array(tread), rubber, self.ident))
        if body.wheels:
            x = float(body.profile[:, 0].min()) + 0.1 if facing else float(body.profile[:, 0].max()) - 0.1
            half = body.half * 0.92
            quad = [(x, 0.16, -half), (x, 0.16, half), (x, low + 0.12, half), (x, low + 0.12, -half)]
            self.faces.append((array(quad), shadow, self.ident))

    def _strip(self, k: int, middle: list[float]) -> None:
        (x0, y0), (x1, y1) = self.body.profile[k : k + 2].tolist()
        length = math.hypot(x1 - x0, y1 - y0) + 1e-6
        normal = self.pose.normal(-(y1 - y0) / length, (x1 - x0) / length, 0.0)
        eye = self.canvas.camera.eye_height
        if normal[0] * middle[0] + normal[1] * (middle[1] - eye) + normal[2] * middle[2] >= 0:
            return
        quad = np.stack([self.left[k], self.right[k], self.right[k + 1], self.left[k + 1]])
        self.faces.append((quad, self.shade(self.body.paint, normal), self.ident))
        for strip, decal in self.body.strips:
            if strip == k and (self.detail or decal.mirror or decal.shine > 0):
                self._on_quad(quad, decal, normal)

    def _on_quad(self, quad: Points, decal: Decal, normal: Vector) -> None:
        u, v = (decal.points[:, :1] + 1) / 2, decal.points[:, 1:]
        # Decals read upwards; the front strips of a profile run downwards.
        a, b, c, d = quad if quad[2, 1] >= quad[0, 1] else quad[[3, 2, 1, 0]]
        low = a + (b - a) * u
        local = low + (d + (c - d) * u - low) * v
        self.faces.append((local, self._tone(decal, normal), self.ident if v.min() < 0 else None))
        if decal.mirror and self.detail:
            self._reflection(local, normal)

    def _tone(self, decal: Decal, normal: Vector) -> Colour:
        if not decal.mirror:
            return self.shade(decal.colour, normal, decal.shine)
        light = self.canvas.light
        sky = light.zenith if normal[1] < 0.5 else light.horizon
        tone = scaled(mix(decal.colour, sky, 0.08 + 0.16 * max(normal[1], 0.0)), 1.0 - 0.6 * light.night)
        return mix(tone, light.haze, light.fog(self.depth))

    def _reflection(self, local: Points, normal: Vector) -> None:
        """A pale band across the upper part of a pane."""
        if len(local) != 4:
            return
        tone = mix(self._tone(Decal(local, GLASS, mirror=True), normal), self.canvas.light.horizon, 0.13)
        a, b, c, d = local
        band = np.stack([a + (d - a) * 0.58, b + (c - b) * 0.72, b + (c - b) * 0.97, a + (d - a) * 0.97])
        self.faces.append((band, tone, None))

    def _on_side(self, decal: Decal, normal: Vector) -> None:
        body = self.body
        halves = [body.half_at(x, y) * self.side * 1.004 for x, y in decal.points.tolist()]
        local = np.column_stack([decal.points, halves])
        self.faces.append((local, self._tone(decal, normal), self.ident))
        if decal.mirror and self.detail:
            self._reflection(local, normal)

    def _wheel(self, x: float, radius: float) -> None:
        centre = np.array([x, radius, self.side * self.body.half])
        normal = self.pose.normal(0, 0.1, float(self.side))
        close = radius * self.canvas.camera.pixels_per_metre(self.depth)
        for k, (share, colour) in enumerate(_RINGS[: 5 if close > 4 else 3]):
            local = centre + _CIRCLE * radius * share
            local[:, 1] = np.maximum(local[:, 1], 0.0)
            self.faces.append((local, self.shade(colour, normal), self.ident if k == 1 else None))
        if close < 9:
            return
        for spoke in range(5):
            turn = spoke * 2 * math.pi / 5 + x
            tip = np.array([math.cos(turn), math.sin(turn), 0]) * radius * 0.6
            off = np.array([-math.sin(turn), math.cos(turn), 0]) * radius * 0.09
            blade = np.stack([centre + off, centre + tip + off * 0.7, centre + tip - off * 0.7, centre - off])
            self.faces.append((blade, self.shade((168, 170, 174), normal), None))
