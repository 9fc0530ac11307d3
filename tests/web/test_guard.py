"""Who may ask: every method of every path, the route table included, under hostile hosts and origins, and without a token."""

from __future__ import annotations

from typing import Any

import pytest

from segwright.contracts import UserError
from segwright.web.limits import Limits
from segwright.web.server import check_token
from tests.web.inside import HOST, METHODS, Reply, call, new_app, routes, run
from tests.web.test_answers import assert_tells_nothing

REBINDING = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.localhost"),
    *("127.0.0.1.nip.io:8000", "localhost.", "LOCALHOST.evil", "0.0.0.0", "0.0.0.0:8000", "169.254.169.254"),
    *("127.0.0.1@evil.example", "evil.example@127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"),
    *(
        "[::]",
        "192.168.1.7:8000",
        "127.0.0.1:8000:80",
        "127.0.0.1 evil",
        "",
        "-",
        "localhost/",
        "a" * 5000,
        "ⓛocalhost",
    ),
]
ORIGINS = [
    *("http://evil.example", "https://evil.example", "null", "file://", "http://localhost:3000", "http://127.0.0.1"),
    *(
        "http://127.0.0.1:80001",
        "http://127.0.0.1:8000.evil.example",
        "http://127.0.0.1:8000@evil",
        "",
        "ws://127.0.0.1:8000",
    ),
]
TOKEN = "correct-horse-battery"


def everywhere(app: Any, headers: list[tuple[bytes, bytes]], chunks: tuple[bytes, ...] = (b"x",)) -> dict[str, Reply]:
    """Every method of every path, and of one that does not exist."""

    async def all_of_them() -> dict[str, Reply]:
        return {
            f"{method} {path}": await call(app, method, path, headers, chunks)
            for path in [*routes(app), "/none", "/predict/none"]
            for method in METHODS
        }

    found: dict[str, Reply] = run(all_of_them())
    return found


def test_the_route_table_is_what_the_tests_cover() -> None:
    paths = routes(new_app())
    assert paths == [
        *(
            "/",
            "/batch",
            "/batch/ids",
            "/docs",
            "/live",
            "/metrics",
            "/model",
            "/openapi.json",
            "/page.css",
            "/page.js",
        ),
        *("/predict", "/predict/ids", "/ready"),
    ]


@pytest.mark.parametrize("host", REBINDING)
def test_foreign_hosts_are_refused_everywhere(host: str) -> None:
    for where, reply in everywhere(new_app(), [(b"host", host.encode())]).items():
        assert reply.status == 421, (where, reply)
        assert_tells_nothing(reply.body)


def test_no_host_and_two_hosts_are_refused_everywhere() -> None:
    for headers in ([], [HOST, HOST], [HOST, (b"host", b"evil.example")]):
        assert {reply.status for reply in everywhere(new_app(), headers).values()} == {421}


@pytest.mark.parametrize("origin", ORIGINS)
def test_foreign_origins_are_refused_everywhere(origin: str) -> None:
    for where, reply in everywhere(new_app(), [HOST, (b"origin", origin.encode())]).items():
        assert reply.status == 403, (where, reply)
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_other_pages_embed_is_refused_everywhere(site: str) -> None:
    embedded = [
        HOST,
        (b"sec-fetch-site", site.encode()),
        (b"sec-fetch-mode", b"no-cors"),
        (b"sec-fetch-dest", b"image"),
    ]
    assert {reply.status for reply in everywhere(new_app(), embedded).values()} == {403}
    framed = [
        HOST,
        (b"sec-fetch-site", site.encode()),
        (b"sec-fetch-mode", b"navigate"),
        (b"sec-fetch-dest", b"iframe"),
    ]
    assert {reply.status for reply in everywhere(new_app(), framed).values()} == {403}
    link = [
        HOST,
        (b"sec-fetch-site", site.encode()),
        (b"sec-fetch-mode", b"navigate"),
        (b"sec-fetch-dest", b"document"),
    ]
    assert run(call(new_app(), "GET", "/", link)).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LocalHost", "[::1]:9000", "127.0.0.1"])
