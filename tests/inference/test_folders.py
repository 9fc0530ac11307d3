"""Predicting files: exact ids, honest errors, nothing lost, and going on where it stopped."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import DataError, UserError
from segwright.inference.folders import find_pictures, mean_abstained, mean_shares, predict_paths
from segwright.inference.outputs import Output
from segwright.inference.predictor import Predictor
from segwright.models.weights import save_segmenter
from tests.export.models import small_model
from tests.inference.fakes import RedSegmenter, Unsure, random_rgb

NAMES = ("road", "car", "sky")
RECORD = "predictions.jsonl"


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(RedSegmenter(NAMES), device="cpu")


def save(path: Path, rgb: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    rgb = random_rgb(24, 40, len(path.name)) if rgb is None else rgb
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return rgb


def files_in(folder: Path) -> list[str]:
    """Names of results below a folder, without the record."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != RECORD)


def read_raw(path: Path) -> tuple[str, NDArray[np.uint8]]:
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


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
        [result] = predict_paths(
            predictor, tmp_path / "a.png", out, Output(write=("overlay",), opacity=opacity, legend=False)
        )
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
    files = predict_paths(predictor, source, out, Output(write=("ids",)), progress=lambda *step: steps.append(step))
    assert files_in(out) == ["a_ids.png", "city/b_ids.png"]
    assert steps == [(1, 2), (2, 2)]
    assert [f.source for f in files] == [source / "a.png", source / "city" / "b.png"]
    save(source / "city" / "b.png", rgb + 1)
    predict_paths(predictor, source, out, Output(write=("ids",)))
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
    files = predict_paths(predictor, tmp_path / "in", tmp_path / "out", Output(write=("ids",)))
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
        predict_paths(predictor, source, tmp_path / "out", Output(write=("color",)))
    message = str(caught.value)
    assert message.startswith(
        f"2 of 4 pictures could not be predicted; the results of the other 2 are in {tmp_path / 'out'}."
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
    wrong: dict[str, dict[str, Any]] = {
        "write holds 'mask'; allowed are overlay, color, ids": {"write": ("mask",)},
        "write is empty": {"write": ()},
        "opacity is 50; allowed are 0": {"opacity": 50},
        "overlay_format is 'gif'": {"overlay_format": "gif"},
        "format is 'jpg'; allowed are png, npy, tif": {"format": "jpg"},
        "probabilities is 'fp8'; allowed are fp16, uint8": {"probabilities": "fp8"},
        "palette is 'pink'; allowed are official, safe": {"palette": "pink"},
    }
    for message, options in wrong.items():
        with pytest.raises(UserError, match=message):
            Output(**options)
    with pytest.raises(UserError, match="--batch is 0; allowed are 1 to 64"):
        predict_paths(predictor, tmp_path / "a.png", tmp_path / "out", batch=0)
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
            predictor, tmp_path / "a.png", tmp_path / "out", Output(overlay_format="jpg", write=("overlay",))
        )
        with Image.open(result.outputs["overlay"]) as image:
            assert image.format == "JPEG"
            assert image.height > size[0]
            assert image.width >= size[1]


def test_shares_of_all_pictures_weigh_by_pixels(predictor: Predictor, tmp_path: Path) -> None:
    big, small = np.zeros((20, 20, 3), np.uint8), np.ones((10, 10, 3), np.uint8)
    save(tmp_path / "in" / "big.png", big)
    save(tmp_path / "in" / "small.png", small)
    files = predict_paths(predictor, tmp_path / "in", tmp_path / "out", Output(write=("ids",)))
    assert mean_shares(files) == {"road": 0.8, "car": 0.2}
    assert mean_shares([]) == {}


def test_turned_pictures_come_out_upright(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by 90 degrees
    Image.fromarray(random_rgb(20, 30, 0)).save(tmp_path / "phone.jpg", exif=exif)
    [result] = predict_paths(predictor, tmp_path / "phone.jpg", tmp_path / "out", Output(legend=False))
    assert (result.height, result.width) == (30, 20)
    assert read_raw(result.outputs["overlay"])[1].shape == (30, 20, 3)


def test_find_pictures_lists_each_once_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "sub/c.jpeg"):
        save(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in find_pictures(tmp_path)] == ["a.PNG", "b.png", "c.jpeg"]


