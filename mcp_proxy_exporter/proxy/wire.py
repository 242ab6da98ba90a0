"""HTTP/1.1 messages as bytes: heads found, bodies delimited (RFC 9112), no socket in sight.

Knows framing and is strict about it: what two parsers could read differently is refused, because a
proxy that guesses is how requests are smuggled (RFC 9112 section 11.2). Does not know which fields
may pass (`headers`), who may ask (`admission`) or what a body means.
"""

from collections.abc import Callable
from typing import Protocol

from mcp_proxy_exporter.proxy.chunks import ChunkedReader, read_single_chunk
from mcp_proxy_exporter.proxy.errors import Rejected
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


class Receiver(Protocol):
    """Takes what a reader finds, in order: head, any number of body pieces, end."""

    def take_body(self, data: bytes) -> None:
        """Take body bytes, never empty, without transfer coding."""

    def take_end(self, trailers: bytes) -> None:
        """Take the end of the message and its trailer lines (mostly none)."""


class _Reader:
    """What both directions share: finding the end of a head, delimiting a body."""

    __slots__ = (
        "_buffer",
        "_check_start",
        "_chunks",
        "_left",
        "_max_fields",
        "_max_head",
        "_refuse",
        "in_body",
    )

    def __init__(
        self,
        max_head: int,
        max_fields: int,
        check_start: Callable[[bytearray], None],
        refuse: Callable[[int, str, str], Exception],
    ) -> None:
        """``check_start`` raises for the beginning of a head that can never become one.

        ``refuse`` builds the error of a malformed head: the fault is the sender's.
        """
        self._check_start = check_start
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
        buffer = self._buffer
        if buffer:
            # Only what is new is searched, so that a head in tiny pieces costs no more than it
            # must.
            new = max(len(buffer) - 3, 0)
            buffer += data
            end = buffer.find(b"\r\n\r\n", new)
            if end < 0 or end + 4 > self._max_head:
                self._hold(new)
                return None
            data = bytes(buffer)
            self._buffer = bytearray()
        else:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end + 4 > self._max_head:
                buffer += data
                self._hold(0)
                return None
        return data[: end + 4], data[end + 4 :]

    def _hold(self, new: int) -> None:
        """Keep the beginning of a head, unless it can never become a good one.

        ``new`` is where the bytes begin that were not judged yet.
        """
        buffer = self._buffer
        if len(buffer) >= self._max_head:
            if buffer.find(b"\r\n", 0, self._max_head) < 0:
                # RFC 9112 section 3: a target longer than any that is served gets a 414.
                raise self._refuse(414, "line_size", "the first line of the head is too long")
            raise self._refuse(431, "header_size", "the head is too large")
        if buffer.find(b"\n", 0, new) < 0:  # later, the first line was judged already
            self._check_start(buffer)
        if buffer.find(b"\n\n", new) >= 0 or buffer.find(b"\n\r\n", new) >= 0:
            # RFC 9112 section 2.2 lets a recipient accept a bare LF; refusing is safer.
            raise self._refuse(400, "header", "the head has bare line feeds")

    def _read_body(self, data: bytes, receiver: Receiver) -> bytes:
        """Pass on the body bytes in ``data``; return what follows the body's end."""
        chunks = self._chunks
        if chunks is not None:
            payload, rest = chunks.feed(data)
            if payload:
                receiver.take_body(payload)
            if chunks.done:
                if chunks.fault:
                    raise self._refuse(400, "body", chunks.fault)
                self._chunks = None
                self.in_body = False
                receiver.take_end(chunks.trailers)
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

    __slots__ = ("_known", "_receiver", "busy", "personal")

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
        if self.busy or self._buffer:
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
        if (data[0] == _CR and not self._buffer) or self._buffer == b"\r":
            data = self._skip_empty_lines(data)
        parts = self._split_head(data) if data else None
        if parts is None:
            return
        raw, rest = parts
        head = self._known.get(raw)
        if head is None:
            head = parse_request_head(raw, self._max_fields)
            self._known.add(raw, head)
        self.busy = True
        length = head.length
        if length:
            self.in_body = True
            self._left = length
            if length == CHUNKED:
                self._chunks = ChunkedReader()
        self._receiver.take_request(head)
        if not length:
            self._receiver.take_end(b"")
        elif rest:
            rest = self._read_body(rest, self._receiver)
        if rest:
            self._buffer += rest

    def _skip_empty_lines(self, data: bytes) -> bytes:
        """Return what follows the empty lines before a request line (RFC 9112 section 2.2)."""
        data = bytes(self._buffer) + data
        self._buffer = bytearray()
        start = 0
        while data.startswith(b"\r\n", start):
            start += 2
        data = data[start:]
        if data == b"\r":
            self._buffer += data  # perhaps the first half of another
            return b""
        return data


class ResponseReceiver(Receiver, Protocol):
    """Takes the answer to one request: any number of interim heads, then a final one."""

    def take_response(self, head: ResponseHead) -> None:
        """Take an interim or the final response head."""


class ResponseReader(_Reader):
    """Splits an upstream's bytes into the answer to one request at a time."""

    __slots__ = ("_known", "_method", "_receiver", "extra")

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
        self.extra = False
        """True when bytes came that no request asked for: never to be used again."""

    def expect(self, method: bytes, receiver: ResponseReceiver) -> None:
        """Name the request whose answer comes next, and who takes it."""
        self._method = method
        self._receiver = receiver

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

    def feed(self, data: bytes) -> None:
        """Take bytes; raise `UpstreamError` if they are no HTTP."""
        receiver = self._receiver
        if receiver is None:
            self.extra = True
            return
        rest = data if self.in_body else self._read_heads(data, receiver)
        if rest and self.in_body:
            rest = self._read_body(rest, receiver)
            if not self.started:
                self._receiver = None
        if rest:
            self.extra = True

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
        while data:
            parts = self._split_head(data)
            if parts is None:
                return b""
            raw, data = parts
            head = self._known.get(raw) if self._method != b"HEAD" else None
            if head is None:
                head = parse_response_head(raw, self._max_fields, self._method)
                if self._method != b"HEAD":  # its answers have lengths without bodies
                    self._known.add(raw, head)
            if head.status < 200:  # noqa: PLR2004  # RFC 9110 section 15.2: interim
                receiver.take_response(head)
                continue
            length = head.length
            if length:
                self.in_body = True
                self._left = length
                if length == CHUNKED:
                    self._chunks = ChunkedReader()
            receiver.take_response(head)
            if not length:
                receiver.take_end(b"")
                self._receiver = None
            return data
        return b""
