"""JSON texts out of bodies, and what is held meanwhile."""

import gzip
import sys
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest

from mcp_proxy_exporter.protocol.body import (
    EventStreamBody,
    JsonBody,
    Media,
    media_of,
    open_event_stream,
    open_json,
)
from mcp_proxy_exporter.protocol.jsonrpc import TOO_LARGE
from mcp_proxy_exporter.protocol.limits import Budget, Limits
from mcp_proxy_exporter.protocol.sse import NO_RETRY
from mcp_proxy_exporter.protocol.unpacking import BROKEN_CODING, PART, UNKNOWN_CODING

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMITS = Limits(max_message_bytes=100)


def json_body(
    coding: bytes | None = None, media: Media = Media.JSON, room: int = 1_000_000
) -> tuple[JsonBody, Budget]:
    budget = Budget(room)
    return open_json(LIMITS, budget, coding, media), budget


def event_stream(
    coding: bytes | None = None, room: int = 1_000_000
) -> tuple[EventStreamBody, Budget]:
    budget = Budget(room)
    return open_event_stream(LIMITS, budget, coding), budget


def open_wide(coding: bytes, room: int = 10_000_000) -> tuple[EventStreamBody, Budget]:
    budget = Budget(room)
    return open_event_stream(Limits(), budget, coding), budget


ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
}


@pytest.mark.parametrize(
    ("content_type", "media"),
    [
        (b"application/json", Media.JSON),
        (b"application/json; charset=utf-8", Media.JSON),
        (b"Application/JSON;charset=utf-8", Media.JSON),
        (b" application/json ", Media.JSON),
        (b"application/json-rpc", Media.JSON),
        (b"text/json", Media.JSON),
        (b"application/problem+json", Media.JSON),
        (b"application/vnd.cat+JSON; v=1", Media.JSON),
        (b"text/event-stream", Media.EVENT_STREAM),
        (b"text/event-stream; charset=utf-8", Media.EVENT_STREAM),
        (b"application/x-www-form-urlencoded", Media.FORM),
        (b"application/x-www-form-urlencoded; charset=utf-8", Media.FORM),
        (b"multipart/form-data; boundary=x", Media.FORM),
        (b"Multipart/Mixed", Media.FORM),
        (b"text/html", Media.OTHER),
        (b"application/jsonl", Media.OTHER),
        (b"application/json, application/json", Media.OTHER),
        (b"", Media.OTHER),
        (b"\xff\x00", Media.OTHER),
    ],
)
def test_a_content_type_is_classified(content_type: bytes, media: Media) -> None:
    assert media_of(content_type) is media


def test_a_body_in_one_piece_is_not_copied() -> None:
    body, budget = json_body()
    data = b'{"a":1}'
    assert body.feed(data) == ()
    assert budget.used == len(data)
    assert body.finish() is data
    assert budget.used == 0


def test_a_body_in_pieces_is_joined() -> None:
    body, budget = json_body()
    for piece in (b"{", b"", b'"a"', b":1}"):
        assert body.feed(piece) == ()
    assert budget.used == 7
    assert body.finish() == b'{"a":1}'
    assert budget.used == 0


def test_no_body_is_no_text() -> None:
    body, _ = json_body()
    body.feed(b"")
    assert body.finish() is None


def test_a_body_over_the_limit_is_reported_once_and_freed() -> None:
    body, budget = json_body()
    assert body.feed(b"x" * 100) == ()
    assert body.feed(b"x") == (TOO_LARGE,)
    assert budget.used == 0
    assert body.feed(b"x") == ()
    assert body.finish() is None


def test_a_body_beyond_the_budget_is_reported_and_freed() -> None:
    body, budget = json_body(room=50)
    assert body.feed(b"x" * 40) == ()
    assert body.feed(b"x" * 11) == (TOO_LARGE,)
    assert budget.used == 0


def test_a_closed_body_holds_nothing() -> None:
    body, budget = json_body()
    body.feed(b"abc")
    body.close()
    assert budget.used == 0
    body.close()
    assert budget.used == 0
    assert body.finish() is None


