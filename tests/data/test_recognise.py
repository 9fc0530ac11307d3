"""Data sets told by their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from segwright.contracts import UserError
from segwright.data import DATASETS
from segwright.data.recognise import DEFAULT_LABELS, default_labels, recognise
from segwright.labels import load_label_space


@pytest.mark.parametrize(
    ("folders", "file", "name", "labels"),
    [
        ("leftImg8bit gtFine", "", "cityscapes", "cityscapes19"),
        ("leftImg8bit gtCoarse", "", "cityscapes", "cityscapes19"),
        ("train trainannot", "", "camvid", "camvid11"),
        ("701_StillsRaw_full LabeledApproved_full", "", "camvid", "camvid32"),
        ("VOCdevkit/VOC2012/JPEGImages", "", "voc", "voc21"),
        ("JPEGImages SegmentationClass ImageSets", "", "voc", "voc21"),
        ("training/image_2 training/semantic testing/image_2", "", "kitti", "kitti19"),
        ("Training_00/RGB Training_00/GT_ind", "", "kitti", "kitti11"),
        ("ADEChallengeData2016/images ADEChallengeData2016/annotations", "", "ade20k", "ade150"),
        ("images/training annotations/training", "images/training/ADE_train_1.jpg", "ade20k", "ade150"),
        ("images/train2017 stuffthingmaps/train2017", "", "cocostuff", "cocostuff171"),
        ("val2017 annotations/val2017", "", "cocostuff", "cocostuff171"),
        ("images annotations imageLists", "", "cocostuff", "cocostuff10k_mat"),
        ("TRAIN_VAL/images TRAIN_VAL/masks TEST/images TEST/masks", "", "suim", "suim8"),
        ("train_val/images train_val/masks", "", "suim", "suim8"),
        ("images masks", "masks/d_r_47_.bmp", "suim", "suim8"),
        ("images masks", "masks/a.png", "paired_folders", None),
        ("images/training annotations/training", "images/training/a.jpg", "paired_folders", None),
        ("train/images train/labels val/images val/labels", "", "paired_folders", None),
        ("photos truth", "", None, None),
        ("", "", None, None),
    ],
)
def test_layouts(tmp_path: Path, folders: str, file: str, name: str | None, labels: str | None) -> None:
    for folder in folders.split():
        (tmp_path / folder).mkdir(parents=True)
    if file:
        (tmp_path / file).touch()
    assert recognise(tmp_path) == name
    if name is not None:
        assert name in DATASETS
        assert default_labels(name, tmp_path) == labels


def test_the_users_own_labels_come_first(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").touch()
    assert default_labels("camvid", tmp_path) == str(tmp_path / "labels.yaml")


def test_default_label_spaces_exist() -> None:
    assert set(DEFAULT_LABELS) <= set(DATASETS)
    for name in {*DEFAULT_LABELS.values(), "camvid32", "kitti11", "cocostuff10k_mat"}:
        assert load_label_space(name).num_classes


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for path in (tmp_path / "none", tmp_path / "a.txt"):
        with pytest.raises(UserError, match="Give the folder"):
            recognise(path)
