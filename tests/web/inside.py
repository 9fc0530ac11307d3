"""The application called without a socket: any method, path and header, valid or not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp

from segwright.web.app import build_app
from segwright.web.counters import Counters
from segwright.web.engine import Engine
from segwright.web.limits import Limits
from segwright.web.service import Service

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X")
HOST = (b"host", b"127.0.0.1:8000")


@dataclass
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def new_app(*, token: str | None = None, hosts: Iterable[str] = (), limits: Limits | None = None) -> Any:
    """The application around an engine that has not started: everything before the model is real."""
    limits = limits or Limits()
    engine = Engine([sys.executable, "-c", ""], limits)
    return build_app(Service(engine, limits, Counters()), hosts=tuple(hosts), token=token)


def routes(app: Any) -> list[str]:
    """Every path of the application, with `{kind}` filled in; the framework's own included."""
    return sorted({route.path.replace("{kind}", "ids") for route in app.app.routes})


async def call(
    app: ASGIApp,
    method: str,
    target: str,
    headers: Iterable[tuple[bytes, bytes]] = (HOST,),
    chunks: Iterable[bytes] = (b"",),
) -> Reply:
    """One request. target: path and query as they stand in the request line."""
    raw, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
        "raw_path": raw.encode("utf-8", "surrogateescape"),
        "query_string": query.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "scheme": "http",
        "headers": list(headers),
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 4000),
        "state": {},
    }
    parts = list(chunks)
    reply = Reply()
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not parts:
            await left.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert reply.status == 0, "two answers"
            reply.status = message["status"]
            reply.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in message["headers"]}
        else:
            reply.body += message.get("body", b"")

    await app(scope, receive, send)
    return reply


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs it in a thread: the browser of other tests keeps the main thread's event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
