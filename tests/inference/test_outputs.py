"""Maps as files: numbers within what the documents say, in each format, at their place on the Earth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from segwright.contracts import UserError
from segwright.inference.folders import PredictedFile, predict_paths
from segwright.inference.geotiff import PLACE
from segwright.inference.outputs import FORMATS, KINDS, Output
from segwright.inference.predictor import Predictor
from tests.inference.fakes import Unsure, random_rgb

NAMES = ("road", "car", "sky")
NO_DATA = 42113


def truth(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities, confidence and entropy of what Unsure says, by hand."""
    scores = np.where(np.arange(3)[:, None, None] == rgb[..., 0] % 3, rgb[..., 0] / 32, 0.0)
    probs = np.exp(scores) / np.exp(scores).sum(0)
    return probs, probs.max(0), -(probs * np.log(probs)).sum(0) / np.log(3)


def predicted(path: Path, out: Path, output: Output) -> PredictedFile:
    [file] = predict_paths(Predictor(Unsure(NAMES), device="cpu"), path, out, output)
    return file


def read(path: Path) -> NDArray[np.float64]:
    """The numbers of a map, 0..1 where a PNG holds 0..255."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    with Image.open(path) as image:
        return np.asarray(image, np.float64) / (255 if path.suffix == ".png" else 1)


@pytest.mark.parametrize(("format", "most"), [("png", 1 / 510), ("npy", 1 / 4096), ("tif", 1e-6)])
def test_maps_hold_their_numbers_in_every_format(tmp_path: Path, format: str, most: float) -> None:
    rgb = random_rgb(33, 47, 0)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    file = predicted(tmp_path / "a.png", tmp_path / "out", Output(write=KINDS, format=format))
    probs, confidence, entropy = truth(rgb)
    assert np.abs(read(file.outputs["confidence"]) - confidence).max() <= most + 1e-6
    assert np.abs(read(file.outputs["entropy"]) - entropy).max() <= most + 1e-6
    endings = {kind: path.suffix for kind, path in file.outputs.items()}
    picture = ".tif" if format == "tif" else ".png"
    assert endings == {
        "overlay": ".png",
        "color": picture,
        "ids": f".{format}",
        "probabilities": ".npy",
        "confidence": f".{format}",
        "entropy": f".{format}",
    }
    ids = read(file.outputs["ids"]) * (255 if format == "png" else 1)
    assert np.array_equal(ids, rgb[..., 0] % 3)
    with Image.open(file.outputs["color"]) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), rgb[..., 0] % 3)
    stored = np.load(file.outputs["probabilities"], allow_pickle=False)
    assert stored.dtype == np.float16
    assert np.abs(stored - probs).max() <= 1 / 4096


def test_quantised_probabilities_are_off_by_one_in_510_at_most(tmp_path: Path) -> None:
    rgb = random_rgb(40, 50, 1)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    file = predicted(
        tmp_path / "a.png", tmp_path / "out", Output(write=("probabilities",), probabilities="uint8", format="tif")
    )
    stored = np.load(file.outputs["probabilities"], allow_pickle=False)
    assert (stored.dtype, stored.shape) == (np.uint8, (3, 40, 50))
    assert np.abs(stored / 255 - truth(rgb)[0]).max() <= 1 / 510 + 1e-6


def geotiff(path: Path, rgb: NDArray[np.uint8], *, no_data: str | None = None, matrix: bool = False) -> None:
    """An orthophoto as a survey would send it: UTM zone 33 north, half a metre a pixel."""
    tags = ImageFileDirectory_v2()
    if matrix:
        values: dict[int, tuple[int, object]] = {34264: (12, (0.5, 0, 0, 4e5, 0, -0.5, 0, 5.8e6, *[0.0] * 7, 1.0))}
    else:
        values = {33550: (12, (0.5, 0.5, 0.0)), 33922: (12, (0.0, 0.0, 0.0, 400000.25, 5800000.75, 0.0))}
    values |= {
        34735: (3, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)),
        34736: (12, (6378137.0, 298.257223563)),
        34737: (2, "WGS 84 / UTM zone 33N|"),
    }
    if no_data is not None:
        values[NO_DATA] = (2, no_data)
    for tag, (kind, content) in values.items():
        tags.tagtype[tag] = kind
        tags[tag] = content
    Image.fromarray(rgb).save(path, tiffinfo=tags)


def tags_of(path: Path) -> dict[int, tuple[int, object]]:
    """Tag -> kind of its values, and values."""
    with Image.open(path) as image:
        held = image.tag_v2  # type: ignore[attr-defined]
        return {tag: (held.tagtype[tag], held[tag]) for tag in (*PLACE, NO_DATA) if tag in held}


@pytest.mark.parametrize("matrix", [False, True])
def test_maps_of_a_geotiff_lie_where_it_lies(tmp_path: Path, matrix: bool) -> None:
    rgb = random_rgb(30, 44, 2)
    geotiff(tmp_path / "ortho.tif", rgb, matrix=matrix)
    place = tags_of(tmp_path / "ortho.tif")
    assert len(place) >= 4
    file = predicted(tmp_path / "ortho.tif", tmp_path / "out", Output(write=KINDS, format="tif"))
    for kind in ("ids", "color"):
        assert tags_of(file.outputs[kind]) == place | {NO_DATA: (2, "255")}
    for kind in ("confidence", "entropy"):
        assert tags_of(file.outputs[kind]) == place | {NO_DATA: (2, "nan")}
    with Image.open(file.outputs["ids"]) as image:
        assert np.array_equal(np.asarray(image), rgb[..., 0] % 3)


def test_where_a_geotiff_has_no_data_there_is_no_class(tmp_path: Path) -> None:
    rgb = random_rgb(30, 44, 3)
    rgb[:10] = 0
    rgb[0, 0] = (0, 0, 1)  # black in two channels alone is a colour
    geotiff(tmp_path / "ortho.tif", rgb, no_data="0")
    outside = (rgb == 0).all(2)
    file = predicted(tmp_path / "ortho.tif", tmp_path / "out", Output(write=("ids", "confidence"), format="tif"))
    ids = read(file.outputs["ids"])
    assert np.array_equal(ids == 255, outside)
    assert np.array_equal(ids[~outside], rgb[~outside, 0] % 3)
    assert np.array_equal(np.isnan(read(file.outputs["confidence"])), outside)
    assert file.abstained == pytest.approx(outside.mean())
    png = predicted(tmp_path / "ortho.tif", tmp_path / "png", Output(write=("ids",)))
    with Image.open(png.outputs["ids"]) as image:
        assert np.array_equal(np.asarray(image), ids)


def test_a_turned_tiff_has_no_place(tmp_path: Path) -> None:
    tags = ImageFileDirectory_v2()
    tags[0x0112] = 6
    tags.tagtype[33550], tags[33550] = 12, (0.5, 0.5, 0.0)
    Image.fromarray(random_rgb(20, 30, 4)).save(tmp_path / "a.tif", tiffinfo=tags)
    file = predicted(tmp_path / "a.tif", tmp_path / "out", Output(write=("ids",), format="tif"))
    assert (file.height, file.width) == (30, 20)
    assert 33550 not in tags_of(file.outputs["ids"])


def test_every_kind_has_a_file_of_its_own() -> None:
    for format in FORMATS:
        files = Output(write=KINDS, format=format).files(Path("city.x/a.b"))
        assert len(set(files.values())) == len(KINDS)
        assert all(path.parent == Path("city.x") and path.name.startswith("a.b_") for path in files.values())
    with pytest.raises(UserError, match="Did you mean 'confidence'"):
        Output(write=("confidense",))
