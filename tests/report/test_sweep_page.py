"""The page of a sweep: a line and a row for each trial, nothing hostile, and it works by mouse in a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from segwright.recipe.ranges import parse_ranges
from segwright.report.sweep_page import render_sweep_page, write_sweep_page
from segwright.training.trials import Sweep, Trial

SCORES = [0.31, 0.52, None, 0.44, 0.2, 0.61]
STATES = ["done", "done", "failed", "done", "pruned", "done"]


def example(path: Path, *, hostile: str = "", source: str = "camvid-cpu") -> Sweep:
    ranges, fixed = parse_ranges(
        [
            "optimizer.lr=log(1e-5,1e-2)",
            "loss.name=choice(cross_entropy,dice)",
            "training.batch=int(2,8)",
            "data.root=DIR",
        ]
    )
    trials = [
        Trial(
            number=number,
            state=state,  # type: ignore[arg-type]
            values={
                "optimizer.lr": f"{10.0 ** -(number % 3 + 2):g}",
                "loss.name": "dice" if number % 2 else "cross_entropy",
                "training.batch": str(number + 1),
            },
            miou=miou,
            epochs=10,
            seconds=60.0 * number,
            run=path / f"trial-{number:03d}",
            error=hostile or "loss is not finite" if state == "failed" else "",
        )
        for number, (miou, state) in enumerate(zip(SCORES, STATES, strict=True), start=1)
    ]
    return Sweep(
        path=path, source=source, fixed=tuple(fixed), ranges=tuple(ranges), trials=tuple(trials), wanted=6, seed=0
    )


def test_every_trial_has_one_line_and_one_row(tmp_path: Path) -> None:
    page = render_sweep_page(example(tmp_path))
    assert sorted(re.findall(r'class="hit trial [^"]*" data-trial="(\d+)"', page)) == list("123456")
    assert re.findall(r'<tr data-trial="(\d+)"', page) == list("624153")  # the best first, then pruned and failed
    assert len(re.findall(r'class="hit trial best"', page)) == 1
    assert "61.0" in page
    assert "loss is not finite" in page
    assert "segwright train camvid-cpu data.root=DIR optimizer.lr=0.01" in page


def test_higher_scores_stand_higher(tmp_path: Path) -> None:
    page = render_sweep_page(example(tmp_path))
    ends = dict(re.findall(r'data-trial="(\d)" data-x="[^"]*" data-y="([^"]*)"', page))
    ranking = sorted(ends, key=lambda number: float(ends[number]))
    assert ranking == ["6", "2", "4", "1", "5", "3"]  # without a score: below all others


@pytest.mark.parametrize("kind", ["none", "failed", "stopped", "equal"])
def test_a_sweep_without_a_result_has_a_page_too(tmp_path: Path, kind: str) -> None:
    found = example(tmp_path)
    trials = {
        "none": (),
        "failed": (found.trials[2],),
        "stopped": (replace(found.trials[0], state="stopped", values={}, miou=None, seconds=None),),
        "equal": (replace(found.trials[0], miou=0.3), replace(found.trials[1], miou=0.3)),
    }[kind]
    page = render_sweep_page(replace(found, trials=trials))
    assert page.count('class="hit trial') == {"none": 0, "failed": 1, "stopped": 0, "equal": 2}[kind]
    assert ("Train it again" in page) == (kind == "equal")


def test_texts_are_escaped(tmp_path: Path) -> None:
    bad = "</script><img src=x onerror=alert(1)>"
    page = render_sweep_page(example(tmp_path, hostile=bad, source=bad))
    assert "<img src=x" not in page
    assert page.count("<script>") == 1


def test_lines_rows_and_ranges_in_a_browser(tmp_path: Path, chrome: Browser) -> None:
    file = write_sweep_page(example(tmp_path))
    view = chrome.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    view.set_default_timeout(5000)
    complaints: list[str] = []
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.goto(file.as_uri())
    for width in (390, 1280):
        view.set_viewport_size({"width": width, "height": 900})
        assert view.evaluate("document.documentElement.scrollWidth") <= width

    view.locator("tr[data-trial='4'] th").hover()
    expect(view.locator("g[data-trial='4']")).to_have_class(re.compile(r"\bon\b"))
    view.locator("svg.parallel").focus()
    view.keyboard.press("End")
    expect(view.locator("#tip")).to_contain_text("trial 6: mIoU 61.0")
    expect(view.locator("tr[data-trial='6']")).to_have_class(re.compile(r"\bon\b"))
    view.keyboard.press("Escape")

    axis = view.locator(".brush[data-axis='3']")
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    assert box is not None
    middle, unit = box["x"] + box["width"] / 2, box["height"] / 10
    view.mouse.move(middle, box["y"] + 2)
    view.mouse.down()
    view.mouse.move(middle, box["y"] + 5.6 * unit, steps=4)  # from 70 % down to below 44 %
    view.mouse.up()
    expect(view.locator("#chosen-count")).to_have_text("3 of 6 trials pass through the chosen ranges.")
    assert view.locator("tr.out").count() == 3
    view.mouse.click(middle, box["y"] + 9 * unit)
    expect(view.locator("#chosen-count")).to_have_text("")

    head = view.locator(".trials thead th", has_text="optimizer.lr")
    head.get_by_role("button").click()
    first = view.locator(".trials tbody tr").first
    expect(first).to_have_attribute("data-trial", re.compile("[36]"))
    view.close()
    assert complaints == []
