"""Walks of one HTTP exchange through the inspector, for tests that only look at the events."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from mcp_proxy_exporter.protocol import Abort, Event, Inspector, Limits

JSON = {b"content-type": b"application/json"}
EVENTS = {b"content-type": b"text/event-stream"}

Cut = Callable[[bytes], Iterable[bytes]]


def whole(body: bytes) -> Iterable[bytes]:
    """Pass a body in one piece."""
    return [body] if body else []


def single_bytes(body: bytes) -> Iterable[bytes]:
    """Pass a body byte by byte."""
    return (body[i : i + 1] for i in range(len(body)))


def pieces(*cuts: int) -> Cut:
    """Pass a body cut at these places."""

    def cut(body: bytes) -> Iterable[bytes]:
        places = [0, *sorted(place % (len(body) + 1) for place in cuts), len(body)]
        return (body[a:b] for a, b in pairwise(places) if a < b)

    return cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What passes in one HTTP exchange. `end` None leaves it open."""

    method: bytes = b"POST"
    fields: Mapping[bytes, bytes] = field(default_factory=lambda: JSON)
    request: bytes = b""
    status: int | None = 200
    """None: no response head."""
    response_fields: Mapping[bytes, bytes] = field(default_factory=lambda: JSON)
    response: bytes = b""
    end: Abort | str | None = "end"


def walk(
    exchange: Exchange, *, cut: Cut = whole, inspector: Inspector | None = None
) -> list[Event]:
    """Give the events of an exchange; nothing is done where the inspector declines it."""
    inspector = inspector or Inspector(Limits())
    tap = inspector.open(exchange.method, b"/mcp", exchange.fields)
    if tap is None:
        return []
    events: list[Event] = []
    for data in cut(exchange.request):
        events += tap.request_data(data, 1.0)
    events += tap.request_end(2.0)
    if exchange.status is not None:
        events += tap.response_head(exchange.status, exchange.response_fields, 3.0)
        for data in cut(exchange.response):
            events += tap.response_data(data, 4.0)
    if isinstance(exchange.end, Abort):
        events += tap.aborted(exchange.end, 5.0)
    elif exchange.end is not None:
        events += tap.response_end(5.0)
    return events


def plain(events: Sequence[Event]) -> list[tuple[str, object]]:
    """Give events as comparable values: calls compare by identity."""
    return [(type(event).__name__, msgspec.to_builtins(event)) for event in events]
