"""HTTP/1.1 messages as bytes: heads found, bodies delimited (RFC 9112), no socket in sight.

Knows framing and is strict about it: what two parsers could read differently is refused, because a
proxy that guesses is how requests are smuggled (RFC 9112 section 11.2). Does not know which fields
may pass (`headers`), who may ask (`admission`) or what a body means.
"""

from typing import Protocol

from mcp_proxy_exporter.proxy.chunks import read_single_chunk
from mcp_proxy_exporter.proxy.errors import Rejected
from mcp_proxy_exporter.proxy.framing import HEAD_END, HEAD_END_SIZE, Reader, Receiver
from mcp_proxy_exporter.proxy.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    KnownHeads,
    RequestHead,
    ResponseHead,
    bad_response,
    check_request_start,
    check_response_start,
    parse_request_head,
    parse_response_head,
)

_CR = 13
_MAX_EMPTY_LINES = 4
"""Before a request: RFC 9112 section 2.2 wants one ignored at least, and old clients end a body
with one that does not belong to it. More is nothing that any client has a reason to send."""
_MAX_INTERIM = 100
"""Interim heads of one answer. A server that reports by 102 every 20 seconds (RFC 2518 section
10.1) can do so for half an hour; Go's client gives up after 5. Without an end to them there would
be none to an answer that never begins."""


class RequestReceiver(Receiver, Protocol):
    """Takes requests, one at a time."""

    def take_request(self, head: RequestHead) -> None:
        """Take a request head."""