def test_it_abstains_where_confidence_is_lower(tmp_path: Path) -> None:
    rgb = save(tmp_path / "a.png", random_rgb(40, 60, 3))
    red = rgb[..., 0].astype(np.float32)
    confidence = 1 / (1 + 2 * np.exp(-red / 32))
    predictor = Predictor(Unsure(NAMES), device="cpu", abstain_below=0.9)
    [result] = predict_paths(predictor, tmp_path / "a.png", tmp_path / "out", Output(legend=False))
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


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / RECORD).read_text().splitlines()]


def test_pictures_of_one_size_are_predicted_together_and_written_in_order(tmp_path: Path) -> None:
    sizes = [(8, 12), (8, 12), (8, 12), (5, 7), (8, 12), (8, 12)]
    for index, size in enumerate(sizes):
        save(tmp_path / "in" / f"{index}.png", random_rgb(*size, index))
    (tmp_path / "in" / "1b.png").write_text("no picture")
    model = RedSegmenter(NAMES)
    steps: list[tuple[int, int]] = []
    with pytest.raises(DataError, match="1 of 7 pictures could not be predicted"):
        predict_paths(
            Predictor(model, device="cpu"),
            tmp_path / "in",
            tmp_path / "out",
            batch=3,
            progress=lambda *step: steps.append(step),
        )
    assert [len(seen) for seen in model.seen] == [2, 1, 1, 2]
    assert steps == [(done, 7) for done in range(1, 8)]
    for index, size in enumerate(sizes):
        assert np.array_equal(read_raw(tmp_path / "out" / f"{index}_ids.png")[1], random_rgb(*size, index)[..., 0] % 3)


