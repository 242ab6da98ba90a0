"""Messages that are no answers, batches, and headers that repeat the body."""

import json
from base64 import b64encode
from typing import Any

import pytest

from mcp_proxy_exporter.protocol import (
    Direction,
    InspectionStopped,
    LateResponse,
    MessageKind,
    MessageSeen,
    Outcome,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
)
from tests.support.inspection import EVENTS, JSON, Exchange, walk

from .test_inspector import (
    CALL,
    ERROR,
    FOREIGN_ERROR,
    HTML,
    PING,
    RESULT,
    ends,
    outcomes,
    sse,
    stops,
)

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
