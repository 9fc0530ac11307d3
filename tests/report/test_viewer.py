"""The viewer and what opens it, in a real browser: the right pixels are lit, and every action has a key and a button."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from segwright.contracts import IGNORE
from segwright.data.safe_palette import safe_picture
from segwright.report.content import ReportPicture
from segwright.report.html import write_report
from tests.report.browser import CHROMIUM, Tab
from tests.report.examples import COLORS, NAMES, Scene, galleried, scenes, space

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (apt-get install chromium)")
COUNT = 9
BY_NAME = {scene.name: scene for scene in scenes(COUNT)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(galleried(COUNT), tmp_path_factory.mktemp("report") / "report.html")


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
    tab.page.evaluate("sessionStorage.clear()")
    tab.page.reload()
    return tab.page


def drawn(view: Page, canvas: str = "#viewer-canvas") -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: the pixels of a canvas, once they no longer change."""
    view.wait_for_timeout(120)
    code = """canvas => {
        const copy = Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height });
        const context = copy.getContext('2d', { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        return [copy.height, copy.width, [...context.getImageData(0, 0, copy.width, copy.height).data]];
    }"""
    height, width, values = view.locator(canvas).evaluate(code)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def press_cell(view: Page, truth: str, found: str) -> None:
    row = view.locator("#cells tbody tr").nth(NAMES.index(truth))
    row.locator("td").nth(NAMES.index(found)).click()
    expect(view.locator("#viewer")).to_be_visible()


def shown(view: Page) -> Scene:
    return BY_NAME[view.locator("#viewer-name").inner_text()]


def set_range(view: Page, selector: str, value: int) -> None:
    code = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }"
    view.locator(selector).evaluate(code, value)


def test_a_cell_opens_its_pictures_with_its_pixels_lit(view: Page) -> None:
    truth, found = NAMES.index("pole"), NAMES.index("building")
    masks = {n: (s.truth == truth) & (s.prediction == found) for n, s in BY_NAME.items()}
    expected = sorted((int(m.sum()) for m in masks.values() if m.any()), reverse=True)
    press_cell(view, "pole", "building")
    thumbs = view.locator("#viewer-strip button")
    expect(thumbs).to_have_count(len(expected))
    assert [int(text.split()[0]) for text in thumbs.all_inner_texts()] == expected
    for place in range(3):
        expect(view.locator("#viewer-kind")).to_contain_text(f"{place + 1} of {len(expected)}")
        mask = masks[shown(view).name]
        assert int(mask.sum()) == expected[place]
        expect(view.locator("#viewer-lit")).to_contain_text(
            f"Lit: pole called building, {expected[place]} pixels of this picture."
        )
        set_range(view, "#viewer-opacity", 100)
        view.keyboard.press("g")
        pixels = drawn(view).astype(int)
        lit = (pixels.max(2) > 101) | (np.ptp(pixels, axis=2) > 0)  # what is not lit is dim grey
        np.testing.assert_array_equal(lit, mask)
        view.keyboard.press("i")
        view.keyboard.press("ArrowRight")
    view.get_by_role("button", name="Show everything").click()
    view.keyboard.press("g")
    assert (drawn(view) == COLORS[NAMES.index("building")]).all(2).any()


def test_the_matrix_opens_by_keyboard_and_gives_the_focus_back(view: Page) -> None:
    view.locator("#cells td[tabindex]").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        view.keyboard.press(key)
    expect(view.locator("#viewer")).to_be_visible()
    expect(view.locator("#viewer-lit")).to_contain_text("car called road")
    view.keyboard.press("Escape")
    expect(view.locator("#viewer")).to_be_hidden()
    assert view.evaluate("document.activeElement.tagName") == "TD"
    view.keyboard.press("ArrowUp")
    view.keyboard.press("ArrowUp")
    view.keyboard.press("Enter")  # building called road never happens: nothing opens
    expect(view.locator("#viewer")).to_be_hidden()


def test_a_class_name_opens_what_was_missed_of_it(view: Page) -> None:
    view.locator("#scores tbody th button", has_text="car").click()
    car = NAMES.index("car")
    missed = {n: ((s.truth == car) & (s.prediction != car)).sum() for n, s in BY_NAME.items()}  # no car pixel is void
    expect(view.locator("#viewer-lit")).to_contain_text("car that was missed")
    assert missed[shown(view).name] == max(missed.values())


