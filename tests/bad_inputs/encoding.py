"""File contents that no ordinary program writes: PNG and TIFF by hand, and what Pillow writes, as bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ADAM7 = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1}


def encoded(pixels: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """What Pillow writes."""
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def palette_image(ids: NDArray[np.uint8], colors: Sequence[int] | None = None) -> Image.Image:
    """A palette picture whose indices are `ids`; without colours, random ones, so that no index equals its colour."""
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette(np.random.default_rng(5).integers(0, 256, 768).tolist() if colors is None else list(colors))
    return image


def chunk(kind: bytes, content: bytes, *, bad_sum: bool = False) -> bytes:
    """One PNG chunk."""
    checksum = zlib.crc32(kind + content) ^ (1 if bad_sum else 0)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_header(width: int, height: int, *, depth: int = 8, color: int = 2, interlace: int = 0, **bad: bool) -> bytes:
    """Signature and IHDR. color: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""
    fields = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return SIGNATURE + chunk(b"IHDR", fields, **bad)


def png(
    values: NDArray[Any],
    *,
    depth: int = 8,
    color: int = 0,
    interlace: bool = False,
    before: bytes = b"",
    piece: int | None = None,
    level: int = 6,
    bad_sum: bool = False,
    end: bytes = chunk(b"IEND", b""),
) -> bytes:
    """A PNG of integer values [H, W] or [H, W, C], stored as they are, with whatever else a test wants in it.

    before: chunks between IHDR and the pixels. piece: bytes an IDAT chunk; level: of compression, 0 stores.
    """
    height, width = values.shape[:2]
    table = values.reshape(height, width, _CHANNELS[color])
    passes = _ADAM7 if interlace else ((0, 1, 0, 1),)
    parts = [table[top::down, left::right] for top, down, left, right in passes]
    packed = zlib.compress(b"".join(_rows(p, depth) for p in parts if p.size), level)
    pieces = [packed[i : i + (piece or len(packed))] for i in range(0, len(packed), piece or len(packed))]
    data = b"".join(chunk(b"IDAT", p, bad_sum=bad_sum) for p in pieces)
    return png_header(width, height, depth=depth, color=color, interlace=int(interlace)) + before + data + end


def _rows(table: NDArray[Any], depth: int) -> bytes:
    """Every row with filter type 0, numbers of 1, 2 or 4 bits packed into bytes."""
    rows = table.reshape(len(table), -1)
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    if depth == 8:
        return b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in rows)
    return b"".join(b"\0" + packed_bits(row, depth) for row in rows)


def packed_bits(row: NDArray[Any], depth: int) -> bytes:
    """Numbers of fewer than 8 (or 12) bits, the highest bit first, filled up to whole bytes."""
    text = "".join(format(int(v), f"0{depth}b") for v in row)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def tiff(
    data: bytes,
    width: int,
    height: int,
    *,
    bits: Sequence[int] = (8,),
    photometric: int = 1,
    sample_format: int = 1,
    order: str = "<",
    next_page: int = 0,
    tags: Mapping[int, tuple[int, Sequence[int]]] | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip. photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 8 Lab.

    sample_format: 1 unsigned, 2 signed, 3 float. tags: further ones, tag -> (type, values).
    """
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, bits),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8]),
        277: (3, [len(bits)]),
        278: (4, [height]),
        279: (4, [len(data)]),
        339: (3, [sample_format] * len(bits)),
        **(tags or {}),
    }
    padded = data + b"\0" * (len(data) % 2)
    start = 8 + len(padded)
    extra_at = start + 2 + 12 * len(entries) + 4
    table, extra = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        form = {1: "B", 3: "H", 4: "I"}[kind]
        content = struct.pack(order + form * len(values), *values)
        if len(content) > 4:
            place, extra = struct.pack(order + "I", extra_at + len(extra)), extra + content + b"\0" * (len(content) % 2)
        else:
            place = content.ljust(4, b"\0")
        table += struct.pack(order + "HHI", tag, kind, len(values)) + place
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", start) + padded + table + struct.pack(order + "I", next_page) + extra


def exif(orientation: int) -> Image.Exif:
    """EXIF data with an orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels [H, W, ...] as the EXIF standard wants them shown, written down once more, independently."""
    return {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: np.fliplr(np.rot90(p, -1)),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.fliplr(np.rot90(p, 1)),
        8: lambda p: np.rot90(p, 1),
    }[orientation](pixels)
