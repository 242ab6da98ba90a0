"""One HTTP exchange at a time: which calls it opens and how each of them ends."""

import gzip
import json
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    Direction,
    Event,
    ExchangeInspector,
    InspectionStopped,
    Inspector,
    LateResponse,
    Limits,
    MessageKind,
    MessageSeen,
    Outcome,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
    ToolsListed,
)
from tests.support.inspection import EVENTS, JSON, Exchange, plain, single_bytes, walk

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
    assert end == CallClosed(begin.call, Outcome.SUCCESS, 5.0, 5.0, len(b'{"content":[]}'), None)


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
    assert exchange.aborted(cause, 2.0) == ()
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
        assert exchange.aborted(Abort.SHUTDOWN, 3.0) == ()


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


# Messages that are no answers


def test_a_second_answer_is_late() -> None:
    events = walk(Exchange(request=CALL, response_fields=EVENTS, response=sse(RESULT, ERROR)))
    assert [end.outcome for end in ends(events)] == [Outcome.SUCCESS]
    assert [event for event in events if isinstance(event, LateResponse)] == [
        LateResponse("tools/call")
    ]


@pytest.mark.parametrize(
    "text", [b"{}", b'{"jsonrpc":"2.0"}', b"[]", b"5", b'{"id":1,"result":{}}']
)
def test_a_stream_may_carry_what_is_no_message(text: bytes) -> None:
    events = walk(Exchange(request=CALL, response_fields=EVENTS, response=sse(text, RESULT)))
    assert [end.outcome for end in ends(events)] == [Outcome.SUCCESS]
    to_client = [e for e in events if isinstance(e, MessageSeen)][1:]
    assert len(to_client) == 1


def test_a_server_may_ask_in_between() -> None:
    question = b'{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}'
    events = walk(Exchange(request=CALL, response_fields=EVENTS, response=sse(question, RESULT)))
    assert events[2] == MessageSeen(
        Direction.TO_CLIENT, MessageKind.REQUEST, "elicitation/create", len(question)
    )
    assert [end.outcome for end in ends(events)] == [Outcome.SUCCESS]


def test_a_clients_answer_opens_nothing() -> None:
    events = walk(Exchange(request=RESULT, status=202, response_fields={}))
    assert events == [MessageSeen(Direction.TO_SERVER, MessageKind.RESPONSE, None, len(RESULT))]


def test_a_refused_notification_shows_its_error() -> None:
    events = walk(Exchange(request=PING, status=400, response=FOREIGN_ERROR))
    assert [type(event) for event in events] == [MessageSeen, MessageSeen]


def test_a_get_shows_the_messages_of_its_event_stream() -> None:
    stream = sse(PING, RESULT, b"{}", b"nonsense")
    events = walk(Exchange(method=b"GET", fields={}, response_fields=EVENTS, response=stream))
    assert [type(event) for event in events] == [
        StreamOpened,
        StreamEvents,
        MessageSeen,
        MessageSeen,
        InspectionStopped,
        StreamClosed,
    ]
    assert events[:2] == [StreamOpened(StreamKind.GET), StreamEvents(StreamKind.GET, 4)]
    assert events[-1] == StreamClosed(StreamKind.GET, 2.0)


@pytest.mark.parametrize("fields", [JSON, HTML, {}])
def test_a_get_of_anything_else_is_let_pass(fields: dict[bytes, bytes]) -> None:
    exchange = Exchange(method=b"GET", fields={}, response_fields=fields, response=RESULT)
    assert walk(exchange) == []


# Batches


def batch(*texts: bytes) -> bytes:
    return b"[" + b", ".join(texts) + b"]"


def call(message_id: Any, method: str = "ping") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message_id, "method": method}).encode()


def result(message_id: Any, value: Any = None) -> bytes:
    content = {} if value is None else value
    return json.dumps({"jsonrpc": "2.0", "id": message_id, "result": content}).encode()


