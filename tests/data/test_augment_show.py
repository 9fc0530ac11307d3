"""`segwright data show`: the sheet holds what was asked for, and mistakes are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright.cli import main
from segwright.contracts import IGNORE, UserError
from segwright.labels import load_label_space
from segwright.report.contact_sheet import Cell, contact_sheet

from .files import FOUR, mask, photo, save


def run(*words: str) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stopped:
        main([*words])
    return int(stopped.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures of 40×60 pixels in ROOT/images and ROOT/masks."""
    for seed in range(12):
        save(tmp_path / "data" / "images" / f"{seed:02d}.png", photo(40, 60, seed=seed))
        blocks = mask(5, 6, seed=seed).repeat(8, 0).repeat(10, 1)
        save(tmp_path / "data" / "masks" / f"{seed:02d}.png", blocks)
    return tmp_path / "data"


def test_a_sheet_of_originals_and_augmented_pictures(folder: Path, tmp_path: Path) -> None:
    shown = segwright.show_data(
        folder, tmp_path / "a.png", level="advanced", args={"mosaic_p": 1.0}, count=8, verify=True
    )
    assert shown.title == "paired_folders · advanced · train · 40x60"
    assert shown.problems == ()
    with Image.open(shown.path) as sheet:
        assert sheet.format == "PNG"
        assert abs(sheet.width - 1600) < 20
    again = segwright.show_data(folder, tmp_path / "b.png", level="advanced", args={"mosaic_p": 1.0}, count=8)
    assert again.path.read_bytes() == shown.path.read_bytes()
    other = segwright.show_data(folder, tmp_path / "c.png", level="advanced", count=8, seed=1)
    assert other.path.read_bytes() != shown.path.read_bytes()


def test_plain_shows_more_pictures_than_there_are(folder: Path, tmp_path: Path) -> None:
    plain = segwright.show_data(folder, tmp_path / "p.webp", plain=True, count=50, split="all")
    with Image.open(plain.path) as sheet:
        assert sheet.format == "WEBP"
        assert sheet.height > 3 * 250  # twelve pictures in three rows


def test_a_recipe_says_everything(folder: Path, tmp_path: Path) -> None:
    text = (Path(segwright.__file__).parent / "recipes" / "camvid-cpu.yaml").read_text("utf-8")
    labels = tmp_path / "four.yaml"
    labels.write_text(
        "name: four\ntitle: four\nclasses:\n"
        + "".join(f"  - {{name: c{k}, values: [{k}], color: [{60 * k}, 0, 90]}}\n" for k in range(4)),
        encoding="utf-8",
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        text.replace("name: camvid\n", "name: paired_folders\n")
        .replace("camvid11", str(labels))
        .replace("[256, 352]", "[32, 48]"),
        encoding="utf-8",
    )
    shown = segwright.show_data(folder, tmp_path / "r.png", recipe=recipe, args={"cutout_p": 1.0}, count=4)
    assert shown.title.endswith("standard · train · 32x48")
    with pytest.raises(UserError, match="cutout"):
        segwright.show_data(folder, tmp_path / "r.png", recipe=recipe, args={"cutout": 1.0})


def test_the_command_writes_and_tells(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    words = ["flip_p=1", "--count", "2", "--size", "24x32", "--verify", "-o", str(out)]
    assert run("data", "show", str(folder), *words) == 0
    assert out.is_file()
    text = capsys.readouterr().out
    assert "24x32" in text
    assert "picture and mask move together" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--level", "standrad"], "Did you mean 'standard'"),
        (["flipp=1"], "Did you mean 'flip_p'"),
        (["flip_p"], "not of the form key=value"),
        (["flip_p=2"], "flip_p is 2"),
        (["--split", "tain"], "unknown split 'tain'"),
        (["-o", "sheet.tiff"], "ends in .png, .jpg or .webp"),
        (["--recipe", "camvid-cpu", "--size", "8x8"], "leave these options out"),
        (["--level", "albumentations"], "augmentation.args.file"),
    ],
)
def test_mistakes_are_told(words: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "show", str(folder), *words) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_a_wrong_pipeline_fails_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segwright.data.augment.truth.check_pipeline", lambda augmentation: ["it lies"])
    assert run("data", "show", str(folder), "--verify", "--count", "1", "-o", str(tmp_path / "s.png")) == 2


def test_the_sheet_shows_classes_and_hatches_what_is_ignored() -> None:
    labels = np.full((60, 80), IGNORE, np.uint8)
    labels[:, :40] = 3
    cell = Cell(image=np.zeros((60, 80, 3), np.uint8), labels=labels, caption="a rather long name " * 20)
    sheet = contact_sheet([[cell, cell]], FOUR, title="t")
    colors = {tuple(c) for c in sheet.reshape(-1, 3)[::7].tolist()}
    assert (72, 0, 0) in colors  # 0.4 of class 3's colour
    assert len([c for c in colors if c[0] == c[1] == c[2] and 60 < c[0] < 110]) >= 2  # two greys of the hatching
    with pytest.raises(ValueError, match="max"):
        contact_sheet([], load_label_space("camvid11"), title="t")
