"""Chunked bodies (RFC 9112 section 7.1): any cut gives the same payload, any oddity is refused."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.proxy.chunks import ChunkedReader, read_single_chunk


def feed_turns(reader: ChunkedReader, data: bytes) -> tuple[bytes, bytes]:
    """Feed all of a read, in as many turns as it takes."""
    payload, rest = reader.feed(data)
    while rest and not reader.done:
        assert len(rest) < len(data)
        data = rest
        found, rest = reader.feed(data)
        payload += found
    return payload, rest


def decode(pieces: Iterable[bytes]) -> tuple[bytes, bytes, bytes]:
    """Return payload, trailers and what follows the body."""
    reader = ChunkedReader()
    payload = rest = b""
    for piece in pieces:
        if reader.done:
            rest += piece
            continue
        found, rest = feed_turns(reader, piece)
        payload += found
    assert reader.done
    assert not reader.fault
    return payload, reader.trailers, rest


def feed_all(pieces: Iterable[bytes]) -> tuple[bytes, str, bool]:
    """Return payload, fault, and whether the reader takes no more."""
    reader = ChunkedReader()
    payload = b""
    for piece in pieces:
        if not reader.done:
            found, rest = feed_turns(reader, piece)
            payload += found
            assert not rest or not reader.fault
    return payload, reader.fault, reader.done


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut_in_two(data: bytes) -> list[list[bytes]]:
    return [[data[:i], data[i:]] for i in range(1, len(data))]


BODIES = [
    (b"0\r\n\r\n", b"", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    (b"5\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n", b"hello 0123456789", b""),
    (b"a\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n\r\n", b"01234567890123456789", b""),
    (b"2;a=b\r\n\r\n\r\n0;c\r\n\r\n", b"\r\n", b""),  # extensions; a payload like line ends
    (b'3 \t; a = "b \\" c\xff" ;d;e=f\r\n0\r\n\r\n0\r\n\r\n', b"0\r\n", b""),
    (b"1\r\n0\r\n0\r\nX-A: b\r\nx-c:d \r\n\r\n", b"0", b"X-A: b\r\nx-c:d \r\n"),
]


@pytest.mark.parametrize(("wire", "payload", "trailers"), BODIES)
def test_every_cut_gives_the_same_body(wire: bytes, payload: bytes, trailers: bytes) -> None:
    assert decode([wire]) == (payload, trailers, b"")
    assert decode(bytewise(wire)) == (payload, trailers, b"")
    for pieces in cut_in_two(wire):
        assert decode(pieces) == (payload, trailers, b"")


@pytest.mark.parametrize(("wire", "payload", "trailers"), BODIES)
def test_what_follows_the_body_is_handed_back(wire: bytes, payload: bytes, trailers: bytes) -> None:
    assert decode([wire + b"GET / HTTP/1.1\r\n"]) == (payload, trailers, b"GET / HTTP/1.1\r\n")


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.data())
def test_any_chunking_in_any_segments_gives_the_payload(
    chunks: list[bytes], data: st.DataObject
) -> None:
    wire = b"".join(b"%X;e\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1))))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert decode(pieces) == (b"".join(chunks), b"", b"")


def test_a_chunk_is_passed_on_before_it_is_whole() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"ffffffff\r\nfirst") == (b"first", b"")
    assert reader.feed(b"second") == (b"second", b"")
    assert not reader.done


def test_whole_chunks_in_segments_of_their_own_follow_each_other() -> None:
    # The short cut for one chunk in one segment leaves the reader where the long way does.
    reader = ChunkedReader()
    for chunk in (
        b"1\r\n1\r\n",
        b"3\r\n\r\n\r\r\n",
        b"2\r\n\r\n\r\n",
        b"10\r\n0123456789abcdef\r\n",
    ):
        payload = chunk.split(b"\r\n", 1)[1][:-2]
        assert reader.feed(chunk) == (payload, b"")
    assert reader.feed(b"0\r\n\r\n") == (b"", b"")
    assert reader.done


def test_payload_that_looks_like_a_whole_chunk_is_payload() -> None:
    lookalike = b"5\r\nhello\r\n"
    assert decode([b"a\r\n", lookalike, b"\r\n0\r\n\r\n"]) == (lookalike, b"", b"")
    # And so is what looks like one behind the first digit of a size.
    assert decode([b"1", lookalike, b"14 more bytes.\r\n", b"0\r\n\r\n"]) == (
        b"hello\r\n14 more bytes.", b"", b"",
    )  # fmt: skip


def test_lines_of_exactly_the_limit_are_taken() -> None:
    assert decode([b"1;" + b"a" * 4094 + b"\r\n!\r\n0\r\n\r\n"]) == (b"!", b"", b"")
    assert feed_all([b"1;" + b"a" * 4095 + b"\r\n"])[1] == "a chunk size is malformed"
    first = b"A: b\r\n"
    last = b"C: " + b"d" * (16_384 - len(first) - 3)
    assert decode([b"0\r\n" + first + last + b"\r\n\r\n"])[1] == first + last + b"\r\n"
    assert feed_all([b"0\r\n" + first + last + b"d\r\n"])[1] == "the trailer section is too long"


MALFORMED = [
    b"\r\n",  # a size is missing
    b";a\r\n",
    b"G\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b"0x1\r\n",
    b"1_0\r\n",
    b" 1\r\n",
    b"1 1\r\n",
    b"1.\r\n",
    b"\xb2\r\n",
    b"1000000000000000\r\n",  # 2**60
    b"fffffffffffffffff\r\n",
    b"0" * 16 + b"1\r\n",
    b"1\n",  # RFC 9112 section 2.2: bare LF, bare CR
    b"1\r",
    b"1\rx\n",
    b"1;a\n\r\n",
    b"1;a\rb\r\n",
    b"1;a\x00\r\n",
    b"1 \r\na\r\n",  # RFC 9112 section 7.1.1: what is not quite an extension
    b"1;\r\na\r\n",
    b"1;a;\r\na\r\n",
    b"1;a \r\na\r\n",
    b"1;a b\r\na\r\n",
    b"1;a=\r\na\r\n",
    b"1;a[\r\na\r\n",
    b"1;\xff\r\na\r\n",
    b'1;a="b\r\na\r\n',
    b'1;a="b"c\r\na\r\n',
    b'1;a="\x7f"\r\na\r\n',
    b"1;" + b"a" * 5000,
    b"1;" + b"a" * 5000 + b"\r\n",
    b"1\r\nab\r\n",  # longer than its size
    b"1\r\na\n",
    b"1\r\na\rx",
    b"1\r\nax",
    b"1\r\na0\r\n\r\n",
    b"0\r\n\n",  # trailers
    b"0\r\nA: b\n\r\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\n A: b\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nGET / HTTP/1.1\r\n\r\n",
    b"0\r\nA: b\x00\r\n\r\n",
    b"0\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nA: " + b"b" * 17_000,
    b"0\r\n" + b"A: b\r\n" * 5000,
]


@pytest.mark.parametrize("wire", MALFORMED)
def test_malformed_bodies_are_refused_however_they_are_cut(wire: bytes) -> None:
    _, fault, _ = feed_all([wire, b"x"])
    assert fault
    assert feed_all([*bytewise(wire), b"x"])[1] == fault


@pytest.mark.parametrize(
    "wire", [b"z", b"1z", b"1\n", b"1;\n", b"\r", b"1\r\nab", b"1\r\na\n", b"0\r\n\n", b"0\r\nA\n"]
)
def test_nobody_waits_for_the_end_of_a_line_that_is_wrong_already(wire: bytes) -> None:
    _, fault, done = feed_all([wire])
    assert fault
    assert done


@pytest.mark.parametrize(
    "wire", [b"1", b"1\r", b"1 ", b"1;a", b"1;a\r", b"1\r\na", b"1\r\na\r", b"0\r\nA", b"0\r\n\r"]
)
def test_an_unfinished_line_waits(wire: bytes) -> None:
    _, fault, done = feed_all([wire])
    assert not fault
    assert not done


def test_the_payload_before_a_fault_is_not_lost() -> None:
    assert feed_all([b"2\r\nok\r\n1\r\n!\r\nz\r\nmore"]) == (
        b"ok!", "a chunk size is malformed", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        b"authorization", b"connection", b"content-encoding", b"content-length", b"content-type",
        b"cookie", b"host", b"keep-alive", b"proxy-connection", b"set-cookie", b"te", b"trailer",
        b"upgrade", b"content-range", b"expect", b"proxy-authorization",
    ],
)  # fmt: skip
def test_trailers_that_frame_route_or_authenticate_are_dropped(name: bytes) -> None:
    # RFC 9110 section 6.5.1.
    wire = b"0\r\nX-Kept: 1\r\n" + name.title() + b": 5\r\nx-also:2 \r\n\r\n"
    assert decode([wire]) == (b"", b"X-Kept: 1\r\nx-also:2 \r\n", b"")
    assert decode([b"0\r\n" + name + b": 5\r\n\r\n"]) == (b"", b"", b"")


@pytest.mark.parametrize(
    "name",
    [
        b"Forwarded", b"X-Forwarded-For", b"x_forwarded_for", b"X-Real-IP", b"Via", b"Origin",
        b"Last-Event-ID", b"Mcp-Session-Id", b"MCP_METHOD", b"Mcp-Param-Region",
    ],
)  # fmt: skip
def test_trailers_that_a_server_could_take_for_judged_fields_are_dropped(name: bytes) -> None:
    # uvicorn on httptools adds trailers to the head's fields.
    wire = b"0\r\nX-Kept: 1\r\n" + name + b": 5\r\n\r\n"
    assert decode([wire]) == (b"", b"X-Kept: 1\r\n", b"")


def test_a_transfer_coding_in_trailers_is_dropped() -> None:
    assert decode([b"0\r\nTransfer-Encoding: chunked\r\n\r\n"]) == (b"", b"", b"")


ATOMS = [b"0", b"1", b"a", b"\r\n", b"\r\n", b"\r", b"\n", b";", b" ", b"A: b", b"\x00"]


@given(st.lists(st.sampled_from(ATOMS), min_size=1).map(b"".join), st.data())
def test_arbitrary_bytes_are_decoded_or_refused_alike_in_any_cut(
    wire: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(wire) - 1, 1)))))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]

    assert feed_all([wire]) == feed_all(pieces)


# One chunk that is the whole body


def test_one_chunk_and_the_end_of_its_body_are_read_at_once() -> None:
    assert read_single_chunk(b"5\r\nhello\r\n0\r\n\r\n", 0) == b"hello"
    assert read_single_chunk(b"head00A\r\n0\r\n\r\n01234\r\n0\r\n\r\n", 4) == b"0\r\n\r\n01234"


@pytest.mark.parametrize(
    "wire",
    [
        b"", b"5", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\n\r\nX",
        b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"5;a\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n00\r\n\r\n", b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", b"z\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n", b"fffffffffffffff\r\n0\r\n\r\n",
        b"0\r\n\r\n", b"0\r\n\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_the_long_way(wire: bytes) -> None:
    assert read_single_chunk(wire, 0) is None


@given(
    st.one_of(
        st.lists(st.sampled_from(ATOMS), min_size=1).map(b"".join),
        st.builds(lambda payload: b"%x\r\n%b\r\n0\r\n\r\n" % (len(payload), payload), st.binary()),
    )
)
def test_what_is_read_at_once_is_what_the_long_way_reads(wire: bytes) -> None:
    payload = read_single_chunk(wire, 0)
    assert payload is None or decode([wire]) == (payload, b"", b"")
