"""Submissions: what is written scores as the model does, also by the official script; every fault is found."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official  # noqa: N813
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from segwright import api, cli
from segwright.contracts import DataError, UserError
from segwright.data.reading import read_image
from segwright.data.streets.writing import scene_files, write_streets
from segwright.data.unlabelled import unlabelled_pictures
from segwright.evaluation.submission import FORMS, voc_palette, write_submission
from segwright.evaluation.submission_check import check_submission
from segwright.labels import load_label_space
from segwright.models import Segmenter, build_architecture
from segwright.runs import Run
from tests.evaluation.compared_runs import make_run

QUIET = Console(quiet=True)
SCENES = 3


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("streets")
    write_streets(root, counts={"train": 0, "val": SCENES}, size=(96, 192), workers=1)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs"), "run")


@pytest.fixture(scope="module")
def written(run: Run, streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("submitted") / "out"
    found = api.submit(
        run.path, out, [f"data.root={streets}"], form="cityscapes", split="val", device="cpu", console=QUIET
    )
    assert (found.pictures, found.never) == (SCENES, ())
    return out


def test_what_is_written_scores_as_the_model_does(
    run: Run, streets: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = [f"data.root={streets}"]
    model = api.evaluate(
        run.best,
        ["data.name=cityscapes", *root],
        protocol="cityscapes",
        measures=["none"],
        device="cpu",
        console=QUIET,
    )
    files = api.evaluate(None, root, predictions=written, protocol="cityscapes", measures=["none"], console=QUIET)
    assert np.array_equal(files.counts_NKK, model.counts_NKK)
    assert files.missed_NK is None
    assert (files.miou, dict(files.official)) == (model.miou, dict(model.official))
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # its name before NumPy 2.4
    for name, value in (
        ("quiet", True),
        ("JSONOutput", False),
        ("predictionPath", str(written)),
        ("predictionWalk", None),
    ):
        monkeypatch.setattr(official.args, name, value)
    truths = sorted(
        (str(scene_files(streets, "val", i)["labelIds"]) for i in range(SCENES)), key=lambda p: Path(p).name
    )
    expected = official.evaluateImgLists(
        [official.getPrediction(official.args, t) for t in truths], truths, official.args
    )
    assert expected["averageScoreClasses"] == model.miou
    assert expected["averageScoreInstClasses"] == model.official["averages"]["iiou"]


def test_the_check_passes_what_was_written_and_the_archive_holds_it(
    streets: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = api.check_submission(written, [f"data.root={streets}"], form="cityscapes", split="val", console=QUIET)
    assert (found.files, found.problems, found.complete) == (SCENES, (), True)
    with zipfile.ZipFile(written / "cityscapes.zip") as archive:
        assert sorted(archive.namelist()) == sorted(p.name for p in written.glob("*.png"))
    with pytest.raises(SystemExit, match="0"):
        cli.main(["submit", "--check", str(written), "--format", "cityscapes"])
    assert "names, sizes and completeness were not checked: add data.root=DIR" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="3"):
        cli.main(["submit", "--check", str(written), "--format", "voc"])
    assert "is a grey PNG; wanted is a palette PNG" in capsys.readouterr().err


def test_all_faults_are_listed_at_once(streets: Path, written: Path, tmp_path: Path) -> None:
    names = sorted(p.name for p in written.glob("*.png"))
    first, second, third = (np.array(Image.open(written / name)) for name in names)
    first[0, :4] = 255
    for values, name in ((first, names[0]), (second[:50], names[1]), (np.dstack([third] * 3), names[2])):
        Image.fromarray(values).save(tmp_path / name)
    Image.fromarray(second).save(tmp_path / "nowhere_000000_000001.png")
    Image.fromarray(third).save(tmp_path / (names[2].removesuffix(".png") + "_2.png"))
    Image.fromarray(third).convert("L").save(tmp_path / (names[1].removesuffix(".png") + "_x.jpg"))
    Image.fromarray(third.astype(np.uint16)).save(tmp_path / (names[0].removesuffix(".png") + "_16.png"))
    (tmp_path / (names[0].removesuffix(".png") + "_broken.png")).write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        api.check_submission(tmp_path, [f"data.root={streets}"], form="cityscapes", split="val", console=QUIET)
    text = str(caught.value)
    for fault in (
        "holds 255 (4 px); allowed are 0 to 33",
        "is 50×192 pixels (height × width), its picture 96×192",
        "is a RGB picture; wanted is one 8-bit number a pixel, not colours",
        "nowhere_000000_000001.png: no picture of the split has this name",
        "2 predictions for",
        "is a JPEG file named .jpg, not a PNG named .png",
        "has mode I;16; wanted is one 8-bit number a pixel",
        "_broken.png: cannot be read",
    ):
        assert fault in text, fault
    (tmp_path / names[1]).unlink()
    (tmp_path / (names[1].removesuffix(".png") + "_x.jpg")).unlink()
    with pytest.raises(DataError, match="no prediction for this picture"):
        api.check_submission(tmp_path, [f"data.root={streets}"], form="cityscapes", split="val", console=QUIET)


def test_train_ids_and_unshifted_ids_are_recognised(streets: Path, written: Path, tmp_path: Path) -> None:
    space = load_label_space("cityscapes19")
    train, zero = tmp_path / "train", tmp_path / "zero"
    train.mkdir()
    zero.mkdir()
    for path in written.glob("*.png"):
        ids = space.encode(np.array(Image.open(path)), source="x")
        Image.fromarray(ids).save(train / path.name)
        Image.fromarray(ids).save(zero / path.name)
    found = check_submission(train, FORMS["cityscapes"])
    assert "seem to be train ids (0 to 18, 255); wanted are label ids: 7 for road" in found.problems[0]
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(zero / "ADE_val_1.png")
    found = check_submission(zero, FORMS["ade20k"])
    assert "seem to be class ids; wanted is class id + 1 (1 to 150)" in found.problems[0]
    assert any("holds 0 (" in text for text in found.problems)
    assert check_submission(written, FORMS["kitti"]).problems == ()


def save(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


def kitti(root: Path, rgb: NDArray[np.uint8]) -> None:
    for name in ("000000_10", "000001_10", "000000_11"):
        save(root / "testing" / "image_2" / f"{name}.png", rgb)
    save(root / "training" / "image_2" / "000007_10.png", rgb)


def ade20k(root: Path, rgb: NDArray[np.uint8]) -> None:
    for name in ("ADE_test_00000001", "ADE_test_00000002"):
        save(root / "ADEChallengeData2016" / "release_test" / "testing" / f"{name}.jpg", rgb)


def voc(root: Path, rgb: NDArray[np.uint8]) -> None:
    lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text("2008_000001\n2008_000002\n")
    for name in ("2008_000001", "2008_000002"):
        save(lists.parent.parent / "JPEGImages" / f"{name}.jpg", rgb)


def names_in(archive: Path) -> list[str]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            return packed.namelist()
    with tarfile.open(archive) as packed_tar:
        return packed_tar.getnames()


@pytest.mark.parametrize(
    ("form", "make", "inner", "names"),
    [
        ("kitti", kitti, "semantic", ["000000_10", "000001_10"]),
        ("ade20k", ade20k, ".", ["ADE_test_00000001", "ADE_test_00000002"]),
        ("voc", voc, "results/VOC2012/Segmentation/comp6_test_cls", ["2008_000001", "2008_000002"]),
    ],
)
def test_each_servers_form(
    form: str, make: Callable[[Path, NDArray[np.uint8]], None], inner: str, names: list[str], tmp_path: Path
) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    make(tmp_path / "data", rgb)
    space = load_label_space(FORMS[form].space)
    torch.manual_seed(0)
    segmenter = Segmenter(
        build_architecture("small_cnn", space.num_classes, {}, where="model.args"),
        labels=space,
        model={"name": "small_cnn"},
    ).eval()
    pictures = unlabelled_pictures(FORMS[form].data_set, tmp_path / "data", "test")
    assert [one.name for one in pictures] == names
    found = write_submission(segmenter, pictures, FORMS[form], tmp_path / "out")
    assert check_submission(tmp_path / "out", FORMS[form], pictures).problems == ()
    assert sorted(names_in(found.archive)) == [(Path(inner) / f"{name}.png").as_posix() for name in names]
    for one in pictures:
        image = (
            torch.from_numpy(read_image(one.image)).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        )
        expected = space.decode(segmenter.ids(image)[0].numpy())
        with Image.open(tmp_path / "out" / inner / f"{one.name}.png") as file:
            assert np.array_equal(np.array(file), expected)
            assert file.mode == ("P" if form == "voc" else "L")
            if form == "voc":
                assert np.array_equal(np.array(file.getpalette()).reshape(-1, 3)[:21], space.palette[:21])


def test_the_palette_is_vocs() -> None:
    palette, space = voc_palette(), load_label_space("voc21")
    assert np.array_equal(palette[:21], space.palette[:21])
    assert palette[255].tolist() == list(space.ignored[0].color)


def test_ignored_classes_of_a_34_class_model_keep_their_ids(streets: Path, tmp_path: Path) -> None:
    space = load_label_space("cityscapes34")
    torch.manual_seed(1)
    segmenter = Segmenter(
        build_architecture("small_cnn", 34, {}, where="model.args"), labels=space, model={"name": "small_cnn"}
    ).eval()
    pictures = unlabelled_pictures("cityscapes", streets, "val")
    write_submission(segmenter, pictures, FORMS["cityscapes"], tmp_path / "out")
    values = np.array(Image.open(tmp_path / "out" / f"{pictures[0].name}.png"))
    assert values.max() < 34
    coarse = load_label_space("cityscapes7")
    other = Segmenter(build_architecture("small_cnn", 7, {}, where="x"), labels=coarse, model={"name": "small_cnn"})
    with pytest.raises(UserError, match="predictions in 'cityscapes7' cannot be told in 'cityscapes19'"):
        write_submission(other, pictures, FORMS["cityscapes"], tmp_path / "other")


def test_wrong_requests_say_what_to_do(
    run: Run, streets: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = [f"data.root={streets}"]
    for expected, options in (
        ("exists and is no empty folder", {"out": written, "form": "cityscapes", "split": "val"}),
        ("--format cityscape: unknown. Did you mean 'cityscapes'", {"form": "cityscape"}),
        ("split 'test' is not in .* found: val", {"form": "cityscapes"}),
        ("found no JPEGImages", {"form": "voc"}),
    ):
        with pytest.raises(UserError, match=expected):
            api.submit(run.path, **{"out": tmp_path / "out", "overrides": root, "console": QUIET, **options})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs its folder: set data.root=DIR"):
        api.submit(run.path, tmp_path / "out", form="kitti", console=QUIET)
    with pytest.raises(UserError, match="submit takes data.root=DIR alone"):
        api.submit(run.path, tmp_path / "out", ["data.val=x"], form="kitti", console=QUIET)
    with pytest.raises(UserError, match="holds no picture files"):
        check_submission(tmp_path, FORMS["voc"])
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (tmp_path / "JPEGImages").mkdir()
    (lists / "test.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="2 problems found"):
        unlabelled_pictures("voc", tmp_path, "test")
    for arguments, message in (
        (["submit", str(run.path)], "--format is missing"),
        (["submit", "--format", "voc"], "which model to submit is missing"),
        (["submit", "x", "--check", str(written), "--format", "voc"], "--check looks at files and takes no model"),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main(arguments)
        assert message in capsys.readouterr().err