@pytest.mark.parametrize(
    ("fields", "response"),
    [
        (JSON, batch(result(2), result("1", {"isError": True}))),
        (EVENTS, sse(result(2), result("1", {"isError": True}))),
        (EVENTS, sse(batch(result(2), result("1", {"isError": True})))),
    ],
)
def test_each_call_of_a_batch_ends_alone(fields: dict[bytes, bytes], response: bytes) -> None:
    request = batch(call("1", "tools/call"), PING, call(2), call(3))
    events = walk(Exchange(request=request, response_fields=fields, response=response))
    sizes = [event.size for event in events if isinstance(event, MessageSeen)]
    assert sizes[:3] == [len(call("1", "tools/call")), len(PING), len(call(2))]
    assert sizes[-2:] == [len(result(2)), len(result("1", {"isError": True}))]
    rest = Outcome.INVALID_RESPONSE if fields is JSON else Outcome.UPSTREAM_CLOSED
    assert {end.call.method: end.outcome for end in ends(events)[:2]} == {
        "ping": Outcome.SUCCESS,
        "tools/call": Outcome.TOOL_ERROR,
    }
    assert ends(events)[2].outcome is rest
    assert len(ends(events)) == 3


def test_equal_ids_of_a_batch_are_two_calls() -> None:
    request = batch(call(1), call(1))
    for answers, expected in (
        (batch(result(1), result(1)), [Outcome.SUCCESS, Outcome.SUCCESS]),
        (batch(result(1)), [Outcome.SUCCESS, Outcome.INVALID_RESPONSE]),
        (result(1), [Outcome.SUCCESS, Outcome.INVALID_RESPONSE]),
    ):
        assert outcomes(Exchange(request=request, response=answers)) == expected


def test_a_broken_element_spoils_nobody_else() -> None:
    broken = b'{"jsonrpc":"2.0","id":[],"method":"x"}'
    request = batch(broken, b"5", call(1))
    events = walk(Exchange(request=request, response=batch(broken, b"null", result(1))))
    assert stops(events) == ["invalid_json", "invalid_json"]
    assert [end.outcome for end in ends(events)] == [Outcome.SUCCESS]


def test_a_batch_without_a_message_may_still_be_broken() -> None:
    broken = b'{"jsonrpc":"2.0","id":[],"method":"x"}'
    assert stops(walk(Exchange(request=batch(broken), response=batch(result(1))))) == [
        "invalid_json"
    ]


# What could not be judged


@pytest.mark.parametrize(
    "data", [b"{", b"\xff", CALL[:-1], b'{"jsonrpc":"2.0","id":{},"method":"x"}']
)
def test_a_broken_request_is_reported_and_opens_nothing(data: bytes) -> None:
    events = walk(Exchange(request=data, status=400, response=FOREIGN_ERROR))
    assert [type(event) for event in events] == [InspectionStopped, MessageSeen]
    assert stops(events) == ["invalid_json"]


def test_a_broken_response_is_reported() -> None:
    for fields, response in ((JSON, b"{"), (EVENTS, sse(b"{"))):
        events = walk(Exchange(request=CALL, response_fields=fields, response=response))
        assert stops(events) == ["invalid_json"]


def test_an_answer_of_the_wrong_type_is_reported() -> None:
    assert stops(walk(Exchange(request=CALL, response_fields=HTML, response=b"<html>"))) == [
        "content_type"
    ]
    for status, fields in ((200, {}), (202, HTML), (204, HTML), (502, HTML)):
        events = walk(Exchange(request=CALL, status=status, response_fields=fields))
        assert stops(events) == []
    assert stops(walk(Exchange(request=PING, response_fields=HTML, response=b"<html>"))) == []


LIMITS = Limits(max_message_bytes=200, max_buffered_bytes=300, max_open_calls=2)


def test_a_request_over_the_limit_is_reported_and_opens_nothing() -> None:
    inspector = Inspector(LIMITS)
    exchange = Exchange(request=CALL + b" " * 200, response=RESULT)
    events = walk(exchange, inspector=inspector)
    assert [type(event) for event in events] == [InspectionStopped, MessageSeen]
    assert stops(events) == ["too_large"]
    assert inspector.buffers.used == 0


