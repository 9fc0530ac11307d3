"""What the server answers: the bytes of offline `predict`, shares, outlines; and what it says of bad pictures."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright.models.weights import load_segmenter
from tests.web.served import Served, form, photo

NAMES = ("a.png", "b.jpg", "grey.png", "turned.jpg", "one.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(photo(67, 101)).save(folder / "a.png")
    Image.fromarray(photo(90, 64, 1)).save(folder / "b.jpg")
    Image.fromarray(photo(40, 50, 2)[..., 0]).save(folder / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(photo(48, 80, 3)).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(photo(1, 1, 4)).save(folder / "one.png")
    return folder


@pytest.fixture(scope="module")
def offline(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("offline")
    segwright.predict([model], pictures, out)
    return out


@pytest.mark.parametrize("kind", ["ids", "color", "overlay"])
def test_pictures_have_the_bytes_of_predict(server: Served, pictures: Path, offline: Path, kind: str) -> None:
    for name in NAMES:
        answer = server.ask("POST", f"/predict/{kind}", (pictures / name).read_bytes())
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        assert answer.body == (offline / f"{Path(name).stem}_{kind}.png").read_bytes(), name


def test_many_at_once_have_them_too(server: Served, pictures: Path, offline: Path) -> None:
    files = {f"{turn}{name}": (pictures / name).read_bytes() for turn in range(3) for name in NAMES}
    body, headers = form(files)
    answer = server.ask("POST", "/batch/ids", body, headers)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        index = json.loads(archive.read("index.json"))
        assert [entry["name"] for entry in index] == list(files)
        for number, entry in enumerate(index, start=1):
            assert entry["file"] == f"{number:03}_ids.png"
            stem = Path(entry["name"][1:]).stem
            assert archive.read(entry["file"]) == (offline / f"{stem}_ids.png").read_bytes()


def test_shares_and_outlines_tell_the_same_pixels(server: Served, pictures: Path, offline: Path) -> None:
    picture = (pictures / "a.png").read_bytes()
    ids = np.asarray(Image.open(offline / "a_ids.png"))
    shares = server.ask("POST", "/predict?kind=json", picture).json()
    assert (shares["height"], shares["width"]) == ids.shape
    assert {c["id"]: c["pixels"] for c in shares["classes"]} == {
        k: n for k, n in enumerate(np.bincount(ids.ravel()).tolist()) if n
    }
    for kind in ("geojson", "coco"):
        found = server.ask("POST", f"/predict/{kind}?min_pixels=1", picture).json()
        regions = found["features"] if kind == "geojson" else found["annotations"]
        counted = np.zeros(4, np.int64)
        for region in regions:
            values = region["properties"] if kind == "geojson" else region
            key = ("id", "pixels") if kind == "geojson" else ("category_id", "area")
            counted[values[key[0]]] += values[key[1]]
        assert counted.tolist() == np.bincount(ids.ravel(), minlength=4).tolist()
    coco = server.ask("POST", "/predict/coco", *form({"my picture.png": picture})).json()
    assert coco["images"] == [{"id": 1, "file_name": "my picture.png", "height": 67, "width": 101}]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, image/png;q=0.9", "image/png"),
        ("application/geo+json", "application/geo+json"),
    ],
)
def test_accept_chooses_the_answer(server: Served, pictures: Path, accept: str, media: str) -> None:
    headers = {"accept": accept} if accept else {}
    answer = server.ask("POST", "/predict", (pictures / "one.png").read_bytes(), headers)
    assert (answer.status, answer.headers["content-type"]) == (200, media)


def test_options_change_the_overlay(server: Served, pictures: Path) -> None:
    picture = (pictures / "a.png").read_bytes()
    plain = server.ask("POST", "/predict/overlay?legend=false&opacity=0", picture)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(plain.body))), photo(67, 101))
    with_legend = server.ask("POST", "/predict/overlay?palette=safe", picture)
    assert Image.open(io.BytesIO(with_legend.body)).size[1] > 67
    for wrong in ("opacity=2", "opacity=nan", "palette=../x", "min_pixels=0", "legend=perhaps"):
        assert server.ask("POST", f"/predict/overlay?{wrong}", picture).status == 422


def huge_png(height: int, width: int) -> bytes:
    """A PNG of a few bytes that says it has this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack("!I", len(content)) + kind + content + struct.pack("!I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def bad_pictures() -> list[tuple[str, bytes, int, str]]:
    """(what, content, status, code)"""
    buffer = io.BytesIO()
    Image.fromarray(photo(64, 64)).save(buffer, format="PNG")
    png = buffer.getvalue()
    return [
        ("nothing", b"", 422, "empty"),
        ("text", b"hello", 422, "bad_picture"),
        ("zeros", bytes(1000), 422, "bad_picture"),
        ("page", b"<html><script>alert(1)</script>", 422, "bad_picture"),
        ("archive", b"PK\x03\x04" + bytes(100), 422, "bad_picture"),
        ("cut", png[: len(png) // 2], 422, "bad_picture"),
        ("changed", png[:200] + b"\x55" + png[201:], 422, "bad_picture"),
        ("too large for this server", huge_png(2000, 2000), 413, "too_many_pixels"),
        ("bomb", huge_png(60000, 60000), 422, "bad_picture"),
        ("too many bytes", bytes((32 << 20) + 1), 413, "too_long"),
    ]


@pytest.mark.parametrize(
    ("what", "content", "status", "code"), bad_pictures(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_bad_pictures_are_refused_by_name(server: Served, what: str, content: bytes, status: int, code: str) -> None:
    answer = server.ask("POST", "/predict", content)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code), what
    assert_tells_nothing(answer.body)


def test_one_bad_picture_does_not_spoil_the_others(server: Served, pictures: Path) -> None:
    body, headers = form({"good.png": (pictures / "a.png").read_bytes(), "../../bad.png": b"no", "empty.png": b""})
    found = server.ask("POST", "/batch", body, headers).json()
    assert [entry["status"] for entry in found] == [200, 422, 422]
    assert found[1]["name"] == "../../bad.png"
    with zipfile.ZipFile(io.BytesIO(server.ask("POST", "/batch/ids", body, headers).body)) as archive:
        assert archive.namelist() == ["001_ids.png", "index.json"]


def test_too_many_files_are_refused(server: Served) -> None:
    body, headers = form({f"{n}.png": b"x" for n in range(17)})
    answer = server.ask("POST", "/batch", body, headers)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "bad_form")


def test_the_model_says_what_it_is_and_names_no_place(server: Served, model: Path) -> None:
    found = server.ask("GET", "/model").json()
    known = load_segmenter(model)
    assert [c["name"] for c in found["labels"]["classes"]] == list(known.labels.class_names)
    assert found["licence"] == "MIT"
    assert len(found["weights_sha256"]) == len(found["provenance_sha256"]) == 64
    assert found["limits"] == {"bytes": 32 << 20, "pixels": 1_000_000, "pictures": 16}
    assert str(model.parent) not in json.dumps(found)


def test_metrics_count_what_was_answered(server: Served, pictures: Path) -> None:
    before = server.metric("segwright_requests_total")
    assert server.ask("POST", "/predict", (pictures / "one.png").read_bytes()).status == 200
    assert server.ask("GET", "/no/such/place").status == 404
    text = server.ask("GET", "/metrics").body.decode()
    assert server.metric("segwright_requests_total") >= before + 3
    assert 'path="/predict",status="200"' in text
    assert 'path="other",status="404"' in text
    assert "/no/such" not in text
    assert server.metric("segwright_pending_pictures") == 0
    assert server.metric("segwright_held_bytes") == 0


def test_nothing_was_connected_to(server: Served, pictures: Path) -> None:
    """Runs after the others of this file: the server and its worker may reach no other machine."""
    assert server.ask("POST", "/predict", (pictures / "a.png").read_bytes()).status == 200
    assert not server.outside.exists(), server.outside.read_text()


def assert_tells_nothing(body: bytes) -> None:
    """No path, no host, no stack."""
    text: Any = body.decode("utf-8", "replace").lower()
    for sign in (
        "traceback",
        'file "',
        "/tmp",
        "/home",
        "/usr",
        "site-packages",
        "segwright-serve",
        ".safetensors",
        ".py",
    ):
        assert sign not in text, text
