"""Messages cut out of a stream: the same ones, wherever the segments end."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.proxy.errors import Rejected, UpstreamError, UpstreamReason
from mcp_proxy_exporter.proxy.heads import (
    KnownHeads,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)
from mcp_proxy_exporter.proxy.wire import RequestReader, ResponseReader

MAX_HEAD = 1024
MAX_FIELDS = 16


class Requests:
    """Notes requests, and goes on with the next one as soon as one has ended."""

    def __init__(self) -> None:
        self.reader = RequestReader(self, MAX_HEAD, MAX_FIELDS)
        self.last: RequestHead | None = None
        self.seen: list[tuple[bytes, bytes, bytes]] = []
        """Method and target, body, trailers (``b"..."`` while unfinished)."""

    def take_request(self, head: RequestHead) -> None:
        self.last = head
        self.seen.append((head.method + b" " + head.target, b"", b"..."))

    def take_body(self, data: bytes) -> None:
        assert data
        name, body, end = self.seen[-1]
        assert end == b"..."
        self.seen[-1] = (name, body + data, end)

    def take_end(self, trailers: bytes) -> None:
        name, body, end = self.seen[-1]
        assert end == b"..."
        self.seen[-1] = (name, body, trailers)

    def feed(self, pieces: Iterable[bytes]) -> "Requests":
        for piece in pieces:
            self.reader.feed(piece)
            while self.reader.busy and not self.reader.in_body and self.reader.resume():
                pass
        return self


class Responses:
    """Notes the answer to one request."""

    def __init__(self, method: bytes = b"POST") -> None:
        self.reader = ResponseReader(MAX_HEAD, MAX_FIELDS)
        self.heads: list[int] = []
        self.body = b""
        self.ends: list[bytes] = []
        """The trailers of the end; empty before it."""
        self.reader.expect(method, self)

    def take_response(self, head: ResponseHead) -> None:
        assert not self.ends
        self.heads.append(head.status)

    def take_body(self, data: bytes) -> None:
        assert data
        assert not self.ends
        self.body += data

    def take_end(self, trailers: bytes) -> None:
        assert not self.ends
        self.ends.append(trailers)

    def feed(self, pieces: Iterable[bytes]) -> "Responses":
        for piece in pieces:
            self.reader.feed(piece)
        return self

    @property
    def seen(self) -> tuple[list[int], bytes, list[bytes]]:
        return self.heads, self.body, self.ends


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut_in_two(data: bytes) -> list[list[bytes]]:
    return [[data[:i], data[i:]] for i in range(1, len(data))]


def draw_cuts(data: st.DataObject, wire: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1))))
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


# Requests

REQUESTS = (
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    b"\r\n\r\n"  # RFC 9112 section 2.2: ignored before a request line
    b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n\r\n\r\n012345"
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n1;x\r\nd\r\n0\r\nX: y\r\n\r\n"
    b"DELETE /d HTTP/1.0\r\n\r\n"
    b"\r\n"
    b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
)
EXPECTED_REQUESTS = [
    (b"GET /a", b"", b""),
    (b"POST /b", b"\r\n\r\n012345", b""),
    (b"POST /c", b"abcd", b"X: y\r\n"),
    (b"DELETE /d", b"", b""),
    (b"POST /e", b"", b""),
]


def test_requests_are_the_same_at_every_cut() -> None:
    assert Requests().feed([REQUESTS]).seen == EXPECTED_REQUESTS
    assert Requests().feed(bytewise(REQUESTS)).seen == EXPECTED_REQUESTS
    for pieces in cut_in_two(REQUESTS):
        assert Requests().feed(pieces).seen == EXPECTED_REQUESTS


@given(st.data())
def test_requests_are_the_same_at_any_cuts(data: st.DataObject) -> None:
    assert Requests().feed(draw_cuts(data, REQUESTS)).seen == EXPECTED_REQUESTS


def test_a_pipelined_request_waits_until_the_reader_is_told_to_go_on() -> None:
    taken = Requests()
    reader = taken.reader
    first, second = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    reader.feed(first + second[:5])
    assert (len(taken.seen), reader.pending, reader.busy) == (1, 5, True)
    assert reader.started
    reader.feed(second[5:])
    assert (len(taken.seen), reader.pending) == (1, len(second))
    assert reader.resume()
    assert [name for name, _, _ in taken.seen] == [b"GET /1", b"GET /2"]
    assert (reader.pending, reader.busy) == (0, True)
    assert not reader.resume()
    assert not reader.busy


def test_half_of_a_pipelined_request_is_taken_up_where_it_broke_off() -> None:
    taken = Requests()
    taken.reader.feed(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT")
    assert not taken.reader.resume()
    assert taken.reader.started
    taken.reader.feed(b"TP/1.1\r\nHost: a\r\n\r\n")
    assert len(taken.seen) == 2


def test_bytes_behind_a_body_wait() -> None:
    taken = Requests()
    taken.reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    assert taken.reader.in_body
    assert taken.reader.started
    taken.reader.feed(b"cdGET /2 HTTP/1.1\r\n")
    assert taken.seen == [(b"POST /", b"abcd", b"")]
    assert taken.reader.pending == len(b"GET /2 HTTP/1.1\r\n")


def test_a_reader_that_has_had_nothing_but_empty_lines_has_not_started() -> None:
    taken = Requests()
    taken.reader.feed(b"\r\n\r\n")
    assert not taken.reader.started
    assert taken.seen == []


@pytest.mark.parametrize(
    ("wire", "status", "reason"),
    [
        (b"\n", 400, "request_line"),  # RFC 9112 section 2.2: bare LF
        (b"\r\n\nGET / HTTP/1.1\r\n", 400, "request_line"),
        (b"\rG", 400, "request_line"),
        (b"\r\r\nG", 400, "request_line"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "request_line"),
        (b"GET / HTTP/1.1\r\nHost: a\n\n", 400, "header"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "header"),
        (b"\x16\x03\x01\x02\x00", 400, "request_line"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
        (b"GET /" + b"a" * MAX_HEAD, 414, "line_size"),  # RFC 9112 section 3
        (b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "line_size"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD, 431, "header_size"),  # RFC 6585 section 5
        (b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_HEAD + b"\r\n\r\n", 431, "header_size"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 17 + b"\r\n", 431, "header_count"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz", 400, "body"),
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/7.0\r\n\r\n", 505, "http_version"),
    ],
)
def test_what_is_no_request_is_refused_however_it_is_cut(
    wire: bytes, status: int, reason: str
) -> None:
    for pieces in ([wire], bytewise(wire)):
        with pytest.raises(Rejected) as caught:
            Requests().feed(pieces)
        assert (caught.value.status, caught.value.reason) == (status, reason)


def test_a_head_of_exactly_the_limit_is_taken() -> None:
    for size, refused in ((MAX_HEAD, False), (MAX_HEAD + 1, True)):
        head = b"GET / HTTP/1.1\r\nHost: a\r\nA: "
        head += b"a" * (size - len(head) - 4) + b"\r\n\r\n"
        for pieces in ([head + b"GET"], bytewise(head), [head[:-1], head[-1:]]):
            taken = Requests()
            if refused:
                with pytest.raises(Rejected):
                    taken.feed(pieces)
            else:
                assert len(taken.feed(pieces).seen) == 1


def test_a_head_that_one_connection_has_read_is_known_to_all() -> None:
    known = KnownHeads[RequestHead]()
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
    for body in (b"ab", b"cd"):
        taken = Requests()
        RequestReader(taken, MAX_HEAD, MAX_FIELDS, known).feed(raw + body)
        assert taken.seen == [(b"POST /", body, b"")]
        assert taken.last is known.get(raw)


def test_a_refused_head_is_refused_each_time() -> None:
    known = KnownHeads[RequestHead]()
    for _ in range(2):
        with pytest.raises(Rejected):
            RequestReader(Requests(), MAX_HEAD, MAX_FIELDS, known).feed(
                b"G / HTTP/1.1\r\n:\r\n\r\n"
            )


def test_a_head_that_fills_the_limit_without_an_end_is_refused_at_once() -> None:
    taken = Requests()
    head = b"GET / HTTP/1.1\r\nA: "
    taken.reader.feed(head + b"a" * (MAX_HEAD - len(head) - 1))
    with pytest.raises(Rejected) as caught:
        taken.reader.feed(b"a")
    assert caught.value.reason == "header_size"


# Responses

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
RESPONSES = [
    (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", ([204], b"", [b""])),
    (b"GET", b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", ([304], b"", [b""])),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", ([200], b"", [b""])),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ([200], b"", [b""])),
    (b"POST", b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", ([202], b"", [b""])),
    (b"POST", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na\r\n\r\nb",
     ([200], b"a\r\n\r\nb", [b""])),
    (
        b"POST",
        INTERIM + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n",
        ([100, 103, 200], b"abc", [b"X: y\r\n"]),
    ),
    (b"POST", INTERIM + b"HTTP/1.0 404 Gone\r\nContent-Length: 1\r\n\r\nx",
     ([100, 103, 404], b"x", [b""])),
]  # fmt: skip


@pytest.mark.parametrize(("method", "wire", "expected"), RESPONSES)
def test_responses_are_the_same_at_every_cut(
    method: bytes, wire: bytes, expected: tuple[list[int], bytes, list[bytes]]
) -> None:
    for pieces in ([wire], bytewise(wire), *cut_in_two(wire)):
        taken = Responses(method).feed(pieces)
        assert taken.seen == expected
        assert not taken.reader.extra
        assert not taken.reader.started
        assert not taken.reader.eof()


@pytest.mark.parametrize(("method", "wire", "expected"), RESPONSES)
def test_bytes_behind_a_response_are_noticed_and_not_passed_on(
    method: bytes, wire: bytes, expected: tuple[list[int], bytes, list[bytes]]
) -> None:
    for pieces in ([wire + b"HTTP/1.1 200 OK"], [wire, b"H"], bytewise(wire + b"0\r\n\r\n")):
        taken = Responses(method)
        taken.feed(pieces)
        assert taken.seen == expected
        assert taken.reader.extra


def test_a_body_without_length_ends_with_the_connection() -> None:
    taken = Responses().feed([b"HTTP/1.1 200 OK\r\n\r\nab", b"cd"])
    assert taken.seen == ([200], b"abcd", [])
    assert taken.reader.in_body
    assert not taken.reader.extra
    assert taken.reader.eof()
    assert taken.seen == ([200], b"abcd", [b""])
    assert not taken.reader.started
    assert not taken.reader.eof()


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200",
        INTERIM,
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    ],
)
def test_any_other_early_end_completes_nothing(wire: bytes) -> None:
    taken = Responses().feed([wire] if wire else [])
    assert not taken.reader.eof()
    assert taken.ends == []


def test_a_forgotten_response_has_no_end() -> None:
    taken = Responses().feed([b"HTTP/1.1 200 OK\r\n\r\nab"])
    taken.reader.finish()
    assert not taken.reader.eof()
    assert taken.seen == ([200], b"ab", [])


def test_one_reader_takes_one_answer_after_the_other() -> None:
    taken = Responses(b"HEAD")
    taken.feed([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"])
    taken.reader.finish()
    again = Responses(b"GET")
    taken.reader.expect(b"GET", again)
    taken.reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert again.seen == ([200], b"hello", [b""])
    assert taken.seen == ([200], b"", [b""])
    assert not taken.reader.extra


def test_the_same_head_means_another_body_after_head() -> None:
    # RFC 9112 section 6.3, rule 1: what is known of an answer to GET is not true of one to HEAD.
    known = KnownHeads[ResponseHead]()
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    for method, body in ((b"HEAD", b""), (b"GET", b"hello"), (b"HEAD", b""), (b"POST", b"again")):
        taken = Responses(method)
        reader = ResponseReader(MAX_HEAD, MAX_FIELDS, known)
        reader.expect(method, taken)
        reader.feed(raw + body)
        assert taken.seen == ([200], body, [b""])
        assert not reader.extra


def test_bytes_that_no_request_asked_for_are_extra() -> None:
    # RFC 9112 section 9.2.
    taken = Responses().feed([b"HTTP/1.1 204 No Content\r\n\r\n"])
    taken.reader.finish()
    taken.reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert taken.reader.extra
    assert taken.heads == [204]


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * MAX_HEAD,
        b"HTTP/1.1 200 " + b"a" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 17 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
        INTERIM + b"hello",
    ],
)
def test_what_is_no_response_is_refused_however_it_is_cut(wire: bytes) -> None:
    for pieces in ([wire], bytewise(wire)):
        with pytest.raises(UpstreamError) as caught:
            Responses().feed(pieces)
        assert caught.value.upstream_reason is UpstreamReason.BAD_RESPONSE


# The short ways


ASKED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
ASKED_NOTHING = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ASKED_IN_CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NEVER_ADMITTED = b"GET /refused HTTP/1.1\r\nHost: a\r\n\r\n"


def know_requests() -> KnownHeads[RequestHead]:
    known = KnownHeads[RequestHead]()
    for raw in (ASKED, ASKED_NOTHING, ASKED_IN_CHUNKS, NEVER_ADMITTED):
        head = parse_request_head(raw, MAX_FIELDS)
        head.forwarded = None if raw == NEVER_ADMITTED else b"forwarded"
        known.add(raw, head)
    return known


@pytest.mark.parametrize(("raw", "body"), [(ASKED, b"ok"), (ASKED_NOTHING, b"")])
def test_a_whole_request_with_an_admitted_head_is_taken_at_once(raw: bytes, body: bytes) -> None:
    taken = Requests()
    known = know_requests()
    reader = RequestReader(taken, MAX_HEAD, MAX_FIELDS, known)
    for _ in range(2):
        assert reader.take_known(raw + body) == (known.get(raw), body)
        assert reader.busy
        assert reader.take_known(raw + body) is None  # one at a time
        assert not reader.resume()
    assert taken.seen == []


@pytest.mark.parametrize(
    "wire",
    [
        b"G", b"\r\n\r\n", ASKED[:-1], ASKED, ASKED + b"o", ASKED + b"ok!",
        ASKED + b"ok" + ASKED_NOTHING, ASKED_NOTHING + ASKED_NOTHING, ASKED_NOTHING + b"\r\n",
        b"\r\n" + ASKED_NOTHING, ASKED_IN_CHUNKS, ASKED_IN_CHUNKS + b"0\r\n\r\n", NEVER_ADMITTED,
        ASKED_NOTHING.replace(b"Host", b"host"), ASKED_NOTHING[:-2] + b"\n",
    ],
)  # fmt: skip
def test_any_other_request_is_left_to_the_long_way(wire: bytes) -> None:
    reader = RequestReader(Requests(), MAX_HEAD, MAX_FIELDS, know_requests())
    assert reader.take_known(wire) is None
    assert not reader.busy
    assert not reader.started


def test_a_request_that_has_begun_is_left_to_the_long_way() -> None:
    reader = RequestReader(Requests(), MAX_HEAD, MAX_FIELDS, know_requests())
    reader.feed(b"POST /")
    assert reader.take_known(ASKED_NOTHING) is None


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
ANSWER_IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER_TO_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
ANSWER_NOTHING = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNK = b"2\r\nok\r\n"


def reader_that_knows(method: bytes = b"POST") -> ResponseReader:
    known = KnownHeads[ResponseHead]()
    for raw in (ANSWER, ANSWER_IN_CHUNKS, ANSWER_TO_CLOSE, ANSWER_NOTHING, CONTINUE):
        known.add(raw, parse_response_head(raw, MAX_FIELDS, b"POST"))
    reader = ResponseReader(MAX_HEAD, MAX_FIELDS, known)
    reader.expect(method, Responses())
    return reader


@pytest.mark.parametrize("wire", [ANSWER + b"ok", ANSWER_IN_CHUNKS + CHUNK + b"0\r\n\r\n"])
def test_a_whole_answer_with_a_known_head_is_taken_at_once(wire: bytes) -> None:
    reader = reader_that_knows()
    taken = reader.take_known(wire)
    assert taken is not None
    assert (taken[0].status, taken[1]) == (200, b"ok")
    assert not reader.extra
    # It is over: what comes now was not asked for.
    assert reader.take_known(wire) is None
    reader.feed(wire)
    assert reader.extra


@pytest.mark.parametrize(
    "wire",
    [
        b"H", ANSWER, ANSWER + b"o", ANSWER + b"ok!", ANSWER + b"ok" + ANSWER + b"ok",
        ANSWER_NOTHING, ANSWER_NOTHING + b"x", ANSWER_TO_CLOSE, ANSWER_TO_CLOSE + b"ok",
        ANSWER_IN_CHUNKS, ANSWER_IN_CHUNKS + CHUNK, ANSWER_IN_CHUNKS + b"0\r\n\r\n",
        ANSWER_IN_CHUNKS + b"0\r\n\r\n0\r\n\r\n", ANSWER_IN_CHUNKS + CHUNK * 2 + b"0\r\n\r\n",
        CONTINUE, CONTINUE + ANSWER + b"ok", ANSWER.replace(b"200", b"500") + b"ok",
    ],
)  # fmt: skip
def test_any_other_answer_is_left_to_the_long_way(wire: bytes) -> None:
    reader = reader_that_knows()
    assert reader.take_known(wire) is None
    assert not reader.started
    assert not reader.extra


def test_an_answer_to_head_is_left_to_the_long_way() -> None:
    assert reader_that_knows(b"HEAD").take_known(ANSWER + b"ok") is None


@pytest.mark.parametrize("begun", [b"HTTP/1.1", ANSWER_TO_CLOSE, ANSWER + b"o"])
def test_an_answer_that_has_begun_is_left_to_the_long_way(begun: bytes) -> None:
    reader = reader_that_knows()
    reader.feed(begun)
    assert reader.take_known(ANSWER + b"ok") is None
