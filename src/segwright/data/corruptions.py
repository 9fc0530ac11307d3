"""Pictures made worse on purpose: what cameras and weather do, in five strengths, to see how a model bears it.

Each corruption is a pure function of (picture, severity, seed). The seed fixes what is drawn (grain, drops, angle), the
severity how strong it is: the five pictures of one seed show the same drops, more of them. Lengths in pixels are those
of a picture 512 rows high and grow with the height. The same version of NumPy and OpenCV gives the same pixels.

The idea of fixed severities is that of ImageNet-C (Hendrycks & Dietterich, ICLR 2019), for segmentation Kamann &
Rother (CVPR 2020); the strengths here are Segwright's own, so numbers compare among Segwright's runs only.

Letters: H W pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import Dataset, Sample, UserError
from segwright.names import did_you_mean

SEVERITIES = (1, 2, 3, 4, 5)
HEIGHT = 512
"""Rows of the picture that lengths are given for."""
_GAMMA = 2.2
_AIR = 0.88
"""Brightness of fog, 0..1."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One kind. meaning: in words. parameter: what `values` are, one a severity, the weakest first."""

    name: str
    meaning: str
    parameter: str
    values: tuple[float, ...]
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]


def corrupt(rgb: Pixels, name: str, severity: int, *, seed: int = 0) -> Pixels:
    """A corrupted copy of a picture.

    rgb: uint8 [H, W, 3], RGB. name: a key of CORRUPTIONS. severity: 1..5. Returns uint8 [H, W, 3].
    Raises UserError for an unknown name or severity.
    """
    kind = find_corruption(name)
    if severity not in SEVERITIES:
        raise UserError(f"severity {severity}: allowed are {SEVERITIES[0]} (weak) to {SEVERITIES[-1]} (strong).")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return kind.apply(rgb, kind.values[severity - 1], rng)


def find_corruption(name: str) -> Corruption:
    """A corruption by name. Raises UserError with the nearest name."""
    if name not in CORRUPTIONS:
        raise UserError(
            f"unknown corruption '{name}'.{did_you_mean(name, CORRUPTIONS)} Known: {', '.join(CORRUPTIONS)}."
        )
    return CORRUPTIONS[name]


