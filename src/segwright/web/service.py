"""What the routes share: the engine, the slots, the counts."""

from __future__ import annotations

from typing import Any

from segwright.web.admission import Admission
from segwright.web.counters import Counters
from segwright.web.engine import Answer, Engine
from segwright.web.limits import Limits
from segwright.web.refusals import Refused


class Service:
    """What the routes share. draining: set when the server stops, so that nothing new is sent here."""

    def __init__(self, engine: Engine, limits: Limits, counters: Counters) -> None:
        self.engine, self.limits, self.counters = engine, limits, counters
        self.admission = Admission(limits)
        self.draining = False
        counters.watch("pending_pictures", "Received, waiting or computed.", lambda: self.admission.pending)
        counters.watch("waiting_pictures", "Waiting for the worker.", lambda: engine.waiting)
        counters.watch("held_bytes", "Bytes of bodies held.", lambda: self.admission.held)
        counters.watch("worker_restarts", "Workers that had to be replaced.", lambda: engine.restarts)
        counters.watch("ready", "1 while pictures are taken.", lambda: self.ready)

    @property
    def ready(self) -> bool:
        return self.engine.ready and not self.draining

    async def answer(self, picture: bytes, wish: dict[str, Any]) -> Answer:
        """Raises Refused."""
        if not picture:
            raise Refused(422, "empty", "The picture is empty (0 bytes). Send the file's content as the body.")
        answer = await self.engine.answer(wish, picture)
        self.admission.answered()
        self.counters.answered(answer.batch, answer.seconds)
        return answer
