"""One HTTP exchange at a time: which calls it opens and how each of them ends."""

import json
from collections.abc import Mapping, Sequence

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    Content,
    Direction,
    Event,
    ExchangeInspector,
    InspectionStopped,
    Inspector,
    Limits,
    MessageKind,
    MessageSeen,
    Outcome,
)
from tests.support.inspection import EVENTS, JSON, Exchange, walk

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sharpen_claw"}}'
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
ERROR = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}'
FOREIGN_ERROR = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}'
PING = b'{"jsonrpc":"2.0","method":"notifications/ping"}'
MODERN = {**JSON, b"mcp-protocol-version": b"2026-07-28"}
HTML = {b"content-type": b"text/html"}
FAR = 1e6
"""Seconds after which nothing is waited for any more."""


def sse(*texts: bytes, fields: bytes = b"") -> bytes:
    return b"".join(b"%bevent: message\ndata: %b\n\n" % (fields, text) for text in texts)


def ends(events: Sequence[Event]) -> list[CallClosed]:
    """Give the ends of calls, each of which must have begun."""
    begun = [id(event.call) for event in events if isinstance(event, CallOpened)]
    closed = [event for event in events if isinstance(event, CallClosed)]
    assert len({id(event.call) for event in closed}) == len(closed)
    assert {id(event.call) for event in closed} <= set(begun)
    return closed


def outcomes(exchange: Exchange, inspector: Inspector | None = None) -> list[str]:
    return [end.outcome for end in ends(walk(exchange, inspector=inspector))]


def eventually(exchange: Exchange) -> str:
    """Give the outcome of a call that its exchange leaves undecided, once nobody resumed it."""
    inspector = Inspector(Limits())
    events = walk(exchange, inspector=inspector)
    assert ends(events) == []
    assert inspector.calls.used == 1
    [end] = ends([*events, *inspector.sweep(FAR)])
    assert inspector.calls.used == 0
    return end.outcome


def stops(events: Sequence[Event]) -> list[str]:
    return [event.reason for event in events if isinstance(event, InspectionStopped)]


def opened(inspector: Inspector, method: bytes, fields: Mapping[bytes, bytes]) -> ExchangeInspector:
    exchange = inspector.open(method, b"/mcp", fields)
    assert isinstance(exchange, ExchangeInspector)
    return exchange


# What is inspected


@pytest.mark.parametrize("method", [b"DELETE", b"OPTIONS", b"HEAD", b"PUT", b"PATCH", b"post", b""])
def test_only_post_and_get_are_inspected(method: bytes) -> None:
    assert Inspector(Limits()).open(method, b"/mcp", JSON) is None


