"""What stands along a street: lamps, traffic lights, signs, fences, walls, rails, bins, benches, bollards."""

from __future__ import annotations

import math
from random import Random

import cv2
import numpy as np

from segwright.data.streets.camera import Points
from segwright.data.streets.canvas import Canvas, Image, array
from segwright.data.streets.facades import hazed
from segwright.data.streets.ids import FENCE, GUARD_RAIL, POLE, STATIC, TRAFFIC_LIGHT, TRAFFIC_SIGN, WALL
from segwright.data.streets.light import BACK, Colour, Vector, mix, scaled
from segwright.data.streets.noise import TILE, fractal

Place = tuple[float, float]
"""World (x, z) in metres."""

SIGN_RED: Colour = (186, 26, 32)
SIGN_BLUE: Colour = (24, 76, 160)
SIGN_YELLOW: Colour = (238, 190, 40)
SIGN_GREEN: Colour = (24, 110, 70)
SIGN_WHITE: Colour = (232, 232, 228)
SIGN_BACK: Colour = (140, 142, 144)


def _line(x: float, y0: float, y1: float, z: float) -> Points:
    return array([(x, y0, z), (x, y1, z)])


def paint_lamp(canvas: Canvas, at: Place, height: float, arm: float, grey: Colour, lit: float) -> None:
    """A street lamp; arm: its reach towards the road in metres, signed; 0 for a globe on top."""
    x, z = at
    canvas.rod(_line(x, 0, height * 0.35, z), 0.085, grey, POLE, lit)
    canvas.rod(_line(x, height * 0.33, height, z), 0.06, grey, POLE, lit)
    shine: Colour = (255, 236, 190) if canvas.light.night > 0 else (206, 208, 206)
    if arm == 0:
        canvas.disc((x, height + 0.2, z), 0.24, canvas.light.glow(shine, z), POLE)
        return
    tip = (x + arm, height + 0.35, z)
    canvas.rod(array([(x, height, z), tip]), 0.045, grey, POLE, lit)
    canvas.rod(array([tip, (x + arm * 1.45, height + 0.37, z)]), 0.1, scaled(grey, 0.9), POLE, lit)
    if canvas.light.night > 0:
        canvas.disc((x + arm * 1.25, height + 0.3, z), 0.13, canvas.light.glow(shine, z), POLE)


def paint_mast(canvas: Canvas, at: Place, height: float, reach: float, grey: Colour, lit: float) -> None:
    """A tram mast with its bracket and the wire towards it."""
    x, z = at
    canvas.rod(_line(x, 0, height, z), 0.12, grey, POLE, lit)
    canvas.rod(array([(x, height - 0.6, z), (x + reach, height - 0.5, z)]), 0.035, grey, POLE, lit)
    canvas.rod(array([(x, height - 0.1, z), (x + reach * 0.8, height - 0.5, z)]), 0.02, grey, None, lit)


def _head(canvas: Canvas, x: float, y: float, z: float, state: int, *, facing: bool) -> None:
    """A lamp box whose middle is at height y. state: 0 red, 1 amber, 2 green."""
    half, tall = 0.19, 0.52
    light = canvas.light
    rim, high = half * 1.5, tall * 1.12
    back = array([(x + dx, y + dy, z + 0.02) for dx, dy in ((-rim, -high), (rim, -high), (rim, high), (-rim, high))])
    canvas.panel(back, (28, 30, 30), TRAFFIC_LIGHT)
    front = array([(x - half, y - tall, z), (x + half, y - tall, z), (x + half, y + tall, z), (x - half, y + tall, z)])
    canvas.panel(front, (52, 54, 54), TRAFFIC_LIGHT)
    if not facing:
        return
    lamps: tuple[tuple[Colour, Colour], ...] = (
        ((255, 60, 48), (74, 22, 22)), ((255, 190, 50), (74, 58, 20)), ((70, 240, 150), (20, 60, 44)),
    )  # fmt: skip
    for k, (on, off) in enumerate(lamps):
        centre = (x, y + tall * 0.62 * (1 - k), z - 0.02)
        if k == state:
            canvas.disc(centre, 0.155, mix(light.glow(on, z), (40, 40, 40), 0.45))
            canvas.disc(centre, 0.13, light.glow(on, z))
            canvas.disc(centre, 0.06, light.glow(mix(on, (255, 255, 255), 0.6), z))
        else:
            canvas.disc(centre, 0.125, light.shade(off, BACK, z))


