"""Shapes of vehicles: a side profile swept across the width, with windows, lamps and trim laid on it.

Vehicle coordinates in metres: x forward from the middle, y up, u from -1 (left) to +1 (right) across.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from segwright.data.streets.camera import Points
from segwright.data.streets.canvas import array
from segwright.data.streets.light import Colour, mix, scaled

GLASS: Colour = (44, 52, 60)
TYRE: Colour = (30, 30, 32)
DARK: Colour = (38, 38, 42)
CHROME: Colour = (176, 180, 184)
PLATE: Colour = (232, 232, 222)
RED: Colour = (172, 24, 26)
LAMP: Colour = (226, 230, 232)

CAR_PAINTS: tuple[Colour, ...] = (
    (36, 38, 42), (56, 60, 66), (120, 124, 130), (168, 172, 176), (216, 218, 220), (228, 230, 232), (28, 44, 86),
    (52, 84, 136), (136, 24, 28), (164, 44, 34), (62, 74, 62), (96, 84, 70), (188, 166, 120), (84, 28, 40),
    (40, 40, 46), (146, 150, 154),
)  # fmt: skip
PAINT_WEIGHTS = (12, 9, 10, 11, 9, 12, 6, 4, 5, 3, 2, 2, 2, 1, 9, 8)


@dataclass(frozen=True)
class Decal:
    """A flat shape on the body. On a side: points are (x, y); on strip k: points are (u -1..1, v 0..1 upwards).

    shine: 0 = matt, 1 = glows by itself; mirror: reflects the sky a little.
    """

    points: Points
    colour: Colour
    shine: float = 0.0
    mirror: bool = False


@dataclass(frozen=True)
class Body:
    """profile: (x, y) from the rear foot over the top to the front foot, float64 [P, 2]."""

    profile: Points
    half: float
    roof_half: float
    belt: float
    paint: Colour
    side: tuple[Decal, ...]
    strips: tuple[tuple[int, Decal], ...]
    wheels: tuple[tuple[float, float], ...]
    """(x, radius) of each axle."""
    round_ends: float = 0.1

    def half_at(self, x: float, y: float) -> float:
        """Half of the width at a place of the profile."""
        top = float(self.profile[:, 1].max())
        rise = min(max((y - self.belt) / max(top - self.belt, 0.01), 0.0), 1.0)
        end = float(self.profile[:, 0].max()) if x > 0 else -float(self.profile[:, 0].min())
        taper = max(0.0, (abs(x) / end - 0.72) / 0.28)
        return (self.half + (self.roof_half - self.half) * rise) * (1 - self.round_ends * taper * taper)


def _rect(x0: float, y0: float, x1: float, y1: float) -> Points:
    return array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _decal(points: list[tuple[float, float]], colour: Colour, **look: float | bool) -> Decal:
    return Decal(array(points), colour, shine=float(look.get("shine", 0.0)), mirror=bool(look.get("mirror", False)))


CAR_KINDS = ("sedan", "hatch", "estate", "suv", "van", "mini")


def car(rng: Random, kind: str, *, night: float) -> Body:
    """A passenger car or delivery van; night: how brightly the lamps burn."""
    paint = rng.choices(CAR_PAINTS, PAINT_WEIGHTS)[0]
    if kind == "van" and rng.random() < 0.6:
        paint = rng.choice(((226, 228, 230), (206, 208, 206), (206, 176, 44), (56, 84, 140), (178, 34, 36)))
    length, height, width = {
        "sedan": (4.65, 1.44, 1.8), "hatch": (4.1, 1.47, 1.76), "estate": (4.65, 1.49, 1.8),
        "suv": (4.5, 1.68, 1.86), "van": (5.2, 2.15, 1.96), "mini": (3.6, 1.48, 1.64),
    }[kind]  # fmt: skip
    length, height = length * rng.uniform(0.97, 1.04), height * rng.uniform(0.98, 1.03)
    a = length / 2
    belt = {"suv": 1.08, "van": 1.2}.get(kind, 0.93)
    hood = belt - 0.06
    roof = height
    rear_foot, front_foot = [(-a + 0.08, 0.24), (-a, 0.42), (-a - 0.02, 0.62)], [(a, 0.62), (a, 0.42), (a - 0.1, 0.24)]
    # Where the rear window starts and ends and where the windscreen ends and starts, as shares of a.
    shape = {
        "sedan": ((-0.93, belt + 0.02), (-0.62, belt + 0.04), (-0.3, roof - 0.03), (0.12, roof), (0.5, hood + 0.03)),
        "hatch": ((-0.985, belt - 0.05), (-0.95, belt + 0.02), (-0.74, roof - 0.06), (0.14, roof), (0.55, hood + 0.03)),
        "estate": ((-0.99, belt - 0.05), (-0.97, belt + 0.02), (-0.84, roof - 0.05), (0.12, roof), (0.5, hood + 0.03)),
        "suv": ((-0.99, belt - 0.06), (-0.97, belt), (-0.83, roof - 0.05), (0.16, roof), (0.5, hood + 0.03)),
        "van": ((-1.0, belt - 0.1), (-1.0, belt + 0.1), (-0.97, roof - 0.02), (0.42, roof), (0.72, hood + 0.06)),
        "mini": ((-0.98, belt - 0.05), (-0.95, belt), (-0.78, roof - 0.05), (0.2, roof), (0.6, hood + 0.02)),
    }[kind]  # fmt: skip
    middle = [(share * a, y) for share, y in shape]
    profile = array([*rear_foot, *middle, (a * 0.93, hood - 0.1), *front_foot])
    half = width / 2
    wheel = {"suv": 0.36, "van": 0.34, "mini": 0.29}.get(kind, 0.32)
    axles = ((-0.58 * a, wheel), (0.62 * a, wheel))
    return Body(
        profile=profile,
        half=half,
        roof_half=half * (0.93 if kind == "van" else 0.74),
        belt=belt,
        paint=paint,
        side=(*_flank(profile, paint, belt, a), *_side_glass(kind, middle, belt, roof, a, rng)),
        strips=(*_tail(kind, paint, night), *_nose(kind, paint, night)),
        wheels=axles,
        round_ends=0.06 if kind == "van" else 0.13,
    )


def _flank(profile: Points, paint: Colour, belt: float, a: float) -> list[Decal]:
    """Sky light on the shoulder, a crease, a dark sill, door gaps and handles."""
    return [
        _decal([(-a * 0.97, belt - 0.2), (a * 0.9, belt - 0.22), (a * 0.8, belt - 0.08), (-a * 0.95, belt - 0.03)],
               mix(scaled(paint, 1.18), (190, 196, 204), 0.14)),
        _decal([(-a * 0.98, 0.44), (a * 0.97, 0.44), (a * 0.97, 0.56), (-a * 0.98, 0.58)], scaled(paint, 0.82)),
        _decal([(-a * 0.96, 0.25), (a * 0.95, 0.25), (a * 0.98, 0.36), (-a * 0.98, 0.36)], mix(paint, DARK, 0.75)),
        *(
            _decal([(x, 0.36), (x + 0.025, 0.36), (x + 0.025, belt), (x, belt)], scaled(paint, 0.55))
            for x in (-0.32 * a, 0.02 * a, 0.42 * a)
        ),
        *(_decal([(x, belt - 0.14), (x + 0.16, belt - 0.14), (x + 0.16, belt - 0.1), (x, belt - 0.1)],
                 scaled(paint, 0.6))
          for x in (-0.26 * a, 0.08 * a)),
    ]  # fmt: skip


def _side_glass(
    kind: str, middle: list[tuple[float, float]], belt: float, roof: float, a: float, rng: Random
) -> list[Decal]:
    """Side windows cut by the pillars."""
    (rear_low, _), (rear_high, _), (front_high, _), (front_low, _) = middle[1:]
    low, high = belt + 0.03, roof - 0.09
    if kind == "van":
        glass = [(0.36 * a, low + 0.1), (front_low - 0.12, low + 0.02), (front_high + 0.1, high), (0.36 * a, high)]
        decals = [_decal(glass, GLASS, mirror=True)]
        if rng.random() < 0.45:
            decals.append(
                _decal([(-0.9 * a, low), (0.28 * a, low), (0.28 * a, high), (-0.88 * a, high)], GLASS, mirror=True)
            )
        elif rng.random() < 0.6:
            tone = rng.choice(((200, 60, 40), (50, 90, 160), (70, 130, 80), (230, 180, 60)))
            decals.append(_decal([(-0.7 * a, 0.8), (0.1 * a, 0.8), (0.1 * a, 1.25), (-0.7 * a, 1.25)], tone))
        return decals
    back = rear_low + (0.18 if kind == "sedan" else 0.3)
    rear_top = rear_high + (0.06 if kind == "sedan" else 0.14)
    split = -0.02 * a + 0.02
    return [
        _decal([(back, low), (split - 0.05, low), (split - 0.04, high), (rear_top, high)], GLASS, mirror=True),
        _decal([(split + 0.04, low), (front_low - 0.16, low), (front_high - 0.04, high), (split + 0.04, high)], GLASS,
               mirror=True),
        _decal([(front_low - 0.34, low), (front_low - 0.12, low), (front_low - 0.14, low + 0.14),
                (front_low - 0.34, low + 0.14)], DARK),
    ]  # fmt: skip


def _tail(kind: str, paint: Colour, night: float) -> list[tuple[int, Decal]]:
    """Strips 0..4 from the rear foot up: bumper, tail, lid, window."""
    lamp, window = 2, 4
    shine = 0.25 + 0.75 * night
    tall = 0.15 if kind in ("van", "suv", "estate") else 0.35
    decals = [
        (0, _decal([(-0.9, 0.1), (0.9, 0.1), (0.9, 0.7), (-0.9, 0.7)], DARK)),
        (1, _decal([(-0.96, 0.2), (0.96, 0.2), (0.96, 0.34), (-0.96, 0.34)], scaled(paint, 0.6))),
        (lamp, _decal([(-0.98, tall), (-0.62, tall), (-0.7, 0.92), (-0.98, 0.92)], RED, shine=shine)),
        (lamp, _decal([(0.98, tall), (0.62, tall), (0.7, 0.92), (0.98, 0.92)], RED, shine=shine)),
        (lamp, _decal([(-0.28, 0.12), (0.28, 0.12), (0.28, 0.48), (-0.28, 0.48)], PLATE)),
        (lamp, _decal([(-0.2, 0.2), (0.2, 0.2), (0.2, 0.38), (-0.2, 0.38)], (90, 90, 92))),
        (window, _decal([(-0.86, 0.1), (0.86, 0.1), (0.82, 0.88), (-0.82, 0.88)], GLASS, mirror=True)),
        *((window, _seat(u)) for u in (-0.42, 0.42)),
    ]
    if kind == "van":
        decals.append((2, _decal([(-0.012, 0.0), (0.012, 0.0), (0.012, 1.0), (-0.012, 1.0)], scaled(paint, 0.5))))
    return decals


def _seat(u: float) -> Decal:
    """A headrest behind glass."""
    outline = [(-0.13, 0.1), (0.13, 0.1), (0.14, 0.42), (0.08, 0.56), (-0.08, 0.56), (-0.14, 0.42)]
    return _decal([(u + du, v) for du, v in outline], (26, 31, 37), mirror=True)


def _nose(kind: str, paint: Colour, night: float) -> list[tuple[int, Decal]]:
    """Windscreen, bonnet edge, lamps, grille and bumper; strip numbers count from the rear foot."""
    screen, bonnet, face, bumper, foot = 6, 7, 8, 9, 10
    shine = 0.3 + 0.7 * night
    return [
        (screen, _decal([(-0.88, 0.06), (0.88, 0.06), (0.84, 0.94), (-0.84, 0.94)], GLASS, mirror=True)),
        *((screen, _seat(u)) for u in (-0.4, 0.4)),
        (bonnet, _decal([(-0.6, 0.1), (-0.55, 0.1), (-0.5, 0.95), (-0.54, 0.95)], scaled(paint, 0.8))),
        (bonnet, _decal([(0.6, 0.1), (0.55, 0.1), (0.5, 0.95), (0.54, 0.95)], scaled(paint, 0.8))),
        (face, _decal([(-0.97, 0.42), (-0.56, 0.3), (-0.6, 0.84), (-0.95, 0.95)], LAMP, shine=shine)),
        (face, _decal([(0.97, 0.42), (0.56, 0.3), (0.6, 0.84), (0.95, 0.95)], LAMP, shine=shine)),
        (face, _decal([(-0.5, 0.1), (0.5, 0.1), (0.46, 0.76), (-0.46, 0.76)], DARK)),
        (face, _decal([(-0.46, 0.4), (0.46, 0.4), (0.46, 0.47), (-0.46, 0.47)], CHROME)),
        (bumper, _decal([(-0.28, 0.35), (0.28, 0.35), (0.28, 0.95), (-0.28, 0.95)], PLATE)),
        (bumper, _decal([(-0.2, 0.5), (0.2, 0.5), (0.2, 0.8), (-0.2, 0.8)], (90, 90, 92))),
        (foot, _decal([(-0.8, 0.2), (0.8, 0.2), (0.74, 0.86), (-0.74, 0.86)], DARK)),
    ]


def box(
    length: float, low: float, high: float, width: float, paint: Colour, *, wheels: tuple[tuple[float, float], ...] = ()
) -> Body:
    """A plain box: a lorry's load, a tram car before its windows are added."""
    a = length / 2
    profile = array([(-a, low), (-a, high), (a, high), (a, low)])
    half = width / 2
    return Body(profile, half, half, high, paint, (), (), wheels, round_ends=0.0)
