"""A user's own folders of pictures and masks: layouts, pairing, splits, and what is said when something is missing."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.contracts import DataError, UserError
from segwright.data import PairedFolders
from segwright.data.paired_folders import complete_splits
from segwright.data.pairs import Pair

from . import layouts
from .files import FOUR, mask, photo, save, write_pairs


def _splits(root: Path, **args: Any) -> dict[str, tuple[Pair, ...]]:
    """Every split as the constructor gives it."""
    return {s: PairedFolders(root, s, FOUR, **args).pairs for s in PairedFolders.splits(root, **args)}


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
    splits = _splits(tmp_path)
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
        _splits(tmp_path)
    save(tmp_path / "pictures" / "a.png", photo())
    with pytest.raises(UserError, match="Found: pictures/"):
        _splits(tmp_path)
    with pytest.raises(UserError, match=r"data\.name=camvid"):
        _splits(layouts.camvid(tmp_path / "other"))
    with pytest.raises(UserError, match=r"data\.name=cityscapes"):
        _splits(layouts.cityscapes(tmp_path / "another"))
    write_pairs(tmp_path, ["a"])
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match="masks/, labels/"):
        _splits(tmp_path)


def test_empty_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        _splits(tmp_path)


def test_the_split_is_seeded_and_keeps_groups_whole(tmp_path: Path) -> None:
    write_pairs(tmp_path, [f"cam{g}_{i}" for g in range(6) for i in range(4)])
    one = [p.name for p in _splits(tmp_path, split_seed=1)["val"]]
    assert one == [p.name for p in _splits(tmp_path, split_seed=1)["val"]]
    assert one != [p.name for p in _splits(tmp_path, split_seed=2)["val"]]
    assert len(one) == 5
    grouped = _splits(tmp_path, group_regex=r"(cam\d)_")
    assert {p.group for p in grouped["train"]} | {p.group for p in grouped["val"]} == {f"cam{g}" for g in range(6)}
    assert not {p.group for p in grouped["train"]} & {p.group for p in grouped["val"]}
    with pytest.raises(DataError, match="24 problems"):
        _splits(tmp_path, group_regex="nothing like this")
    with pytest.raises(UserError, match="no regular expression"):
        _splits(tmp_path, group_regex="(")
    with pytest.raises(UserError, match="val_fraction"):
        _splits(tmp_path, val_fraction=1.0)


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
    with pytest.raises(DataError, match="one picture"):
        PairedFolders(tmp_path, "train", FOUR)
    assert len(PairedFolders(tmp_path, "all", FOUR)) == 1


def test_a_given_train_folder_keeps_its_pictures_apart_from_test(tmp_path: Path) -> None:
    write_pairs(tmp_path, [f"a{i}" for i in range(10)], images="train/images", masks="train/masks")
    write_pairs(tmp_path, ["z"], images="test/images", masks="test/masks")
    splits = _splits(tmp_path)
    assert {s: len(p) for s, p in splits.items()} == {"train": 8, "val": 2, "test": 1, "all": 11}
    assert not {p.image for p in splits["test"]} & {p.image for p in (*splits["train"], *splits["val"])}
