"""Light and weather of a scene, and how a surface looks in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

Colour = tuple[float, float, float]
"""RGB, 0..255 for surfaces and 0..about 1.2 for light."""

Vector = tuple[float, float, float]

UP: Vector = (0.0, 1.0, 0.0)
BACK: Vector = (0.0, 0.0, -1.0)
"""The normal of a face that looks at the camera."""


def mix(a: Colour, b: Colour, t: float) -> Colour:
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def scaled(a: Colour, t: float) -> Colour:
    return (a[0] * t, a[1] * t, a[2] * t)


@dataclass(frozen=True)
class Light:
    """sun: unit vector towards it; direct, ambient: light as RGB; haze_per_m: extinction; the rest 0..1."""

    kind: str
    sun: Vector
    direct: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    haze: Colour
    haze_per_m: float
    clouds: float
    night: float = 0.0
    wet: float = 0.0
    rain: float = 0.0
    snow: float = 0.0

    def fog(self, depth: float) -> float:
        """Share of haze in the colour seen at this distance, 0..1."""
        return 1.0 - math.exp(-self.haze_per_m * max(depth, 0.0))

    def gain(self, normal: Vector, lit: float = 1.0) -> Colour:
        """Light that a matt surface sends back, as a factor for each channel. lit: 0 in shadow, 1 in the sun."""
        facing = normal[0] * self.sun[0] + normal[1] * self.sun[1] + normal[2] * self.sun[2]
        sun = max(facing, 0.0) * lit
        sky = 0.86 + 0.14 * normal[1]
        a, d = self.ambient, self.direct
        return (a[0] * sky + d[0] * sun, a[1] * sky + d[1] * sun, a[2] * sky + d[2] * sun)

    def shade(self, albedo: Colour, normal: Vector, depth: float, lit: float = 1.0) -> Colour:
        """Colour on the picture of a surface: RGB 0..255."""
        g = self.gain(normal, lit)
        colour = (min(albedo[0] * g[0], 255.0), min(albedo[1] * g[1], 255.0), min(albedo[2] * g[2], 255.0))
        return mix(colour, self.haze, self.fog(depth))

    def glow(self, colour: Colour, depth: float) -> Colour:
        """Colour of something that shines by itself."""
        return mix(colour, self.haze, 0.7 * self.fog(depth))


def _sun(rng: Random, low: float, high: float) -> Vector:
    elevation = math.radians(rng.uniform(low, high))
    azimuth = rng.uniform(-math.pi, math.pi)
    flat = math.cos(elevation)
    return (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth))


def draw_light(rng: Random) -> Light:
    """A weather and a time of day: mostly bright or dull daylight, now and then rain, fog, dusk, night or snow."""
    kind = rng.choices(
        ("clear", "fair", "overcast", "rain", "fog", "dusk", "night", "snow"), (24, 26, 26, 7, 4, 8, 3, 2)
    )[0]
    v = rng.uniform
    if kind in ("clear", "fair"):
        warm = v(0, 1)
        strength = v(0.5, 0.74)
        direct = (strength * (1.05 + 0.08 * warm), strength, strength * (0.96 - 0.16 * warm))
        horizon = mix((196, 214, 232), (232, 224, 208), warm * 0.7)
        return Light(
            kind, _sun(rng, 22, 62), direct, (0.55, 0.58, 0.63), mix((66, 124, 200), (104, 150, 206), v(0, 1)),
            horizon, horizon, v(0.0006, 0.0025), v(0.0, 0.3) if kind == "clear" else v(0.35, 0.65),
        )  # fmt: skip
    if kind in ("overcast", "rain", "fog", "snow"):
        grey = v(188, 232) if kind != "rain" else v(150, 195)
        horizon = (grey, grey + 2, grey + 5)
        level = v(0.84, 1.06) if kind != "rain" else v(0.68, 0.86)
        haze = {"fog": v(0.010, 0.028), "rain": v(0.004, 0.009), "snow": v(0.004, 0.01)}.get(kind, v(0.001, 0.003))
        return Light(
            kind, _sun(rng, 40, 70), (0.1, 0.1, 0.1), (level * 0.98, level, level * 1.03),
            scaled(horizon, v(0.78, 0.95)), horizon, horizon, haze, v(0.75, 1.0),
            wet=v(0.5, 1.0) if kind == "rain" else (v(0.3, 0.5) if rng.random() < 0.2 else 0.0),
            rain=v(0.4, 1.0) if kind == "rain" else 0.0, snow=v(0.5, 1.0) if kind == "snow" else 0.0,
        )  # fmt: skip
    if kind == "dusk":
        horizon = mix((250, 190, 130), (232, 160, 150), v(0, 1))
        strength = v(0.35, 0.6)
        return Light(
            kind, _sun(rng, 7, 15), (strength * 1.25, strength * 0.82, strength * 0.5), (0.52, 0.49, 0.57),
            mix((70, 90, 150), (120, 120, 160), v(0, 1)), horizon, scaled(horizon, 0.85), v(0.001, 0.004), v(0.2, 0.7),
            night=0.35, wet=v(0, 0.6) if rng.random() < 0.2 else 0.0,
        )  # fmt: skip
    level = v(0.24, 0.36)
    return Light(
        kind, _sun(rng, 40, 70), (0.04, 0.04, 0.06), (level * 1.02, level, level * 1.1), (22, 28, 48), (70, 72, 92),
        (58, 58, 72), v(0.001, 0.004), v(0.2, 0.8), night=1.0, wet=v(0.3, 0.9) if rng.random() < 0.4 else 0.0,
    )  # fmt: skip