class RequestReader(Reader):
    """Splits a client's bytes into requests, and stops after each until told to go on.

    Pipelined requests wait in ``pending`` bytes: one connection has one exchange at a time, so
    answers leave in the order of the requests (RFC 9112 section 9.3.2).
    """

    __slots__ = ("_known", "_receiver", "busy", "empty_lines", "personal")

    def __init__(
        self,
        receiver: RequestReceiver,
        max_head: int,
        max_fields: int,
        known: KnownHeads[RequestHead] | None = None,
    ) -> None:
        """``known`` are heads that other connections parsed."""
        super().__init__(max_head, max_fields, check_request_start, Rejected)
        self._receiver = receiver
        self._known = KnownHeads[RequestHead]() if known is None else known
        self.busy = False
        """True from a request's head until `resume`."""
        self.empty_lines = 0
        """How many were ignored since the last request."""
        self.personal: dict[RequestHead, bytes] = {}
        """What was made of known heads for this connection's client, and is for no other."""

    @property
    def pending(self) -> int:
        """Bytes of pipelined requests that wait."""
        return len(self._buffer)

    def take_known(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return head and body if ``data`` is all of a request whose head was admitted before.

        The short way of almost every request; the long one is `feed`, which takes whatever this
        declines.
        """
        if self.busy or self._buffer or self.empty_lines:
            return None
        end = data.find(b"\r\n\r\n") + 4
        head = self._known.get(data[:end])
        if head is None or head.length != len(data) - end:
            return None
        if head.forwarded is None and head not in self.personal:
            return None
        self.busy = True
        return head, data[end:]

    def feed(self, data: bytes) -> None:
        """Take bytes; raise `Rejected` if they are no HTTP."""
        buffer = self._buffer
        if self.busy:
            if self.in_body and not buffer:
                data = self._read_body(data, self._receiver)
            if data:
                buffer += data
        elif buffer or data[0] == _CR:
            # Only what is new is searched, so that a head in tiny pieces costs no more than it
            # must.
            new = max(len(buffer) - 3, 0)
            buffer += data
            self._read_waiting(new)
        else:
            self._read_head(data)

    def go_on(self) -> None:
        """Take one turn's share of what `is_behind`; raise `Rejected` as `feed` does."""
        self._read_waiting_body(self._receiver)

    def resume(self) -> bool:
        """Go on to the next request; True when its head was there."""
        self.busy = False
        if self._buffer:
            self._read_waiting(0)
        return self.busy

    def _read_head(self, data: bytes) -> None:
        """Take the beginning of a request, or all of it."""
        end = data.find(HEAD_END) + HEAD_END_SIZE
        if not HEAD_END_SIZE <= end <= self._max_head:
            self._buffer += data
            self._hold(0)
            return
        rest = data[end:]
        self._take_head(data[:end])
        if rest and self.in_body:
            rest = self._read_body(rest, self._receiver)
        if rest:
            self._buffer += rest

    def _read_waiting(self, new: int) -> None:
        """Take a request from the bytes that wait, which are searched from ``new`` on.

        There may be many more of them: no request costs more than its own bytes.
        """
        buffer = self._buffer
        if buffer[0] == _CR:
            self._skip_empty_lines()
            if not buffer or buffer == b"\r":  # perhaps the first half of another
                return
            new = 0
        end = buffer.find(HEAD_END, new) + HEAD_END_SIZE
        if not HEAD_END_SIZE <= end <= self._max_head:
            self._hold(new)
            return
        raw = bytes(buffer[:end])
        del buffer[:end]
        self._take_head(raw)
        if buffer and self.in_body:
            self._read_waiting_body(self._receiver)

    def _take_head(self, raw: bytes) -> None:
        head = self._known.get(raw)
        if head is None:
            head = parse_request_head(raw, self._max_fields)
            self._known.add(raw, head)
        self.busy = True
        self.empty_lines = 0
        length = head.length
        if length:
            self._begin_body(length)
        self._receiver.take_request(head)
        if not length:
            self._receiver.take_end(b"")

    def _skip_empty_lines(self) -> None:
        """Drop the empty lines before a request line (RFC 9112 section 2.2)."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            self.empty_lines += 1
            if self.empty_lines > _MAX_EMPTY_LINES:
                raise Rejected(400, "request_line", "too many empty lines precede the request line")
            del buffer[:2]


class ResponseReceiver(Receiver, Protocol):
    """Takes the answer to one request: any number of interim heads, then a final one."""

    def take_response(self, head: ResponseHead) -> None:
        """Take an interim or the final response head."""


class ResponseReader(Reader):
    """Splits an upstream's bytes into the answer to one request at a time."""

    __slots__ = ("_interim", "_known", "_method", "_receiver", "extra")

    def __init__(
        self, max_head: int, max_fields: int, known: KnownHeads[ResponseHead] | None = None
    ) -> None:
        """``known`` are heads that other connections parsed."""
        super().__init__(
            max_head,
            max_fields,
            check_response_start,
            lambda _status, reason, detail: bad_response(detail, reason),
        )
        self._known = KnownHeads[ResponseHead]() if known is None else known
        self._receiver: ResponseReceiver | None = None
        self._method = b""
        self._interim = 0
        self.extra = False
        """True when bytes came that no request asked for: never to be used again."""

    def expect(self, method: bytes, receiver: ResponseReceiver) -> None:
        """Name the request whose answer comes next, and who takes it."""
        self._method = method
        self._receiver = receiver
        self._interim = 0

    def take_known(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Return head and payload if ``data`` is all of an answer whose head was parsed before.

        The short way of almost every answer; the long one is `feed`, which takes whatever this
        declines.
        """
        if self.in_body or self._buffer or self._receiver is None or self._method == b"HEAD":
            return None
        end = data.find(b"\r\n\r\n") + 4
        head = self._known.get(data[:end])
        if head is None or head.status < 200:  # noqa: PLR2004  # RFC 9110 section 15.2: interim
            return None
        payload: bytes | None = data[end:]
        if head.length == CHUNKED:
            payload = read_single_chunk(data, end)
        if not payload or (head.length >= 0 and head.length != len(payload)):
            return None
        if head.length == UNTIL_CLOSE:
            return None
        self._receiver = None
        return head, payload

    def feed(self, data: bytes) -> bool:
        """Take bytes; raise `UpstreamError` if they are no HTTP.

        Returns True where there were more than one turn's share: `go_on` takes them.
        """
        receiver = self._receiver
        if receiver is None:
            self.extra = True
            return False
        if self.in_body and self._buffer:
            self._buffer += data
            return True
        rest = data if self.in_body else self._read_heads(data, receiver)
        if rest and self.in_body:
            rest = self._read_body(rest, receiver)
            if not self.started:
                self._receiver = None
        if rest and self.in_body:
            self._buffer += rest
            return True
        if rest:
            self.extra = True
        return False

    def go_on(self) -> bool:
        """Take one turn's share of what `is_behind`; True if that was not all."""
        receiver = self._receiver
        if receiver is None or not self.is_behind:
            return False
        self._read_waiting_body(receiver)
        if not self.in_body:
            self._receiver = None
            self.extra = self.extra or bool(self._buffer)
        return self.is_behind

    def eof(self) -> bool:
        """Note the end of the connection; True when that completes a body `UNTIL_CLOSE`."""
        receiver = self._receiver
        if receiver is None or not self.in_body or self._left != UNTIL_CLOSE:
            return False
        self.in_body = False
        self._left = 0
        self._receiver = None
        receiver.take_end(b"")
        return True

    def finish(self) -> None:
        """Forget the request: whatever comes now was not asked for."""
        self._receiver = None

    def _read_heads(self, data: bytes, receiver: ResponseReceiver) -> bytes:
        """Take heads up to the final one; return what follows it."""
        buffer = self._buffer
        start = 0
        if buffer:
            new = max(len(buffer) - 3, 0)
            buffer += data
            if buffer.find(HEAD_END, new) < 0:
                self._hold(new)
                return b""
            data = bytes(buffer)
            self._buffer = buffer = bytearray()
        while start < len(data):
            end = data.find(HEAD_END, start) + HEAD_END_SIZE
            if not HEAD_END_SIZE <= end <= start + self._max_head:
                buffer += data[start:]
                self._hold(0)
                break
            if self._take_head(data[start:end], receiver):
                return data[end:]
            start = end
        return b""

    def _take_head(self, raw: bytes, receiver: ResponseReceiver) -> bool:
        """Take a head; return True if it is the final one."""
        head = self._known.get(raw) if self._method != b"HEAD" else None
        if head is None:
            head = parse_response_head(raw, self._max_fields, self._method)
            if self._method != b"HEAD":  # its answers have lengths without bodies
                self._known.add(raw, head)
        if head.status < 200:  # noqa: PLR2004  # RFC 9110 section 15.2: interim
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise bad_response("it has too many interim heads")
            receiver.take_response(head)
            return False
        length = head.length
        if length:
            self._begin_body(length)
        receiver.take_response(head)
        if not length:
            receiver.take_end(b"")
            self._receiver = None
        return True
