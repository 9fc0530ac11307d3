"""The page of a comparison: nothing hostile in it, and it sorts, slides and prints in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from segwright.contracts import UserError
from segwright.evaluation.compare import Comparison, Entry
from segwright.evaluation.differing import most_different
from segwright.report.compare_page import ComparedPicture, render_compare_page, write_compare_page
from tests.report.examples import HOSTILE, NAMES, Scene, evaluate, scenes, space


def example(
    *, runs: tuple[str, ...] = ("calm-fox", "keen-owl", "grey-kite"), names: tuple[str, ...] = NAMES
) -> tuple[Comparison, list[ComparedPicture]]:
    """Three runs on seven scenes: the scenes' own predictions, the truth with one patch wrong, and the first repeated."""
    of, labels = scenes(), space(names)
    guesses = [
        [s.prediction for s in of],
        [np.where(s.truth == 255, 0, s.truth) for s in of],
        [s.prediction for s in of],
    ]
    for guess in guesses[1]:
        guess[:4, 20:40] = 0
    entries = []
    for number, (run, found) in enumerate(zip(runs, guesses, strict=True)):
        seen = [Scene(s.name, s.image, s.truth, g) for s, g in zip(of, found, strict=True)]
        recipe = {"name": "toy", "seed": number // 2, "optimizer": {"lr": 0.1 if number != 1 else 0.2}}
        scored = replace(evaluate(seen, labels, run=run), groups=tuple(str(i) for i in range(len(of))))
        entries.append(Entry(name=run, path=Path(run), evaluation=scored, recipe=recipe))
    comparison = Comparison(entries=tuple(entries), reference=runs[0], resamples=200)
    pictures = [
        ComparedPicture(
            gap=gap,
            image=of[gap.index].image,
            truth=of[gap.index].truth,
            runs=runs,
            predictions=tuple(found[gap.index] for found in guesses),
        )
        for gap in most_different(comparison, 4)
    ]
    return comparison, pictures


def test_the_page_says_what_the_comparison_found() -> None:
    comparison, pictures = example()
    page = render_compare_page(comparison, pictures)
    assert "keen-owl (+" in page
    assert page.count('<article class="row"') == len(pictures) == 4
    for run, interval in comparison.miou.items():
        assert f'data-value="{interval.value}"' in page, run
    assert "optimizer.lr" in page
    assert "repeats of one setting" in page
    bare = render_compare_page(comparison, missing="The pictures could not be shown: gone")
    assert "could not be shown: gone" in bare
    with pytest.raises(UserError, match="cannot be written"):
        write_compare_page(comparison, pictures, Path("/dev/null/compare.html"))


def test_hostile_names_are_escaped() -> None:
    comparison, pictures = example(runs=HOSTILE[:3], names=(*HOSTILE[:5], "train"))
    page = render_compare_page(comparison, pictures)
    for text in HOSTILE[:3]:
        assert text not in page.replace(text.replace("<", "\\u003c").replace(">", "\\u003e"), "")
    assert page.count("<script>") == 1


@pytest.fixture
def view(tmp_path: Path, chrome: Browser) -> Iterator[Page]:
    file = write_compare_page(*example(), tmp_path / "compare.html")
    page = chrome.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(8000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(("data:", "file:")) else None)
    page.goto(file.as_uri())
    yield page
    page.close()
    assert complaints == []


def test_sorting_sliding_and_printing_in_a_browser(view: Page) -> None:
    for width in (360, 1280):
        view.set_viewport_size({"width": width, "height": 900})
        assert view.evaluate("document.documentElement.scrollWidth") <= width

    runs = view.locator(".runs tbody th")
    view.locator(".runs thead button", has_text="mIoU").focus()
    view.keyboard.press("Enter")
    assert runs.first.inner_text() == "keen-owl"
    view.keyboard.press("Enter")
    assert runs.last.inner_text() == "keen-owl"

    view.locator("svg.dumbbells").focus()
    view.keyboard.press("ArrowDown")
    expect(view.locator("#tip")).to_contain_text("keen-owl")
    expect(view.locator("#live")).to_contain_text(re.compile(r"better|worse|cannot tell"))
    view.keyboard.press("Escape")

    slide = view.locator("button.slide").first
    slide.focus()
    view.keyboard.press("Enter")
    viewer = view.locator("#viewer")
    expect(viewer).to_be_visible()
    expect(view.locator("#viewer-kind")).to_contain_text("calm-fox")
    expect(view.locator("#viewer-other")).to_have_value("3")  # image, truth, calm-fox, keen-owl
    splitter = view.locator("#viewer-split")
    expect(splitter).to_be_visible()
    splitter.focus()
    before = splitter.input_value()
    view.keyboard.press("Shift+ArrowRight")
    expect(splitter).not_to_have_value(before)
    view.keyboard.press("Escape")
    expect(viewer).to_be_hidden()

    printed = view.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 2
