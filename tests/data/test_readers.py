"""Every data set on disk keeps one contract; CamVid and Cityscapes in detail."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segwright.contracts import IGNORE, DataError, Dataset, UserError
from segwright.data import DATASETS, WEIGHTS_LICENCES, CamVid, Cityscapes
from segwright.data.pairs import PairedFiles
from segwright.data.statistics import Tally
from segwright.labels import LabelSpace, load_label_space

from . import layouts
from .files import mask, photo, save
from .layouts import FAKES

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


FILES = [name for name, fake in FAKES.items() if fake.name != "streets"]


def reader(name: str) -> type[PairedFiles]:
    found = DATASETS[FAKES[name].name]
    assert isinstance(found, type)
    assert issubclass(found, PairedFiles)
    return found


def check_samples(dataset: Dataset, space: LabelSpace) -> None:
    """The contract of every data set."""
    assert len(dataset) == len(dataset.names) == len(dataset.groups) > 0
    assert len(set(dataset.names)) == len(dataset)
    seen: set[int] = set()
    for index in range(len(dataset)):
        sample, again = dataset[index], dataset[index]
        assert sample.name == dataset.names[index]
        assert sample.rgb.dtype == np.uint8
        assert sample.labels is not None
        assert sample.labels.dtype == np.uint8
        assert sample.rgb.shape == (*sample.labels.shape, 3)
        assert set(np.unique(sample.labels)) <= {*range(space.num_classes), IGNORE}
        seen |= set(np.unique(sample.labels).tolist())
        np.testing.assert_array_equal(sample.rgb, again.rgb)
        np.testing.assert_array_equal(sample.labels, again.labels)
        if sample.instances is not None:
            assert sample.instances.dtype == np.int32
            assert sample.instances.shape == sample.labels.shape
    assert 0 in seen
    assert space.num_classes - 1 in seen  # no id is off by one
    pickle.loads(pickle.dumps(dataset))  # loader processes may need it


def test_every_data_set_has_a_fake_one_a_licence_and_a_page() -> None:
    assert {fake.name for fake in FAKES.values()} == set(DATASETS) - {"list_file"}
    assert set(WEIGHTS_LICENCES) == set(DATASETS)


@pytest.mark.parametrize("name", FAKES)
def test_contract(tmp_path: Path, name: str) -> None:
    fake = FAKES[name]
    root = fake.write(tmp_path)
    for split, count in fake.counts.items():
        instances = fake.args.get("instances", False)
        dataset = DATASETS[fake.name](root, split, fake.space, **fake.args)
        assert len(dataset) == count
        check_samples(dataset, fake.space)
        assert (dataset[0].instances is not None) is instances


def test_generated_streets_keep_the_contract() -> None:
    args = {"count": {"train": 3, "val": 1}, "size": (64, 96), "seed": 5}
    dataset = DATASETS["streets"](None, "train", CITYSCAPES, **args)
    assert len(dataset) == 3
    assert len(set(dataset.names)) == 3
    np.testing.assert_array_equal(dataset[1].labels, dataset[1].labels)


@pytest.mark.parametrize("name", FILES)
def test_splits_and_listing_say_what_the_constructor_does(tmp_path: Path, name: str) -> None:
    fake, kind = FAKES[name], reader(name)
    root = fake.write(tmp_path)
    counts = fake.counts if name != "paired_folders" else {"train": 4, "val": 1, "all": 5}
    assert kind.splits(root, **fake.args) == tuple(counts)
    for split in counts:
        listing = kind.listing(root, split, **fake.args)
        assert listing.problems == ()
        assert listing.pairs == kind(root, split, fake.space, **fake.args).pairs
        assert len({p.name for p in listing.pairs}) == counts[split]


@pytest.mark.parametrize("name", FILES)
def test_every_missing_mask_is_listed_at_once(tmp_path: Path, name: str) -> None:
    fake, kind = FAKES[name], reader(name)
    root = fake.write(tmp_path)
    split = next(iter(fake.counts))
    pairs = kind.listing(root, split, **fake.args).pairs
    for pair in pairs:
        pair.mask.unlink()
    listing = kind.listing(root, split, **fake.args)
    assert not {p.name for p in listing.pairs} & {p.name for p in pairs}
    for pair in pairs:
        assert any(pair.name.rpartition("/")[2] in problem for problem in listing.problems)
    with pytest.raises(DataError) as caught:
        kind(root, split, fake.space, **fake.args)
    assert caught.value.exit_code == 3
    assert all(pair.name.rpartition("/")[2] in str(caught.value) for pair in pairs)
    assert listing.remedy in str(caught.value)


@pytest.mark.parametrize("name", FAKES)
def test_unknown_splits_and_roots_are_named(tmp_path: Path, name: str) -> None:
    fake = FAKES[name]
    root = fake.write(tmp_path / "data")
    factory = DATASETS[fake.name]
    with pytest.raises(UserError, match=rf"unknown split 'trian'.*found: .*{next(iter(fake.counts))}"):
        factory(root, "trian", fake.space, **fake.args)
    with pytest.raises(UserError, match=r"does not exist.*needs a folder that holds"):
        factory(tmp_path / "nowhere", "train", fake.space)
    with pytest.raises(UserError, match="is a file"):
        factory(save(tmp_path / "file.png", photo()), "train", fake.space)
    if fake.name != "streets":
        with pytest.raises(UserError, match=r"data\.root=DIR, where DIR holds"):
            factory(None, "train", fake.space)


@pytest.mark.parametrize("name", FILES)
def test_the_signature_shows_the_arguments(name: str) -> None:
    """`build.check_args` reads it."""
    shown = list(inspect.signature(DATASETS[FAKES[name].name]).parameters)
    assert shown[:3] == ["root", "split", "labels"]
    assert set(FAKES[name].args) <= set(shown)
    assert "args" not in shown


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
    root = layouts.camvid(tmp_path)
    save(root / "train" / "0016E5_1.png", photo())
    save(root / "trainannot" / "0016E5_2.png", mask())
    with pytest.raises(DataError, match=r"2 problems(.|\n)*0016E5_1.*no mask(.|\n)*0016E5_2.*no picture"):
        CamVid(root, "train", CAMVID)


def test_camvid_reads_segnet_lists(tmp_path: Path) -> None:
    root = layouts.camvid(tmp_path)
    line = "/SegNet/CamVid/train/{0}.png /SegNet/CamVid/trainannot/{0}.png;\n"
    (root / "train.txt").write_text(line.format("0006R0_f00930") + "\n")
    dataset = CamVid(root, "train", CAMVID)
    assert dataset.names == ("0006R0_f00930",)
    assert dataset[0].rgb.shape == (12, 20, 3)
    (root / "train.txt").write_text(line.format("0001TP_9") + "one_path.png\n")
    with pytest.raises(DataError, match=r"3 problems(.|\n)*expected two paths(.|\n)*0001TP_9\.png: does not exist"):
        CamVid(root, "train", CAMVID)
    (root / "train.txt").write_text("\n")
    with pytest.raises(DataError, match="empty"):
        CamVid(root, "train", CAMVID)


@pytest.mark.parametrize("name", ["camvid", "cocostuff", "suim"])
def test_a_folder_of_another_kind_is_told_the_layout(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="found: none. The folder has to hold .*train"):
        DATASETS[name](tmp_path, "train", CAMVID)


def test_wrong_sizes_and_values_name_the_mask(tmp_path: Path) -> None:
    root = layouts.camvid(tmp_path)
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
    root = layouts.cityscapes(tmp_path)
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
    root = layouts.cityscapes(tmp_path)
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
