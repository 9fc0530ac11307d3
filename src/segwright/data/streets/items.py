"""Things that stand on the ground, and the order in which they are painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from segwright.data.streets.camera import Points
from segwright.data.streets.canvas import Canvas
from segwright.data.streets.ids import COUNTED


@dataclass
class Item:
    """One thing. left..right and near..far is the street box (s, z) that it fills, metres.

    paint(canvas, lit): lit is 1 in the sun and about 0.25 in a shadow on the ground.
    shadows: (footprint in world (x, z), low, high) prisms; contact: footprint of the dark at its foot.
    """

    left: float
    right: float
    near: float
    far: float
    paint: Callable[[Canvas, float], None]
    shadows: list[tuple[Points, float, float]] = field(default_factory=list)
    contact: Points | None = None
    hides: bool = False
    """Hides what stands beside it on the far side: vehicles do, poles do not."""

    @property
    def place(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.near + self.far) / 2


def painting_order(items: list[Item], eye_s: float) -> list[Item]:
    """Far to near; what stands beside a vehicle on its far side comes before the vehicle."""
    keys = {id(item): item.far if item.far - item.near > 6 else item.place[1] for item in items}
    blockers = sorted((item for item in items if item.hides), key=lambda item: abs(item.place[0] - eye_s))
    for wall in blockers:
        side = 1 if wall.place[0] > eye_s else -1
        inner = wall.left if side > 0 else wall.right
        if abs(wall.place[0] - eye_s) < 1.0 or (inner - eye_s) * side < 0:
            continue
        outer = wall.right if side > 0 else wall.left
        for item in items:
            if item is wall or item.far < wall.near or item.near > wall.far:
                continue
            if (item.place[0] - outer) * side > -0.3 and keys[id(item)] <= keys[id(wall)]:
                keys[id(item)] = keys[id(wall)] + 0.01 + 0.0001 * item.place[1]
    return sorted(items, key=lambda item: -keys[id(item)])


class Counter:
    """Hands out instance ids: label id·1000 + 0, 1, 2, … as Cityscapes does."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def ident(self, label: int) -> int:
        if label not in COUNTED:
            return label
        number = self._next.get(label, 0)
        self._next[label] = number + 1
        return label * 1000 + number
