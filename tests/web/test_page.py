"""The page in a real browser: drop a picture and see its classes; keyboard, phone, both colour schemes; hostile names."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from segwright.labels import LabelSpace
from segwright.models import Segmenter, build_architecture
from segwright.models.weights import save_segmenter
from tests.web.served import Served, photo, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HOSTILE = [
    *('<img src=x onerror="alert(1)">', "<script>alert(1)</script>", '"><svg onload=alert(1)>', "javascript:alert(1)"),
    *(
        "'-alert(1)-'",
        '" onmouseover="alert(1)',
        "{{constructor.constructor('alert(1)')()}}",
        "${alert(1)}",
        "`${alert(1)}`",
    ),
    *(
        "</title><script>alert(1)</script>",
        "<iframe srcdoc='<script>alert(1)</script>'>",
        "<a href=javascript:alert(1)>x",
    ),
    *(
        "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ),
    *(
        "\u202ealert(1)",
        "<base href=http://evil.example/>",
        "<link rel=stylesheet href=http://evil.example/x.css>",
        "]]><x/>",
    ),
    *(
        "<meta http-equiv=refresh content='0;url=http://evil.example'>",
        "<object data=javascript:alert(1)>",
        "\\u003cimg src=x\\u003e",
    ),
    *(
        "<details open ontoggle=alert(1)>",
        "<video><source onerror=alert(1)>",
        "x' onclick='alert(1)",
        "url(javascript:alert(1))",
    ),
    *(
        "expression(alert(1))",
        "<style>@import'http://evil.example'</style>",
        "<body onload=alert(1)>",
        "%3Cscript%3Ealert(1)",
    ),
    "<input autofocus onfocus=alert(1)>",
]


class Watched:
    """A tab that notes scripts that ran, complaints, and requests to elsewhere."""

    def __init__(self, context: BrowserContext, server: Served) -> None:
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self.server = server
        self.page: Page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on(
            "request",
            lambda r: None if r.url.startswith((server.url, "blob:", "data:")) else self.outside.append(r.url),
        )
        self.page.goto(server.url)

    def give(self, name: str, content: bytes) -> None:
        file: Any = {"name": name, "mimeType": "image/png", "buffer": content}
        self.page.set_input_files("#file", file)

    def shares(self) -> dict[str, float]:
        """Class -> share, as the page lists them."""
        script = "els => els.map(e => [e.querySelector('.sw span').textContent, Number(e.querySelector('data').value)])"
        return dict(self.page.eval_on_selector_all("#shares button", script))

    def pixels(self) -> np.ndarray[Any, Any]:
        """What the canvas shows: uint8 [H, W, 4]."""
        script = """canvas => {
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const { data } = context.getImageData(0, 0, copy.width, copy.height);
            return [...data, copy.height, copy.width];
        }"""
        *values, height, width = self.page.eval_on_selector("#picture", script)
        return np.array(values, np.uint8).reshape(height, width, 4)

    def clean(self) -> None:
        assert self.complaints == []
        assert self.outside == []


@pytest.fixture
def tab(chrome: Browser, server: Served) -> Iterator[Watched]:
    context = chrome.new_context()
    yield Watched(context, server)
    context.close()


def png(height: int = 60, width: int = 80, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo(height, width, seed)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_picture_becomes_its_classes(tab: Watched) -> None:
    tab.give("street.png", png())
    tab.page.wait_for_selector("#result:not([hidden])")
    answer = tab.server.ask("POST", "/predict", png()).json()
    assert tab.shares() == pytest.approx({c["name"]: c["share"] for c in answer["classes"]})
    colors = {c["id"]: c["color"] for c in tab.server.ask("GET", "/model").json()["labels"]["classes"]}
    ids = np.asarray(Image.open(io.BytesIO(tab.server.ask("POST", "/predict/ids", png()).body)))
    tab.page.fill("#opacity", "100")
    expected = np.array([colors[k] for k in sorted(colors)], np.uint8)[ids]
    assert np.array_equal(tab.pixels()[..., :3], expected)
    tab.page.fill("#opacity", "0")
    assert np.array_equal(tab.pixels()[..., :3], photo(60, 80))
    with tab.page.expect_download() as download:
        tab.page.click("#save")
    assert download.value.suggested_filename == "street_ids.png"
    assert np.array_equal(np.asarray(Image.open(download.value.path())), ids)
    tab.clean()


def test_the_keyboard_reaches_everything(tab: Watched) -> None:
    tab.give("a.png", png())
    tab.page.wait_for_selector("#result:not([hidden])")
    seen = []
    for _ in range(14):
        tab.page.keyboard.press("Tab")
        seen.append(tab.page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert [x for x in ("file", "opacity", "save") if x in seen] == ["file", "opacity", "save"]
    tab.page.focus("#shares button")
    tab.page.keyboard.press("Enter")
    assert tab.page.get_attribute("#shares button", "aria-pressed") == "true"
    tab.page.focus("#opacity")
    tab.page.keyboard.press("End")
    assert tab.page.get_attribute("#opacity", "aria-valuetext") == "100 % colour"
    tab.clean()


def test_a_bad_picture_says_why_and_the_next_one_works(tab: Watched) -> None:
    tab.give("no.png", b"hello")
    tab.page.wait_for_selector("#error:not([hidden])")
    assert "no picture that Segwright knows" in tab.page.inner_text("#error")
    tab.give("yes.png", png())
    tab.page.wait_for_selector("#result:not([hidden])")
    assert tab.page.is_hidden("#error")
    assert [c for c in tab.complaints if "422" not in c] == []  # the browser itself notes failed requests


@pytest.mark.slow
def test_hostile_file_names_are_text(tab: Watched) -> None:
    assert len(HOSTILE) == 30
    for name in HOSTILE:
        tab.page.evaluate("() => { document.querySelector('#name').textContent = ''; }")
        tab.page.evaluate(
            """([name, bytes]) => {
                const all = new DataTransfer();
                all.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
                window.dispatchEvent(new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true }));
            }""",
            [name, list(png(9, 11))],
        )
        tab.page.wait_for_function("() => document.querySelector('#name').textContent !== ''")
        assert tab.page.text_content("#name") == name
    assert tab.page.locator("main img, main iframe, main script, main object, main style, main link").count() == 0
    tab.clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(chrome: Browser, server: Served, scheme: Any) -> None:
    context = chrome.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True)
    tab = Watched(context, server)
    tab.give("a.png", png(50, 400))
    tab.page.wait_for_selector("#result:not([hidden])")
    for path in ("/", "/docs"):
        if path != "/":
            tab.page.goto(server.url + path)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360, path
    tab.clean()
    context.close()


@pytest.mark.slow
def test_hostile_class_names_and_the_token(chrome: Browser, tmp_path: Path) -> None:
    """Thirty hostile names in a model's file are text; the page asks for the token, and keeps it in the tab."""
    classes = [{"name": n, "color": [8 * k, 90, 200], "values": [k]} for k, n in enumerate(HOSTILE)]
    hostile = Segmenter(
        build_architecture("small_cnn", len(HOSTILE), {"width": 4}),
        labels=LabelSpace.from_dict({"name": "<b>hostile</b>", "classes": classes}, where="a test"),
        model={"name": "small_cnn", "args": {"width": 4}},
        licence=HOSTILE[0],
    )
    save_segmenter(hostile, tmp_path / "hostile.safetensors")
    token = "a token of this test"
    context = chrome.new_context()
    with serving(tmp_path / "hostile.safetensors", tmp_path, token=token) as server:
        tab = Watched(context, server)
        tab.page.wait_for_selector("#key:not([hidden])")
        tab.page.fill("#token", token)
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_function("() => document.querySelector('#licence').textContent !== ''")
        tab.give("a.png", png())
        tab.page.wait_for_selector("#result:not([hidden])")
        tab.page.evaluate("() => { shown.ids = shown.ids.map((_, at) => at % 30); list(); paint(); }")  # all of them
        assert set(tab.shares()) == set(HOSTILE)
        assert tab.page.locator("main img, main iframe, main script, main object, main style, main link").count() == 0
        # the browser itself notes answers of 401, and of 503 while the model loads
        assert [c for c in tab.complaints if "401" not in c and "503" not in c] == []
        assert tab.outside == []
        assert token not in json.dumps(context.cookies())
    context.close()
