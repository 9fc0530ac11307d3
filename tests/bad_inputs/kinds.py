"""B1: pictures of every depth, colour model, orientation and number of frames."""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ..data.files import mask, photo
from .case import HEIGHT, WIDTH, Case
from .encoding import chunk, encoded, exif, packed_bits, palette_image, png, tiff, turned
from .pictures import JPEG, accepted, grey, grey_rgb, jpeg, palette, refused, rgb_of, with_alpha


def twelve_bit_jpeg() -> bytes:
    whole = jpeg()
    at = whole.index(b"\xff\xc0") + 4
    return whole[:at] + b"\x0c" + whole[at + 1 :]


def jpeg_with(block: bytes) -> bytes:
    whole = jpeg()
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]


def frames(kind: str) -> bytes:
    images = [Image.fromarray(photo(seed=s)) for s in range(3)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:])


def camera_file(orientation: int = 1) -> bytes:
    preview = Image.fromarray(photo(6, 10, seed=9))
    return encoded(
        Image.fromarray(photo()),
        "MPO",
        save_all=True,
        append_images=[preview],
        quality=95,
        subsampling=0,
        exif=exif(orientation),
    )


def many_bits(values: NDArray[Any], depth: int) -> bytes:
    return b"".join(packed_bits(row, depth) for row in values)


def numbers_tiff(kind: str, **options: Any) -> bytes:
    """A grey TIFF whose numbers are of this NumPy type."""
    values = grey().astype(kind)
    sort = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    return tiff(values.tobytes(), WIDTH, HEIGHT, bits=(values.itemsize * 8,), sample_format=sort, **options)


def nan_tiff() -> bytes:
    values = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    return encoded(values, "TIFF")


def endless_tiff() -> bytes:
    """The list of pages leads back to its first page."""
    return tiff(photo().tobytes(), WIDTH, HEIGHT, bits=(8, 8, 8), photometric=2, next_page=8 + HEIGHT * WIDTH * 3)


def lab_tiff() -> bytes:
    return tiff(photo().tobytes(), WIDTH, HEIGHT, bits=(8, 8, 8), photometric=8)


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


NAMES = (
    accepted("jpeg-named-png", ".png", jpeg, "the content decides the format", tolerance=JPEG),
    accepted("png-named-jpg", ".jpg", lambda: encoded(photo()), "the content decides the format"),
    accepted("bmp-named-tif", ".tif", lambda: encoded(photo(), "BMP"), "the content decides the format"),
    accepted("upper-case-ending", ".PNG", lambda: encoded(photo()), "endings count in any case"),
)


DEPTHS = (
    accepted("png-16-grey", ".png", lambda: png(grey().astype(int) * 257, depth=16), "16-bit grey", truth=grey_rgb),
    accepted("tiff-16-grey", ".tif", lambda: encoded(grey() * np.uint16(257), "TIFF"), "16-bit grey", truth=grey_rgb),
    accepted(
        "pgm-16-grey",
        ".pgm",
        lambda: b"P5 20 12 65535\n" + (grey().astype(">u2") * 257).tobytes(),
        "16-bit grey",
        truth=grey_rgb,
    ),
    accepted("png-16-rgb", ".png", lambda: png(photo().astype(int) * 257, depth=16, color=2), "the high byte"),
    accepted(
        "tiff-16-rgb",
        ".tif",
        lambda: tiff((photo().astype("<u2") * 257).tobytes(), WIDTH, HEIGHT, bits=(16,) * 3, photometric=2),
        "the high byte",
    ),
    accepted(
        "png-16-grey-alpha",
        ".png",
        lambda: png(np.dstack([grey(), grey()]).astype(int) * 257, depth=16, color=4),
        "the high byte",
        truth=grey_rgb,
    ),
    refused(
        "tiff-12-bit",
        ".tif",
        lambda: tiff(many_bits(grey().astype(int) * 16, 12), WIDTH, HEIGHT, bits=(12,)),
        "12-bit",
    ),
    refused("tiff-16-white-is-zero", ".tif", partial(numbers_tiff, "<u2", photometric=0), "0 means white"),
    refused("tiff-signed-8", ".tif", partial(numbers_tiff, "i1"), "signed 8-bit"),
    refused("tiff-signed-16", ".tif", partial(numbers_tiff, "<i2"), "signed"),
    refused("tiff-32", ".tif", lambda: encoded(grey().astype(np.int32), "TIFF"), "32-bit"),
    refused("tiff-float", ".tif", lambda: encoded(grey().astype(np.float32), "TIFF"), "float"),
    refused("tiff-nan", ".tif", nan_tiff, "float"),
    refused("tiff-float-16", ".tif", partial(numbers_tiff, "<f2"), "unusual channels or numbers"),
    refused("tiff-float-64", ".tif", partial(numbers_tiff, "<f8"), "unusual channels or numbers"),
    refused("jpeg-12-bit", ".jpg", twelve_bit_jpeg, "begins like JPEG"),
    accepted(
        "png-1-bit",
        ".png",
        lambda: png(mask() % 2, depth=1),
        "1-bit becomes RGB",
        truth=lambda: np.repeat(mask()[..., None] % 2 * np.uint8(255), 3, axis=2),
    ),
    accepted(
        "png-2-bit",
        ".png",
        lambda: png(mask(), depth=2),
        "grey becomes RGB",
        truth=lambda: np.repeat(mask()[..., None] * np.uint8(85), 3, axis=2),
    ),
    accepted(
        "png-4-bit",
        ".png",
        lambda: png(mask(), depth=4),
        "grey becomes RGB",
        truth=lambda: np.repeat(mask()[..., None] * np.uint8(17), 3, axis=2),
    ),
    accepted(
        "tiff-8-white-is-zero",
        ".tif",
        partial(numbers_tiff, "u1", photometric=0),
        "grey as a viewer shows it",
        truth=lambda: 255 - grey_rgb(),
    ),
)


