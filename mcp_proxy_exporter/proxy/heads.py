"""HTTP/1.1 heads: start line and fields (RFC 9112 sections 2 to 6), parsed strictly.

Knows when a head is malformed or its body's length ambiguous; does not know sockets, bodies
(`chunks`, `wire`) or which fields may pass (`headers`).

llhttp (through httptools) judges the field lines of every head; start lines and lengths are judged
here, since httptools knows only registered methods, skips the body of a request with ``Upgrade``
(MagicStack/httptools#124) and cannot be told of HEAD. A fresh parser for each head costs 0.5 us and
leaves no state from one message to the next.
"""

import re
from typing import Generic, TypeVar

import httptools

from mcp_proxy_exporter.proxy.errors import Rejected, UpstreamError, UpstreamReason

CHUNKED = -1
"""A body in the chunked transfer coding (RFC 9112 section 7.1)."""
UNTIL_CLOSE = -2
"""A response body that ends with its connection (RFC 9112 section 6.3, rule 8)."""

_REQUEST_LINE = re.compile(
    # RFC 9110 section 9.1: a method is any token; RFC 9112 section 3: one space on each side.
    # The target is any run of visible or non-ASCII bytes: it is passed on, not understood.
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r\n"
)
_STATUS_LINE = re.compile(
    # RFC 9112 section 4; servers that leave out the space before an empty reason are common.
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\x00\r\n]*))?\r\n"
)
_OTHER_VERSION = re.compile(rb"[^\r\n]* HTTP/(?!1\.[01]\r)[0-9]\.[0-9]\r\n")
_REQUEST_START = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")
_STATUS_START = b"HTTP/1."
# llhttp's start lines stand in for the real ones: any method, any target, any status then passes
# through the same field parser.
_REQUEST_LINE_STAND_IN = b"POST / HTTP/1.1\r\n"
_STATUS_LINE_STAND_IN = b"HTTP/1.1 200 OK\r\n"
_BAD_STATUS_LINE = "its status line is malformed"
NO_CALLBACKS = object()
# Heads of MCP's requests and answers have 200 to 800 bytes and 4 to 20 fields. With what was parsed
# of them they take 3 KiB each, and 12 KiB at most: 6 MiB a side where a client makes up new ones.
_MAX_KNOWN = 512
_MAX_KNOWN_SIZE = 2048
_MAX_KNOWN_FIELDS = 32
_MAX_LENGTH_DIGITS = 18  # below 2**63, where other parsers overflow


class Head:
    """One message head: its field lines as they came, and its fields by lower-case name."""

    __slots__ = ("fields", "lines", "minor")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        """``Name: value`` without line ends, in wire order: case, order, multiplicity, spaces."""
        self.fields: dict[bytes, bytes] = {}
        """Lower-case name to value; repeated fields joined (RFC 9110 section 5.3)."""
        self.minor = 1
        """Of ``HTTP/1.x``."""

    def repeats(self, name: bytes) -> bool:
        """Tell whether a field (lower-case name) stands more than once."""
        return len(self.lines) != len(self.fields) and (
            sum(field_name(line) == name for line in self.lines) > 1
        )


def field_name(line: bytes) -> bytes:
    """Return the lower-case name of a field line."""
    return line[: line.index(b":")].lower()


class RequestHead(Head):
    """Request line and fields. ``target`` is byte-exact."""

    __slots__ = ("forwarded", "length", "method", "target")

    def __init__(self) -> None:
        super().__init__()
        self.method = b""
        self.target = b""
        self.length = 0
        """Body bytes, or `CHUNKED`."""
        self.forwarded: bytes | None = None
        """What a listener made of it for its upstream; None until it was admitted."""


class ResponseHead(Head):
    """Status line and fields."""

    __slots__ = ("forwarded", "length", "reason", "status")

    def __init__(self) -> None:
        super().__init__()
        self.status = 0
        self.reason = b""
        self.length = 0
        """Body bytes, `CHUNKED` or `UNTIL_CLOSE`."""
        self.forwarded: dict[tuple[bool, bool], bytes] = {}
        """What a listener made of it for clients, by (chunked, close)."""


_AnyHead = TypeVar("_AnyHead", bound=Head)


class KnownHeads(Generic[_AnyHead]):
    """Heads that were parsed before, by their bytes.

    A client's requests and a server's answers repeat each other's heads to the byte, but for a
    length or a date: what was judged once need not be judged again, which saves a quarter of the
    CPU of a small call. A full store is emptied: cheaper than to know which head is old.
    """

    __slots__ = ("_heads", "get")

    def __init__(self) -> None:
        self._heads: dict[bytes, _AnyHead] = {}
        self.get = self._heads.get

    def add(self, raw: bytes, head: _AnyHead) -> None:
        """Remember a head, unless it is a long one."""
        if len(raw) <= _MAX_KNOWN_SIZE and len(head.lines) <= _MAX_KNOWN_FIELDS:
            if len(self._heads) >= _MAX_KNOWN:
                self._heads.clear()
            self._heads[raw] = head

    def clear(self) -> None:
        """Forget all, because what they were judged by has changed."""
        self._heads.clear()