def paint_traffic_light(
    canvas: Canvas, at: Place, reach: float, grey: Colour, state: int, lit: float, *, facing: bool
) -> None:
    """Lights on a pole; reach ≠ 0 adds a mast arm with a second head over the road."""
    x, z = at
    tall = 5.6 if reach else 3.4
    canvas.rod(_line(x, 0, tall, z), 0.07 if not reach else 0.1, grey, POLE, lit)
    _head(canvas, x, 2.75, z - 0.1, state, facing=facing)
    if reach:
        canvas.rod(array([(x, tall, z), (x + reach, tall + 0.15, z)]), 0.06, grey, POLE, lit)
        _head(canvas, x + reach * 0.95, tall - 0.15, z - 0.1, state, facing=facing)


SIGN_KINDS = (
    "limit",
    "ban",
    "warn",
    "yield",
    "stop",
    "blue",
    "cross",
    "park",
    "priority",
    "direction",
    "noway",
    "street",
)


def paint_sign(
    canvas: Canvas, at: Place, kind: str, height: float, turn: float, grey: Colour, lit: float, *, facing: bool
) -> None:
    """A sign on a pole; height: of the middle of the plate; turn: radians away from the camera."""
    x, z = at
    top = height + (0.5 if kind != "direction" else 0.8)
    canvas.rod(_line(x, 0, top, z + 0.03), 0.035 if kind != "direction" else 0.07, grey, POLE, lit)
    _plate(canvas, (x, height, z), kind, turn, lit, facing=facing)


def _plate(
    canvas: Canvas, centre: tuple[float, float, float], kind: str, turn: float, lit: float, *, facing: bool
) -> None:
    size = {"direction": 1.0, "street": 0.45}.get(kind, 0.36)
    shapes = _sign_shapes(kind)
    if not facing:
        shapes = [(shapes[0][0], SIGN_BACK), (shapes[0][0] * 0.9, scaled(SIGN_BACK, 0.9))]
    cos, sin = math.cos(turn), math.sin(turn)
    normal: Vector = (sin, 0.15, -cos)
    for k, (outline, colour) in enumerate(shapes):
        world = np.array(centre) + size * outline @ array([(cos, 0, sin), (0, 1, 0)])
        canvas.face(world, canvas.light.shade(colour, normal, centre[2], lit), TRAFFIC_SIGN if k == 0 else None)


def _ring(corners: int, radius: float, phase: float = 0.0) -> Points:
    angle = np.arange(corners) * (2 * np.pi / corners) + phase
    return np.column_stack([np.cos(angle), np.sin(angle)]) * radius


