"""Event streams: what the decoder finds is what the specification's words find, however cut."""

from collections.abc import Sequence

from mcp_proxy_exporter.protocol.sse import (
    MAX_FIELD,
    MAX_IDS,
    EventStreamDecoder,
    read_single_message,
)
from tests.fuzz.corpus import EVENT_TOKENS, event_streams
from tests.fuzz.cuts import cut
from tests.fuzz.hunt import Check, Target
from tests.protocol.test_sse import FIXTURES, plain, reference

_ROOMY = 1 << 20
_NARROW = 30
_SLACK = 16
"""Of a line that is held: its field's name."""


def begin() -> Check:
    """Begin a life."""
    return check


def check(stream: bytes) -> None:
    """Decode a stream whole and in pieces, with room and without."""
    whole = _decode([stream], _ROOMY)
    expected = [(kind[:MAX_FIELD], data) for kind, data in reference(stream)]
    assert whole[0] == expected
    assert _decode(cut(stream), _ROOMY) == whole
    narrow = _decode([stream], _NARROW)
    assert narrow[0] == [
        (kind, data if len(data or b"") <= _NARROW else None) for kind, data in expected
    ]
    assert _decode(cut(stream, 1), _NARROW) == narrow
    single = read_single_message(stream)
    if single is not None:
        assert [(kind or b"message", data) for kind, data in expected] == [(b"message", single)]


def _decode(pieces: Sequence[bytes], limit: int) -> tuple[object, ...]:
    decoder = EventStreamDecoder(limit)
    events = []
    for piece in pieces:
        events += plain(decoder.feed(piece))
        assert decoder.buffered <= limit + max(limit, MAX_FIELD) + _SLACK
    assert len(decoder.event_ids) <= MAX_IDS
    return events, decoder.last_event_id, decoder.event_ids, decoder.retry.seconds


def _seeds() -> list[bytes]:
    return [*event_streams(), *(stream for stream, _ in FIXTURES)]


TARGET = Target("sse", 150_000, _seeds, EVENT_TOKENS, begin)
