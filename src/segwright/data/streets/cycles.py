"""Bicycles and motorcycles. The label covers the whole wheel, as annotators draw it; the picture shows through."""

from __future__ import annotations

import math
from random import Random

import numpy as np

from segwright.data.streets.camera import NEAR, Points
from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.light import Colour
from segwright.data.streets.vehicles import Pose

FRAMES: tuple[Colour, ...] = (
    (36, 38, 42),
    (150, 34, 36),
    (40, 76, 130),
    (196, 196, 192),
    (60, 96, 70),
    (204, 140, 40),
    (84, 86, 92),
)

Bar = tuple[tuple[float, float, float], tuple[float, float, float], float, Colour]
"""Two ends (forward, up, right), radius in metres, colour."""

_CIRCLE = np.arange(18) * (2 * np.pi / 18)


def _bars(canvas: Canvas, pose: Pose, bars: list[Bar], ident: int, lit: float) -> None:
    for first, second, radius, colour in bars:
        canvas.rod(pose.world(array([first, second])), radius, colour, ident, lit)


def _wheel(
    canvas: Canvas, pose: Pose, at: float, radius: float, tyre: float, ident: int, lit: float, *, solid: bool
) -> None:
    """A wheel: id over the whole disc, a dark ring of rubber, thin spokes."""
    local = np.column_stack([at + radius * np.cos(_CIRCLE), radius + radius * np.sin(_CIRCLE), np.zeros(len(_CIRCLE))])
    px, depth = canvas.camera.project(pose.world(local))
    if depth.min() < NEAR:
        return
    canvas.label(px, ident)
    half = max(canvas.camera.focal * tyre / float(depth.mean()), 0.35)
    light = canvas.light
    rubber = light.shade((34, 34, 36), (0, 0, -0.5), float(depth.mean()), lit)
    if solid:
        canvas.fill(px, rubber)
        hub = px.mean(0) + (px - px.mean(0)) * 0.62
        canvas.fill(hub, light.shade((120, 122, 126), (0, 0, -0.7), float(depth.mean()), lit))
        canvas.fill(
            px.mean(0) + (px - px.mean(0)) * 0.45, light.shade((52, 52, 54), (0, 0, -0.7), float(depth.mean()), lit)
        )
    elif np.ptp(px[:, 1]) > 18:
        middle, steel = px.mean(0), light.shade((150, 152, 156), (0, 0.2, -0.6), float(depth.mean()), lit)
        for k in range(0, 18, 2):
            canvas.stroke(np.stack([middle, px[k]]), 0.18 * half, steel)
    canvas.stroke(np.concatenate([px, px[:1]]), half, rubber)


def paint_bicycle(canvas: Canvas, pose: Pose, seed: int, ident: int, lit: float) -> None:
    """A city or sports bicycle, about 1.7 m long, saddle at 0.92 m."""
    rng = Random(seed)
    paint, r = rng.choice(FRAMES), 0.34
    rear, front = -0.52, 0.52
    steel: Colour = (120, 122, 124)
    crank, saddle, head = (-0.06, 0.29, 0.0), (-0.2, 0.86, 0.0), (0.36, 0.86, 0.0)
    low = rng.random() < 0.45
    cross = (-0.15, 0.52, 0.0) if low else (-0.19, 0.8, 0.0)
    frame = array([(rear, r, 0), (-0.2, 0.92, 0), (0.4, 1.02, 0), (front, r, 0), (-0.06, 0.24, 0)])
    if canvas.camera.project(pose.world(frame))[1].min() < NEAR:
        return
    for at in (rear, front):
        _wheel(canvas, pose, at, r, 0.022, ident, lit, solid=False)
    bars: list[Bar] = [
        (crank, (rear, r, 0), 0.016, paint), (crank, saddle, 0.02, paint), (saddle, (rear, r, 0), 0.014, paint),
        (crank, (0.38, 0.76, 0), 0.022, paint), (cross, head, 0.02, paint), (head, (front, r, 0), 0.018, paint),
        (head, (0.33, 1.0, 0), 0.016, steel), ((0.33, 1.0, -0.27), (0.33, 1.0, 0.27), 0.016, steel),
        ((0.33, 1.0, -0.27), (0.2, 0.99, -0.29), 0.018, (40, 40, 42)),
        ((0.33, 1.0, 0.27), (0.2, 0.99, 0.29), 0.018, (40, 40, 42)),
        (saddle, (-0.22, 0.93, 0), 0.014, steel), ((-0.34, 0.94, 0), (-0.1, 0.94, 0), 0.045, (36, 32, 30)),
        ((-0.72, 0.74, 0), (-0.3, 0.74, 0), 0.03, steel), ((-0.06, 0.29, 0.1), (0.06, 0.18, 0.1), 0.015, steel),
        ((-0.8, 0.42, 0), (-0.62, 0.72, 0), 0.03, paint),
    ]  # fmt: skip
    if rng.random() < 0.3:
        basket: Colour = (128, 104, 74)
        bars.append(((0.42, 0.82, 0.0), (0.66, 0.84, 0.0), 0.15, basket))
    _bars(canvas, pose, bars, ident, lit)
    facing = math.cos(pose.heading)
    lamp = (-0.74, 0.62, 0.0) if facing > 0 else (0.42, 0.88, 0.0)
    tone: Colour = (200, 30, 30) if facing > 0 else (236, 236, 220)
    canvas.disc(pose.world(array([lamp]))[0].tolist(), 0.035, canvas.light.glow(tone, pose.z), ident)


