"""One connection to the upstream: one exchange at a time, idle in the pool between them.

Knows the server's socket and its back-pressure; does not know the client (`exchange`), framing
(`wire`) or when connections are opened (`pool`).
"""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from mcp_proxy_exporter.proxy.context import BUFFER_HIGH_WATER
from mcp_proxy_exporter.proxy.errors import UpstreamError, UpstreamReason
from mcp_proxy_exporter.proxy.wire import ResponseReader

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.exchange import HttpExchange
    from mcp_proxy_exporter.proxy.pool import UpstreamPool


class UpstreamConnection(asyncio.Protocol):
    """The upstream side of a socket."""

    __slots__ = (
        "_answered",
        "_clock",
        "_exchange",
        "_paused",
        "_poll",
        "_pool",
        "_reader",
        "_reused",
        "_transport",
        "idle_since",
    )

    _transport: asyncio.Transport

    def __init__(
        self, pool: "UpstreamPool", reader: ResponseReader, clock: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._reader = reader
        self._clock = clock
        self._exchange: HttpExchange | None = None
        self._answered = False
        self._reused = False
        self._paused = False
        self._poll = select.poll()
        self.idle_since = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the socket."""
        # uvloop's transports have the interface, not the base class.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=BUFFER_HIGH_WATER)
        connection = transport.get_extra_info("socket")
        self._poll.register(connection.fileno(), select.POLLIN)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read the answer; bytes that nobody asked for end the connection."""
        exchange = self._exchange
        if exchange is None:
            # RFC 9112 section 9.2: data on an idle connection MUST NOT be taken for a response.
            self.abort()
            return
        entered = self._clock()
        self._answered = True
        try:
            self._reader.feed(data)
        except UpstreamError as error:
            exchange.fail(error)
            return
        exchange.flush_response(entered)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what the exchange was waiting for, unless the end completes the answer."""
        self._pool.closed(self)
        exchange = self._exchange
        if exchange is None:
            return
        entered = self._clock()
        if exc is None and self._reader.eof():
            exchange.flush_response(entered)
            return
        if self._reused and not self._answered and exchange.repeat():
            self._exchange = None
            return
        if self._reader.in_body:
            reason, detail = UpstreamReason.TRUNCATED, "broke off its response"
        else:
            reason, detail = UpstreamReason.CLOSED_BEFORE_HEAD, "closed without a response"
        exchange.fail(UpstreamError(reason, f"the upstream {detail}"))

    def pause_writing(self) -> None:
        """Stop reading the client: the upstream is slower."""
        if self._exchange is not None:
            self._exchange.pause_request()

    def resume_writing(self) -> None:
        """Go on reading the client."""
        if self._exchange is not None:
            self._exchange.resume_request()

    # What the exchange asks for

    def begin(self, exchange: "HttpExchange", method: bytes) -> None:
        """Serve one exchange; ``method`` decides whether its answer has a body."""
        self._exchange = exchange
        self._answered = False
        self._reader.expect(method, exchange)

    def write(self, data: bytes) -> None:
        """Hand bytes to the upstream's socket."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop reading the upstream."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading the upstream."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def finish(self, *, reuse: bool) -> None:
        """Leave the exchange: back to the pool, or cut so that the upstream learns of it now."""
        self._exchange = None
        self._reader.finish()
        if reuse and not self._reader.extra and not self._transport.is_closing():
            self.resume_reading()
            self._reused = True
            self._pool.put(self)
        else:
            self._transport.abort()

    # What the pool asks for

    def is_usable(self) -> bool:
        """Tell whether an idle connection is open and silent, by asking the system now.

        An end or unsolicited bytes may have come since the event loop last looked: what came before
        a request can be no answer to it (RFC 9112 section 9.2). 0.5 us.
        """
        return not self._transport.is_closing() and not self._poll.poll(0)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
