"""What a picture file says that Pillow does not pass on: checksums, the numbers as stored, what a foreign file is.

Pillow ignores the checksums of PNG pixels, stretches grey of 2 and 4 bits, cuts 16-bit colours, inverts where white is
zero, and scales PGM numbers by their maximum. For a picture most of this is right; a mask would silently change.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import Image

_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FORMAT = 258, 259, 262, 277, 339
"""TIFF tags: bits of each channel, compression, meaning of the numbers, channels, kind of numbers."""
_SIGNED = 2
_WHITE_IS_ZERO = 0
_LOSSY_TIFF = {6: "JPEG", 7: "JPEG", 34712: "JPEG 2000", 50001: "WebP"}

_ADAM7 = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
"""Passes of an interlaced PNG: first row, step, first column, step."""

_MARKER, _RESTART = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]"), re.compile(rb"\xff[\xd0-\xd7]")
"""JPEG markers that end coded pixels, and those inside them."""

_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"\x93NUMPY", "a NumPy array: save it as PNG"),
    (b"%PDF", "a PDF: export its pictures as PNG or JPEG"),
    (b"8BPS", "a Photoshop file: export it as PNG"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000: convert it to PNG"),
    (b"\xff\x4f\xff\x51", "JPEG 2000: convert it to PNG"),
    (b"\0\0\0\x0cJXL ", "JPEG XL: convert it to PNG or JPEG"),
    (b"\xff\x0a", "JPEG XL: convert it to PNG or JPEG"),
    (b"<!doctype html", "a web page, often what a failed download leaves: download the file again"),
    (b"<html", "a web page, often what a failed download leaves: download the file again"),
    (b"<svg", "an SVG drawing: export it as PNG"),
    (b"<?xml", "an XML or SVG file: export it as PNG"),
)
_KNOWN = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"RIFF", "WebP"),
)


def foreign(path: Path) -> str:
    """What a file is that Pillow cannot identify, and what to do, as a phrase."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        return "the file is empty (0 bytes). Copy or export it again"
    if not head.strip(b"\0"):
        return "the file begins with zero bytes only, as a copy that broke off does. Copy or export it again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, words in _FOREIGN:
        if head.startswith(mark) or text.startswith(mark.lower()):
            return f"the file is {words}"
    if head[4:8] == b"ftyp":
        return "the file is an HEIC or AVIF photo or a video: convert it to PNG or JPEG"
    for mark, kind in _KNOWN:
        if head.startswith(mark):
            return (
                f"the file begins like {kind}, but is damaged, truncated or of a kind that cannot be read (unusual "
                "channels or numbers, say). Export it again as 8-bit PNG"
            )
    return (
        "the content is no picture that Segwright knows; allowed are PNG, JPEG, BMP, TIFF, WebP, GIF and PPM. "
        "Export it again"
    )


def check_png(path: Path, *, count_rows: bool) -> None:
    """Raise ValueError unless a PNG file is whole: every chunk as its checksum says, a palette where one is needed.

    count_rows: unpack the pixels once more and count their bytes, since Pillow leaves missing rows at zero.
    """
    unpacked, unpack = 0, zlib.decompressobj()
    with path.open("rb") as stream:
        header = stream.read(29)[16:]
        stream.seek(8)
        needs_palette = header[9:10] == b"\x03"
        for kind, content in _chunks(stream):
            if kind == b"PLTE":
                needs_palette = False
            if kind == b"IDAT" and needs_palette:
                raise ValueError("a palette PNG without its palette")
            if kind == b"IDAT" and count_rows:
                unpacked += len(unpack.decompress(content))
    if count_rows and unpacked < _png_bytes(header):
        raise ValueError("rows are missing at the end of the PNG")


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of every PNG chunk up to IEND. Raises ValueError for missing and changed bytes."""
    kind = b""
    while kind != b"IEND":
        head = stream.read(8)
        if len(head) < 8:
            raise ValueError("the end of the PNG is missing")
        length, kind = struct.unpack(">I4s", head)
        content, checksum = stream.read(length), stream.read(4)
        name = kind.decode("latin-1")
        if len(content) < length or len(checksum) < 4:
            raise ValueError(f"the PNG breaks off in chunk {name!r}")
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of chunk {name!r} is wrong: bytes have changed")
        yield kind, content


def _png_bytes(header: bytes) -> int:
    """Bytes of the unpacked pixels: every row is filled up to whole bytes and begins with one for its filter."""
    width, height, depth, color_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    total = 0
    for top, down, left, right in _ADAM7 if interlaced else ((0, 1, 0, 1),):
        rows, columns = len(range(top, height, down)), len(range(left, width, right))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def check_jpeg(path: Path) -> None:
    """Raise ValueError for a JPEG file that was cut short and closed again: decoders repeat its last colour to the end.

    More bytes before the end of the coded pixels change nothing in a whole file and are decoded where some are missing.
    Progressive files, which arrive coarse to fine, and several scans are left out.
    """
    content = path.read_bytes()
    found = _scan(content)
    if found is None:
        return
    start, end = found
    restarts = len(_RESTART.findall(content, start, end))  # such markers come in order, 0 to 7 and again
    more = b"".join(bytes(range(1, 251)) + bytes([0xFF, 0xD0 + (restarts + i) % 8]) for i in range(8))
    if _thumbnail(content) != _thumbnail(content[:end] + more + content[end:]):
        raise ValueError("the JPEG was cut short and closed again: its last part is missing")


def _scan(content: bytes) -> tuple[int, int] | None:
    """Where the coded pixels of a JPEG file of one sequential scan begin and end; None for other kinds."""
    at, sequential = 2, False
    while content[at : at + 1] == b"\xff" and at + 4 <= len(content):
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        sequential = sequential or marker in (0xC0, 0xC1)
        at += 2 + length
        if marker == 0xDA:
            found = _MARKER.search(content, at)
            return (at, found.start()) if found and sequential and found[0] == b"\xff\xd9" else None
    return None


def _thumbnail(content: bytes) -> bytes:
    """A JPEG file's pixels at an eighth of its size, which is all that is decoded."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
        return image.tobytes()


