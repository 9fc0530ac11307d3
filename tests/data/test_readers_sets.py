"""SUIM, VOC, ADE20K, KITTI, COCO-Stuff and the other forms of CamVid and Cityscapes: their splits and traps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright.contracts import IGNORE, DataError, UserError
from segwright.data import DATASETS, Ade20k, CamVid, Cityscapes, CocoStuff, Kitti, Suim, Voc
from segwright.data.pairs import Pair, divide
from segwright.labels import catalogue, load_label_space

from . import layouts
from .files import mask, photo, save
from .layouts import FAKES, SBD_MORE, VOC_TRAIN, VOC_VAL

SHIPPED = {
    "camvid": "camvid11",
    "camvid, original": "camvid32",
    "cityscapes": "cityscapes34",
    "cityscapes, coarse": "cityscapes7",
    "suim": "suim8",
    "voc": "voc21",
    "ade20k": "ade150",
    "kitti": "kitti19",
    "kitti, ros": "kitti11",
    "cocostuff": "cocostuff171",
    "cocostuff, 10k": "cocostuff10k_mat",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_label_space_reads_the_files(tmp_path: Path, name: str) -> None:
    assert SHIPPED[name] in catalogue()
    fake, space = FAKES[name], load_label_space(SHIPPED[name])
    split = next(iter(fake.counts))
    dataset = DATASETS[fake.name](fake.write(tmp_path), split, space, **fake.args)
    assert all(dataset[i].labels is not None for i in range(len(dataset)))


# CamVid, the original form


@pytest.mark.parametrize("full", ["_full", ""])
def test_camvid_finds_the_original_form_and_its_lists(tmp_path: Path, full: str) -> None:
    root = layouts.camvid_original(tmp_path, full=full)
    space = load_label_space("camvid32")
    assert CamVid(root, "all", space).groups == ("0001TP", "0006R0", "Seq05VD")
    layouts.write_lines(root / "train.txt", ["0006R0_f00930", "0001TP_006690.png"])
    layouts.write_lines(root / "val.txt", ["/SegNet/CamVid/val/Seq05VD_f00000.png /SegNet/CamVid/valannot/x.png"])
    assert CamVid.splits(root) == ("train", "val", "all")
    assert CamVid(root, "train", space).names == ("0006R0_f00930", "0001TP_006690")
    assert CamVid(root, "val", space).groups == ("Seq05VD",)


def test_camvid_reads_colours_exactly_and_refuses_two_forms(tmp_path: Path) -> None:
    root = layouts.camvid_original(tmp_path)
    space = load_label_space("camvid32")
    dataset = CamVid(root, "all", space)
    for index, pair in enumerate(dataset.pairs):
        labels = dataset[index].labels
        assert labels is not None
        raw = np.asarray(Image.open(pair.mask))
        np.testing.assert_array_equal(labels == IGNORE, (raw == 0).all(-1))
        np.testing.assert_array_equal(space.colorize(labels), raw)
    layouts.camvid(tmp_path)
    with pytest.raises(UserError, match=r"CamVid twice.*Move one"):
        CamVid(root, "all", space)


# Cityscapes, coarse and train ids


def test_cityscapes_coarse_has_its_own_splits(tmp_path: Path) -> None:
    root = layouts.cityscapes_coarse(tmp_path)
    assert Cityscapes.splits(root, annotations="coarse") == ("train", "train_extra", "val")
    with pytest.raises(UserError, match="gtFine does not exist"):
        Cityscapes.splits(root)
    with pytest.raises(UserError, match="allowed are fine and coarse"):
        Cityscapes.splits(root, annotations="course")
    layouts.cityscapes(tmp_path)
    assert Cityscapes.splits(root) == ("train", "val")


def test_cityscapes_leaves_the_black_frame_out(tmp_path: Path) -> None:
    root = layouts.cityscapes_coarse(tmp_path)
    black = "troisdorf_000000_000073"
    truth = save(root / "gtCoarse/train_extra/troisdorf" / f"{black}_gtCoarse_labelIds.png", mask(values=[0]))
    for written in (False, True):  # some users have deleted the picture, as the publishers say
        if written:
            save(root / "leftImg8bit/train_extra/troisdorf" / f"{black}_leftImg8bit.png", photo()[..., 0] * 0)
        listing = Cityscapes.listing(root, "train_extra", annotations="coarse")
        assert truth.is_file()
        assert len(listing.pairs) == 2
        assert listing.problems == ()
        assert black in listing.notes[0]


def test_cityscapes_reads_train_ids_when_told(tmp_path: Path) -> None:
    root = layouts.cityscapes(tmp_path)
    sample = Cityscapes(root, "train", load_label_space("cityscapes19_trainids"), ids="train")[0]
    assert sample.labels is not None
    assert set(np.unique(sample.labels)) == {0, 18, IGNORE}
    with pytest.raises(DataError, match="255"):  # the wrong space for these files
        Cityscapes(root, "train", load_label_space("cityscapes19"), ids="train")[0]
    with pytest.raises(UserError, match="allowed are label and train"):
        Cityscapes.listing(root, "train", ids="trainIds")


# SUIM


def test_suim_of_the_repository_is_exact(shared_data: Path) -> None:
    if not (shared_data / "suim").is_dir():
        pytest.skip(f"SUIM is not in {shared_data}")
    dataset = Suim(shared_data / "suim", "all", load_label_space("suim8"))
    assert len(dataset) == 8
    for index, pair in enumerate(dataset.pairs):
        raw = np.asarray(Image.open(pair.mask).convert("RGB"))
        assert set(np.unique(raw)) <= {0, 255}
        labels = dataset[index].labels
        np.testing.assert_array_equal(labels, (raw > 127) @ np.array([4, 2, 1], np.uint8))  # the 3-bit code is the id


def test_suim_counts_a_channel_above_127_as_on(tmp_path: Path) -> None:
    root = layouts.suim(tmp_path)
    exact = layouts.color_mask(layouts.SUIM_COLORS)
    soft = exact.astype(int) + np.where(exact == 0, 100, -100)
    save(root / "TEST" / "masks" / "n_l_1_.bmp", soft.astype(np.uint8))
    labels = Suim(root, "test", load_label_space("suim8"))[0].labels
    np.testing.assert_array_equal(labels, (exact > 0) @ np.array([4, 2, 1], np.uint8))


def test_suim_train_and_val_divide_train_val(tmp_path: Path) -> None:
    root = layouts.suim(tmp_path, count=12)
    names = {s: {p.name for p in Suim.listing(root, s, val_fraction=0.25).pairs} for s in Suim.splits(root)}
    assert names["train"] | names["val"] == names["train_val"]
    assert not names["train"] & names["val"]
    assert len(names["val"]) == 3
    assert names["val"] != {p.name for p in Suim.listing(root, "val", val_fraction=0.25, split_seed=1).pairs}
    whole = tuple(Pair(name=f"d_r_{i}_", group="", image=tmp_path, mask=tmp_path) for i in range(1525))
    assert [len(side) for side in divide(whole, 0.1, 0)] == [1373, 152]  # SYSTEMS A, with the default fraction


def test_suim_names_pictures_whose_mask_has_another_size(tmp_path: Path) -> None:
    root = layouts.suim(tmp_path)
    wrong = save(root / "train_val" / "masks" / "d_r_3_.bmp", layouts.color_mask(layouts.SUIM_COLORS)[:-1])
    with pytest.raises(DataError, match=r"1 problem(.|\n)*another size(.|\n)*on_size_mismatch=drop") as caught:
        Suim(root, "train_val", load_label_space("suim8"))
    assert str(wrong) in str(caught.value)
    dataset = Suim(root, "train_val", load_label_space("suim8"), on_size_mismatch="drop")
    assert len(dataset) == 5
    assert dataset.notes == ("pictures left out because their mask has another size: 1 (d_r_3_)",)
    with pytest.raises(UserError, match="allowed are refuse and drop"):
        Suim.listing(root, "train", on_size_mismatch="ignore")


def test_suim_checks_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown split 'train'.*found: none.*hold train_val/images"):
        Suim(tmp_path, "train", load_label_space("suim8"))
    with pytest.raises(UserError, match="val_fraction"):
        Suim.listing(layouts.suim(tmp_path), "train", val_fraction=1.0)


# PASCAL VOC


def test_voc_reads_palette_numbers_and_the_border(tmp_path: Path) -> None:
    dataset = Voc(layouts.voc(tmp_path), "train", load_label_space("voc21"), instances=True)
    sample = dataset[0]
    expected = mask(values=(0, 20, 255), seed=0)
    np.testing.assert_array_equal(sample.labels, expected)
    grey = np.asarray(Image.open(dataset.pairs[0].mask).convert("L"))
    assert not np.array_equal(grey, expected)  # what a careless reader gets
    objects = mask(values=(0, 1, 2, 255), seed=0).astype(int)
    np.testing.assert_array_equal(sample.instances, np.where((objects > 0) & (objects < 255), 1000 + objects, 0))


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_found_from_three_folders(tmp_path: Path, below: str) -> None:
    root = layouts.voc(tmp_path)
    assert Voc(root / below, "val", load_label_space("voc21")).names == VOC_VAL
    with pytest.raises(UserError, match="JPEGImages"):
        Voc(root / "VOCdevkit/VOC2012/ImageSets", "val", load_label_space("voc21"))


def test_voc_augmented_adds_sbd_and_never_val(tmp_path: Path) -> None:
    root = layouts.voc_sbd(tmp_path)
    dataset = Voc(root, "train_aug", load_label_space("voc21"))
    assert dataset.names == (*VOC_TRAIN, *SBD_MORE)
    assert not set(dataset.names) & set(VOC_VAL)
    assert [p.mask.suffix for p in dataset.pairs] == [".png", ".png", ".mat", ".mat"]
    added = dataset[2].labels
    np.testing.assert_array_equal(added, mask(values=(0, 20), seed=2))
    with pytest.raises(UserError, match="no instance maps"):
        Voc.listing(root, "train_aug", instances=True)


def test_voc_augmented_from_png_needs_no_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = layouts.voc(tmp_path)
    folder = root / "VOCdevkit" / "VOC2012"
    assert Voc.splits(root) == ("train", "val", "trainval")
    for name in SBD_MORE:
        save(folder / "JPEGImages" / f"{name}.jpg", photo())
        save(folder / "SegmentationClassAug" / f"{name}.png", mask(values=(0, 20)))
    layouts.write_lines(folder / "ImageSets/Segmentation/trainaug.txt", [*SBD_MORE, *VOC_TRAIN, *VOC_VAL])
    monkeypatch.setattr("segwright.data.matlab.find_spec", lambda name: None)
    dataset = Voc(root, "train_aug", load_label_space("voc21"))
    assert dataset.names == (*VOC_TRAIN, *SBD_MORE)
    np.testing.assert_array_equal(dataset[3].labels, mask(values=(0, 20)))


def test_matlab_masks_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    root = layouts.voc_sbd(tmp_path)
    dataset = Voc(root, "train_aug", load_label_space("voc21"))
    savemat(dataset.pairs[2].mask, {"other": np.zeros((2, 2))})
    with pytest.raises(DataError, match=r"2009_000001\.mat: found no GTcls"):
        dataset[2]
    dataset.pairs[2].mask.write_bytes(dataset.pairs[3].mask.read_bytes()[:200])
    with pytest.raises(DataError, match=r"2009_000001\.mat: the MATLAB file cannot be read"):
        dataset[2]
    monkeypatch.setattr("segwright.data.matlab.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'SciPy.*pip install "segwright\[sbd\]"'):
        Voc(root, "train_aug", load_label_space("voc21"))


# ADE20K


def test_ade20k_shifts_ids_once(tmp_path: Path) -> None:
    root = layouts.ade20k(tmp_path)
    labels = Ade20k(root, "train", load_label_space("ade150"))[0].labels
    raw = mask(values=(0, 1, 150), seed=0)
    np.testing.assert_array_equal(labels, np.where(raw == 0, IGNORE, raw.astype(int) - 1))
    assert Ade20k(root / "ADEChallengeData2016", "val", load_label_space("ade150")).names == ("ADE_val_00000001",)
    save(root / "ADEChallengeData2016/annotations/training/ADE_train_00000001.png", mask(values=(0, 149, 255)))
    with pytest.raises(DataError, match="255"):  # shifted by a script already
        Ade20k(root, "train", load_label_space("ade150"))[0]


# KITTI


def test_kitti_divides_its_training_pictures(tmp_path: Path) -> None:
    root = layouts.kitti(tmp_path)
    names = {s: [p.name for p in Kitti.listing(root, s).pairs] for s in Kitti.splits(root)}
    assert sorted(names["train"] + names["val"]) == names["all"]
    last = [p.name for p in Kitti.listing(root, "val", val_from="last").pairs]
    assert last == names["all"][-2:]
    assert [p.name for p in Kitti.listing(root, "train", val_from="last").pairs] == names["all"][:-2]
    assert names["val"] != [p.name for p in Kitti.listing(root, "val", split_seed=3).pairs]
    with pytest.raises(UserError, match=r"testing has pictures without masks"):
        Kitti(root, "test", load_label_space("kitti19"))
    for wrong in ({"form": "old"}, {"val_from": "first"}, {"val_fraction": 0.0}):
        with pytest.raises(UserError, match="allowed"):
            Kitti.listing(root, "train", **wrong)


def test_kitti_instances_become_the_code_of_cityscapes(tmp_path: Path) -> None:
    sample = Kitti(layouts.kitti(tmp_path), "all", load_label_space("kitti19"), instances=True)[0]
    ids = mask(values=layouts.CITYSCAPES_IDS, seed=0).astype(np.int32)
    np.testing.assert_array_equal(sample.instances, np.where(ids >= 26, ids * 1000 + 1, ids))


def test_kitti_with_eleven_classes(tmp_path: Path) -> None:
    root = layouts.kitti_ros(tmp_path)
    sample = Kitti(root, "val", load_label_space("kitti11"), form="ros")[0]
    raw = mask(values=range(12), seed=0)
    np.testing.assert_array_equal(sample.labels, np.where(raw == 11, IGNORE, raw))
    with pytest.raises(UserError, match="no instances"):
        Kitti.listing(root, "val", form="ros", instances=True)
    with pytest.raises(UserError, match=r"image_2 does not exist"):
        Kitti.splits(root)


# COCO-Stuff


def test_cocostuff_passes_over_files_of_other_tools(tmp_path: Path) -> None:
    root = layouts.cocostuff(tmp_path)
    space = load_label_space("cocostuff171")
    labels = CocoStuff(root, "train", space)[0].labels
    raw = mask(values=(0, 181, 255), seed=0)
    np.testing.assert_array_equal(labels, np.where(raw == 181, 170, raw))
    save(root / "stuffthingmaps/train2017/000000000009.png", mask(values=(0, 11)))
    with pytest.raises(DataError, match=r"11 \("):  # one of the numbers that do not occur
        CocoStuff(root, "train", space)[0]


def test_cocostuff_10k_reads_matlab_files(tmp_path: Path) -> None:
    root = layouts.cocostuff10k(tmp_path)
    dataset = CocoStuff(root, "test", load_label_space("cocostuff10k_mat"))
    raw = mask(values=(0, 1, 182), seed=0)
    np.testing.assert_array_equal(dataset[0].labels, np.select([raw == 0, raw == 1], [IGNORE, 0], 170))
    old = layouts.cocostuff10k(tmp_path / "old", classes=172)
    with pytest.raises(DataError, match=r"version 1\.0(.|\n)*version 1\.1"):
        CocoStuff(old, "train", load_label_space("cocostuff10k_mat"))[0]
