"""The review page in a real browser: marks by keys and buttons, kept over a reload, exported as a file that applies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from segwright.evaluation.hardest import Box
from segwright.evaluation.label_errors import LabelRegion, Look, runs_of
from segwright.evaluation.label_files import Review, read_marks, write_review
from segwright.report.errors_page import card, write_review_page
from tests.inference.fakes import space_of
from tests.report.browser import CHROMIUM, Tab

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (apt-get install chromium)")
NAMES = ("road", "<b>car</b>", "sky")
SHAPE = (60, 90)


def look(rank: int) -> Look:
    box = Box(10 + rank, 20, 30 + rank, 40 + 2 * rank)
    mask = np.ones((box.bottom - box.top, box.right - box.left), bool)
    mask[:5, :5] = False
    truth = np.zeros(SHAPE, np.uint8)
    prediction = truth.copy()
    prediction[box.top : box.bottom, box.left : box.right][mask] = 1
    region = LabelRegion(
        rank=rank,
        part="fold1",
        picture=f"street <{rank}>",
        truth=0,
        predicted=1,
        box=box,
        runs=runs_of(mask),
        pixels=int(mask.sum()),
        core=100,
        confidence=0.9,
        given=0.05,
        score=85.5,
    )
    image = np.random.default_rng(rank).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    return Look(region=region, image=image, truth=truth, prediction=prediction)


LOOKS = [look(rank) for rank in range(1, 6)]
ABOUT = {
    **{"source": "runs & <more>", "searched": ["fold1"], "pictures": 7, "found": 1234, "labelled": 37_800},
    **{"wrong_share": 0.0421, "seen": False, "notes": ["Each picture was predicted by a model that …"]},
    **{"data": {}, "splits": ["train"]},
}
REVIEW = Review(
    regions=tuple(one.region for one in LOOKS),
    space=space_of(NAMES),
    about=ABOUT | {"labels": space_of(NAMES).to_dict()},
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review")
    write_review(REVIEW, folder)
    return write_review_page(REVIEW, reversed(LOOKS), folder)


@pytest.fixture(scope="module")
def tab(chrome: Browser, file: Path) -> Iterator[Tab]:
    context = chrome.new_context(
        viewport={"width": 1280, "height": 900}, reduced_motion="reduce", accept_downloads=True
    )
    made = Tab(context, file)
    yield made
    context.close()
    assert made.complaints == []
    assert [url for url in made.outside if not url.startswith("blob:")] == []


@pytest.fixture
def page(tab: Tab) -> Page:
    tab.page.evaluate("localStorage.clear()")
    tab.page.reload()
    return tab.page


def marks_of(page: Page) -> dict[int, tuple[str, str | None]]:
    content = json.loads(page.locator("#marks").inner_text())
    return {mark["rank"]: (mark["mark"], mark["label"]) for mark in content["marks"]}


def test_keys_mark_one_region_after_the_other(page: Page) -> None:
    expect(page.locator("article.doubt")).to_have_count(5)
    for key in ("w", "m", "r", "u"):
        page.keyboard.press(key)
    assert marks_of(page) == {1: ("wrong", None), 2: ("wrong", "<b>car</b>"), 3: ("right", None), 4: ("unsure", None)}
    expect(page.locator("#progress")).to_contain_text("4 of 5 marked: 2 wrong, 1 right, 1 unsure")
    expect(page.locator("article[aria-current=true]")).to_have_attribute("data-rank", "5")
    page.keyboard.press("k")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("x")
    assert 3 not in marks_of(page)
    page.keyboard.press("j")
    page.keyboard.press("r")
    assert marks_of(page)[4] == ("right", None)


def test_buttons_and_the_choice_of_a_class(page: Page) -> None:
    second = page.locator("#region-2")
    wrong = second.get_by_role("button", name="Label wrong")
    wrong.click()
    expect(wrong).to_have_attribute("aria-pressed", "true")
    second.locator("select").select_option("sky")
    assert marks_of(page) == {2: ("wrong", "sky")}
    assert "road" not in second.locator("option").all_inner_texts()
    wrong.click()
    assert marks_of(page) == {}
    page.locator("#region-3 select").select_option("<b>car</b>")  # choosing a class says that the label is wrong
    assert marks_of(page) == {3: ("wrong", "<b>car</b>")}
    page.keyboard.press("r")  # a key of the list, not a mark
    assert marks_of(page)[3][0] == "wrong"


def test_marks_outlive_a_reload_and_download_as_a_file_that_applies(page: Page, tmp_path: Path) -> None:
    for key in ("m", "w", "u"):
        page.keyboard.press(key)
    page.reload()
    assert marks_of(page) == {1: ("wrong", "<b>car</b>"), 2: ("wrong", None), 3: ("unsure", None)}
    expect(page.locator("#region-1 select")).to_have_value("<b>car</b>")
    with page.expect_download() as caught:
        page.locator("#download").click()
    assert caught.value.suggested_filename == "marks.json"
    caught.value.save_as(tmp_path / "marks.json")
    assert (tmp_path / "marks.json").read_text(encoding="utf-8") == page.locator("#marks").text_content()
    assert read_marks(tmp_path / "marks.json", REVIEW, unsure=False) == {1: "<b>car</b>", 2: None}
    assert read_marks(tmp_path / "marks.json", REVIEW, unsure=True) == {1: "<b>car</b>", 2: None, 3: None}


def test_names_are_shown_as_they_are_and_pictures_load(page: Page) -> None:
    expect(page.locator("#region-2 h3")).to_contain_text("<b>car</b>")
    expect(page.locator("#region-2 .file")).to_have_text("street <2>")
    expect(page.locator(".eyebrow")).to_contain_text("runs & <more>")
    sizes = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert sizes == [480] * 15


def test_the_page_fits_a_phone(chrome: Browser, file: Path) -> None:
    context = chrome.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    made = Tab(context, file)
    assert made.page.evaluate("document.documentElement.scrollWidth") <= 360
    made.page.locator("#region-1").get_by_role("button", name="Label right").tap()
    assert marks_of(made.page) == {1: ("right", None)}
    context.close()
    assert made.complaints == []


def test_a_card_shows_the_region_in_the_middle_of_its_surroundings() -> None:
    made = card(LOOKS[0], REVIEW.space)
    assert (made.image.width, made.truth.width, made.prediction.width) == (480, 480, 480)
    assert made.image.height == made.truth.height == made.prediction.height
    assert made.truth.uri != made.prediction.uri


def test_a_page_without_regions_says_so(tmp_path: Path) -> None:
    empty = Review(regions=(), space=REVIEW.space, about={**REVIEW.about, "found": 0})
    text = write_review_page(empty, [], tmp_path).read_text(encoding="utf-8")
    assert "No region was found" in text