def _bar(x0: float, y0: float, x1: float, y1: float) -> Points:
    return array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _sign_shapes(kind: str) -> list[tuple[Points, Colour]]:
    """Outlines (unit half size) with their colours, from the back to the front."""
    disc, triangle = _ring(18, 1.0), _ring(3, 1.15, math.pi / 2)
    if kind == "limit":
        return [(disc, SIGN_RED), (disc * 0.76, SIGN_WHITE), (_bar(-0.4, -0.35, -0.06, 0.38), (30, 30, 30)),
                (_bar(-0.28, -0.2, -0.18, 0.24), SIGN_WHITE), (_bar(0.08, -0.35, 0.42, 0.38), (30, 30, 30)),
                (_bar(0.2, -0.2, 0.3, 0.24), SIGN_WHITE)]  # fmt: skip
    if kind == "ban":
        return [
            (disc, SIGN_RED),
            (disc * 0.78, SIGN_BLUE),
            (array([(-0.66, 0.5), (-0.5, 0.66), (0.66, -0.5), (0.5, -0.66)]), SIGN_RED),
        ]
    if kind == "noway":
        return [(disc, SIGN_RED), (_bar(-0.68, -0.17, 0.68, 0.17), SIGN_WHITE)]
    if kind == "warn":
        return [(triangle, SIGN_RED), (triangle * 0.68, SIGN_WHITE), (_bar(-0.06, -0.3, 0.06, 0.36), (30, 30, 30))]
    if kind == "yield":
        return [(-triangle, SIGN_RED), (-triangle * 0.64, SIGN_WHITE)]
    if kind == "stop":
        return [(_ring(8, 1.05, math.pi / 8), SIGN_WHITE), (_ring(8, 0.97, math.pi / 8), SIGN_RED),
                (_bar(-0.62, -0.18, 0.62, 0.18), SIGN_WHITE), (_bar(-0.5, -0.1, 0.5, 0.1), SIGN_RED)]  # fmt: skip
    if kind == "blue":
        return [(disc, SIGN_WHITE), (disc * 0.93, SIGN_BLUE), (_bar(-0.1, -0.5, 0.1, 0.3), SIGN_WHITE),
                (array([(-0.36, 0.2), (0.36, 0.2), (0.0, 0.66)]), SIGN_WHITE)]  # fmt: skip
    if kind == "cross":
        square = _bar(-1, -1, 1, 1)
        return [(square, SIGN_WHITE), (square * 0.93, SIGN_BLUE),
                (array([(-0.75, -0.66), (0.75, -0.66), (0.0, 0.78)]), SIGN_WHITE),
                (_bar(-0.09, -0.5, 0.09, 0.3), (30, 30, 30))]  # fmt: skip
    if kind == "park":
        square = _bar(-1, -1, 1, 1)
        return [(square, SIGN_WHITE), (square * 0.92, SIGN_BLUE), (_bar(-0.4, -0.66, -0.12, 0.68), SIGN_WHITE),
                (_bar(-0.12, 0.0, 0.42, 0.68), SIGN_WHITE), (_bar(-0.1, 0.2, 0.2, 0.46), SIGN_BLUE)]  # fmt: skip
    if kind == "priority":
        diamond = _ring(4, 1.15)
        return [(diamond, SIGN_WHITE), (diamond * 0.68, SIGN_YELLOW)]
    if kind == "street":
        return [
            (_bar(-1.3, -0.28, 1.3, 0.28), SIGN_WHITE),
            (_bar(-1.24, -0.22, 1.24, 0.22), SIGN_BLUE),
            (_bar(-0.9, -0.08, 0.9, 0.08), SIGN_WHITE),
        ]
    colour = SIGN_YELLOW
    board = [(_bar(-1.3, -0.75, 1.3, 0.75), SIGN_WHITE), (_bar(-1.26, -0.71, 1.26, 0.71), colour)]
    dark: Colour = (30, 30, 32)
    board += [(_bar(-1.0, y, 0.3 + 0.2 * y, y + 0.17), dark) for y in (0.34, 0.0, -0.42)]
    board.append(
        (array([(0.7, -0.4), (0.86, -0.4), (0.86, 0.2), (1.02, 0.2), (0.78, 0.55), (0.54, 0.2), (0.7, 0.2)]), dark)
    )
    return board