COLOURS = (
    accepted("grey-png", ".png", lambda: encoded(grey()), "grey becomes RGB", truth=grey_rgb),
    accepted(
        "grey-alpha", ".png", lambda: encoded(np.dstack([grey(), grey()])), "transparency is dropped", truth=grey_rgb
    ),
    accepted("rgb-alpha", ".png", lambda: encoded(with_alpha()), "transparency is dropped"),
    accepted("palette", ".png", lambda: encoded(palette()), "palette becomes RGB", truth=rgb_of(palette)),
    accepted(
        "palette-4-bit",
        ".png",
        lambda: encoded(palette_image(mask(values=range(16))), bits=4),
        "palette becomes RGB",
        truth=rgb_of(lambda: palette_image(mask(values=range(16)))),
    ),
    accepted(
        "palette-transparent",
        ".png",
        lambda: encoded(palette(), transparency=bytes(range(256))),
        "transparency is dropped",
        truth=rgb_of(palette),
    ),
    accepted(
        "rgb-one-colour-transparent",
        ".png",
        lambda: png(photo(), color=2, before=chunk(b"tRNS", struct.pack(">3H", *photo()[0, 0]))),
        "transparency is dropped",
    ),
    refused("palette-missing", ".png", lambda: png(mask(), color=3), "without its palette"),
    accepted(
        "cmyk-jpeg",
        ".jpg",
        lambda: encoded(Image.fromarray(photo()).convert("CMYK"), "JPEG", quality=95),
        "CMYK without colour management",
        tolerance=JPEG,
    ),
    accepted(
        "cmyk-tiff",
        ".tif",
        lambda: encoded(Image.fromarray(photo()).convert("CMYK"), "TIFF"),
        "CMYK without colour management",
        tolerance=1,
    ),
    accepted(
        "grey-jpeg",
        ".jpg",
        lambda: encoded(grey(), "JPEG", quality=95),
        "grey becomes RGB",
        truth=grey_rgb,
        tolerance=JPEG,
    ),
    refused("tiff-lab", ".tif", lab_tiff, "Lab"),
    accepted(
        "tiff-infrared",
        ".tif",
        lambda: tiff(with_alpha().tobytes(), WIDTH, HEIGHT, bits=(8,) * 4, photometric=2, tags={338: (3, [0])}),
        "further channels are dropped",
    ),
    refused("tiff-5-bands", ".tif", lambda: tiff(bytes(HEIGHT * WIDTH * 5), WIDTH, HEIGHT, bits=(8,) * 5), "channels"),
    accepted("icc-profile", ".png", lambda: encoded(photo(), icc_profile=profile()), "profiles are not applied"),
    accepted(
        "icc-profile-damaged",
        ".png",
        lambda: png(photo(), color=2, before=chunk(b"iCCP", b"x\0\0no zlib stream")),
        "profiles are not applied",
    ),
)


TURNED = (
    *(
        accepted(
            f"jpeg-exif-{k}",
            ".jpg",
            partial(jpeg, exif=exif(k)),
            "the EXIF orientation is applied",
            truth=lambda k=k: turned(photo(), k),
            size=(HEIGHT, WIDTH) if k < 5 else (WIDTH, HEIGHT),
            tolerance=JPEG,
        )
        for k in range(1, 9)
    ),
    *(
        accepted(
            f"{kind.lower()}-exif-6",
            f".{kind.lower()}",
            partial(lambda kind, options: encoded(photo(), kind, exif=exif(6), **options), kind, options),
            "the EXIF orientation is applied",
            truth=lambda: turned(photo(), 6),
            size=(WIDTH, HEIGHT),
        )
        for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}))
    ),
    accepted("exif-0", ".jpg", partial(jpeg, exif=exif(0)), "nonsense counts as upright", tolerance=JPEG),
    accepted("exif-9", ".jpg", partial(jpeg, exif=exif(9)), "nonsense counts as upright", tolerance=JPEG),
    accepted(
        "exif-damaged-jpeg", ".jpg", lambda: jpeg_with(b"Exif\0\0no TIFF in here"), "counts as none", tolerance=JPEG
    ),
    accepted(
        "exif-damaged-png",
        ".png",
        lambda: png(photo(), color=2, before=chunk(b"eXIf", b"no TIFF in here")),
        "counts as none",
    ),
    accepted(
        "camera-file-turned",
        ".jpg",
        partial(camera_file, 8),
        "the first picture of an MPO file",
        truth=lambda: turned(photo(), 8),
        size=(WIDTH, HEIGHT),
        tolerance=JPEG,
    ),
)


FRAMES = (
    *(refused(f"{k.lower()}-frames", f".{k.lower()}", partial(frames, k), "3 frames") for k in ("GIF", "PNG", "WEBP")),
    refused("tiff-pages", ".tif", partial(frames, "TIFF"), "3 frames or pages"),
    accepted("camera-file", ".jpg", camera_file, "the first picture of an MPO file", tolerance=JPEG),
    accepted("gif-one-frame", ".gif", lambda: encoded(palette(), "GIF"), "one picture a file", truth=rgb_of(palette)),
    accepted("tiff-pages-in-a-circle", ".tif", endless_tiff, "one picture a file"),
    accepted("webp-lossless", ".webp", lambda: encoded(photo(), "WEBP", lossless=True), "WebP is read"),
)


KINDS: tuple[Case, ...] = (*NAMES, *DEPTHS, *COLOURS, *TURNED, *FRAMES)
