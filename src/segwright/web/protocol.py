"""HTTP connections that end when their client is too slow, and not more of them than allowed.

uvicorn bounds the time between two requests alone: a head or a body that arrives byte by byte would hold a connection for
ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from segwright.web.limits import Limits

LOOK_SECONDS = 1.0


def bounded(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol with these limits."""

    class Bounded(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._doing: object = None
            self._since = self.loop.time()
            self._looking: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._looking = self.loop.call_later(LOOK_SECONDS, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._looking is not None:
                self._looking.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            doing = self._waits_for()
            now = self.loop.time()
            if doing != self._doing:
                self._doing, self._since = doing, now - LOOK_SECONDS
            allowed = {"head": limits.head_seconds, "body": limits.body_seconds, "reader": limits.write_seconds}
            if doing is not None and now - self._since > allowed[doing[0]]:
                self.transport.abort()
                return
            self._looking = self.loop.call_later(LOOK_SECONDS, self._look)

        def _waits_for(self) -> tuple[str, int] | None:
            """What the client owes, and for which request of the connection: head, body, or reading the answer."""
            request = id(self.cycle)
            if self.flow.write_paused:
                return "reader", request
            if self.conn.their_state is h11.SEND_BODY:
                return "body", request
            idle = self.timeout_keep_alive_task is not None  # then uvicorn's own timer runs
            if self.conn.their_state is h11.IDLE and not idle:
                return "head", request
            return None

    return Bounded