def paint_motorcycle(canvas: Canvas, pose: Pose, seed: int, ident: int, lit: float) -> None:
    """A scooter or a motorcycle, about 2 m long, saddle at 0.78 m."""
    rng = Random(seed)
    paint = rng.choice(FRAMES)
    scooter = rng.random() < 0.5
    r = 0.24 if scooter else 0.31
    rear, front = -0.62, 0.66
    if pose.z < 2.5:
        return
    for at in (rear, front):
        _wheel(canvas, pose, at, r, 0.06, ident, lit, solid=True)
    dark: Colour = (42, 42, 46)
    shells: list[tuple[list[tuple[float, float]], float, Colour]]
    if scooter:
        shells = [
            ([(-0.85, 0.42), (-0.9, 0.72), (-0.2, 0.72), (-0.05, 0.3), (-0.5, 0.24)], 0.16, paint),
            ([(-0.8, 0.72), (-0.75, 0.82), (-0.1, 0.8), (-0.15, 0.7)], 0.14, dark),
            ([(-0.1, 0.22), (-0.1, 0.32), (0.3, 0.32), (0.34, 0.22)], 0.15, dark),
            ([(0.3, 0.26), (0.36, 0.98), (0.5, 0.98), (0.52, 0.4)], 0.2, paint),
            ([(0.44, 1.0), (0.36, 1.3), (0.42, 1.3), (0.54, 1.0)], 0.18, (150, 160, 168)),
        ]
    else:
        shells = [
            ([(-0.5, 0.3), (-0.3, 0.6), (0.4, 0.62), (0.42, 0.26), (0.1, 0.18)], 0.14, (84, 86, 90)),
            ([(-0.2, 0.66), (-0.1, 0.92), (0.3, 0.96), (0.42, 0.74)], 0.15, paint),
            ([(-0.95, 0.82), (-0.8, 0.72), (-0.1, 0.7), (-0.15, 0.8), (-0.7, 0.86)], 0.13, dark),
            ([(-1.0, 0.66), (-0.98, 0.86), (-0.7, 0.84), (-0.6, 0.66)], 0.1, paint),
            ([(0.4, 0.82), (0.42, 1.12), (0.56, 1.04), (0.62, 0.8)], 0.16, paint),
        ]
    order = shells if math.cos(pose.heading) < 0 else shells[::-1]
    for outline, half, colour in order:
        _shell(canvas, pose, outline, half, colour, ident, lit)
    bars: list[Bar] = [
        ((0.46, 1.02, 0), (front, r, 0), 0.035, (120, 122, 126)),
        ((0.38, 1.03, -0.36), (0.38, 1.03, 0.36), 0.022, dark),
        ((0.38, 1.03, -0.3), (0.36, 1.18, -0.36), 0.012, dark), ((0.38, 1.03, 0.3), (0.36, 1.18, 0.36), 0.012, dark),
        ((-0.95, 0.32, 0.16), (-0.2, 0.28, 0.16), 0.05, (140, 142, 146)),
    ]  # fmt: skip
    _bars(canvas, pose, bars, ident, lit)
    facing = math.cos(pose.heading)
    lamp, tone = ((-0.98, 0.76, 0.0), (206, 26, 26)) if facing > 0 else ((0.6, 0.92, 0.0), (244, 244, 230))
    canvas.disc(pose.world(array([lamp]))[0].tolist(), 0.05, canvas.light.glow(tone, pose.z), ident)


def _shell(
    canvas: Canvas, pose: Pose, outline: list[tuple[float, float]], half: float, colour: Colour, ident: int, lit: float
) -> None:
    """A slab of bodywork: the hull of its two flat sides."""
    flat = array(outline)
    sides: list[Points] = [pose.world(np.column_stack([flat, np.full(len(flat), sign * half)])) for sign in (-1.0, 1.0)]
    px, depth = canvas.camera.project(np.concatenate(sides))
    if depth.min() < NEAR:
        return
    tone = canvas.light.shade(colour, (0.0, 0.2, -0.6), float(depth.mean()), lit)
    canvas.hull(px, np.full(len(px), 0.3), tone, ident, rim=0.25)
