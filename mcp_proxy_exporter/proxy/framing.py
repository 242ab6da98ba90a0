"""Where a message ends: what `wire` does for either direction of HTTP/1.1 (RFC 9112).

Knows heads that are not whole, bodies by length, by chunks or by the connection's end, and how much
of them is one turn's share. Does not know requests from responses.
"""

from collections.abc import Callable
from typing import Final, Protocol

from mcp_proxy_exporter.proxy.chunks import ChunkedReader
from mcp_proxy_exporter.proxy.heads import CHUNKED

HEAD_END: Final = b"\r\n\r\n"
HEAD_END_SIZE: Final = 4
_SLICE = 65_536
"""Bytes of a waiting chunked body that are copied for one turn: mostly all that wait."""


class Receiver(Protocol):
    """Takes what a reader finds, in order: head, any number of body pieces, end."""

    def take_body(self, data: bytes) -> None:
        """Take body bytes, never empty, without transfer coding."""

    def take_end(self, trailers: bytes) -> None:
        """Take the end of the message and its trailer lines (mostly none)."""


class Reader:
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

    @property
    def is_behind(self) -> bool:
        """True when bytes of a body wait for `go_on`."""
        return self.in_body and bool(self._buffer)

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

    def _begin_body(self, length: int) -> None:
        self.in_body = True
        self._left = length
        if length == CHUNKED:
            self._chunks = ChunkedReader()

    def _read_body(self, data: bytes, receiver: Receiver) -> bytes:
        """Pass on the body bytes in ``data``; return what follows the body's end.

        Inside a chunked body the rest is what is more than one turn's share.
        """
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

    def _read_waiting_body(self, receiver: Receiver) -> None:
        """Pass on one turn's share of the body bytes that wait."""
        buffer = self._buffer
        data = bytes(buffer[: _SLICE if self._chunks is not None else self._left])
        rest = self._read_body(data, receiver)
        del buffer[: len(data) - len(rest)]
