"""Houses as boxes with textured sides and roofs, the far skyline, and bridges over the street."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from segwright.data.streets.camera import Camera, Points
from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.city import City
from segwright.data.streets.facades import Look, draw_cells, draw_look, facade
from segwright.data.streets.ids import BRIDGE, BUILDING, VEGETATION
from segwright.data.streets.light import BACK, Colour, Vector, mix, scaled

DEPTH = 11.0
"""How far a house reaches back from the street, metres."""


@dataclass(frozen=True)
class House:
    """A house on one side of the street: `front` is its s, side = +1 on the right and -1 on the left."""

    look: Look
    front: float
    side: int
    start: float
    stop: float
    seed: int

    @property
    def height(self) -> float:
        return self.look.storeys * self.look.storey_height + 0.6


def footprint(camera: Camera, house: House) -> Points:
    """(x, z) of near front, far front, far back, near back: float64 [4, 2]."""
    near, far = camera.street(house.front, house.start), camera.street(house.front, house.stop)
    back = house.side * DEPTH
    return array([(near[0], near[2]), (far[0], far[2]), (far[0] + back, far[2]), (near[0] + back, near[2])])


def _cell_px(canvas: Canvas, ends: Points, cells: int, storey: float) -> tuple[int, int]:
    """Texels (h, w) that a window cell deserves at its nearest place."""
    near = max(float(ends[:, 1].min()), 3.0)
    per_metre = canvas.camera.pixels_per_metre(near)
    share = (ends[1] - ends[0]) / cells
    first = ends[0] if ends[0, 1] <= ends[1, 1] else ends[1] - share
    if first[1] < 3.0:
        first = np.array([first[0], 3.0])
    px, _ = canvas.camera.project(array([(first[0], 2.0, first[1]), (first[0] + share[0], 2.0, first[1] + share[1])]))
    most = max(24, min(120, canvas.camera.height // 4))
    high = int(np.clip(per_metre * storey * 0.9, 3, most))
    wide = int(np.clip(abs(px[1, 0] - px[0, 0]), 2, most))
    return high, wide


def paint_house(canvas: Canvas, house: House) -> None:
    """Back to front: roof, the end that looks at the camera, the street front, cornice and chimneys."""
    look, light, rng = house.look, canvas.light, Random(house.seed)
    box = footprint(canvas.camera, house)
    top = house.height
    eave: Vector = (-house.side * 1.0, 0.0, 0.0)
    shadow = rng.uniform(0.45, 1.0)
    front_gain = light.gain(eave, shadow)
    end_gain = light.gain(BACK, 0.9)
    _chimneys(canvas, house, box, rng)
    if look.pitched:
        _roof(canvas, house, box)
    bays = max(1, round((house.stop - house.start) / look.bay))
    end_bays = max(1, round(DEPTH / look.bay))
    cells = draw_cells(look, light, rng, near=house.start < 30)
    for ends, count, gain, is_front in (
        (box[[0, 3]], end_bays, end_gain, False),
        (box[[0, 1]], bays, front_gain, True),
    ):
        if not _in_view(canvas, ends, top):
            continue
        size = _cell_px(canvas, ends, count, look.storey_height)
        reach = (float(ends[0, 1]), float(ends[1, 1]))
        canvas.wall(ends, 0.0, top, facade(look, cells, light, rng, count, size, gain, reach, front=is_front), BUILDING)
    _cornice(canvas, house, box, front_gain)


def _in_view(canvas: Canvas, ends: Points, top: float) -> bool:
    """False for walls behind the camera or turned away from it."""
    a, b = ends
    if max(a[1], b[1]) < 2:
        return False
    world = array([(a[0], 0, max(a[1], 1.5)), (b[0], 0, max(b[1], 1.5)), (a[0], top, max(a[1], 1.5))])
    px, _ = canvas.camera.project(world)
    return bool(px[:, 0].max() > 0 and px[:, 0].min() < canvas.camera.width and abs(px[0, 0] - px[1, 0]) > 0.3)


def _cornice(canvas: Canvas, house: House, box: Points, gain: Colour) -> None:
    """A ledge along the eaves, which also smooths the edge of the texture against the sky."""
    top = house.height
    tone = mix(house.look.wall, (210, 206, 198), 0.35)
    depth = float(max(box[0, 1], 3.0))
    for low, high, level in ((top - 0.45, top + 0.05, 0.92), (top - 0.1, top + 0.12, 1.12)):
        for a, b in ((box[0], box[3]), (box[0], box[1])):
            quad = array([(a[0], low, a[1]), (b[0], low, b[1]), (b[0], high, b[1]), (a[0], high, a[1])])
            shade = mix(tuple(np.array(tone) * gain * level), canvas.light.haze, canvas.light.fog(depth))
            canvas.face(quad, shade, BUILDING)


def _roof(canvas: Canvas, house: House, box: Points) -> None:
    """A pitched roof whose ridge runs along the street, with the gable towards the camera."""
    top, rise = house.height, DEPTH * 0.42
    ridge_near, ridge_far = (box[0] + box[3]) / 2, (box[1] + box[2]) / 2
    a, b, _, d = box
    look, depth = house.look, float(max(box[0, 1], 3.0))
    slope: Vector = (-house.side * 0.6, 0.8, 0.0)
    tiles = canvas.light.shade(look.roof, slope, depth)
    quad = array(
        [(a[0], top, a[1]), (b[0], top, b[1]), (ridge_far[0], top + rise, ridge_far[1]),
         (ridge_near[0], top + rise, ridge_near[1])]
    )  # fmt: skip
    canvas.face(quad, tiles, BUILDING)
    for k in range(1, 6):
        t = k / 6
        low, high = quad[:2] + (quad[[3, 2]] - quad[:2]) * t, quad[:2] + (quad[[3, 2]] - quad[:2]) * (t + 0.035)
        canvas.face(np.concatenate([low, high[::-1]]), scaled(tiles, 0.86))
    gable = array([(a[0], top, a[1]), (d[0], top, d[1]), (ridge_near[0], top + rise, ridge_near[1])])
    canvas.face(gable, canvas.light.shade(look.wall, BACK, depth, 0.9), BUILDING)


def _chimneys(canvas: Canvas, house: House, box: Points, rng: Random) -> None:
    base = house.height + (DEPTH * 0.25 if house.look.pitched else 0)
    for _ in range(rng.randint(0, 3)):
        t, back = rng.uniform(0.1, 0.9), rng.uniform(0.25, 0.6)
        x, z = box[0] + (box[1] - box[0]) * t + (box[3] - box[0]) * back
        half, high = rng.uniform(0.3, 0.9), base + rng.uniform(0.8, 2.6)
        if z < 3:
            continue
        quad = array([(x - half, base - 3, z), (x + half, base - 3, z), (x + half, high, z), (x - half, high, z)])
        canvas.panel(quad, scaled(house.look.wall, 0.7), BUILDING)


def paint_skyline(canvas: Canvas, city: City, rng: Random) -> None:
    """What closes the view: far houses and tree tops, pale with distance."""
    camera = canvas.camera
    for depth in (360.0, 240.0):
        reach = depth * (0.5 * camera.width / camera.focal + 0.12)
        x = -reach
        while x < reach:
            width = rng.uniform(11, 30)
            seed, kind = rng.getrandbits(32), rng.random()
            if kind < 0.2 + 0.35 * city.trees:
                _far_trees(canvas, Random(seed), x, width, depth, city.leaf_light)
            elif kind < 0.93:
                _far_house(canvas, city, Random(seed), x, width, depth)
            x += width * rng.uniform(0.75, 1.05)


def _far_house(canvas: Canvas, city: City, rng: Random, x: float, width: float, depth: float) -> None:
    """A distant block: its windows are no more than a pattern."""
    light = canvas.light
    look = draw_look(city, rng)
    floors = look.storeys + rng.randint(0, 3) + (rng.randint(3, 8) if rng.random() < 0.08 else 0)
    bays = max(2, round(width / 3))
    cell = np.empty((6, 6, 3), np.float32)
    cell[:] = look.wall
    cell[2:5, 1:5] = np.array(look.wall) * 0.62 + np.array((10, 14, 20))
    gain = np.array(light.gain(BACK, 0.9), np.float32)
    fog = min(0.85, light.fog(depth) + 0.12)
    tile = np.tile(np.minimum(cell * gain, 255) * (1 - fog) + np.array(light.haze, np.float32) * fog, (floors, bays, 1))
    high = floors * 3.2
    px = canvas.camera.pixels_per_metre(depth)
    size = (max(2, round(width * px)), max(2, round(high * px)))
    texture = np.asarray(cv2.resize(tile, size, interpolation=cv2.INTER_AREA), np.uint8)
    canvas.wall(array([(x, depth), (x + width, depth)]), -2.0, high, texture, BUILDING)
    if look.pitched:
        roof = mix(light.shade(look.roof, (0.0, 0.6, -0.6), depth), light.haze, 0.15)
        inset = width * 0.12
        top = array(
            [
                (x - 0.5, high, depth),
                (x + width + 0.5, high, depth),
                (x + width - inset, high + 4.5, depth),
                (x + inset, high + 4.5, depth),
            ]
        )
        canvas.face(top, roof, BUILDING)


def _far_trees(canvas: Canvas, rng: Random, x: float, width: float, depth: float, leaf: Colour) -> None:
    """A far wood: a row of rounded tops, darker ones behind."""
    for back, level in ((2.5, 0.5), (0.0, 0.62)):
        colour = mix(
            canvas.light.shade(scaled(leaf, level * rng.uniform(0.9, 1.1)), BACK, depth), canvas.light.haze, 0.1
        )
        t = np.linspace(0, 1, max(14, int(width * 2)))
        bumps = (
            np.abs(np.sin(t * width * 0.45 + rng.uniform(0, 6))) * 1.8
            + np.abs(np.sin(t * width * 1.1 + rng.uniform(0, 6))) * 0.7
        )
        tops = (rng.uniform(5.5, 8.5) + back + bumps) * np.minimum(1, 5 * np.minimum(t, 1 - t) + 0.25)
        outline = np.column_stack([x + width * t, tops, np.full(len(t), depth)])
        canvas.face(
            np.concatenate([array([(x, -2, depth)]), outline, array([(x + width, -2, depth)])]), colour, VEGETATION
        )


def paint_bridge(canvas: Canvas, z: float, clearance: float, thickness: float) -> None:
    """A bridge across the street with its parapet and pillars."""
    camera, light = canvas.camera, canvas.light
    middle = camera.street(0, z)[0]
    left, right = middle - 70, middle + 70
    far = z + 9
    below = array([(left, clearance, z), (right, clearance, z), (right, clearance, far), (left, clearance, far)])
    canvas.panel(below, (92, 90, 86), BRIDGE, (0.0, -1.0, 0.0))
    for s in (-11.0, 11.0):
        x = middle + s
        for depth in (far, z):
            pillar = array(
                [(x - 0.7, 0, depth), (x + 0.7, 0, depth), (x + 0.7, clearance, depth), (x - 0.7, clearance, depth)]
            )
            canvas.panel(pillar, (148, 144, 138), BRIDGE)
    for low, high, tone in ((0.0, thickness, (158, 154, 146)), (thickness, thickness + 0.9, (122, 126, 130))):
        quad = array([(left, clearance + low, z), (right, clearance + low, z), (right, clearance + high, z),
                      (left, clearance + high, z)])  # fmt: skip
        canvas.panel(quad, tone, BRIDGE)
    edge = array([(left, clearance + thickness - 0.1, z), (right, clearance + thickness - 0.1, z),
                  (right, clearance + thickness, z), (left, clearance + thickness, z)])  # fmt: skip
    canvas.face(edge, light.shade((96, 94, 90), BACK, z))
