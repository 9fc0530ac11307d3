"""The one decoder: every picture and mask that Segwright reads goes through here, with Pillow.

Rules for pictures (`read_image`), which always come out as uint8 [H, W, 3] in RGB order:

- the content decides the format, not the file name: PNG, JPEG, BMP, TIFF, WebP, GIF, PPM;
- 1-bit, grey and palette pictures become RGB; transparency and further channels are dropped, the colours stay as
  stored; colour profiles are not applied;
- 16-bit grey is divided by 257 (65535 becomes 255); of 16-bit colour and of grey with alpha the high byte is kept;
- CMYK is converted without colour management; 32-bit, signed, 12-bit and float pictures are refused;
- animations and multi-page files are refused: which frame the mask belongs to is unknown. The first picture of an MPO
  file (a camera's JPEG with previews) is read.

Rules for masks (`read_mask`), which come out as raw values, never converted:

- palette masks give the palette index, 1-, 2- and 4-bit masks their stored numbers; of 1 bit, black is 0 and white 1;
- 8- and 16-bit masks give their numbers; 32-bit integers do too when they fit into 0..65535;
- RGB masks give colours; an alpha channel is dropped where every pixel is opaque, else the mask is refused;
- refused is what changes values: JPEG and WebP (inside TIFF too), 16-bit colours, floats, signed 8-bit numbers, grey
  where 0 means white, PGM whose greatest value is not 255 or 65535, further channels; animations as well.

For both: the EXIF orientation is applied, so sizes are those that a viewer shows (EXIF that cannot be read counts as
none); a file is decoded to its last pixel and the checksums of a PNG are compared, so a truncated or changed file is
found, a JPEG that was cut short and closed again too (but JPEG has no checksum: changed bytes that still decode cannot
be seen, nor can a progressive file that was closed again); bytes after the end are left out of account; more than
MAX_PIXELS pixels are refused before they are decoded.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from segwright.contracts import DataError, UserError
from segwright.data.formats import check_jpeg, check_png, foreign, mask_fault, picture_fault, stretch

_FILES = (
    PngImageFile,
    JpegImageFile,
    BmpImageFile,
    DibImageFile,
    TiffImageFile,
    WebPImageFile,
    GifImageFile,
    PpmImageFile,
)
FORMATS = tuple(kind.format for kind in _FILES)
"""Pillow's names. Importing the classes registers them; Pillow's own import at first use is not made for threads."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm")
"""File names (lower case) that count as pictures when a folder is listed."""
MAX_PIXELS = 89_478_485
"""A quarter of a gigabyte of RGB: Pillow's own limit against decompression bombs."""

_LOSSY = {"JPEG", "MPO", "WEBP"}
_TO_RGB = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}
_SIXTEEN_BITS = {"PNG", "PPM"}  # Pillow's mode I of these holds 0..65535
_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a picture file says of itself before it is decoded. height, width: pixels, after orientation."""

    height: int
    width: int
    format: str
    mode: str
    orientation: int


def read_header(path: Path) -> Header:
    """Size and kind of a picture without decoding it. Raises DataError for a missing or foreign file."""
    with _opened(path) as image:
        turn = exif_orientation(image)
        upright = turn < 5 or image.format == "TIFF"  # Pillow turns TIFF files by itself
        width, height = image.size if upright else image.size[::-1]
        return Header(height=height, width=width, format=str(image.format), mode=image.mode, orientation=turn)


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture as uint8 [H, W, 3] in RGB order, 0..255, contiguous, by the rules at the top of this file.

    Raises DataError, naming the file, what was found and what to do, for anything else.
    """
    with _opened(path) as image:
        if fault := picture_fault(image):
            raise DataError(f"{path}: the picture has {fault}.")
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS):
            grey = (_decoded(image, path).astype(np.float32) / 257).round().clip(0, 255).astype(np.uint8)
            pixels: NDArray[np.uint8] = np.repeat(grey[..., None], 3, axis=2)
        elif image.mode in _TO_RGB:
            _load(image, path)
            image.info.pop("transparency", None)  # dropped, or convert() warns about it
            pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
        else:
            raise DataError(
                f"{path}: found a picture of mode {image.mode} ({_MODE_WORDS.get(image.mode, 'unusual')}); allowed are "
                "8- and 16-bit grey, RGB, RGBA, palette and CMYK. Save it again as 8-bit PNG or JPEG."
            )
        return np.ascontiguousarray(_turned(pixels, exif_orientation(image)))


def read_mask(path: Path) -> NDArray[Any]:
    """The raw values of a mask: uint8 or uint16 [H, W], or uint8 [H, W, 3] in RGB order when the file holds colours.

    Nothing is converted: a label space decides what the values mean. Raises DataError, naming the file, what was
    found and what to do.
    """
    with _opened(path) as image:
        kind = str(image.format)
        if kind in _LOSSY:
            raise DataError(
                f"{path}: the mask is a {'JPEG' if kind != 'WEBP' else 'WebP'} file. Saving it in this format changes "
                "pixel values, so class ids or colours are lost. Export the mask again as PNG."
            )
        if fault := mask_fault(image, path):
            raise DataError(f"{path}: the mask has {fault}.")
        raw = _decoded(image, path)
        mode = image.mode
        if mode == "1":
            raw = raw.astype(np.uint8)
        elif mode == "L":
            raw = raw // np.uint8(stretch(image, path))
        elif mode in ("LA", "RGBA", "PA"):
            raw = _without_alpha(raw, path)
        elif mode.startswith("I"):
            raw = _as_uint16(raw, path)
        elif mode not in ("P", "RGB"):
            raise DataError(
                f"{path}: the mask has mode {mode} ({_MODE_WORDS.get(mode, 'unusual')}); allowed are one whole number "
                "a pixel (8 or 16 bit, palette, 1 bit) or RGB colours. Export it again as PNG."
            )
        return np.ascontiguousarray(_turned(raw, exif_orientation(image)))


