"""Bodies in the chunked transfer coding (RFC 9112 section 7.1), decoded strictly.

Knows chunk sizes, extensions and trailers; does not know which message a body belongs to.
"""

import re

import httptools

from mcp_proxy_exporter.proxy.forwarding import is_claim
from mcp_proxy_exporter.proxy.headers import HOP_BY_HOP, protected
from mcp_proxy_exporter.proxy.heads import NO_CALLBACKS, Head, field_name, read_fields

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_CHUNK_SIZE = re.compile(
    # RFC 9112 sections 7.1 and 7.1.1; 15 digits are an exbibyte. Extensions carry nothing and are
    # dropped, but what is not quite one, white space alone too, is where other parsers disagree.
    rb"([0-9A-Fa-f]{1,15})"
    rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
)
_CHUNK_SIZE_START = re.compile(rb"[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n\x00]*)?")
"""What can still become one: neither a bare CR nor an LF that its sender took for the end."""
_STAND_IN = b"POST / HTTP/1.1\r\n"  # so that llhttp takes trailers for the fields of a head
_WHOLE_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_MAX_CHUNK_LINE = 4096  # longer than any sensible extension; nginx and HAProxy allow about as much
_MAX_TRAILERS = 16_384  # a quarter of the default head limit: trailers are rare and short
_MAX_STEPS = 256
"""Chunks, or lines around them, that are one turn's share: some 0.3 ms. A read of the event loop's
256 KiB has 43 000 of the shortest; one of an event stream's has some hundreds at most."""


class _Malformed(Exception):
    """The sender broke the coding's grammar; never leaves this module."""


def read_single_chunk(data: bytes, start: int) -> bytes | None:
    """Return the payload if ``data[start:]`` is one chunk and the end of its body; else None.

    The common case of an event stream that answers a call with one event.
    """
    size = _WHOLE_CHUNK.match(data, start)
    if size is None:
        return None
    begin = size.end()
    end = begin + int(size[1], 16)
    # A size of zero would be the end itself, and what follows no part of this body.
    return data[begin:end] if end > begin and data[end:] == b"\r\n0\r\n\r\n" else None


class ChunkedReader:
    """Decodes one chunked body (RFC 9112 section 7.1)."""

    __slots__ = ("_buffer", "_left", "_state", "done", "fault", "trailers")

    _SIZE = 0
    _DATA = 1
    _DATA_END = 2
    _TRAILERS = 3

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._state = self._SIZE
        self.done = False
        """True after the body's end, or a fault: nothing more is taken."""
        self.fault = ""
        """What is malformed. The payload before it was good, and is returned all the same."""
        self.trailers = b""
        """The trailer section's lines with their line ends; empty where there were none."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the payload in ``data`` and what follows the body's end (else empty).

        Where the body has not ended, the second is what is more than one turn's share.
        """
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
        try:
            rest = self._read(data, pieces)
        except _Malformed as malformed:
            self.fault = str(malformed)
            self.done = True
            rest = b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), rest

    def _read(self, data: bytes, pieces: list[bytes]) -> bytes:
        """Add the payload in ``data`` to ``pieces``; return what was not taken."""
        position = 0
        size = len(data)
        for _ in range(_MAX_STEPS):
            if position >= size or self.done:
                break
            if self._state == self._SIZE:
                whole = _WHOLE_CHUNK.match(data, position)
                if whole is not None:
                    start = whole.end()
                    stop = start + int(whole[1], 16)
                    if stop > start and data.startswith(b"\r\n", stop):
                        pieces.append(data[start:stop])
                        position = stop + 2
                        continue
            elif self._state == self._DATA:
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
                return b""
            self._take_line(data[position:end])
            position = end + 2
        return data[position:]

    def _keep(self, partial: bytes) -> None:
        """Hold a line without its end, unless it can never become a good one: none may wait."""
        line = partial.removesuffix(b"\r")
        if self._state == self._SIZE:
            self._match_size(line, _CHUNK_SIZE_START)
        elif self._state == self._DATA_END:
            self._check_data_end(line)
        else:
            self._check_trailer(line)
        self._buffer = partial

    def _take_line(self, line: bytes) -> None:
        if self._state == self._SIZE:
            self._left = int(self._match_size(line, _CHUNK_SIZE)[1], 16)
            self._state = self._DATA if self._left else self._TRAILERS
        elif self._state == self._DATA_END:
            self._check_data_end(line)
            self._state = self._SIZE
        elif line:
            self._check_trailer(line)
            self.trailers += line + b"\r\n"
        else:
            self._check_trailers()
            self.done = True

    def _match_size(self, line: bytes, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        match = pattern.fullmatch(line) if len(line) <= _MAX_CHUNK_LINE else None
        if match is None:
            raise _Malformed("a chunk size is malformed")
        return match

    def _check_data_end(self, line: bytes) -> None:
        if line:
            raise _Malformed("a chunk is longer than its size")

    def _check_trailer(self, line: bytes) -> None:
        if len(self.trailers) + len(line) > _MAX_TRAILERS:
            raise _Malformed("the trailer section is too long")
        if b"\n" in line:
            raise _Malformed("a trailer field is malformed")

    def _check_trailers(self) -> None:
        if not self.trailers:
            return
        head = Head()
        parser = httptools.HttpRequestParser(NO_CALLBACKS)
        try:
            # Only the lines are wanted, not the fields in them.
            read_fields(head, parser, _STAND_IN, self.trailers + b"\r\n", 0, max_fields=0)
        except ValueError as error:
            raise _Malformed("a trailer field is malformed") from error
        self.trailers = b"".join(
            line + b"\r\n" for line in head.lines if _may_be_trailer(field_name(line))
        )


def _may_be_trailer(name: bytes) -> bool:
    """Tell whether a field (lower-case name) may stand behind a body.

    RFC 9110 section 6.5.1: framing, routing and authentication may not. Nor may what is judged,
    replaced or read in heads: servers, uvicorn on httptools for one, take trailers for fields of
    the head, and a claim would so get past `forwarding`.
    """
    plain = name.replace(b"_", b"-")  # CGI and WSGI make the same variable of both
    return not (
        plain in HOP_BY_HOP
        or plain in _NO_TRAILERS
        or protected(frozenset((plain,)))
        or is_claim(plain)
    )


_NO_TRAILERS = frozenset(
    {b"content-range", b"expect", b"proxy-authorization", b"set-cookie", b"trailer"}
)
"""Further names than those of connections, claims and what no ``Connection`` may nominate."""
