"""Invented cities: each has its own taste in houses, trees, traffic and street furniture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from segwright.data.streets.light import Colour

SPLITS: Final[Mapping[str, tuple[str, ...]]] = {
    "train": (
        "aldermoor", "brinkhaven", "castelnova", "dornbruck", "eastmarch", "fenwickel",
        "grauental", "hollenau", "ironquay", "juniperhof", "karstadt", "lindenwyk",
    ),
    "val": ("marlowitz", "nordhafen", "oakridge", "pellworm"),
    "test": ("quellbach", "rosenfurt", "silbermark", "tannhagen"),
}  # fmt: skip
"""The cities of each split; no city and no scene belongs to two of them."""

CITIES: Final[tuple[str, ...]] = tuple(city for cities in SPLITS.values() for city in cities)

PLASTER: Final[tuple[Colour, ...]] = (
    (222, 208, 182), (232, 222, 200), (206, 186, 150), (212, 174, 142), (196, 150, 126), (188, 196, 188),
    (216, 212, 208), (178, 172, 162), (224, 196, 138), (170, 178, 188), (200, 160, 150), (236, 232, 226),
)  # fmt: skip
BRICK: Final[tuple[Colour, ...]] = ((150, 82, 64), (168, 104, 78), (126, 72, 60), (142, 96, 80), (180, 126, 96))
CONCRETE: Final[tuple[Colour, ...]] = ((168, 166, 160), (150, 150, 148), (188, 182, 172), (132, 134, 136))
GLASS: Final[tuple[Colour, ...]] = ((84, 104, 120), (70, 88, 100), (104, 120, 128))


@dataclass(frozen=True)
class City:
    """Shares and chances are 0..1; storeys is the usual range; greens are the shadowed and the lit leaf colour."""

    name: str
    materials: tuple[float, float, float, float]
    """Weights of plaster, brick, concrete, glass."""
    storeys: tuple[int, int]
    roof_tiles: Colour
    pitched_roofs: float
    tint: Colour
    leaf_dark: Colour
    leaf_light: Colour
    trees: float
    tree_shapes: tuple[float, float, float]
    """Weights of round, oval and column-shaped crowns."""
    trams: float
    bikes: float
    parking: float
    cobbles: float
    pole_grey: Colour
    verge: float


def draw_city(number: int) -> City:
    """The city with this number, 0..len(CITIES) - 1; its traits depend on the number alone."""
    rng = Random(9000 + number)
    v = rng.uniform
    low = rng.randint(3, 5)
    return City(
        name=CITIES[number],
        materials=(v(0.8, 3), v(0.1, 1.6), v(0.2, 1.0), v(0.05, 0.5)),
        storeys=(low, low + rng.randint(2, 4)),
        roof_tiles=rng.choice(((150, 78, 58), (122, 66, 54), (88, 84, 86), (104, 92, 84))),
        pitched_roofs=v(0.2, 0.9),
        tint=(v(0.94, 1.06), v(0.96, 1.03), v(0.9, 1.05)),
        leaf_dark=(v(20, 36), v(38, 54), v(16, 28)),
        leaf_light=(v(98, 150), v(136, 168), v(58, 86)),
        trees=v(0.35, 0.9),
        tree_shapes=(v(0.5, 2), v(0.5, 2), v(0.05, 0.7)),
        trams=v(0.0, 0.35),
        bikes=v(0.3, 1.0),
        parking=v(0.4, 1.0),
        cobbles=v(0.0, 0.3),
        pole_grey=rng.choice(((92, 96, 98), (120, 122, 120), (62, 72, 66), (70, 70, 74))),
        verge=v(0.1, 0.6),
    )