@pytest.fixture
def half_done(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of six pictures, of which four are predicted."""
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(6):
        save(source / f"{index}.png", random_rgb(9, 13, index))
    held = [source / "4.png", source / "5.png"]
    for path in held:
        path.rename(path.with_suffix(".txt"))
    predict_paths(Predictor(RedSegmenter(NAMES), device="cpu"), source, out, model={"weights": "a"})
    for path in held:
        path.with_suffix(".txt").rename(path)
    return source, out


def resumed(source: Path, out: Path, output: Output | None = None, weights: str = "a") -> tuple[int, list[str]]:
    """How many pictures the model saw, and what was said."""
    model, said = RedSegmenter(NAMES), list[str]()
    files = predict_paths(
        Predictor(model, device="cpu"), source, out, output, resume=True, model={"weights": weights}, say=said.append
    )
    assert [f.source.name for f in files] == [f"{n}.png" for n in range(6)]
    for index, file in enumerate(files):
        ids = random_rgb(9, 13, index)[..., 0] % 3
        assert np.array_equal(read_raw(file.outputs["ids"])[1], ids)
        assert file.shares == {
            name: (ids == k).mean() for k, name in sorted(enumerate(NAMES), key=lambda e: -(ids == e[0]).sum())
        }
    return len(model.seen), said


def test_resume_leaves_out_what_is_finished(half_done: tuple[Path, Path]) -> None:
    source, out = half_done
    before = (out / "0_ids.png").stat().st_mtime_ns
    assert resumed(source, out) == (2, [])
    assert (out / "0_ids.png").stat().st_mtime_ns == before
    assert resumed(source, out) == (0, [])
    assert sorted(line["source"] for line in lines(out)[1:]) == [f"{n}.png" for n in range(6)]


def test_resume_makes_damaged_missing_and_changed_files_again(half_done: tuple[Path, Path]) -> None:
    source, out = half_done
    whole = (out / "0_overlay.png").read_bytes()
    (out / "0_overlay.png").write_bytes(whole[: len(whole) // 2])
    (out / "1_color.png").unlink()
    changed = bytearray((out / "2_ids.png").read_bytes())
    changed[-20] ^= 1
    (out / "2_ids.png").write_bytes(changed)
    os.utime(source / "3.png", ns=(1, 1))
    assert resumed(source, out)[0] == 6
    assert (out / "0_overlay.png").read_bytes() == whole


def test_resume_reads_a_record_that_broke_off(half_done: tuple[Path, Path]) -> None:
    source, out = half_done
    text = (out / RECORD).read_text()
    (out / RECORD).write_text(text[: len(text) - 40])  # in the middle of the last line
    assert resumed(source, out)[0] == 3
    (out / RECORD).write_bytes(b"\xff\xfe[]\n")
    assert resumed(source, out)[0] == 6


@pytest.mark.parametrize("change", ["weights", "options"])
def test_resume_starts_again_with_another_model_or_options(half_done: tuple[Path, Path], change: str) -> None:
    source, out = half_done
    output = Output(opacity=0.7) if change == "options" else None
    seen, [said] = resumed(source, out, output, "b" if change == "weights" else "a")
    assert seen == 6
    assert "is of another model or other options: every picture is predicted again" in said
    assert resumed(source, out, output, "b" if change == "weights" else "a")[0] == 0


def test_resume_after_a_crash_in_the_middle(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(6):
        save(source / f"{index}.png", random_rgb(9, 13, index))
    model = RedSegmenter(NAMES)

    def stop() -> None:
        if len(model.seen) == 3:
            raise KeyboardInterrupt

    model.before = stop
    with pytest.raises(KeyboardInterrupt):
        predict_paths(Predictor(model, device="cpu"), source, out, model={"weights": "a"})
    (out / ".3_ids.png.1a2b3c4d.tmp").write_bytes(b"half")  # what a process leaves that is killed while it writes
    assert resumed(source, out)[0] == 3
    assert not list(out.glob(".*"))


def test_a_disk_that_is_full_is_told_and_nothing_half_stays(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(4):
        save(source / f"{index}.png", random_rgb(9, 13, index) if index < 2 else random_rgb(300, 400, index))
    predictor = Predictor(RedSegmenter(NAMES), device="cpu")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))  # as where the disk has no room for larger files
    try:
        with pytest.raises(UserError, match=r"2_ids\.png cannot be written: .*stays.*--resume"):
            predict_paths(predictor, source, out, Output(write=("ids",)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert files_in(out) == ["0_ids.png", "1_ids.png"]
    predict_paths(predictor, source, out, Output(write=("ids",)), resume=True)
    assert files_in(out) == [f"{n}_ids.png" for n in range(4)]


def test_a_source_that_vanishes_is_told_once(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(9):
        save(source / f"{index}.png")
    model = RedSegmenter(NAMES)

    def vanish() -> None:
        if len(model.seen) == 2:
            shutil.move(source, tmp_path / "away")

    model.before = vanish
    with pytest.raises(DataError) as caught:
        predict_paths(Predictor(model, device="cpu"), source, out)
    assert "is gone after" in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert "go on with --resume" in str(caught.value)
    shutil.move(tmp_path / "away", source)
    model.before = lambda: None
    assert len(predict_paths(Predictor(model, device="cpu"), source, out, resume=True)) == 9
    assert 9 <= len(model.seen) <= 10


def test_a_picture_too_large_for_the_memory_does_not_stop_the_others(tmp_path: Path) -> None:
    for index, size in enumerate([(4, 4), (50, 60), (4, 4)]):
        save(tmp_path / "in" / f"{index}.png", random_rgb(*size, index))

    class Hungry(RedSegmenter):
        def ids(self, image_BCHW: Any) -> Any:
            if image_BCHW.shape[2] > 10:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
            return super().ids(image_BCHW)

    with pytest.raises(DataError, match=r"1\.png: the memory does not suffice for 50×60 pixels.*--window"):
        predict_paths(Predictor(Hungry(NAMES), device="cpu"), tmp_path / "in", tmp_path / "out", Output(write=("ids",)))
    assert files_in(tmp_path / "out") == ["0_ids.png", "2_ids.png"]


def test_a_name_without_room_for_a_result_does_not_stop_the_others(predictor: Predictor, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / f"{'b' * 246}.png")
    save(tmp_path / "in" / "c.png")
    with pytest.raises(DataError, match="1 of 3 pictures could not be predicted.*\n.*too long for a file"):
        predict_paths(predictor, tmp_path / "in", tmp_path / "out", Output(write=("overlay",)))
    assert files_in(tmp_path / "out") == ["a_overlay.png", "c_overlay.png"]


@pytest.mark.slow
def test_a_killed_prediction_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    save_segmenter(small_model(), tmp_path / "model.safetensors")
    for index in range(60):
        save(tmp_path / "in" / f"{index:02d}.png", random_rgb(200, 300, index))
    words = [sys.executable, "-m", "segwright.cli", "predict", tmp_path / "model.safetensors", tmp_path / "in", "-o"]
    process = subprocess.Popen([*words, tmp_path / "out"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("*_ids.png"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = {p: p.stat().st_mtime_ns for line in lines(tmp_path / "out")[1:] for p in files_of(line, tmp_path / "out")}
    assert 20 <= len(kept) < 180
    subprocess.run([*words, tmp_path / "out", "--resume"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*words, tmp_path / "whole"], check=True, stdout=subprocess.DEVNULL)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    for name in files_in(tmp_path / "whole"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def files_of(line: dict[str, Any], out: Path) -> list[Path]:
    return [out / name for name, _ in line["files"].values()]
