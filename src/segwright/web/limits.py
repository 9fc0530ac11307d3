"""What the server holds at most, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass, fields

from segwright.contracts import UserError
from segwright.data.reading import MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every limit of a server. Raises UserError for a value outside of its range."""

    queue: int = 64
    """Pictures that are received, waiting or computed at one time; more are refused with 503."""
    batch: int = 8
    """Pictures of one size that are computed together, where that gives the same bytes as one by one."""
    wait_ms: float = 5
    """How long a picture waits for others of its size, milliseconds, and only while others are on their way."""
    pixels: int = 25_000_000
    """Pixels of a picture, read from its head before it is decoded."""
    body_bytes: int = 32 << 20
    """Bytes of a request's body, counted while they arrive."""
    held_bytes: int = 512 << 20
    """Bytes of all bodies together that are held at one time."""
    pictures: int = 16
    """Pictures in one request to /batch."""
    connections: int = 1000
    """Open connections."""
    head_seconds: float = 10
    """Time for the head of a request to arrive."""
    body_seconds: float = 60
    """Time for its body."""
    write_seconds: float = 60
    """How long a client may leave an answer unread."""
    idle_seconds: int = 75
    """How long a connection stays open between two requests: longer than Retry-After asks for, and than proxies keep theirs."""
    predict_seconds: float = 120
    """How long the worker may take for a picture before it is ended and started again."""
    drain_seconds: int = 30
    """Time for accepted requests to be answered after SIGTERM."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), _MOST.get(field.name)
            least = 0 if field.name == "wait_ms" else 1 if field.type == "int" else 0.01
            if not least <= value or (most is not None and value > most):
                upper = "or more" if most is None else f"to {most:,}"
                raise UserError(f"{field.name} is {value}; allowed are {least} {upper}.")


_MOST = {"queue": 512, "batch": 64, "wait_ms": 1000, "pixels": MAX_PIXELS, "pictures": 64}
