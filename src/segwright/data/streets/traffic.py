"""What moves or is parked: cars, trucks, buses, trams, two-wheelers and people."""

from __future__ import annotations

import math
from functools import partial
from random import Random

from segwright.data.streets.big_bodies import Train, bus, tram, truck
from segwright.data.streets.bodies import CAR_KINDS, car
from segwright.data.streets.camera import Camera
from segwright.data.streets.canvas import Canvas
from segwright.data.streets.city import City
from segwright.data.streets.cycles import paint_bicycle, paint_motorcycle
from segwright.data.streets.ids import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, RIDER, TRAIN, TRUCK
from segwright.data.streets.items import Counter, Item
from segwright.data.streets.light import Colour
from segwright.data.streets.people import draw_person, paint_dog, paint_person
from segwright.data.streets.street import Side, Street
from segwright.data.streets.vehicles import Pose, paint_bodies


class Traffic:
    """Collects vehicles and people. busy: 0 an empty street … 1 a crowded one."""

    def __init__(self, city: City, street: Street, camera: Camera, rng: Random, *, night: float) -> None:
        self.city, self.street, self.camera, self.rng, self.night = city, street, camera, rng, night
        self.items: list[Item] = []
        self.counter = Counter()
        self.busy = rng.uniform(0.15, 1.0)

    def build(self) -> list[Item]:
        for side in (self.street.left, self.street.right):
            if side.parking > 1.5:
                self._parked(side)
        if self.street.tram and self.rng.random() < 0.5:
            self._tram()
        for lane in self.street.lanes:
            self._lane(lane.s, lane.direction)
        self._crossing_traffic()
        for side in (self.street.left, self.street.right):
            self._walkers(side)
            self._parked_cycles(side)
        self._cyclists()
        self._on_zebra()
        return self.items

    def _free(self, left: float, right: float, near: float, far: float) -> bool:
        return not any(
            item.left < right and item.right > left and item.near < far and item.far > near
            for item in self.items
            if item.hides
        )

    def _vehicle(self, bodies: Train, label: int, s: float, z: float, turn: float) -> bool:
        """Place a vehicle whose middle is at (s, z), turned from the street's direction; False where it has no room."""
        length = max(o + float(b.profile[:, 0].max()) for b, o in bodies) - min(
            o + float(b.profile[:, 0].min()) for b, o in bodies
        )
        half_w = max(b.half for b, _ in bodies)
        c, sn = abs(math.cos(turn)), abs(math.sin(turn))
        along, aside = (length * c + 2 * half_w * sn) / 2, (length * sn + 2 * half_w * c) / 2
        if z - along < 3.2 or not self._free(s - aside, s + aside, z - along - 0.6, z + along + 0.6):
            return False
        pose = Pose(self.camera.street(s, z)[0], z, self.camera.heading(z) + turn)
        ident = self.counter.ident(label)
        high = max(float(b.profile[:, 1].max()) for b, _ in bodies)
        foot = pose.footprint(length, 2 * half_w)
        shadows = [
            (pose.footprint(length * 0.98, half_w * 1.9), 0.2, high * 0.62),
            (pose.footprint(length * 0.6, half_w * 1.5), 0.2, high),
        ]

        def paint(canvas: Canvas, lit: float) -> None:
            paint_bodies(canvas, bodies, pose, ident, lit)

        self.items.append(Item(s - aside, s + aside, z - along, z + along, paint, shadows, foot, hides=True))
        return True

    def _car(self, kinds: tuple[float, ...] = (24, 24, 18, 20, 9, 5)) -> Train:
        return [(car(self.rng, self.rng.choices(CAR_KINDS, kinds)[0], night=self.night), 0.0)]

    def _any_vehicle(self) -> tuple[Train, int]:
        kind = self.rng.choices(("car", "truck", "bus"), (96.6, 2.1, 1.3))[0]
        if kind == "truck":
            return truck(self.rng, night=self.night), TRUCK
        if kind == "bus":
            return bus(self.rng, night=self.night), BUS
        return self._car(), CAR

    def _lane(self, s: float, direction: int) -> None:
        rng, street = self.rng, self.street
        mine = abs(s - street.eye_s) < 1.2
        z = rng.uniform(14, 50) if mine else rng.uniform(7, 50)
        while z < 120:
            bodies, label = self._any_vehicle()
            inside = street.crossing is not None and street.crossing.start - 2 < z < street.crossing.stop + 2
            if not inside:
                self._vehicle(bodies, label, s + rng.uniform(-0.25, 0.25), z, 0.0 if direction > 0 else math.pi)
            z += 7 + rng.expovariate(1 / (12 + 80 * (1 - self.busy)))

    def _parked(self, side: Side) -> None:
        rng = self.rng
        fill = rng.uniform(0.1, 0.85)
        s = side.sign * (side.kerb - side.parking / 2)
        turn = 0.0 if side.sign > 0 else math.pi
        z = rng.uniform(6.0, 16)
        while z < 110:
            if rng.random() < fill and not self.street.blocked(z, 4):
                flip = math.pi if rng.random() < 0.12 else 0.0
                if rng.random() < 0.015:
                    self._vehicle(truck(rng, night=0.0), TRUCK, s, z + 1.5, turn + flip)
                    z += 4
                else:
                    self._vehicle(self._car(), CAR, s + rng.uniform(-0.15, 0.15), z, turn + flip + rng.gauss(0, 0.02))
            z += rng.uniform(5.2, 6.6)

    def _tram(self) -> None:
        rng = self.rng
        direction = rng.choice((1, -1, -1))
        lane = min((lane for lane in self.street.lanes if lane.direction == direction), key=lambda lane: abs(lane.s))
        bodies = tram(rng, night=self.night)
        half = len([b for b, _ in bodies if b.half > 1.15]) * 3.2
        self._vehicle(bodies, TRAIN, lane.s, rng.uniform(8, 45) + half, 0.0 if direction > 0 else math.pi)

    def _crossing_traffic(self) -> None:
        crossing, rng = self.street.crossing, self.rng
        if crossing is None:
            return
        for share, turn in ((0.28, -math.pi / 2), (0.72, math.pi / 2)):
            z = crossing.start + (crossing.stop - crossing.start) * share
            for _ in range(rng.randint(0, 3)):
                bodies, label = self._any_vehicle()
                self._vehicle(bodies, label, rng.uniform(-26, 26), z, turn)

    def _person(self, s: float, z: float, heading: float, pose: str) -> None:
        rng = self.rng
        if not self._free(s - 0.3, s + 0.3, z - 0.3, z + 0.3):
            return
        person = draw_person(rng, pose)
        where = Pose(self.camera.street(s, z)[0], z, heading)
        ident = self.counter.ident(PERSON)

        def paint(canvas: Canvas, lit: float) -> None:
            paint_person(canvas, person, where, ident, lit)

        foot = where.footprint(0.36, 0.44)
        self.items.append(Item(s - 0.25, s + 0.25, z - 0.2, z + 0.2, paint, [(foot, 0.0, person.height)], foot))

    def _dog(self, s: float, z: float, heading: float) -> None:
        rng = self.rng
        where = Pose(self.camera.street(s, z)[0], z, heading)
        coat = rng.choice(((60, 44, 34), (150, 116, 80), (40, 38, 38), (206, 196, 178)))
        size = rng.uniform(0.28, 0.6)
        foot = where.footprint(size * 1.2, size * 0.4)
        paint = partial(_paint_dog, where, coat, size)
        self.items.append(Item(s - 0.3, s + 0.3, z - 0.3, z + 0.3, paint, [(foot, 0.0, size)], foot))

    def _walkers(self, side: Side) -> None:
        rng = self.rng
        crowd = self.busy * (2.0 if self.street.kind == "city" else 1.1)
        for _ in range(int(rng.expovariate(1 / (0.4 + 4.2 * crowd)))):
            z = 5 + rng.expovariate(1 / 26)
            if z > 90:
                continue
            s = side.sign * rng.uniform(side.walk_start + 0.4, max(side.walk_end - 0.4, side.walk_start + 0.6))
            heading = self.camera.heading(z) + (math.pi if rng.random() < 0.5 else 0.0)
            pose = "walk" if rng.random() < 0.75 else "stand"
            if pose == "stand":
                heading = rng.uniform(-math.pi, math.pi)
            if rng.random() < 0.06 and z > 5:
                self._dog(s - 0.7, z, heading)
            for _ in range(rng.choices((1, 2, 3, 4), (70, 20, 7, 3))[0]):
                self._person(s, z, heading + rng.gauss(0, 0.15), pose)
                s, z = s + rng.choice((-0.6, 0.6)), z + rng.uniform(-0.5, 0.5)

    def _on_zebra(self) -> None:
        rng = self.rng
        for at in self.street.zebras:
            if at < 5 or rng.random() < 0.45:
                continue
            for _ in range(rng.randint(1, 5)):
                heading = rng.choice((math.pi / 2, -math.pi / 2)) + rng.gauss(0, 0.1)
                self._person(
                    rng.uniform(-self.street.left.kerb, self.street.right.kerb),
                    at + rng.uniform(0.3, 3.3),
                    heading,
                    "walk",
                )

    def _two_wheeler(self, s: float, z: float, heading: float, label: int, *, ridden: bool) -> None:
        rng = self.rng
        reach = 0.95
        if z - reach < 3 or not self._free(s - 0.4, s + 0.4, z - reach, z + reach):
            return
        pose = Pose(self.camera.street(s, z)[0], z, heading)
        ident, seed = self.counter.ident(label), rng.getrandbits(32)
        vehicle = paint_bicycle if label == BICYCLE else paint_motorcycle
        person = draw_person(rng, "bike" if label == BICYCLE else "moto")
        rider = self.counter.ident(RIDER) if ridden else 0
        saddle = 0.92 if label == BICYCLE else 0.78

        def paint(canvas: Canvas, lit: float) -> None:
            vehicle(canvas, pose, seed, ident, lit)
            if ridden:
                paint_person(canvas, person, pose, rider, lit, saddle)

        foot = pose.footprint(1.7, 0.3)
        high = 1.75 if ridden else 1.0
        aside = 0.3 + 0.6 * abs(math.sin(heading))
        self.items.append(
            Item(
                s - aside,
                s + aside,
                z - reach,
                z + reach,
                paint,
                [(foot, 0.0, high * 0.6), (pose.footprint(0.6, 0.4), 0.3, high)],
                foot,
            )
        )

    def _cyclists(self) -> None:
        rng, street = self.rng, self.street
        for side in (street.right, street.left):
            edge = side.kerb - (side.parking if side.parking > 1.5 else 0.0)
            for _ in range(int(rng.expovariate(1 / (0.12 + 0.5 * self.city.bikes)))):
                z = 6 + rng.expovariate(1 / 20)
                heading = self.camera.heading(z) + (0.0 if side.sign > 0 else math.pi) + rng.gauss(0, 0.12)
                self._two_wheeler(side.sign * (edge - rng.uniform(0.5, 1.0)), z, heading, BICYCLE, ridden=True)
        if rng.random() < 0.11:
            lane = rng.choice(street.lanes)
            z = rng.uniform(7, 34)
            heading = self.camera.heading(z) + (0.0 if lane.direction > 0 else math.pi)
            self._two_wheeler(lane.s + rng.uniform(-0.6, 0.6), z, heading, MOTORCYCLE, ridden=True)

    def _parked_cycles(self, side: Side) -> None:
        rng = self.rng
        if rng.random() < 0.25 + 0.5 * self.city.bikes:
            z, s = (
                rng.uniform(5, 30),
                side.sign * (side.walk_start + 0.5 if rng.random() < 0.4 else side.walk_end - 0.4),
            )
            heading = rng.uniform(0, 2 * math.pi) if rng.random() < 0.6 else self.camera.heading(z)
            for _ in range(rng.choices((1, 2, 3, 5, 7), (30, 25, 20, 15, 10))[0]):
                self._two_wheeler(s, z, heading + rng.gauss(0, 0.06), BICYCLE, ridden=False)
                z += 0.65 if abs(math.sin(heading)) > 0.5 else 1.9
        if rng.random() < 0.07:
            z = rng.uniform(6, 30)
            s = side.sign * (side.kerb - 0.8 if side.parking > 1.5 else side.walk_start + 0.6)
            for _ in range(rng.randint(1, 3)):
                self._two_wheeler(s, z, rng.uniform(0.7, 1.3) * side.sign, MOTORCYCLE, ridden=False)
                z += 1.1


def _paint_dog(where: Pose, coat: Colour, size: float, canvas: Canvas, lit: float) -> None:
    paint_dog(canvas, where, coat, size, lit)
