"""Endpoints of HTTP+SSE: the addresses that streams announce, and what is sent there."""

import zlib

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    Client,
    Outcome,
    StreamKind,
    StreamOpened,
)
from tests.support.inspection import (
    Wire,
    only,
    outcomes,
    request,
    result,
    sse,
)


@pytest.mark.parametrize(
    ("base", "endpoint", "target"),
    [
        (b"/sse", b"/messages/?session_id=1", b"/messages/?session_id=1"),
        (b"/a/sse", b"message?sessionId=1", b"/a/message?sessionId=1"),
        (b"/a/sse?x=1", b"?sessionid=1", b"/a/sse?sessionid=1"),
        (b"/a/b/sse", b"../message", b"/a/message"),
        (b"/sse", b"http://cat.example:8000/m?s=1#f", b"/m?s=1"),
        (b"/sse", b"//cat.example/m", b"/m"),
        (b"/sse", b"http://cat.example", b"/"),
        (b"/sse", b'{"uri":"/messages?s=1"}', b"/messages?s=1"),
        (b"/sse", b' {"uri": "http://[::1]:80/m", "x": []} ', b"/m"),
        (b"http://cat.example/a/sse", b"m", b"/a/m"),
        (b"/sse", b"/caf\xc3\xa9", b"/caf\xc3\xa9"),
        (b"/sse", b'{"uri":"/caf\\u00e9"}', b"/caf\xc3\xa9"),
        (b"/sse", b"  ", b"/sse"),
    ],
)
def test_an_endpoint_is_resolved_against_its_stream(
    base: bytes, endpoint: bytes, target: bytes
) -> None:
    wire = Wire()
    stream = wire.stream(target=base)
    stream.send(b"event: endpoint\ndata: " + endpoint + b"\n\n")
    wire.post(request(1), target=target).answer(status=202, fields={})
    assert outcomes(wire.events) == []
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize(
    "endpoint",
    [b"http://[", b"http://[x]/m", b'{"uri":5}', b'{"url":"/m"}', b"{", b'{"uri":"\xff"}'],
)
def test_an_address_that_is_none_announces_nothing(endpoint: bytes) -> None:
    wire = Wire()
    stream = wire.get(target=b"/sse")
    assert stream.begin() == [StreamOpened(StreamKind.GET)]
    assert only(stream.send(b"event: endpoint\ndata: " + endpoint + b"\n\n"), StreamOpened) == []
    wire.post(request(1), target=b"/m").answer(status=202, fields={})
    assert outcomes(wire.events) == [Outcome.INVALID_RESPONSE]
    assert only(stream.send(b"event: endpoint\ndata: /m\n\n"), StreamOpened) == [
        StreamOpened(StreamKind.LEGACY_SSE, instead_of=StreamKind.GET)
    ]


def test_an_address_beyond_all_nesting_announces_nothing() -> None:
    wire = Wire()
    stream = wire.stream(target=b"/sse")
    deep = b'{"a":' + b"[" * 200_000
    assert only(stream.send(b"event: endpoint\ndata: " + deep + b"\n\n"), StreamOpened) == []


