"""Which fields change on the way, one by one."""

import pytest

from mcp_proxy_exporter.proxy.headers import (
    forward_request,
    forward_response,
    is_reframed,
    nominated,
    wants_close,
)
from mcp_proxy_exporter.proxy.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)


def request(*lines: bytes, line: bytes = b"POST /mcp HTTP/1.1") -> RequestHead:
    return parse_request_head(b"\r\n".join([line, *lines, b"", b""]), 100)


def response(*lines: bytes, line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return parse_response_head(b"\r\n".join([line, *lines, b"", b""]), 100, b"POST")


def sent(
    head: RequestHead, host: bytes | None = None, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> list[bytes]:
    """Return the lines of the head that the upstream gets."""
    raw = forward_request(head, target=head.target, host=host, extra=extra)
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


def answered(head: ResponseHead, *, chunked: bool = False, close: bool = False) -> list[bytes]:
    """Return the lines of the head that the client gets."""
    raw = forward_response(head, chunked=chunked, close=close)
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


HOP_BY_HOP = [
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
]  # fmt: skip
PROTECTED = [
    b"authorization", b"content-encoding", b"content-length", b"content-type", b"cookie", b"host",
    b"last-event-id", b"mcp-method", b"mcp-name", b"mcp-protocol-version", b"mcp-session-id",
    b"origin",
]  # fmt: skip
PLAIN = [
    b"hOsT:a:80",
    b"X-Twice:  1 ",
    b"x-twice:2",
    b"X-Empty:",
    b"Content-Length: 5",
    b"Mcp-Session-Id:\ts",
    b"X-Text: caf\xe9\xff",
    b"Trailer: X",
    b"Expect: 100-continue",
    b"Via: 1.1 x",
    b"Set-Cookie: a",
    b"Set-Cookie: b",
]


def test_fields_that_may_pass_pass_byte_for_byte() -> None:
    assert sent(request(*PLAIN)) == [b"POST /mcp HTTP/1.1", *PLAIN]
    assert answered(response(*PLAIN)) == [b"HTTP/1.1 200 OK", *PLAIN]


def test_a_head_without_fields_passes() -> None:
    assert sent(request(line=b"GET / HTTP/1.0")) == [b"GET / HTTP/1.1"]
    assert answered(response()) == [b"HTTP/1.1 200 OK"]


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_fields_are_removed(name: bytes) -> None:
    # RFC 9110 section 7.6.1, RFC 9112 section 6.1.
    value = b"chunked" if name == b"transfer-encoding" else b"x"
    around = [b"Host: a", name.title() + b": " + value, b"A: b"]
    kept = [b"Host: a", b"A: b"]
    framing = [b"Transfer-Encoding: chunked"] if name == b"transfer-encoding" else []
    assert sent(request(*around))[1:] == kept + framing
    assert answered(response(*around))[1:] == kept


def test_nominated_fields_are_removed() -> None:
    lines = [
        b"Host: a",
        b"Connection: X-One ,, close",
        b"x-one: 1",
        b"X-Two: 2",
        b"connection: x-TWO",
    ]
    assert nominated(request(*lines)) == {b"x-one", b"x-two", b"close"}
    assert sent(request(*lines))[1:] == [b"Host: a"]
    assert answered(response(*lines))[1:] == [b"Host: a"]


@pytest.mark.parametrize("name", PROTECTED)
def test_a_response_cannot_have_protected_fields_removed(name: bytes) -> None:
    # Without its Content-Length the client could not tell where a body ends.
    lines = [b"Connection: X-One, " + name, b"X-One: 1", name + b": 5"]
    assert answered(response(*lines))[1:] == [name + b": 5"]


def test_chunked_bodies_are_framed_anew() -> None:
    lines = [b"Host: a", b"transfer-encoding:Chunked", b"A: b"]
    assert sent(request(*lines))[1:] == [b"Host: a", b"A: b", b"Transfer-Encoding: chunked"]
    assert answered(response(*lines), chunked=True)[1:] == [
        b"Host: a", b"A: b", b"Transfer-Encoding: chunked",
    ]  # fmt: skip
    assert [is_reframed(length) for length in (CHUNKED, UNTIL_CLOSE, 0, 5)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_the_end_of_the_connection_is_announced() -> None:
    assert answered(response(b"Connection: keep-alive"), close=True)[1:] == [b"Connection: close"]


def test_both_sides_are_spoken_to_in_http_1_1() -> None:
    assert sent(request(b"Host: a", line=b"get /%2F/../a?%41 HTTP/1.0"))[0] == (
        b"get /%2F/../a?%41 HTTP/1.1"
    )
    assert answered(response(line=b"HTTP/1.0 404 Nicht da"))[0] == b"HTTP/1.1 404 Nicht da"
    assert answered(response(line=b"HTTP/1.1 200"))[0] == b"HTTP/1.1 200 "  # RFC 9112 section 4


def test_a_rewritten_host_stands_where_it_stood() -> None:
    head = request(b"A: b", b"hOST:  me ", b"C: d")
    assert sent(head, host=b"up:81")[1:] == [b"A: b", b"hOST: up:81", b"C: d"]


def test_a_missing_host_is_added_in_front() -> None:
    # RFC 9110 section 7.2: it should be first.
    head = request(b"A: b", line=b"GET / HTTP/1.0")
    assert sent(head, host=b"up")[1:] == [b"Host: up", b"A: b"]


def test_configured_fields_replace_those_of_their_name() -> None:
    extra = ((b"Authorization", b"Bearer s"), (b"X-New", b"n"))
    head = request(b"authorization: a", b"Host: a", b"AUTHORIZATION: b", b"A: b")
    assert sent(head, extra=extra)[1:] == [
        b"Host: a", b"A: b", b"Authorization: Bearer s", b"X-New: n",
    ]  # fmt: skip


def test_configured_fields_replace_those_that_cgi_takes_for_them() -> None:
    extra = ((b"X-Api-Key", b"ours"), (b"Tenant_Id", b"cats"))
    head = request(b"Host: a", b"X_Api_Key: a", b"x-api_key: b", b"TENANT-ID: c", b"X-Api: d")
    assert sent(head, extra=extra)[1:] == [
        b"Host: a", b"X-Api: d", b"X-Api-Key: ours", b"Tenant_Id: cats",
    ]  # fmt: skip


def test_forwarding_leaves_the_head_as_it_was() -> None:
    head = request(*PLAIN)
    sent(head, host=b"x", extra=((b"Q", b"r"),))
    assert head.lines == PLAIN


@pytest.mark.parametrize(
    ("lines", "line", "closes"),
    [
        ([], b"HTTP/1.1 200 OK", False),
        ([b"Connection: keep-alive"], b"HTTP/1.1 200 OK", False),
        ([b"Connection: x, CLOSE"], b"HTTP/1.1 200 OK", True),
        ([b"Connection: x", b"connection: close"], b"HTTP/1.1 200 OK", True),
        ([b"Connection: closed"], b"HTTP/1.1 200 OK", False),
        ([b"Connection: keep-alive"], b"HTTP/1.0 200 OK", True),
    ],
)
def test_who_closes_says_so(lines: list[bytes], line: bytes, closes: bool) -> None:  # noqa: FBT001
    # RFC 9112 section 9.3.
    assert wants_close(response(*lines, line=line)) is closes
