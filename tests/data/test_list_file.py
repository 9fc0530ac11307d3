"""The list file: what every column means, and every wrong line named at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segwright.contracts import DataError, UserError
from segwright.data import DATASETS
from segwright.data.list_file import ListFile
from segwright.data.recognise import default_labels, recognise

from .files import FOUR, write_pairs

NAMES = [f"p{i}" for i in range(10)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pairs(tmp_path, NAMES)


def write_csv(root: Path, text: str, name: str = "list.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def plain(root: Path) -> Path:
    lines = [f"images/{n}.png,masks/{n}.png" for n in NAMES]
    return write_csv(root, "\n".join(["image,mask", *lines]))


def test_two_columns_are_enough(root: Path) -> None:
    path = plain(root)
    assert ListFile.splits(path) == ("train", "val", "all")
    data = ListFile(path, "all", FOUR)
    assert data.names == tuple(f"images/{n}" for n in NAMES)
    assert data.groups == data.names
    assert data[0].weight == 1
    train, val = ListFile(path, "train", FOUR), ListFile(path, "val", FOUR, val_fraction=0.3)
    assert len(val) == 3
    assert len(train) == 8
    other = ListFile(path, "val", FOUR, split_seed=1)
    assert set(other.names) != set(ListFile(path, "val", FOUR).names)


def test_every_column_in_both_forms(root: Path) -> None:
    rows = [
        {
            "image": "images/p0.png",
            "mask": "masks/p0.png",
            "weight": 0.5,
            "name": "first",
            "group": "g",
            "split": "train",
        },
        {"image": "./images/p1.png", "mask": str(root / "masks" / "p1.png"), "split": "night"},
        {"image": "images/p2.png", "mask": "masks/p2.png", "weight": 0, "split": "val"},
    ]
    keys = ("split", "image", "weight", "mask", "group", "name")
    cells = [",".join(str(row.get(k, "")) for k in keys) for row in rows]
    table = write_csv(root, "\ufeff" + "\r\n".join([",".join(keys), *cells, "", ""]))
    lines = write_csv(root, "\n".join(json.dumps(row) for row in rows) + "\n\n", "other.jsonl")
    for path in (table, lines):
        assert ListFile.splits(path) == ("train", "val", "night", "all")
        data = ListFile(path, "all", FOUR)
        assert data.names == ("first", "images/p1", "images/p2")
        assert data.groups == ("g", "images/p1", "images/p2")
        assert [data[i].weight for i in range(3)] == [0.5, 1, 0]
        assert ListFile(path, "night", FOUR).names == ("images/p1",)


def test_found_by_its_folder_or_its_own_name(root: Path) -> None:
    path = plain(root)
    assert recognise(path) == recognise(root) == "list_file"
    assert DATASETS["list_file"](root, "all", FOUR).names == ListFile(path, "all", FOUR).names
    assert default_labels("list_file", path) is None
    (root / "labels.yaml").touch()
    assert default_labels("list_file", path) == default_labels("list_file", root) == str(root / "labels.yaml")


def test_a_quoted_cell_may_hold_commas_and_line_breaks(root: Path) -> None:
    path = write_csv(root, 'image,mask,name\n"images/p0.png",masks/p0.png,"a, b"\nimages/p1.png,masks/p1.png,c\n')
    assert ListFile(path, "all", FOUR).names == ("a, b", "c")


def test_every_wrong_line_is_named_at_once(root: Path) -> None:
    path = write_csv(
        root,
        "image,mask,weight,name,split\n"
        "images/p0.png,masks/p0.png,1,a,train\n"
        "images/none.png,masks/p1.png,1,b,train\n"
        ",masks/p1.png,1,c,train\n"
        "images/p2.png,masks/p2.png,-1,d,train\n"
        "images/p3.png,masks/p3.png,heavy,e,train\n"
        "images/p4.png,masks/p4.png,1,a,train\n"
        "images/p5.png,masks/p5.png,1,f\n"
        "images/p6.png,masks/p6.png,1,g,all\n"
        "images/p7.png,masks/p7.png,nan,h,\n"
        "images/p8.png,masks/p8.png,,i,\n",
    )
    with pytest.raises(DataError) as caught:
        ListFile(path, "train", FOUR)
    text = str(caught.value)
    for said in (
        f"list.csv:3: {root / 'images' / 'none.png'} does not exist",
        "list.csv:4: image is missing",
        "list.csv:5: weight is '-1'",
        "list.csv:6: weight is 'heavy'",
        "list.csv:7: the name 'a' stands on line 2, too",
        "list.csv:8: expected 5 cells, found 4",
        "list.csv:9: split is 'all'",
        "list.csv:10: weight is 'nan'",
        "list.csv:11: the split is missing",
    ):
        assert said in text, said
    assert "9 problems" in text
    assert "list.csv:2:" not in text
    listing = ListFile.listing(path, "train")
    assert {p.name for p in listing.pairs} == {"a", "b"}
    assert len(listing.problems) == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'image'"),
        ("image\na.png", "no column 'mask'"),
        ("image,masks\na,b", "unknown column 'masks'. Did you mean 'mask'"),
        ("image;mask\na;b", "divide them by commas"),
        ("image,mask,image\n", "twice"),
        ("image,mask\n", "names no pictures"),
        ('image,mask\n"a', "no UTF-8 text of the form"),
        ("image,mask\n/,.\n", "expected the path of a file"),
    ],
)
def test_what_is_no_table_is_named(root: Path, text: str, said: str) -> None:
    path = write_csv(root, text)
    assert ListFile.splits(path)
    with pytest.raises(DataError, match=said):
        ListFile(path, "all", FOUR)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "1: no JSON"),
        ("[1]", "1: expected an object"),
        ('{"image": 3, "mask": "a"}', "1: image is 3; expected a text"),
        ('{"image": "a", "mask": "b", "wieght": 1}', "Did you mean 'weight'"),
        ('{"image": "a", "mask": "b", "weight": true}', "weight is True"),
        ('{"image": "a", "mask": "b", "weight": Infinity}', "weight is inf"),
        ('{"image": "a", "mask": null}', "mask is missing"),
    ],
)
def test_wrong_json_lines_are_named(root: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ListFile(write_csv(root, line, "list.jsonl"), "all", FOUR)


def test_bytes_that_are_no_text(root: Path) -> None:
    (root / "list.csv").write_bytes(b"image,mask\n\xff\xfe,a\n")
    with pytest.raises(DataError, match="no UTF-8 text"):
        ListFile(root, "all", FOUR)


def test_a_missing_list_says_what_is_needed(root: Path, tmp_path: Path) -> None:
    for where, said in (
        (None, "data.root=FILE"),
        (tmp_path / "none.csv", "does not exist"),
        (root / "images" / "p0.png", "ends in .csv or .jsonl"),
        (root / "images", "found neither"),
    ):
        with pytest.raises(UserError, match=said):
            ListFile(where, "train", FOUR)
    plain(root)
    write_csv(root, "", "list.jsonl")
    with pytest.raises(UserError, match="found both"):
        ListFile(root, "train", FOUR)
    with pytest.raises(UserError, match="unknown split 'test'"):
        ListFile(root / "list.csv", "test", FOUR)
    with pytest.raises(UserError, match="val_fraction is 2"):
        ListFile(root / "list.csv", "val", FOUR, val_fraction=2)
