"""Predicting pictures in memory and as files: exact ids, honest errors, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import DataError, UserError
from segwright.inference.predictor import Predictor, find_pictures, mean_abstained, mean_shares, predict_paths
from tests.inference.fakes import RedSegmenter, random_rgb

NAMES = ("road", "car", "sky")


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(RedSegmenter(NAMES), device="cpu")


def save(path: Path, rgb: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    rgb = random_rgb(24, 40, len(path.name)) if rgb is None else rgb
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return rgb


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def read_raw(path: Path) -> tuple[str, NDArray[np.uint8]]:
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 17)])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_predict_gives_class_ids_of_the_pictures_size(size: tuple[int, int], memory_format: str) -> None:
    rgb = random_rgb(*size, 3)
    rgb.setflags(write=False)
    predictor = Predictor(RedSegmenter(NAMES), device="cpu", memory_format=memory_format)
    ids = predictor.predict(rgb)
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, rgb[..., 0] % 3)
    assert np.array_equal(predictor.predict(rgb[:, ::-1]), ids[:, ::-1])  # views with negative strides are fine


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((3, 4, 4), np.uint8)])
def test_predict_refuses_other_forms(predictor: Predictor, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"uint8 \[H, W, 3\] in RGB order; found"):
        predictor.predict(wrong)


def test_the_predictor_switches_its_model_and_refuses_multi_label_spaces() -> None:
    model = RedSegmenter(NAMES).train()
    assert not Predictor(model, device="cpu").segmenter.training
    model.labels = replace(model.labels, exclusive=False)
    with pytest.raises(UserError, match="multi-label"):
        Predictor(model, device="cpu")


def test_one_picture_becomes_three_files(predictor: Predictor, tmp_path: Path) -> None:
    rgb = save(tmp_path / "street.png")
    [result] = predict_paths(predictor, tmp_path / "street.png", tmp_path / "out")
    ids = rgb[..., 0] % 3
    assert files_in(tmp_path / "out") == ["street_color.png", "street_ids.png", "street_overlay.png"]
    mode, raw = read_raw(result.outputs["ids"])
    assert (mode, raw.tolist()) == ("L", ids.tolist())
    mode, raw = read_raw(result.outputs["color"])
    assert (mode, raw.tolist()) == ("P", ids.tolist())
    with Image.open(result.outputs["color"]) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), predictor.labels.colorize(ids))
    mode, drawn = read_raw(result.outputs["overlay"])
    assert mode == "RGB"
    assert drawn.shape[0] > 24  # the legend strip is below
    assert (result.height, result.width, result.source) == (24, 40, tmp_path / "street.png")
    assert result.shares == {
        name: (ids == k).mean() for k, name in sorted(enumerate(NAMES), key=lambda e: -(ids == e[0]).sum())
    }


def test_overlay_mixes_picture_and_class_colours(predictor: Predictor, tmp_path: Path) -> None:
    flat = np.zeros((30, 50, 3), np.uint8)
    flat[:, 25:, 0] = 1  # left class 0 (red), right class 1 (green); no outline away from the middle
    flat[..., 1:] = 100
    save(tmp_path / "a.png", flat)

    def drawn(opacity: float) -> NDArray[np.uint8]:
        out = tmp_path / str(opacity)
        [result] = predict_paths(predictor, tmp_path / "a.png", out, write=["overlay"], opacity=opacity, legend=False)
        return read_raw(result.outputs["overlay"])[1]

    assert np.array_equal(drawn(0.0), flat)
    colors = predictor.labels.colorize(flat[..., 0])
    assert np.array_equal(drawn(1.0), colors)
    half = drawn(0.5)
    assert half.shape == flat.shape
    expected = (flat[15, 5].astype(int) + colors[15, 5]) / 2
    assert np.abs(half[15, 5] - expected).max() <= 1
    assert (
        np.abs(half[15, 24].astype(int) - colors[15, 24]).sum() < np.abs(half[15, 5].astype(int) - colors[15, 5]).sum()
    )


def test_folders_keep_their_structure_and_results_are_replaced(predictor: Predictor, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    rgb = save(source / "city" / "b.png")
    save(source / "a.png")
    (source / "notes.txt").write_text("not a picture")
    save(source / ".hidden" / "c.png")
    steps: list[tuple[int, int]] = []
    files = predict_paths(predictor, source, out, write=["ids"], progress=lambda *step: steps.append(step))
    assert files_in(out) == ["a_ids.png", "city/b_ids.png"]
    assert steps == [(1, 2), (2, 2)]
    assert [f.source for f in files] == [source / "a.png", source / "city" / "b.png"]
    save(source / "city" / "b.png", rgb + 1)
    predict_paths(predictor, source, out, write=["ids"])
    assert np.array_equal(read_raw(out / "city" / "b_ids.png")[1], (rgb + 1)[..., 0] % 3)
    assert files_in(out) == ["a_ids.png", "city/b_ids.png"]  # no temporary file stays


def test_results_inside_the_source_are_not_predicted_again(predictor: Predictor, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for _ in range(2):
        files = predict_paths(predictor, tmp_path, tmp_path / "results")
        assert [f.source.name for f in files] == ["a.png"]
    with pytest.raises(UserError, match="Choose another folder"):
        predict_paths(predictor, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "a.jpg", "b.png"], ["a.jpg_ids.png", "a.png_ids.png", "b_ids.png"]),
        (["a.png", "a.jpg", "a.jpg.png"], ["a.jpg.png_ids.png", "a.jpg_ids.png", "a.png_ids.png"]),
        (["straße 日本.png", "x.y.png"], ["straße 日本_ids.png", "x.y_ids.png"]),
    ],
)
def test_pictures_never_overwrite_each_other(
    predictor: Predictor, tmp_path: Path, names: Sequence[str], expected: Sequence[str]
) -> None:
    for name in names:
        save(tmp_path / "in" / name)
    files = predict_paths(predictor, tmp_path / "in", tmp_path / "out", write=["ids"])
    assert files_in(tmp_path / "out") == sorted(expected)
    for file in files:
        with Image.open(file.source) as image:
            assert np.array_equal(read_raw(file.outputs["ids"])[1], np.asarray(image)[..., 0] % 3)


def test_bad_pictures_are_reported_after_the_good_ones_are_written(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in"
    save(source / "a.png")
    save(source / "c.png")
    (source / "b.png").write_bytes((source / "a.png").read_bytes()[:200])
    (source / "d.jpg").write_text("hello")
    with pytest.raises(DataError) as caught:
        predict_paths(predictor, source, tmp_path / "out", write=["color"])
    message = str(caught.value)
    assert message.startswith(
        f"2 of 4 pictures could not be read; the results of the other 2 are in {tmp_path / 'out'}."
    )
    assert "b.png" in message
    assert "d.jpg" in message
    assert files_in(tmp_path / "out") == ["a_color.png", "c_color.png"]


def test_a_single_bad_picture_gives_its_own_message(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"bad\.png"):
        predict_paths(predictor, tmp_path / "bad.png", tmp_path / "out")


def test_wrong_arguments_are_refused_before_anything_is_written(predictor: Predictor, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    wrong: dict[str, dict[str, object]] = {
        "write holds 'masks'; allowed are overlay, color, ids": {"write": ["masks"]},
        "write is empty": {"write": []},
        "opacity is 50; allowed are 0": {"opacity": 50},
        "overlay_format is 'gif'": {"overlay_format": "gif"},
    }
    for message, options in wrong.items():
        with pytest.raises(UserError, match=message):
            predict_paths(predictor, tmp_path / "a.png", tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="does not exist"):
        predict_paths(predictor, tmp_path / "b.png", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        predict_paths(predictor, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="a file of that name is in the way"):
        predict_paths(predictor, tmp_path / "a.png", tmp_path / "a.png")
    assert not (tmp_path / "out").exists()


def test_jpeg_overlays_and_legends_in_any_size(tmp_path: Path) -> None:
    names = tuple(f"class number {k} with a rather long name" for k in range(60))
    predictor = Predictor(RedSegmenter(names), device="cpu")
    for size in ((1, 1), (40, 30), (300, 700)):
        save(tmp_path / "a.png", random_rgb(*size, 1))
        [result] = predict_paths(
            predictor, tmp_path / "a.png", tmp_path / "out", overlay_format="jpg", write=["overlay"]
        )
        with Image.open(result.outputs["overlay"]) as image:
            assert image.format == "JPEG"
            assert image.height > size[0]
            assert image.width >= size[1]


def test_shares_of_all_pictures_weigh_by_pixels(predictor: Predictor, tmp_path: Path) -> None:
    big, small = np.zeros((20, 20, 3), np.uint8), np.ones((10, 10, 3), np.uint8)
    save(tmp_path / "in" / "big.png", big)
    save(tmp_path / "in" / "small.png", small)
    files = predict_paths(predictor, tmp_path / "in", tmp_path / "out", write=["ids"])
    assert mean_shares(files) == {"road": 0.8, "car": 0.2}
    assert mean_shares([]) == {}


def test_turned_pictures_come_out_upright(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by 90 degrees
    Image.fromarray(random_rgb(20, 30, 0)).save(tmp_path / "phone.jpg", exif=exif)
    [result] = predict_paths(predictor, tmp_path / "phone.jpg", tmp_path / "out", legend=False)
    assert (result.height, result.width) == (30, 20)
    assert read_raw(result.outputs["overlay"])[1].shape == (30, 20, 3)


def test_find_pictures_lists_each_once_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "sub/c.jpeg"):
        save(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in find_pictures(tmp_path)] == ["a.PNG", "b.png", "c.jpeg"]


class Unsure(RedSegmenter):
    """As RedSegmenter, and the surer the redder: the best score is red / 32, the others are 0."""

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        best = torch.nn.functional.one_hot(self.ids(image_BCHW).long(), self.num_classes).movedim(-1, 1)
        return best * image_BCHW[:, :1] / 32


def test_it_abstains_where_confidence_is_lower(tmp_path: Path) -> None:
    rgb = save(tmp_path / "a.png", random_rgb(40, 60, 3))
    red = rgb[..., 0].astype(np.float32)
    confidence = 1 / (1 + 2 * np.exp(-red / 32))
    predictor = Predictor(Unsure(NAMES), device="cpu", abstain_below=0.9)
    [result] = predict_paths(predictor, tmp_path / "a.png", tmp_path / "out", legend=False)
    silent = confidence < 0.9
    ids = read_raw(result.outputs["ids"])[1]
    assert np.array_equal(ids, np.where(silent, 255, rgb[..., 0] % 3))
    assert np.array_equal(read_raw(result.outputs["color"])[1], ids)
    assert result.abstained == pytest.approx(silent.mean())
    assert mean_abstained([result, result]) == pytest.approx(silent.mean())
    drawn = read_raw(result.outputs["overlay"])[1]
    same = (drawn[silent] == rgb[silent]).all(1)
    assert 0.6 < same.mean() < 0.9  # the picture, under grey lines
    assert (drawn[silent][~same] == 160).all()
    assert sum(mean_shares([result]).values()) == pytest.approx(1)


@pytest.mark.parametrize("below", [0, -0.1, 1.01, float("nan")])
def test_a_confidence_is_a_share(below: float) -> None:
    with pytest.raises(UserError, match="allowed are confidences above 0 and up to 1"):
        Predictor(RedSegmenter(NAMES), device="cpu", abstain_below=below)
