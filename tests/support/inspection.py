"""Walks of HTTP exchanges through the inspector, for tests that only look at the events.

`walk` takes one exchange from its beginning to its end; a `Wire` takes several at once, step by
step, at times that the test names.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import msgspec

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    Event,
    Inspector,
    Limits,
    StreamEvents,
)
from mcp_proxy_exporter.protocol.inspector import AnyInspector
from tests.support.holdings import holdings

FAR = 1e6
"""Seconds after which nothing is waited for any more."""

JSON = {b"content-type": b"application/json"}
EVENTS = {b"content-type": b"text/event-stream"}

T = TypeVar("T")
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
    target: bytes = b"/mcp"
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
    tap = inspector.open(exchange.method, exchange.target, exchange.fields)
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
    """Give events as comparable values: calls compare by identity.

    Counts of a stream's events come as their sum, because they are told once for each piece.
    """
    counts = Counter[str]()
    told = []
    for event in events:
        if isinstance(event, StreamEvents):
            counts[event.kind] += event.count
        else:
            told.append((type(event).__name__, msgspec.to_builtins(event)))
    return [*told, *counts.items()]


def message(**members: Any) -> bytes:
    """Write a JSON-RPC message."""
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def request(message_id: Any, method: str = "tools/call", **params: Any) -> bytes:
    """Write a request."""
    return message(id=message_id, method=method, params=params)


def notification(method: str, **params: Any) -> bytes:
    """Write a notification."""
    return message(method=method, params=params)


def result(message_id: Any, value: Any = None) -> bytes:
    """Write a response with a result."""
    return message(id=message_id, result={} if value is None else value)


def error(message_id: Any, code: Any, text: str = "", **members: Any) -> bytes:
    """Write a response with an error."""
    return message(id=message_id, error={"code": code, "message": text, **members})


def sse(*texts: bytes, event_id: bytes | None = None) -> bytes:
    """Write message events; each with the id, if there is one."""
    head = b"" if event_id is None else b"id: %b\n" % event_id
    return b"".join(b"%bdata: %b\n\n" % (head, text) for text in texts)


def only(events: Iterable[Event], kind: type[T]) -> list[T]:
    """Give the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def outcomes(events: Iterable[Event]) -> list[str]:
    """Give how calls ended, in the order of their ends."""
    return [event.outcome for event in only(events, CallClosed)]


class Turn:
    """One exchange of a `Wire`, step by step. Every step gives the events that it brings."""

    def __init__(self, wire: "Wire", tap: AnyInspector) -> None:
        self._wire = wire
        self.tap = tap
        self.begun: list[Event] = []
        """What the request brought."""

    def begin(
        self, status: int = 200, fields: Mapping[bytes, bytes] = EVENTS, **more: bytes
    ) -> list[Event]:
        """Take the head of the response, by default that of an event stream."""
        fields = {**fields, **_fields(more)}
        return self._wire.note(self.tap.response_head(status, fields, self._wire.now))

    def send(self, data: bytes) -> list[Event]:
        """Take bytes of the response."""
        return self._wire.note(self.tap.response_data(data, self._wire.now))

    def end(self) -> list[Event]:
        """Take the clean end of the response."""
        return self._wire.note(self.tap.response_end(self._wire.now))

    def abort(self, cause: Abort) -> list[Event]:
        """Take its early end."""
        return self._wire.note(self.tap.aborted(cause, self._wire.now))

    def answer(
        self,
        data: bytes = b"",
        status: int = 200,
        fields: Mapping[bytes, bytes] = JSON,
        **more: bytes,
    ) -> list[Event]:
        """Take the whole response."""
        fields = {**fields, **_fields(more)}
        return self._wire.note(self.tap.response(status, fields, data, self._wire.now))


class Wire:
    """One inspector and the exchanges through it."""

    def __init__(self, **limits: float) -> None:
        self.inspector = Inspector(Limits(**limits))  # type: ignore[arg-type]
        self.now = 0.0
        self.events: list[Event] = []
        """All that was ever told."""

    def post(self, body: bytes, *, target: bytes = b"/mcp", **fields: bytes) -> Turn:
        """Take a whole request; ``mcp_session_id=b"s"`` adds a header."""
        turn = self._open(b"POST", target, {**JSON, **_fields(fields)})
        turn.begun = self.note(turn.tap.request(body, self.now))
        return turn

    def get(self, *, target: bytes = b"/mcp", **fields: bytes) -> Turn:
        """Take a GET, not answered yet."""
        turn = self._open(b"GET", target, _fields(fields))
        assert not turn.tap.request_end(self.now)
        return turn

    def delete(self, *, target: bytes = b"/mcp", **fields: bytes) -> Turn:
        """Take a DELETE, not answered yet."""
        turn = self._open(b"DELETE", target, _fields(fields))
        assert not turn.tap.request_end(self.now)
        return turn

    def stream(self, *, target: bytes = b"/mcp", **fields: bytes) -> Turn:
        """Take a GET whose answer begins as an event stream."""
        turn = self.get(target=target, **fields)
        turn.begin()
        return turn

    def announce(self) -> Turn:
        """Open a stream of HTTP+SSE, whose calls are sent to ``/m``."""
        stream = self.stream(target=b"/sse")
        stream.send(b"event: endpoint\ndata: /m\n\n")
        return stream

    def suspend(
        self,
        message_id: Any = 1,
        method: str = "tools/call",
        /,
        *,
        event_id: bytes = b"1",
        **fields: bytes,
    ) -> None:
        """Leave a call behind whose stream had one event, and ended."""
        turn = self.post(request(message_id, method), **fields)
        turn.begin()
        turn.send(b"id: %b\ndata:\n\n" % event_id)
        assert not turn.end()

    def sweep(self, now: float = FAR) -> list[Event]:
        """End what is overdue."""
        return self.note(self.inspector.sweep(now))

    def note(self, events: Sequence[Event]) -> list[Event]:
        """Remember what was told; no call may end that did not begin, or end twice."""
        self.events += events
        begun = {id(event.call) for event in only(self.events, CallOpened)}
        ended = [id(event.call) for event in only(self.events, CallClosed)]
        assert len(set(ended)) == len(ended)
        assert set(ended) <= begun
        assert self.inspector.calls.used <= len(begun) - len(ended)
        return list(events)

    def holds_nothing(self) -> bool:
        """Tell whether nothing is remembered any more."""
        return not holdings(self.inspector)

    def _open(self, method: bytes, target: bytes, fields: Mapping[bytes, bytes]) -> Turn:
        tap = self.inspector.open(method, target, fields)
        assert tap is not None
        return Turn(self, tap)


def _fields(fields: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """Give header fields by their names on the wire."""
    return {name.replace("_", "-").encode(): value for name, value in fields.items()}