def test_a_rank_opens_its_picture(view: Page) -> None:
    chart = view.locator("svg.ranks")
    chart.focus()
    view.keyboard.press("End")
    view.keyboard.press("Enter")
    expect(view.locator("#viewer")).to_be_visible()
    assert shown(view).name == view.locator("article.row .worst + .file").inner_text()


def open_row(view: Page, row: int, layer: int) -> None:
    view.locator("article.row").nth(row).locator("button.view").nth(layer).click()
    expect(view.locator("#viewer")).to_be_visible()


def test_layers_show_the_class_colours_exactly(view: Page) -> None:
    open_row(view, 1, 1)
    set_range(view, "#viewer-opacity", 100)
    scene = shown(view)
    labelled = scene.truth != IGNORE
    np.testing.assert_array_equal(drawn(view)[labelled], space().colorize(scene.truth)[labelled])
    view.keyboard.press("p")
    np.testing.assert_array_equal(drawn(view), space().colorize(scene.prediction))
    view.keyboard.press("c")  # the safe palette, stripes and all
    np.testing.assert_array_equal(drawn(view), safe_picture(scene.prediction, space()))
    view.keyboard.press("c")
    view.keyboard.press("x")  # wrong pixels alone keep their colour
    wrong = (scene.truth != scene.prediction) & labelled
    pixels = drawn(view)
    np.testing.assert_array_equal(pixels[wrong], space().colorize(scene.prediction)[wrong])
    assert np.ptp(pixels[~wrong].astype(int), axis=1).max() == 0
    view.keyboard.press("x")
    view.keyboard.press("l")  # outlines alone: inside of a region the image shows
    assert (drawn(view)[10:20, 5:25] != COLORS[NAMES.index("building")]).any(2).all()


def test_the_safe_palette_draws_the_stripes_that_python_draws(chrome: Browser, tmp_path: Path) -> None:
    labels = space([*NAMES, *(f"class {k}" for k in range(40))])
    report = galleried(3, labels)
    moved = np.arange(48 * 72, dtype=np.uint16).reshape(48, 72) // 80 % 46
    ids = moved.astype(np.uint8)
    pictures = [
        ReportPicture(name=p.name, role=p.role, image=p.image, truth=ids, prediction=ids, miou=None)
        for p in report.pictures
    ]
    context = chrome.new_context()
    page = Tab(context, write_report(replace(report, pictures=pictures, shelf=()), tmp_path / "many.html"))
    page.page.locator("#palette").click()
    open_row(page.page, 0, 1)
    set_range(page.page, "#viewer-opacity", 100)
    np.testing.assert_array_equal(drawn(page.page), safe_picture(ids, labels))
    context.close()
    assert page.complaints == []


def test_a_class_can_be_hidden_by_key_and_by_button(view: Page) -> None:
    open_row(view, 0, 1)
    set_range(view, "#viewer-opacity", 100)
    scene = shown(view)
    buttons = view.locator("#viewer-classes button")
    expect(buttons).to_have_text(list(NAMES[:5]))
    view.keyboard.press("1")
    road = NAMES.index("road")
    expect(buttons.first).to_have_attribute("aria-pressed", "false")
    hidden = (drawn(view) == COLORS[road]).all(2)
    assert not hidden[scene.truth == road].all()
    buttons.first.click()
    np.testing.assert_array_equal((drawn(view) == COLORS[road]).all(2), scene.truth == road)


def test_the_slider_moves_by_keyboard_and_views_blink(view: Page) -> None:
    open_row(view, 0, 2)
    view.keyboard.press("s")
    slider = view.locator("#viewer-split")
    expect(slider).to_be_focused()
    expect(view.locator(".viewer-side.right")).to_have_text("Truth")
    clip = "canvas => canvas.style.clipPath"
    before = view.locator("#viewer-over").evaluate(clip)
    for _ in range(5):
        view.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == 505
    assert view.locator("#viewer-over").evaluate(clip) != before
    view.keyboard.press("s")
    expect(slider).to_be_hidden()
    set_range(view, "#viewer-opacity", 100)
    own = drawn(view)
    view.keyboard.down("b")
    assert (drawn(view) != own).any()
    view.keyboard.up("b")
    np.testing.assert_array_equal(drawn(view), own)


