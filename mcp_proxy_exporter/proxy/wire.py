"""HTTP/1.1 messages as bytes: heads found, bodies delimited (RFC 9112), no socket in sight.

Knows framing and is strict about it: what two parsers could read differently is refused, because a
proxy that guesses is how requests are smuggled (RFC 9112 section 11.2). Does not know which fields
may pass (`headers`), who may ask (`admission`) or what a body means.
"""

from collections.abc import Callable
from typing import Protocol

from mcp_proxy_exporter.proxy.chunks import ChunkedReader
from mcp_proxy_exporter.proxy.errors import Rejected
from mcp_proxy_exporter.proxy.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    RequestHead,
    ResponseHead,
    bad_response,
    parse_request_head,
    parse_response_head,
)


class Receiver(Protocol):
    """Takes what a reader finds, in order: head, any number of body pieces, end."""

    def take_body(self, data: bytes) -> None:
        """Take body bytes, never empty, without transfer coding."""

    def take_end(self, trailers: bytes) -> None:
        """Take the end of the message and its trailer lines (mostly none)."""


class _Reader:
    """What both directions share: finding the end of a head, delimiting a body."""

    __slots__ = ("_buffer", "_chunks", "_left", "_max_fields", "_max_head", "_refuse", "in_body")

    def __init__(
        self, max_head: int, max_fields: int, refuse: Callable[[int, str, str], Exception]
    ) -> None:
        """``refuse`` builds the error of a malformed head: the fault is the sender's."""
        self._refuse = refuse
        self._max_head = max_head
        self._max_fields = max_fields
        self._buffer = bytearray()
        self._chunks: ChunkedReader | None = None
        self._left = 0
        self.in_body = False

    @property
    def started(self) -> bool:
        """True inside a message, and when bytes wait that no message has claimed yet."""
        return self.in_body or bool(self._buffer)

    def _split_head(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return (head, rest) once the head is whole; raise what ``refuse`` builds if never."""
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer)
        end = data.find(b"\r\n\r\n")
        if end < 0 or end + 4 > self._max_head:
            if len(data) > self._max_head:
                raise self._refuse(431, "header_size", "the head is too large")
            if b"\n\n" in data or b"\n\r\n" in data:
                # RFC 9112 section 2.2 lets a recipient accept a bare LF; refusing is safer.
                raise self._refuse(400, "header", "the head has bare line feeds")
            self._buffer = bytearray(data)
            return None
        if self._buffer:
            self._buffer = bytearray()
        return data[: end + 4], data[end + 4 :]

    def _read_body(self, data: bytes, receiver: Receiver) -> bytes:
        """Pass on the body bytes in ``data``; return what follows the body's end."""
        if self._chunks is not None:
            payload, rest = self._chunks.feed(data)
            if payload:
                receiver.take_body(payload)
            if self._chunks.done:
                trailers = self._chunks.trailers
                self._chunks = None
                self.in_body = False
                receiver.take_end(trailers)
            return rest
        if self._left < 0:
            receiver.take_body(data)
            return b""
        size = len(data)
        if size < self._left:
            self._left -= size
            receiver.take_body(data)
            return b""
        payload, rest = (data, b"") if size == self._left else (
            data[: self._left], data[self._left :]
        )  # fmt: skip
        self._left = 0
        self.in_body = False
        receiver.take_body(payload)
        receiver.take_end(b"")
        return rest


class RequestReceiver(Receiver, Protocol):
    """Takes requests, one at a time."""

    def take_request(self, head: RequestHead) -> None:
        """Take a request head."""


class RequestReader(_Reader):
    """Splits a client's bytes into requests, and stops after each until told to go on.

    Pipelined requests wait in ``pending`` bytes: one connection has one exchange at a time, so
    answers leave in the order of the requests (RFC 9112 section 9.3.2).
    """

    __slots__ = ("_receiver", "busy")

    def __init__(self, receiver: RequestReceiver, max_head: int, max_fields: int) -> None:
        super().__init__(max_head, max_fields, Rejected)
        self._receiver = receiver
        self.busy = False
        """True from a request's head until `resume`."""

    @property
    def pending(self) -> int:
        """Bytes of pipelined requests that wait."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes; raise `Rejected` if they are no HTTP."""
        if self.in_body:
            data = self._read_body(data, self._receiver)
            if data:
                self._buffer += data
        elif self.busy:
            self._buffer += data
        else:
            self._read_head(data)

    def resume(self) -> bool:
        """Go on to the next request; True when its head was there."""
        self.busy = False
        data = bytes(self._buffer)
        self._buffer = bytearray()
        if data:
            self._read_head(data)
        return self.busy

    def _read_head(self, data: bytes) -> None:
        if not self._buffer and data[:1] in (b"\r", b"\n"):
            # RFC 9112 section 2.2: an empty line before a request line is ignored.
            data = data.lstrip(b"\r\n")
        parts = self._split_head(data)
        if parts is None:
            return
        raw, rest = parts
        head = parse_request_head(raw, self._max_fields)
        self.busy = True
        length = head.length
        if length:
            self.in_body = True
            self._left = length
            if length == CHUNKED:
                self._chunks = ChunkedReader(_bad_request_body)
        self._receiver.take_request(head)
        if not length:
            self._receiver.take_end(b"")
        elif rest:
            rest = self._read_body(rest, self._receiver)
        if rest:
            self._buffer += rest


def _bad_request_body(detail: str) -> Rejected:
    return Rejected(400, "body", detail)


class ResponseReceiver(Receiver, Protocol):
    """Takes the answer to one request: any number of interim heads, then a final one."""

    def take_response(self, head: ResponseHead) -> None:
        """Take an interim or the final response head."""


class ResponseReader(_Reader):
    """Splits an upstream's bytes into the answer to one request at a time."""

    __slots__ = ("_method", "_receiver", "extra")

    def __init__(self, max_head: int, max_fields: int) -> None:
        super().__init__(
            max_head, max_fields, lambda _status, _reason, detail: bad_response(detail)
        )
        self._receiver: ResponseReceiver | None = None
        self._method = b""
        self.extra = False
        """True when bytes came that no request asked for: never to be used again."""

    def expect(self, method: bytes, receiver: ResponseReceiver) -> None:
        """Name the request whose answer comes next, and who takes it."""
        self._method = method
        self._receiver = receiver

    def feed(self, data: bytes) -> None:
        """Take bytes; raise `UpstreamError` if they are no HTTP."""
        receiver = self._receiver
        if receiver is None:
            self.extra = True
            return
        rest = data if self.in_body else self._read_heads(data, receiver)
        if rest and self.in_body:
            rest = self._read_body(rest, receiver)
        if rest:
            self.extra = True

    def eof(self) -> bool:
        """Note the end of the connection; True when that completes a body `UNTIL_CLOSE`."""
        if self.in_body and self._left == UNTIL_CLOSE and self._chunks is None:
            receiver = self._receiver
            self.in_body = False
            self._left = 0
            if receiver is not None:
                receiver.take_end(b"")
            return True
        return False

    def finish(self) -> None:
        """Forget the request: whatever comes now was not asked for."""
        self._receiver = None

    def _read_heads(self, data: bytes, receiver: ResponseReceiver) -> bytes:
        while data:
            parts = self._split_head(data)
            if parts is None:
                return b""
            raw, data = parts
            head = parse_response_head(raw, self._max_fields, self._method)
            if head.status < 200:  # noqa: PLR2004  # RFC 9110 section 15.2: interim
                receiver.take_response(head)
                continue
            length = head.length
            if length:
                self.in_body = True
                self._left = length
                if length == CHUNKED:
                    self._chunks = ChunkedReader(bad_response)
            receiver.take_response(head)
            if not length:
                receiver.take_end(b"")
            return data
        return b""