def test_a_coded_body_is_decoded() -> None:
    body, _ = json_body(b"gzip")
    encoded = gzip.compress(b'{"a":1}', mtime=0)
    for i in range(len(encoded)):
        assert body.feed(encoded[i : i + 1]) == ()
    assert body.finish() == b'{"a":1}'


def test_identity_is_no_coding() -> None:
    body, _ = json_body(b"identity")
    body.feed(b"{}")
    assert body.finish() == b"{}"


def test_the_limit_counts_decoded_bytes() -> None:
    body, budget = json_body(b"gzip")
    assert body.feed(gzip.compress(b" " * 101, mtime=0)) == (TOO_LARGE,)
    assert budget.used == 0
    body, _ = json_body(b"gzip")
    assert body.feed(gzip.compress(b" " * 60, mtime=0)) == ()
    assert body.feed(gzip.compress(b" " * 41, mtime=0)) == (TOO_LARGE,)
    body, _ = json_body(b"gzip")
    assert body.feed(gzip.compress(b" " * 100, mtime=0)) == ()


def test_a_broken_coding_is_reported_once() -> None:
    body, _ = json_body(b"gzip")
    assert body.feed(b"no gzip at all") == (BROKEN_CODING,)
    assert body.feed(b"more") == ()


def test_an_unknown_coding_is_reported_if_there_is_a_body() -> None:
    body, _ = json_body(b"rot13")
    assert body.finish() is None
    assert body.feed(b"abc") == (UNKNOWN_CODING,)
    assert body.feed(b"abc") == ()


@pytest.mark.parametrize("beginning", [b"{", b"[", b" \r\n\t{"])
def test_an_undeclared_body_that_begins_like_json_is_read(beginning: bytes) -> None:
    for pieces in ([beginning + b"1"], [beginning[:1], beginning[1:] + b"1"]):
        body, _ = json_body(media=Media.OTHER)
        for piece in pieces:
            assert body.feed(piece) == ()
        assert body.finish() == beginning + b"1"


@pytest.mark.parametrize(
    "content", [b"<html>", b"a=1&b=2", b"--boundary", b"\x89PNG", b"  x", b'"']
)
def test_another_undeclared_body_is_let_pass(content: bytes) -> None:
    body, budget = json_body(media=Media.OTHER)
    assert body.feed(content) == ()
    assert budget.used == 0
    assert body.feed(b"{" * 1_000) == ()
    assert body.finish() is None


def test_nothing_is_reported_of_an_undeclared_body() -> None:
    body, budget = json_body(media=Media.OTHER)
    assert body.feed(b"{" + b"x" * 200) == ()
    assert budget.used == 0
    body, _ = json_body(b"rot13", media=Media.OTHER)
    assert body.feed(b"{") == ()


def test_an_event_stream_gives_the_texts_of_its_messages() -> None:
    body, budget = event_stream()
    stream = (
        b"id: 1\ndata:\n\nevent: endpoint\ndata: /messages\n\n"
        b"event: message\ndata: {}\n\n: ping\n\ndata: []\n\nevent: ping\ndata: {}\n\n"
    )
    assert body.feed(stream) == [b"{}", b"[]"]
    assert budget.used == 0


def test_an_event_stream_is_resumable_after_an_event_id() -> None:
    body, _ = event_stream()
    states = []
    for data in (b"data: {}\n\n", b"id: 1\ndata:\n", b"\n", b": ping\n\n"):
        body.feed(data)
        states.append(body.resumable)
    body.finish()
    assert [*states, body.resumable] == [False, False, True, True, True]


def test_an_event_stream_tells_where_and_when_to_resume() -> None:
    body, _ = event_stream()
    assert (body.event_ids, body.retry) == ((), NO_RETRY)
    body.feed(b"retry: 1500\nid: a\ndata:\n\nid: b\ndata: {}\n\n")
    assert (body.event_ids, body.retry.seconds) == ((b"a", b"b"), 1.5)
    assert body.resumable
    body.feed(b"id:\n\n")
    assert not body.resumable


