"""B2: masks. Every one gives exactly the stored numbers, or is refused with the values found and their likely cause."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.labels import LabelSpace

from ..data.files import FOUR, mask, photo
from .case import HEIGHT, WIDTH, Case, Truth, companions, put, space
from .encoding import chunk, encoded, exif, packed_bits, palette_image, png, tiff

Content = Callable[[], bytes]
TWO = space(0, 1)
COLORS = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
RGB = space(*COLORS)
GREYS = (0, 38, 75, 113)  # what COLORS become in grey


def ids(values: Sequence[int] = (0, 1, 2, 3)) -> NDArray[np.uint8]:
    return mask(HEIGHT, WIDTH, values)


def colored() -> NDArray[np.uint8]:
    return np.array(COLORS, np.uint8)[ids()]


def blocks() -> NDArray[np.uint8]:
    """uint8 [H, W]: four rectangles of the classes 0 to 3, with edges that smoothing shows."""
    table = np.zeros((HEIGHT, WIDTH), np.uint8)
    table[:5, 8:], table[5:, :8], table[5:, 8:] = 1, 2, 3
    return table


def _made(content: Content, ending: str, labels: LabelSpace | str, turn: int, root: Path) -> Path:
    """The odd mask with a healthy picture, beside healthy pairs. turn: EXIF orientation of the picture."""
    companions(root, labels)
    put(root / "train" / "images" / "odd.png", encoded(photo(HEIGHT, WIDTH, seed=7), exif=exif(turn)))
    return put(root / "train" / "masks" / f"odd{ending}", content())


def wrong(
    name: str,
    content: Content,
    words: str,
    *codes: str,
    ending: str = ".png",
    labels: LabelSpace | str = FOUR,
    turn: int = 1,
) -> Case:
    make = partial(_made, content, ending, labels, turn)
    return Case(name=name, group="B2", make=make, expect="refused", words=words, codes=codes, labels=labels)


def exact(
    name: str,
    content: Content,
    rule: str,
    *codes: str,
    truth: Truth = ids,
    ending: str = ".png",
    labels: LabelSpace | str = FOUR,
) -> Case:
    make = partial(_made, content, ending, labels, 1)
    return Case(
        name=name, group="B2", make=make, expect="accepted", words=rule, codes=codes, labels=labels, truth=truth
    )


def of(values: Sequence[int], dtype: str = "u1") -> Content:
    """A grey PNG with exactly these values."""
    return lambda: encoded(np.resize(np.array(values, dtype), (HEIGHT, WIDTH)))


def numbers(kind: str, add: int = 0, **options: Any) -> Content:
    """A grey TIFF of ids of this NumPy type."""

    def content() -> bytes:
        values = (ids().astype(np.int64) + add).astype(kind)
        sort = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
        return tiff(values.tobytes(), WIDTH, HEIGHT, bits=(values.itemsize * 8,), sample_format=sort, **options)

    return content


def resized(height: int, width: int) -> Content:
    return lambda: encoded(mask(height, width))


def smooth(table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scaled down and up again with interpolation."""
    small = cv2.resize(table, (WIDTH // 3, HEIGHT // 3), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def disc() -> NDArray[np.uint8]:
    """A white disc on black with smooth edges."""
    rows, columns = np.mgrid[: HEIGHT * 8, : WIDTH * 8]
    large = np.where((rows - 40) ** 2 + (columns - 70) ** 2 < 33**2, 255, 0).astype(np.uint8)
    return np.asarray(cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def after_jpeg(table: NDArray[np.uint8]) -> bytes:
    """Saved as JPEG once, and as PNG since."""
    stored = cv2.imencode(".jpg", table, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return encoded(cv2.imdecode(stored, cv2.IMREAD_UNCHANGED))


def few_bits(depth: int, **options: Any) -> Content:
    """A grey TIFF of fewer than 8 bits."""
    return lambda: tiff(
        b"".join(packed_bits(row, depth) for row in ids(range(min(4, 2**depth)))),
        WIDTH,
        HEIGHT,
        bits=(depth,),
        **options,
    )


def with_alpha(alpha: int) -> NDArray[np.uint8]:
    clear = np.full((HEIGHT, WIDTH), 255, np.uint8)
    clear[2:4, 5] = alpha
    return clear


SIZES = (
    wrong("half-size", resized(6, 10), "6×10 .*12×20.*nearest neighbour", "size-mismatch"),
    wrong("double-size", resized(24, 40), "24×40 .*12×20.*nearest neighbour", "size-mismatch"),
    wrong("one-row-more", resized(13, 20), "13×20", "size-mismatch"),
    wrong("one-column-less", resized(12, 19), "12×19", "size-mismatch"),
    wrong("one-pixel-mask", resized(1, 1), "1×1", "size-mismatch"),
    wrong("swapped", resized(20, 12), "swapped.*Turn it back", "swapped-size"),
    wrong("picture-turned-by-exif", of((0, 1, 2, 3)), "EXIF rotation", "exif-size", turn=6),
    wrong("mask-turned-by-exif", lambda: encoded(ids(), exif=exif(6)), "swapped", "swapped-size"),
)

VALUES = (
    wrong("one-class-too-many", of((0, 1, 2, 3, 4)), r"4 \(48 px\).*Allowed: 0, 1, 2, 3, 255", "unknown-values"),
    wrong("value-254", of((0, 1, 254)), r"254 \(80 px\)", "unknown-values"),
    wrong("255-without-void", of((0, 1, 2, 3, 255)), r"255 \(48 px\).*often void.*ignored", "unlisted-255",
          labels=space(0, 1, 2, 3)),
    wrong("binary-0-255", of((0, 255)), r"255 \(120 px\).*black and white", "black-and-white|unlisted-255", labels=TWO),
    wrong("binary-with-void", of((0, 1, 255)), r"255 \(80 px\).*void", "unlisted-255", labels=TWO),
    wrong("off-by-one", of((1, 2, 3, 4)), r"4 \(60 px\).*off by one", "off-by-one|unknown-values"),
    wrong("off-by-one-with-void", of((1, 2, 3, 4, 255)), r"4 \(48 px\).*off by one", "off-by-one|unknown-values"),
    wrong("label-ids-for-train-ids", of((0, 1, 7, 8, 11, 23, 24, 26, 33)), r"33 \(\d+ px\).*label ids", "unknown-values",
          labels="cityscapes19_trainids"),
    wrong("train-ids-for-label-ids", of((*range(19), 255)), r"255 \(\d+ px\).*train ids", "unlisted-255|train-ids",
          labels="cityscapes34"),
    wrong("licence-plate-255", of((7, 8, 11, 26, 33, 255)), r"255 \(\d+ px\).*licence plate", "unlisted-255",
          labels="cityscapes34"),
    wrong("stretched-for-the-eye", of((0, 85, 170)), r"85 \(80 px\)", "unknown-values"),
    wrong("instance-ids", lambda: png(ids().astype(int) * 1000 + 26_001, depth=16), r"26001 \(\d+ px\)", "sixteen-bit-mask"),
    wrong("depth-map", lambda: png(np.arange(240).reshape(12, 20) * 97, depth=16), "more", "sixteen-bit-mask"),
    wrong("ids-in-the-high-byte", lambda: png(ids().astype(int) * 256, depth=16), r"256 \(\d+ px\)", "sixteen-bit-mask"),
    wrong("ids-times-257", lambda: png(ids().astype(int) * 257, depth=16), r"257 \(\d+ px\)", "sixteen-bit-mask"),
    wrong("luminance-of-palette", lambda: encoded(palette_image(ids(range(8)), VOC).convert("L")),
          r"75 \(\d+ px\).*greys of the class colours", "grey-levels|unknown-values", labels="voc21"),
    wrong("quarter-of-the-classes-high", of(range(16)), "more", "unknown-values|smoothed-mask"),
    wrong("reduced-zero-twice", of((*range(5), 255)), r"255 \(\d+ px\).*shifted down", "unlisted-255", labels="ade150"),
    wrong("grey-photo", lambda: encoded(photo()[..., 0]), "more", "smoothed-mask"),
)  # fmt: skip

TYPES = (
    wrong("signed-8", numbers("i1", -1), "signed 8-bit", "unreadable-mask", ending=".tif"),
    wrong("signed-16", numbers("<i2", -1), "values from -1 to 2.*255", "unreadable-mask", ending=".tif"),
    wrong("signed-32", numbers("<i4", -1), "values from -1 to 2.*255", "unreadable-mask", ending=".tif"),
    wrong("beyond-16-bits", numbers("<i4", 70_000), "70000 to 70003", "unreadable-mask", ending=".tif"),
    wrong("unsigned-32-high", numbers("<u4", 4_294_967_290), "allowed are 0..65535", "unreadable-mask", ending=".tif"),
    wrong("float-ids", numbers("<f4"), "float", "unreadable-mask", ending=".tif"),
    wrong("float-64-ids", numbers("<f8"), "unusual channels or numbers", "unreadable-mask", ending=".tif"),
    wrong("probabilities", lambda: encoded(ids() / np.float32(7), "TIFF"), "float", "unreadable-mask", ending=".tif"),
    wrong("not-a-number", lambda: encoded(np.full((12, 20), np.nan, np.float32), "TIFF"), "float", "unreadable-mask",
          ending=".tif"),
    wrong("white-is-zero", numbers("u1", photometric=0), "0 means white", "unreadable-mask", ending=".tif"),
    wrong("white-is-zero-4-bit", few_bits(4, photometric=0), "0 means white", "unreadable-mask", ending=".tif"),
    wrong("pgm-own-maximum", lambda: b"P5 20 12 3\n" + ids().tobytes(), "3 as greatest value", "unreadable-mask",
          ending=".pgm"),
    wrong("16-bit-colours", lambda: png(colored().astype(int) * 257, depth=16, color=2), "16-bit colours",
          "unreadable-mask", labels=RGB),
    wrong("16-bit-colours-tiff", lambda: tiff(colored().astype("<u2").tobytes(), WIDTH, HEIGHT, bits=(16,) * 3,
          photometric=2), "16-bit colours", "unreadable-mask", labels=RGB, ending=".tif"),
    wrong("16-bit-with-alpha", lambda: png(np.dstack([ids(), ids()]).astype(int) * 257, depth=16, color=4),
          "16-bit colours", "unreadable-mask"),
    wrong("four-channels", lambda: tiff(bytes(HEIGHT * WIDTH * 4), WIDTH, HEIGHT, bits=(8,) * 4, photometric=2,
          tags={338: (3, [0])}), "4 channels", "unreadable-mask", ending=".tif"),
    wrong("two-channels", lambda: tiff(bytes(HEIGHT * WIDTH * 2), WIDTH, HEIGHT, bits=(8,) * 2, tags={338: (3, [0])}),
          "2 channels", "unreadable-mask", ending=".tif"),
    wrong("cmyk", lambda: encoded(Image.fromarray(colored()).convert("CMYK"), "TIFF"), "print colours",
          "unreadable-mask", ending=".tif"),
    wrong("empty", bytes, "empty", "unreadable-mask"),
    wrong("cut", lambda: encoded(mask(60, 80))[:900], "breaks off|truncated", "unreadable-mask"),
    wrong("rows-missing", lambda: png(ids()[:6]).replace(struct.pack(">II", 20, 6), struct.pack(">II", 20, 12), 1),
          "damaged|begins like", "unreadable-mask"),
    wrong("animated", lambda: encoded(Image.fromarray(ids()), "GIF", save_all=True,
          append_images=[Image.fromarray(ids((1, 2)))]), "2 frames", "unreadable-mask", ending=".gif"),
)  # fmt: skip

LOSSY = (
    wrong("jpeg", lambda: encoded(ids(), "JPEG"), "JPEG.*PNG", "lossy-mask", ending=".jpg"),
    wrong("jpeg-named-png", lambda: encoded(ids(), "JPEG"), "JPEG.*PNG", "lossy-mask"),
    wrong("webp", lambda: encoded(colored(), "WEBP"), "WebP.*PNG", "lossy-mask", ending=".webp", labels=RGB),
    wrong("jpeg-in-tiff", lambda: encoded(ids(), "TIFF", compression="jpeg"), "JPEG compression", "unreadable-mask|lossy-mask",
          ending=".tif"),
    wrong("was-jpeg-once", lambda: after_jpeg(blocks() * np.uint8(60)), r"px\)", "smoothed-mask|unknown-values"),
    wrong("was-jpeg-once-binary", lambda: after_jpeg(ids((0, 255))), r"px\)", "smoothed-mask", labels=TWO),
    wrong("was-jpeg-once-colours", lambda: after_jpeg(np.array(COLORS, np.uint8)[blocks()]), r"#\w{6} \(\d+ px\)",
          "smoothed-mask", labels=RGB),
    wrong("smooth-edges-binary", lambda: encoded(disc()), r"px\)", "smoothed-mask",
          labels=TWO),
    wrong("smooth-edges-colours", lambda: encoded(smooth(np.array(COLORS, np.uint8)[blocks()])),
          "anti-aliased|smoothing", "smoothed-mask", labels=RGB),
)  # fmt: skip

COLOURS = (
    wrong("ids-in-three-channels", lambda: encoded(np.dstack([ids()] * 3)), "3 channels", "color-mask"),
    wrong("colours-for-ids", lambda: encoded(colored()), "3 channels.*encoding: rgb", "color-mask"),
    wrong("palette-drawn-as-colours", lambda: encoded(palette_image(ids()).convert("RGB")), "3 channels", "color-mask"),
    wrong("ids-for-colours", of((0, 1, 2, 3)), "expects RGB colours", "index-mask", labels=RGB),
    wrong("colours-turned-grey", of(GREYS), "greys of its colours", "index-mask", labels=RGB),
    wrong("colours-in-bgr", lambda: encoded(colored()[..., ::-1].copy()), r"#000080 \(\d+ px\).*red and blue exchanged",
          "unknown-values", labels=RGB),
    wrong("colour-off-by-one", lambda: encoded(np.where(colored() == 128, np.uint8(127), colored())),
          r"#7f0000 \(\d+ px\)", "unknown-values", labels=RGB),
    wrong("colour-of-another-set", lambda: encoded(colored()), r"#\w{6} \(\d+ px\)", "unknown-values", labels="suim8"),
    wrong("panoptic-code", lambda: encoded(np.dstack([ids(), ids() + 7, ids() * 0])), "3 channels", "color-mask"),
    wrong("the-picture-itself", lambda: encoded(photo()), "3 channels", "color-mask|smoothed-mask"),
    wrong("see-through", lambda: encoded(np.dstack([colored(), with_alpha(0)])), "2 pixels that are not opaque",
          "unreadable-mask", labels=RGB),
    wrong("see-through-grey", lambda: encoded(np.dstack([ids(), with_alpha(128)])), "not opaque", "unreadable-mask"),
    wrong("palette-missing", lambda: png(ids(), color=3), "without its palette", "unreadable-mask"),
)  # fmt: skip

EXACT = (
    *(
        exact(f"palette-{bits}-bit", partial(lambda b: encoded(palette_image(ids(range(min(4, 2**b)))), bits=b), bits),
              "the palette index", truth=partial(lambda b: ids(range(min(4, 2**b))), bits))
        for bits in (1, 2, 4, 8)
    ),
    *(
        exact(f"grey-{bits}-bit", partial(lambda b: png(ids(range(min(4, 2**b))), depth=b), bits),
              "the stored numbers", truth=partial(lambda b: ids(range(min(4, 2**b))), bits))
        for bits in (1, 2, 4)
    ),
    *(exact(f"tiff-grey-{bits}-bit", few_bits(bits), "the stored numbers", truth=ids, ending=".tif") for bits in (2, 4)),
    exact("tiff-1-bit-white-is-zero", few_bits(1, photometric=0), "black is 0 and white 1", ending=".tif",
          truth=lambda: 1 - ids((0, 1))),
    exact("palette-in-gif", lambda: encoded(palette_image(ids()), "GIF"), "the palette index", ending=".gif"),
    exact("palette-in-bmp", lambda: encoded(palette_image(ids()), "BMP"), "the palette index", ending=".bmp"),
    exact("palette-in-tiff", lambda: encoded(palette_image(ids()), "TIFF"), "the palette index", ending=".tif"),
    exact("palette-transparent", lambda: encoded(palette_image(ids()), transparency=0), "the palette index"),
    exact("palette-too-short", lambda: png(ids(), color=3, before=chunk(b"PLTE", bytes(6))), "the palette index"),
    exact("grey-transparent-value", lambda: png(ids(), before=chunk(b"tRNS", b"\0\1")), "the stored numbers"),
    exact("16-bit-small-ids", lambda: png(ids(), depth=16), "16-bit masks give their numbers"),
    exact("32-bit-small-ids", numbers("<i4"), "32-bit integers that fit", ending=".tif"),
    exact("signed-16-small-ids", numbers("<i2"), "16-bit masks give their numbers", ending=".tif"),
    exact("big-endian", numbers(">u2", order=">"), "16-bit masks give their numbers", ending=".tif"),
    exact("void-and-classes", of((0, 1, 2, 3, 255)), "255 is listed under ignored",
          truth=lambda: np.resize(np.array((0, 1, 2, 3, 255)), (HEIGHT, WIDTH))),
    exact("all-void", of((255,)), "nothing to learn, but no fault", "void-mask",
          truth=lambda: np.full((HEIGHT, WIDTH), 255)),
    exact("all-background", of((0,)), "one class alone is no fault", "constant-mask",
          truth=lambda: np.zeros((HEIGHT, WIDTH))),
    exact("colours", lambda: encoded(colored()), "RGB masks give colours", truth=colored, labels=RGB),
    exact("colours-in-bmp", lambda: encoded(colored(), "BMP"), "RGB masks give colours", truth=colored, labels=RGB,
          ending=".bmp"),
    exact("opaque-colours", lambda: encoded(np.dstack([colored(), with_alpha(255)])), "opaque alpha is dropped",
          truth=colored, labels=RGB),
    exact("opaque-grey", lambda: encoded(np.dstack([ids(), with_alpha(255)])), "opaque alpha is dropped"),
    exact("interlaced", lambda: png(ids(), interlace=True), "decoded to the last pixel"),
    exact("black-last-row", lambda: png(blocks()[::-1]), "a black end is no missing end", truth=lambda: blocks()[::-1]),
    exact("pgm", lambda: b"P5 20 12 255\n" + ids().tobytes(), "PGM of 255 or 65535", ending=".pgm"),
    exact("tiff-lzw", lambda: encoded(ids(), "TIFF", compression="tiff_lzw"), "lossless compression", ending=".tif"),
    exact("icc-profile-and-gamma", lambda: png(ids(), before=chunk(b"gAMA", struct.pack(">I", 45_455))),
          "the stored numbers"),
)  # fmt: skip

VOC = [v for k in range(256) for v in ((k & 1) * 128, (k >> 1 & 1) * 128, (k >> 2 & 1) * 128)]
"""Palette whose first eight colours are those of PASCAL VOC."""

MASKS: tuple[Case, ...] = (*SIZES, *VALUES, *TYPES, *LOSSY, *COLOURS, *EXACT)