@pytest.mark.parametrize(
    "content_type", [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"]
)
def test_forms_are_not_inspected(content_type: bytes) -> None:
    assert Inspector(Limits()).open(b"POST", b"/", {b"content-type": content_type}) is None


@pytest.mark.parametrize("fields", [{}, {b"content-type": b"text/plain"}, HTML])
def test_json_rpc_is_recognised_without_its_media_type(fields: dict[bytes, bytes]) -> None:
    assert outcomes(Exchange(fields=fields, request=CALL, response=RESULT)) == [Outcome.SUCCESS]


@pytest.mark.parametrize(
    ("fields", "request_body"),
    [
        ({}, b""),
        ({}, b"meow"),
        (HTML, b"<html></html>"),
        ({}, b"{not json"),
        ({}, b"{}"),
        ({}, b"   "),
        (JSON, b'{"client_name":"cat","redirect_uris":["http://localhost/callback"]}'),
        (JSON, b'[{"a":1},{"b":2}]'),
        (JSON, b"[]"),
        (JSON, b"17"),
        (JSON, b'"jsonrpc"'),
    ],
)
def test_other_traffic_is_let_pass_in_silence(
    fields: dict[bytes, bytes], request_body: bytes
) -> None:
    for response in (b"{", RESULT, b'{"client_id":"x"}'):
        exchange = Exchange(fields=fields, request=request_body, response=response)
        assert walk(exchange) == []


def test_a_call_is_seen_before_it_is_opened_and_closed() -> None:
    events = walk(Exchange(request=CALL, response=RESULT))
    seen, begin, answered, end = events
    assert seen == MessageSeen(Direction.TO_SERVER, MessageKind.REQUEST, "tools/call", len(CALL))
    assert isinstance(begin, CallOpened)
    assert (begin.call.name, begin.call.opened_at) == ("sharpen_claw", 2.0)
    assert answered == MessageSeen(Direction.TO_CLIENT, MessageKind.RESPONSE, None, len(RESULT))
    size = len(b'{"content":[]}')
    assert end == CallClosed(begin.call, Outcome.SUCCESS, 5.0, 5.0, size, None, Content(()))


def test_a_call_on_an_event_stream_ends_with_its_event() -> None:
    end = ends(walk(Exchange(request=CALL, response_fields=EVENTS, response=sse(PING, RESULT))))[0]
    assert (end.at, end.first_message_at) == (4.0, 4.0)


# How calls end


@pytest.mark.parametrize(
    ("status", "fields", "response", "outcome"),
    [
        (200, JSON, RESULT, Outcome.SUCCESS),
        (201, JSON, RESULT, Outcome.SUCCESS),
        (302, JSON, RESULT, Outcome.SUCCESS),
        (200, JSON, ERROR, Outcome.PROTOCOL_ERROR),
        (404, JSON, ERROR, Outcome.PROTOCOL_ERROR),
        (500, EVENTS, sse(ERROR), Outcome.PROTOCOL_ERROR),
        (200, JSON, FOREIGN_ERROR, Outcome.INVALID_RESPONSE),
        (400, JSON, FOREIGN_ERROR, Outcome.HTTP_ERROR),
        (400, JSON, b'{"jsonrpc":"2.0","error":{"code":-32000}}', Outcome.HTTP_ERROR),
        (400, JSON, b'{"jsonrpc":"2.0","id":"server-error","error":{}}', Outcome.HTTP_ERROR),
        (500, JSON, RESULT, Outcome.HTTP_ERROR),
        (500, EVENTS, sse(RESULT), Outcome.HTTP_ERROR),
        (500, EVENTS, sse(PING), Outcome.HTTP_ERROR),
        (502, HTML, b"<html>Bad Gateway</html>", Outcome.HTTP_ERROR),
        (401, {}, b"", Outcome.HTTP_ERROR),
        (401, JSON, b'{"error":"invalid_token"}', Outcome.HTTP_ERROR),
        (200, JSON, b'{"error":"invalid_token"}', Outcome.INVALID_RESPONSE),
        (200, JSON, b"{}", Outcome.INVALID_RESPONSE),
        (200, JSON, b"", Outcome.INVALID_RESPONSE),
        (200, {}, b"", Outcome.INVALID_RESPONSE),
        (200, {}, RESULT, Outcome.INVALID_RESPONSE),
        (200, HTML, b"<html></html>", Outcome.INVALID_RESPONSE),
        (202, {}, b"", Outcome.INVALID_RESPONSE),
        (202, {b"content-type": b"text/plain"}, b"Accepted", Outcome.INVALID_RESPONSE),
        (204, {}, b"", Outcome.INVALID_RESPONSE),
        (307, {b"location": b"/mcp"}, b"", Outcome.INVALID_RESPONSE),
        (200, JSON, b'{"jsonrpc":"2.0","id":1}', Outcome.INVALID_RESPONSE),
        (200, JSON, b'{"jsonrpc":"2.0","id":1,"result":5}', Outcome.INVALID_RESPONSE),
        (200, JSON, b'{"jsonrpc":"2.0","id":"1","result":{}}', Outcome.INVALID_RESPONSE),
        (200, JSON, RESULT[:-1], Outcome.INVALID_RESPONSE),
        (500, JSON, RESULT[:-1], Outcome.HTTP_ERROR),
        (200, EVENTS, b"", Outcome.UPSTREAM_CLOSED),
        (200, EVENTS, b": ping\n\n", Outcome.UPSTREAM_CLOSED),
        (200, EVENTS, sse(PING), Outcome.UPSTREAM_CLOSED),
        (200, EVENTS, sse(b"{}"), Outcome.UPSTREAM_CLOSED),
        (200, EVENTS, sse(RESULT)[:-1], Outcome.UPSTREAM_CLOSED),
        (200, EVENTS, sse(RESULT[:-1]), Outcome.INVALID_RESPONSE),
        (200, EVENTS, b"event: ping\ndata: x\n\n", Outcome.UPSTREAM_CLOSED),
        (200, EVENTS, b"id: 1\ndata:\n\n" + sse(RESULT), Outcome.SUCCESS),
    ],
)
def test_a_response_that_ended_decides(
    status: int, fields: dict[bytes, bytes], response: bytes, outcome: Outcome
) -> None:
    exchange = Exchange(request=CALL, status=status, response_fields=fields, response=response)
    assert outcomes(exchange) == [outcome]


@pytest.mark.parametrize(
    "response", [b"id: 1\ndata:\n\n", sse(b"ping", fields=b"id: 1\n"), b"id: 1\n\n: c\n\ndata:"]
)
@pytest.mark.parametrize("end", ["end", Abort.CLIENT_GONE, Abort.UPSTREAM_CLOSED])
def test_a_stream_that_had_event_ids_decides_nothing_until_nobody_resumed_it(
    response: bytes, end: Abort | str
) -> None:
    exchange = Exchange(request=CALL, response_fields=EVENTS, response=response, end=end)
    assert eventually(exchange) == Outcome.ABANDONED


@pytest.mark.parametrize(
    ("meta", "fields", "outcome"),
    [
        ("2025-11-25", JSON, Outcome.ABANDONED),
        ("2026-07-28", JSON, Outcome.UPSTREAM_CLOSED),
        ("2025-11-25", MODERN, Outcome.UPSTREAM_CLOSED),
        ("x", {**JSON, b"mcp-protocol-version": b"2025-11-25"}, Outcome.ABANDONED),
    ],
)
def test_a_modern_stream_cannot_be_resumed(
    meta: str, fields: dict[bytes, bytes], outcome: Outcome
) -> None:
    params = {"name": "a", "_meta": {"io.modelcontextprotocol/protocolVersion": meta}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    exchange = Exchange(
        fields=fields,
        request=json.dumps(call).encode(),
        response_fields=EVENTS,
        response=b"id: 1\ndata:\n\n",
    )
    if outcome is Outcome.ABANDONED:
        assert eventually(exchange) == outcome
    else:
        assert outcomes(exchange) == [outcome]


ABORTS = [
    (Abort.CLIENT_GONE, Outcome.CLIENT_DISCONNECTED),
    (Abort.UPSTREAM_UNREACHABLE, Outcome.UPSTREAM_UNREACHABLE),
    (Abort.UPSTREAM_TIMEOUT, Outcome.UPSTREAM_TIMEOUT),
    (Abort.UPSTREAM_CLOSED, Outcome.UPSTREAM_CLOSED),
    (Abort.REJECTED, Outcome.REJECTED),
    (Abort.SHUTDOWN, Outcome.PROXY_SHUTDOWN),
    (Abort.FAULT, Outcome.UNINSPECTED),
]


def test_every_cause_has_an_outcome() -> None:
    assert [cause for cause, _ in ABORTS] == list(Abort)


@pytest.mark.parametrize(("cause", "outcome"), ABORTS)
@pytest.mark.parametrize(
    ("status", "fields", "response"),
    [
        (None, JSON, b""),
        (200, JSON, b""),
        (200, JSON, RESULT[:20]),
        (200, JSON, RESULT),
        (500, JSON, ERROR),
        (200, EVENTS, sse(PING) + b"data: "),
        (200, EVENTS, sse(PING) + b"id: 1\ndata: \n"),
        (500, EVENTS, b"id: 1\ndata:\n\n"),
        (502, HTML, b"<html>"),
    ],
)
def test_an_abort_decides_for_what_is_open(
    cause: Abort,
    outcome: Outcome,
    status: int | None,
    fields: dict[bytes, bytes],
    response: bytes,
) -> None:
    exchange = Exchange(
        request=CALL, status=status, response_fields=fields, response=response, end=cause
    )
    assert outcomes(exchange) == [outcome]


@pytest.mark.parametrize(("cause", "outcome"), ABORTS)
def test_an_abort_decides_for_a_call_that_could_be_resumed_if_nobody_can_come_back(
    cause: Abort, outcome: Outcome
) -> None:
    exchange = Exchange(
        request=CALL, response_fields=EVENTS, response=b"id: 1\ndata:\n\n", end=cause
    )
    if cause in {Abort.CLIENT_GONE, Abort.UPSTREAM_CLOSED}:
        assert eventually(exchange) == Outcome.ABANDONED
    else:
        assert outcomes(exchange) == [outcome]


@pytest.mark.parametrize("cause", list(Abort))
def test_an_abort_after_the_answer_changes_nothing(cause: Abort) -> None:
    exchange = Exchange(request=CALL, response_fields=EVENTS, response=sse(RESULT), end=cause)
    assert outcomes(exchange) == [Outcome.SUCCESS]


@pytest.mark.parametrize("cause", list(Abort))
@pytest.mark.parametrize("sent", [b"", CALL[:30], CALL])
def test_a_request_that_was_not_read_whole_is_no_call(cause: Abort, sent: bytes) -> None:
    inspector = Inspector(Limits())
    exchange = opened(inspector, b"POST", JSON)
    assert exchange.request_data(sent, 1.0) == ()
    assert list(exchange.aborted(cause, 2.0)) == []
    assert inspector.buffers.used == 0
    assert exchange.request_end(3.0) == ()


def test_nothing_comes_after_the_end() -> None:
    for end in (None, Abort.CLIENT_GONE):
        exchange = opened(Inspector(Limits()), b"POST", JSON)
        exchange.request_data(CALL, 1.0)
        exchange.request_end(1.0)
        exchange.response_head(200, EVENTS, 1.0)
        if end is None:
            exchange.response_end(2.0)
        else:
            exchange.aborted(end, 2.0)
        assert exchange.request_data(CALL, 3.0) == ()
        assert exchange.request_end(3.0) == ()
        assert exchange.response_head(200, JSON, 3.0) == ()
        assert exchange.response_data(RESULT, 3.0) == ()
        assert exchange.response_end(3.0) == ()
        assert list(exchange.aborted(Abort.SHUTDOWN, 3.0)) == []


def test_nothing_happens_while_nothing_is_whole() -> None:
    exchange = opened(Inspector(Limits()), b"POST", JSON)
    assert exchange.request_data(CALL[:9], 1.0) == ()
    assert exchange.request_data(CALL[9:], 1.0) == ()
    exchange.request_end(1.0)
    assert exchange.response_head(200, EVENTS, 1.0) == ()
    assert exchange.response_data(b"data: ", 1.0) == ()
    assert exchange.response_data(b"\n", 1.0) == ()


def test_an_answer_before_the_end_of_the_request_is_no_answer_to_it() -> None:
    inspector = Inspector(Limits())
    exchange = opened(inspector, b"POST", JSON)
    exchange.request_data(CALL[:9], 1.0)
    assert exchange.response_head(413, JSON, 1.0) == ()
    exchange.response_data(FOREIGN_ERROR, 1.0)
    [seen] = exchange.response_end(2.0)
    assert isinstance(seen, MessageSeen)
    assert exchange.request_end(3.0) == ()
    assert inspector.buffers.used == 0


def test_a_stream_may_begin_before_the_request_ends() -> None:
    exchange = opened(Inspector(Limits()), b"POST", JSON)
    exchange.request_data(CALL, 1.0)
    exchange.response_head(200, EVENTS, 1.0)
    assert [type(event) for event in exchange.response_data(sse(PING), 1.0)] == [MessageSeen]
    begin = exchange.request_end(2.0)[-1]
    assert isinstance(begin, CallOpened)
    [_, end] = exchange.response_data(sse(RESULT), 3.0)
    assert isinstance(end, CallClosed)
    assert end.call is begin.call
    assert exchange.response_end(4.0) == ()


def test_a_foreign_request_silences_a_response_that_has_begun() -> None:
    inspector = Inspector(Limits())
    exchange = opened(inspector, b"POST", {})
    exchange.request_data(b"{}", 1.0)
    exchange.response_head(200, JSON, 1.0)
    exchange.response_data(b"{", 1.0)
    assert exchange.request_end(2.0) == ()
    assert inspector.buffers.used == 0
    assert exchange.response_end(3.0) == ()