@pytest.mark.parametrize(
    ("stream", "endpoints"),
    [
        (b"event: endpoint\ndata: /messages?s=1\n\n", [b"/messages?s=1"]),
        (b"data: http://cat.example/m\nevent: endpoint\n\n", [b"http://cat.example/m"]),
        (b'event:endpoint\ndata:{"uri":"/m"}\n\n', [b'{"uri":"/m"}']),
        (b"event: endpoint\ndata: /m\ndata: x\n\n", [b"/m\nx"]),
        (b"event: endpoint\ndata: \n\n", []),
        (b"event: endpoint\n\n", []),
        (b"event: endpoint\ndata: " + b"x" * 101 + b"\n\n", []),
        (b"event: Endpoint\ndata: /m\n\n", []),
        (b"data: /m\n\n", []),
        (b"event: endpoint\ndata: /a\n\ndata: x\n\nevent: endpoint\ndata: /b\n\n", [b"/a", b"/b"]),
    ],
)
def test_an_endpoint_event_gives_its_data(stream: bytes, endpoints: list[bytes]) -> None:
    for size in (1, len(stream)):
        body, _ = event_stream()
        for start in range(0, len(stream), size):
            body.feed(stream[start : start + size])
        assert body.endpoints == endpoints
        assert {type(endpoint) for endpoint in body.endpoints} <= {bytes}


def test_only_so_many_endpoints_are_held() -> None:
    body, _ = event_stream()
    for name in (b"/a", b"/b", b"/c", b"/d", b"/e"):
        body.feed(b"event: endpoint\ndata: " + name + b"\n\n")
    assert body.endpoints == [b"/a", b"/b", b"/c", b"/d"]


def test_a_long_endpoint_is_cut() -> None:
    body = open_event_stream(Limits(), Budget(100_000), None)
    body.feed(b"event: endpoint\ndata: /" + b"x" * 10_000 + b"\n\n")
    assert body.endpoints == [b"/" + b"x" * 8_191]


def test_no_two_streams_share_their_endpoints() -> None:
    first, second = event_stream()[0], event_stream()[0]
    first.feed(b"event: endpoint\ndata: /a\n\n")
    assert second.endpoints == []


def test_events_of_any_type_are_counted() -> None:
    body, _ = event_stream()
    body.feed(b"data:\n\ndata: {}\n\nevent: ping\ndata: x\n\n: c\n\nid: 1\n\ndata: " + b"x" * 101)
    assert body.seen == 3
    body.feed(b"\n\n")
    assert body.seen == 4


def test_an_unfinished_event_counts_until_it_ends() -> None:
    body, budget = event_stream()
    assert body.feed(b"data: abc") == ()
    assert budget.used == 9
    assert body.feed(b"d\ndata: e") == ()
    assert budget.used == 4 + 7
    assert body.feed(b"\n\n") == [b"abcd\ne"]
    assert budget.used == 0


@pytest.mark.parametrize("end", ["finish", "close"])
def test_an_ended_event_stream_holds_nothing(end: str) -> None:
    body, budget = event_stream()
    body.feed(b"data: abc")
    getattr(body, end)()
    assert budget.used == 0
    getattr(body, end)()
    assert budget.used == 0


def test_an_event_over_the_limit_is_reported_in_its_place() -> None:
    body, _ = event_stream()
    stream = b"data: a\n\ndata: " + b"x" * 101 + b"\n\ndata: b\n\n"
    assert body.feed(stream) == [b"a", TOO_LARGE, b"b"]


def test_an_overlong_event_of_another_type_is_nobodys_business() -> None:
    body, _ = event_stream()
    assert body.feed(b"event: ping\ndata: " + b"x" * 101 + b"\n\n") == []


def test_an_event_beyond_the_budget_is_reported_and_the_stream_goes_on() -> None:
    body, budget = event_stream(room=50)
    assert body.feed(b"data: " + b"x" * 34) == ()
    assert budget.used == 40
    assert body.feed(b"x" * 20) == ()
    assert budget.used == 0
    assert body.feed(b"x\n\ndata: b\n\n") == [TOO_LARGE, b"b"]
    assert budget.used == 0


def test_a_coded_event_stream_is_decoded_event_by_event() -> None:
    body, _ = event_stream(b"gzip")
    gzipper = zlib.compressobj(wbits=31)
    for text in (b"{}", b"[]"):
        event = gzipper.compress(b"data: " + text + b"\n\n") + gzipper.flush(zlib.Z_SYNC_FLUSH)
        assert body.feed(event) == [text]