def check_sizes(image: Path, image_size: tuple[int, int], mask: Path, mask_size: tuple[int, int]) -> None:
    """Raise DataError unless picture and mask have the same size. Sizes are (H, W) in pixels, after orientation."""
    if image_size == mask_size:
        return
    hint = "Resize the mask with nearest neighbour to the picture's size, or look for the mask that belongs to it."
    if image_size == mask_size[::-1]:
        hint = "Height and width are swapped: the mask was saved turned by 90 degrees or transposed. Turn it back."
        if read_header(image).orientation >= 5:
            hint = (
                "Height and width are swapped: the picture carries an EXIF rotation, the mask was drawn on the "
                "unturned pixels. Turn the mask like the picture, or save both again upright and without EXIF."
            )
    raise DataError(
        f"{mask}: the mask is {mask_size[0]}×{mask_size[1]} pixels (height × width), but its picture {image} is "
        f"{image_size[0]}×{image_size[1]}; they must be equal. {hint}"
    )


_MODE_WORDS = {
    "F": "32-bit float",
    "I": "32-bit or signed integers",
    "LAB": "CIE Lab",
    "HSV": "hue, saturation, value",
    "CMYK": "print colours",
}


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The opened, not yet decoded file; every error of Pillow becomes a DataError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "a device or pipe"
            raise DataError(f"{path}: found {kind} where a picture file was expected. Rename or remove it.")
        with path.open("rb") as stream:
            image = Image.open(stream, formats=FORMATS)
            _check_frame(image, path)
            yield image
    except (DataError, UserError):
        raise
    except FileNotFoundError as error:
        broken = " (a broken link)" if path.is_symlink() else ""
        raise DataError(f"{path}: the file does not exist{broken}. Restore it, or remove its partner.") from error
    except PermissionError as error:
        raise DataError(f"{path}: the file may not be read. Change its permissions (chmod u+r).") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: {foreign(path)}.") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: the picture has more than {MAX_PIXELS:,} pixels, the limit. Cut it into tiles."
        ) from error
    except MemoryError:
        raise
    except OSError as error:
        if error.errno is not None:  # the file system's, not Pillow's
            raise DataError(
                f"{path}: the file cannot be read ({error.strerror}). Check the disk and the path."
            ) from error
        raise DataError(_damaged(path, error)) from error
    except Exception as error:  # decoders of damaged files raise nearly anything: OSError, SyntaxError, struct.error, …
        raise DataError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    found = f"{type(error).__name__}: {error}"
    return (
        f"{path}: the file is damaged or truncated ({found}). Copy or export it again, or remove it together with its "
        "partner."
    )


def _check_frame(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: the picture has {height}×{width} pixels; the limit is {MAX_PIXELS:,} in all. Cut it into tiles."
        )
    if width == 0 or height == 0:
        raise DataError(f"{path}: the picture is {height}×{width} pixels; it needs at least one. Export it again.")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        frames = getattr(image, "n_frames", "several")
        raise DataError(
            f"{path}: the file holds {frames} frames or pages; allowed is one picture a file. Save them one by one."
        )


def _load(image: Image.Image, path: Path) -> None:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UserError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, so damaged pictures would pass unseen. "
            f"Set it to False before reading {path}."
        )
    image.load()
    if image.format == "PNG":
        # missing rows stay zero; of an interlaced file the last row may be there and the one above it missing
        check_png(path, count_rows=any(all(low == high == 0 for low, high in _ranges(image, row)) for row in (1, 2)))
    elif image.format in ("JPEG", "MPO") and all(low == high for low, high in _ranges(image, 1, pixels=8)):
        check_jpeg(path)


def _ranges(image: Image.Image, row: int, pixels: int | None = None) -> list[tuple[Any, Any]]:
    """Smallest and largest value of each channel in a row, counted from the end; of its last pixels alone, if told."""
    width, height = image.size
    left = 0 if pixels is None else max(0, width - pixels)
    found = image.crop((left, max(0, height - row), width, max(1, height - row + 1))).getextrema()
    return [found] if not isinstance(found[0], tuple) else list(found)


def _decoded(image: Image.Image, path: Path) -> NDArray[Any]:
    _load(image, path)
    return np.array(image)  # a copy: asarray would be read-only


def exif_orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1, upright, where there is none or nonsense."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # of a damaged block Pillow raises nearly anything; viewers show such pictures as stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels [H, W, ...] as a viewer shows them: 2 mirrored, 3 half turn, 4 upside down, 5 to 8 lie on a side."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def _without_alpha(raw: NDArray[Any], path: Path) -> NDArray[Any]:
    clear = int((raw[..., -1] != 255).sum())
    if clear:
        raise DataError(
            f"{path}: the mask has {clear} pixels that are not opaque, and a mask's transparency has no meaning. "
            "Export it without an alpha channel."
        )
    return raw[..., 0] if raw.shape[2] == 2 else raw[..., :3]


def _as_uint16(raw: NDArray[Any], path: Path) -> NDArray[np.uint16]:
    if raw.dtype == np.uint16:
        return raw
    low, high = int(raw.min()), int(raw.max())
    if low < 0 or high > 65535:
        raise DataError(
            f"{path}: found mask values from {low} to {high}; allowed are 0..65535. "
            "Save unlabelled pixels as 255 rather than as a negative number, and class ids as small numbers."
        )
    return raw.astype(np.uint16)
