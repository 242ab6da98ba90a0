"""Messages that come in one piece take a shorter way to the same end."""

import gzip

import pytest

from mcp_proxy_exporter.protocol import Event, Inspector, Limits
from tests.support.capture_file import names
from tests.support.inspection import EVENTS, JSON, Exchange, plain, walk

from .test_captures import exchange_of

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
GZIP = {**JSON, b"content-encoding": b"gzip"}

EXCHANGES = {
    "plain": Exchange(request=CALL, response=RESULT),
    "error status": Exchange(request=CALL, status=500, response=RESULT),
    "event stream": Exchange(
        request=CALL, response_fields=EVENTS, response=b"data: " + RESULT + b"\n\n"
    ),
    "an event for somebody else": Exchange(
        request=CALL,
        response_fields=EVENTS,
        response=b"id: 1\ndata: " + RESULT.replace(b"1", b"2") + b"\n\n",
    ),
    "an event without data": Exchange(
        request=CALL, response_fields=EVENTS, response=b"id: 1\ndata: \n\n"
    ),
    "html": Exchange(
        request=CALL, response_fields={b"content-type": b"text/html"}, response=b"<p>"
    ),
    "compressed": Exchange(
        request=gzip.compress(CALL),
        fields=GZIP,
        response_fields=GZIP,
        response=gzip.compress(RESULT),
    ),
    "garbage": Exchange(request=CALL, response=b"{"),
    "garbled request": Exchange(request=b"{", response=RESULT),
    "undeclared": Exchange(fields={}, request=CALL, response=RESULT),
    "foreign": Exchange(request=b'{"client_name":"x"}', response=b'{"client_id":"y"}'),
    "get": Exchange(method=b"GET", response_fields=EVENTS, response=b"data: " + RESULT + b"\n\n"),
    "get json": Exchange(method=b"GET", response=RESULT),
    "too large": Exchange(request=CALL, response=b"[" + RESULT + b" " * 400 + b"]"),
}


def walk_at_once(exchange: Exchange) -> list[Event]:
    """Give the events of an exchange whose two messages come in one piece each."""
    inspection = Inspector(Limits(max_message_bytes=300)).open(
        exchange.method, b"/mcp", exchange.fields
    )
    if inspection is None:
        return []
    assert exchange.status is not None
    events = (
        [*inspection.request(exchange.request, 1.0)]
        if exchange.request
        else [*inspection.request_end(1.0)]
    )
    events += inspection.response(exchange.status, exchange.response_fields, exchange.response, 1.0)
    # It is over.
    assert not inspection.response_end(1.0)
    assert not inspection.request(exchange.request, 1.0)
    assert not inspection.response(200, JSON, RESULT, 1.0)
    return events


def without_times(events: list[Event]) -> list[object]:
    """Give events as values, without the moments that differ by how they were fed."""

    def strip(value: object) -> object:
        if isinstance(value, dict):
            times = ("at", "opened_at", "first_message_at", "duration", "waited")
            return {key: strip(item) for key, item in value.items() if key not in times}
        return value

    return [(name, strip(value)) for name, value in plain(events)]


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_message_in_one_piece_says_what_its_pieces_say(name: str) -> None:
    exchange = EXCHANGES[name]
    limited = Inspector(Limits(max_message_bytes=300))
    assert without_times(walk_at_once(exchange)) == without_times(walk(exchange, inspector=limited))


def is_whole(exchange: Exchange) -> bool:
    """Tell whether a captured answer came to its end, and has a body."""
    return exchange.end == "end" and bool(exchange.response)


@pytest.mark.parametrize("name", [name for name in names() if is_whole(exchange_of(name))])
def test_a_capture_in_one_piece_says_what_its_pieces_say(name: str) -> None:
    exchange = exchange_of(name)
    expected = walk(exchange, inspector=Inspector(Limits(max_message_bytes=300)))
    assert without_times(walk_at_once(exchange)) == without_times(expected)
