"""The page in a real browser: no errors, no requests, and everything works by mouse and by keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from segwright.evaluation.result import Evaluation
from segwright.report.html import write_report
from segwright.report.tables import level, whole_percent
from tests.report.examples import NAMES, build, evaluate, example, hostile, scenes, space

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (apt-get install chromium)")


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return example().evaluation


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(example(), tmp_path_factory.mktemp("report") / "report.html")


class Tab:
    """A browser tab that notes what must not happen."""

    def __init__(self, context: BrowserContext, file: Path) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(5000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.goto(file.as_uri())

    @property
    def outside(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("data:", "file:"))]


@pytest.fixture(scope="module")
def tab(chrome: Browser, file: Path) -> Iterator[Tab]:
    context = chrome.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    made = Tab(context, file)
    yield made
    context.close()
    assert made.complaints == []
    assert made.outside == []


@pytest.fixture
def page(tab: Tab) -> Page:
    tab.page.reload()
    return tab.page


def first_column(page: Page) -> list[str]:
    return page.locator("#scores tbody th").all_inner_texts()


def test_the_page_loads_without_complaints_or_requests(tab: Tab, page: Page) -> None:
    expect(page).to_have_title(re.compile(r"mIoU · Tiny net on toy scenes"))
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("[...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length") == 0
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [page.url] * len(
        [url for url in tab.requests if url.startswith("file:")]
    )


def test_the_table_sorts_by_click(page: Page, evaluation: Evaluation) -> None:
    assert first_column(page) == list(NAMES)
    head = page.locator("#scores thead th", has_text="IoU").first
    iou = {name: value for name, value in evaluation.iou.items() if value is not None}
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(page) == [*sorted(iou, key=lambda n: -iou[n]), "train"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert first_column(page) == [*sorted(iou, key=lambda n: iou[n]), "train"]  # undefined stays last


def test_the_table_sorts_by_keyboard(page: Page) -> None:
    page.locator("#scores thead button").first.focus()
    page.keyboard.press("Enter")
    assert first_column(page) == sorted(NAMES)
    page.keyboard.press("Space")
    assert first_column(page) == sorted(NAMES, reverse=True)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#scores thead th").nth(1).get_attribute("aria-sort") == "descending"
    assert page.locator("#scores thead th[aria-sort]").count() == 1


def cell(page: Page, truth: str, found: str):  # type: ignore[no-untyped-def]
    return page.locator("#cells tbody tr").nth(NAMES.index(truth)).locator("td").nth(NAMES.index(found))


def test_pointing_at_the_matrix_shows_counts_and_both_rates(page: Page, evaluation: Evaluation) -> None:
    cell(page, "pole", "building").hover()
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    counts = evaluation.counts_KK
    t, p = NAMES.index("pole"), NAMES.index("building")
    assert tip.inner_text().split("\n") == [
        "pole called building",
        f"{counts[t, p]} pixels",
        f"{100 * counts[t, p] / counts[t].sum():.1f}\u202f% of true pole",
        f"{100 * counts[t, p] / counts[:, p].sum():.1f}\u202f% of what was called building",
    ]
    expect(page.locator("#cells tbody th.lit")).to_have_text("pole")
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    cell(page, "train", "train").hover()
    assert "–" in tip.inner_text()


def test_arrow_keys_walk_through_the_matrix(page: Page) -> None:
    page.locator("#cells td[tabindex]").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator("#tip")).to_contain_text("tree called building")
    expect(page.locator("#live")).to_contain_text("tree called building")
    assert page.locator("#cells td[tabindex]").count() == 1
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()


@pytest.mark.parametrize("over", ["truth", "prediction", "counts"])
def test_the_matrix_shows_what_the_toggle_says(page: Page, evaluation: Evaluation, over: str) -> None:
    counts = evaluation.counts_KK
    page.locator(f"input[name=over][value={over}]").check(force=True)
    whole = {"truth": counts.sum(1)[:, None], "prediction": counts.sum(0)[None], "counts": counts.max()}[over]
    shown = page.locator("#cells tbody tr").evaluate_all("rows => rows.map(r => [...r.querySelectorAll('td')].map(c => [c.className, c.textContent]))")
    for t, row in enumerate(shown):
        for p, (shade, text) in enumerate(row):
            total = (whole + 0 * counts)[t, p]
            rate = counts[t, p] / total if total else 0.0
            assert shade == f"{'h' if t == p else 'm'}{level(rate)}"
            if over != "counts":
                assert text == whole_percent(rate)
            else:
                assert (text == "") == (counts[t, p] == 0)


def test_the_toggle_works_by_keyboard(page: Page) -> None:
    page.locator("input[name=over]").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#over-note")).to_contain_text("columns add up to 100")
    expect(page.locator("input[value=prediction]")).to_be_checked()


def test_pictures_enlarge_switch_and_close(page: Page) -> None:
    viewer = page.locator("#viewer")
    button = page.locator("article.row").nth(1).locator("button.view").nth(1)
    button.click()
    expect(viewer).to_be_visible()
    expect(page.locator("#viewer-kind")).to_contain_text("Truth")
    assert page.locator("#viewer-image").get_attribute("src") == button.locator("img").get_attribute("src")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-kind")).to_contain_text("Prediction")
    page.get_by_role("button", name="Previous view").click()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-kind")).to_contain_text("Image")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    page.keyboard.press("Enter")  # focus is back on a picture
    expect(viewer).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(viewer).to_be_hidden()


def test_charts_tell_their_values_by_pointer_and_keyboard(page: Page) -> None:
    chart = page.locator("svg.lines").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2)
    expect(page.locator("#tip")).to_contain_text("training")
    page.mouse.move(5, 5)
    expect(page.locator("#tip")).to_be_hidden()
    chart.focus()
    page.keyboard.press("End")
    expect(page.locator("#tip")).to_contain_text("epoch 12")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#live")).to_contain_text("epoch 11, training 0.182")


def test_the_recipe_can_be_copied(page: Page) -> None:
    page.locator("button.copy").click()
    expect(page.locator("button.copy")).to_have_text(re.compile("Copied|Press Ctrl-C"))


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("kind", ["plain", "hostile", "many"])
def test_the_page_never_scrolls_sideways(chrome: Browser, file: Path, tmp_path: Path, width: int, kind: str) -> None:
    if kind == "hostile":
        file = write_report(hostile(), tmp_path / "hostile.html")
    if kind == "many":
        of = scenes()
        labels = space([*NAMES, *(f"a class with a really long name {k}" for k in range(60))])
        file = write_report(build(of, evaluate(of, labels, run="a_run_" * 20), title="a_title_" * 20), tmp_path / "many.html")
    context = chrome.new_context(viewport={"width": width, "height": 844})
    tab = Tab(context, file)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.page.evaluate("document.body.scrollWidth") <= width
    context.close()
    assert tab.complaints == []
    assert tab.outside == []


def test_the_page_follows_the_colour_scheme(chrome: Browser, file: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        context = chrome.new_context(color_scheme=scheme)  # type: ignore[arg-type]
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
    context.close()