class Corrupted:
    """Some pictures of a data set, corrupted. Labels stay as they are.

    chosen: their indices in `source`. What is drawn for a picture depends on the seed and its name alone.
    """

    def __init__(self, source: Dataset, chosen: Sequence[int], *, name: str, severity: int, seed: int = 0) -> None:
        self.source, self.chosen = source, tuple(chosen)
        self.name, self.severity, self.seed = name, severity, seed
        self.names: Sequence[str] = tuple(source.names[i] for i in self.chosen)
        self.groups: Sequence[str] = tuple(source.groups[i] for i in self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[self.chosen[index]]
        seed = zlib.crc32(f"{self.seed} {sample.name}".encode())
        rgb = corrupt(sample.rgb, self.name, self.severity, seed=seed)
        return replace(sample, planes={**sample.planes, "rgb": rgb})


def _bytes(values: NDArray[np.floating]) -> Pixels:
    """0..255, rounded and cut off."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _pixels(length: float, rgb: Pixels) -> float:
    """A length given for a picture of HEIGHT rows, in pixels of this one."""
    return length * rgb.shape[0] / HEIGHT


def _blur(rgb: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    width = max(0.3, _pixels(sigma, rgb))
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), width, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def _motion_blur(rgb: Pixels, length: float, rng: np.random.Generator) -> Pixels:
    kernel = _line(max(1.5, _pixels(length, rgb)), rng.uniform(0, np.pi))
    return np.asarray(cv2.filter2D(rgb, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def _line(length: float, angle: float) -> Floats:
    """A kernel that averages along a line: square, of odd side, its sum 1."""
    half = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    along = np.linspace(-length / 2, length / 2, max(2, int(8 * length)))
    y, x = along * np.sin(angle) + half, along * np.cos(angle) + half
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
        np.add.at(kernel, (top + down, left + right), share)
    return kernel / kernel.sum()


def _noise(rgb: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    return _bytes(rgb + sigma * rng.standard_normal(rgb.shape, np.float32))


def _shot_noise(rgb: Pixels, photons: float, rng: np.random.Generator) -> Pixels:
    return _bytes(rng.poisson(rgb * (photons / 255)) * (255 / photons))


def _fog(rgb: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """Koschmieder's law, with distance read off the image row: near at the bottom, far from the horizon upwards."""
    height, width = rgb.shape[:2]
    below = (np.arange(height, dtype=np.float32) + 0.5) / height - 0.45
    distance_H = np.where(below > 0.08, 0.08 / np.maximum(below, 0.08), 1.0).astype(np.float32)
    coarse = rng.standard_normal((6, 8)).astype(np.float32)
    patches_HW = np.clip(1 + 0.15 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0.5, 1.5)
    seen_HW1 = np.exp(-density * distance_H[:, None] * patches_HW)[..., None]
    return _bytes(rgb * seen_HW1 + 255 * _AIR * (1 - seen_HW1))


def _rain(rgb: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Bright slanted streaks over a picture that loses contrast. Each severity adds drops to those of the one before."""
    height, width = rgb.shape[:2]
    most = max(1, round(2.0 * width))  # drops at strength 1
    place = rng.random((most, 2)) * (height, width)
    lengths = _pixels(1, rgb) * rng.uniform(14, 34, most)
    slant = rng.uniform(-0.35, 0.35)
    streaks = np.zeros((height, width), np.uint8)
    thick = max(1, round(_pixels(1.6, rgb)))
    for (y, x), length in zip(place[: round(most * strength)], lengths, strict=False):
        end = (round(x + slant * length), round(y + length))
        cv2.line(streaks, (round(x), round(y)), end, 255, thick, cv2.LINE_AA)
    soft = cv2.GaussianBlur(streaks, (0, 0), max(0.5, _pixels(0.8, rgb))).astype(np.float32)[..., None] / 255
    veiled = rgb * (1 - 0.45 * strength) + 0.45 * strength * 130.0
    return _bytes(veiled * (1 - 0.65 * soft) + 225.0 * 0.65 * soft)


def _dark(rgb: Pixels, stops: float, rng: np.random.Generator) -> Pixels:
    """Less light on the sensor, in linear light (gamma 2.2), and the noise of the sensor with it."""
    linear = (rgb.astype(np.float32) / 255) ** _GAMMA * np.float32(0.5**stops)
    grain = rng.standard_normal(rgb.shape, np.float32)
    noisy = linear + grain * np.sqrt(linear / 4000 + np.float32(0.0004**2))
    return _bytes(255 * np.maximum(noisy, 0) ** (1 / _GAMMA))


def _jpeg(rgb: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    _, content = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


_ALL = (
    Corruption(
        name="blur", meaning="out of focus: Gaussian blur", parameter="σ, px", values=(1, 2, 3, 4.5, 6.5), apply=_blur
    ),
    Corruption(
        name="motion-blur",
        meaning="camera moved: blur along a line of any direction",
        parameter="length, px",
        values=(5, 10, 16, 24, 34),
        apply=_motion_blur,
    ),
    Corruption(
        name="noise",
        meaning="sensor noise: Gaussian, each channel of each pixel alone",
        parameter="σ, levels of 255",
        values=(8, 16, 26, 40, 60),
        apply=_noise,
    ),
    Corruption(
        name="shot-noise",
        meaning="few photons: Poisson noise",
        parameter="photons of white",
        values=(60, 25, 12, 6, 3),
        apply=_shot_noise,
    ),
    Corruption(
        name="fog",
        meaning="light grey air, denser with distance, which is read off the image row",
        parameter="optical depth of the horizon",
        values=(0.5, 0.9, 1.4, 2.1, 3.0),
        apply=_fog,
    ),
    Corruption(
        name="rain",
        meaning="slanted streaks and less contrast",
        parameter="drops and veil, share of the strongest",
        values=(0.2, 0.4, 0.6, 0.8, 1.0),
        apply=_rain,
    ),
    Corruption(
        name="dark",
        meaning="dusk to night: less light, with the sensor's noise",
        parameter="f-stops",
        values=(1, 2, 3, 4, 5),
        apply=_dark,
    ),
    Corruption(
        name="jpeg", meaning="strong JPEG compression", parameter="quality", values=(40, 25, 15, 9, 5), apply=_jpeg
    ),
)
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType({one.name: one for one in _ALL})