@pytest.mark.parametrize(
    ("fields", "response", "reason"),
    [
        (JSON, RESULT + b" " * 200, "too_large"),
        (EVENTS, sse(RESULT + b" " * 200), "too_large"),
        ({**JSON, b"content-encoding": b"rot13"}, RESULT, "content_encoding"),
        ({**EVENTS, b"content-encoding": b"rot13"}, sse(RESULT), "content_encoding"),
        ({**JSON, b"content-encoding": b"gzip"}, RESULT, "stream_broken"),
        ({**EVENTS, b"content-encoding": b"gzip"}, sse(RESULT), "stream_broken"),
        (JSON, b"[" + b"1," * 99, "invalid_json"),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_a_call_whose_answer_could_not_be_read_is_uninspected(
    fields: dict[bytes, bytes], response: bytes, reason: str, status: int
) -> None:
    exchange = Exchange(request=CALL, status=status, response_fields=fields, response=response)
    events = walk(exchange, inspector=Inspector(LIMITS))
    assert stops(events) == [reason]
    if reason == "invalid_json":
        expected = Outcome.INVALID_RESPONSE if status == 200 else Outcome.HTTP_ERROR
    else:
        expected = Outcome.UNINSPECTED
    assert [end.outcome for end in ends(events)] == [expected]


def test_a_result_beyond_all_nesting_is_uninspected() -> None:
    deep = b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    events = walk(Exchange(request=CALL, response=deep))
    assert stops(events) == ["too_large"]
    assert [end.outcome for end in ends(events)] == [Outcome.UNINSPECTED]


def test_a_stream_goes_on_after_an_event_over_the_limit() -> None:
    response = sse(PING + b" " * 200, RESULT)
    events = walk(
        Exchange(request=CALL, response_fields=EVENTS, response=response),
        inspector=Inspector(LIMITS),
    )
    assert stops(events) == ["too_large"]
    assert [end.outcome for end in ends(events)] == [Outcome.SUCCESS]


def test_an_abort_outweighs_what_could_not_be_read() -> None:
    exchange = Exchange(request=CALL, response=RESULT + b" " * 200, end=Abort.UPSTREAM_CLOSED)
    assert outcomes(exchange, Inspector(LIMITS)) == [Outcome.UPSTREAM_CLOSED]


def test_a_call_beyond_the_limit_is_uninspected_at_once() -> None:
    inspector = Inspector(LIMITS)
    held = [opened(inspector, b"POST", JSON) for _ in range(2)]
    for exchange in held:
        exchange.request_data(CALL, 1.0)
        exchange.request_end(1.0)
    events = walk(Exchange(request=CALL, response=RESULT), inspector=inspector)
    assert stops(events) == ["too_large"]
    assert [end.outcome for end in ends(events)] == [Outcome.UNINSPECTED]
    held[0].aborted(Abort.CLIENT_GONE, 2.0)
    assert outcomes(Exchange(request=CALL, response=RESULT), inspector) == [Outcome.SUCCESS]


def test_exchanges_share_the_budget_and_every_end_frees_it() -> None:
    inspector = Inspector(Limits(max_message_bytes=200, max_buffered_bytes=250))
    first = opened(inspector, b"POST", JSON)
    assert first.request_data(b"x" * 150, 1.0) == ()
    second = opened(inspector, b"POST", JSON)
    assert second.request_data(b"x" * 101, 1.0) == [InspectionStopped("too_large")]
    first.aborted(Abort.CLIENT_GONE, 2.0)
    second.aborted(Abort.CLIENT_GONE, 2.0)
    assert inspector.buffers.used == 0
    for fields, end in ((JSON, "end"), (JSON, Abort.SHUTDOWN), (EVENTS, "end")):
        walk(
            Exchange(request=CALL, response_fields=fields, response=b"data: abc", end=end),
            inspector=inspector,
        )
        assert inspector.buffers.used == 0
        assert inspector.calls.used == 0


# Content codings


@pytest.mark.parametrize(
    ("coding", "encode"),
    [(b"gzip", gzip.compress), (b"br", brotli.compress), (b"zstd", zstd.compress)],
)
def test_coded_bodies_are_read_on_a_copy(coding: bytes, encode: Any) -> None:
    coded = {b"content-encoding": coding}
    for fields, response in ((JSON, RESULT), (EVENTS, sse(PING, RESULT))):
        clear = Exchange(request=CALL, response_fields=fields, response=response)
        encoded = Exchange(
            fields={**JSON, **coded},
            request=encode(CALL),
            response_fields={**fields, **coded},
            response=encode(response),
        )
        assert plain(walk(encoded)) == plain(walk(clear))
        assert plain(walk(encoded, cut=single_bytes)) == plain(walk(clear))


BOMB = b"data: " + bytes(200 * 1024 * 1024) + b"\n\n"


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        (b"gzip", lambda data: gzip.compress(data, 1)),
        (b"br", lambda data: brotli.compress(data, quality=1)),
        (b"zstd", zstd.compress),
    ],
)
def test_a_bomb_is_not_held(coding: bytes, encode: Any) -> None:
    bomb = encode(BOMB)
    for media in (JSON, EVENTS):
        inspector = Inspector(Limits())
        exchange = opened(inspector, b"POST", JSON)
        exchange.request_data(CALL, 1.0)
        exchange.request_end(1.0)
        exchange.response_head(200, {**media, b"content-encoding": coding}, 1.0)
        reasons = []
        for start in range(0, len(bomb), 1_000):
            reasons += stops(exchange.response_data(bomb[start : start + 1_000], 1.0))
            assert inspector.buffers.used <= inspector.state.limits.max_message_bytes + 10
        assert reasons == ["too_large"]
        [end] = exchange.response_end(2.0)
        assert isinstance(end, CallClosed)
        assert end.outcome is Outcome.UNINSPECTED