@pytest.mark.parametrize(
    ("coding", "data", "problem"),
    [
        (b"gzip", b"no gzip at all", BROKEN_CODING),
        (b"gzip", gzip.compress(b"data: a\n\n" * 100, mtime=0), TOO_LARGE),
        (b"rot13", b"data: a", UNKNOWN_CODING),
    ],
)
def test_an_unreadable_event_stream_is_over(coding: bytes, data: bytes, problem: object) -> None:
    body, budget = event_stream(coding)
    body.feed(b"")
    assert body.feed(data) == (problem,)
    assert body.feed(data) == ()
    assert budget.used == 0


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
def test_a_decoder_is_paid_for_and_dropped_where_reading_stops(coding: bytes) -> None:
    encode = ENCODERS[coding]
    for end in ("finish", "close"):
        for body, budget in (json_body(coding), event_stream(coding)):
            body.feed(encode(b"data: a")[:6])
            assert budget.used > 10_000
            getattr(body, end)()
            assert budget.used == 0
            assert body._unpacker is not None
            assert body._unpacker._coding is None
            assert body.feed(encode(b"data: a")) == ()
    for open_body in (json_body, event_stream):
        body, budget = open_body(coding)
        assert body.feed(encode(bytes(101))) == (TOO_LARGE,)
        assert budget.used == 0
        assert body._unpacker is not None
        assert body._unpacker._coding is None
    body, budget = json_body(coding, media=Media.OTHER)
    assert body.feed(encode(b"<html>")) == ()
    assert budget.used == 0
    assert body._unpacker is not None
    assert body._unpacker._coding is None


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
def test_a_decoder_beyond_the_budget_is_reported_and_dropped(coding: bytes) -> None:
    encoded = ENCODERS[coding](b"data: a\n\n")
    for open_body in (json_body, event_stream):
        body, budget = open_body(coding, room=10_000)
        assert body.feed(encoded) == (TOO_LARGE,)
        assert body.feed(encoded) == ()
        assert budget.used == 0


def test_much_in_few_bytes_is_looked_at_in_parts() -> None:
    for size in (PART - 9, PART, PART + 1, 10 * PART, 300_000):
        body, budget = open_wide(b"gzip")
        stream = (b"data: abcd\n\n" * (size // 12 + 1))[:size]
        texts = list(body.feed(gzip.compress(stream)))
        assert len(texts) <= PART // 12
        assert body.unfinished is (size > PART)
        while body.unfinished:
            part = body.feed(b"")
            assert len(part) <= PART // 12 + 1
            texts += part
        assert texts == [b"abcd"] * (size // 12)
        assert budget.used < 50_000 + size % 12
        body.close()
        assert budget.used == 0


def test_what_comes_while_parts_wait_comes_after_them() -> None:
    body, _ = open_wide(b"gzip")
    gzipper = zlib.compressobj(wbits=31)
    texts: list[object] = []
    for number in range(3):
        data = gzipper.compress(b"data: %d\n\n" % number * 5_000)
        texts += body.feed(data + gzipper.flush(zlib.Z_SYNC_FLUSH))
    while body.unfinished:
        texts += body.feed(b"")
    assert texts == [b"0"] * 5_000 + [b"1"] * 5_000 + [b"2"] * 5_000


def test_parts_that_wait_are_paid_for() -> None:
    stream = gzip.compress(b"data: abcd\n\n" * 10_000)
    body, budget = open_wide(b"gzip")
    body.feed(stream)
    assert budget.used > 120_000
    body.close()
    assert budget.used == 0
    assert not body.unfinished
    assert body.feed(b"") == ()
    body, budget = open_wide(b"gzip", room=100_000)
    assert body.feed(stream) == (TOO_LARGE,)
    assert budget.used == 0
    assert not body.unfinished


def test_an_uncompressed_stream_leaves_nothing_unfinished() -> None:
    body, _ = event_stream()
    assert len(body.feed(b"data: a\n\n" * 10_000)) == 10_000
    assert not body.unfinished


def test_an_idle_event_stream_is_small() -> None:
    body, _ = event_stream()
    body.feed(b"id: 1\ndata: {}\n\n")
    assert body.__sizeof__() + body._decoder.__sizeof__() < 512
