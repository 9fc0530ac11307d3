"""Messages between server and worker: whole, broken off, and what is none."""

from __future__ import annotations

import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.web.frames import Frame, pack, read, receive
from tests.web.inside import run


async def received(content: bytes) -> list[Frame]:
    stream = asyncio.StreamReader()
    stream.feed_data(content)
    stream.feed_eof()
    found = []
    while (frame := await receive(stream)) is not None:
        found.append(frame)
    return found


@given(st.lists(st.tuples(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.binary()), max_size=3))
def test_messages_arrive_as_they_were_sent(messages: list[tuple[dict[str, object], bytes]]) -> None:
    content = b"".join(pack(*message) for message in messages)
    stream = io.BytesIO(content)
    assert [read(stream) for _ in messages] == [Frame(*message) for message in messages]
    assert read(stream) is None
    assert run(received(content)) == [Frame(*message) for message in messages]


@pytest.mark.parametrize("cut", [1, 7, 8, 12, 20])
def test_a_broken_message_ends_the_stream(cut: int) -> None:
    content = pack({"is": "done", "number": 1}, b"answer")[:-cut]
    assert read(io.BytesIO(content)) is None
    assert run(received(content)) == []


@pytest.mark.parametrize(
    "stray", [b"Warning: something\n" * 5, b"\0" * 8, b"\0\0\0\4\0\0\0\0nope", b"\0\0\0\2\0\0\0\0\xff\xff"]
)
def test_text_that_strayed_in_ends_the_stream(stray: bytes) -> None:
    assert run(received(stray)) == []