def parse_request_head(raw: bytes, max_fields: int) -> RequestHead:
    """Parse a whole head, ``raw`` ending with its empty line; raise `Rejected` if malformed."""
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise _bad_request_line(raw)
    head = RequestHead()
    head.method, head.target, minor = line.groups()
    if minor == b"0":
        head.minor = 0
    try:
        read_fields(
            head,
            httptools.HttpRequestParser(NO_CALLBACKS),
            _REQUEST_LINE_STAND_IN,
            raw,
            line.end(),
            max_fields,
        )
    except ValueError as error:
        raise Rejected(400, "header", "a header field or the framing is malformed") from error
    if len(head.lines) > max_fields:
        raise Rejected(431, "header_count", "the request has too many header fields")
    if len(head.lines) != len(head.fields):
        # RFC 9112 sections 3.2 and 6.3: what two parsers would read differently. A repeated
        # Content-Length, equal or not, was refused by llhttp.
        for name in (b"host", b"transfer-encoding"):
            if head.repeats(name):
                raise Rejected(400, "repeated", f"the field {name.decode()} is repeated")
    head.length = _request_length(head)
    return head


def parse_response_head(raw: bytes, max_fields: int, request_method: bytes) -> ResponseHead:
    """Parse a whole head of an upstream; raise `UpstreamError` if malformed."""
    line = _STATUS_LINE.match(raw)
    if line is None:
        raise bad_response(_BAD_STATUS_LINE)
    head = ResponseHead()
    minor, status, reason = line.groups()
    if minor == b"0":
        head.minor = 0
    try:
        read_fields(
            head,
            httptools.HttpResponseParser(NO_CALLBACKS),
            _STATUS_LINE_STAND_IN,
            raw,
            line.end(),
            max_fields,
        )
    except ValueError as error:
        raise bad_response("a header field or the framing is malformed") from error
    if len(head.lines) > max_fields:
        raise bad_response("it has too many header fields", "header_count")
    head.status = int(status)
    head.reason = reason or b""
    head.length = _response_length(head, request_method)
    return head


def check_request_start(partial: bytes | bytearray) -> None:
    """Raise `Rejected` for bytes that can never become a head, such as a TLS handshake.

    Without this their sender would wait for the end of a head that it does not know of.
    """
    if b"\n" in partial:
        if _REQUEST_LINE.match(partial) is None:
            raise _bad_request_line(partial)
    elif _REQUEST_START.match(partial) is None:
        raise _bad_request_line(partial)


def check_response_start(partial: bytes | bytearray) -> None:
    """Raise `UpstreamError` for bytes that can never become a head: a server of another protocol.

    Many of those send one line and wait (SSH, SMTP, Redis), and so would we.
    """
    if b"\n" in partial:
        if _STATUS_LINE.match(partial) is None:
            raise bad_response(_BAD_STATUS_LINE)
    elif not _STATUS_START.startswith(partial[: len(_STATUS_START)]):
        raise bad_response(_BAD_STATUS_LINE)


def _bad_request_line(raw: bytes | bytearray) -> Rejected:
    if _OTHER_VERSION.match(raw):
        return Rejected(505, "http_version", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return Rejected(400, "request_line", "the request line is malformed")


def read_fields(
    head: Head,
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser,
    start_line: bytes,
    raw: bytes,
    start: int,
    max_fields: int,
) -> None:
    """Let llhttp judge the field lines of ``raw[start:]``, then split them; raise ValueError.

    With more than ``max_fields`` it stops at the lines: joining many repeated ones takes long.

    Once llhttp has accepted a head, every line in it is ``token ":" value CRLF`` with neither CR,
    LF nor NUL in the value and none is folded (RFC 9112 section 5.2), so a split at CRLF finds the
    fields that llhttp found.
    """
    try:
        parser.feed_data(start_line + raw[start:])
    except httptools.HttpParserUpgrade:
        # The head was read whole; that httptools would stop here matters only to its bodies.
        pass
    except httptools.HttpParserError as error:
        raise ValueError(str(error)) from error
    if start + 2 == len(raw):
        return
    lines = raw[start:-4].split(b"\r\n")
    head.lines = lines
    if len(lines) > max_fields:
        return
    head.fields = fields = {
        name.lower(): value.strip(b" \t")
        for name, _, value in [line.partition(b":") for line in lines]
    }
    if len(fields) != len(lines):
        _join_repeated(head)


def _join_repeated(head: Head) -> None:
    joined: dict[bytes, bytes] = {}
    for line in head.lines:
        name, _, value = line.partition(b":")
        lowered, value = name.lower(), value.strip(b" \t")
        joined[lowered] = joined[lowered] + b", " + value if lowered in joined else value
    head.fields = joined


def _request_length(head: RequestHead) -> int:
    """Return the body length (RFC 9112 section 6.3, rules 3 to 7)."""
    fields = head.fields
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        if length is not None or head.minor == 0:
            raise Rejected(400, "framing", "the length of the body is ambiguous")
        if coding.lower() != b"chunked":
            raise Rejected(501, "transfer_coding", "only the chunked transfer coding is known")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        raise Rejected(400, "framing", "the field Content-Length is malformed")
    return int(length)


def _response_length(head: ResponseHead, request_method: bytes) -> int:
    """Return the body length (RFC 9112 section 6.3, rules 1 and 4 to 8)."""
    if request_method == b"HEAD" or head.status in (204, 304) or head.status < 200:  # noqa: PLR2004
        return 0
    fields = head.fields
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        if length is not None or head.minor == 0 or coding.lower() != b"chunked":
            raise bad_response("the length of its body is ambiguous")
        return CHUNKED
    if length is None:
        return UNTIL_CLOSE
    if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        # Repeated lengths arrive joined by a comma and end here too.
        raise bad_response("its Content-Length is malformed")
    return int(length)


def bad_response(detail: str, cause: str = "") -> UpstreamError:
    """Build the error of a response that cannot be passed on; ``cause`` is a word as in requests'.

    A head over a limit counts there whichever side sent it.
    """
    return UpstreamError(
        UpstreamReason.BAD_RESPONSE,
        f"the upstream's response cannot be passed on: {detail}",
        cause=cause,
    )
