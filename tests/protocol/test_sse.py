"""The event stream decoder against the algorithm of WHATWG HTML section 9.2.6."""

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.protocol.sse import (
    MAX_FIELD,
    MAX_IDS,
    NO_RETRY,
    EventStreamDecoder,
    ServerSentEvent,
    read_single_message,
)

Events = list[tuple[bytes, bytes | None]]

LIMIT = 1_000
BOM = b"\xef\xbb\xbf"

MESSAGE = b'{"jsonrpc":"2.0","id":3,"result":{}}'

# What servers really send, and what the algorithm has corners for.
FIXTURES: list[tuple[bytes, Events]] = [
    (b"data: " + MESSAGE + b"\n\n", [(b"", MESSAGE)]),
    (b"event: message\r\ndata: " + MESSAGE + b"\r\n\r\n", [(b"message", MESSAGE)]),
    (b"event: message\rdata: " + MESSAGE + b"\r\r", [(b"message", MESSAGE)]),
    (b"id: 5\r\ndata: \r\nretry: 100\r\n\r\n", [(b"", b"")]),
    (b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    (b"data: a\r\n\ndata: b\n\r\n", [(b"", b"a"), (b"", b"b")]),
    (b"data: a\ndata: b\r\ndata: c\r\r", [(b"", b"a\nb\nc")]),
    (b"data:a\ndata:  b\n\n", [(b"", b"a\n b")]),
    (b"data\n\ndata\ndata\n\ndata:\n\n", [(b"", b""), (b"", b"\n"), (b"", b"")]),
    (b": ping\n\n: ping\r\n\r\ndata: a\n\n", [(b"", b"a")]),
    (b":\n:\ndata: a\n:c\n\n", [(b"", b"a")]),
    (b"event: ping\ndata: {}\n\ndata: a\n\n", [(b"ping", b"{}"), (b"", b"a")]),
    (b"event: ping\n\ndata: a\n\n", [(b"", b"a")]),
    (b"event: a\nevent: b\nevent\ndata: x\n\n", [(b"", b"x")]),
    (b"event:a\ndata: x\n\n", [(b"a", b"x")]),
    (BOM + b"data: a\n\n", [(b"", b"a")]),
    (BOM + b"\n" + BOM + b"data: a\n\n", []),
    (b"data: a\n\ndata: cut off", [(b"", b"a")]),
    (b"data: a\n\ndata: cut off\n", [(b"", b"a")]),
    (b"dataa: x\ndat: y\nDATA: z\n data: z\nunknown: 1\ndata: a\n\n", [(b"", b"a")]),
    (b"data: a: b:c\n\n", [(b"", b"a: b:c")]),
    ("data: é😀\u2028\x0b\x0c\x1c\x85\n\n".encode(), [(b"", "é😀\u2028\x0b\x0c\x1c\x85".encode())]),
    (b"\n\n\r\r\r\n\r\n", []),
    (b"", []),
    (b"\r\n", []),
    (b"data: \xff\x00\n\n", [(b"", b"\xff\x00")]),
    (b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [(b"", b"a"), (b"", b"b"), (b"", b"c")]),
    (b"data: a\r\n\r", [(b"", b"a")]),
    (b"data: a\n\r\n", [(b"", b"a")]),
    (b"data: a\n\n\r\r\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    (b"data: a\n" + BOM + b"data: b\n\n", [(b"", b"a")]),
    (BOM + BOM + b"data: a\n\n", []),
    (BOM[:2] + b"data: a\n\ndata: b\n\n", [(b"", b"b")]),
    (b"data:\ndata: a\ndata:\n\n", [(b"", b"\na\n")]),
    (b"data:\tb\n\ndata:  \n\n", [(b"", b"\tb"), (b"", b" ")]),
    (b"id: 1\n\nid: 2\ndata: a\n\nid\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    (b"retry: x\nretry: 5\nretry\ndata: a\n\n", [(b"", b"a")]),
    (b"event: a\rdata: x\r\ndata: y\n\r\ndata: z\n\n", [(b"a", b"x\ny"), (b"", b"z")]),
    (b": data: a\n:\r\n:\rdata: b\n\n", [(b"", b"b")]),
    (b"data: a\n\nevent: b\ndata: c\n\n: d", [(b"", b"a"), (b"b", b"c")]),
]


def plain(events: Iterable[ServerSentEvent]) -> Events:
    return [(event.type, None if event.data is None else bytes(event.data)) for event in events]


def decode(pieces: Sequence[bytes], limit: int = LIMIT) -> Events:
    decoder = EventStreamDecoder(limit)
    return plain(event for piece in pieces for event in decoder.feed(piece))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [0, *places, len(data)]
    return [data[a:b] for a, b in pairwise(ends)]


def reference(data: bytes) -> Events:
    """Follow the specification's words, slowly."""
    text = data.decode("latin-1").removeprefix(BOM.decode("latin-1"))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    events: Events = []
    type_, buffer = "", ""
    for line in text.split("\n")[:-1]:
        if not line:
            if buffer:
                events.append((type_.encode("latin-1"), buffer[:-1].encode("latin-1")))
            type_, buffer = "", ""
            continue
        name, colon, value = line.partition(":")
        if colon and not name:
            continue
        value = value.removeprefix(" ")
        if name == "event":
            type_ = value
        elif name == "data":
            buffer += value + "\n"
    return events


@pytest.mark.parametrize(("stream", "events"), FIXTURES)
def test_a_stream_gives_its_events(stream: bytes, events: Events) -> None:
    assert decode([stream]) == events
    assert reference(stream) == events


@pytest.mark.parametrize("stream", [stream for stream, _ in FIXTURES])
def test_every_cut_and_every_two_cuts_give_the_same_events(stream: bytes) -> None:
    expected = decode([stream])
    for count in (1, 2):
        for places in combinations(range(len(stream) + 1), count):
            assert decode(cut(stream, places)) == expected, places


@given(
    st.lists(
        st.sampled_from(
            [b"data: a", b"data:", b"data", b"event: x", b"id: 1", b":c", b"z", b"\n", b"\r",
             b"\r\n", b" ", BOM, b"\0", b"\xc3"]
        )
    ).map(b"".join),
    st.lists(st.integers(0, 60), max_size=5),
)  # fmt: skip
def test_any_stream_in_any_pieces_gives_what_the_specification_says(
    stream: bytes, places: list[int]
) -> None:
    pieces = cut(stream, sorted(min(place, len(stream)) for place in places))
    assert decode(pieces) == reference(stream)


def test_the_last_event_id_is_that_of_the_last_whole_event() -> None:
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(b"id: 1\ndata:\n\nid: 2\n")
    assert decoder.last_event_id == b"1"
    decoder.feed(b"\n")
    assert decoder.last_event_id == b"2"
    decoder.feed(b"data: x\n\n")
    assert decoder.last_event_id == b"2"
    decoder.feed(b"id\n\n")
    assert decoder.last_event_id == b""


def test_the_last_ids_are_places_to_resume_from() -> None:
    decoder = EventStreamDecoder(LIMIT)
    for data, ids in (
        (b"data: x\n\n", ()),
        (b"id: 1\ndata: x\n", ()),
        (b"\n", (b"1",)),
        (b"data: x\n\nid: 1\ndata: x\n\n", (b"1",)),
        (b"id: 2\n\nid: 3\n\n", (b"1", b"2", b"3")),
        (b"id\n\n", (b"1", b"2", b"3")),
        (b"id: 3\n\n", (b"1", b"2", b"3", b"3")),
    ):
        decoder.feed(data)
        assert decoder.event_ids == ids
    for number in range(100):
        decoder.feed(b"id: %d\n\n" % number)
        assert len(decoder.event_ids) <= MAX_IDS
    assert decoder.event_ids == tuple(b"%d" % number for number in range(100 - MAX_IDS, 100))


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        (b"retry: 1500", 1_500),
        (b"retry:0", 0),
        (b"retry: 99999999", 99_999_999),
        (b"retry: 100000000", 7),
        (b"retry: 1.5", 7),
        (b"retry: -1", 7),
        (b"retry:  1", 7),
        (b"retry: x", 7),
        (b"retry", 7),
        ("retry: \u0661".encode(), 7),
    ],
)
def test_a_server_may_say_when_to_come_back(line: bytes, retry: int) -> None:
    assert EventStreamDecoder(LIMIT).retry == NO_RETRY
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(b"retry: 7\n")
    decoder.feed(line + b"\n")
    assert decoder.retry.seconds == retry / 1000


def test_an_id_with_a_nul_is_ignored() -> None:
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(b"id: 1\n\nid: 2\0\n\n")
    assert decoder.last_event_id == b"1"


def test_a_long_id_and_a_long_type_are_cut() -> None:
    decoder = EventStreamDecoder(LIMIT)
    long = b"x" * (MAX_FIELD + 1)
    events = decoder.feed(b"id: " + long + b"\nevent: " + long + b"\ndata: a\n\n")
    assert decoder.last_event_id == long[:MAX_FIELD]
    assert plain(events) == [(long[:MAX_FIELD], b"a")]


OVERLONG: list[tuple[bytes, Events]] = [
    (b"data: 0123456789\n\n", [(b"", b"0123456789")]),
    (b"data: 0123456789a\n\n", [(b"", None)]),
    (b"data: a\n\ndata: 0123456789a\n\ndata: b\n\n", [(b"", b"a"), (b"", None), (b"", b"b")]),
    (b"data: 01234\ndata: 5678\n\n", [(b"", b"01234\n5678")]),
    (b"data: 01234\ndata: 56789\n\n", [(b"", None)]),
    (b"data: 01234\ndata: 56789\ndata: x\n\ndata: y\n\n", [(b"", None), (b"", b"y")]),
    (b"event: ping\ndata: 0123456789a\n\n", [(b"ping", None)]),
    (b"data: 0123456789a\nevent: ping\n\n", [(b"ping", None)]),
    (b": 0123456789ab\ndata: a\n\n", [(b"", b"a")]),
    (BOM + b"data: 0123456789\n\n", [(b"", b"0123456789")]),
    (BOM + b"data: 0123456789a\r\n\r\ndata: b\r\n\r\n", [(b"", None), (b"", b"b")]),
]
LONG = b"x" * 3_000
ENDLESS: list[tuple[bytes, Events]] = [
    (b"data: " + LONG + b"\n\ndata: b\n\n", [(b"", None), (b"", b"b")]),
    (b"data: " + LONG + b"\r\n\r\ndata: b\r\n\r\n", [(b"", None), (b"", b"b")]),
    (b"data: " + LONG + b"\r\rdata: b\r\r", [(b"", None), (b"", b"b")]),
    (BOM + b"data: " + LONG + b"\n\n" + BOM + b"data: a\n\n", [(b"", None)]),
    (b"data: " + LONG, []),
    (b": " + LONG + b"\ndata: a\n\n", [(b"", b"a")]),
    (LONG + b": x\ndata: a\n\n", [(b"", b"a")]),
    (b"event: " + LONG + b"\ndata: a\n\n", [(LONG[:MAX_FIELD], b"a")]),
    (BOM + b"event: " + LONG + b"\ndata: a\n\n", [(LONG[:MAX_FIELD], b"a")]),
    (b"id: " + LONG + b"\0\ndata: a\n\n", [(b"", b"a")]),
]


@pytest.mark.parametrize(("stream", "events"), OVERLONG)
def test_an_event_over_the_limit_is_reported_once_and_the_stream_goes_on(
    stream: bytes, events: Events
) -> None:
    for count in (0, 1, 2):
        for places in combinations(range(len(stream) + 1), count):
            assert decode(cut(stream, places), limit=10) == events, places


@pytest.mark.parametrize(("stream", "events"), ENDLESS)
@pytest.mark.parametrize("step", [1, 7, 500, 2_999, 10_000])
def test_a_line_without_end_is_not_held(stream: bytes, events: Events, step: int) -> None:
    decoder = EventStreamDecoder(10)
    decoded: list[ServerSentEvent] = []
    for piece in (stream[i : i + step] for i in range(0, len(stream), step)):
        decoded += decoder.feed(piece)
        assert decoder.buffered <= MAX_FIELD + 20
    assert plain(decoded) == events


def test_what_is_held_stays_within_twice_the_limit() -> None:
    decoder = EventStreamDecoder(LIMIT)
    for _ in range(1_000):
        decoder.feed(b"data: " + b"x" * 90)
        assert decoder.buffered <= 2 * LIMIT
    decoder = EventStreamDecoder(LIMIT)
    for _ in range(1_000):
        decoder.feed(b"data: " + b"x" * 90 + b"\ndata: y")
        assert decoder.buffered <= 2 * LIMIT


def test_nothing_is_held_between_events() -> None:
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(b"event: message\ndata: abc\n")
    assert decoder.buffered == 3
    decoder.feed(b"da")
    assert decoder.buffered == 5
    decoder.feed(b"ta: d\n\n")
    assert decoder.buffered == 0


@pytest.mark.parametrize(
    "begun", [b"data: abc", b"data: abc\n", b"data: abc\nda", b"event: message\ndata: abc\nid"]
)
def test_a_dropped_event_is_reported_and_the_next_one_is_read(begun: bytes) -> None:
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(begun)
    decoder.drop()
    assert decoder.buffered == 0
    events = decoder.feed(b"x\ndata: d\n\ndata: e\n\n")
    assert [data for _, data in plain(events)] == [None, b"e"]


def test_a_line_that_trickles_in_is_copied_once() -> None:
    decoder = EventStreamDecoder(4 * 1024 * 1024)
    decoder.feed(b"data: ")
    for _ in range(20_000):
        decoder.feed(b"x" * 100)
    [event] = decoder.feed(b"\n\n")
    assert event.data == b"x" * 2_000_000


@pytest.mark.parametrize("stream", [stream for stream, _ in FIXTURES])
def test_a_single_message_is_what_the_decoder_finds(stream: bytes) -> None:
    message = read_single_message(stream)
    if message is not None:
        [(type_, data)] = decode([stream])
        assert type_ in {b"", b"message"}
        assert data == message


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + MESSAGE + b"\n\n",
        b"data:" + MESSAGE + b"\r\n\r\n",
        b"event: message\nid: 1\ndata: " + MESSAGE + b"\n\n",
    ],
)
def test_the_usual_answer_is_recognised(stream: bytes) -> None:
    assert read_single_message(stream) == MESSAGE


@pytest.mark.parametrize(
    "stream",
    [
        b"id: 1\ndata: \n\n",
        b"data:\n\n",
        b"data:  x\n\n",
        b"event: ping\ndata: {}\n\n",
        b"data: {}\n\ndata: {}\n\n",
        b"data: {}\ndata: {}\n\n",
        b"data: {}\n",
        b"id: \0\ndata: {}\n\n",
        b"",
    ],
)
def test_anything_else_is_left_to_the_decoder(stream: bytes) -> None:
    assert read_single_message(stream) is None


@pytest.mark.parametrize("line", [b"id: 1\n", b"id:  1\r\n", b"id:\n", b"event: message\n"])
def test_many_fields_without_data_cost_no_more_than_their_length(line: bytes) -> None:
    # Were there two ways to match a line, this would take until the end of time.
    assert read_single_message(line * 10_000) is None
    assert read_single_message(line * 10_000 + b"data: {}\n\n") == b"{}"