def test_a_stream_to_the_address_of_an_endpoint_is_another_stream() -> None:
    # Servers that answer GET and POST on one address announce it, to each client the same.
    wire = Wire()
    streams = []
    for _ in range(2):
        stream = wire.stream(target=b"/mcp")
        opened = only(stream.send(b"event: endpoint\ndata: /mcp\n\n"), StreamOpened)
        assert [event.kind for event in opened] == [StreamKind.LEGACY_SSE]
        streams.append(stream)
    wire.post(request(1)).answer(status=202, fields={})
    assert outcomes(streams[1].end()) == []
    assert outcomes(streams[0].send(sse(result(1)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize("size", [1, 40, 10_000])
def test_an_endpoint_after_an_address_that_was_none_is_found_however_it_is_cut(size: int) -> None:
    wire = Wire()
    stream = wire.stream(target=b"/sse")
    data = b"event: endpoint\ndata: http://[\n\nevent: endpoint\ndata: /m\n\n"
    opened = [
        event
        for start in range(0, len(data), size)
        for event in only(stream.send(data[start : start + size]), StreamOpened)
    ]
    assert [event.kind for event in opened] == [StreamKind.LEGACY_SSE]


def test_the_client_of_an_endpoint_is_known_from_its_initialize() -> None:
    wire = Wire()
    stream = wire.announce()
    hello = request(1, "initialize", protocolVersion="2024-11-05", clientInfo={"name": "cat"})
    wire.post(hello, target=b"/m").answer(status=202, fields={})
    stream.send(sse(result(1)))
    turn = wire.post(request(2), target=b"/m")
    assert turn.begun[1].call.client == Client("cat", "2024-11-05")  # type: ignore[union-attr]


def test_an_endpoint_that_several_streams_announce_ends_with_the_last_of_them() -> None:
    wire = Wire()
    first = wire.announce()
    wire.post(request(1), target=b"/m").answer(status=202, fields={})
    second = wire.announce()
    for message_id in (2, 3, 4):
        wire.post(request(message_id), target=b"/m").answer(status=202, fields={})
    assert outcomes(second.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert outcomes(first.send(sse(result(2)))) == [Outcome.SUCCESS]
    assert outcomes(first.end()) == []
    assert outcomes(second.send(sse(result(3)))) == [Outcome.SUCCESS]
    assert outcomes(second.end()) == [Outcome.UPSTREAM_CLOSED]
    assert wire.holds_nothing()


def test_a_stream_that_cannot_be_read_any_more_leaves_its_endpoint_to_the_others() -> None:
    wire = Wire()
    first, second = wire.announce(), wire.announce()
    for message_id in (1, 2):
        wire.post(request(message_id), target=b"/m").answer(status=202, fields={})
    assert outcomes(first.send(b"data: x\n\n" * 100)) == []
    assert outcomes(second.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert outcomes(second.send(b"data: x\n\n" * 100)) == [Outcome.UNINSPECTED]
    assert outcomes([*first.end(), *second.end()]) == []
    assert wire.holds_nothing()


@pytest.mark.parametrize(
    "coded", [b"rubbish", zlib.compress(b"data: " + b"x" * 10_000 + b"\n\n", wbits=31)]
)
def test_a_stream_whose_coding_breaks_leaves_its_calls_uninspected_at_once(coded: bytes) -> None:
    wire = Wire(max_message_bytes=200)
    stream = wire.get(target=b"/sse")
    stream.begin(content_encoding=b"gzip")
    gzipper = zlib.compressobj(wbits=31)
    announced = gzipper.compress(b"event: endpoint\ndata: /m\n\n")
    stream.send(announced + gzipper.flush(zlib.Z_FINISH))
    wire.post(request(1), target=b"/m").answer(status=202, fields={})
    turn = wire.post(request(2), target=b"/m")
    assert outcomes(stream.send(coded)) == [Outcome.UNINSPECTED]
    assert outcomes(turn.answer(status=202, fields={})) == [Outcome.UNINSPECTED]
    assert outcomes(stream.end()) == []
    assert wire.holds_nothing()


def test_a_post_outlives_neither_its_endpoint_nor_its_client() -> None:
    wire = Wire()
    stream = wire.announce()
    turn = wire.post(request(1), target=b"/m")
    assert outcomes(turn.abort(Abort.CLIENT_GONE)) == []  # it waits on the stream, not here
    assert outcomes(stream.abort(Abort.CLIENT_GONE)) == [Outcome.CLIENT_DISCONNECTED]
    assert wire.holds_nothing()


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_only_the_first_usable_address_counts(size: int) -> None:
    wire = Wire()
    stream = wire.stream(target=b"/sse")
    data = b"".join(b"event: endpoint\ndata: %b\n\n" % address for address in (b"/m", b"/n"))
    for start in range(0, len(data), size):
        stream.send(data[start : start + size])
    assert len(only(wire.events, StreamOpened)) == 2
    wire.post(request(1), target=b"/m").answer(status=202, fields={})
    wire.post(request(2), target=b"/n").answer(status=202, fields={})
    assert outcomes(wire.events) == [Outcome.INVALID_RESPONSE]
    assert outcomes(stream.end()) == [Outcome.UPSTREAM_CLOSED]
    assert wire.holds_nothing()


def test_a_stream_of_the_old_transport_that_names_a_lost_event_keeps_its_endpoint() -> None:
    wire = Wire()
    stream = wire.stream(target=b"/sse", last_event_id=b"1")
    stream.send(b"event: endpoint\ndata: /m\n\n")
    wire.post(request(7), target=b"/m").answer(status=202, fields={})
    wire.suspend(1, event_id=b"1")
    assert outcomes(stream.send(sse(result(7)))) == [Outcome.SUCCESS]
    stream.end()
    wire.sweep()
    assert wire.holds_nothing()
