"""Folders of prediction files: matched, read, every fault listed at once, scored as the official script scores them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official  # noqa: N813
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from segwright import api, cli
from segwright.contracts import DataError, UserError
from segwright.data.streets.writing import scene_files, write_streets
from segwright.evaluation.prediction_files import match_files
from segwright.evaluation.result import Evaluation
from segwright.labels import load_label_space

SCENES = 3


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("streets")
    write_streets(root, counts={"train": 0, "val": SCENES}, size=(96, 192), workers=1)
    return root


@pytest.fixture
def label_ids(streets: Path, tmp_path: Path) -> Path:
    """Perturbed truth as label ids, void ids too."""
    folder = tmp_path / "predictions"
    for index in range(SCENES):
        truth = read(scene_files(streets, "val", index)["labelIds"])
        rng = np.random.default_rng(index)
        moved = np.roll(truth, (1, 3), (0, 1))
        write(folder, streets, index, np.where(rng.random(truth.shape) < 0.02, rng.integers(0, 34, truth.shape), moved))
    return folder


def read(path: Path) -> NDArray[Any]:
    return np.array(Image.open(path))


def file_of(folder: Path, streets: Path, index: int) -> Path:
    return folder / scene_files(streets, "val", index)["image"].name


def write(folder: Path, streets: Path, index: int, values: NDArray[Any]) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(file_of(folder, streets, index))


def scored(folder: Path, streets: Path, **options: Any) -> Evaluation:
    return api.evaluate(None, [f"data.root={streets}"], predictions=folder, console=Console(quiet=True), **options)


def test_the_official_script_gives_the_same_numbers(
    label_ids: Path, streets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # its name before NumPy 2.4
    monkeypatch.setattr(official.args, "quiet", True)
    monkeypatch.setattr(official.args, "JSONOutput", False)
    monkeypatch.setattr(official.args, "predictionPath", str(label_ids))
    monkeypatch.setattr(official.args, "predictionWalk", None)
    truths = [str(scene_files(streets, "val", index)["labelIds"]) for index in range(SCENES)]
    truths.sort(key=lambda path: Path(path).name)  # the order of ours: sums of floats have one
    expected = official.evaluateImgLists(
        [official.getPrediction(official.args, t) for t in truths], truths, official.args
    )
    found = scored(label_ids, streets, protocol="cityscapes")
    assert found.miou == expected["averageScoreClasses"]
    assert found.official["averages"] == {
        "iou": expected["averageScoreClasses"],
        "iiou": expected["averageScoreInstClasses"],
        "category_iou": expected["averageScoreCategories"],
        "category_iiou": expected["averageScoreInstCategories"],
    }
    for name, value in found.iou.items():
        assert value == expected["classScores"][name] or (value is None and np.isnan(expected["classScores"][name]))
    for name, both in found.official["classes"].items():
        assert both["iiou"] == expected["classInstScores"][name] or np.isnan(expected["classInstScores"][name])
    evaluated = found.space.decode(np.arange(19, dtype=np.uint8))
    assert np.array_equal(found.counts_KK, np.array(expected["confMatrix"])[np.ix_(evaluated, evaluated)])
    assert found.missed_NK is not None
    assert found.missed_NK.sum() + found.counts_KK.sum() == np.array(expected["confMatrix"])[evaluated].sum()
    text = json.dumps(found.to_dict())
    again = Evaluation.from_dict(json.loads(text))
    assert again.miou == found.miou
    assert np.array_equal(again.missed_NK, found.missed_NK)  # type: ignore[arg-type]


def test_threads_change_nothing_and_train_ids_need_to_be_said(label_ids: Path, streets: Path, tmp_path: Path) -> None:
    from segwright.data.cityscapes import Cityscapes
    from segwright.evaluation.predictions import evaluate_predictions

    space = load_label_space("cityscapes19")
    dataset = Cityscapes(streets, "val", space)
    one, two = (evaluate_predictions(label_ids, dataset, space, split="val", threads=n) for n in (1, 2))
    assert np.array_equal(one.counts_NKK, two.counts_NKK)
    train = tmp_path / "train"
    for index in range(SCENES):
        values = read(file_of(label_ids, streets, index))
        write(train, streets, index, space.encode(values, source="x"))
    with pytest.raises(
        DataError, match=r"seem to hold class ids \(train ids\), not label ids: read so, .* --prediction-ids"
    ):
        evaluate_predictions(train, dataset, space, split="val")
    assert np.array_equal(
        evaluate_predictions(train, dataset, space, split="val", ids="train").counts_NKK, one.counts_NKK
    )
    with pytest.raises(DataError, match="255 .* px.*, which label space 'cityscapes19' does not list"):
        evaluate_predictions(train, dataset, space, split="val", ids="label")
    with pytest.raises(UserError, match="--prediction-ids trains: allowed are label and train"):
        evaluate_predictions(train, dataset, space, split="val", ids="trains")


def test_colours_of_the_space_are_read(label_ids: Path, streets: Path, tmp_path: Path) -> None:
    space = load_label_space("cityscapes19")
    colored = tmp_path / "colored"
    for index in range(SCENES):
        ids = space.encode(read(file_of(label_ids, streets, index)), source="x")
        write(colored, streets, index, space.colorize(ids))
    plain, drawn = scored(label_ids, streets), scored(colored, streets)
    assert np.array_equal(plain.counts_NKK, drawn.counts_NKK)
    assert np.array_equal(plain.missed_NK, drawn.missed_NK)  # type: ignore[arg-type]


def test_all_faults_are_listed_at_once(label_ids: Path, streets: Path) -> None:
    first, second, third = (file_of(label_ids, streets, index) for index in range(SCENES))
    values = read(first)
    values[0, :5] = 99
    Image.fromarray(values).save(first)
    Image.fromarray(read(second)[:50]).save(second)
    Image.fromarray(np.full((96, 192, 3), 7, np.uint8)).save(third)
    Image.fromarray(values).save(label_ids / "somewhere_000000_000019.png")
    Image.fromarray(values).save(third.with_name(third.stem + "_2.png"))
    with pytest.raises(DataError) as caught:
        scored(label_ids, streets)
    text = str(caught.value)
    for fault in (
        "found 99 (5 px), which label space 'cityscapes19' does not list (label ids 0, 1, 2",
        "the prediction is 50×192 pixels (height × width), its picture 96×192",
        "somewhere_000000_000019.png: no picture of the split has this name",
        "2 predictions for",
    ):
        assert fault in text
    third.with_name(third.stem + "_2.png").unlink()
    with pytest.raises(
        DataError, match=r"the file holds colours, and 18432 px have none of 'cityscapes19', such as \[7, 7, 7\]"
    ):
        scored(label_ids, streets)
    third.unlink()
    with pytest.raises(DataError, match="no prediction for this picture"):
        scored(label_ids, streets)
    with pytest.raises(UserError, match="does not exist"):
        scored(label_ids / "none", streets)


def test_names_decide_and_drawings_are_left_out(tmp_path: Path) -> None:
    for name in (
        "a_1.png",
        "a_1_2_x.png",
        "b_ids.png",
        "b_color.png",
        "b_overlay.png",
        "b_entropy.png",
        "sub/c.png",
        "other/c.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = match_files(["a_1", "a_1_2", "b", "sub/c", "other/c"], tmp_path)
    assert found.problems == ()
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.files.items()} == {
        "a_1": "a_1.png",
        "a_1_2": "a_1_2_x.png",
        "b": "b_ids.png",
        "sub/c": "sub/c.png",
        "other/c": "other/c.png",
    }


def test_the_command_prints_the_protocols_own_scores(
    label_ids: Path, streets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "--predictions", str(label_ids), f"data.root={streets}", "--protocol", "cityscapes"]
    with pytest.raises(SystemExit, match="0"):
        cli.main(arguments)
    out = capsys.readouterr().out
    for text in (
        "iIoU",
        "flat (category)",
        "mean over categories",
        "Protocol cityscapes:",
        "instances",
        "predicted as no class",
    ):
        assert text in out
    with pytest.raises(SystemExit, match="0"):
        cli.main([*arguments, "--json", "--measure", "none"])
    content = json.loads(capsys.readouterr().out)
    assert set(content["measures"]["cityscapes"]["averages"]) == {"iou", "iiou", "category_iou", "category_iiou"}
    assert content["headline"]["mIoU"] == content["miou"]
