"""What every request passes before any route: host, origin, token, size. What every answer carries.

It stands around the whole application, so it holds for every method of every path, known or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import ipaddress
import re
import sys
import time
import traceback
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segwright.web.admission import Admission
from segwright.web.counters import Counters, work_of
from segwright.web.refusals import Refused, not_ready

OPEN = frozenset({"/", "/page.css", "/page.js", "/docs", "/openapi.json", "/live", "/ready"})
"""Paths that need no token: they tell nothing about the model or its use."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
LINGER = 1.0
"""Seconds for which the rest of a refused body is read and thrown away."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?")


class Guard:
    """ASGI middleware. hosts: names under which the server may be asked, besides its own address. token: None asks for none."""

    def __init__(
        self, app: ASGIApp, *, admission: Admission, counters: Counters, hosts: Collection[str], token: str | None
    ) -> None:
        self.app, self.admission, self.counters = app, admission, counters
        self.hosts = frozenset(host.lower() for host in hosts)
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # there is no WebSocket and no start-up message
            return
        start = time.perf_counter()
        body = _Body(receive, self.admission)
        answer = _Answer(send, body)
        try:
            self._check(scope)
            await self.app(scope, body, answer)
        except Refused as refused:
            await answer.instead(refused, scope, receive)
        except asyncio.CancelledError:  # the time to drain is over
            await answer.instead(not_ready("the server stops"), scope, receive)
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            defect = Refused(500, "internal", "The server has a defect; its log says more.", close=True)
            await answer.instead(defect, scope, receive)
        finally:
            body.release()
            self.counters.request(scope["path"], answer.status, time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        doubtful = "content-length" in headers and "transfer-encoding" in headers  # where it ends depends on the reader
        if doubtful or scope["http_version"] not in ("1.0", "1.1"):
            raise Refused(400, "bad_request", "The request is wrong.", close=True)
        self._check_host(headers, scope)
        _check_origin(headers, scope)
        if self.token is not None and scope["path"] not in OPEN:
            self._check_token(headers, self.token)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "encoded", "Send the body as it is, without Content-Encoding.", close=True)
        limit = self.admission.limits.body_bytes
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > limit:
            raise too_long(limit)
        if self.admission.full and scope["method"] == "POST" and work_of(scope["path"]):
            raise self.admission.busy()  # before anything of the request is looked at: refusing has to be cheap

    def _check_host(self, headers: Headers, scope: Scope) -> None:
        given = headers.getlist("host")
        host = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
        if host is None or not self._serves(host[1], scope):
            raise Refused(
                421,
                "unknown_host",
                "The server is not asked by this name. Start it with --allow-host NAME to allow one.",
                close=True,
            )

    def _serves(self, host: str, scope: Scope) -> bool:
        if host in self.hosts:
            return True
        own = _address((scope.get("server") or ("",))[0])
        if own is None:
            return False
        return _address(host.strip("[]")) == own or (own.is_loopback and host in ("localhost", "127.0.0.1", "[::1]"))

    def _check_token(self, headers: Headers, token: str) -> None:
        given = headers.getlist("authorization")
        scheme, _, value = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        right = hmac.compare_digest(value.strip().encode(errors="replace"), token.encode())
        if scheme.lower() != "bearer" or not right:
            message = "This needs the server's token, in the header `Authorization: Bearer TOKEN`."
            raise Refused(401, "token", message, close=True)


def _check_origin(headers: Headers, scope: Scope) -> None:
    """Other pages must not use the server through a visitor's browser; programs send none of these headers."""
    host = headers["host"].lower()
    foreign = any(o.lower() not in (f"http://{host}", f"https://{host}") for o in headers.getlist("origin"))
    if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        foreign = foreign or not (opened and scope["method"] == "GET")
    if foreign:
        raise Refused(403, "foreign_origin", "Pages of other origins may not use this server.", close=True)


def too_long(limit: int) -> Refused:
    return Refused(413, "too_long", f"The body is longer than {limit:,} bytes.", close=True)


@functools.lru_cache(maxsize=256)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class _Body:
    """Counts a body while it arrives. What was counted stays held until the answer is out."""

    def __init__(self, receive: Receive, admission: Admission) -> None:
        self._receive, self._admission = receive, admission
        self._count = 0
        self.complete = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.complete = True
            return message
        self.complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        if self._count + size > self._admission.limits.body_bytes:
            raise too_long(self._admission.limits.body_bytes)
        self._admission.hold(size)
        self._count += size
        return message

    def release(self) -> None:
        self._admission.release(self._count)
        self._count = 0

    async def swallow(self) -> None:
        """Throws away what still comes, for LINGER seconds: closing at once could take the answer from the client."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not self.complete:
                    message = await self._receive()
                    self.complete = not message.get("more_body", False)


class _Answer:
    """Adds the headers of all answers, and notes the status."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send, self._body = send, body
        self._closes = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            self._closes = headers.get("connection") == "close"
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        elif self._closes and not self._body.complete and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.swallow()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def instead(self, refused: Refused, scope: Scope, receive: Receive) -> None:
        """Sends the refusal, unless an answer has begun: that one is cut off."""
        if self.status == 0:
            await refused.response()(scope, receive, self)
