"""One connection to the upstream: one exchange at a time, idle in the pool between them.

Knows the server's socket and its back-pressure; does not know the client (`exchange`), framing
(`wire`) or when connections are opened (`pool`).
"""

import asyncio
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from mcp_proxy_exporter.proxy.context import BUFFER_HIGH_WATER
from mcp_proxy_exporter.proxy.errors import UpstreamError, UpstreamReason
from mcp_proxy_exporter.proxy.sockets import is_proper_end, keep_alive
from mcp_proxy_exporter.proxy.turns import TurnTaker
from mcp_proxy_exporter.proxy.wire import ResponseReader

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.exchange import HttpExchange
    from mcp_proxy_exporter.proxy.pool import UpstreamPool


class UpstreamConnection(TurnTaker):
    """The upstream side of a socket."""

    __slots__ = (
        "_answered",
        "_clock",
        "_descriptor",
        "_exchange",
        "_poll",
        "_pool",
        "_reader",
        "_reused",
        "idle_since",
        "write_paused",
    )

    def __init__(
        self, pool: "UpstreamPool", reader: ResponseReader, clock: Callable[[], float]
    ) -> None:
        super().__init__()
        self._pool = pool
        self._reader = reader
        self._clock = clock
        self._exchange: HttpExchange | None = None
        self._answered = False
        self._reused = False
        self._poll = select.poll()
        self._descriptor = -1
        self.idle_since = 0.0
        self.write_paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the socket."""
        # uvloop's transports have the interface, not the base class.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=BUFFER_HIGH_WATER)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._poll.register(self._descriptor, select.POLLIN)
        keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        """Read the answer; bytes that nobody asked for end the connection."""
        exchange = self._exchange
        if exchange is None:
            # RFC 9112 section 9.2: data on an idle connection MUST NOT be taken for a response.
            self.abort()
            return
        entered = self._clock()
        self._answered = True
        known = self._reader.take_known(data)
        if known is not None:
            exchange.relay_known(*known, entered)
            return
        try:
            more = self._reader.feed(data)
        except UpstreamError as error:
            exchange.fail(error)
            return
        exchange.flush_response(entered)
        if more:
            self._yield()

    def eof_received(self) -> None:
        """End the exchange, completely where its answer has no other end."""
        exchange = self._exchange
        if self._reader.is_behind:
            return  # over TLS it comes before its turn; `connection_lost` follows
        if exchange is not None and is_proper_end(self._transport) and self._reader.eof():
            exchange.flush_response(self._clock())
        else:
            self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what the exchange was waiting for."""
        self._pool.closed(self)
        if exc is not None:
            self._read_rest()
        if self._exchange is not None and self._reader.is_behind:
            self._paused = False  # nothing more comes that could pile up
            self._yield()
        else:
            self._lose()

    def pause_writing(self) -> None:
        """Stop reading the client: the upstream is slower."""
        self.write_paused = True
        if self._exchange is not None:
            self._exchange.pause_request()

    def resume_writing(self) -> None:
        """Go on reading the client."""
        self.write_paused = False
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

    def finish(self, *, reuse: bool) -> None:
        """Leave the exchange: back to the pool, or cut so that the upstream learns of it now."""
        self._exchange = None
        self._reader.finish()
        transport = self._transport
        if (
            reuse
            and not self._reader.extra
            and not transport.is_closing()
            # An answer may come before its request is read: the next must not queue behind that.
            and not transport.get_write_buffer_size()
        ):
            self.resume_reading()
            self._reused = True
            self._pool.put(self)
        else:
            transport.abort()

    # What the pool asks for

    def check_open(self) -> None:
        """Raise ConnectionError if the server closed, or spoke, before it was given a request.

        Over TLS both can come with the handshake's last bytes, as a refusal of ours does.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("the upstream closed the connection at once")

    def is_usable(self) -> bool:
        """Tell whether an idle connection is open and silent, by asking the system now.

        An end or unsolicited bytes may have come since the event loop last looked: what came before
        a request can be no answer to it (RFC 9112 section 9.2). 0.5 us.
        """
        return not self._transport.is_closing() and not self._poll.poll(0)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # turns.TurnTaker

    def _is_behind(self) -> bool:
        return self._exchange is not None and self._reader.is_behind

    def _work(self) -> None:
        """Read more of the answer; then come to its end if that came before this turn."""
        exchange = self._exchange
        if exchange is None:
            return
        entered = self._clock()
        try:
            more = self._reader.go_on()
        except UpstreamError as error:
            exchange.fail(error)
            return
        exchange.flush_response(entered)
        if not more and self._transport.is_closing():
            self._lose()

    def _lose(self) -> None:
        """Tell the exchange that nothing more will come."""
        exchange = self._exchange
        if exchange is None:
            return
        if self._reused and not self._answered and exchange.repeat():
            self._exchange = None
            return
        if self._reader.in_body:
            reason, detail = UpstreamReason.TRUNCATED, "broke off its response"
        else:
            reason, detail = UpstreamReason.CLOSED_BEFORE_HEAD, "closed without a response"
        exchange.fail(UpstreamError(reason, f"the upstream {detail}"))

    def _read_rest(self) -> None:
        """Read what came before a write failed: mostly the answer that says why.

        A server may refuse a body and close (RFC 9112 section 9.5); an event loop drops what it has
        not read when a write fails. Not over TLS, where the bytes mean nothing without its state.
        """
        if self._transport.get_extra_info("sslcontext") is not None:
            return
        with suppress(OSError):
            while self._exchange is not None and (data := os.read(self._descriptor, 65_536)):
                self.data_received(data)
