"""The data sets on disk: layouts, pairing, splits, and what is said when something is missing."""

from __future__ import annotations

import pickle
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.contracts import IGNORE, DataError, Dataset, UserError
from segwright.data import DATASETS, CamVid, Cityscapes, PairedFolders
from segwright.data.paired_folders import Pair, complete_splits, list_splits
from segwright.data.statistics import Tally
from segwright.labels import load_label_space

from .files import FOUR, mask, photo, save, write_pairs

CAMVID, CITYSCAPES = load_label_space("camvid11"), load_label_space("cityscapes19")
TRAIN_PIXELS = [
    10682767,
    14750079,
    623349,
    20076880,
    2845085,
    6166762,
    743859,
    714595,
    3719877,
    405385,
    184967,
    2503995,
]
"""PROTOCOLS section 3: pixels of classes 0..10 and of void in CamVid's train split."""


def fake_camvid(root: Path) -> Path:
    for name in ("0001TP_006690", "0006R0_f00930"):
        save(root / "train" / f"{name}.png", photo())
        save(root / "trainannot" / f"{name}.png", mask(values=range(12)))
    return root


def fake_cityscapes(root: Path) -> Path:
    for split, city in (("train", "alpha"), ("train", "beta"), ("val", "gamma")):
        for frame in range(2):
            name = f"{city}_000000_{frame:06d}"
            save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", photo(seed=frame))
            ids = mask(values=[0, 7, 26, 33], seed=frame)
            save(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", ids)
            instances = np.where(ids >= 26, ids.astype(np.uint16) * 1000 + 1, ids).astype(np.uint16)
            save(root / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", instances)
            save(root / "gtFine" / split / city / f"{name}_gtFine_color.png", photo())
    return root


def _open_camvid(root: Path) -> Dataset:
    return DATASETS["camvid"](fake_camvid(root), "train", CAMVID)


def _open_cityscapes(root: Path) -> Dataset:
    return DATASETS["cityscapes"](fake_cityscapes(root), "train", CITYSCAPES, instances=True)


def _open_folders(root: Path) -> Dataset:
    return DATASETS["paired_folders"](write_pairs(root, [f"p{i}" for i in range(5)]), "train", FOUR)


def _open_streets(_: Path) -> Dataset:
    return DATASETS["streets"](None, "train", CITYSCAPES, count={"train": 3, "val": 1}, size=(64, 96), seed=5)


def _open_written_streets(root: Path) -> Dataset:
    return DATASETS["streets"](fake_cityscapes(root), "train", CITYSCAPES)


OPENERS: dict[str, Callable[[Path], Dataset]] = {
    "camvid": _open_camvid,
    "cityscapes": _open_cityscapes,
    "paired_folders": _open_folders,
    "streets": _open_streets,
    "streets on disk": _open_written_streets,
}


def test_the_contract_test_covers_every_data_set() -> None:
    assert set(DATASETS) <= set(OPENERS)


@pytest.mark.parametrize("name", OPENERS)
def test_contract(tmp_path: Path, name: str) -> None:
    dataset = OPENERS[name](tmp_path)
    assert len(dataset) == len(dataset.names) == len(dataset.groups) > 0
    assert len(set(dataset.names)) == len(dataset)
    num_classes = 11 if name == "camvid" else 4 if name == "paired_folders" else 19
    for index in range(len(dataset)):
        sample, again = dataset[index], dataset[index]
        assert sample.name == dataset.names[index]
        assert sample.rgb.dtype == np.uint8
        assert sample.labels is not None
        assert sample.labels.dtype == np.uint8
        assert sample.rgb.shape == (*sample.labels.shape, 3)
        assert set(np.unique(sample.labels)) <= {*range(num_classes), IGNORE}
        np.testing.assert_array_equal(sample.rgb, again.rgb)
        np.testing.assert_array_equal(sample.labels, again.labels)
        if sample.instances is not None:
            assert sample.instances.dtype == np.int32
            assert sample.instances.shape == sample.labels.shape
    pickle.loads(pickle.dumps(dataset))  # loader processes may need it


@pytest.mark.parametrize("name", [n for n in OPENERS if n != "streets on disk"])
def test_unknown_splits_and_roots_are_named(tmp_path: Path, name: str) -> None:
    OPENERS[name](tmp_path)
    space = {"camvid": CAMVID, "paired_folders": FOUR}.get(name, CITYSCAPES)
    root = None if name == "streets" else tmp_path
    with pytest.raises(UserError, match=r"unknown split 'trian'.*found: .*train"):
        DATASETS[name](root, "trian", space)
    with pytest.raises(UserError, match="does not exist"):
        DATASETS[name](tmp_path / "nowhere", "train", space)
    if name != "streets":
        with pytest.raises(UserError, match=r"data\.root"):
            DATASETS[name](None, "train", space)
        with pytest.raises(UserError, match="is a file"):
            DATASETS[name](save(tmp_path / "file.png", photo()), "train", space)


def test_importing_the_data_sets_leaves_torch_out() -> None:
    code = "import sys, segwright.data, segwright.data.inspect, segwright.data.augment, segwright.data.processes\n"
    done = subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=False)
    assert done.returncode == 0


# CamVid


def test_camvid_train_has_the_published_pixel_counts(camvid: Path, camvid_tally: Tally) -> None:
    dataset = CamVid(camvid, "train", CAMVID)
    assert len(dataset) == camvid_tally.pictures == 367
    assert {g: dataset.groups.count(g) for g in set(dataset.groups)} == {"0001TP": 62, "0006R0": 101, "0016E5": 204}
    assert camvid_tally.class_pixels_K.tolist() == TRAIN_PIXELS
    assert camvid_tally.sizes == {(360, 480): 367}


def test_camvid_val_is_one_sequence(camvid: Path) -> None:
    dataset = CamVid(camvid, "val", CAMVID)
    assert len(dataset) == 101
    assert set(dataset.groups) == {"0016E5"}
    assert dataset[0].rgb.shape == (360, 480, 3)


def test_camvid_lists_every_missing_partner(tmp_path: Path) -> None:
    root = fake_camvid(tmp_path)
    save(root / "train" / "0016E5_1.png", photo())
    save(root / "trainannot" / "0016E5_2.png", mask())
    with pytest.raises(DataError, match=r"2 problems(.|\n)*0016E5_1.*no mask(.|\n)*0016E5_2.*no picture"):
        CamVid(root, "train", CAMVID)


def test_camvid_reads_segnet_lists(tmp_path: Path) -> None:
    root = fake_camvid(tmp_path)
    line = "/SegNet/CamVid/train/{0}.png /SegNet/CamVid/trainannot/{0}.png;\n"
    (root / "train.txt").write_text(line.format("0006R0_f00930") + "\n")
    dataset = CamVid(root, "train", CAMVID)
    assert dataset.names == ("0006R0_f00930",)
    assert dataset[0].rgb.shape == (12, 20, 3)
    (root / "train.txt").write_text(line.format("0001TP_9") + "one_path.png\n")
    with pytest.raises(DataError, match=r"3 problems(.|\n)*train\.txt:1(.|\n)*train\.txt:2: expected two paths"):
        CamVid(root, "train", CAMVID)
    (root / "train.txt").write_text("\n")
    with pytest.raises(DataError, match="empty"):
        CamVid(root, "train", CAMVID)


def test_wrong_sizes_and_values_name_the_mask(tmp_path: Path) -> None:
    root = fake_camvid(tmp_path)
    bad = save(root / "trainannot" / "0001TP_006690.png", mask(20, 12))
    with pytest.raises(DataError, match="swapped") as caught:
        CamVid(root, "train", CAMVID)[0]
    assert str(bad) in str(caught.value)
    save(bad, mask(values=[0, 12]))
    with pytest.raises(DataError, match=r"12 \(") as caught:
        CamVid(root, "train", CAMVID)[0]
    assert str(bad) in str(caught.value)


# Cityscapes


def test_cityscapes_reads_label_ids_and_instances(tmp_path: Path) -> None:
    root = fake_cityscapes(tmp_path)
    dataset = Cityscapes(root, "train", CITYSCAPES, instances=True)
    assert dataset.names[0] == "alpha_000000_000000"
    assert dataset.groups == ("alpha", "alpha", "beta", "beta")
    sample = dataset[0]
    raw = mask(values=[0, 7, 26, 33], seed=0)
    assert sample.labels is not None
    assert sample.instances is not None
    np.testing.assert_array_equal(CITYSCAPES.decode(sample.labels), raw)
    np.testing.assert_array_equal(np.where(sample.instances >= 1000, sample.instances // 1000, sample.instances), raw)
    assert Cityscapes(root, "val", CITYSCAPES)[0].instances is None


def test_cityscapes_lists_what_is_missing(tmp_path: Path) -> None:
    root = fake_cityscapes(tmp_path)
    (root / "gtFine/train/alpha/alpha_000000_000000_gtFine_labelIds.png").unlink()
    (root / "gtFine/train/beta/beta_000000_000001_gtFine_instanceIds.png").unlink()
    with pytest.raises(DataError, match=r"2 problems(.|\n)*no mask(.|\n)*no instance map"):
        Cityscapes(root, "train", CITYSCAPES, instances=True)
    with pytest.raises(UserError, match="leftImg8bit does not exist"):
        Cityscapes(root / "leftImg8bit", "train", CITYSCAPES)


def test_streets_take_the_cityscapes_classes_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cityscapes19"):
        DATASETS["streets"](None, "train", CAMVID)
    with pytest.raises(UserError, match="height and width"):
        DATASETS["streets"](None, "train", CITYSCAPES, size=(64,))


# paired folders


LAYOUTS = {
    "flat": (("images", "masks"),),
    "other names": (("Imgs", "LABELS"),),
    "split first": (("train/images", "train/masks"), ("val/images", "val/masks"), ("test/images", "test/masks")),
    "split last": (("images/train", "masks/train"), ("images/val", "masks/val")),
    "other split names": (("training/image", "training/gt"), ("validation/image", "validation/gt")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    for images, masks in LAYOUTS[layout]:
        write_pairs(tmp_path, [f"{images[:2]}{i}" for i in range(5)], images=images, masks=masks)
    splits = list_splits(tmp_path)
    parts = len(LAYOUTS[layout])
    assert list(splits) == ["train", "val", "test", "all"] if parts == 3 else ["train", "val", "all"]
    assert {s: len(p) for s, p in splits.items() if s != "all"} == (
        {"train": 4, "val": 1} if parts == 1 else dict.fromkeys(list(splits)[:-1], 5)
    )
    assert len(splits["all"]) == 5 * parts
    sample = PairedFolders(tmp_path, "val", FOUR)[0]
    assert sample.labels is not None
    assert sample.labels.shape == (12, 20)


def test_pairs_share_a_name_up_to_known_endings(tmp_path: Path) -> None:
    for image, ids in (
        ("a.jpg", "a.png"),
        ("b.png", "b_mask.png"),
        ("c_image.png", "c_label.png"),
        ("d_leftImg8bit.png", "d_gtFine_labelIds.png"),
        ("e_mask.png", "e_mask.png"),
        ("deep/f.png", "deep/f_GT.png"),
        (unicodedata.normalize("NFD", "grün.png"), unicodedata.normalize("NFC", "grün.png")),
        ("with space 写真.png", "with space 写真_seg.png"),
    ):
        save(tmp_path / "images" / image, photo())
        save(tmp_path / "masks" / ids, mask())
    (tmp_path / "images" / "notes.txt").write_text("no picture")
    (tmp_path / "masks" / "._a.png").write_text("hidden")
    dataset = PairedFolders(tmp_path, "all", FOUR)
    assert set(dataset.names) == {"a", "b", "c", "d", "e_mask", "deep/f", "grün", "with space 写真"}
    assert dict(zip(dataset.names, dataset.groups, strict=True))["deep/f"] == "deep"


def test_all_pairing_problems_come_in_one_message(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["good", "twice", "case", "Case"])
    save(tmp_path / "images" / "twice.jpg", photo())
    save(tmp_path / "images" / "lonely.png", photo())
    save(tmp_path / "masks" / "orphan.png", mask())
    with pytest.raises(DataError) as caught:
        PairedFolders(tmp_path, "train", FOUR)
    message = str(caught.value)
    for part in (
        "twice.jpg",
        "lonely.png: the picture has no mask",
        "orphan.png: the mask has no picture",
        "only in case",
    ):
        assert part in message
    assert "5 problems" in message  # the case-only pair exists among pictures and among masks


def test_a_long_list_of_problems_is_cut_and_counted(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["good"])
    for index in range(50):
        save(tmp_path / "images" / f"lonely{index:02d}.png", photo(2, 2))
    with pytest.raises(DataError, match="50 problems") as caught:
        PairedFolders(tmp_path, "train", FOUR)
    assert "and 30 more" in str(caught.value)
    assert str(caught.value).count("no mask") == 20


def test_unknown_and_ambiguous_layouts_show_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Found: nothing"):
        list_splits(tmp_path)
    save(tmp_path / "pictures" / "a.png", photo())
    with pytest.raises(UserError, match="Found: pictures/"):
        list_splits(tmp_path)
    with pytest.raises(UserError, match=r"data\.name=camvid"):
        list_splits(fake_camvid(tmp_path / "other"))
    with pytest.raises(UserError, match=r"data\.name=cityscapes"):
        list_splits(fake_cityscapes(tmp_path / "another"))
    write_pairs(tmp_path, ["a"])
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match="masks/, labels/"):
        list_splits(tmp_path)


def test_empty_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        list_splits(tmp_path)


def test_the_split_is_seeded_and_keeps_groups_whole(tmp_path: Path) -> None:
    write_pairs(tmp_path, [f"cam{g}_{i}" for g in range(6) for i in range(4)])
    one = [p.name for p in list_splits(tmp_path, split_seed=1)["val"]]
    assert one == [p.name for p in list_splits(tmp_path, split_seed=1)["val"]]
    assert one != [p.name for p in list_splits(tmp_path, split_seed=2)["val"]]
    assert len(one) == 5
    grouped = list_splits(tmp_path, group_regex=r"(cam\d)_")
    assert {p.group for p in grouped["train"]} | {p.group for p in grouped["val"]} == {f"cam{g}" for g in range(6)}
    assert not {p.group for p in grouped["train"]} & {p.group for p in grouped["val"]}
    with pytest.raises(DataError, match="24 problems"):
        list_splits(tmp_path, group_regex="nothing like this")
    with pytest.raises(UserError, match="no regular expression"):
        list_splits(tmp_path, group_regex="(")
    with pytest.raises(UserError, match="val_fraction"):
        list_splits(tmp_path, val_fraction=1.0)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 60), groups=st.integers(2, 9), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_train_and_val_divide_the_pictures(count: int, groups: int, fraction: float, seed: int) -> None:
    pairs = tuple(
        Pair(name=f"p{i}", group=f"g{i % groups}", image=Path(f"{i}"), mask=Path(f"{i}")) for i in range(count)
    )
    for by_group in (False, True):
        splits = complete_splits({"all": pairs}, val_fraction=fraction, split_seed=seed, by_group=by_group)
        assert sorted(p.name for s in ("train", "val") for p in splits[s]) == sorted(p.name for p in pairs)
        assert splits["train"]
        assert splits["val"]
        if by_group:
            assert not {p.group for p in splits["train"]} & {p.group for p in splits["val"]}
        else:
            assert len(splits["val"]) == min(max(1, round(fraction * count)), count - 1)


def test_one_picture_cannot_be_divided(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["a"])
    with pytest.raises(UserError, match="one picture"):
        list_splits(tmp_path)


def test_a_given_train_folder_keeps_its_pictures_apart_from_test(tmp_path: Path) -> None:
    write_pairs(tmp_path, [f"a{i}" for i in range(10)], images="train/images", masks="train/masks")
    write_pairs(tmp_path, ["z"], images="test/images", masks="test/masks")
    splits = list_splits(tmp_path)
    assert {s: len(p) for s, p in splits.items()} == {"train": 8, "val": 2, "test": 1, "all": 11}
    assert not {p.image for p in splits["test"]} & {p.image for p in (*splits["train"], *splits["val"])}
