"""`segwright labels`: the list, a space, a map; colours, JSON, exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import segwright
from segwright.cli import main
from segwright.labels import LabelMap, LabelSpace, catalogue
from segwright.report.swatches import map_sentences, map_table, space_table


def test_the_list_names_every_space(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("labels") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in catalogue())
    assert run("labels", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in listed] == [s.name for s in segwright.list_labels()]
    assert {"name": "suim5", "exclusive": False, "num_classes": 5}.items() <= next(
        item for item in listed if item["name"] == "suim5"
    ).items()


def test_a_space_is_shown_with_values_and_colours(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("labels", "show", "streets10") == 0
    text = capsys.readouterr().out
    assert "large vehicle" in text
    assert "27, 28, 31" in text
    assert "#005064" in text
    assert run("labels", "show", "suim8", "--json") == 0
    assert LabelSpace.from_dict(json.loads(capsys.readouterr().out)) == segwright.label_space("suim8")


def test_terminals_show_the_colour_itself() -> None:
    out = Console(force_terminal=True, color_system="truecolor", width=140, file=io.StringIO())
    out.print(space_table(segwright.label_space("streets10")))
    out.print(map_table(segwright.map_labels("streets10", "cityscapes7")))
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().count("48;2;128;64;128m") == 4  # road twice, and flat twice
    assert "48;2;244;35;232m" in out.file.getvalue()


def test_a_map_is_shown_with_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("labels", "map", "camvid11", "cityscapes19", "--set", "bicyclist=rider,bicycle", "--set", "sign=") == 0
    text = capsys.readouterr().out
    assert "bicyclist = rider or bicycle" in text
    assert "void by decision: sign" in text
    assert "not exact: for training, not for scoring; not total: 1 of 11 classes are lost." in text
    assert run("labels", "map", "cityscapes19", "cityscapes7", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["exact"]
    assert content["merged"]["human"] == ["person", "rider"]
    again = LabelMap.from_dict({key: content[key] for key in ("source", "target", "classes")})
    assert again.exact


def test_sentences_for_every_kind_of_map() -> None:
    assert map_sentences(segwright.map_labels("cityscapes19", "kitti19")) == [
        "exact and total: every class of 'cityscapes19' is one class of 'kitti19'."
    ]
    lines = map_sentences(segwright.map_labels("suim8", "suim5"))
    assert lines == [
        "no class by decision: water, plants and sea floor",
        "exact: every class that is kept is one class; not total: 3 of 8 classes are lost.",
    ]
    assert any(
        line.startswith("without counterpart in 'cityscapes19', so void: floor")
        for line in map_sentences(segwright.map_labels("ade150", "cityscapes19"))
    )


def test_a_space_of_the_users_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "farm.yaml"
    file.write_text(
        'name: farm\nclasses:\n  - {name: "tree [old]", values: [1]}\n  - {name: Road, values: [2]}\n', encoding="utf-8"
    )
    assert run("labels", "show", str(file)) == 0
    assert "tree [old]" in capsys.readouterr().out
    assert run("labels", "map", str(file), "camvid11", "--set", "tree [old]=tree") == 0
    assert "exact and total" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["show", "camvd11"], "Did you mean 'camvid11'"),
        (["map", "camvid11", "suim8"], "has a counterpart"),
        (["map", "camvid11", "kitti11", "--set", "sky"], "expected CLASS=TARGET"),
        (["map", "camvid11", "kitti11", "--set", "sky=skye"], "Did you mean 'sky'"),
    ],
)
def test_mistakes_exit_with_2(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("labels", *arguments) == 2
    assert part in capsys.readouterr().err.replace("\n", " ")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)
