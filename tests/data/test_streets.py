"""Street scenes: exact ids, the same pixels everywhere, plausible frequencies, and Cityscapes files on disk."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import UserError
from segwright.data.streets import SPLITS, TRAIN_ID, Scene, Streets, render_scene, scene_name, scene_seed, write_streets
from segwright.data.streets.ids import COLOURS, COUNTED, NAMES

CITYSCAPES_SHARE = {
    "road": 37.0, "sidewalk": 6.0, "building": 23.0, "wall": 0.65, "fence": 0.9, "pole": 1.2, "traffic light": 0.2,
    "traffic sign": 0.55, "vegetation": 16.0, "terrain": 1.2, "sky": 4.0, "person": 1.2, "rider": 0.13, "car": 7.0,
    "truck": 0.27, "bus": 0.23, "train": 0.23, "motorcycle": 0.1, "bicycle": 0.4,
}  # fmt: skip
"""Per cent of the labelled pixels of the real training set, rounded."""


@lru_cache(maxsize=1)
def many() -> NDArray[np.int64]:
    """Pixels of each train id (column 19: ignored) in 120 scenes: int64 [120, 20]."""
    counts = np.zeros((120, 20), np.int64)
    for seed in range(120):
        train_ids = TRAIN_ID[render_scene(seed, 128, 256).label_ids]
        counts[seed] = np.bincount(np.minimum(train_ids, 19).ravel(), minlength=20)
    return counts


def fingerprint(scene: Scene) -> str:
    parts = (scene.image, scene.label_ids, scene.instance_ids)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def check_ids(scene: Scene, height: int, width: int) -> None:
    assert scene.image.shape == (height, width, 3)
    assert scene.label_ids.shape == scene.instance_ids.shape == (height, width)
    dtypes = [plane.dtype.name for plane in (scene.image, scene.label_ids, scene.instance_ids)]
    assert dtypes == ["uint8", "uint8", "int32"]
    assert scene.label_ids.max() <= 33
    for ident in np.unique(scene.instance_ids).tolist():
        labels = np.unique(scene.label_ids[scene.instance_ids == ident]).tolist()
        label = ident // 1000 if ident >= 1000 else ident
        assert labels == [label]
        assert (ident >= 1000) == (label in COUNTED)


def test_same_pixels_in_another_process() -> None:
    code = (
        "import hashlib; from segwright.data.streets import render_scene; s = render_scene(41, 128, 256); "
        "print(hashlib.sha256(s.image.tobytes() + s.label_ids.tobytes() + s.instance_ids.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    render_scene(40, 128, 256)  # what was drawn before must not matter
    assert other.stdout.strip() == fingerprint(render_scene(41, 128, 256)) == fingerprint(render_scene(41, 128, 256))


def test_seeds_differ() -> None:
    assert len({fingerprint(render_scene(seed, 64, 128)) for seed in range(12)}) == 12


@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 211), (200, 200), (128, 384), (211, 97), (256, 512)])
def test_any_size(height: int, width: int) -> None:
    for seed in (2, 7):
        check_ids(render_scene(seed, height, width), height, width)


@pytest.mark.parametrize("size", [(63, 128), (128, 63), (1025, 128), (128, 2049)])
def test_refuses_sizes_out_of_range(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="nearest that works"):
        render_scene(0, *size)


@given(seed=st.integers(min_value=0, max_value=2**63))
@settings(max_examples=25, deadline=None)
def test_ids_are_exact_for_any_seed(seed: int) -> None:
    check_ids(render_scene(seed, 64, 128), 64, 128)


def test_two_sizes_show_the_same_scene() -> None:
    agreement = []
    for seed in range(8):
        small, large = render_scene(seed, 128, 256).label_ids, render_scene(seed, 384, 768).label_ids
        agreement.append(float((small == large[1::3, 1::3]).mean()))
    assert np.mean(agreement) > 0.93
    assert min(agreement) > 0.88


def test_class_frequencies_have_the_shape_of_cityscapes() -> None:
    counts = many()
    share = 100 * counts[:, :19].sum(0) / counts[:, :19].sum()
    by_name = dict(zip(NAMES, share.tolist(), strict=True))
    assert by_name["road"] > by_name["building"] > by_name["vegetation"] > by_name["car"]
    for name, real in CITYSCAPES_SHARE.items():
        factor = 2.0 if real > 3 else 3.2
        assert real / factor < by_name[name] < real * factor, f"{name}: {by_name[name]:.2f} %, in Cityscapes {real} %"
    assert 0.06 < counts[:, 19].sum() / counts.sum() < 0.14


def test_every_class_occurs() -> None:
    assert (many()[:, :19].sum(0) > 0).all()


def test_colour_alone_does_not_tell_the_class() -> None:
    scenes = [render_scene(seed, 64, 128) for seed in range(16)]
    pixels = np.concatenate([scene.image.reshape(-1, 3) for scene in scenes]) // 32
    labels = np.concatenate([scene.label_ids.ravel() for scene in scenes]).astype(np.int64)
    bins = pixels[:, 0].astype(np.int64) * 64 + pixels[:, 1] * 8 + pixels[:, 2]
    table = np.bincount(bins * 34 + labels, minlength=512 * 34).reshape(512, 34)
    assert table.max(1).sum() / len(labels) < 0.75


def test_splits_share_no_city_and_no_seed() -> None:
    seeds = {split: {scene_seed(d, split, i) for d in (0, 1) for i in range(400)} for split in SPLITS}
    assert all(len(found) == 800 for found in seeds.values())
    assert len(set().union(*seeds.values())) == 2400
    cities = [city for names in SPLITS.values() for city in names]
    assert len(set(cities)) == len(cities)


def test_names_follow_cityscapes() -> None:
    assert scene_name("train", 0) == f"{SPLITS['train'][0]}_000000_000019"
    assert len({scene_name("val", index) for index in range(500)}) == 500


def test_dataset_reads_the_same_twice() -> None:
    streets = Streets("val", count=5, size=(64, 128), seed=3)
    assert len(streets) == len(streets.names) == len(streets.groups) == 5
    first, again = streets[4], streets[4]
    assert first.name == streets.names[4]
    assert first.name.startswith(streets.groups[4])
    assert first.labels is not None
    assert again.labels is not None
    assert first.instances is not None
    assert np.array_equal(first.rgb, again.rgb)
    assert np.array_equal(first.labels, again.labels)
    assert set(np.unique(first.labels).tolist()) <= {*range(19), 255}
    with pytest.raises(IndexError):
        streets[5]


@pytest.mark.parametrize(("split", "count"), [("training", 1), ("train", -1)])
def test_refuses_bad_splits_and_counts(split: str, count: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="allowed are"):
        Streets(split, count=count, size=(64, 128))
    with pytest.raises(UserError, match="allowed are"):
        write_streets(tmp_path, counts={split: count}, size=(64, 128))
    assert list(tmp_path.iterdir()) == []


def test_written_folder_reads_back_exactly(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_streets(
        tmp_path, counts={"train": 2, "val": 1}, size=(64, 128), workers=1, progress=lambda *n: calls.append(n)
    )
    assert calls[0] == (0, 3)
    assert calls[-1] == (3, 3)
    for split, index in (("train", 0), ("train", 1), ("val", 0)):
        scene, name = render_scene(scene_seed(0, split, index), 64, 128), scene_name(split, index)
        city = name.split("_")[0]
        truth = tmp_path / "gtFine" / split / city / f"{name}_gtFine_"
        with Image.open(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png") as image:
            assert image.mode == "RGB"
            assert np.array_equal(np.asarray(image), scene.image)
        with Image.open(f"{truth}labelIds.png") as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), scene.label_ids)
        with Image.open(f"{truth}labelTrainIds.png") as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), TRAIN_ID[scene.label_ids])
        with Image.open(f"{truth}instanceIds.png") as image:
            assert image.mode.startswith("I")
            assert np.array_equal(np.asarray(image), scene.instance_ids)
        with Image.open(f"{truth}color.png") as image:
            assert np.array_equal(np.asarray(image), COLOURS[scene.label_ids])
    assert not list(tmp_path.rglob("*.tmp"))


def test_complete_scenes_are_left_alone_and_broken_ones_mended(tmp_path: Path) -> None:
    write_streets(tmp_path, counts={"test": 2}, size=(64, 96), workers=1)
    files = sorted(tmp_path.rglob("*.png"))
    assert len(files) == 10
    before = {file: file.stat().st_mtime_ns for file in files}
    gone = files[0]
    gone.unlink()
    write_streets(tmp_path, counts={"test": 2}, size=(64, 96), workers=2)
    scene = "_".join(gone.name.split("_")[:3])
    for file in files:
        assert file.is_file()
        assert (file.stat().st_mtime_ns == before[file]) == (not file.name.startswith(scene)), file
    with pytest.raises(UserError, match="Choose another folder"):
        write_streets(tmp_path, counts={"test": 2}, size=(96, 96), workers=1)
