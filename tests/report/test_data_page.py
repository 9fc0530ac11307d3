"""The page of a data set: everything is on it, nothing is fetched, hostile names stay text, and it opens well."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from segwright.contracts import UserError
from segwright.data.check import check_data
from segwright.labels import load_label_space
from segwright.report.data_page import UNKNOWN_RGB, mask_picture, render_data_page, write_data_page
from tests.data.check.small_set import change, colored, ids, image, mask, save, small_set


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_set(tmp_path_factory.mktemp("page") / "set <b>&", train=18)
    mask(root, 1).write_bytes(b"")
    save(mask(root, 2), colored(ids(2)))
    change(root, lambda m: np.where(m == 3, np.uint8(77), m), only=3)
    save(image(root, 100), np.array(image_of(root, 5)))
    image(root, 4).rename(image(root, 4).with_name("<script>alert(1)<s>.png"))
    mask(root, 4).rename(mask(root, 4).with_name("<script>alert(1)<s>.png"))
    save(mask(root, 4).with_name("<script>alert(1)<s>.png"), ids(4, (20, 30)))
    return root


def image_of(root: Path, number: int) -> np.ndarray:
    from PIL import Image

    return np.array(Image.open(image(root, number)))


@pytest.fixture(scope="module")
def page(broken: Path) -> Path:
    return write_data_page(check_data(broken), broken.with_name("page.html"))


class Texts(HTMLParser):
    """Tags, attribute values and text of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_the_check_found(broken: Path, page: Path) -> None:
    result = check_data(broken)
    told = Texts(page.read_text(encoding="utf-8"))
    assert result.verdict in told.text
    for group in result.groups:
        assert group.first.code in told.text
        assert group.first.fix in told.text
    for name in ("sky", "road", "tree", "car"):
        assert name in told.text
    assert told.tags.count("script") == 1
    assert all(link.startswith(("data:", "#")) for link in told.links)
    assert told.tags.count("img") > 20
    assert len(page.read_bytes()) < 3_000_000


def test_a_sound_data_set_and_one_without_a_space_have_a_page(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set")
    assert "No fault found." in render_data_page(check_data(root))
    (root / "labels.yaml").unlink()
    change(root, lambda m: np.zeros_like(m))
    told = Texts(render_data_page(check_data(root))).text
    assert "No label space fits the masks" in told
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    assert "No pair of picture and mask could be read" in render_data_page(check_data(root))


def test_unknown_values_are_magenta() -> None:
    space = load_label_space("camvid11")
    raw = np.array([[0, 3, 77, 300]], np.uint16)
    picture = mask_picture(raw, space)
    assert picture[0, :2].tolist() == [list(space.classes[k].color) for k in (0, 3)]
    assert picture[0, 2:].tolist() == [list(UNKNOWN_RGB)] * 2


def test_a_page_that_cannot_be_written_is_the_users_mistake(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_data_page(check_data(broken), tmp_path)


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_opens_without_a_fault_and_requests_nothing(chrome: Browser, page: Path, width: int) -> None:
    tab = chrome.new_page(viewport={"width": width, "height": 800})
    faults: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: faults.append(message.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("dialog", lambda dialog: faults.append(dialog.message))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    expect(tab.locator("h1")).to_have_text(re.compile(r"set <b>&"))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator(".sheet button.view").first.click()
    expect(tab.locator("#viewer")).to_be_visible()
    expect(tab.locator("#viewer-kind")).to_contain_text("1 of ")
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#viewer-kind")).to_contain_text("2 of ")
    expect(tab.locator("#viewer-views")).to_be_hidden()  # one view alone: nothing to compare
    natural = tab.locator(".sheet img").nth(1).evaluate("image => image.naturalWidth")
    assert tab.locator("#viewer-canvas").evaluate("canvas => canvas.width") == natural
    assert faults == []
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    tab.close()
