"""Hostile requests: traversal, abused forms and chunks, noise. Nothing is told, nothing breaks."""

from __future__ import annotations

import itertools
import json
import random
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from segwright.web.app import build_app
from segwright.web.counters import Counters
from segwright.web.engine import Engine
from segwright.web.limits import Limits
from segwright.web.service import Service
from tests.web.inside import HOST, METHODS, Reply, call, new_app, routes, run
from tests.web.served import Served, form
from tests.web.test_answers import assert_tells_nothing

CANARY = b"canary-7c1f"


def traversals(folder: Path) -> list[str]:
    """Ways to name a file outside, encoded and not: the canary's folder is the working directory."""
    ups = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..\\", "..%5c", "..;/", ".%00./", "....//"]
    ups += ["%c0%ae%c0%ae/", "%uff0e%uff0e/", "/..", "..%c0%af", "..%ef%bc%8f", "%2e%2e%5c"]
    targets = ["etc/passwd", "canary.txt", "windows/win.ini", "proc/self/environ"]
    found = [up * depth + target for up, depth, target in itertools.product(ups, (1, 3, 8), targets)]
    plain = [
        str(folder / "canary.txt"),
        f"file://{folder}/canary.txt",
        "C:/canary.txt",
        "C:\\canary.txt",
        "\\\\host\\share",
    ]
    plain += [
        "//host/share",
        "canary.txt",
        "canary.txt%00.png",
        "link.txt",
        "hard.txt",
        "./canary.txt",
        "%00",
        "CON",
        "~root",
    ]
    plain += ["static/../canary.txt", "page.css/../canary.txt", "..", ".", "%2e", "page.js%00", "page.js;x", "..%0d%0a"]
    return found + plain


def test_no_path_leads_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary.txt").write_bytes(CANARY)
    (tmp_path / "link.txt").symlink_to("canary.txt")
    (tmp_path / "hard.txt").hardlink_to(tmp_path / "canary.txt")
    payloads = traversals(tmp_path)
    assert len(payloads) >= 200
    app = new_app()
    own = {path: run(call(app, "GET", path)).body for path in routes(app)}

    async def walk() -> None:
        for route, payload in itertools.product(routes(app), payloads):
            for target in (f"{route.rstrip('/')}/{payload}", f"{route}?kind={payload}&file={payload}"):
                reply = await call(app, "GET", target)
                assert CANARY not in reply.body, target
                assert b"root:" not in reply.body, target
                assert reply.status != 200 or reply.body == own[route] or route == "/metrics", (target, reply)
                if reply.status >= 400:
                    assert_tells_nothing(reply.body)

    run(walk())


