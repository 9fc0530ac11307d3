"""Painting a vehicle's shape at a place and heading on the street."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segwright.data.streets.bodies import DARK, TYRE, Body, Decal
from segwright.data.streets.camera import NEAR, Points
from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.light import Colour, Vector, mix, scaled

DETAIL_PX = 7.0
"""Bodies lower than this on the picture are painted without decals."""


@dataclass(frozen=True)
class Pose:
    """Where a vehicle stands: world x and z of its middle, heading clockwise from straight ahead in radians."""

    x: float
    z: float
    heading: float

    def world(self, local_N3: Points) -> Points:
        """Vehicle points (x forward, y up, w to the right) → world points."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        forward, right = local_N3[:, 0], local_N3[:, 2]
        return np.column_stack([self.x + forward * s + right * c, local_N3[:, 1], self.z + forward * c - right * s])

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
    def __init__(self, canvas: Canvas, body: Body, pose: Pose, ident: int, lit: float) -> None:
        self.canvas, self.body, self.pose, self.ident, self.lit = canvas, body, pose, ident, lit
        self.depth = max(pose.z, 1.0)
        self.detail = canvas.camera.pixels_per_metre(self.depth) * float(np.ptp(body.profile[:, 1])) > DETAIL_PX
        eye = -array([(pose.x, 0.0, pose.z)])[0]
        right = np.array(pose.normal(0, 0, 1))
        across = float(eye @ right)
        self.side = 0 if abs(across) <= body.half * 0.98 else int(math.copysign(1, across))
        halves = [body.half_at(x, y) for x, y in body.profile.tolist()]
        self.left, self.right = (
            pose.world(np.column_stack([body.profile, np.array(halves) * sign])) for sign in (-1.0, 1.0)
        )

    def shade(self, albedo: Colour, normal: Vector, shine: float = 0.0) -> Colour:
        light = self.canvas.light
        colour = light.shade(albedo, normal, self.depth, self.lit)
        return mix(colour, light.glow((min(albedo[0] * 1.25, 255), albedo[1] * 1.1, albedo[2] * 1.1), self.depth), shine)

    def paint(self) -> None:
        if self.right[:, 2].max() < NEAR:
            return
        self._under()
        body, pose = self.body, self.pose
        count = len(body.profile) - 1
        order = sorted(range(count), key=lambda k: -float(np.hypot(*(self.left + self.right)[k : k + 2].mean(0)[[0, 2]])))
        for k in order:
            self._strip(k)
        if self.side:
            outline = self.right if self.side > 0 else self.left
            normal = pose.normal(0.0, 0.12, float(self.side))
            self.canvas.face(outline, self.shade(body.paint, normal), self.ident)
            if self.detail:
                for decal in body.side:
                    self._on_side(decal, normal)
            for x, radius in body.wheels:
                self._wheel(x, radius)

    def _under(self) -> None:
        """The dark below the body and the tyres that show under its end."""
        body = self.body
        a, low = float(body.profile[:, 0].max()), float(body.profile[0, 1])
        rear = float(body.profile[:, 0].min())
        facing = math.cos(self.pose.heading) > 0
        for x, radius in body.wheels:
            for sign in (-1, 1):
                outer, inner = sign * (body.half - 0.03), sign * (body.half - 0.24)
                edge = x - radius * 0.75 if facing else x + radius * 0.75
                tread = array([(edge, 0.0, outer), (edge, 0.0, inner), (edge, radius * 1.3, inner), (edge, radius * 1.3, outer)])
                self.canvas.face(self.pose.world(tread), self.shade(TYRE, (0, 0, -0.6)), self.ident)
        if body.wheels:
            for y0, y1, x in ((0.16, low + 0.12, rear + 0.1 if facing else a - 0.1),):
                half = body.half * 0.92
                quad = array([(x, y0, -half), (x, y0, half), (x, y1, half), (x, y1, -half)])
                self.canvas.face(self.pose.world(quad), self.shade(DARK, (0, 0, -0.5)), self.ident)

    def _strip(self, k: int) -> None:
        quad = np.stack([self.left[k], self.right[k], self.right[k + 1], self.left[k + 1]])
        rise, run = self.body.profile[k + 1] - self.body.profile[k], 0.0
        length = float(np.hypot(*rise)) + 1e-6
        normal = self.pose.normal(-float(rise[1]) / length, float(rise[0]) / length, run)
        middle = quad.mean(0)
        facing = normal[0] * middle[0] + normal[1] * (middle[1] - self.canvas.camera.eye_height) + normal[2] * middle[2]
        if facing >= 0:
            return
        paint = dict(self.body.strip_paint).get(k, self.body.paint)
        self.canvas.face(quad, self.shade(paint, normal), self.ident)
        if not self.detail:
            decals = [d for j, d in self.body.strips if j == k and d.mirror]
        else:
            decals = [d for j, d in self.body.strips if j == k]
        flip = normal[2] > 0
        for decal in decals:
            self._on_quad(quad, decal, normal, flip)

    def _on_quad(self, quad: Points, decal: Decal, normal: Vector, flip: bool) -> None:
        u, v = (decal.points[:, :1] + 1) / 2, decal.points[:, 1:]
        # Decals read from below upwards; the front strips of a profile run downwards.
        if quad[2, 1] < quad[0, 1]:
            v = 1 - v
        world = (quad[0] * (1 - u) + quad[1] * u) * (1 - v) + (quad[3] * (1 - u) + quad[2] * u) * v
        self.canvas.face(world, self._tone(decal, normal), self.ident if v.min() < 0 else None)
        if decal.mirror and self.detail:
            self._reflection(world, normal)

    def _tone(self, decal: Decal, normal: Vector) -> Colour:
        if not decal.mirror:
            return self.shade(decal.colour, normal, decal.shine)
        sky = self.canvas.light.zenith if normal[1] < 0.5 else self.canvas.light.horizon
        tone = scaled(mix(decal.colour, sky, 0.08 + 0.16 * max(normal[1], 0.0)), 1.0 - 0.6 * self.canvas.light.night)
        return mix(tone, self.canvas.light.haze, self.canvas.light.fog(self.depth))

    def _reflection(self, world: Points, normal: Vector) -> None:
        """A pale band across the upper part of a pane."""
        if len(world) != 4:
            return
        tone = mix(self._tone(Decal(world, (44, 52, 60), mirror=True), normal), self.canvas.light.horizon, 0.13)
        a, b, c, d = world
        band = np.stack([a + (d - a) * 0.58, b + (c - b) * 0.72, b + (c - b) * 0.97, a + (d - a) * 0.97])
        self.canvas.face(band, tone)

    def _on_side(self, decal: Decal, normal: Vector) -> None:
        body = self.body
        halves = [body.half_at(x, y) * self.side * 1.004 for x, y in decal.points.tolist()]
        world = self.pose.world(np.column_stack([decal.points, halves]))
        self.canvas.face(world, self._tone(decal, normal), self.ident)
        if decal.mirror:
            self._reflection(world, normal)

    def _wheel(self, x: float, radius: float) -> None:
        across = self.side * self.body.half
        angle = np.arange(16) * (2 * np.pi / 16)
        circle = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(16)])
        centre = np.array([x, radius, across])
        normal = self.pose.normal(0, 0.1, float(self.side))
        rings: tuple[tuple[float, Colour], ...] = ((1.16, (20, 20, 22)), (1.0, TYRE), (0.66, (150, 152, 156)), (0.5, (112, 114, 118)), (0.16, (60, 60, 62)))
        for k, (share, colour) in enumerate(rings):
            if k > 1 and not self.detail:
                break
            local = centre + circle * radius * share
            local[:, 1] = np.maximum(local[:, 1], 0.0)
            self.canvas.face(self.pose.world(local), self.shade(colour, normal), self.ident if k == 1 else None)
        if self.detail and radius * self.canvas.camera.pixels_per_metre(self.depth) > 9:
            for spoke in range(5):
                turn = spoke * 2 * math.pi / 5 + x
                tip = np.array([math.cos(turn), math.sin(turn), 0]) * radius * 0.6
                off = np.array([-math.sin(turn), math.cos(turn), 0]) * radius * 0.09
                blade = np.stack([centre + off, centre + tip + off * 0.7, centre + tip - off * 0.7, centre - off])
                self.canvas.face(self.pose.world(blade), self.shade((168, 170, 174), normal))
