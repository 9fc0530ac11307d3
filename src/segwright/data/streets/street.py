"""The plan of a street: lanes, kerbs, verges, sidewalks, crossings and markings."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from segwright.data.streets.city import City
from segwright.data.streets.ground import FAR, WHITE, YELLOW, Strip, Surface, dashes, kerb, rails, wear, zebra
from segwright.data.streets.ids import GROUND, PARKING, RAIL_TRACK, ROAD, SIDEWALK, TERRAIN
from segwright.data.streets.light import Colour, mix, scaled


@dataclass(frozen=True)
class Side:
    """One side of the street; all widths in metres, outwards from the kerb. sign = +1 right, -1 left."""

    sign: int
    kerb: float
    parking: float
    verge: float
    walk: float
    front: float

    @property
    def walk_start(self) -> float:
        return self.kerb + self.verge

    @property
    def walk_end(self) -> float:
        return self.kerb + self.verge + self.walk

    @property
    def line(self) -> float:
        """Where houses begin."""
        return self.walk_end + self.front


@dataclass(frozen=True)
class Crossing:
    """A side street that crosses between start and stop; signalled: with traffic lights."""

    start: float
    stop: float
    signalled: bool


@dataclass(frozen=True)
class Lane:
    """A driving lane: its middle, and +1 for our direction or -1 for oncoming."""

    s: float
    direction: int


@dataclass
class Street:
    kind: str
    lanes: list[Lane]
    left: Side
    right: Side
    eye_s: float
    crossing: Crossing | None
    zebras: list[float]
    tram: bool
    median: float
    surface: Surface = field(default_factory=Surface)

    def blocked(self, z: float, margin: float = 1.0) -> bool:
        """True where a side street or a zebra crosses."""
        if self.crossing is not None and self.crossing.start - margin < z < self.crossing.stop + margin:
            return True
        return any(at - margin < z < at + 4 + margin for at in self.zebras)


def draw_street(city: City, rng: Random) -> Street:
    """Lay out a street of a kind: city, avenue, suburb or outskirts."""
    v = rng.uniform
    kind = rng.choices(("city", "avenue", "suburb", "outskirts"), (46, 20, 20, 14))[0]
    lane_width = v(3.0, 3.5)
    tram = kind in ("city", "avenue") and rng.random() < city.trams
    wide = rng.random() < (0.75 if kind in ("avenue", "outskirts") else 0.2)
    ours = 2 if wide else 1
    theirs = ours if rng.random() < 0.8 else 1
    median = v(1.5, 5.0) if kind == "avenue" and rng.random() < 0.5 and not tram else 0.0
    lanes = [Lane(median / 2 + lane_width * (k + 0.5), 1) for k in range(ours)]
    lanes += [Lane(-median / 2 - lane_width * (k + 0.5), -1) for k in range(theirs)]
    sides = {}
    for sign, count in ((1, ours), (-1, theirs)):
        parking = v(2.0, 2.3) if rng.random() < city.parking * (0.25 if kind == "outskirts" else 0.8) else v(0.2, 0.6)
        verge = v(1.2, 3.2) if rng.random() < city.verge * (0.5 if kind == "city" else 1.6) else 0.0
        walk = v(2.8, 6.6) if kind in ("city", "avenue") else v(2.0, 3.8)
        front = {"city": v(0, 0.3), "avenue": v(0, 4), "suburb": v(2.5, 8), "outskirts": v(2, 10)}[kind]
        sides[sign] = Side(sign, median / 2 + lane_width * count + parking, parking, verge, walk, front)
    crossing = None
    if rng.random() < 0.5:
        at = v(14, 60)
        crossing = Crossing(at, at + v(7, 13), rng.random() < 0.6)
    zebras = [crossing.start - 4.6] if crossing is not None and rng.random() < 0.6 else []
    if crossing is None and rng.random() < 0.25:
        zebras.append(v(9, 34))
    mine = rng.choice([lane for lane in lanes if lane.direction > 0])
    street = Street(kind, lanes, sides[-1], sides[1], mine.s + v(-0.35, 0.35), crossing, zebras, tram, median)
    street.surface = _surface(street, city, lane_width, rng)
    return street


def _surface(street: Street, city: City, lane_width: float, rng: Random) -> Surface:
    v = rng.uniform
    tone = v(82, 112)
    asphalt: Colour = (tone * v(0.98, 1.03), tone, tone * v(0.97, 1.05))
    pave = scaled(rng.choice(((150, 146, 138), (138, 136, 134), (164, 150, 136), (142, 126, 116))), v(0.88, 1.08))
    grass = mix((92, 112, 56), (118, 118, 70), v(0, 1))
    urban = street.kind in ("city", "avenue")
    surface = Surface(base_label=SIDEWALK if urban else TERRAIN, base_albedo=pave if urban else grass)
    surface.cobbles = street.kind == "city" and rng.random() < city.cobbles
    surface.slabs = rng.random() < 0.75
    left, right = -street.left.kerb, street.right.kerb
    for side in (street.left, street.right):
        _side_strips(surface, side, pave, grass, rng)
    surface.strips.append(Strip(left, right, ROAD, asphalt))
    for lane in street.lanes:  # wheel tracks are polished, the middle of a lane is stained
        for offset, level in ((-0.8, 1.05), (0.8, 1.05), (0.0, 0.95)):
            surface.strips.append(Strip(lane.s + offset - 0.3, lane.s + offset + 0.3, None, scaled(asphalt, level)))
    for side in (street.left, street.right):
        if side.parking > 1.5:
            inner, outer = sorted((side.sign * (side.kerb - side.parking), side.sign * side.kerb))
            label = PARKING if rng.random() < 0.3 else ROAD
            tone_p = mix(asphalt, pave, v(0.1, 0.7) if label == PARKING else v(0.0, 0.25))
            surface.strips.append(Strip(inner, outer, label, tone_p))
        surface.strips += kerb(side.sign * side.kerb, side.sign, pave)
    if street.median > 0:
        surface.strips.append(
            Strip(-street.median / 2, street.median / 2, TERRAIN if rng.random() < 0.7 else SIDEWALK, grass)
        )
        surface.strips += kerb(-street.median / 2, 1, pave) + kerb(street.median / 2, -1, pave)
    if street.tram and rng.random() < 0.3:
        surface.strips.append(Strip(-lane_width, lane_width, RAIL_TRACK, mix(grass, (110, 104, 96), v(0, 1))))
    else:
        surface.blots = wear(rng, left + 0.5, right - 0.5, 34)
    if street.tram:
        surface.markings += rails(-lane_width / 2) + rails(lane_width / 2)
    if street.crossing is not None:
        _open_crossing(surface, street, street.crossing, asphalt)
    surface.markings += _markings(street, lane_width, rng)
    return surface


def _side_strips(surface: Surface, side: Side, pave: Colour, grass: Colour, rng: Random) -> None:
    def strip(a: float, b: float, label: int, albedo: Colour) -> None:
        left, right = sorted((a * side.sign, b * side.sign))
        surface.strips.append(Strip(left, right, label, albedo))

    soil = mix(grass, (122, 100, 76), rng.uniform(0, 0.7))
    if side.front > 0.8:
        label = rng.choices((TERRAIN, GROUND, SIDEWALK), (52, 26, 22))[0]
        strip(side.walk_end, side.line + 14, label, grass if label == TERRAIN else scaled(pave, 0.86))
    strip(side.walk_start, side.walk_end, SIDEWALK, pave)
    if side.verge > 0:
        strip(side.kerb, side.walk_start, TERRAIN, soil)
    if side.walk > 3.4 and rng.random() < 0.3:
        strip(side.walk_start + 0.3, side.walk_start + 1.5, SIDEWALK, (146, 84, 72))  # a red bicycle path


def _open_crossing(surface: Surface, street: Street, crossing: Crossing, asphalt: Colour) -> None:
    """Carry the side street across sidewalks and verges, with a flare at its mouth."""
    for side in (street.left, street.right):
        for extra, reach in ((0.0, 60.0), (1.4, 0.8), (0.7, 1.6)):
            left, right = sorted((side.sign * (side.kerb - side.parking - 0.1), side.sign * (side.kerb + reach)))
            surface.strips.append(Strip(left, right, ROAD, asphalt, crossing.start - extra, crossing.stop + extra))


def _markings(street: Street, lane_width: float, rng: Random) -> list[Strip]:
    marks: list[Strip] = []
    paint = scaled(WHITE if rng.random() < 0.92 else YELLOW, rng.uniform(0.82, 1.05))
    spans = [(0.8, FAR)]
    if street.crossing is not None:
        spans = [(0.8, street.crossing.start - 5), (street.crossing.stop + 2, FAR)]
    phase = rng.uniform(-6, 0)
    for start, stop in spans:
        if stop - start < 4:
            continue
        inner = sorted(lane.s for lane in street.lanes)
        for a, b in pairwise(inner):
            middle = (a + b) / 2
            if abs(middle) < 0.1 and (street.median > 0 or street.tram):
                continue
            solid = abs(middle) < 0.1 and rng.random() < 0.3
            if solid:
                marks.append(Strip(middle - 0.06, middle + 0.06, None, paint, start, stop))
            else:
                marks += dashes(middle, 3.0, 5.0, 0.13, start + phase, min(stop, 130), paint)
        for side in (street.left, street.right):
            if side.parking > 1.5 and rng.random() < 0.6:
                s = side.sign * (side.kerb - side.parking)
                marks.append(Strip(s - 0.06, s + 0.06, None, paint, start, stop))
    left, right = -street.left.kerb + max(street.left.parking, 0), street.right.kerb - max(street.right.parking, 0)
    for at in street.zebras:
        marks += zebra(left, right, at, 3.6, paint)
    if street.crossing is not None:
        stop_line = (street.zebras[0] if street.zebras else street.crossing.start) - 1.2
        if stop_line > 3:
            marks.append(Strip(street.median / 2 + 0.1, right, None, paint, stop_line - 0.45, stop_line))
    return marks
