"""One look at one picture and its mask: everything that the doctor needs to know of them, in a few hundred bytes.

A file is decoded once; what is kept are counts, hashes and thumbnails. Letters: V values, H W pixels, h w cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from segwright.contracts import DataError
from segwright.data.check.values import count_values, encoding_of, packed
from segwright.data.pairs import Pair
from segwright.data.proposal import Encoding
from segwright.data.reading import FORMATS, check_sizes, exif_orientation, read_image

ReadRaw = Callable[[Pair], NDArray[Any]]
"""The `read_raw` of a data set: a pair -> the raw values of its mask."""

MANY = 256
"""A mask with more values than this keeps the FEW most frequent ones and their number."""
FEW = 16
PREVIEW = (96, 128)
"""Rows and columns of the small picture that the mean picture is made of."""
CELLS = (24, 32)
"""Rows and columns of the map of where each value lies."""
_POINTS = 4  # sampled in each direction of a cell
_GREY = 32  # rows and columns of the thumbnail that confirms near duplicates
_EXIF_FORMATS = {"JPEG", "MPO", "TIFF", "WEBP"}
_LOSSY = {"JPEG", "MPO", "WEBP"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What one file, or the two together, did wrong. text: a sentence without the file's name."""

    code: str
    files: tuple[Path, ...]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """digest: of the decoded pixels. dhash: 64 bits, equal for pictures that look alike. grey: uint8 [32, 32].

    size: (H, W) upright. orientation: EXIF's, 1 where there is none. deep: 16 bits a channel; peak: largest value read.
    preview: uint8 [96, 128, 3], only until it has been added up.
    """

    size: tuple[int, int]
    digest: bytes
    dhash: int
    grey: NDArray[np.uint8]
    orientation: int
    deep: bool
    peak: int
    preview: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFacts:
    """values_V: raw values, ascending (packed 0xRRGGBB for colours), pixels_V: their pixels; see MANY. distinct: all.

    size: (H, W). palette: 0xRRGGBB of each index of a palette mask, empty for others.
    cells_Vhw: uint8 [V, 24, 32], how many of 16 points of each cell hold the value; only until it has been added up.
    """

    size: tuple[int, int]
    digest: bytes
    encoding: Encoding
    values_V: NDArray[np.uint32]
    pixels_V: NDArray[np.uint32]
    distinct: int
    palette: tuple[int, ...]
    cells_Vhw: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A picture and its mask, each None when it cannot be read, and their faults."""

    image: ImageFacts | None
    mask: MaskFacts | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True)
class Peek:
    """What the head of a file says: format, mode, orientation, and the palette as 0xRRGGBB."""

    format: str
    mode: str
    orientation: int
    palette: tuple[int, ...]


def look(pair: Pair, read_raw: ReadRaw) -> Look:
    """Decode both files of a pair once. What is wrong with them becomes a fault, never an exception."""
    faults: list[Fault] = []
    image = _image(pair.image, faults)
    mask = _mask(pair, read_raw, faults)
    if image is not None and mask is not None and image.size != mask.size:
        faults.append(_size_fault(pair, image, mask))
    return Look(image=image, mask=mask, faults=tuple(faults))


def peek(path: Path) -> Peek:
    """Look at the head of a file that has been decoded before, so it is known to be a picture."""
    with Image.open(path, formats=FORMATS) as image:
        orientation = exif_orientation(image) if image.format in _EXIF_FORMATS or "exif" in image.info else 1
        colors = image.getpalette() or [] if image.mode == "P" else []
        palette = tuple((r << 16) | (g << 8) | b for r, g, b in zip(*[iter(colors)] * 3, strict=False))
        return Peek(format=str(image.format), mode=image.mode, orientation=orientation, palette=palette)


def is_lossy(path: Path) -> bool:
    """Whether a mask is stored in a format that changes its values; False where that cannot be told."""
    if not path.is_file():  # a pipe would never end
        return False
    try:
        return peek(path).format in _LOSSY
    except Exception:  # decoders of damaged files raise nearly anything
        return False


def _image(path: Path, faults: list[Fault]) -> ImageFacts | None:
    try:
        rgb = read_image(path)
        head = peek(path)
    except DataError as error:
        faults.append(Fault(code="unreadable-image", files=(path,), text=_without(path, error)))
        return None
    preview = _uint8(cv2.resize(rgb, PREVIEW[::-1], interpolation=cv2.INTER_AREA))
    grey = cv2.cvtColor(preview, cv2.COLOR_RGB2GRAY)
    deep = head.mode.startswith("I")
    return ImageFacts(
        size=(rgb.shape[0], rgb.shape[1]),
        digest=_digest(rgb),
        dhash=_dhash(grey),
        grey=_uint8(cv2.resize(grey, (_GREY, _GREY), interpolation=cv2.INTER_AREA)),
        orientation=head.orientation,
        deep=deep,
        peak=int(rgb.max()) if deep else 255,
        preview=preview,
    )


def _mask(pair: Pair, read_raw: ReadRaw, faults: list[Fault]) -> MaskFacts | None:
    try:
        raw = read_raw(pair)
    except DataError as error:
        code = "lossy-mask" if is_lossy(pair.mask) else "unreadable-mask"
        faults.append(Fault(code=code, files=(pair.mask,), text=_without(pair.mask, error)))
        return None
    values, pixels = count_values(raw)
    distinct = len(values)
    if distinct > MANY:
        kept = np.sort(np.argsort(-pixels, kind="stable")[:FEW])
        values, pixels = values[kept], pixels[kept]
    return MaskFacts(
        size=(raw.shape[0], raw.shape[1]),
        digest=_digest(raw),
        encoding=encoding_of(raw),
        values_V=values.astype(np.uint32),
        pixels_V=pixels.astype(np.uint32),
        distinct=distinct,
        palette=_palette(pair.mask) if raw.ndim == 2 else (),
        cells_Vhw=_cells(raw, values) if distinct <= MANY else None,
    )


def _palette(mask: Path) -> tuple[int, ...]:
    """The palette of a mask file; empty for a file that is no picture, such as a table of numbers."""
    try:
        return peek(mask).palette
    except UnidentifiedImageError:
        return ()


def _cells(raw: NDArray[Any], values_V: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8 [V, 24, 32]: the mask seen at a grid of points, counted for each cell and value."""
    rows, columns = ((np.arange(n * _POINTS) + 0.5) / (n * _POINTS) for n in CELLS)
    seen = packed(raw[(rows * raw.shape[0]).astype(int)][:, (columns * raw.shape[1]).astype(int)])
    index = np.searchsorted(values_V, seen)
    cell = np.arange(CELLS[0]).repeat(_POINTS)[:, None] * CELLS[1] + np.arange(CELLS[1]).repeat(_POINTS)
    total = len(values_V) * CELLS[0] * CELLS[1]
    counts = np.bincount((index * (CELLS[0] * CELLS[1]) + cell).ravel(), minlength=total)
    return counts.astype(np.uint8).reshape(len(values_V), *CELLS)


def _dhash(grey: NDArray[Any]) -> int:
    """64 bits: is each of 8×8 places brighter than its left neighbour? (difference hash, Krawetz 2013)"""
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def _digest(pixels: NDArray[Any]) -> bytes:
    content = hashlib.sha1(np.ascontiguousarray(pixels).data, usedforsecurity=False)
    content.update(f"{pixels.shape}{pixels.dtype}".encode())
    return content.digest()


def _size_fault(pair: Pair, image: ImageFacts, mask: MaskFacts) -> Fault:
    code = "size-mismatch"
    if image.size == mask.size[::-1]:
        code = "exif-size" if image.orientation >= 5 else "swapped-size"
    text = ""
    try:
        check_sizes(pair.image, image.size, pair.mask, mask.size)
    except DataError as error:
        text = _without(pair.mask, error)
    return Fault(code=code, files=(pair.mask, pair.image), text=text)


def _without(path: Path, error: DataError) -> str:
    """The message of an error without the file that it begins with."""
    return str(error).removeprefix(f"{path}: ")


def _uint8(pixels: Any) -> NDArray[np.uint8]:
    return np.asarray(pixels, np.uint8)