# Headers that repeat the body


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({}, []),
        ({b"mcp-method": b"tools/call", b"mcp-name": b"sharpen_claw"}, []),
        ({b"mcp-name": b"=?base64?" + b64encode(b"sharpen_claw") + b"?="}, []),
        ({b"mcp-method": b"tools/list"}, ["header_mismatch"]),
        ({b"mcp-name": b"scratch_sofa"}, ["header_mismatch"]),
        ({b"mcp-method": b"x", b"mcp-name": b"x"}, ["header_mismatch"]),
    ],
)
def test_a_contradiction_is_reported_and_the_body_believed(
    fields: dict[bytes, bytes], reasons: list[str]
) -> None:
    events = walk(Exchange(fields={**JSON, **fields}, request=CALL, response=RESULT))
    assert stops(events) == reasons
    [end] = ends(events)
    assert (end.call.name, end.outcome) == ("sharpen_claw", Outcome.SUCCESS)


# The rest


def test_tools_of_all_pages_are_listed_across_exchanges() -> None:
    inspector = Inspector(Limits())
    names = []
    for cursor, page in (
        (None, {"tools": [{"name": "a"}], "nextCursor": "2"}),
        ("2", {"tools": [{"name": "b"}]}),
    ):
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": cursor}}
        events = walk(
            Exchange(request=json.dumps(request).encode(), response=result(1, page)),
            inspector=inspector,
        )
        names += [
            [tool.name for tool in event.tools]
            for event in events
            if isinstance(event, ToolsListed)
        ]
    assert names == [["a", "b"]]


@pytest.mark.parametrize(
    "name", ["\\ud800", "\\u0000", "\\n\\r\\t", "\\u202e", "x" * 1_000_000, "", " "]
)
def test_a_hostile_name_is_only_a_name(name: str) -> None:
    request = CALL.replace(b"sharpen_claw", name.encode())
    [end] = ends(walk(Exchange(request=request, response=RESULT)))
    assert end.outcome is Outcome.SUCCESS
    assert end.call.name is not None
    end.call.name.encode()


def test_an_idle_stream_costs_less_than_2_kib() -> None:
    inspector = Inspector(Limits())
    exchange = opened(inspector, b"POST", JSON)
    exchange.request_data(CALL, 1.0)
    exchange.request_end(1.0)
    exchange.response_head(200, EVENTS, 1.0)
    exchange.response_data(b"id: 0123456789\ndata:\n\n", 1.0)
    tracker, response = exchange._tracker, exchange._response
    assert exchange._request is None
    [call] = tracker.open_calls.values()
    parts = [exchange, tracker, tracker.open_calls, response, response._decoder, call, call.call]  # type: ignore[union-attr]
    texts = [call.call.method, call.call.name]
    assert sum(map(sys.getsizeof, [*parts, *texts])) < 2_048


def test_a_stream_of_garbage_is_given_up() -> None:
    request = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
    inspection = Inspector(Limits()).open(b"POST", b"/", {b"content-type": b"application/json"})
    assert inspection is not None
    events = list(inspection.request(request, 1.0))
    events += inspection.response_head(200, {b"content-type": b"text/event-stream"}, 2.0)
    for _ in range(3):
        events += inspection.response_data(b"data: x\n\n" * 60, 2.0)
    stopped = [event for event in events if isinstance(event, InspectionStopped)]
    assert len(stopped) == 100
    [closed] = inspection.response_end(3.0)
    assert isinstance(closed, CallClosed)
    assert closed.outcome is Outcome.UNINSPECTED
