"""Facade textures: a few window cells drawn once a building and tiled over its floors."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.data.streets.canvas import Image
from segwright.data.streets.city import BRICK, CONCRETE, GLASS, PLASTER, City
from segwright.data.streets.light import Colour, Light, mix, scaled
from segwright.data.streets.noise import TILE, fractal

CELL = 96
"""Side in texels of a window cell before it is fitted to its size on the picture."""


@dataclass(frozen=True)
class Look:
    """What a house looks like. Window sizes are shares of a cell: (left, right, top, bottom)."""

    material: str
    wall: Colour
    frame: Colour
    window: tuple[float, float, float, float]
    panes: tuple[int, int]
    shutters: Colour | None
    balcony: bool
    sill: bool
    shop: Colour | None
    storeys: int
    storey_height: float
    bay: float
    pitched: bool
    roof: Colour
    arched: bool


def draw_look(city: City, rng: Random) -> Look:
    """A house in the taste of the city."""
    material = rng.choices(("plaster", "brick", "concrete", "glass"), city.materials)[0]
    tints = {"plaster": PLASTER, "brick": BRICK, "concrete": CONCRETE, "glass": GLASS}[material]
    tone = rng.uniform(0.82, 1.06)
    base = rng.choice(tints)
    red, green, blue = (min(level * tint * tone, 244.0) for level, tint in zip(base, city.tint, strict=True))
    wall = (red, green, blue)
    side = rng.uniform(0.16, 0.3)
    top = rng.uniform(0.16, 0.26)
    window = (side, 1 - side, top, rng.uniform(0.72, 0.82))
    panes = rng.choice(((1, 1), (2, 1), (2, 2), (2, 3)))
    if material in ("glass", "concrete") and rng.random() < 0.7:
        window, panes = (0.03, 0.97, rng.uniform(0.1, 0.3), rng.uniform(0.82, 0.95)), (rng.choice((1, 2, 3)), 1)
    shutters = None
    if material == "plaster" and window[0] > 0.2 and rng.random() < 0.3:
        shutters = rng.choice(((66, 88, 70), (96, 62, 50), (70, 84, 104), (206, 204, 196)))
    return Look(
        material=material,
        wall=wall,
        frame=rng.choice(((226, 226, 222), (214, 208, 196), (74, 66, 60), (60, 66, 70))),
        window=window,
        panes=panes,
        shutters=shutters,
        balcony=rng.random() < 0.25,
        sill=rng.random() < 0.7,
        shop=rng.choice(((120, 34, 34), (34, 70, 110), (40, 84, 58), (44, 44, 48), (180, 140, 60), (210, 206, 198)))
        if rng.random() < 0.5
        else None,
        storeys=rng.randint(*city.storeys) + (rng.randint(2, 7) if material == "glass" and rng.random() < 0.5 else 0),
        storey_height=rng.uniform(2.9, 3.6),
        bay=rng.uniform(2.3, 3.6),
        pitched=material in ("plaster", "brick") and rng.random() < city.pitched_roofs,
        roof=scaled(city.roof_tiles, rng.uniform(0.8, 1.15)),
        arched=material == "brick" and rng.random() < 0.4,
    )


def _rect(cell: Image, x0: float, x1: float, y0: float, y1: float, colour: Colour) -> None:
    """Fill a rectangle given in shares of the cell."""
    left, right, top, bottom = round(x0 * CELL), round(x1 * CELL), round(y0 * CELL), round(y1 * CELL)
    cv2.rectangle(cell, (left, top), (max(right - 1, left), max(bottom - 1, top)), colour, -1)


def _wall_cell(look: Look, rng: Random) -> Image:
    """A piece of bare wall."""
    cell: Image = np.empty((CELL, CELL, 3), np.uint8)
    cell[:] = look.wall
    if look.material == "brick":
        for row in range(0, CELL, 6):
            cell[row] = scaled(look.wall, 0.8)
        speckle = np.random.default_rng(rng.getrandbits(32)).integers(-11, 12, (CELL // 6, CELL // 12, 1))
        bricks = np.kron(speckle, np.ones((6, 12, 1)))
        cell[:] = np.clip(cell + bricks, 0, 255).astype(np.uint8)
    elif look.material == "concrete":
        _rect(cell, 0, 1, 0.0, 0.025, scaled(look.wall, 0.78))
        _rect(cell, 0, 0.02, 0, 1, scaled(look.wall, 0.85))
    elif look.material == "plaster":
        _rect(cell, 0, 1, 0.955, 1, scaled(look.wall, 1.08))
        _rect(cell, 0, 1, 0.0, 0.02, scaled(look.wall, 0.82))
    return cell


def _glass(look: Look, light: Light, rng: Random) -> tuple[Colour, Colour]:
    """Colours at the top and at the bottom of a window pane."""
    reflect = mix((52, 62, 72), light.zenith, rng.uniform(0.1, 0.45))
    dark = mix((30, 34, 38), scaled(look.wall, 0.5), 0.25)
    if rng.random() < 0.28:
        reflect, dark = mix(reflect, (206, 202, 190), 0.55), mix(dark, (188, 182, 168), 0.5)  # curtains
    return reflect, mix(dark, reflect, rng.uniform(0.1, 0.5))


def _window_cell(look: Look, blank: Image, light: Light, rng: Random) -> tuple[Image, Image]:
    """One bay of an upper floor: the picture, and a mask of lamp light behind the glass."""
    cell = blank.copy()
    lamp: Image = np.zeros((CELL, CELL), np.uint8)
    left, right, top, bottom = look.window
    trim = mix(look.wall, look.frame, 0.6) if look.material != "brick" else scaled(look.wall, 1.15)
    _rect(cell, left - 0.035, right + 0.035, top - 0.045, bottom + 0.02, trim)
    _rect(cell, left, right, top, bottom, scaled(look.frame, 0.92))
    high, low = _glass(look, light, rng)
    columns, rows = look.panes
    gap = 0.022
    for i in range(columns):
        for j in range(rows):
            x0, x1 = left + (right - left) * i / columns + gap, left + (right - left) * (i + 1) / columns - gap
            y0, y1 = top + (bottom - top) * j / rows + gap, top + (bottom - top) * (j + 1) / rows - gap
            _rect(cell, x0, x1, y0, y1, mix(high, low, (j + 0.3) / rows))
            _rect(cell, x0, x1, (y0 + y1) / 2, y1, mix(high, low, (j + 0.75) / rows))
            _rect(cell, x0, x1, y0, y0 + 0.03, scaled(low, 0.7))
    if rng.random() < 0.3:
        blind = rng.uniform(0.15, 0.7)
        _rect(
            cell,
            left + gap,
            right - gap,
            top + gap,
            top + (bottom - top) * blind,
            rng.choice(((196, 190, 178), (168, 168, 166))),
        )
    if rng.random() < 0.16 + 0.2 * light.night:
        _rect_mask(lamp, left + gap, right - gap, top + gap, bottom - gap)
    if look.arched:
        _rect(cell, left - 0.035, right + 0.035, top - 0.1, top - 0.02, scaled(look.wall, 1.22))
    if look.sill:
        _rect(cell, left - 0.06, right + 0.06, bottom + 0.005, bottom + 0.05, scaled(trim, 1.08))
        _rect(cell, left - 0.06, right + 0.06, bottom + 0.05, bottom + 0.075, scaled(look.wall, 0.66))
    if look.shutters is not None:
        width = (right - left) * 0.42
        for x0 in (left - width - 0.01, right + 0.01):
            _rect(cell, x0, x0 + width, top, bottom, look.shutters)
            for k in range(5):
                y = top + (bottom - top) * (k + 0.5) / 5
                _rect(cell, x0 + 0.02, x0 + width - 0.02, y, y + 0.02, scaled(look.shutters, 0.75))
    return cell, lamp


def _rect_mask(mask: Image, x0: float, x1: float, y0: float, y1: float) -> None:
    mask[int(y0 * CELL) : int(y1 * CELL), int(x0 * CELL) : int(x1 * CELL)] = 255


def _railing(cell: Image, look: Look) -> None:
    """A balcony in front of the lower half of a window."""
    tone: Colour = (58, 60, 64) if sum(look.wall) > 380 else (196, 196, 192)
    _rect(cell, 0.06, 0.94, 0.9, 0.97, scaled(look.wall, 0.9))
    _rect(cell, 0.06, 0.94, 0.97, 1.0, scaled(look.wall, 0.5))
    _rect(cell, 0.08, 0.92, 0.6, 0.625, tone)
    for k in range(15):
        x = 0.09 + 0.82 * k / 14
        _rect(cell, x, x + 0.016, 0.62, 0.9, tone)


def _street_cell(look: Look, blank: Image, light: Light, rng: Random, kind: str) -> tuple[Image, Image]:
    """One bay of the ground floor: kind is shop, door, window or garage."""
    if kind == "window":
        return _window_cell(look, blank, light, rng)
    cell = blank.copy()
    lamp: Image = np.zeros((CELL, CELL), np.uint8)
    high, low = _glass(look, light, rng)
    if kind == "shop":
        sign = look.shop or (60, 60, 60)
        _rect(cell, 0.0, 1.0, 0.04, 0.24, sign)
        for k in range(rng.randint(2, 5)):  # letters, too small to read
            x = 0.2 + 0.13 * k
            _rect(cell, x, x + rng.uniform(0.05, 0.1), 0.09, 0.19, (236, 232, 220))
        _rect(cell, 0.05, 0.95, 0.27, 0.9, scaled(look.frame, 0.7))
        _rect(cell, 0.08, 0.62, 0.29, 0.88, mix(high, low, 0.6))
        _rect(cell, 0.65, 0.92, 0.29, 0.97, mix(high, low, 0.9))
        for _ in range(4):  # goods in the window
            x, y = rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.7)
            goods = (rng.uniform(60, 220), rng.uniform(50, 190), rng.uniform(50, 180))
            _rect(cell, x, x + rng.uniform(0.04, 0.1), y, 0.87, goods)
        _rect_mask(lamp, 0.08, 0.92, 0.29, 0.88)
        if rng.random() < 0.35:
            stripe = mix(sign, (240, 236, 228), 0.2)
            _rect(cell, 0.0, 1.0, 0.22, 0.4, stripe)
            for k in range(4):
                _rect(cell, k * 0.25, k * 0.25 + 0.125, 0.22, 0.4, mix(stripe, (244, 240, 232), 0.75))
    elif kind == "door":
        _rect(cell, 0.26, 0.74, 0.2, 1.0, scaled(look.wall, 1.12))
        tone = rng.choice(((84, 56, 40), (50, 62, 58), (96, 36, 34), (58, 58, 64), (120, 104, 84)))
        _rect(cell, 0.31, 0.69, 0.36, 1.0, tone)
        _rect(cell, 0.31, 0.69, 0.24, 0.34, low)
        _rect(cell, 0.36, 0.48, 0.42, 0.66, scaled(tone, 0.7))
        _rect(cell, 0.52, 0.64, 0.42, 0.66, scaled(tone, 0.7))
    else:
        tone = rng.choice(((150, 150, 148), (104, 84, 70), (196, 194, 188)))
        _rect(cell, 0.08, 0.92, 0.3, 1.0, tone)
        for k in range(8):
            _rect(cell, 0.08, 0.92, 0.3 + 0.0875 * k, 0.315 + 0.0875 * k, scaled(tone, 0.78))
    _rect(cell, 0, 1, 0.96, 1.0, scaled(look.wall, 0.62)) if kind == "shop" else None
    return cell, lamp


@dataclass(frozen=True)
class Cells:
    """Window cells of one house: pictures and lamp masks of upper floors, bare wall, and ground floor."""

    pictures: NDArray[np.uint8]
    lamps: NDArray[np.uint8]
    upper: int
    bare: int
    street: int


def draw_cells(look: Look, light: Light, rng: Random, *, near: bool) -> Cells:
    """Draw the cells of a house; far houses get along with fewer."""
    blank = _wall_cell(look, rng)
    upper = [_window_cell(look, blank, light, rng) for _ in range(4 if near else 2)]
    if look.balcony:
        _railing(upper[0][0], look)
    bare = [(blank, np.zeros((CELL, CELL), np.uint8))]
    if look.shop is not None:
        kinds: tuple[str, ...] = ("shop", "shop", "door") if near else ("shop",)
    else:
        kinds = ("window", "door", "garage" if rng.random() < 0.3 else "window") if near else ("window",)
    street = [_street_cell(look, blank, light, rng, kind) for kind in kinds]
    pictures, lamps = zip(*upper, *bare, *street, strict=True)
    return Cells(np.stack(pictures), np.stack(lamps), len(upper), 1, len(street))


def facade(
    look: Look,
    cells: Cells,
    light: Light,
    rng: Random,
    bays: int,
    cell_px: tuple[int, int],
    gain: Colour,
    reach: tuple[float, float],
    *,
    front: bool,
) -> Image:
    """Texture of one side of a house: uint8 [storeys·h, bays·w, 3], lit and hazed.

    cell_px: (h, w) of one cell; gain: light on the wall; reach: distance of its first and last column;
    front: with doors and shops on the ground floor.
    """
    height, width = cell_px
    floors = look.storeys
    fit = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in cells.pictures]
    draw = np.random.default_rng(rng.getrandbits(32))
    pick = draw.integers(0, cells.upper, (floors, bays))
    if look.balcony and front:
        pick = np.where(np.arange(bays)[None] % 3 == rng.randrange(3), 0, np.maximum(pick, 1))
    if front:
        pick[-1] = draw.integers(cells.upper + cells.bare, len(fit), bays)
    else:  # the end of a house has few windows, at best some columns of them
        blind = draw.random(bays) < 0.6
        pick[:, blind] = cells.upper
        pick[-1] = cells.upper
    texture = np.stack(fit)[pick].transpose(0, 2, 1, 3, 4).reshape(floors * height, bays * width, 3)
    lamp = None
    if light.night > 0:
        masks = np.stack([cv2.resize(m, (width, height), interpolation=cv2.INTER_AREA) for m in cells.lamps])
        lamp = masks[pick].transpose(0, 2, 1, 3).reshape(floors * height, bays * width)
    return _lit(texture, lamp, light, gain, reach, rng)


def _lit(
    texture: Image, lamp: Image | None, light: Light, gain: Colour, reach: tuple[float, float], rng: Random
) -> Image:
    """Stains, dirt towards the foot, light of the day and of the rooms, haze."""
    rows, cols = texture.shape[:2]
    row, col = rng.randrange(TILE - 200), rng.randrange(TILE - 200)
    tone = cv2.resize(fractal(7, 64)[row : row + 200, col : col + 120], (cols, rows), interpolation=cv2.INTER_LINEAR)
    foot = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    tone = (1 + tone * np.float32(0.045)) * (1.03 - 0.16 * foot**3)
    depth = np.linspace(*reach, cols, dtype=np.float32)
    fog = 1 - np.exp(-np.maximum(depth, 0) * np.float32(light.haze_per_m))
    tone *= 1 - fog
    lit = cv2.multiply(texture, cv2.merge([tone * np.float32(level) for level in gain]), dtype=cv2.CV_8U)
    if lamp is not None:
        shine = (lamp.astype(np.float32) / 255 * np.float32(0.95 * light.night))[..., None]
        lit = np.asarray(lit * (1 - shine) + np.array((252, 208, 130), np.float32) * shine, np.uint8)
    if fog.max() > 0.02:
        haze = np.asarray(fog[:, None] * np.array(light.haze, np.float32), np.uint8)
        lit = cv2.add(lit, np.ascontiguousarray(np.broadcast_to(haze, lit.shape)))
    return np.asarray(lit, np.uint8)


def hazed(texture: Image, light: Light, first: float, last: float) -> Image:
    """Haze a wall texture whose columns run from distance `first` to `last`."""
    if light.fog(max(first, last)) < 0.02:
        return texture
    depth = np.linspace(first, last, texture.shape[1], dtype=np.float32)
    fog = (1 - np.exp(-np.maximum(depth, 0) * np.float32(light.haze_per_m)))[None, :, None]
    haze = np.array(light.haze, np.float32)
    return np.asarray(texture * (1 - fog) + haze * fog, np.float32).astype(np.uint8)