def test_zoom_by_wheel_keys_and_buttons_stays_linked(view: Page) -> None:
    open_row(view, 0, 2)
    view.keyboard.press("s")
    box = view.locator(".viewer-plane").bounding_box()
    assert box is not None
    view.mouse.move(box["x"] + 60, box["y"] + 60)
    view.mouse.wheel(0, -500)
    transform = "canvas => canvas.style.transform"
    zoomed = view.locator("#viewer-canvas").evaluate(transform)
    assert "scale(1)" not in zoomed
    assert view.locator("#viewer-over").evaluate(transform) == zoomed
    view.mouse.down()
    view.mouse.move(box["x"] + 40, box["y"] + 50)
    view.mouse.up()
    assert view.locator("#viewer-canvas").evaluate(transform) != zoomed
    view.keyboard.press("0")
    assert "scale(1)" in view.locator("#viewer-canvas").evaluate(transform)
    view.get_by_role("button", name="Zoom in").click()
    assert "scale(1.5)" in view.locator("#viewer-canvas").evaluate(transform)


def test_pointing_tells_both_classes(view: Page) -> None:
    open_row(view, 0, 0)
    drawn(view)
    scene = shown(view)
    box = view.locator(".viewer-plane").bounding_box()
    assert box is not None
    row, column = 20, 50
    view.mouse.move(box["x"] + (column + 0.5) / 72 * box["width"], box["y"] + (row + 0.5) / 48 * box["height"])
    found = NAMES[scene.prediction[row, column]]
    expect(view.locator(".viewer-tip")).to_have_text(f"Truth: {NAMES[scene.truth[row, column]]}\nPrediction: {found}")


def test_every_button_is_reached_by_tab_and_named(view: Page) -> None:
    open_row(view, 0, 1)
    drawn(view)
    code = "() => [...document.querySelectorAll('#viewer button, #viewer input, #viewer select')].filter(e => e.offsetParent)"
    visible = view.evaluate(f"({code})().length")
    seen: list[Any] = []
    for _ in range(visible + 3):
        view.keyboard.press("Tab")
        seen.append(
            view.evaluate(
                """() => { const e = document.activeElement; const all = [...document.querySelectorAll('#viewer *')];
                return [all.indexOf(e), (e.getAttribute('aria-label') || e.textContent || '').trim()]; }"""
            )
        )
    assert len({place for place, _ in seen if place >= 0}) >= visible
    assert all(name for place, name in seen if place >= 0)


def test_help_lists_the_keys(view: Page) -> None:
    open_row(view, 0, 0)
    view.keyboard.press("?")
    expect(view.locator("#viewer-keys")).to_contain_text("slider between two views")
    view.keyboard.press("?")
    expect(view.locator("#viewer-keys")).to_be_hidden()


def test_the_palette_switch_changes_swatches_charts_and_maps_and_is_remembered(view: Page) -> None:
    fill = "dot => getComputedStyle(dot).fill"
    ground = "mark => getComputedStyle(mark).backgroundColor"
    dot, mark = view.locator("svg.scatter circle.k0"), view.locator("#scores th i.k0")
    official = dot.evaluate(fill)
    assert official == mark.evaluate(ground) == "rgb(128, 64, 128)"
    view.locator("article.row").first.scroll_into_view_if_needed()
    thumb = "article.row:first-of-type figure:nth-child(3) canvas"
    expect(view.locator(thumb)).to_have_count(1)
    name = view.locator("article.row .file").first.inner_text()
    view.locator("#palette").click()
    expect(view.locator("#palette")).to_have_attribute("aria-pressed", "true")
    assert dot.evaluate(fill) == mark.evaluate(ground) == "rgb(86, 180, 233)"
    np.testing.assert_array_equal(drawn(view, thumb), safe_picture(BY_NAME[name].prediction, space()))
    view.reload()
    expect(view.locator("#palette")).to_have_attribute("aria-pressed", "true")


def test_the_viewer_fits_a_phone(chrome: Browser, file: Path) -> None:
    context = chrome.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    made = Tab(context, file)
    open_row(made.page, 0, 1)
    drawn(made.page)
    assert made.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert made.page.evaluate("document.getElementById('viewer').scrollWidth") <= 360
    box = made.page.locator(".viewer-plane").bounding_box()
    assert box is not None
    assert box["width"] >= 240
    context.close()
    assert made.complaints == []


def test_the_page_prints_on_a_few_sheets(chrome: Browser, file: Path) -> None:
    context = chrome.new_context(color_scheme="dark")
    page = Tab(context, file).page
    pdf = page.pdf(format="A4", print_background=True)
    assert 3 <= pdf.count(b"/Type /Page\n") <= 14
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#palette").is_hidden()
    context.close()