def test_own_hosts_and_their_origins_are_served(host: str) -> None:
    for headers in ([], [(b"origin", f"http://{host}".encode()), (b"sec-fetch-site", b"same-origin")]):
        assert run(call(new_app(), "GET", "/live", [(b"host", host.encode()), *headers])).status == 200


def test_a_proxy_has_to_be_named() -> None:
    app = new_app(hosts=["Segment.Example.org"])
    headers = [(b"host", b"segment.example.org"), (b"origin", b"https://segment.example.org")]
    assert run(call(app, "GET", "/live", headers)).status == 200
    assert run(call(app, "GET", "/live", [(b"host", b"other.example.org")])).status == 421


def test_without_the_token_only_what_tells_nothing_is_served() -> None:
    served = {where.split()[1] for where, r in everywhere(new_app(token=TOKEN), [HOST]).items() if r.status == 200}
    assert served == {"/", "/docs", "/live", "/openapi.json", "/page.css", "/page.js"}
    wrong = [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer correct",
        b"Basic " + TOKEN.encode(),
        TOKEN.encode(),
        b"Bearer \xff\xfe",
    ]
    for value in wrong:
        reply = run(call(new_app(token=TOKEN), "GET", "/metrics", [HOST, (b"authorization", value)]))
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    right = [HOST, (b"authorization", f"Bearer {TOKEN}".encode())]
    assert run(call(new_app(token=TOKEN), "GET", "/metrics", right)).status == 200
    assert run(call(new_app(token=TOKEN), "GET", "/metrics", [*right, right[1]])).status == 401


@pytest.mark.parametrize(
    ("host", "token", "allowed"),
    [
        ("127.0.0.1", None, True),
        ("localhost", None, True),
        ("::1", None, True),
        ("127.3.2.1", None, True),
        ("0.0.0.0", None, False),
        ("::", None, False),
        ("192.168.1.7", None, False),
        ("example.org", None, False),
        ("", None, False),
        ("0.0.0.0", TOKEN, True),
        ("0.0.0.0", "short", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "ü" * 20, False),
    ],
)
def test_others_get_in_with_a_token_alone(host: str, token: str | None, allowed: bool) -> None:
    if allowed:
        check_token(host, token)
        return
    with pytest.raises(UserError, match="token"):
        check_token(host, token)


def test_answers_carry_a_policy_without_inline_code() -> None:
    for where, reply in everywhere(new_app(), [HOST]).items():
        policy = reply.headers["content-security-policy"]
        assert "unsafe" not in policy, where
        assert "default-src 'none'" in policy, where
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "server" not in reply.headers
    for path in ("/", "/docs"):
        page = run(call(new_app(), "GET", path)).body.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert "onclick" not in page
        assert "<script>" not in page
        assert "http://www" not in page.replace("http://www.w3.org/2000/svg", "")


def test_bodies_are_counted_while_they_arrive() -> None:
    app = new_app(limits=Limits(body_bytes=1000))
    for chunks in ([b"x" * 1001], [b"x"] * 1001, [b"x" * 999, b"y" * 2]):
        reply = run(call(app, "POST", "/batch", [HOST, (b"content-type", b"multipart/form-data; boundary=x")], chunks))
        assert reply.status in (413, 503)
    for length in (b"1001", b"99999999999999999999999", b"-1", b"1e3", "١".encode(), b"0x10"):
        assert run(call(app, "POST", "/predict", [HOST, (b"content-length", length)])).status == 413
    zipped = [HOST, (b"content-encoding", b"gzip")]
    assert run(call(app, "POST", "/predict", zipped)).status == 415


def test_limits_say_what_they_allow() -> None:
    for wrong in ({"queue": 0}, {"queue": 513}, {"batch": 65}, {"wait_ms": -1}, {"pixels": 10**9}, {"body_seconds": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]
