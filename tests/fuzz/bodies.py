"""Bodies: the same texts and reports however cut, and nothing held beyond the limits.

An input is a ``Content-Type`` field, a ``Content-Encoding`` field (empty: none), and the body, each
on its own line.
"""

import gzip
import zlib
from collections.abc import Sequence

from mcp_proxy_exporter.protocol import Limits
from mcp_proxy_exporter.protocol.body import (
    EventStreamBody,
    JsonBody,
    Media,
    media_of,
    open_event_stream,
    open_json,
)
from mcp_proxy_exporter.protocol.jsonrpc import Malformed
from mcp_proxy_exporter.protocol.limits import Budget
from mcp_proxy_exporter.protocol.unpacking import BROKEN_CODING
from tests.fuzz.corpus import EVENT_TOKENS, FIELD_TOKENS, JSON_TOKENS, event_streams, messages
from tests.fuzz.cuts import cut
from tests.fuzz.hunt import Check, Target

_ROOMY = Limits(max_message_bytes=1 << 24, max_buffered_bytes=1 << 26)
_NARROW = Limits(max_message_bytes=300, max_buffered_bytes=500)
_TIGHT = Limits(max_message_bytes=300, max_buffered_bytes=100)
_SLACK = 1_100
"""Of a line of an event stream, which may hold a field of 1 KiB."""


def begin() -> Check:
    """Begin a life."""
    return check


def check(data: bytes) -> None:
    """Read a body whole and in pieces, with and without room."""
    content_type, _, rest = data.partition(b"\n")
    coding, _, body = rest.partition(b"\n")
    media = media_of(content_type.strip())
    pieces = cut(body)
    whole = _read(_ROOMY, media, coding, [body])
    cut_up = _read(_ROOMY, media, coding, pieces)
    if BROKEN_CODING in whole:
        assert BROKEN_CODING in cut_up  # what came before the fault may have been readable
    else:
        assert cut_up == whole
    narrow = _read(_NARROW, media, coding, pieces)
    if not coding and media is not Media.EVENT_STREAM:
        assert narrow == _read(_NARROW, media, coding, [body])
    _read(_TIGHT, media, coding, pieces)


def _read(limits: Limits, media: Media, coding: bytes, pieces: Sequence[bytes]) -> list[object]:
    budget = Budget(limits.max_buffered_bytes)
    body: EventStreamBody | JsonBody
    if media is Media.EVENT_STREAM:
        body = open_event_stream(limits, budget, coding or None)
    else:
        body = open_json(limits, budget, coding or None, media)
    found: list[object] = []
    for piece in pieces:
        found += map(_plain, body.feed(piece))
        assert 0 <= budget.used <= min(budget.limit, limits.max_message_bytes * 2 + _SLACK)
    text = body.finish()
    assert budget.used == 0
    if text is not None:
        found.append(_plain(text))
        assert len(text) <= limits.max_message_bytes
    if isinstance(body, EventStreamBody):
        found += [body.seen, body.endpoints, body.event_ids, body.resumable]
    return found


def _plain(text: bytes | bytearray | Malformed) -> object:
    return text if isinstance(text, Malformed) else bytes(text)


def _seeds() -> list[bytes]:
    seeds = [b"application/json\n\n" + text for text in messages()[::2]]
    seeds += [b"text/event-stream\n\n" + stream for stream in event_streams()]
    seeds += [b"text/plain\n\n" + text for text in messages()[::8]]
    seeds += [
        b"application/json\ngzip\n" + gzip.compress(text, mtime=0) for text in messages()[::9]
    ]
    for stream in event_streams()[::3]:
        seeds.append(b"text/event-stream; charset=utf-8\ndeflate\n" + zlib.compress(stream))
    seeds.append(b"text/event-stream\n\nevent: endpoint\ndata: /m?s=1\n\n" + b": ping\n\n" * 3)
    seeds.append(b"application/json\nrot13\n{}")
    return seeds


TARGET = Target("bodies", 100_000, _seeds, (*JSON_TOKENS, *EVENT_TOKENS, *FIELD_TOKENS), begin)
