"""What could not be judged, and what nobody may be hurt by."""

import gzip
import json
import sys
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    InspectionStopped,
    Inspector,
    Limits,
    MessageSeen,
    Outcome,
    ToolsListed,
)
from tests.support.inspection import EVENTS, JSON, Exchange, plain, result, single_bytes, walk

from .test_inspector import (
    CALL,
    FOREIGN_ERROR,
    HTML,
    PING,
    RESULT,
    ends,
    opened,
    outcomes,
    sse,
    stops,
)

# What could not be judged


@pytest.mark.parametrize("cause", [Abort.CLIENT_GONE, Abort.UPSTREAM_CLOSED, Abort.SHUTDOWN])
def test_an_event_that_could_not_be_read_may_have_been_the_answer(cause: Abort) -> None:
    inspection = Inspector(Limits(max_message_bytes=1000)).open(b"POST", b"/mcp", JSON)
    assert inspection is not None
    events = [
        *inspection.request(CALL, 1.0),
        *inspection.response_head(200, EVENTS, 2.0),
        *inspection.response_data(sse(RESULT + b" " * 2000), 2.0),
        *inspection.aborted(cause, 3.0),
    ]
    assert stops(events) == ["too_large"]
    assert [end.outcome for end in ends(events)] == [Outcome.UNINSPECTED]


def test_a_body_broken_off_was_no_answer_however_large() -> None:
    inspection = Inspector(Limits(max_message_bytes=1000)).open(b"POST", b"/mcp", JSON)
    assert inspection is not None
    events = [
        *inspection.request(CALL, 1.0),
        *inspection.response_head(200, JSON, 2.0),
        *inspection.response_data(RESULT + b" " * 2000, 2.0),
        *inspection.aborted(Abort.CLIENT_GONE, 3.0),
    ]
    assert [end.outcome for end in ends(events)] == [Outcome.CLIENT_DISCONNECTED]


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
    # Of a decoder, and of what 1 000 bytes of gzip can hold at most.
    besides = 64 * 1024 + 1_032_000
    for media in (JSON, EVENTS):
        inspector = Inspector(Limits())
        exchange = opened(inspector, b"POST", JSON)
        exchange.request_data(CALL, 1.0)
        exchange.request_end(1.0)
        exchange.response_head(200, {**media, b"content-encoding": coding}, 1.0)
        reasons = []
        for start in range(0, len(bomb), 1_000):
            reasons += stops(exchange.response_data(bomb[start : start + 1_000], 1.0))
            held = inspector.buffers.used
            assert held <= inspector.state.limits.max_message_bytes + besides
            while exchange.unfinished():
                reasons += stops(exchange.response_data(b"", 1.0))
        assert reasons == ["too_large"]
        [end] = exchange.response_end(2.0)
        assert inspector.buffers.used == 0
        assert isinstance(end, CallClosed)
        assert end.outcome is Outcome.UNINSPECTED


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
