"""The whole way of doubted labels: folds find planted errors, marks become masks, a recipe reads them, originals stay."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from segwright import api
from segwright.build import build_dataset, build_space
from segwright.cli import main
from segwright.contracts import IGNORE, DataError, UserError
from segwright.data.splits import read_splits
from segwright.evaluation.label_errors import LabelRegion
from segwright.evaluation.label_files import MARKS_FORMAT, Review, read_review
from segwright.evaluation.label_fixes import apply_marks
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelClass, LabelSpace
from segwright.metrics.intervals import miou_interval
from segwright.recipe import Data, load_recipe
from segwright.training.crossval import train_round
from segwright.training.folds import WINNER, Settings, new_crossvalidation
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
SIDE = 12
FAST = [
    "training.epochs=6",
    "training.val_every=3",
    "training.accumulation=1",
    "training.batch=2",
    "training.ema_decay=null",
    "augmentation.name=none",
    "augmentation.size=[48,64]",
    "augmentation.args={}",
    "loss.args={}",
]


@dataclass(frozen=True)
class Planted:
    """A square of wrong labels in the mask of a picture."""

    picture: str
    top: int
    left: int
    label: int


@dataclass(frozen=True)
class Study:
    """A cross-validation over pictures with planted errors, and the search in it."""

    root: Path
    recipe: Path
    runs: Path
    planted: tuple[Planted, ...]
    found: api.label_errors.LabelErrors


def plant(root: Path, count: int) -> tuple[Planted, ...]:
    rng = np.random.default_rng(5)
    planted = []
    for index in range(count):
        file = root / "train" / "masks" / f"train_{index:02d}.png"
        mask = np.array(Image.open(file))
        top, left = int(rng.integers(0, 48 - SIDE)), int(rng.integers(0, 64 - SIDE))
        square = mask[top : top + SIDE, left : left + SIDE]
        label = (int(np.bincount(square.ravel(), minlength=3).argmax()) + 1 + index % 2) % 3
        square[:] = label
        Image.fromarray(mask).save(file)
        planted.append(Planted(file.stem, top, left, label))
    return tuple(planted)


def digest(root: Path) -> dict[str, str]:
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(root.rglob("*.png"))}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("doubts")
    root = write_pictures(folder / "data", train=12, val=1)
    planted = plant(root, 10)
    recipe = write_recipe(folder, root)
    settings = Settings(source="tiny", folds=2, by="plain", common="val", test=None, per_stage=False, processes=1)
    crossval = new_crossvalidation(load_recipe(recipe, FAST), settings, name="cv", runs=folder / "runs", console=QUIET)
    train_round(crossval, crossval.rounds[0], QUIET)
    shutil.copy(crossval.rounds[0].fold(1).best, crossval.path / WINNER)
    found = api.find_label_errors("cv", runs=folder / "runs", top=30, console=QUIET)
    yield Study(root, recipe, folder / "runs", planted, found)
    torch.set_num_threads(threads)


def hits(region: LabelRegion, one: Planted) -> bool:
    box = region.box
    apart = box.top >= one.top + SIDE or box.bottom <= one.top or box.left >= one.left + SIDE or box.right <= one.left
    return region.picture == one.picture and region.truth == one.label and not apart


def marks_file(path: Path, review: Review, marks: Any, **changes: Any) -> Path:
    path.write_text(json.dumps({"format": MARKS_FORMAT, "regions": review.fingerprint, "marks": marks} | changes))
    return path


def command(*words: str) -> int:
    """Run the command line; its exit code."""
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    return int(caught.value.code or 0)


def test_folds_find_what_was_planted(study: Study) -> None:
    lead = study.found.regions[:20]
    assert sum(any(hits(region, one) for region in lead) for one in study.planted) >= 8
    splits = read_splits(study.runs / "cv" / "folds.json")
    assert all(region.picture in splits.splits[region.part] for region in lead)
    assert [r.rank for r in study.found.regions] == list(range(1, len(study.found.regions) + 1))
    again = read_review(study.found.path)
    assert (again.regions, again.fingerprint) == (study.found.regions, study.found.review.fingerprint)
    with (study.found.path / "regions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["picture"] for row in rows] == [r.picture for r in study.found.regions]
    assert {row["truth"] for row in rows} <= {"ground", "red", "green"}


def test_marks_become_masks_that_a_recipe_reads(study: Study, tmp_path: Path) -> None:
    before = digest(study.root)
    names = study.found.review.space.class_names
    wrong = [r for r in study.found.regions if any(hits(r, one) for one in study.planted)]
    out_of, corrected, kept = wrong[0], wrong[1], study.found.regions[-1]
    marks = [
        {"rank": out_of.rank, "mark": "wrong", "label": None},
        {"rank": corrected.rank, "mark": "wrong", "label": names[corrected.predicted]},
        {"rank": kept.rank, "mark": "right", "label": None},
    ]
    file = marks_file(tmp_path / "marks.json", study.found.review, marks)
    done = api.apply_label_marks(file, tmp_path / "new", review=study.found.path, console=QUIET)
    assert digest(study.root) == before
    assert (done.ignored, done.corrected, done.pictures) == (out_of.pixels, corrected.pixels, 13)
    assert len(list((tmp_path / "new" / "masks").rglob("*.png"))) == done.masks
    data = Data(name="list_file", root=str(done.list_file), labels=str(done.labels_file), train="train", val="val")
    for split in ("train", "val"):
        new = build_dataset(data, split, build_space(data.labels))
        old_data = Data.model_validate(study.found.review.about["data"])
        old = build_dataset(old_data, split, build_space(old_data.labels))
        assert list(new.names) == list(old.names)
        for index, name in enumerate(new.names):
            expected = old[index].labels
            assert expected is not None
            expected = expected.copy()
            for region, label in ((out_of, IGNORE), (corrected, corrected.predicted)):
                if region.picture == name:
                    box = region.box
                    expected[box.top : box.bottom, box.left : box.right][region.mask] = label
            np.testing.assert_array_equal(new[index].labels, expected)
    changes = (tmp_path / "new" / "changes.csv").read_text()
    assert changes.count("\n") == 3
    assert "left out" in changes


def test_unsure_regions_are_left_out_on_request(study: Study, tmp_path: Path) -> None:
    marks = [{"rank": 1, "mark": "unsure", "label": None}]
    file = marks_file(study.found.path / "marks.json", study.found.review, marks)
    with pytest.raises(UserError, match="no region is marked wrong"):
        api.apply_label_marks(file, tmp_path / "no", console=QUIET)
    done = api.apply_label_marks(file, tmp_path / "yes", unsure=True, console=QUIET)
    assert (done.ignored, done.corrected, done.masks) == (study.found.regions[0].pixels, 0, 1)


@pytest.mark.parametrize(
    ("marks", "changes", "told"),
    [
        ([], {"regions": "0" * 16}, "belong to other regions"),
        ([], {"format": "x"}, "found format 'x'"),
        ({}, {}, "`marks` is dict; expected a list"),
        ([{"rank": 999, "mark": "wrong"}], {}, "there is no region of rank 999"),
        ([{"rank": 1, "mark": "wrnog"}], {}, "allowed are wrong, right, unsure"),
        ([{"rank": 1, "mark": "wrong", "label": "grund"}], {}, "Did you mean 'ground'"),
        ([{"rank": 1, "mark": "wrong"}, {"rank": 1, "mark": "right"}], {}, "marked 2 times"),
        (["wrong"], {}, "expected an object"),
    ],
)
def test_marks_that_cannot_be_are_refused(
    study: Study, tmp_path: Path, marks: Any, changes: dict[str, Any], told: str
) -> None:
    file = marks_file(tmp_path / "marks.json", study.found.review, marks, **changes)
    with pytest.raises(UserError, match=told):
        api.apply_label_marks(file, tmp_path / "new", review=study.found.path, console=QUIET)
    assert not (tmp_path / "new").exists()


def test_masks_that_changed_since_are_refused(study: Study, tmp_path: Path) -> None:
    region = study.found.regions[0]
    file = study.root / "train" / "masks" / f"{region.picture}.png"
    before = file.read_bytes()
    marks = marks_file(tmp_path / "marks.json", study.found.review, [{"rank": 1, "mark": "wrong"}])
    try:
        Image.fromarray(np.full((48, 64), (region.truth + 1) % 3, np.uint8)).save(file)
        with pytest.raises(DataError, match="The mask has changed since the search"):
            api.apply_label_marks(marks, tmp_path / "new", review=study.found.path, console=QUIET)
    finally:
        file.write_bytes(before)


def test_a_damaged_search_is_refused(study: Study, tmp_path: Path) -> None:
    text = (study.found.path / "regions.json").read_text()
    content = json.loads(text)
    content["regions"][0]["pixels"] += 1
    (tmp_path / "regions.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="do not have its fingerprint"):
        read_review(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_review(tmp_path / "none")


def test_a_run_judges_only_what_it_was_not_trained_on(study: Study, tmp_path: Path) -> None:
    fold = study.runs / "cv" / "fold1"
    usual = api.find_label_errors(fold, tmp_path / "own", console=QUIET)
    expected = [r for r in study.found.regions if r.part == "fold1"]
    assert [(r.picture, r.box) for r in usual.regions][: len(expected)] == [(r.picture, r.box) for r in expected]
    with pytest.raises(UserError, match="trained on 6 of the pictures of 'not-fold1'"):
        api.find_label_errors(fold, tmp_path / "no", splits=["not-fold1"], console=QUIET)
    seen = api.find_label_errors(fold, tmp_path / "seen", splits=["not-fold1"], seen=True, console=QUIET)
    assert "The model has seen these labels" in seen.page.read_text(encoding="utf-8")
    assert "The model has seen these labels" not in study.found.page.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="name the splits one by one"):
        api.find_label_errors("cv", tmp_path / "no", splits=["all"], runs=study.runs, console=QUIET)
    val = api.find_label_errors("cv", tmp_path / "val", splits=["val"], runs=study.runs, console=QUIET)
    assert {r.part for r in val.regions} <= {"val"}
    with pytest.raises(UserError, match="--seen is for runs"):
        api.find_label_errors("cv", seen=True, runs=study.runs, console=QUIET)


def test_the_report_says_what_doubted_labels_would_be_worth(study: Study, tmp_path: Path) -> None:
    run = tmp_path / "fold1"
    shutil.copytree(study.runs / "cv" / "fold1", run)
    before = api.write_report(run, console=QUIET).read_text(encoding="utf-8")
    api.find_label_errors(run, console=QUIET)
    after = api.write_report(run, console=QUIET).read_text(encoding="utf-8")
    assert "Doubted labels" not in before
    assert "Doubted labels" in after


def test_the_command_line_finds_and_applies(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("data", "errors", str(study.runs / "cv"), "-o", str(tmp_path / "out"), "--top", "3", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["regions"]) == 3
    assert told["found"] >= 3
    review = read_review(tmp_path / "out")
    file = marks_file(tmp_path / "out" / "marks.json", review, [{"rank": 2, "mark": "wrong", "label": None}])
    assert command("data", "errors", "--apply", str(file), "-o", str(tmp_path / "new")) == 0
    text = capsys.readouterr().out
    assert f"{review.regions[1].pixels} pixels left out" in text
    assert "data.name=list_file" in text
    for words, expected in (
        (["data", "errors"], "what to search is missing"),
        (["data", "errors", "--apply", str(file)], "needs a new folder"),
        (["data", "errors", "x", "--unsure"], "says what --apply"),
        (["data", "errors", "--apply", str(file), "--seen", "-o", "x"], "belong to the search"),
    ):
        assert command(*words) == 2
        assert expected in " ".join(capsys.readouterr().err.split())


def test_a_crossvalidation_is_scored_out_of_fold(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    pooled = api.evaluate("cv", runs=study.runs, console=QUIET)
    assert pooled.names == tuple(f"train_{n:02d}" for n in range(12))
    for number in (1, 2):
        one = api.evaluate(study.runs / "cv" / f"fold{number}", measures=("none",), console=QUIET)
        rows = [pooled.names.index(name) for name in one.names]
        np.testing.assert_array_equal(pooled.counts_NKK[rows], one.counts_NKK)
    interval = miou_interval(pooled.counts_NKK, pooled.groups, protocol=pooled.protocol)
    told = pooled.measures["intervals"]["miou"]
    assert (told["value"], told["low"], told["high"]) == (interval.value, interval.low, interval.high)
    assert told["value"] == pytest.approx(pooled.miou)
    assert {"boundary", "calibration"} <= set(pooled.measures)
    assert all(len(rows) == 12 for rows in pooled.arrays.values())
    kept = Evaluation.load(study.runs / "cv" / "evaluation" / "out-of-fold.json")
    assert kept.miou == pooled.miou
    assert command("evaluate", str(study.runs / "cv"), "--measure", "none") == 0
    assert "Each picture was predicted by the fold that held it out" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match="scored on what its folds held out"):
        api.evaluate("cv", split="val", runs=study.runs, console=QUIET)


def test_measures_of_pooled_folds_are_those_of_all_pictures(study: Study) -> None:
    """One model on all pictures gives the same measures as two halves put together."""
    from segwright.evaluation.out_of_fold import pool

    fold = study.runs / "cv" / "fold1"
    halves = [api.evaluate(fold, split=f"fold{n}", console=QUIET) for n in (1, 2)]
    order = sorted(name for half in halves for name in half.names)
    whole = pool(halves, name="both", order=order)
    file = fold / "checkpoints" / "best.safetensors"
    keys = ["data.name=paired_folders", f"data.root={study.root}", "data.split_file=null"]
    once = api.evaluate(file, keys, split="train", console=QUIET)
    assert once.names == whole.names
    np.testing.assert_array_equal(once.counts_NKK, whole.counts_NKK)
    for key, rows in once.arrays.items():
        np.testing.assert_array_equal(whole.arrays[key], rows)
    with pytest.raises(UserError, match="do not hold out different pictures"):
        pool([halves[0], halves[0]], name="twice", order=order)


def test_colours_and_16_bit_numbers_keep_their_coding(tmp_path: Path) -> None:
    def space(encoding: str, values: tuple[int, int], ignored: tuple[LabelClass, ...] = ()) -> LabelSpace:
        classes = tuple(
            LabelClass(name=name, values=(value,), color=(value & 255, 0, 9))
            for name, value in zip("ab", values, strict=True)
        )
        return LabelSpace(name="s", title="S", classes=classes, ignored=ignored, encoding=encoding)  # type: ignore[arg-type]

    void = (LabelClass(name="void", values=(0x0A0B0C,), color=(0, 0, 0)),)
    for kind, own in (("rgb", space("rgb", (0xFF0000, 0x00FF00), void)), ("wide", space("index", (7, 1000)))):
        root = tmp_path / kind
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        ids = np.zeros((8, 8), np.uint8)
        ids[2:6, 2:7] = 1
        values = np.array([own.classes[i].values[0] for i in (0, 1)])[ids]
        raw = np.stack([values >> 16, values >> 8 & 255, values & 255], 2).astype(np.uint8)
        Image.fromarray(raw if kind == "rgb" else values.astype(np.uint16)).save(root / "masks" / "x.png")
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / "images" / "x.png")
        data = Data(name="paired_folders", root=str(root), labels=own.to_dict(), train="all", val="all")
        from segwright.evaluation.hardest import Box

        region = LabelRegion(
            rank=1, part="all", picture="x", truth=1, predicted=0, box=Box(2, 2, 6, 7), runs=(0, 20), pixels=20,
            core=1, confidence=1.0, given=0.0, score=1.0,
        )  # fmt: skip
        about = {"data": data.model_dump(mode="json"), "splits": ["all"]}
        review = Review(regions=(region,), space=own, about=about)
        for label, expected in ((None, IGNORE), ("a", 0)):
            done = apply_marks(review, {1: label}, tmp_path / f"{kind}-{label}")
            read = build_space(str(done.labels_file))
            new = build_dataset(
                Data(name="list_file", root=str(done.list_file), labels=str(done.labels_file), train="all", val="all"),
                "everything",
                read,
            )
            found = new[0].labels
            assert found is not None
            assert (found[2:6, 2:7] == expected).all()
            assert (found[ids == 0] == 0).all()
            assert yaml.safe_load(done.labels_file.read_text())["ignored"]


def test_drawn_masks_have_no_files_to_correct(tmp_path: Path) -> None:
    data = Data(
        name="streets", root=None, labels="cityscapes19", train="train", val="val",
        args={"count": {"train": 1, "val": 1}, "size": [64, 128]},
    )  # fmt: skip
    review = Review(
        regions=(), space=build_space("cityscapes19"), about={"data": data.model_dump(mode="json"), "splits": ["train"]}
    )
    with pytest.raises(UserError, match="drawn when they are read"):
        apply_marks(review, {1: None}, tmp_path / "new")
