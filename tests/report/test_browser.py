"""The page in a real browser: no errors, no requests, and everything works by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from segwright.evaluation.result import Evaluation
from segwright.report.html import write_report
from segwright.report.tables import level, whole_percent
from tests.report.browser import CHROMIUM, Tab
from tests.report.examples import NAMES, build, evaluate, example, hostile, scenes, space

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (apt-get install chromium)")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return example().evaluation


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(example(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def tab(chrome: Browser, file: Path) -> Iterator[Tab]:
    context = chrome.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    made = Tab(context, file)
    yield made
    context.close()
    assert made.complaints == []
    assert made.outside == []


@pytest.fixture
def view(tab: Tab) -> Page:
    tab.page.reload()
    return tab.page


def first_column(view: Page) -> list[str]:
    return view.locator("#scores tbody th").all_inner_texts()


def test_the_page_loads_without_complaints_or_requests(tab: Tab, view: Page) -> None:
    expect(view).to_have_title(re.compile(r"mIoU · Tiny net on toy scenes"))
    view.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert view.evaluate("[...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length") == 0
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [view.url] * len(
        [url for url in tab.requests if url.startswith("file:")]
    )


def test_the_table_sorts_by_click(view: Page, evaluation: Evaluation) -> None:
    assert first_column(view) == list(NAMES)
    head = view.locator("#scores thead th", has_text="IoU").first
    iou = {name: value for name, value in evaluation.iou.items() if value is not None}
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(view) == [*sorted(iou, key=lambda n: -iou[n]), "train"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert first_column(view) == [*sorted(iou, key=lambda n: iou[n]), "train"]  # undefined stays last


def test_the_table_sorts_by_keyboard(view: Page) -> None:
    view.locator("#scores thead button").first.focus()
    view.keyboard.press("Enter")
    assert first_column(view) == sorted(NAMES)
    view.keyboard.press("Space")
    assert first_column(view) == sorted(NAMES, reverse=True)
    view.keyboard.press("Tab")
    view.keyboard.press("Enter")
    assert view.locator("#scores thead th").nth(1).get_attribute("aria-sort") == "descending"
    assert view.locator("#scores thead th[aria-sort]").count() == 1


def cell(view: Page, truth: str, found: str) -> Locator:
    return view.locator("#cells tbody tr").nth(NAMES.index(truth)).locator("td").nth(NAMES.index(found))


def test_pointing_at_the_matrix_shows_counts_and_both_rates(view: Page, evaluation: Evaluation) -> None:
    cell(view, "pole", "building").hover()
    tip = view.locator("#tip")
    expect(tip).to_be_visible()
    counts = evaluation.counts_KK
    t, p = NAMES.index("pole"), NAMES.index("building")
    assert tip.inner_text().split("\n") == [
        "pole called building",
        f"{counts[t, p]} pixels",
        f"{100 * counts[t, p] / counts[t].sum():.1f}\u202f% of true pole",
        f"{100 * counts[t, p] / counts[:, p].sum():.1f}\u202f% of what was called building",
    ]
    expect(view.locator("#cells tbody th.lit")).to_have_text("pole")
    view.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    cell(view, "train", "train").hover()
    assert "–" in tip.inner_text()


def test_arrow_keys_walk_through_the_matrix(view: Page) -> None:
    view.locator("#cells td[tabindex]").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowRight"):
        view.keyboard.press(key)
    expect(view.locator("#tip")).to_contain_text("tree called building")
    expect(view.locator("#live")).to_contain_text("tree called building")
    assert view.locator("#cells td[tabindex]").count() == 1
    view.evaluate("window.scrollBy(0, 40)")  # the text stays with its cell
    view.wait_for_timeout(100)
    expect(view.locator("#tip")).to_be_visible()
    view.keyboard.press("Escape")
    expect(view.locator("#tip")).to_be_hidden()


@pytest.mark.parametrize("over", ["truth", "prediction", "counts"])
def test_the_matrix_shows_what_the_toggle_says(view: Page, evaluation: Evaluation, over: str) -> None:
    counts = evaluation.counts_KK
    view.locator(f"input[name=over][value={over}]").check(force=True)
    whole = {"truth": counts.sum(1)[:, None], "prediction": counts.sum(0)[None], "counts": counts.max()}[over]
    shown = view.locator("#cells tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.querySelectorAll('td')].map(c => [c.className, c.textContent]))"
    )
    for t, row in enumerate(shown):
        for p, (shade, text) in enumerate(row):
            total = (whole + 0 * counts)[t, p]
            rate = counts[t, p] / total if total else 0.0
            assert shade == f"{'h' if t == p else 'm'}{level(rate)}"
            if over != "counts":
                assert text == whole_percent(rate)
            else:
                assert (text == "") == (counts[t, p] == 0)


def test_the_toggle_works_by_keyboard(view: Page) -> None:
    view.locator("input[name=over]").first.focus()
    view.keyboard.press("ArrowRight")
    expect(view.locator("#over-note")).to_contain_text("columns add up to 100")
    expect(view.locator("input[value=prediction]")).to_be_checked()


def test_charts_tell_their_values_by_pointer_and_keyboard(view: Page) -> None:
    chart = view.locator("svg.lines").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    view.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2)
    expect(view.locator("#tip")).to_contain_text("training")
    view.mouse.move(5, 5)
    expect(view.locator("#tip")).to_be_hidden()
    chart.focus()
    view.keyboard.press("End")
    expect(view.locator("#tip")).to_contain_text("epoch 12")
    view.keyboard.press("ArrowLeft")
    expect(view.locator("#live")).to_contain_text("epoch 11, training 0.182")


def test_the_recipe_can_be_copied(view: Page) -> None:
    view.locator("button.copy").click()
    expect(view.locator("button.copy")).to_have_text(re.compile("Copied|Press Ctrl-C"))


@pytest.mark.parametrize("kind", ["plain", "hostile", "many"])
def test_the_page_never_scrolls_sideways(chrome: Browser, file: Path, tmp_path: Path, kind: str) -> None:
    if kind == "hostile":
        file = write_report(hostile(), tmp_path / "hostile.html")
    if kind == "many":
        of = scenes()
        labels = space([*NAMES, *(f"a class with a really long name {k}" for k in range(60))])
        report = build(of, evaluate(of, labels, run="a_run_" * 20), title="a_title_" * 20)
        file = write_report(report, tmp_path / "many.html")
    context = chrome.new_context()
    tab = Tab(context, file)
    for width in (360, 768, 1280):
        tab.page.set_viewport_size({"width": width, "height": 844})
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.page.evaluate("document.body.scrollWidth") <= width
    context.close()
    assert tab.complaints == []
    assert tab.outside == []


def test_the_page_follows_the_colour_scheme(chrome: Browser, file: Path) -> None:
    grounds = []
    schemes: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
    for scheme in schemes:
        context = chrome.new_context(color_scheme=scheme)
        tab = Tab(context, file)
        grounds.append(tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    brightness = [sum(int(v) for v in re.findall(r"\d+", ground)[:3]) for ground in grounds]
    assert brightness[0] > 700
    assert brightness[1] < 100


def test_the_page_reads_without_javascript(chrome: Browser, file: Path) -> None:
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    expect(page.locator("#miou")).to_be_visible()
    expect(page.locator("#scores tbody tr")).to_have_count(len(NAMES))
    expect(cell(page, "road", "road")).to_have_text(re.compile(r"^\d+$"))
    assert "of the truth" in (cell(page, "pole", "building").get_attribute("title") or "")
    expect(page.locator(".choice")).to_be_hidden()
    expect(page.locator("button.copy")).to_be_hidden()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#palette")).to_be_hidden()
    truth = page.locator("article.row").first.locator("img").nth(1)
    assert truth.evaluate("image => image.complete && image.naturalWidth") == 72  # shown in the class colours
    context.close()
