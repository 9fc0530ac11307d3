"""People as skeletons with clothes: they stand, walk, or ride.

Local coordinates in metres: x right, y up, z the way they face; everything is scaled to the person's height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np

from segwright.data.streets.camera import NEAR
from segwright.data.streets.canvas import Canvas, array
from segwright.data.streets.ids import DYNAMIC
from segwright.data.streets.light import Colour, mix, scaled
from segwright.data.streets.vehicles import Pose

Joint = tuple[float, float, float]

SKIN: tuple[Colour, ...] = (
    (226, 184, 154),
    (206, 158, 124),
    (168, 118, 86),
    (120, 80, 58),
    (88, 58, 44),
    (232, 196, 172),
)
HAIR: tuple[Colour, ...] = (
    (40, 32, 28),
    (72, 50, 36),
    (112, 82, 52),
    (168, 140, 98),
    (150, 150, 148),
    (28, 26, 28),
    (120, 60, 36),
)
TOPS: tuple[Colour, ...] = (
    (42, 44, 52), (60, 62, 68), (34, 48, 84), (96, 100, 108), (140, 36, 40), (54, 84, 64), (186, 182, 172),
    (222, 220, 214),
    (170, 132, 84), (88, 56, 72), (206, 168, 52), (60, 110, 150), (196, 92, 48), (70, 60, 50), (128, 120, 100),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = (
    (38, 42, 56),
    (52, 62, 88),
    (30, 30, 34),
    (86, 84, 80),
    (120, 108, 88),
    (68, 82, 112),
    (150, 142, 124),
)


@dataclass(frozen=True)
class Person:
    """pose is stand, walk, bike or moto; phase 0..2π moves the legs; seat: height of the saddle when riding."""

    height: float
    pose: str
    phase: float
    stride: float
    top: Colour
    legs: Colour
    skin: Colour
    hair: Colour
    shoes: Colour
    bag: Colour | None
    skirt: bool
    coat: bool
    hat: Colour | None
    stout: float


def draw_person(rng: Random, pose: str) -> Person:
    """Anybody: a child now and then, hats and helmets, bags, skirts, coats."""
    child = pose in ("stand", "walk") and rng.random() < 0.1
    helmet = (pose == "moto" and rng.random() < 0.97) or (pose == "bike" and rng.random() < 0.45)
    hats: tuple[Colour, ...] = ((236, 236, 232), (40, 42, 46), (176, 36, 36), (50, 84, 140))
    hat = rng.choice(hats) if helmet else None
    if hat is None and rng.random() < 0.14:
        hat = rng.choice(TOPS)
    return Person(
        height=rng.uniform(1.05, 1.4) if child else rng.gauss(1.72, 0.08),
        pose=pose,
        phase=rng.uniform(0, 2 * math.pi),
        stride=rng.uniform(0.3, 0.55) if pose == "walk" else rng.uniform(0.02, 0.12),
        top=scaled(rng.choice(TOPS), rng.uniform(0.85, 1.15)),
        legs=scaled(rng.choice(TROUSERS), rng.uniform(0.85, 1.15)),
        skin=rng.choice(SKIN),
        hair=rng.choice(HAIR),
        shoes=rng.choice(((36, 32, 32), (70, 52, 40), (214, 212, 208), (90, 90, 96))),
        bag=rng.choice(TOPS) if rng.random() < 0.3 else None,
        skirt=pose in ("stand", "walk") and rng.random() < 0.14,
        coat=pose in ("stand", "walk") and rng.random() < 0.2,
        hat=hat,
        stout=rng.uniform(0.88, 1.22),
    )


@dataclass(frozen=True)
class _Part:
    """Convex hull of balls: joints, their radii, its colour."""

    joints: tuple[Joint, ...]
    radii: tuple[float, ...]
    colour: Colour
    bias: float = 0.0
    """Added to the distance when parts are sorted: negative is painted later."""


def _leg(person: Person, side: int, hip: Joint) -> tuple[Joint, Joint]:
    """Knee and ankle."""
    if person.pose == "bike":
        turn = person.phase + (math.pi if side > 0 else 0.0)
        pedal = (side * 0.11, 0.27 + 0.16 * math.sin(turn), 0.12 + 0.16 * math.cos(turn))
        knee = (side * 0.12, (hip[1] + pedal[1]) / 2 + 0.1, (hip[2] + pedal[2]) / 2 + 0.22)
        return knee, pedal
    if person.pose == "moto":
        return (side * 0.24, 0.62, hip[2] + 0.36), (side * 0.22, 0.3, hip[2] + 0.16)
    swing = person.stride * math.sin(person.phase) * side
    knee = (hip[0], hip[1] - 0.44 * math.cos(swing), 0.44 * math.sin(swing) + 0.02)
    bend = max(0.0, -swing) * 1.1 + 0.04
    angle = swing - bend
    ankle = (hip[0], knee[1] - 0.43 * math.cos(angle), knee[2] + 0.43 * math.sin(angle))
    return knee, ankle


def _arm(person: Person, side: int, shoulder: Joint) -> tuple[Joint, Joint]:
    """Elbow and hand."""
    if person.pose in ("bike", "moto"):
        hand = (side * 0.27, shoulder[1] - 0.4, shoulder[2] + 0.38)
        return (side * 0.29, shoulder[1] - 0.27, shoulder[2] + 0.12), hand
    swing = -person.stride * 0.9 * math.sin(person.phase) * side
    elbow = (shoulder[0] + side * 0.05, shoulder[1] - 0.28 * math.cos(swing), 0.28 * math.sin(swing))
    bend = swing + 0.25 + 0.3 * person.stride
    if person.pose == "stand" and person.phase < 0.7 and side > 0:
        return elbow, (side * 0.1, shoulder[1] - 0.06, 0.2)  # a telephone
    return elbow, (elbow[0], elbow[1] - 0.26 * math.cos(bend), elbow[2] + 0.26 * math.sin(bend))


def _parts(person: Person, saddle: float) -> list[_Part]:
    """Body parts of a person 1.75 m tall, feet on the ground or hips on a saddle."""
    riding = person.pose in ("bike", "moto")
    w = person.stout
    hip_y = saddle + 0.06 if riding else 0.92
    hip_z = -0.16 if riding else 0.0
    lean = 0.26 if person.pose == "bike" else 0.12 if person.pose == "moto" else 0.03
    neck: Joint = (0.0, hip_y + 0.52, hip_z + lean)
    head: Joint = (0.0, neck[1] + 0.185, neck[2] + 0.04 + lean * 0.2)
    parts: list[_Part] = []
    for side in (-1, 1):
        hip: Joint = (side * 0.09 * w, hip_y, hip_z)
        knee, ankle = _leg(person, side, hip)
        toe: Joint = (ankle[0], max(ankle[1] - 0.05, 0.03), ankle[2] + 0.13)
        lower = person.skin if person.skirt else person.legs
        parts += [
            _Part((knee, ankle), (0.062 * w, 0.045), scaled(lower, 0.94)),
            _Part((hip, knee), (0.088 * w, 0.066 * w), person.legs),
            _Part((ankle, toe), (0.05, 0.038), person.shoes),
        ]
        shoulder: Joint = (side * 0.185 * w, neck[1] - 0.06, neck[2] - 0.01)
        elbow, hand = _arm(person, side, shoulder)
        sleeve = scaled(person.top, 0.92)
        parts += [
            _Part((shoulder, elbow), (0.062 * w, 0.05), sleeve),
            _Part((elbow, hand), (0.048, 0.038), sleeve),
            _Part((hand,), (0.045,), person.skin),
        ]
    shoulders: tuple[Joint, ...] = tuple((side * 0.15 * w, neck[1] - 0.07, neck[2]) for side in (-1, 1))
    hips: tuple[Joint, ...] = tuple((side * 0.085 * w, hip_y + 0.03, hip_z) for side in (-1, 1))
    parts.append(_Part(shoulders + hips, (0.08, 0.08, 0.085 * w, 0.085 * w), person.top, bias=-0.02))
    if person.coat or person.skirt:
        low = 0.48 if person.coat else 0.55
        hem: tuple[Joint, ...] = tuple((side * 0.17 * w, low, 0.02) for side in (-1, 1))
        parts.append(
            _Part(hips + hem, (0.09, 0.09, 0.05, 0.05), person.top if person.coat else person.legs, bias=-0.05)
        )
    parts += [
        _Part((neck, (0.0, neck[1] + 0.1, neck[2] + 0.02)), (0.055, 0.05), scaled(person.skin, 0.85)),
        _Part((head, (0.0, head[1] - 0.05, head[2] + 0.02)), (0.098, 0.08), person.skin, bias=-0.1),
        _Part(
            ((0.0, head[1] + 0.03, head[2] - 0.035), (0.0, head[1] - 0.03, head[2] - 0.05)),
            (0.106, 0.085),
            person.hair,
            bias=-0.1,
        ),
    ]
    if person.hat is not None:
        size = 0.135 if person.pose == "moto" else 0.115
        parts.append(_Part(((0.0, head[1] + 0.045, head[2] - 0.01),), (size,), person.hat, bias=-0.2))
    if person.bag is not None:
        back: tuple[Joint, ...] = tuple((x, neck[1] + y, neck[2] - 0.17) for x in (-0.09, 0.09) for y in (-0.12, -0.4))
        parts.append(_Part(back, (0.06,) * 4, person.bag))
    return parts


def paint_dog(canvas: Canvas, pose: Pose, coat: Colour, size: float, lit: float) -> None:
    """A dog about `size` metres high at the shoulder; Cityscapes calls it dynamic and does not score it."""
    h = size
    legs = [_Part(((x, h * 0.7, z), (x, 0.03, z + d)), (0.09 * h, 0.05 * h), coat) for x in (-0.12 * h, 0.12 * h)
            for z, d in ((-0.5 * h, 0.1 * h), (0.4 * h, -0.08 * h))]  # fmt: skip
    parts = [
        *legs,
        _Part(((0.0, 0.78 * h, -0.5 * h), (0.0, 0.82 * h, 0.4 * h)), (0.2 * h, 0.25 * h), scaled(coat, 1.1)),
        _Part(((0.0, 0.9 * h, -0.6 * h), (0.0, 1.25 * h, -0.8 * h)), (0.06 * h, 0.03 * h), coat),
        _Part(((0.0, 1.2 * h, 0.6 * h), (0.0, 1.1 * h, 0.85 * h)), (0.2 * h, 0.1 * h), coat, bias=-0.1),
    ]
    _paint_parts(canvas, parts, pose, 1.0, DYNAMIC, lit, big=False)


def paint_person(canvas: Canvas, person: Person, pose: Pose, ident: int, lit: float, saddle: float = 0.0) -> None:
    """Paint the body parts, the farthest first. saddle: its height in metres for riders."""
    scale = person.height / 1.75
    big = canvas.camera.pixels_per_metre(pose.z) * person.height > 44
    _paint_parts(canvas, _parts(person, saddle / scale), pose, scale, ident, lit, big=big)


def _paint_parts(
    canvas: Canvas, parts: list[_Part], pose: Pose, scale: float, ident: int, lit: float, *, big: bool
) -> None:
    camera = canvas.camera
    joints = array([joint for part in parts for joint in part.joints]) * scale
    local = np.column_stack([joints[:, 2], joints[:, 1], joints[:, 0]])  # vehicles count forward, up, right
    px, depth = camera.project(pose.world(local))
    if depth.min() < NEAR:
        return
    radii = np.array([radius for part in parts for radius in part.radii]) * scale * camera.focal / depth
    near_first: list[tuple[float, int, int, Colour]] = []
    at = 0
    for part in parts:
        stop = at + len(part.joints)
        near_first.append((float(depth[at:stop].mean()) + part.bias, at, stop, part.colour))
        at = stop
    tiny = 0.35 if big else 0.5
    for distance, start, stop, albedo in sorted(near_first, key=lambda part: -part[0]):
        if stop - start <= 2 and radii[start:stop].max() < tiny:
            continue
        colour = canvas.light.shade(mix(albedo, (110, 110, 116), 0.06), (0.0, 0.15, -0.55), distance, lit)
        canvas.hull(px[start:stop], np.maximum(radii[start:stop], 0.35), colour, ident, rim=0.2 if big else 0.0)
