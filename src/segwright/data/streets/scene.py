"""One street scene from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.data.streets.buildings import paint_skyline
from segwright.data.streets.camera import Camera, look
from segwright.data.streets.canvas import Canvas
from segwright.data.streets.city import CITIES, City, draw_city
from segwright.data.streets.ground import Shade, paint_ground
from segwright.data.streets.items import Item, painting_order
from segwright.data.streets.lens import develop, paint_bonnet, paint_borders, paint_rain, paint_wet
from segwright.data.streets.light import draw_light
from segwright.data.streets.roadside import Roadside
from segwright.data.streets.sky import paint_sky
from segwright.data.streets.street import Street, draw_street
from segwright.data.streets.traffic import Traffic

SMALLEST = 64
LARGEST = (1024, 2048)
SHADOW_REACH = 75.0
"""Things farther than this many metres cast no shadow that one could see."""


@dataclass(frozen=True)
class Scene:
    """image: uint8 [H, W, 3] RGB; label_ids: uint8 [H, W], Cityscapes label ids 0..33; instance_ids: int32 [H, W],
    label id·1000 + n on persons, riders and vehicles, elsewhere the label id.
    """

    image: NDArray[np.uint8]
    label_ids: NDArray[np.uint8]
    instance_ids: NDArray[np.int32]


def check_size(height: int, width: int) -> None:
    """Refuse sizes outside 64..1024 × 64..2048 with a UserError."""
    if not (SMALLEST <= height <= LARGEST[0] and SMALLEST <= width <= LARGEST[1]):
        raise UserError(
            f"Street scenes of {height}×{width} (height × width) cannot be drawn: allowed are "
            f"{SMALLEST}..{LARGEST[0]} × {SMALLEST}..{LARGEST[1]}. The nearest that works is "
            f"{min(max(height, SMALLEST), LARGEST[0])}×{min(max(width, SMALLEST), LARGEST[1])}."
        )


def render_scene(seed: int, height: int, width: int) -> Scene:
    """Draw the scene of a seed; the same seed shows the same street at any size.

    seed: 0 or more, its remainder by the number of cities picks the city. Raises UserError for a size out of range or
    a negative seed.
    """
    check_size(height, width)
    if seed < 0:
        raise UserError(f"The seed of a street scene is {seed}; it must be 0 or more.")
    city = draw_city(seed % len(CITIES))
    street_rng, light_rng, side_rng, traffic_rng, lens_rng, sky_rng = (Random(f"{seed}/{part}") for part in range(6))
    light = draw_light(light_rng)
    street = draw_street(city, street_rng)
    camera = _camera(street, lens_rng, height, width)
    canvas = Canvas(camera, light)
    items = Roadside(city, street, camera, side_rng).build()
    items += Traffic(city, street, camera, traffic_rng, night=light.night).build()
    paint_sky(canvas, sky_rng)
    _paint_street(canvas, street, city, items, sky_rng)
    paint_wet(canvas)
    paint_rain(canvas, sky_rng)
    if lens_rng.random() < 0.85:
        paint_bonnet(canvas, lens_rng)
    develop(canvas, lens_rng)
    paint_borders(canvas, lens_rng)
    ids = canvas.ids
    labels = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
    return Scene(canvas.image, labels, ids)


def _camera(street: Street, rng: Random, height: int, width: int) -> Camera:
    """A camera behind a windscreen, looking along the lane."""
    extent = (height * width / 2) ** 0.5  # the height of a 1:2 picture of the same area
    return Camera(
        height=height,
        width=width,
        focal=extent * rng.uniform(1.75, 2.15),
        centre_x=width * (0.5 + rng.gauss(0, 0.012)),
        centre_y=height * (0.455 + rng.gauss(0, 0.02)),
        rotation=look(rng.gauss(0, 0.03), rng.uniform(-0.01, 0.035), rng.gauss(0, 0.006)),
        eye_height=rng.uniform(1.2, 1.6),
        eye_s=street.eye_s,
        curve=rng.gauss(0, 0.0005) if rng.random() < 0.6 else 0.0,
    )


def _paint_street(canvas: Canvas, street: Street, city: City, items: list[Item], rng: Random) -> None:
    paint_skyline(canvas, city, rng)
    paint_ground(canvas, street.surface, rng)
    shade = Shade(canvas)
    for item in items:
        if item.near < SHADOW_REACH:
            for footprint, low, high in item.shadows:
                shade.prism(footprint, low, high)
        if item.contact is not None and item.near < SHADOW_REACH:
            shade.under(item.contact)
    shade.darken()
    for item in painting_order(items, street.eye_s):
        s, z = item.place
        item.paint(canvas, shade.lit(canvas.camera.street(s, z)))
