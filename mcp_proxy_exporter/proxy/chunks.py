"""Bodies in the chunked transfer coding (RFC 9112 section 7.1), decoded strictly.

Knows chunk sizes, extensions and trailers; does not know which message a body belongs to.
"""

import re
from collections.abc import Callable

import httptools

from mcp_proxy_exporter.proxy.heads import NO_CALLBACKS, Head, field_name, read_fields

_CHUNK_SIZE = re.compile(
    # RFC 9112 section 7.1; 15 digits are an exbibyte. Extensions carry nothing and are dropped
    # (section 7.1.1), but a bare CR, LF or NUL inside one is an attack on lenient parsers.
    rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\x00]*)?"
)
_WHOLE_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_MAX_CHUNK_LINE = 4096  # longer than any sensible extension; nginx and HAProxy allow about as much
_MAX_TRAILERS = 16_384  # a quarter of the default head limit: trailers are rare and short


class ChunkedReader:
    """Decodes one chunked body (RFC 9112 section 7.1).

    ``error`` builds the exception for a malformed one: the fault is the sender's, and only the
    caller knows who that is.
    """

    __slots__ = ("_buffer", "_error", "_left", "_seen", "_state", "done", "trailers")

    _SIZE, _DATA, _DATA_END, _TRAILERS = range(4)

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._error = error
        self._buffer = b""
        self._left = 0
        self._seen = 0
        self._state = self._SIZE
        self.done = False
        self.trailers = b""
        """The trailer section's lines with their line ends; empty where there were none."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the payload in ``data`` and what follows the body's end (else empty)."""
        if self._state == self._SIZE and not self._buffer:
            whole = _WHOLE_CHUNK.match(data)
            if whole is not None:
                # The common case, one event in one chunk in one segment, at half the price.
                start = whole.end()
                stop = start + int(whole[1], 16)
                if len(data) == stop + 2 and data.endswith(b"\r\n") and stop > start:
                    return data[start:stop], b""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        position = 0
        size = len(data)
        while position < size and not self.done:
            if self._state == self._DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = self._DATA_END
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep(data[position:])
                position = size
                break
            self._take_line(data[position:end])
            position = end + 2
        payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return payload, data[position:]

    def _keep(self, partial: bytes) -> None:
        limit = {self._DATA_END: 1, self._TRAILERS: _MAX_TRAILERS}.get(self._state, _MAX_CHUNK_LINE)
        if len(partial) > limit or (b"\n" in partial and self._state != self._TRAILERS):
            raise self._error("a chunk is malformed")
        self._buffer = partial

    def _take_line(self, line: bytes) -> None:
        if self._state == self._SIZE:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None or len(line) > _MAX_CHUNK_LINE:
                raise self._error("a chunk size is malformed")
            self._left = int(match[1], 16)
            self._state = self._DATA if self._left else self._TRAILERS
        elif self._state == self._DATA_END:
            if line:
                raise self._error("a chunk is longer than its size")
            self._state = self._SIZE
        elif line:
            self._seen += len(line)
            if self._seen > _MAX_TRAILERS:
                raise self._error("the trailer section is too long")
            self.trailers += line + b"\r\n"
        else:
            self._check_trailers()
            self.done = True

    def _check_trailers(self) -> None:
        if not self.trailers:
            return
        head = Head()
        parser = httptools.HttpRequestParser(NO_CALLBACKS)
        try:
            read_fields(head, parser, b"POST / HTTP/1.1\r\n", self.trailers + b"\r\n", 0)
        except ValueError as error:
            raise self._error("a trailer field is malformed") from error
        # RFC 9110 section 6.5.1: framing, routing and authentication must not arrive in trailers.
        self.trailers = b"".join(
            line + b"\r\n" for line in head.lines if field_name(line) not in _NO_TRAILERS
        )


_NO_TRAILERS = frozenset(
    {
        b"authorization", b"connection", b"content-encoding", b"content-length", b"content-type",
        b"cookie", b"host", b"keep-alive", b"proxy-connection", b"set-cookie", b"te", b"trailer",
        b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
