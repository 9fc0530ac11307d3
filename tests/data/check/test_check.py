"""Every kind of fault, made on purpose, is found with its code and its file; a data set without one raises no alarm."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segwright.contracts import UserError
from segwright.data.check import CODES, CheckResult, Finding, check_data
from segwright.labels import load_label_space
from segwright.report.data_page import render_data_page

from .small_set import (
    COLORS,
    change,
    colored,
    ids,
    image,
    mask,
    picture,
    read,
    same_mask_as,
    save,
    small_set,
    write_space,
)

Breaker = Callable[[Path], Path]
"""Breaks a small set; returns the file that the finding names first."""


def codes(result: CheckResult) -> set[str]:
    return {f.code for f in result.findings if f.severity != "note"}


def only(result: CheckResult, code: str) -> Finding:
    found = [f for f in result.findings if f.code == code]
    assert len(found) == 1, [f.code for f in result.findings]
    return found[0]


def test_a_sound_data_set_has_no_finding(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    result = check_data(small_set(tmp_path), progress=lambda *at: done.append(at))
    assert result.findings == ()
    assert result.exit_code(strict=True) == 0
    assert done == [(n, 9) for n in range(1, 10)]
    assert result.space is not None
    assert result.space.class_names == ("sky", "road", "tree", "car")
    assert result.separate == ("train", "val")
    for split, facts in result.splits.items():
        masks = [read(p) for p in tmp_path.glob(f"{'*' if split == 'all' else split}/masks/*.png")]
        assert facts.pictures == facts.looked == len(masks)
        assert facts.sizes == {(40, 60): len(masks)}
        for k in range(4):
            assert facts.class_pixels[k] == sum(int((m == k).sum()) for m in masks)
            assert facts.class_images[k] == sum(bool((m == k).any()) for m in masks)
        assert facts.ignored_pixels == sum(int((m == 255).sum()) for m in masks)


def truncated(root: Path) -> Path:
    content = image(root).read_bytes()
    image(root).write_bytes(content[: len(content) // 2])
    return image(root)


def empty_mask_file(root: Path) -> Path:
    mask(root).write_bytes(b"")
    return mask(root)


def jpeg_mask(root: Path) -> Path:
    Image.fromarray(ids(1)).save(mask(root), format="JPEG")
    return mask(root)


def half_size(root: Path) -> Path:
    return save(mask(root), ids(1, (20, 30)))


def turned(root: Path) -> Path:
    return save(mask(root), np.ascontiguousarray(ids(1).T))


def exif_turned(root: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(image(root), picture(1), exif=exif)
    return mask(root)


def exif_half_turn(root: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 3
    save(image(root).with_suffix(".jpg"), picture(1), exif=exif)
    image(root).unlink()
    return image(root).with_suffix(".jpg")


def twelve_bits(root: Path) -> Path:
    return save(image(root), (picture(1)[..., 0].astype(np.uint16) << 4))


def unknown(root: Path) -> Path:
    change(root, lambda m: np.where(m == 3, np.uint8(9), m), only=1)
    return mask(root)


def three_channels(root: Path) -> Path:
    change(root, lambda m: np.repeat(m[..., None], 3, axis=2), only=1)
    return mask(root)


def in_colors(root: Path) -> Path:
    change(root, colored, only=1)
    return mask(root)


def smoothed(root: Path) -> Path:
    def smooth(m: np.ndarray) -> np.ndarray:
        return cv2.resize(cv2.resize(colored(m), (37, 23), interpolation=cv2.INTER_AREA), (60, 40))

    change(root, smooth, only=1)
    return mask(root)


def sorted_palette(root: Path) -> Path:
    """The same picture to the eye, but a program has numbered the colours anew."""
    new = Image.fromarray(np.array([3, 2, 1, 0], np.uint8)[np.minimum(ids(1), 3)])
    new.putpalette(COLORS[::-1].tobytes())
    new.save(mask(root))
    return mask(root)


def grey(root: Path) -> Path:
    change(root, lambda m: np.array(Image.fromarray(colored(m)).convert("L")), only=1)
    return mask(root)


def instances(root: Path) -> Path:
    change(root, lambda m: m.astype(np.uint16) * 1000 + 1, only=1)
    return mask(root)


def all_void(root: Path) -> Path:
    change(root, lambda m: np.full_like(m, 255), only=1)
    return mask(root)


def all_road(root: Path) -> Path:
    change(root, lambda m: np.full_like(m, 1), only=1)
    return mask(root)


def no_mask(root: Path) -> Path:
    mask(root).unlink()
    return image(root)


def no_picture(root: Path) -> Path:
    image(root).unlink()
    return mask(root)


def two_names(root: Path) -> Path:
    shutil.copy(image(root), image(root).with_suffix(".bmp"))
    save(image(root).with_suffix(".bmp"), picture(1))
    return image(root).with_suffix(".bmp")


def upper_case(root: Path) -> Path:
    save(image(root).with_name("P1.png"), picture(50))
    save(mask(root).with_name("P1.png"), ids(50))
    return image(root).with_name("P1.png")


def composed_and_decomposed(root: Path) -> Path:
    for number, name in ((1, "caf\u00e9.png"), (2, "cafe\u0301.png")):
        image(root, number).rename(image(root, number).with_name(name))
        mask(root, number).rename(mask(root, number).with_name(name))
    return image(root).with_name("cafe\u0301.png")


def leak(root: Path) -> Path:
    shutil.copy(image(root, 2), image(root, 100))
    shutil.copy(mask(root, 2), mask(root, 100))
    return image(root, 2)


def near_leak(root: Path) -> Path:
    small = cv2.resize(picture(2, (120, 180)), (90, 60), interpolation=cv2.INTER_AREA)
    save(image(root, 2), picture(2, (120, 180)))
    save(mask(root, 2), ids(2, (120, 180)))
    save(image(root, 100).with_suffix(".jpg"), small, quality=60)
    image(root, 100).unlink()
    save(mask(root, 100), ids(2, (60, 90)))
    return image(root, 2)


def twice(root: Path) -> Path:
    save(image(root, 4), picture(2))
    save(mask(root, 4), ids(2))
    return image(root, 2)


def other_mask(root: Path) -> Path:
    save(image(root, 4), picture(2))
    return mask(root, 2)


def same_mask(root: Path) -> Path:
    same_mask_as(root, 2, 4)
    return mask(root, 2)


def one_picture(root: Path) -> Path:
    for number in (101, 102):
        image(root, number).unlink()
        mask(root, number).unlink()
    return image(root, 100)


def no_val_pictures(root: Path) -> Path:
    for path in [*root.glob("val/*/*.png")]:
        path.unlink()
    return root / "val" / "images"


def near_copy(root: Path) -> Path:
    save(image(root, 4), (picture(2) * 0.8).astype(np.uint8))
    return image(root, 2)


def sixteen_bits(root: Path) -> Path:
    return save(image(root), picture(1)[..., 0].astype(np.uint16) * 257)


def two_sizes(root: Path) -> Path:
    save(image(root), picture(1, (50, 60)))
    save(mask(root), ids(1, (50, 60)))
    return root


@pytest.mark.parametrize(
    ("code", "breaker"),
    [
        ("empty-split", no_val_pictures),
        ("unreadable-image", truncated),
        ("unreadable-mask", empty_mask_file),
        ("lossy-mask", jpeg_mask),
        ("size-mismatch", half_size),
        ("swapped-size", turned),
        ("exif-size", exif_turned),
        ("exif-unclear", exif_half_turn),
        ("dark-16-bit", twelve_bits),
        ("unknown-values", unknown),
        ("color-mask", three_channels),
        ("color-mask", in_colors),
        ("smoothed-mask", smoothed),
        ("palette-order", sorted_palette),
        ("grey-levels", grey),
        ("sixteen-bit-mask", instances),
        ("void-mask", all_void),
        ("constant-mask", all_road),
        ("no-mask", no_mask),
        ("no-picture", no_picture),
        ("duplicate-name", two_names),
        ("duplicate-name", composed_and_decomposed),
        ("case-collision", upper_case),
        ("leak", leak),
        ("near-leak", near_leak),
        ("duplicate-image", twice),
        ("different-masks", other_mask),
        ("duplicate-mask", same_mask),
        ("one-picture-split", one_picture),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_each_fault_is_found_and_named(tmp_path: Path, code: str, breaker: Breaker) -> None:
    small_set(tmp_path)
    file = breaker(tmp_path)
    result = check_data(tmp_path)
    found = next(f for f in result.findings if f.code == code)  # pictures first, where both names are wrong
    assert found.files[0] == file
    assert found.severity == CODES[code].severity
    assert found.message
    assert found.fix
    assert result.exit_code() == (3 if result.errors else 0)
    assert result.exit_code(strict=True) == 3
    allowed = {code, "duplicate-image"} if code == "different-masks" else {code}
    assert codes(result) <= allowed


@pytest.mark.parametrize(
    ("code", "breaker"), [("near-duplicate", near_copy), ("deep-image", sixteen_bits), ("mixed-sizes", two_sizes)]
)
def test_what_is_only_worth_knowing_is_a_note(tmp_path: Path, code: str, breaker: Breaker) -> None:
    breaker(small_set(tmp_path))
    result = check_data(tmp_path)
    assert only(result, code).severity == "note"
    assert result.exit_code(strict=True) == 0


def test_every_code_has_its_place_in_the_docs() -> None:
    page = Path(__file__).parents[3] / "docs" / "guides" / "checking-data.md"
    text = page.read_text(encoding="utf-8")
    assert [code for code in CODES if f"`{code}`" not in text] == []


def test_all_faults_are_found_in_one_pass(tmp_path: Path) -> None:
    small_set(tmp_path, train=14, val=4)
    empty_mask_file(tmp_path)
    numbered = {3: np.full((40, 60), 255, np.uint8), 5: ids(5, (20, 30)), 7: colored(ids(7)), 9: ids(9) * 11}
    for number, pixels in numbered.items():
        save(mask(tmp_path, number), pixels)
    mask(tmp_path, 11).unlink()
    save(image(tmp_path, 100), picture(13))
    expected = {
        *("unreadable-mask", "void-mask", "size-mismatch", "color-mask", "unknown-values", "no-mask", "leak"),
        "different-masks",
    }
    assert codes(check_data(tmp_path)) == expected


# values that the whole data set explains


def test_black_and_white_proposes_the_map(tmp_path: Path) -> None:
    small_set(tmp_path)
    change(tmp_path, lambda m: np.where(m == 1, np.uint8(255), np.uint8(0)))
    write_space(tmp_path, (0, 1), void=None)
    result = check_data(tmp_path)
    assert codes(result) == {"black-and-white"}
    assert len(result.errors) == 9
    assert "0 and 255" in result.errors[0].message
    assert result.errors[0].fix.startswith(f"segwright data fix {tmp_path} --map 255:1 -o ")
    assert [(group.first.code, group.count) for group in result.groups if group.first.severity == "error"] == [
        ("black-and-white", 9)
    ]


def test_off_by_one(tmp_path: Path) -> None:
    small_set(tmp_path)
    change(tmp_path, lambda m: np.minimum(m, 3) + np.uint8(1))
    result = check_data(tmp_path)
    assert codes(result) == {"off-by-one"}
    assert "--reduce-zero" in result.errors[0].fix


def test_255_that_the_space_does_not_list(tmp_path: Path) -> None:
    small_set(tmp_path)
    write_space(tmp_path, void=11)
    result = check_data(tmp_path)
    assert codes(result) == {"unlisted-255"}
    assert "--map 255:11" in result.errors[0].fix


def test_train_ids_read_as_label_ids(tmp_path: Path) -> None:
    small_set(tmp_path)
    change(tmp_path, lambda m: np.where(m == 3, np.arange(60, dtype=np.uint8) % 19, np.uint8(0)))
    result = check_data(tmp_path, labels="cityscapes19")
    assert "train-ids" in codes(result)


def test_number_masks_in_a_space_of_colours_and_the_reverse(tmp_path: Path) -> None:
    small_set(tmp_path)
    content = load_label_space(str(tmp_path / "labels.yaml")).to_dict()
    classes = [c | {"values": [c["color"]]} for c in content["classes"]]
    write_space(tmp_path, encoding="rgb", classes=classes, ignored=[])
    assert codes(check_data(tmp_path)) == {"index-mask"}
    change(tmp_path, lambda m: colored(np.minimum(m, 3)))
    assert check_data(tmp_path).findings == ()


def test_a_space_is_proposed_where_there_is_none(tmp_path: Path) -> None:
    small_set(tmp_path)
    (tmp_path / "labels.yaml").unlink()
    result = check_data(tmp_path)
    assert result.space is not None
    assert result.space.class_names == ("class_0", "class_1", "class_2", "class_3")
    assert codes(result) == set()
    assert any("generic names" in note for note in result.notes)
    in_colors(tmp_path)
    assert codes(check_data(tmp_path)) == {"mixed-masks"}
    change(tmp_path, lambda m: np.zeros_like(m))
    assert "no-label-space" in codes(check_data(tmp_path))


def test_a_void_test_split_is_one_note(tmp_path: Path) -> None:
    small_set(tmp_path)
    for seed in range(200, 203):
        save(tmp_path / "test" / "images" / f"p{seed}.png", picture(seed))
        save(tmp_path / "test" / "masks" / f"p{seed}.png", np.full((40, 60), 255, np.uint8))
    result = check_data(tmp_path)
    assert codes(result) == set()
    assert only(result, "void-split").split == "test"


def test_classes_missing_from_a_split(tmp_path: Path) -> None:
    small_set(tmp_path, train=12, val=12)
    for number in range(12):
        change(tmp_path, lambda m: np.where(m == 3, np.uint8(0), m), only=number)
        change(tmp_path, lambda m: np.where(m == 2, np.uint8(0), m), only=100 + number)
    result = check_data(tmp_path)
    assert "car" in only(result, "class-not-in-train").message
    assert "tree" in only(result, "class-not-in-val").message
    assert result.exit_code() == 3


def test_a_rare_class_that_a_small_split_lacks_is_only_a_note(tmp_path: Path) -> None:
    small_set(tmp_path)
    for number in (1, 2, 3, 4, 5, 100, 101, 102):
        change(tmp_path, lambda m: np.where(m == 3, np.uint8(0), m), only=number)
    assert only(check_data(tmp_path), "class-not-in-val").severity == "note"


# arguments


def test_wrong_arguments_are_the_users_mistake(tmp_path: Path) -> None:
    small_set(tmp_path)
    for wrong, words in (
        ({"name": "camvd"}, "Did you mean 'camvid'"),
        ({"labels": "camvid12"}, "unknown label space"),
        ({"splits": ["vla"]}, "unknown split 'vla'"),
    ):
        with pytest.raises(UserError, match=words):
            check_data(tmp_path, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="does not exist"):
        check_data(tmp_path / "nowhere")
    (tmp_path / "stray").mkdir()
    with pytest.raises(UserError, match="no data set that Segwright knows"):
        check_data(tmp_path / "stray")


def test_one_split_alone(tmp_path: Path) -> None:
    empty_mask_file(small_set(tmp_path))
    assert check_data(tmp_path, splits=["val"]).findings == ()
    assert codes(check_data(tmp_path, splits=["train"])) == {"unreadable-mask"}


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    small_set(tmp_path)
    for breaker in (truncated, leak, same_mask):
        breaker(tmp_path)
    one, many = (check_data(tmp_path, workers=n) for n in (1, 7))
    assert json.dumps(one.to_dict()) == json.dumps(many.to_dict())
    assert one.heat_KHW is not None
    np.testing.assert_array_equal(one.heat_KHW, many.heat_KHW)


def test_heat_maps_show_where_a_class_is(tmp_path: Path) -> None:
    small_set(tmp_path)
    half = np.zeros((40, 60), np.uint8)
    half[20:] = 1
    change(tmp_path, lambda m: half)
    heat = check_data(tmp_path).heat_KHW
    assert heat is not None
    np.testing.assert_allclose(heat[1, :12], 0)
    np.testing.assert_allclose(heat[1, 12:], 1)
    np.testing.assert_allclose(heat.sum(0), 1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_name_that_is_no_text_and_damaged_exif_do_no_harm(tmp_path: Path) -> None:
    small_set(tmp_path)
    strange = image(tmp_path).with_name(os.fsdecode(b"caf\xe9.png"))
    try:
        image(tmp_path).rename(strange)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    save(image(tmp_path, 2).with_suffix(".jpg"), picture(2), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    image(tmp_path, 2).unlink()
    result = check_data(tmp_path)
    assert codes(result) == {"listing", "no-picture"}
    assert "not UTF-8" in only(result, "listing").message
    json.dumps(result.to_dict(), ensure_ascii=False).encode()
    assert "caf\\udce9.png" in render_data_page(result)


def test_the_fix_repeats_what_was_said_about_the_data(tmp_path: Path) -> None:
    in_colors(small_set(tmp_path / "my data"))
    result = check_data(tmp_path / "my data", labels=str(tmp_path / "my data" / "labels.yaml"))
    words = shlex.split(result.errors[0].fix)
    assert words[:4] == ["segwright", "data", "fix", str(tmp_path / "my data")]
    assert words[4:6] == ["--labels", str(tmp_path / "my data" / "labels.yaml")]
    assert words[-3:] == ["--colors-to-ids", "-o", str(tmp_path / "my data-fixed")]


# clean data raises no alarm


def alarms(result: CheckResult) -> list[Finding]:
    return [f for f in result.findings if f.severity != "note"]


def test_camvid_raises_no_alarm(camvid: Path) -> None:
    result = check_data(camvid)
    assert alarms(result) == []
    assert {f.code for f in result.findings} == {"group-straddles", "imbalance"}
    assert (result.splits["train"].pictures, result.splits["val"].pictures) == (367, 101)


def test_suim_raises_no_alarm(shared_data: Path) -> None:
    if not (shared_data / "suim").is_dir():
        pytest.skip("SUIM is not there")
    result = check_data(shared_data / "suim")
    assert alarms(result) == []
    assert result.space is not None
    assert result.space.name == "suim8"


def test_generated_cityscapes_raise_no_alarm(tmp_path: Path) -> None:
    from segwright.data.streets import write_streets

    write_streets(tmp_path, counts={"train": 6, "val": 3}, size=(128, 256))
    result = check_data(tmp_path)
    assert result.data == "cityscapes"
    assert alarms(result) == []