def paint_barrier(canvas: Canvas, ends: Points, kind: str, seed: int) -> None:
    """A wall, fence, hoarding or guard rail between two world (x, z) places."""
    rng = Random(seed)
    near = max(float(ends[:, 1].min()), 3.0)
    length = float(np.hypot(*(ends[1] - ends[0])))
    per_metre = canvas.camera.pixels_per_metre(near)
    height = {"wall": rng.uniform(1.6, 3.2), "rail": 0.8}.get(kind, rng.uniform(1.1, 2.0))
    label = WALL if kind == "wall" else GUARD_RAIL if kind == "rail" else FENCE
    tall = int(np.clip(per_metre * height, 4, max(32, min(160, canvas.camera.height // 4))))
    across: Vector = (-math.copysign(0.8, float(ends[0, 0])), 0.0, -0.3)
    gain = canvas.light.gain(across, rng.uniform(0.5, 1.0))
    maker = _wall_texture if kind == "wall" else _rail_texture if kind == "rail" else _fence_texture
    texture = maker(rng, tall, length, height)
    lit = np.clip(texture[..., :3] * np.array(gain), 0, 255).astype(np.uint8)
    lit = hazed(lit, canvas.light, float(ends[0, 1]), float(ends[1, 1]))
    if texture.shape[2] == 4:
        lit = np.dstack([lit, texture[..., 3]])
    canvas.wall(ends, 0.0, height, lit, label, alpha=texture.shape[2] == 4)


def _wall_texture(rng: Random, tall: int, length: float, height: float) -> Image:
    """Brick, rough stone or painted concrete with a coping: uint8 [h, w, 3]."""
    wide = int(np.clip(length * tall / height * 0.5, 8, 6 * tall))
    base = rng.choice(((146, 96, 78), (158, 154, 146), (186, 178, 164), (126, 122, 116), (166, 144, 112)))
    row, col = rng.randrange(TILE), rng.randrange(TILE)
    grain = np.roll(fractal(12, 256), (row, col), (0, 1))
    rough = cv2.resize(
        grain[: max(24, int(height * 40)), : min(TILE, int(length * 20) + 40)],
        (wide, tall),
        interpolation=cv2.INTER_AREA,
    )
    tone = 1 + 0.1 * rough
    courses = max(2, int(height / rng.choice((0.12, 0.25, 0.4))))
    rows = np.linspace(0, courses, tall, endpoint=False)
    if tall / courses >= 3:
        tone = tone * np.where(rows % 1 < 0.16, 0.8, 1.0)[:, None]
    tone *= np.linspace(1.05, 0.88, tall)[:, None]
    tone[: max(1, int(tall * 0.07))] *= 1.18
    if rng.random() < 0.25:  # graffiti
        colour = np.array((rng.uniform(40, 220), rng.uniform(40, 200), rng.uniform(60, 220)))
        picture = tone[..., None] * np.array(base)
        ink = (cv2.resize(grain[100:160, 100:300], (wide, tall)) > 0.9)[..., None] & (
            np.abs(np.linspace(-1, 1, tall)) < 0.6
        )[:, None, None]
        return np.asarray(np.clip(np.where(ink, colour, picture), 0, 255), np.uint8)
    return np.asarray(np.clip(tone[..., None] * np.array(base), 0, 255), np.uint8)


def _fence_texture(rng: Random, tall: int, length: float, height: float) -> Image:
    """Pickets, bars, wire mesh, boards or a hoarding: uint8 [h, w, 4], opaque where there is material."""
    kind = rng.choice(("picket", "bars", "mesh", "boards", "hoarding", "site"))
    wide = int(np.clip(length * tall / height * 0.6, 16, 8 * tall))
    per_metre = wide / length
    texture: Image = np.zeros((tall, wide, 4), np.uint8)
    colours: dict[str, tuple[Colour, ...]] = {
        "picket": ((222, 220, 212), (120, 92, 66), (150, 124, 92)), "bars": ((44, 48, 50), (58, 84, 66), (90, 94, 98)),
        "mesh": ((112, 116, 116), (58, 88, 66)), "boards": ((128, 98, 70), (104, 84, 66)),
        "hoarding": ((206, 206, 200), (60, 96, 140), (186, 150, 70)), "site": ((150, 152, 154),),
    }  # fmt: skip
    tone = rng.choice(colours[kind])
    texture[..., :3] = np.array(tone, np.uint8)
    pitch = {"picket": 0.16, "bars": 0.13, "mesh": 0.1, "boards": 0.2, "hoarding": 1.2, "site": 0.12}[kind]
    place = np.arange(wide) / per_metre
    phase = (place / pitch) % 1
    if kind in ("boards", "hoarding"):
        texture[..., 3] = 255
        seam = phase < (0.12 if kind == "boards" else 0.03)
        texture[:, seam, :3] = (texture[:, seam, :3] * 0.7).astype(np.uint8)
    elif pitch * per_metre < 2.5:
        texture[..., 3] = {"picket": 150, "bars": 90, "mesh": 70, "site": 80}[kind]
    else:
        share = {"picket": 0.55, "bars": 0.26, "mesh": 0.2, "site": 0.2}[kind]
        texture[:, phase < share, 3] = 255
        if kind in ("mesh", "site"):
            down = (np.arange(tall) / tall * height / pitch) % 1 < 0.2
            texture[down, :, 3] = 255
            texture[..., 3] = np.maximum(texture[..., 3], 46)
    for level in (0.12, 0.8):
        thick = max(1, int(0.05 * tall))
        texture[int(level * tall) : int(level * tall) + thick, :, 3] = 255
    posts = (place % 2.4) < 0.09
    texture[:, posts, 3] = 255
    texture[:, posts, :3] = (texture[:, posts, :3] * 0.82).astype(np.uint8)
    return texture


def _rail_texture(rng: Random, tall: int, length: float, height: float) -> Image:
    """A steel guard rail on short posts: uint8 [h, w, 4]."""
    wide = int(np.clip(length * tall / height * 0.5, 16, 8 * tall))
    texture: Image = np.zeros((tall, wide, 4), np.uint8)
    tone = rng.uniform(140, 180)
    texture[..., :3] = int(tone)
    top, bottom = int(0.02 * tall), int(0.5 * tall)
    texture[top:bottom, :, 3] = 255
    wave = 1 + 0.2 * np.cos(np.linspace(0, 4 * np.pi, bottom - top))
    texture[top:bottom, :, :3] = np.clip(tone * wave, 0, 255).astype(np.uint8)[:, None, None]
    posts = (np.arange(wide) / wide * length % 2.0) < 0.14
    texture[bottom:, posts, 3] = 255
    return texture


def paint_bin(canvas: Canvas, at: Place, seed: int, lit: float) -> None:
    """A litter bin, bench, bollard, electric box or planter: static, which Cityscapes does not score."""
    rng = Random(seed)
    x, z = at
    kind = rng.choice(("bin", "box", "bench", "planter", "container"))
    if kind == "bench":
        wood: Colour = (120, 88, 60)
        for y in (0.45, 0.62, 0.78):
            canvas.panel(
                array([(x - 0.8, y, z), (x + 0.8, y, z), (x + 0.8, y + 0.1, z), (x - 0.8, y + 0.1, z)]),
                wood,
                STATIC,
                lit=lit,
            )
        for dx in (-0.65, 0.65):
            canvas.rod(_line(x + dx, 0, 0.8, z), 0.03, (60, 60, 64), STATIC, lit)
        return
    size: dict[str, tuple[float, float, Colour]] = {
        "bin": (0.25, 0.95, (70, 74, 70)), "box": (0.5, 1.2, (150, 154, 148)), "planter": (0.6, 0.6, (134, 122, 108)),
        "container": (0.6, 1.25, rng.choice(((52, 92, 62), (60, 76, 120), (150, 120, 50), (70, 72, 76)))),
    }  # fmt: skip
    half, high, tone = size[kind]
    side = -math.copysign(half * 0.8, x)
    flank = array(
        [
            (x + side * 1.25, 0, z),
            (x + side * 1.25, 0, z + half),
            (x + side * 1.25, high, z + half),
            (x + side * 1.25, high, z),
        ]
    )
    canvas.panel(flank, scaled(tone, 0.8), STATIC, (math.copysign(0.8, side), 0, -0.3), lit)
    top = array([(x - half, high, z), (x + half, high, z), (x + half, high, z + half), (x - half, high, z + half)])
    canvas.panel(top, scaled(tone, 1.1), STATIC, (0, 1, 0), lit)
    canvas.panel(
        array([(x - half, 0, z), (x + half, 0, z), (x + half, high, z), (x - half, high, z)]), tone, STATIC, lit=lit
    )
    lid = array(
        [
            (x - half * 1.05, high * 0.84, z),
            (x + half * 1.05, high * 0.84, z),
            (x + half * 1.05, high * 0.9, z),
            (x - half * 1.05, high * 0.9, z),
        ]
    )
    canvas.panel(lid, scaled(tone, 0.6), lit=lit)


def paint_bollard(canvas: Canvas, at: Place, grey: Colour, lit: float) -> None:
    x, z = at
    canvas.rod(_line(x, 0, 0.95, z), 0.06, grey, POLE, lit)
    canvas.rod(_line(x, 0.72, 0.82, z), 0.064, (220, 218, 212), None, lit)