def abused_forms() -> list[tuple[str, bytes, str]]:
    """(what, body, content type): 50 of them."""
    head = b'Content-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    part = b"--x\r\n" + head + b"data\r\n"
    wrong: list[tuple[str, bytes, str]] = []
    for what, boundary in {
        "none": "",
        "empty": "; boundary=",
        "long": "; boundary=" + "x" * 4000,
        "quoted": '; boundary="x',
        "line": "; boundary=x\\r\\ny",
        "not ascii": "; boundary=ü",
        "twice": "; boundary=x; boundary=y",
        "spaces": "; boundary=   ",
    }.items():
        wrong.append((f"boundary {what}", part + b"--x--\r\n", "multipart/form-data" + boundary))
    for what, body in {
        "nothing": b"",
        "no end": part,
        "end alone": b"--x--\r\n",
        "text before": b"hello" + part + b"--x--\r\n",
        "text after": part + b"--x--\r\nhello",
        "no head": b"--x\r\n\r\ndata\r\n--x--\r\n",
        "half a head": b"--x\r\nContent-Dispo",
        "no name": b"--x\r\nContent-Disposition: form-data\r\n\r\nd\r\n--x--\r\n",
        "no file": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nd\r\n--x--\r\n',
        "long head": b"--x\r\nX: " + b"y" * 100_000 + b"\r\n\r\nd\r\n--x--\r\n",
        "many heads": b"--x\r\n" + b"A: b\r\n" * 10_000 + b"\r\nd\r\n--x--\r\n",
        "many parts": part * 1000 + b"--x--\r\n",
        "many fields": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 1000 + b"--x--\r\n",
        "zeros": bytes(100_000),
        "returns": b"\r" * 100_000,
        "lines": b"\r\n" * 100_000,
        "almost ends": b"--x\r\n" + head + b"\r\n--" * 50_000 + b"\r\n--x--\r\n",
        "dashes": b"-" * 100_000,
        "nested": b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n" + head + b"--y\r\n\r\n--y--\r\n--x--\r\n",
        "base64": b"--x\r\nContent-Transfer-Encoding: base64\r\n" + head + b"aGk=\r\n--x--\r\n",
        "name with zero": b'--x\r\nContent-Disposition: form-data; name="p"; filename="a\0b"\r\n\r\nd\r\n--x--\r\n',
        "name not utf-8": b'--x\r\nContent-Disposition: form-data; name="p"; filename="\xff\xfe"\r\n\r\nd\r\n--x--\r\n',
        "name is a path": b'--x\r\nContent-Disposition: form-data; name="p"; filename="../../etc/x"\r\n\r\nd\r\n--x--\r\n',
        "charset": b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\nutf-7\r\n' + part + b"--x--\r\n",
    }.items():
        wrong.append((what, body, "multipart/form-data; boundary=x"))
    whole, kind = part + b"--x--\r\n", "multipart/form-data; boundary=x"
    return wrong + [(f"cut at {5 * n + 1}", whole[: 5 * n + 1], kind) for n in range(50 - len(wrong))]


def test_abused_forms_are_refused(server: Served) -> None:
    assert len(abused_forms()) == 50
    for what, body, kind in abused_forms():
        for path in ("/predict", "/batch"):
            answer = server.ask("POST", path, body, {"content-type": kind.encode("utf-8").decode("latin-1")})
            bad_parts = path == "/batch" and answer.status == 200 and all(e["status"] == 422 for e in answer.json())
            assert bad_parts or answer.status in (400, 422), (what, path, answer)
            assert_tells_nothing(answer.body.replace(b"../../etc/x", b""))
    assert server.ask("GET", "/ready").status == 200


CHUNKS = [
    b"zz\r\n",
    b"-1\r\nx\r\n",
    b"ffffffffffffffffffff\r\nx\r\n",
    b"1;" + b"e" * 100_000 + b"\r\nx\r\n0\r\n\r\n",
    b"1\nx\n0\n\n",
    b"\r\n\r\n",
    b"5\r\nab\r\n0\r\n\r\n",
    b"1\r\nx\r\n0\r\nTrailer: " + b"t" * 100_000 + b"\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n",
]


def raw(server: Served, content: bytes) -> bytes:
    """What comes back for these bytes, until the server closes or says no more for a second."""
    with server.connect() as connection:
        connection.settimeout(5)
        found = b""
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                found += more
        except OSError:
            pass
        return found


@pytest.mark.parametrize("number", range(len(CHUNKS)))
def test_abused_chunks_end_with_an_error(server: Served, number: int) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = raw(server, head + CHUNKS[number])
    assert not answer or answer.split()[1] in (b"400", b"413", b"422", b"499"), answer[:200]
    assert server.ask("GET", "/live").status == 200


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET /\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n: c\r\n\r\n",
        b"\0" * 1000,
    ],
    ids=range(12),
)
def test_what_is_no_request_is_refused(server: Served, content: bytes) -> None:
    answer = raw(server, content)
    assert not answer or answer.split()[1] in (b"400", b"421"), answer[:200]
    assert server.ask("GET", "/live").status == 200


def test_a_websocket_is_not_opened(server: Served) -> None:
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "eA==",
    }
    for path in ("/", "/live", "/predict", "/ws"):
        assert server.ask("GET", path, headers=upgrade).status != 101
        assert server.ask("GET", path, headers=upgrade | {"origin": "http://evil.example"}).status == 403


