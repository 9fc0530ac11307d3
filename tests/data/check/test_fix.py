"""`data fix` writes what is certain, somewhere else, and never touches an original."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segwright.contracts import UserError
from segwright.data.check import FixResult, Steps, check_data, fix_data
from segwright.data.check.mending import STEPS, mend
from segwright.labels import load_label_space

from .small_set import COLORS, change, colored, ids, image, mask, read, save, small_set, write_space


def hashes(root: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


def fix(root: Path, *names: str, mapping: dict[int, int] | None = None, **more: Any) -> FixResult:
    """Mend into a sibling folder; the originals must be the same afterwards."""
    before = hashes(root)
    result = fix_data(root, root.with_name("fixed"), steps=Steps.of(mapping or {}, names, **more.pop("of", {})), **more)
    assert hashes(root) == before
    return result


def truth(root: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(root)): read(p) for p in sorted(root.glob("*/masks/*.png"))}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_set(tmp_path / "set")


def assert_mended(result: FixResult, expected: dict[str, np.ndarray]) -> None:
    assert truth(result.out).keys() == expected.keys()
    for name, pixels in expected.items():
        np.testing.assert_array_equal(read(result.out / name), pixels, err_msg=name)
    assert result.failed == ()
    assert result.left == ()
    assert result.exit_code == 0


def test_the_automatic_fix_of_black_and_white(root: Path) -> None:
    write_space(root, (0, 1), void=None)
    change(root, lambda m: (m == 1).astype(np.uint8))
    expected = truth(root)
    change(root, lambda m: m * np.uint8(255))
    result = fix(root, auto=True, with_images=True)
    assert_mended(result, expected)
    assert result.check is not None
    assert result.check.errors == ()
    assert result.done == {"map": (9, sum(int(m.sum()) for m in expected.values()))}


def test_the_automatic_fix_of_ids_off_by_one_moves_every_mask(root: Path) -> None:
    change(root, lambda m: np.minimum(m, 2), only=3)  # this mask alone does not show that it is shifted
    change(root, lambda m: np.where(m == 255, np.uint8(0), m))
    expected = truth(root)
    change(root, lambda m: m + np.uint8(1))
    assert_mended(fix(root, auto=True), expected)


def test_the_automatic_fix_of_several_faults_at_once(root: Path) -> None:
    expected = truth(root)
    change(root, colored, only=1)
    change(root, lambda m: np.repeat(np.minimum(m, 3)[..., None], 3, axis=2), only=2)
    expected["train/masks/p2.png"] = np.minimum(expected["train/masks/p2.png"], 3)
    new = Image.fromarray(np.array([3, 2, 1, 0], np.uint8)[np.minimum(ids(3), 3)])
    new.putpalette(COLORS[::-1].tobytes())
    new.save(mask(root, 3))
    expected["train/masks/p3.png"] = np.minimum(expected["train/masks/p3.png"], 3)
    result = fix(root, auto=True)
    assert_mended(result, expected)
    assert result.changed == 3


def test_grey_levels_become_ids(root: Path) -> None:
    expected = truth(root)
    change(root, lambda m: np.array(Image.fromarray(colored(m)).convert("L")))
    assert_mended(fix(root, auto=True), expected)


def test_masks_of_colours_become_ids_with_a_label_file(root: Path) -> None:
    expected = truth(root)
    content = load_label_space(str(root / "labels.yaml")).to_dict()
    classes = [c | {"values": [c["color"]]} for c in content["classes"]]
    void = {"name": "void", "values": [[0, 0, 0]], "color": [0, 0, 0]}
    write_space(root, encoding="rgb", classes=classes, ignored=[void])
    change(root, colored)
    assert check_data(root).findings == ()
    result = fix(root, "colors-to-ids", with_images=True)
    assert_mended(result, expected)
    space = load_label_space(str(result.out / "labels.yaml"))
    assert (space.encoding, space.class_names) == ("index", ("sky", "road", "tree", "car"))
    assert result.check is not None
    assert result.check.findings == ()


def test_smoothed_and_jpeg_masks_take_the_nearest_colour_only_when_asked(root: Path) -> None:
    expected = truth(root)
    flat = np.repeat(np.repeat(np.minimum(ids(1)[::8, ::10], 3), 8, 0), 10, 1)
    expected["train/masks/p1.png"] = flat
    Image.fromarray(colored(flat)).save(mask(root), format="JPEG", quality=90)
    with pytest.raises(UserError, match="nothing that can be mended with certainty"):
        fix(root, auto=True)
    result = fix(root, "nearest-color")
    wrong = (read(result.out / "train/masks/p1.png") != flat).mean()
    assert wrong < 0.03
    assert result.ambiguous > 0
    for name in expected.keys() - {"train/masks/p1.png"}:
        np.testing.assert_array_equal(read(result.out / name), expected[name])


def test_written_masks_are_palette_pictures_in_class_colours(root: Path) -> None:
    result = fix(root, mapping={3: 2})
    with Image.open(result.out / "train" / "masks" / "p1.png") as picture:
        assert picture.mode == "P"
        shown = np.array(picture.convert("RGB"))
        assert set(np.unique(np.array(picture))) <= {0, 1, 2, 255}
    np.testing.assert_array_equal(shown, colored(np.where(ids(1) == 3, np.uint8(2), ids(1))))


def test_masks_of_another_size_are_resized_only_when_asked_and_of_the_same_shape(root: Path) -> None:
    save(mask(root, 1), ids(1, (20, 30)))
    save(mask(root, 2), ids(2, (40, 40)))
    assert fix(root, mapping={7: 7}).failed == ()
    assert read(root.with_name("fixed") / "train/masks/p1.png").shape == (20, 30)
    before = hashes(root)
    resize = Steps.of({}, (), resize="nearest")
    result = fix_data(root, root.with_name("fixed2"), steps=resize)
    assert hashes(root) == before
    assert len(result.failed) == 1
    assert "another shape" in result.failed[0]
    small = ids(1, (20, 30))
    np.testing.assert_array_equal(read(result.out / "train/masks/p1.png"), small.repeat(2, 0).repeat(2, 1))


def test_what_cannot_be_mended_is_listed_and_not_written(root: Path) -> None:
    mask(root, 1).write_bytes(b"")
    change(root, lambda m: np.where(m == 3, np.uint8(77), m), only=2)
    change(root, lambda m: np.dstack([m, m, np.full_like(m, 9)]), only=4)
    result = fix(root, "colors-to-ids")
    assert [Path(line.partition(": ")[0]).name for line in result.failed] == ["p1.png", "p4.png"]
    assert len(result.left) == 1
    assert "p2.png" in result.left[0]
    assert result.exit_code == 3
    assert result.written == 7


def test_nothing_is_written_over_or_beside_the_originals(root: Path) -> None:
    steps = Steps.of({255: 1}, ())
    full = small_set(root.with_name("full"))
    for out, words in (
        (root, "outside"),
        (root / "new", "outside"),
        (root.parent, "outside"),
        (root.with_name("x") / ".." / "set", "outside"),
        (full, "not empty"),
        (image(root), "outside"),
        (image(full), "not empty"),
    ):
        before = hashes(root.parent)
        with pytest.raises(UserError, match=words):
            fix_data(root, out, steps=steps)
        assert hashes(root.parent) == before
    link = root.with_name("link")
    link.symlink_to(root)
    with pytest.raises(UserError, match="outside"):
        fix_data(root, link / "new", steps=steps)


def test_wrong_steps_are_the_users_mistake(root: Path) -> None:
    for mapping, names, resize, words in (
        ({}, ("grey-to-id",), "never", "Did you mean 'grey-to-ids'"),
        ({1: 256}, (), "never", "256"),
        ({}, (), "bilinear", "allowed are never and nearest"),
    ):
        with pytest.raises(UserError, match=words):
            Steps.of(mapping, names, resize=resize)
    with pytest.raises(UserError, match="no step was chosen"):
        fix(root)


@settings(max_examples=60, deadline=None)
@given(
    mapping=st.dictionaries(st.integers(0, 255), st.integers(0, 255), max_size=6),
    names=st.sets(st.sampled_from(STEPS)),
    values=st.lists(st.integers(0, 255), min_size=1, max_size=8),
)
def test_a_mask_of_numbers_changes_value_by_value(mapping: dict[int, int], names: set[str], values: list[int]) -> None:
    """Equal values stay equal, and the counts of what changed are those of the pixels that did."""
    raw = np.array([values, values[::-1]], np.uint8)
    mended = mend(raw, (), Steps.of(mapping, names), load_label_space("camvid11"))
    assert mended.raw.shape == raw.shape
    for value in set(values):
        assert len(np.unique(mended.raw[raw == value])) == 1
    assert sum(mended.done.values()) == int((mended.raw != raw).sum())
