"""The decoder: every rule at the top of reading.py, checked against Pillow, OpenCV or the array that was saved."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from segwright.contracts import DataError, UserError
from segwright.data.reading import MAX_PIXELS, check_sizes, read_header, read_image, read_mask

from .files import mask, photo, save


def refused(path: Path, read: object = read_image) -> str:
    with pytest.raises(DataError) as caught:
        read(path)  # type: ignore[operator]
    assert str(path) in str(caught.value)
    return str(caught.value)


def png(header: bytes, rows: bytes) -> bytes:
    """A PNG file of these header fields and uncompressed rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises width × height pixels and whose data is empty."""

    return png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"")


# pictures


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    pixels = photo()
    path = save(tmp_path / f"a{suffix}", pixels, **({"lossless": True} if suffix == ".webp" else {}))
    read = read_image(path)
    assert read.dtype == np.uint8
    assert read.flags["C_CONTIGUOUS"]
    assert read.flags["WRITEABLE"]
    np.testing.assert_array_equal(read, pixels)


def test_jpeg_decodes_like_pillow_whatever_its_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", photo(40, 50), quality=90)
    wrong_name = tmp_path / "b.png"
    wrong_name.write_bytes(path.read_bytes())
    with Image.open(path) as image:
        expected = np.array(image)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_image(wrong_name), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "P", "CMYK"])
def test_every_8_bit_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(photo()).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    np.testing.assert_array_equal(read_image(path), np.array(image.convert("RGB")))


@pytest.mark.filterwarnings("error")
def test_transparency_is_dropped_and_colours_stay(tmp_path: Path) -> None:
    pixels = np.dstack([photo(), np.zeros((12, 20), np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", pixels)), photo())
    palette = Image.fromarray(photo()).convert("P")
    palette.save(tmp_path / "p.png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), np.array(palette.convert("RGB")))


def test_16_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_image(save(tmp_path / name, grey * 257))[..., 1], grey)


def test_16_bit_colour_keeps_the_high_byte(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 65536, (9, 8, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), colour[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), (colour >> 8).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", photo(16, 24), exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(path), expected)
    header = read_header(path)
    assert (header.height, header.width) == expected.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_like_pictures(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    ids = mask()
    path = save(tmp_path / "m.png", ids, exif=exif)
    np.testing.assert_array_equal(read_mask(path), np.array(ImageOps.exif_transpose(Image.open(path))))


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_truncated_files_are_found(tmp_path: Path, kind: str, share: float) -> None:
    whole = save(tmp_path / f"whole{kind}", photo(64, 80)).read_bytes()
    path = tmp_path / f"cut{kind}"
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path)


def test_truncated_files_are_found_even_when_another_library_allows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.jpg", photo())
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UserError, match="LOAD_TRUNCATED_IMAGES"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.png", b"", "empty"),
        ("text.png", b"I am no picture\n", "no picture"),
        ("pdf.jpg", b"%PDF-1.4 ...", "a PDF"),
        ("bomb.png", png_claiming(50_000, 50_000), "pixels"),
        ("large.png", png_claiming(9_500, 9_500), "limit"),
        ("flat.png", png_claiming(0, 5), "damaged|pixels|no picture"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_foreign_files_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert re.search(words, refused(path))
    assert re.search(words, refused(path, read_mask))


def test_the_limit_is_what_the_message_says() -> None:
    assert 9_500 * 9_500 > MAX_PIXELS > 9_450 * 9_450


def test_missing_files_folders_and_broken_links(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nothing.png")
    (tmp_path / "folder.png").mkdir()
    assert "folder" in refused(tmp_path / "folder.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert "broken link" in refused(tmp_path / "link.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert "cannot be read" in refused(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe" in refused(tmp_path / "pipe.png")
    assert "cannot be read" in refused(tmp_path / ("long" * 80 + ".png"))


def test_animations_and_pages_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(photo(seed=s)) for s in range(3)]
    for name in ("a.gif", "a.png", "a.tif", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert "3 frames" in refused(tmp_path / name)
        refused(tmp_path / name, read_mask)


def test_a_camera_file_with_previews_gives_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(photo(seed=s)) for s in range(2)]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.jpg").shape == (12, 20, 3)


def test_float_and_32_bit_pictures_are_refused(tmp_path: Path) -> None:
    assert "float" in refused(save(tmp_path / "f.tif", photo()[..., 0].astype(np.float32)))
    assert "32-bit" in refused(save(tmp_path / "i.tif", photo()[..., 0].astype(np.int32)))


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_extreme_shapes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    assert read_image(save(tmp_path / "a.png", photo(*size))).shape == (*size, 3)


# masks


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_masks_give_their_index(tmp_path: Path, bits: int) -> None:
    ids = mask(values=range(2**bits) if bits < 8 else [0, 1, 2, 200, 255])
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).tolist())
    image.save(tmp_path / "m.png", bits=bits)
    read = read_mask(tmp_path / "m.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, ids)


def write_grey_png(path: Path, ids: np.ndarray, bits: int) -> Path:
    """A grey PNG of 1, 2 or 4 bits, written by hand: Pillow only writes 1 and 8."""
    rows = b""
    for row in ids:
        text = "".join(format(int(v), f"0{bits}b") for v in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    path.write_bytes(png(struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0), rows))
    return path


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_give_their_stored_numbers(tmp_path: Path, bits: int) -> None:
    ids = mask(values=range(2**bits))
    np.testing.assert_array_equal(read_mask(write_grey_png(tmp_path / "m.png", ids, bits)), ids)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_of_8_and_16_bits(tmp_path: Path, suffix: str) -> None:
    for ids in (mask(values=[0, 7, 255]), mask().astype(np.uint16) * 20_000):
        read = read_mask(save(tmp_path / f"m{suffix}", ids))
        assert read.dtype == ids.dtype
        np.testing.assert_array_equal(read, ids)


def test_32_bit_masks_when_they_fit(tmp_path: Path) -> None:
    ids = mask().astype(np.int32) * 20_000
    np.testing.assert_array_equal(read_mask(save(tmp_path / "m.tif", ids)), ids)
    assert "-1" in refused(save(tmp_path / "n.tif", ids - 1), read_mask)
    assert "80000" in refused(save(tmp_path / "h.tif", ids + 20_000), read_mask)
    assert "float" in refused(save(tmp_path / "f.tif", ids.astype(np.float32)), read_mask)


def test_colour_masks_give_their_colours(tmp_path: Path) -> None:
    for name in ("m.png", "m.bmp"):
        np.testing.assert_array_equal(read_mask(save(tmp_path / name, photo())), photo())


def test_alpha_is_dropped_only_where_it_says_nothing(tmp_path: Path) -> None:
    solid = np.full((12, 20), 255, np.uint8)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", np.dstack([photo(), solid]))), photo())
    np.testing.assert_array_equal(read_mask(save(tmp_path / "b.png", np.dstack([mask(), solid]))), mask())
    solid[3, 4] = 7
    assert "1 pixels" in refused(save(tmp_path / "c.png", np.dstack([photo(), solid])), read_mask)


def test_lossy_and_16_bit_colour_masks_are_refused(tmp_path: Path) -> None:
    assert "JPEG" in refused(save(tmp_path / "m.jpg", mask()), read_mask)
    hidden = tmp_path / "m.png"
    hidden.write_bytes((tmp_path / "m.jpg").read_bytes())
    assert "JPEG" in refused(hidden, read_mask)
    assert "WebP" in refused(save(tmp_path / "m.webp", photo()), read_mask)
    cv2.imwrite(str(tmp_path / "deep.png"), photo().astype(np.uint16) * 257)
    assert "16-bit" in refused(tmp_path / "deep.png", read_mask)


# sizes


def test_sizes_must_agree_and_the_hint_fits(tmp_path: Path) -> None:
    image, ids = save(tmp_path / "a.png", photo()), save(tmp_path / "m.png", mask())
    check_sizes(image, (12, 20), ids, (12, 20))
    with pytest.raises(DataError, match=r"24×40 .*12×20.*nearest neighbour"):
        check_sizes(image, (12, 20), ids, (24, 40))
    with pytest.raises(DataError, match="swapped"):
        check_sizes(image, (12, 20), ids, (20, 12))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(tmp_path / "t.jpg", photo(), exif=exif)
    with pytest.raises(DataError, match="EXIF"):
        check_sizes(turned, (20, 12), ids, (12, 20))


# anything


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM"]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_files_give_a_picture_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, edits: list[tuple[float, int]]
) -> None:
    stream = io.BytesIO()
    Image.fromarray(photo()).save(stream, format=kind)
    content = bytearray(stream.getvalue())
    for place, value in edits:
        content[int(place * (len(content) - 1))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(content))
    for read in (read_image, read_mask):
        try:
            found = str(read(path).dtype)
        except DataError as error:
            found = str(error)
        assert found in ("uint8", "uint16") or str(path) in found