def picture_fault(image: Image.Image) -> str | None:
    """What Pillow would show wrongly of an opened picture, as `found; allowed. What to do`; None when all is well."""
    if image.format != "TIFF":
        return None
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, kind = max(tags.get(_BITS, (1,))), max(tags.get(_FORMAT, (1,)))
    if bits == 8 and kind == _SIGNED:
        return "signed 8-bit numbers (-128..127); allowed are unsigned ones. Save it again as 8-bit PNG"
    if 8 < bits < 16:
        return f"{bits}-bit numbers, whose range is not stated; allowed are 8 and 16 bits. Save it again as 8-bit PNG"
    if bits == 16 and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return "16-bit grey where 0 means white; allowed is 0 for black. Save it again as PNG"
    return None


def mask_fault(image: Image.Image, path: Path) -> str | None:
    """Why the stored numbers of an opened mask are not those that Pillow gives, as `found; allowed. What to do`."""
    if image.format == "PNG":
        depth, color_type = png_kind(path)
        if depth == 16 and color_type != 0:
            return "16-bit colours; allowed are 8-bit colours. Save it as 8-bit RGB PNG"
    if image.format == "PPM":
        arguments = image.tile[0].args  # type: ignore[attr-defined]
        maximum = arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else 255  # Pillow scales by it
        if maximum not in (255, 65535):
            return f"{maximum} as greatest value in its header, which scales it; allowed is 255. Save it as PNG"
    if image.format == "TIFF":
        return _tiff_mask_fault(image)
    return None


def _tiff_mask_fault(image: Image.Image) -> str | None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, channels = max(tags.get(_BITS, (1,))), tags.get(_SAMPLES, 1)
    if lossy := _LOSSY_TIFF.get(tags.get(_COMPRESSION, 1)):
        return f"{lossy} compression, which changes class ids; allowed is lossless compression. Export it as PNG"
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and bits > 1:
        return "numbers where 0 means white, which some readers invert; allowed is 0 for black. Export it as PNG"
    if bits == 8 and max(tags.get(_FORMAT, (1,))) == _SIGNED:
        return "signed 8-bit numbers (-128..127); allowed are unsigned ones, with 255 for unlabelled. Export it as PNG"
    if bits > 8 and channels > 1:
        return f"{bits}-bit colours; allowed are 8-bit colours. Save it as 8-bit RGB PNG"
    if channels != len(image.getbands()):
        return f"{channels} channels; allowed are one class number a pixel or RGB colours. Export it as PNG"
    return None


def stretch(image: Image.Image, path: Path) -> int:
    """What Pillow multiplies the stored numbers of an opened mask by: 85 and 17 for grey of 2 and 4 bits, else 1."""
    if image.mode != "L":
        return 1
    if image.format == "PNG":
        depth, color_type = png_kind(path)
        bits = depth if color_type == 0 else 8
    else:
        bits = max(image.tag_v2.get(_BITS, (1,))) if image.format == "TIFF" else 8  # type: ignore[attr-defined]
    return {2: 85, 4: 17}.get(bits, 1)


def png_kind(path: Path) -> tuple[int, int]:
    """(bits a channel, colour type) from a PNG header; type 0 is grey, 2 RGB, 3 palette, 4 and 6 have alpha."""
    with path.open("rb") as stream:
        depth, color_type = struct.unpack(">24x2B", stream.read(26))
    return depth, color_type
