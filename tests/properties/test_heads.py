"""Heads read as llhttp reads them, or refused: nothing in between."""

from typing import Any

import httptools
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.proxy.errors import ProxyError
from mcp_proxy_exporter.proxy.heads import (
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)

MANY = 1000
TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Callbacks:
    """What httptools itself makes of a head."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.heads = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.heads += 1


def read_with_llhttp(parser_class: Any, raw: bytes) -> Callbacks | None:
    callbacks = Callbacks()
    try:
        parser_class(callbacks).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return callbacks


NAMES = st.one_of(
    st.text(TCHAR.decode(), min_size=1, max_size=12).map(str.encode),
    st.sampled_from(
        [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"accept"]
    ),
)
VALUES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"5", b"chunked", b"close", b"upgrade", b"h2c", b" a ", b"\ta\t", b"a\r\n b"]),
)
TEXT = st.binary(max_size=20).map(
    lambda value: bytes(byte for byte in value if byte == 9 or (byte >= 0x20 and byte != 0x7F))
)
WELL_FORMED = st.lists(
    st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t "]), TEXT).map(b"".join)
)
COLONS = st.sampled_from([b": ", b":", b" :", b""])
ENDS = st.sampled_from([b"", b"\n", b"\r", b"\r\n ", b"\n\n"])
ANY_LINES = st.lists(st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join), max_size=4)
BLOCKS = st.one_of(WELL_FORMED, ANY_LINES).map(b"\r\n".join)


def whole_head(start_line: bytes, block: bytes) -> bytes:
    """Return the first head in these bytes."""
    raw = start_line + b"\r\n" + block + b"\r\n\r\n"
    return raw[: raw.index(b"\r\n\r\n") + 4]


def parse_or_refuse(raw: bytes) -> RequestHead | ResponseHead | ProxyError:
    try:
        if raw.startswith(b"HTTP/"):
            return parse_response_head(raw, MANY, b"POST")
        return parse_request_head(raw, MANY)
    except ProxyError as error:
        return error


def check_against_llhttp(head: RequestHead | ResponseHead, theirs: Callbacks | None) -> None:
    assert theirs is not None
    assert theirs.heads == 1
    pairs = [line.split(b":", 1) for line in head.lines]
    ours = [(name, value.strip(b" \t")) for name, value in pairs]
    assert ours == theirs.fields
    joined: dict[bytes, list[bytes]] = {}
    for name, value in theirs.fields:
        joined.setdefault(name.lower(), []).append(value)
    assert head.fields == {name: b", ".join(values) for name, values in joined.items()}
    assert not any(byte in line for line in head.lines for byte in b"\r\n\0")


@given(BLOCKS)
def test_request_fields_are_those_that_llhttp_finds(block: bytes) -> None:
    raw = whole_head(b"POST / HTTP/1.1", block)
    head = parse_or_refuse(raw)
    if isinstance(head, ProxyError):
        assert head.status in (400, 501)
    else:
        check_against_llhttp(head, read_with_llhttp(httptools.HttpRequestParser, raw))


@given(BLOCKS)
def test_response_fields_are_those_that_llhttp_finds(block: bytes) -> None:
    raw = whole_head(b"HTTP/1.1 200 OK", block)
    head = parse_or_refuse(raw)
    if isinstance(head, ProxyError):
        assert head.reason == "bad_response"
    else:
        check_against_llhttp(head, read_with_llhttp(httptools.HttpResponseParser, raw))


@given(WELL_FORMED)
def test_well_formed_fields_are_never_refused_for_their_form(lines: list[bytes]) -> None:
    meaningful = (b"host", b"content-length", b"transfer-encoding")
    lines = [line for line in lines if not line.lower().startswith(meaningful)]
    for start_line in (b"GET / HTTP/1.1", b"HTTP/1.1 200 OK"):
        head = parse_or_refuse(whole_head(start_line, b"\r\n".join(lines)))
        assert not isinstance(head, ProxyError)
        assert head.lines == lines


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_parsed_or_refused_and_nothing_else(junk: bytes) -> None:
    outcome = parse_or_refuse(junk + b"\r\n\r\n")
    assert isinstance(outcome, ProxyError) or outcome.minor in (0, 1)