def fuzz(seed: int, count: int, *, picture: bytes) -> list[tuple[str, str, list[tuple[bytes, bytes]], list[bytes]]]:
    """Requests of random parts, some of them right."""
    dice = random.Random(seed)
    paths = [*routes(new_app()), "/predict/coco", "/predict/x", "/batch/geojson", "", "*", "//", "/%", "/%ff"]
    multipart, header = form({"a.png": picture, "b": b"no"})

    def noise(most: int) -> bytes:
        return dice.randbytes(dice.randrange(most))

    def one() -> tuple[str, str, list[tuple[bytes, bytes]], list[bytes]]:
        query = dice.choice(
            ["", "", "?", f"?{noise(30).hex()}", "?kind=ids", "?opacity=1e999", "?min_pixels=-1", "?kind=%00"]
        )
        headers = [HOST]
        if dice.random() < 0.5:
            headers.append((b"content-type", dice.choice([header["content-type"].encode(), b"image/png", noise(40)])))
        if dice.random() < 0.3:
            headers.append((b"accept", dice.choice([b"image/png", b"text/html", b"*/*", noise(40)])))
        if dice.random() < 0.2:
            names = (b"origin", b"content-length", b"authorization", b"range", b"expect", b"cookie")
            headers.append((dice.choice(names), noise(40)))
        body = dice.choice(
            [b"", noise(2000), picture, picture[: dice.randrange(len(picture))], multipart, damaged(multipart)]
        )
        cuts = sorted(dice.randrange(len(body) + 1) for _ in range(dice.randrange(4)))
        chunks = [body[a:b] for a, b in itertools.pairwise([0, *cuts, len(body)])]
        return dice.choice(METHODS), dice.choice(paths) + query, headers, chunks

    def damaged(content: bytes) -> bytes:
        place = dice.randrange(len(content))
        return content[:place] + noise(8) + content[place + dice.randrange(8) :]

    return [one() for _ in range(count)]


def checked(reply: Reply, request: Any) -> None:
    assert reply.status < 500 or reply.status == 503, (request, reply)
    assert reply.status != 0, request
    if reply.status >= 400:
        assert_tells_nothing(reply.body)


def small_picture() -> bytes:
    import io

    from PIL import Image

    from tests.web.served import photo

    buffer = io.BytesIO()
    Image.fromarray(photo(9, 11)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_random_requests_before_the_model_is_ready() -> None:
    app = new_app()

    async def all_of_them() -> None:
        for method, target, headers, chunks in fuzz(0, 1500, picture=small_picture()):
            checked(await call(app, method, target, headers, chunks), (method, target, headers, chunks))

    run(all_of_them())


@pytest.mark.slow
def test_ten_thousand_random_requests(model: Path) -> None:
    """With a real worker: it is the same one afterwards, and nothing is left pending."""
    settings = {"source": str(model), "runs": "runs", "backend": None, "device": "cpu", "hidden": [str(model)]}
    settings |= {"batch": 8, "wait_ms": 5, "pixels": 1_000_000}
    picture = small_picture()

    async def all_of_them() -> None:
        limits = Limits()
        engine = Engine([sys.executable, "-m", "segwright.api.serving_process", json.dumps(settings)], limits)
        service = Service(engine, limits, Counters())
        app = build_app(service)
        engine.start()
        await engine.settled.wait()
        worker = engine.pid
        answered = 0
        try:
            for method, target, headers, chunks in fuzz(1, 10_000, picture=picture):
                reply = await call(app, method, target, headers, chunks)
                checked(reply, (method, target, headers, chunks))
                answered += reply.status == 200
            assert engine.pid == worker
            assert engine.restarts == 0
            assert service.admission.pending == service.admission.held == 0
            assert answered > 100
        finally:
            await engine.stop()

    run(all_of_them())
