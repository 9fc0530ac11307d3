"""Shapes of trucks, buses and trams, built from boxes with windows and trim."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from segwright.data.streets.bodies import CHROME, DARK, GLASS, LAMP, PLATE, RED, Body, Decal, box
from segwright.data.streets.canvas import array
from segwright.data.streets.light import Colour, mix, scaled

Train = list[tuple[Body, float]]
"""Bodies with their forward offset from the middle of the vehicle."""

LIVERIES: tuple[Colour, ...] = (
    (196, 40, 36), (226, 186, 40), (44, 86, 156), (232, 232, 228), (60, 128, 84), (216, 120, 40), (120, 130, 140),
)  # fmt: skip


def _quad(
    x0: float, y0: float, x1: float, y1: float, colour: Colour, *, shine: float = 0.0, mirror: bool = False
) -> Decal:
    return Decal(array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), colour, shine, mirror)


def _rear_lamps(strip: int, low: float, high: float, night: float) -> list[tuple[int, Decal]]:
    shine = 0.25 + 0.75 * night
    return [(strip, _quad(u, low, u + 0.14, high, RED, shine=shine)) for u in (-0.97, 0.83)]


def _front_lamps(strip: int, low: float, high: float, night: float) -> list[tuple[int, Decal]]:
    shine = 0.3 + 0.7 * night
    return [(strip, _quad(u, low, u + 0.24, high, LAMP, shine=shine)) for u in (-0.95, 0.71)]


def truck(rng: Random, *, night: float) -> Train:
    """A lorry: cab and a box, canvas, tipper or tank-like load."""
    cab_paint, load_paint = rng.choice(LIVERIES), rng.choice((*LIVERIES, (220, 222, 224), (206, 204, 196)))
    length, load_high = rng.uniform(4.2, 7.5), rng.uniform(2.9, 3.6)
    tipper = rng.random() < 0.25
    if tipper:
        load_high, load_paint = rng.uniform(1.9, 2.4), rng.choice(((150, 110, 50), (110, 116, 120), (60, 96, 130)))
    wheels = ((-length / 2 + 1.0, 0.48), (-length / 2 + 2.1, 0.48)) if length > 6 else ((-length / 2 + 1.3, 0.48),)
    load = box(length, 1.0, load_high, 2.46, load_paint, wheels=wheels)
    a, high = length / 2, load_high
    ribs = [
        _quad(-a + length * k / 6 - 0.03, 1.05, -a + length * k / 6 + 0.03, high, scaled(load_paint, 0.86))
        for k in range(1, 6)
    ]
    sign = mix(load_paint, rng.choice(LIVERIES), 0.85)
    trim = [
        _quad(-a, 1.0, a, 1.16, scaled(load_paint, 0.6)),
        _quad(-a, high - 0.12, a, high, scaled(load_paint, 1.12)),
        _quad(-a * 0.5, 1.5, a * 0.5, high - 0.5, sign)
        if not tipper
        else _quad(-a, 1.5, a, 1.56, scaled(load_paint, 0.7)),
        _quad(-a, 0.55, a * 0.9, 0.95, DARK),
    ]
    doors = [
        (0, _quad(-0.015, 0.02, 0.015, 0.98, scaled(load_paint, 0.5))),
        (0, _quad(-0.5, 0.05, -0.47, 0.95, CHROME)),
        (0, _quad(0.47, 0.05, 0.5, 0.95, CHROME)),
        (0, _quad(-1.0, 0.0, 1.0, 0.05, DARK)),
        *_rear_lamps(0, -0.14, -0.05, night),
        (0, _quad(-0.2, -0.15, 0.2, -0.06, PLATE)),
        (0, _quad(-1.0, -0.2, 1.0, -0.01, DARK)),
        *_rear_lamps(0, -0.17, -0.05, night),
        (0, _quad(-0.22, -0.17, 0.22, -0.06, PLATE)),
    ]
    load = replace(load, side=(*ribs, *trim), strips=tuple(doors))
    cab = _cab(cab_paint, 2.65 if length < 6 else 2.95, night)
    return [(load, -0.95), (cab, length / 2 + 0.1)]


def _cab(paint: Colour, high: float, night: float) -> Body:
    profile = array(
        [
            (-0.85, 0.5),
            (-0.85, high - 0.1),
            (-0.6, high),
            (0.55, high),
            (0.8, high - 0.3),
            (0.95, 1.55),
            (0.98, 0.6),
            (0.9, 0.4),
        ]
    )
    side = (
        _quad(-0.1, 1.6, 0.66, high - 0.42, GLASS, mirror=True),
        _quad(-0.2, 0.7, -0.17, high - 0.4, scaled(paint, 0.6)),
        _quad(-0.85, 0.45, 0.95, 0.72, mix(paint, DARK, 0.8)),
        _quad(0.62, 1.5, 0.78, 2.1, DARK),
    )
    front = [
        (4, _quad(-0.9, 0.08, 0.9, 0.96, GLASS, mirror=True)),
        (3, _quad(-0.9, 0.0, 0.9, 0.6, scaled(paint, 0.9))),
        (5, _quad(-0.7, 0.45, 0.7, 0.86, DARK)),
        (5, _quad(-0.6, 0.6, 0.6, 0.66, CHROME)),
        *_front_lamps(5, 0.12, 0.34, night),
        (5, _quad(-0.2, 0.04, 0.2, 0.16, PLATE)),
    ]
    return Body(profile, 1.2, 1.16, 1.5, paint, side, tuple(front), ((0.25, 0.48),), round_ends=0.03)


def bus(rng: Random, *, night: float) -> Train:
    """A city bus."""
    paint = rng.choice(LIVERIES)
    length, high = rng.uniform(10.5, 12.5), rng.uniform(2.95, 3.2)
    a = length / 2
    profile = array(
        [
            (-a, 0.35),
            (-a - 0.02, 1.3),
            (-a + 0.08, high - 0.1),
            (-a + 0.3, high),
            (a - 0.3, high),
            (a - 0.06, high - 0.12),
            (a, 1.2),
            (a - 0.04, 0.35),
        ]
    )
    glass_low, glass_high = 1.15, high - 0.45
    panes = 6
    side = [_quad(-a, 0.35, a, 0.7, mix(paint, DARK, 0.35)), _quad(-a + 0.3, glass_low, a - 0.15, glass_high, DARK)]
    for k in range(panes):
        x0 = -a + 0.4 + (length - 0.7) * k / panes
        side.append(
            _quad(x0, glass_low + 0.05, x0 + (length - 0.7) / panes - 0.09, glass_high - 0.04, GLASS, mirror=True)
        )
    for x in (-a * 0.12, a * 0.72):
        side.append(_quad(x, 0.42, x + 1.2, glass_high + 0.05, scaled(DARK, 1.1)))
        side.append(_quad(x + 0.06, 0.55, x + 0.56, glass_high, GLASS, mirror=True))
        side.append(_quad(x + 0.64, 0.55, x + 1.14, glass_high, GLASS, mirror=True))
    side.append(_quad(-a, high - 0.34, a, high - 0.28, scaled(paint, 0.72)))
    if rng.random() < 0.5:
        side.append(_quad(-a + 0.2, 0.72, a - 3, 1.06, rng.choice(LIVERIES)))
    strips = [
        (1, _quad(-0.86, 0.2, 0.86, 0.9, GLASS, mirror=True)),
        (0, _quad(-0.6, 0.2, 0.6, 0.75, scaled(paint, 0.65))),
        *_rear_lamps(0, 0.35, 0.95, night),
        (0, _quad(-0.2, 0.05, 0.2, 0.17, PLATE)),
        (1, _quad(-0.3, 0.92, 0.3, 1.0, (236, 150, 40), shine=0.7)),
        (5, _quad(-0.95, -0.02, 0.95, 0.8, GLASS, mirror=True)),
        (5, _quad(-0.7, 0.83, 0.7, 0.98, (30, 28, 26))),
        (5, _quad(-0.5, 0.86, 0.4, 0.95, (246, 168, 48), shine=0.9)),
        *_front_lamps(6, 0.2, 0.45, night),
        (6, _quad(-0.22, 0.1, 0.22, 0.26, PLATE)),
        (6, _quad(-0.5, 0.5, 0.5, 0.6, scaled(paint, 0.6))),
    ]
    body = Body(
        profile,
        1.26,
        1.2,
        2.2,
        paint,
        tuple(side),
        tuple(strips),
        ((-a * 0.5, 0.48), (a * 0.56, 0.48)),
        round_ends=0.02,
    )
    return [(body, 0.0)]


def tram(rng: Random, *, night: float) -> Train:
    """A tram of three to five sections."""
    paint, trim = rng.choice(LIVERIES), rng.choice(((236, 234, 226), (60, 64, 70), (200, 202, 204)))
    sections, length = rng.randint(3, 5), 6.4
    total = sections * length
    bodies: Train = []
    for k in range(sections):
        at = -total / 2 + length * (k + 0.5)
        bodies.append((_tram_section(paint, trim, length - 0.35, k == 0, k == sections - 1, night), at))
        if k + 1 < sections:
            bellows = box(0.45, 0.5, 3.2, 2.2, (46, 46, 48))
            bodies.append((bellows, at + length / 2))
    return bodies


def _tram_section(paint: Colour, trim: Colour, length: float, rear: bool, front: bool, night: float) -> Body:
    a, high = length / 2, 3.4
    tail = [(-a, 0.3), (-a - 0.05, 1.3), (-a + 0.5, high - 0.2)] if rear else [(-a, 0.3), (-a, 1.3), (-a, high - 0.2)]
    nose = [(a - 0.5, high - 0.2), (a + 0.05, 1.3), (a, 0.3)] if front else [(a, high - 0.2), (a, 1.3), (a, 0.3)]
    profile = array([*tail, (tail[-1][0] + 0.2, high), (nose[0][0] - 0.2, high), *nose])
    side = [
        _quad(-a, 0.3, a, 0.62, mix(paint, DARK, 0.55)),
        _quad(-a, 0.9, a, 1.05, trim),
        _quad(-a + 0.1, 1.2, a - 0.1, 2.65, DARK),
        _quad(-a, 2.85, a, 2.95, trim),
    ]
    for k in range(3):
        x0 = -a + 0.2 + (length - 0.4) * k / 3
        x1 = x0 + (length - 0.4) / 3 - 0.1
        if k == 1:
            side += [_quad(x0, 0.4, x1, 2.75, trim),
                     _quad(x0 + 0.1, 0.7, (x0 + x1) / 2 - 0.04, 2.6, GLASS, mirror=True),
                     _quad((x0 + x1) / 2 + 0.04, 0.7, x1 - 0.1, 2.6, GLASS, mirror=True)]  # fmt: skip
        else:
            side.append(_quad(x0, 1.28, x1, 2.56, GLASS, mirror=True))
    strips: list[tuple[int, Decal]] = []
    if rear:
        strips += [(1, _quad(-0.85, 0.1, 0.85, 0.85, GLASS, mirror=True)), *_rear_lamps(0, 0.3, 0.6, night),
                   (0, _quad(-1, 0.72, 1, 0.86, trim)),
                   (1, _quad(-0.4, 0.88, 0.4, 0.98, (246, 168, 48), shine=0.8))]  # fmt: skip
    if front:
        strips += [(5, _quad(-0.9, 0.02, 0.9, 0.8, GLASS, mirror=True)), *_front_lamps(6, 0.35, 0.6, night),
                   (6, _quad(-1, 0.75, 1, 0.88, trim)),
                   (5, _quad(-0.6, 0.85, 0.6, 0.97, (246, 168, 48), shine=0.9))]  # fmt: skip
    return Body(
        profile, 1.22, 1.12, 2.4, paint, tuple(side), tuple(strips), (), round_ends=0.12 if rear or front else 0.0
    )
