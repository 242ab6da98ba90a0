"""Whatever passes, and however it is cut."""

import gzip
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    Event,
    Inspector,
    Limits,
    MessageKind,
    MessageSeen,
)
from tests.support.holdings import holdings
from tests.support.inspection import Exchange, pieces, plain, single_bytes, walk

from .test_whole_messages import walk_at_once, without_times

FAR = 1e6
"""Seconds after which nothing is waited for any more."""
IDS = st.sampled_from([0, 1, 1.0, "1", "", None, True, "\ud83d", 10**30])
METHODS = st.sampled_from(
    [
        "tools/call",
        "tools/list",
        "ping",
        "initialize",
        "server/discover",
        "tasks/get",
        "x/\u00e9",
        "notifications/cancelled",
        "elicitation/create",
        "notifications/tasks/status",
    ]
)
JUNK: st.SearchStrategy[Any] = st.sampled_from([None, True, 5, "text", [], {}, [{}], {"a": 1}])
PARAMS = JUNK | st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["claw", "sofa", "\ud800", "\x00"]) | JUNK,
        "cursor": st.sampled_from(["1", "2"]) | JUNK,
        "task": st.just({"ttl": 1}) | JUNK,
        "taskId": st.just("t") | JUNK,
        "status": st.sampled_from(["completed", "failed"]) | JUNK,
        "requestId": IDS | JUNK,
        "requestState": st.just("r") | JUNK,
        "_meta": st.just({"io.modelcontextprotocol/protocolVersion": "2026-07-28"}) | JUNK,
    },
)
RESULTS = JUNK | st.fixed_dictionaries(
    {},
    optional={
        "isError": st.booleans() | JUNK,
        "resultType": st.sampled_from(["complete", "task", "input_required", "?"]) | JUNK,
        "task": st.just({"taskId": "t"}) | JUNK,
        "tools": st.just([{"name": "claw"}, {"name": "sofa"}]) | JUNK,
        "taskId": st.just("t") | JUNK,
        "requestState": st.just("r") | JUNK,
        "nextCursor": st.sampled_from(["1", "2"]) | JUNK,
    },
)


def members(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"jsonrpc": st.just("2.0")}, optional=optional)


REQUESTS = members(id=IDS, method=METHODS, params=PARAMS) | JUNK
RESPONSES = members(id=IDS, result=RESULTS) | members(
    id=IDS,
    method=METHODS,
    result=RESULTS,
    error=st.fixed_dictionaries({"code": st.sampled_from([0, -32601, -32042, "x"])}),
)
MESSAGES = REQUESTS | RESPONSES


def texts(messages: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    valid = (messages | st.lists(messages, max_size=4)).map(lambda m: json.dumps(m).encode())
    return valid | st.sampled_from([b"", b"{", b"\xff", b"\xef\xbb\xbf{}", b"[" * 1_500, b"NaN"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = bytearray()
    for text in draw(st.lists(texts(MESSAGES), max_size=4)):
        lines = draw(
            st.lists(
                st.sampled_from([b"id: 1", b"event: message", b"event: ping", b": c", b"data:"]),
                max_size=3,
            )
        )
        for line in [*lines, b"data: " + text, b""]:
            stream += line + end
    return bytes(stream)


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        b"content-type": st.sampled_from(
            [b"application/json", b"text/event-stream", b"text/html", b"application/x+json"]
        ),
        b"mcp-method": st.sampled_from([b"tools/call", b"\xff"]),
        b"mcp-name": st.sampled_from([b"claw", b"=?base64?x?="]),
        b"mcp-protocol-version": st.sampled_from([b"2025-11-25", b"2026-07-28"]),
        b"mcp-session-id": st.sampled_from([b"s", b""]),
        b"last-event-id": st.sampled_from([b"1", b"2"]),
    },
)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    request = draw(texts(MESSAGES) | st.binary(max_size=40))
    response = draw(texts(MESSAGES) | streams() | st.binary(max_size=40))
    fields, response_fields = draw(FIELDS), draw(FIELDS)
    if draw(st.booleans()):
        fields = {**fields, b"content-type": b"application/json"}
    if draw(st.booleans()):
        coding = draw(st.sampled_from([b"gzip", b"rot13", b"br"]))
        response_fields = {**response_fields, b"content-encoding": coding}
        response = gzip.compress(response) if draw(st.booleans()) else response
    return Exchange(
        method=draw(st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"DELETE"])),
        fields=fields,
        request=request,
        status=draw(st.sampled_from([200, 200, 202, 302, 404, 500, None])),
        response_fields=response_fields,
        response=response,
        end=draw(st.sampled_from(["end", "end", None, *Abort])),
    )


def calls(events: Sequence[Event]) -> tuple[list[int], list[int]]:
    return (
        [id(event.call) for event in events if isinstance(event, CallOpened)],
        [id(event.call) for event in events if isinstance(event, CallClosed)],
    )


@settings(max_examples=500)
@given(exchanges(), st.lists(st.integers(0, 1 << 16), max_size=6))
def test_the_events_do_not_depend_on_how_the_bytes_are_cut(
    exchange: Exchange, cuts: list[int]
) -> None:
    expected = plain(walk(exchange))
    assert plain(walk(exchange, cut=pieces(*cuts))) == expected
    assert plain(walk(exchange, cut=single_bytes)) == expected


@settings(max_examples=500)
@given(exchanges().filter(lambda exchange: exchange.status and exchange.end == "end"))
def test_messages_in_one_piece_say_what_their_pieces_say(exchange: Exchange) -> None:
    limited = Inspector(Limits(max_message_bytes=300))
    assert without_times(walk_at_once(exchange)) == without_times(walk(exchange, inspector=limited))


@settings(max_examples=300)
@given(st.lists(exchanges(), max_size=5))
def test_what_is_opened_is_closed_once_and_nothing_is_held(walked: list[Exchange]) -> None:
    inspector = Inspector(Limits(max_message_bytes=300, max_buffered_bytes=400, max_open_calls=2))
    opened: list[int] = []
    closed: list[int] = []
    everything: list[Event] = []  # so that no call's identity is used again
    for exchange in walked:
        events = walk(exchange, inspector=inspector)
        everything += events
        asked = [
            event
            for event in events
            if isinstance(event, MessageSeen) and event.kind is MessageKind.REQUEST
        ]
        begun, ended = calls(events)
        assert len(begun) <= len(asked)
        opened += begun
        closed += ended
        assert len(set(closed)) == len(closed)
        assert set(closed) <= set(opened)
        assert inspector.calls.used == len(opened) - len(closed)
    left = inspector.sweep(FAR)
    closed += calls(left)[1]
    assert len(set(closed)) == len(closed)
    assert inspector.calls.used == len(opened) - len(closed)
    if all(exchange.end is not None for exchange in walked):
        assert set(opened) == set(closed)
        held = holdings(inspector)
        # Who lists tools and stops leaves a place behind, of which there are a few.
        held.pop(".state.catalog._unfinished", None)
        assert held == {}
