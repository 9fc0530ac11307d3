"""Messages between server and worker: a JSON head and a payload of bytes, both with their length before them."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

_LENGTHS = struct.Struct("!II")
LARGEST = 1 << 30
"""A length above this is no message but text that strayed into the pipe."""


class Frame(NamedTuple):
    """One message. head: plain data, with `do` or `is` saying what it is about."""

    head: dict[str, Any]
    payload: bytes = b""


def pack(head: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """A message as bytes."""
    text = json.dumps(head, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


def read(stream: IO[bytes]) -> Frame | None:
    """The next message; None at the end of the stream, whole or broken off."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head, payload = _checked(lengths)
    content = stream.read(head + payload)
    return _frame(content, head) if len(content) == head + payload else None


async def receive(stream: asyncio.StreamReader) -> Frame | None:
    """As `read`, without blocking. What is no message ends the stream too: the process behind it cannot be trusted."""
    try:
        head, payload = _checked(await stream.readexactly(_LENGTHS.size))
        return _frame(await stream.readexactly(head + payload), head)
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        return None


def _checked(lengths: bytes) -> tuple[int, int]:
    head, payload = _LENGTHS.unpack(lengths)
    if head + payload > LARGEST:
        raise ConnectionError(f"a message of {head + payload:,} bytes: something else was written into the pipe.")
    return head, payload


def _frame(content: bytes, head: int) -> Frame:
    return Frame(json.loads(content[:head].decode("utf-8", "surrogatepass")), content[head:])
