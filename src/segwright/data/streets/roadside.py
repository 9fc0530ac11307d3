"""What lines the street: houses, parks, walls, fences, trees, lamps, signs, lights, bins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np

from segwright.data.streets.buildings import House, footprint, paint_bridge, paint_house
from segwright.data.streets.camera import Camera, Points
from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.city import City
from segwright.data.streets.facades import Look, draw_look
from segwright.data.streets.furniture import (
    SIGN_KINDS,
    paint_barrier,
    paint_bin,
    paint_bollard,
    paint_lamp,
    paint_mast,
    paint_sign,
    paint_traffic_light,
)
from segwright.data.streets.items import Item
from segwright.data.streets.light import scaled
from segwright.data.streets.plants import Tree, crown_ring, paint_tree
from segwright.data.streets.street import Side, Street

REACH = 170.0
"""Houses stand up to this distance, metres."""


class Roadside:
    """Collects the items beside the road."""

    def __init__(self, city: City, street: Street, camera: Camera, rng: Random) -> None:
        self.city, self.street, self.camera, self.rng = city, street, camera, rng
        self.items: list[Item] = []

    def build(self) -> list[Item]:
        for side in (self.street.left, self.street.right):
            self._lots(side)
            self._row_of_trees(side)
            self._lamps(side)
            self._small_things(side)
        self._signals()
        if self.street.median > 1.2:
            self._median()
        if self.rng.random() < 0.012:
            z = self.rng.uniform(45, 90)
            self.items.append(Item(-70, 70, z, z + 9, lambda canvas, lit: paint_bridge(canvas, z, 5.2, 1.4)))
        return self.items

    def _lots(self, side: Side) -> None:
        """Fill the building line with houses, gaps, parks, walled and fenced yards."""
        rng, street = self.rng, self.street
        weights = {
            "city": (91, 2, 3, 4), "avenue": (78, 11, 5, 6), "suburb": (62, 17, 8, 13), "outskirts": (34, 32, 16, 18),
        }[street.kind]  # fmt: skip
        z = rng.uniform(-14, -4)
        look = draw_look(self.city, rng)
        while z < REACH:
            if street.crossing is not None and street.crossing.start - 1.5 < z < street.crossing.stop + 1.0:
                z = street.crossing.stop + rng.uniform(1.0, 2.5)
            kind = rng.choices(("house", "park", "walled", "fenced"), weights)[0]
            length = rng.uniform(8, 20) * (1 + max(z, 0) / 120) if kind == "house" else rng.uniform(12, 34)
            stop = z + length
            if street.crossing is not None and z < street.crossing.start < stop:
                stop = street.crossing.start - rng.uniform(0.8, 2)
                if stop - z < 4:
                    z = street.crossing.stop + 1.2
                    continue
            if kind == "house":
                if rng.random() < 0.75:
                    look = draw_look(self.city, rng)
                self._house(side, look, z, stop)
            else:
                self._yard(side, kind, z, stop)
            z = stop
            if street.kind in ("suburb", "outskirts") or rng.random() < 0.08:
                gap = rng.uniform(2, 7)
                self._bushes(side.sign * (side.line + 3), side.sign * (side.line + 9), z, z + gap, 2, 3.5)
                z += gap

    def _house(self, side: Side, look: Look, start: float, stop: float) -> None:
        rng = self.rng
        setback = side.line + (rng.uniform(0, 1.2) if side.front > 0.8 else 0.0)
        house = House(look, side.sign * setback, side.sign, start, stop, rng.getrandbits(32))
        left, right = sorted((side.sign * setback, side.sign * (setback + 11)))
        box = footprint(self.camera, house)
        self.items.append(
            Item(
                left,
                right,
                start,
                stop,
                lambda canvas, lit: paint_house(canvas, house),
                [(box, 0.0, house.height)],
                box,
            )
        )
        if side.front > 2:
            self._front_garden(side, start, stop)

    def _front_garden(self, side: Side, start: float, stop: float) -> None:
        rng = self.rng
        kind = rng.choices(("hedge", "fence", "wall", "open"), (36, 26, 14, 24))[0]
        at = side.sign * (side.walk_end + 0.25)
        if kind == "hedge":
            self._hedge(at, start, stop)
        elif kind in ("fence", "wall"):
            self._barrier(at, start, stop, kind)
        if rng.random() < 0.6:
            self._tree(side.sign * (side.walk_end + side.front * rng.uniform(0.4, 0.9)), rng.uniform(start, stop), 0.75)

    def _yard(self, side: Side, kind: str, start: float, stop: float) -> None:
        """A park, or trees behind a wall or fence."""
        rng = self.rng
        edge = side.sign * (side.walk_end + rng.uniform(0.1, 0.5))
        if kind == "walled":
            self._barrier(edge, start, stop, "wall")
        elif kind == "fenced":
            self._barrier(edge, start, stop, "fence")
        elif rng.random() < 0.35:
            self._hedge(edge, start, stop)
        for row, depth in enumerate((3.5, 8.0, 14.0)):
            z = start + rng.uniform(0, 4)
            while z < stop:
                s = side.sign * (side.walk_end + depth + rng.uniform(-1.2, 1.2))
                self._tree(s, z, rng.uniform(0.9, 1.35), low=row == 2)
                z += rng.uniform(3.5, 7.5) * (1 + max(z, 0) / 50)
        self._bushes(
            side.sign * (side.walk_end + 2),
            side.sign * (side.walk_end + 15),
            start,
            stop,
            int((stop - start) / (3 + max(start, 0) / 12)),
            3,
        )

    def _bushes(self, a: float, b: float, start: float, stop: float, count: int, tall: float) -> None:
        rng = self.rng
        for _ in range(count):
            width = rng.uniform(1.4, 3.4)
            self._plant(
                "bush",
                rng.uniform(a, b),
                rng.uniform(start, stop),
                0.0,
                (width, min(width * rng.uniform(0.6, 1.0), tall)),
            )

    def _hedge(self, s: float, start: float, stop: float) -> None:
        rng = self.rng
        high = rng.uniform(0.8, 1.9)
        z = max(start, 2.5)
        step = 0.9
        while z < min(stop, 70):
            self._plant(
                "bush", s + rng.uniform(-0.1, 0.1), z, 0.0, (rng.uniform(1.6, 2.1), high * rng.uniform(0.9, 1.1))
            )
            z += step
            step *= 1.09

    def _tree(self, s: float, z: float, scale: float, *, low: bool = False) -> None:
        rng = self.rng
        shape = rng.choices(("round", "oval", "column"), self.city.tree_shapes)[0]
        high = rng.uniform(5.0, 8.5) * scale
        wide = high * (0.34 if shape == "column" else rng.uniform(0.75, 1.0))
        trunk = rng.uniform(0.6, 1.2) if low or shape == "column" else rng.uniform(2.0, 3.2)
        self._plant(shape, s, z, trunk, (wide, high))

    def _plant(self, shape: str, s: float, z: float, trunk: float, crown: tuple[float, float]) -> None:
        rng, city = self.rng, self.city
        tone = rng.uniform(0.82, 1.14)
        leaf = scaled(city.leaf_light, tone)
        if rng.random() < 0.04:
            leaf = (leaf[0] * 1.5, leaf[1] * 0.9, leaf[2] * 0.7)  # an autumn tree
        tree = Tree(shape, s, z, trunk, crown, scaled(city.leaf_dark, tone), leaf, rng.getrandbits(32))
        x, _, _ = self.camera.street(s, z)
        ring = np.add(crown_ring(tree), (x, z))
        half = crown[0] / 2
        shadows = [(ring, trunk + 0.15 * crown[1], trunk + crown[1] * 0.75)]
        contact = ring if trunk == 0 else np.array((x, z)) + (crown_ring(tree) * 0.12)
        self.items.append(Item(s - half, s + half, z - 0.3, z + 0.3, partial(_tree_paint, tree), shadows, contact))

    def _row_of_trees(self, side: Side) -> None:
        rng, street = self.rng, self.street
        chance = self.city.trees * {"city": 0.45, "avenue": 1.0, "suburb": 0.7, "outskirts": 0.6}[street.kind]
        if rng.random() > chance:
            return
        s = side.sign * (side.kerb + (side.verge / 2 if side.verge > 0 else 0.9))
        z, step = rng.uniform(3, 14), rng.uniform(7, 13)
        size = rng.uniform(0.65, 1.15)
        while z < 130:
            if not street.blocked(z, 2.5) and rng.random() < 0.9:
                self._tree(s, z, size * rng.uniform(0.85, 1.15))
            z += step * rng.uniform(0.9, 1.1)

    def _lamps(self, side: Side) -> None:
        rng, street = self.rng, self.street
        if side.sign < 0 and rng.random() < 0.35:
            return
        z, step = rng.uniform(7, 28), rng.uniform(22, 34)
        height, globe = rng.uniform(5, 8.5), rng.random() < 0.2
        s = side.sign * (side.kerb + rng.uniform(0.4, 0.8))
        arm = 0.0 if globe else -side.sign * rng.uniform(0.8, 1.8)
        mast = street.tram
        while z < 130:
            if not street.blocked(z, 0.5):
                at = self._at(s, z)
                paint: Callable[[Canvas, float], None]
                if mast:
                    paint = _mast_paint(at, rng.uniform(7, 7.6), -side.sign * (side.kerb * 0.8), self.city)
                else:
                    paint = _lamp_paint(at, 3.6 if globe else height, arm, self.city)
                self._thin(s, z, height, paint)
            z += step

    def _small_things(self, side: Side) -> None:
        rng, street, city = self.rng, self.street, self.city
        for _ in range(rng.randint(1, 4)):
            z = rng.uniform(9, 60)
            s = side.sign * (side.kerb + rng.uniform(0.35, 0.6))
            kind = rng.choice(SIGN_KINDS)
            z += 16 if kind == "direction" else 0
            facing = rng.random() < (0.9 if side.sign > 0 else 0.3)
            turn = rng.uniform(-0.25, 0.25) if rng.random() < 0.8 else rng.uniform(-1.2, 1.2)
            height = 3.2 if kind == "direction" else rng.uniform(2.1, 2.6)
            self._thin(s, z, height, _sign_paint(self._at(s, z), kind, height, turn, city, facing=facing))
        for _ in range(rng.randint(0, 4)):
            z = rng.uniform(5, 45)
            s = side.sign * (side.walk_start + rng.uniform(0.5, 0.9) if rng.random() < 0.5 else side.walk_end - 0.5)
            at, seed = self._at(s, z), rng.getrandbits(32)
            foot = np.array(at) + array([(-0.5, -0.1), (0.5, -0.1), (0.5, 0.5), (-0.5, 0.5)])
            self.items.append(Item(s - 0.5, s + 0.5, z, z + 0.4, _bin_paint(at, seed), [(foot, 0.0, 0.9)], foot))
        if side.verge == 0 and rng.random() < 0.22:
            z = rng.uniform(5, 20)
            for _ in range(rng.randint(3, 9)):
                s = side.sign * (side.kerb + 0.45)
                if not street.blocked(z):
                    self._thin(s, z, 0.9, _bollard_paint(self._at(s, z), city))
                z += rng.uniform(1.6, 2.2)
        if street.kind == "outskirts" and rng.random() < 0.4:
            s = side.sign * (side.kerb + 0.4)
            for k in range(4):
                start = 4 + 14 * k
                if not street.blocked(start + 7, 8):
                    self._barrier(s, start, start + 14, "rail")

    def _signals(self) -> None:
        street, rng = self.street, self.rng
        crossing = street.crossing
        if crossing is None or not crossing.signalled:
            return
        state = rng.choice((0, 0, 2, 2, 1))
        for side in (street.left, street.right):
            for z, facing in (
                (crossing.start - 1.0, side.sign > 0),
                (crossing.stop + 1.6, side.sign > 0 or rng.random() < 0.3),
            ):
                s = side.sign * (side.kerb + rng.uniform(0.5, 0.9))
                reach = (
                    -side.sign * min(side.kerb * 0.6, 5.5) if facing and side.sign > 0 and rng.random() < 0.5 else 0.0
                )
                self._thin(s, z, 4.0, _light_paint(self._at(s, z), reach, self.city, state, facing=facing))

    def _median(self) -> None:
        rng, street = self.rng, self.street
        kind = rng.choices(("trees", "hedge", "rail", "bare"), (50, 20, 20, 10))[0]
        if kind == "trees":
            z = rng.uniform(8, 18)
            while z < 120:
                if not street.blocked(z, 3):
                    self._tree(0.0, z, 0.7)
                z += rng.uniform(8, 12)
        elif kind == "hedge":
            for k in range(5):
                if not street.blocked(10 + 12 * k, 9):
                    self._hedge(0.0, 6 + 12 * k, 16 + 12 * k)
        elif kind == "rail":
            for k in range(6):
                if not street.blocked(12 + 12 * k, 8):
                    self._barrier(0.0, 6 + 12 * k, 18 + 12 * k, rng.choice(("rail", "fence")))

    def _barrier(self, s: float, start: float, stop: float, kind: str) -> None:
        """A wall, fence or rail along the street, cut into pieces so that it bends and sorts well."""
        rng = self.rng
        seed = rng.getrandbits(32)
        z = start
        while z < min(stop, 110):
            end = min(z + 12, stop)
            ends = array([self._at(s, z), self._at(s, end)])
            foot = np.concatenate([ends, np.add(ends[::-1], (0.12, 0))])
            self.items.append(
                Item(s - 0.1, s + 0.1, z, end, _barrier_paint(ends, kind, seed), [(foot, 0.0, 1.2)], foot)
            )
            z = end

    def _at(self, s: float, z: float) -> tuple[float, float]:
        return self.camera.street(s, z)[0], z

    def _thin(self, s: float, z: float, height: float, paint: Callable[[Canvas, float], None]) -> None:
        foot = np.array(self._at(s, z)) + array([(-0.08, -0.08), (0.08, -0.08), (0.08, 0.08), (-0.08, 0.08)])
        self.items.append(Item(s - 0.1, s + 0.1, z, z + 0.1, paint, [(foot, 0.0, height)], foot * 1.0))


def _tree_paint(tree: Tree, canvas: Canvas, lit: float) -> None:
    paint_tree(canvas, tree, max(lit, 0.6))


def _lamp_paint(at: tuple[float, float], height: float, arm: float, city: City) -> Callable[[Canvas, float], None]:
    return lambda canvas, lit: paint_lamp(canvas, at, height, arm, city.pole_grey, lit)


def _mast_paint(at: tuple[float, float], height: float, reach: float, city: City) -> Callable[[Canvas, float], None]:
    return lambda canvas, lit: paint_mast(canvas, at, height, reach, city.pole_grey, lit)


def _sign_paint(
    at: tuple[float, float], kind: str, height: float, turn: float, city: City, *, facing: bool
) -> Callable[[Canvas, float], None]:
    return lambda canvas, lit: paint_sign(canvas, at, kind, height, turn, city.pole_grey, lit, facing=facing)


def _bin_paint(at: tuple[float, float], seed: int) -> Callable[[Canvas, float], None]:
    return lambda canvas, lit: paint_bin(canvas, at, seed, lit)


def _bollard_paint(at: tuple[float, float], city: City) -> Callable[[Canvas, float], None]:
    return lambda canvas, lit: paint_bollard(canvas, at, city.pole_grey, lit)


def _light_paint(
    at: tuple[float, float], reach: float, city: City, state: int, *, facing: bool
) -> Callable[[Canvas, float], None]:
    return lambda canvas, lit: paint_traffic_light(canvas, at, reach, city.pole_grey, state, lit, facing=facing)


def _barrier_paint(ends: Points, kind: str, seed: int) -> Callable[[Canvas, float], None]:
    return lambda canvas, lit: paint_barrier(canvas, ends, kind, seed)
