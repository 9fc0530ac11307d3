"""B1: pictures that are damaged, foreign, or of extreme size, and what looks damaged and is not."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial

import numpy as np

from ..data.files import photo
from .case import HEIGHT, WIDTH, Case
from .encoding import SIGNATURE, chunk, encoded, png, png_header, tiff
from .pictures import DAMAGED, JPEG, MANY, SHARES, accepted, grey, jpeg, palette, refused


def cut(kind: str, share: float) -> bytes:
    whole = encoded(photo(64, 80), kind)
    return whole[: int(len(whole) * share)]


def less(kind: str, count: int) -> bytes:
    return encoded(photo(64, 80), kind)[:-count]


def closed_again() -> bytes:
    whole = encoded(photo(64, 80), "JPEG")
    return whole[: len(whole) // 2] + b"\xff\xd9"


def resized_header(height: int, width: int = WIDTH) -> bytes:
    """A JPEG of 12 rows whose header promises more."""
    whole = jpeg()
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def short_of_rows(interlace: bool = False) -> bytes:
    rows = png(photo()[:8], color=2, interlace=interlace)[33:]
    return png_header(WIDTH, HEIGHT, interlace=int(interlace)) + rows


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, photo())
    return stream.getvalue()


def bomb_bmp() -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, MANY, MANY, 1, 24, *[0] * 6)


def bomb_webp() -> bytes:
    side = (16_382).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + side + side


def bomb_gif() -> bytes:
    whole = bytearray(encoded(palette(), "GIF"))
    whole[6:10] = struct.pack("<HH", 65_535, 65_535)
    return bytes(whole)


def upside_down_bmp() -> bytes:
    """A BMP of negative height: its rows run from the top."""
    whole = bytearray(encoded(photo()[::-1].copy(), "BMP"))
    whole[22:26] = struct.pack("<i", -HEIGHT)
    return bytes(whole)


TRUNCATED = (
    *(refused(f"png-cut-{s}", ".png", partial(cut, "PNG", s), DAMAGED) for s in SHARES),
    refused("png-cut-last-byte", ".png", partial(less, "PNG", 1), "breaks off in chunk 'IEND'"),
    *(refused(f"jpeg-cut-{s}", ".jpg", partial(cut, "JPEG", s), DAMAGED) for s in SHARES),
    refused("jpeg-cut-last-byte", ".jpg", partial(less, "JPEG", 1), DAMAGED),
    *(refused(f"{k.lower()}-cut", f".{k.lower()}", partial(cut, k, 0.5), DAMAGED) for k in ("BMP", "GIF", "WEBP")),
    refused("tiff-cut-in-pixels", ".tif", lambda: tiff(b"", WIDTH, HEIGHT), DAMAGED),
    refused("tiff-cut-in-tags", ".tif", lambda: tiff(grey().tobytes(), WIDTH, HEIGHT)[:270], DAMAGED),
    refused("ppm-cut", ".ppm", partial(cut, "PPM", 0.5), DAMAGED),
    refused("png-without-end", ".png", lambda: png(photo(), color=2, end=b""), "end of the PNG is missing"),
    refused("jpeg-closed-again", ".jpg", closed_again, "cut short and closed again"),
    refused("jpeg-promising-more-rows", ".jpg", partial(resized_header, 64), "cut short"),
    refused("png-short-of-rows", ".png", short_of_rows, "rows are missing"),
    refused("png-interlaced-short-of-rows", ".png", partial(short_of_rows, True), "rows are missing|truncated"),
)


FOREIGN = (
    refused("empty", ".png", bytes, r"empty \(0 bytes\)"),
    refused("zeros", ".png", partial(bytes, 8192), "zero bytes only"),
    refused("signature-only-png", ".png", lambda: SIGNATURE, "begins like PNG"),
    refused("signature-only-jpeg", ".jpg", lambda: b"\xff\xd8", "begins like JPEG"),
    refused("text", ".png", lambda: b"I am no picture\n", "no picture that Segwright knows"),
    refused("web-page", ".jpg", lambda: b"\n<!DOCTYPE HTML><title>404 Not Found</title>", "web page.*download"),
    refused("lfs-pointer", ".png", lambda: b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "git lfs pull"),
    refused("pdf", ".jpg", lambda: b"%PDF-1.7\n", "a PDF"),
    refused("svg", ".png", lambda: b'<svg width="20" height="12"/>', "SVG"),
    refused("zip", ".png", lambda: b"PK\x03\x04" + bytes(30), "ZIP"),
    refused("numpy-array", ".png", npy, "NumPy"),
    refused("heic", ".jpg", lambda: b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
    refused("avif", ".jpg", lambda: encoded(photo(), "AVIF"), "AVIF"),
    refused("jpeg-2000", ".png", lambda: encoded(photo(), "JPEG2000"), "JPEG 2000"),
    refused("targa", ".png", lambda: encoded(photo(), "TGA"), "no picture that Segwright knows"),
)


SIZES = (
    refused("bomb-png", ".png", lambda: png_header(MANY, MANY) + chunk(b"IEND", b""), "pixels.*limit"),
    refused("bomb-jpeg", ".jpg", partial(resized_header, 65_000, 65_000), "pixels.*limit"),
    refused("bomb-bmp", ".bmp", bomb_bmp, "pixels.*limit"),
    refused("bomb-tiff", ".tif", lambda: tiff(b"", MANY, MANY, bits=(8,) * 3, photometric=2), "pixels.*limit"),
    refused("bomb-webp", ".webp", bomb_webp, "pixels.*limit"),
    refused("bomb-gif", ".gif", bomb_gif, "pixels.*limit"),
    refused("bomb-ppm", ".ppm", lambda: b"P6 60000 60000 255\n", "pixels.*limit"),
    refused("just-too-large", ".png", lambda: png_header(9_460, 9_460) + chunk(b"IEND", b""), "9460×9460.*limit"),
    refused("no-width", ".png", lambda: png_header(0, HEIGHT) + chunk(b"IEND", b""), "damaged|begins like"),
    refused(
        "text-bomb",
        ".png",
        lambda: png(photo(), color=2, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(90_000_000)))),
        "too large",
    ),
    accepted("one-pixel", ".png", lambda: encoded(photo(1, 1)), "any size", truth=lambda: photo(1, 1), size=(1, 1)),
    accepted(
        "one-row",
        ".png",
        lambda: encoded(photo(1, 20_000)),
        "any size",
        truth=lambda: photo(1, 20_000),
        size=(1, 20_000),
    ),
    accepted(
        "one-column",
        ".jpg",
        lambda: encoded(photo(20_000, 1), "JPEG", quality=95, subsampling=0),
        "any size",
        truth=lambda: photo(20_000, 1),
        size=(20_000, 1),
        tolerance=JPEG,
    ),
)


INSIDE = (
    refused(
        "png-header-changed",
        ".png",
        lambda: png_header(WIDTH, HEIGHT, bad_sum=True) + png(photo(), color=2)[33:],
        "damaged|begins like",
    ),
    refused("png-pixels-changed", ".png", lambda: png(photo(), color=2, bad_sum=True), "checksum of chunk 'IDAT'"),
    refused(
        "png-text-changed",
        ".png",
        lambda: png(photo(), color=2, before=chunk(b"tEXt", b"a\0b", bad_sum=True)),
        "damaged",
    ),
    accepted("png-after-end", ".png", lambda: encoded(photo()) + b"more" * 99, "bytes after the end are left out"),
    accepted(
        "jpeg-after-end", ".jpg", lambda: jpeg() + b"more" * 99, "bytes after the end are left out", tolerance=JPEG
    ),
    accepted("png-interlaced", ".png", lambda: png(photo(), color=2, interlace=True), "decoded to the last pixel"),
    accepted("png-in-pieces", ".png", lambda: png(photo(), color=2, piece=1), "decoded to the last pixel"),
    accepted("jpeg-progressive", ".jpg", partial(jpeg, progressive=True), "decoded to the last pixel", tolerance=JPEG),
    accepted(
        "jpeg-restarts", ".jpg", partial(jpeg, restart_marker_blocks=1), "decoded to the last pixel", tolerance=JPEG
    ),
    accepted("jpeg-coarse-colour", ".jpg", partial(jpeg, subsampling=2), "decoded to the last pixel", tolerance=60),
    accepted("jpeg-rgb", ".jpg", partial(jpeg, keep_rgb=True), "decoded to the last pixel", tolerance=JPEG),
    accepted(
        "jpeg-flat-end",
        ".jpg",
        lambda: encoded(np.zeros((64, 80, 3), np.uint8), "JPEG"),
        "a flat end is no missing end",
        truth=lambda: np.zeros((64, 80, 3), np.uint8),
        size=(64, 80),
    ),
    accepted(
        "tiff-big-endian",
        ".tif",
        lambda: tiff(photo().tobytes(), WIDTH, HEIGHT, bits=(8,) * 3, photometric=2, order=">"),
        "TIFF of any byte order",
    ),
    accepted("tiff-lzw", ".tif", lambda: encoded(photo(), "TIFF", compression="tiff_lzw"), "TIFF of any compression"),
    accepted("bmp-from-the-top", ".bmp", upside_down_bmp, "BMP of any row order"),
    accepted(
        "ppm-text", ".ppm", lambda: b"P3 20 12 255\n" + " ".join(map(str, photo().ravel())).encode(), "PPM as text"
    ),
    refused("ppm-words", ".ppm", lambda: b"P3 2 2 255 1 2 three 4", DAMAGED),
)


DAMAGES: tuple[Case, ...] = (*TRUNCATED, *FOREIGN, *SIZES, *INSIDE)
