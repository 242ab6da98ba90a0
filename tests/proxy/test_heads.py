"""Heads: every strictness rule, with its section."""

import pytest

from mcp_proxy_exporter.proxy.errors import (
    Rejected,
    UpstreamError,
    UpstreamReason,
)
from mcp_proxy_exporter.proxy.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    KnownHeads,
    RequestHead,
    ResponseHead,
    check_request_start,
    check_response_start,
    field_name,
    parse_request_head,
    parse_response_head,
)

MANY = 1000


def request(*fields: bytes, line: bytes = b"POST /mcp HTTP/1.1") -> RequestHead:
    return parse_request_head(b"\r\n".join([line, *fields, b"", b""]), MANY)


def response(
    *fields: bytes, line: bytes = b"HTTP/1.1 200 OK", method: bytes = b"POST"
) -> ResponseHead:
    return parse_response_head(b"\r\n".join([line, *fields, b"", b""]), MANY, method)


# Request lines


@pytest.mark.parametrize(
    ("line", "method", "target", "minor"),
    [
        (b"GET / HTTP/1.1", b"GET", b"/", 1),
        (b"GET / HTTP/1.0", b"GET", b"/", 0),
        (b"post /mcp HTTP/1.1", b"post", b"/mcp", 1),  # methods are case-sensitive
        (b"BREW /pot HTTP/1.1", b"BREW", b"/pot", 1),  # and any token (RFC 9110 section 9.1)
        (b"!#$%&'*+-.^_`|~09Az / HTTP/1.1", b"!#$%&'*+-.^_`|~09Az", b"/", 1),
        (b"GET * HTTP/1.1", b"GET", b"*", 1),
        (b"GET //evil/%2F%2e%2E/..;a?#? HTTP/1.1", b"GET", b"//evil/%2F%2e%2E/..;a?#?", 1),
        (b'GET /{}|\\^"<>` HTTP/1.1', b"GET", b'/{}|\\^"<>`', 1),
        (b"GET /caf\xc3\xa9\xff HTTP/1.1", b"GET", b"/caf\xc3\xa9\xff", 1),
        (b"GET http://a/b HTTP/1.1", b"GET", b"http://a/b", 1),
    ],
)
def test_request_line_is_taken_byte_for_byte(
    line: bytes, method: bytes, target: bytes, minor: int
) -> None:
    head = request(line=line)
    assert (head.method, head.target, head.minor) == (method, target, minor)
    assert head.lines == []
    assert head.fields == {}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",  # HTTP/0.9
        b"GET / ",
        b"GET  / HTTP/1.1",  # RFC 9112 section 3: one space
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /a b HTTP/1.1",  # RFC 9112 section 3.2: no whitespace in the target
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\r HTTP/1.1",
        b"GET / http/1.1",  # RFC 9112 section 2.3: case-sensitive
        b"GET / HTTP/1",
        b"GET / HTTP/2",  # RFC 9112 section 2.3: two digits
        b"GET / HTTP/1.10",
        b"GET / HTTP/10.1",
        b"GET / HTTP/1.",
        b"GET / HTTP/11",
        b"GET / HTTP/1.1.1",
        b"GET / HTTP/ 1.1",
        b"GET / HTTP/x.y",
        b"GET / HTTPS/1.1",
        b"G(T / HTTP/1.1",
        b"G\xc3\x89T / HTTP/1.1",
        b"\xef\xbb\xbfGET / HTTP/1.1",
        b"\x00GET / HTTP/1.1",
        b"/ HTTP/1.1",
        b"GET HTTP/1.1",
    ],
)
def test_malformed_request_line_is_a_400(line: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", line=line)
    assert (caught.value.status, caught.value.reason) == (400, "request_line")


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0"])
def test_other_versions_are_a_505(version: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", line=b"GET / HTTP/" + version)
    assert (caught.value.status, caught.value.reason) == (505, "http_version")


def test_bare_lf_after_the_request_line_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        parse_request_head(b"GET / HTTP/1.1\nHost: a\r\n\r\n", MANY)
    assert caught.value.status == 400


# Status lines


@pytest.mark.parametrize(
    ("line", "status", "reason", "minor"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK", 1),
        (b"HTTP/1.0 200 OK", 200, b"OK", 0),
        (b"HTTP/1.1 200 ", 200, b"", 1),
        (b"HTTP/1.1 200", 200, b"", 1),  # without the space that RFC 9112 section 4 asks for
        (b"HTTP/1.1 404 Nicht gefunden \xe4\xff\t ", 404, b"Nicht gefunden \xe4\xff\t ", 1),
        (b"HTTP/1.1 999 Odd", 999, b"Odd", 1),
    ],
)
def test_status_line_is_taken_byte_for_byte(
    line: bytes, status: int, reason: bytes, minor: int
) -> None:
    head = response(line=line)
    assert (head.status, head.reason, head.minor) == (status, reason, minor)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 2OO OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/2 200",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\nK",
        b"SSH-2.0-OpenSSH_9.2",
    ],
)
def test_malformed_status_line_is_a_bad_response(line: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        response(line=line)
    assert (caught.value.status, caught.value.upstream_reason) == (502, UpstreamReason.BAD_RESPONSE)


# Fields

MALFORMED_FIELDS = [
    b"A: b\nC: d",  # RFC 9112 section 2.2: bare LF
    b"A: b\n\nC: d",
    b"A: b\rC: d",  # and bare CR
    b"A: b\r",
    b"A: b\x00c",  # RFC 9110 section 5.5: NUL
    b"A\x00: b",
    b"A: \x01",
    b"A: \x7f",
    b"A : b",  # RFC 9112 section 5.1: no whitespace before the colon
    b"A\t: b",
    b": b",
    b"A",
    b"A b",
    b"A(: b",
    b"A\xe4: b",
    b'"A": b',
    b" A: b",  # RFC 9112 section 2.2: whitespace after the start line
    b"A: b\r\n c",  # RFC 9112 section 5.2: obs-fold
    b"A: b\r\n\tc",
    b"A: b\r\n ",
    b"A:\r\n c",
    b"Content-Length: +5",  # RFC 9110 section 8.6: digits only
    b"Content-Length: -5",
    b"Content-Length: 0x5",
    b"Content-Length: 5 5",
    b"Content-Length: 5,5",
    b"Content-Length: 5;",
    b"Content-Length: 1e3",
    b"Content-Length: 1_0",
    b"Content-Length: \xb2",
    b"Content-Length:",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 9999999999999999999",
    b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"content-length: 5\r\nCONTENT-LENGTH: 6",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",  # RFC 9112 section 6.3, rule 3
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
]


@pytest.mark.parametrize("field", MALFORMED_FIELDS)
def test_malformed_field_is_refused_either_way(field: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", field)
    assert caught.value.status == 400
    with pytest.raises(UpstreamError) as failed:
        response(field)
    assert failed.value.upstream_reason is UpstreamReason.BAD_RESPONSE


@pytest.mark.parametrize(
    "coding",
    [
        b"chunked, chunked",
        b"gzip, chunked",
        b"chunked, gzip",
        b"identity",
        b"xchunked",
        b"chunked;q=1",
        b'"chunked"',
        b"chunked,",
        b",chunked",
        b"",
        b"chun ked",
        b"\x0bchunked",
    ],
)
def test_unknown_transfer_codings_are_refused(coding: bytes) -> None:
    # RFC 9112 sections 6.1 and 6.3, rule 4.
    field = b"Transfer-Encoding: " + coding
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", field)
    assert caught.value.status in (400, 501)
    with pytest.raises(UpstreamError):
        response(field)


def test_an_unknown_coding_before_chunked_is_not_implemented() -> None:
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", b"Transfer-Encoding: gzip, chunked")
    assert (caught.value.status, caught.value.reason) == (501, "transfer_coding")


def test_repeated_transfer_encoding_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")
    assert (caught.value.status, caught.value.reason) == (400, "repeated")
    with pytest.raises(UpstreamError):
        response(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    # RFC 9112 section 6.1: the framing is faulty.
    with pytest.raises(Rejected) as caught:
        request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0")
    assert (caught.value.status, caught.value.reason) == (400, "framing")
    with pytest.raises(UpstreamError):
        response(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize("second", [b"Host: a", b"host: b", b"HOST:"])
def test_repeated_host_is_refused(second: bytes) -> None:
    # RFC 9112 section 3.2.
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", b"Accept: */*", second)
    assert (caught.value.status, caught.value.reason) == (400, "repeated")
    assert response(b"Host: a", second).repeats(b"host")  # means nothing there


def test_lengths_that_other_parsers_overflow_are_refused() -> None:
    with pytest.raises(Rejected) as caught:
        request(b"Host: a", b"Content-Length: 1000000000000000000")
    assert (caught.value.status, caught.value.reason) == (400, "framing")
    with pytest.raises(UpstreamError):
        response(b"Content-Length: 1000000000000000000")
    assert request(b"Content-Length: 999999999999999999").length == 10**18 - 1
    assert response(b"Content-Length: 999999999999999999").length == 10**18 - 1


def test_too_many_fields_are_refused() -> None:
    raw = b"\r\n".join([b"GET / HTTP/1.1", *[b"A: b"] * 17, b"", b""])
    with pytest.raises(Rejected) as caught:
        parse_request_head(raw, 16)
    assert (caught.value.status, caught.value.reason) == (431, "header_count")
    assert len(parse_request_head(raw, 17).lines) == 17
    raw = raw.replace(b"GET / HTTP/1.1", b"HTTP/1.1 200 OK")
    with pytest.raises(UpstreamError):
        parse_response_head(raw, 16, b"GET")
    assert len(parse_response_head(raw, 17, b"GET").lines) == 17


def test_lines_keep_their_bytes_and_fields_join() -> None:
    lines = [
        b"hOsT:a",
        b"Accept:  text/html \t",
        b"X-Empty:",
        b"accept:\tx/y",
        b"X-Colon: a: b",
        b"X-Text: caf\xe9 \xff\x80",
        b"ACCEPT: z",
    ]
    head = request(*lines)
    assert head.lines == lines
    assert head.fields == {
        b"host": b"a",
        b"accept": b"text/html, x/y, z",
        b"x-empty": b"",
        b"x-colon": b"a: b",
        b"x-text": b"caf\xe9 \xff\x80",
    }
    assert head.repeats(b"accept")
    assert not head.repeats(b"host")
    assert not request(b"Host: a").repeats(b"host")
    assert [field_name(line) for line in lines[:2]] == [b"host", b"accept"]


# Body lengths (RFC 9112 section 6.3)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], 0),
        ([b"Content-Length: 0"], 0),
        ([b"Content-Length: 7 \t"], 7),
        ([b"Content-Length: 007"], 7),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
        ([b"Transfer-Encoding:\tChUnKeD "], CHUNKED),
    ],
)
def test_request_length(fields: list[bytes], length: int) -> None:
    assert request(b"Host: a", *fields).length == length
    assert request(b"Host: a", *fields, line=b"GET / HTTP/1.1").length == length


@pytest.mark.parametrize(
    "fields",
    [
        [b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 5"],
        [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: websocket", b"Content-Length: 5"],
    ],
)
def test_upgrade_does_not_hide_a_body(fields: list[bytes]) -> None:
    assert request(b"Host: a", *fields).length == 5
    assert response(*fields).length == 5


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], UNTIL_CLOSE),
        ([b"Connection: keep-alive"], UNTIL_CLOSE),
        ([b"Content-Length: 0"], 0),
        ([b"Content-Length: 7"], 7),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
    ],
)
def test_response_length(fields: list[bytes], length: int) -> None:
    assert response(*fields).length == length


@pytest.mark.parametrize("framing", [b"Content-Length: 7", b"Transfer-Encoding: chunked", b"A: b"])
@pytest.mark.parametrize(
    ("status", "method"),
    [(200, b"HEAD"), (404, b"HEAD"), (204, b"POST"), (304, b"GET"), (100, b"POST"), (103, b"GET")],
)
def test_some_responses_never_have_a_body(status: int, method: bytes, framing: bytes) -> None:
    head = response(framing, line=b"HTTP/1.1 %d X" % status, method=method)
    assert head.length == 0
    assert head.lines == [framing]


# Beginnings


@pytest.mark.parametrize(
    "partial", [b"G", b"GET", b"GET /", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHo"]
)
def test_the_beginning_of_a_request_may_go_on(partial: bytes) -> None:
    check_request_start(partial)
    check_request_start(bytearray(partial))


@pytest.mark.parametrize(
    ("partial", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),  # TLS
        (b"\x00", 400),
        (b" ", 400),
        (b"\xff", 400),
        (b"\n", 400),
        (b"GET /\r\n", 400),
        (b"GET / HTTP/1.1\nHost", 400),
        (b"PRI * HTTP/2.0\r\n", 505),  # HTTP/2 with prior knowledge, before its empty line
    ],
)
def test_what_can_never_become_a_request_is_refused_at_once(partial: bytes, status: int) -> None:
    with pytest.raises(Rejected) as caught:
        check_request_start(bytearray(partial))
    assert caught.value.status == status


@pytest.mark.parametrize(
    "partial", [b"H", b"HTTP/1", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r", b"HTTP/1.0 200\r\nA"]
)
def test_the_beginning_of_a_response_may_go_on(partial: bytes) -> None:
    check_response_start(partial)
    check_response_start(bytearray(partial))


@pytest.mark.parametrize(
    "partial",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"S",
        b"HTTP/2 200\r\n",
        b"HTTP/2",
        b"\x15\x03\x01\x00\x02",  # a TLS alert: https spoken here
        b"-ERR unknown command\r\n",
        b"HTTP/1.1 200 OK\nA: b",
    ],
)
def test_what_can_never_become_a_response_is_refused_at_once(partial: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        check_response_start(bytearray(partial))
    assert caught.value.upstream_reason is UpstreamReason.BAD_RESPONSE


# Known heads


def test_a_head_is_known_by_all_its_bytes() -> None:
    known = KnownHeads[RequestHead]()
    head = request(b"Host: a")
    known.add(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", head)
    assert known.get(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is head
    assert known.get(b"GET / HTTP/1.1\r\nHost: A\r\n\r\n") is None


def test_known_heads_are_bounded_in_size_and_number() -> None:
    known = KnownHeads[RequestHead]()
    head = request()
    known.add(b"a" * 2048, head)
    known.add(b"b" * 2049, head)
    assert known.get(b"a" * 2048) is head
    assert known.get(b"b" * 2049) is None
    many = request(*[b"A: b"] * 33)
    known.add(b"c", many)
    assert known.get(b"c") is None
    known.add(b"c", request(*[b"A: b"] * 32))
    assert known.get(b"c") is not None
    for number in range(510):
        known.add(b"%d" % number, head)
    assert known.get(b"a" * 2048) is head
    known.add(b"one too many", head)
    assert known.get(b"a" * 2048) is None
    assert known.get(b"one too many") is head
