"""What an upstream does in the rows of the fault matrix, step by step.

Knows framings and how they break off; does not know what follows from it (`fault_table`).
"""

import asyncio
from collections.abc import Callable

from tests.support.fault_messages import Payload, in_chunks, make_head, with_length
from tests.support.messages import LAST_CHUNK
from tests.support.scripted_upstream import Step

Script = Callable[[Payload], tuple[Step, ...]]
Part = Callable[[Payload], bytes]
"""What is sent of a payload."""
Framing = Callable[[Payload, bytes], bytes]
"""A head, and part of the payload after it."""

_DROP_SECONDS = 0.0002


async def pause() -> None:
    """Let what was written arrive as a read of its own; a reset would overtake it."""
    await asyncio.sleep(0.02)


async def stay_silent() -> None:
    """Never go on."""
    await asyncio.Event().wait()


def play(*steps: Step) -> Script:
    """Do the same whatever is asked for."""
    return lambda _: steps


def break_off(framing: Framing, part: Part, *ends: Step) -> Script:
    """Send a part of the answer, then what breaks it."""
    return lambda payload: (framing(payload, part(payload)), pause, *ends)


def by_length(payload: Payload, part: bytes) -> bytes:
    """Promise the whole payload by Content-Length."""
    whole = with_length(payload.whole, payload.content_type)
    return whole[: len(whole) - len(payload.whole)] + part


def by_chunk(payload: Payload, part: bytes) -> bytes:
    """Send the part as one whole chunk."""
    return in_chunks(part, fields=(payload.content_type,))


def by_open_chunk(payload: Payload, part: bytes) -> bytes:
    """Promise the whole payload as one chunk."""
    return in_chunks(fields=(payload.content_type,)) + b"%x\r\n" % len(payload.whole) + part


def by_end(payload: Payload, part: bytes) -> bytes:
    """Promise nothing: the end of the connection is that of the body."""
    return make_head(payload.content_type) + part


def answer_then(*steps: Step, joined: bytes = b"") -> Script:
    """Answer well; ``joined`` comes in the same write."""
    return lambda payload: (with_length(payload.whole, payload.content_type) + joined, *steps)


def answer_in_chunks(joined: bytes) -> Script:
    """Answer well in the chunked coding; ``joined`` comes in the same write."""
    return lambda payload: (by_chunk(payload, payload.whole) + LAST_CHUNK + joined,)


def drip(payload: Payload) -> tuple[Step, ...]:
    """Answer well, byte by byte."""
    whole = by_chunk(payload, payload.whole) + LAST_CHUNK
    drops = [whole[place : place + 1] for place in range(len(whole))]
    return tuple(step for drop in drops for step in (drop, _wait_for_a_drop))


async def _wait_for_a_drop() -> None:
    await asyncio.sleep(_DROP_SECONDS)


def whole(payload: Payload) -> bytes:
    """Give all of a payload."""
    return payload.whole


def half(payload: Payload) -> bytes:
    """Give what breaks off within the body, and within its first event."""
    return payload.whole[: (payload.event or len(payload.whole)) // 2]


def first_event(payload: Payload) -> bytes:
    """Give what breaks off between two events."""
    return payload.whole[: payload.event]


def nothing(_: Payload) -> bytes:
    """Give an empty body."""
    return b""
