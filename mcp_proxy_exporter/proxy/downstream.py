"""One client's connection: its requests, in order, one exchange at a time.

Knows the client's socket and its back-pressure; does not know the upstream (`exchange`) nor framing
(`wire`). A half-closed client counts as gone, as in nginx: MCP's cancellation by disconnect
(2026-07-28, streamable HTTP, Cancellation) must reach the upstream at once.
"""

import asyncio
from contextlib import suppress
from typing import cast

from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, LimitHit
from mcp_proxy_exporter.proxy.context import BUFFER_HIGH_WATER, MAX_REFUSED, Context
from mcp_proxy_exporter.proxy.errors import Rejected, answer, overloaded
from mcp_proxy_exporter.proxy.exchange import HttpExchange
from mcp_proxy_exporter.proxy.forwarding import Asked, plain_address
from mcp_proxy_exporter.proxy.heads import RequestHead
from mcp_proxy_exporter.proxy.sockets import count_unsent, keep_alive, reset
from mcp_proxy_exporter.proxy.turns import TurnTaker
from mcp_proxy_exporter.proxy.wire import RequestReader

_LINGER_SECONDS = 5.0
"""How long an answered client may be silent before it is cut, if it had not finished sending: time
for it to read the answer, which a reset would destroy (RFC 9112 section 9.6). nginx's default."""
_MAX_LINGER_SECONDS = 30.0  # and how long it may go on sending; nginx's default too
_MAX_PERSONAL = 4
"""Heads remembered for one client alone, where they say who asks: mostly it repeats one."""
_MAX_PERSONAL_SIZE = 4096
_MAX_AT_ONCE = 16
"""Pipelined requests begun in one turn. More than one are only begun where the proxy answers by
itself, for some 0.05 ms each; a read of 256 KiB can bring thousands."""


class ClientConnection(TurnTaker):
    """The downstream side of a socket."""

    __slots__ = (
        "_context",
        "_descriptor",
        "_feeding",
        "_lingering_since",
        "_read_at",
        "_reader",
        "_since",
        "_stalled_since",
        "_unsent",
        "exchange",
        "local_host",
        "write_paused",
    )

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        limits = context.limits
        self._reader = RequestReader(
            self, limits.head_bytes, limits.head_fields, context.known_heads
        )
        self._descriptor = -1
        self._feeding = False
        self._lingering_since: float | None = None
        self._since = self._read_at = context.clock()
        """``_since``: when the client, or we for it, last did what the next limit counts from."""
        self._stalled_since = 0.0
        self._unsent = 0
        """Bytes that waited for the client when last looked, while it reads too slowly."""
        self.exchange: HttpExchange | None = None
        self.local_host: str | None = None
        """The IP address that the client connected to; None on a unix socket."""
        self.write_paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start waiting for a request."""
        # uvloop's transports have the interface, not the base class.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=BUFFER_HIGH_WATER)
        self._descriptor = transport.get_extra_info("socket").fileno()
        name = transport.get_extra_info("sockname")
        if isinstance(name, tuple):
            self.local_host = name[0]
        keep_alive(transport)
        clients = self._context.clients
        limit = self._context.limits.connections
        if limit and len(clients) >= limit:
            if len(clients) >= limit + MAX_REFUSED:
                self._context.taps.report(LimitHit(limit="connections"))
                reset(transport)
            else:
                self._refuse(overloaded("too_many_connections"))
        clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Read requests; hand what belongs to the current one on."""
        self._read_at = now = self._context.clock()
        if self._lingering_since is not None:
            self._since = now
            self._yield()  # what is only thrown away has the least claim to the next turn
            return
        reader = self._reader
        context = self._context
        is_short = context.rules.host_rule is None and context.room > 0
        known = reader.take_known(data) if is_short else None
        if known is not None:
            self._since = now
            self.exchange = exchange = HttpExchange(context, self, known[0], now)
            exchange.send_known(known[1])
            return
        since = self._since
        if not reader.pending:
            self._since = now  # the limit of a head counts from its first byte
        self._feeding = True
        try:
            reader.feed(data)
        except Rejected as error:
            self._refuse(error)
        self._flush(now)
        self._feeding = False
        if reader.pending and reader.busy:
            self._advance()
        elif reader.empty_lines and not reader.started:
            self._since = since  # it has asked for nothing, and is as idle as before

    def eof_received(self) -> None:
        """Treat a half-closed client as gone."""
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """End what the client was waiting for."""
        self._context.hang_ups.forget(self._descriptor)
        self._leave()
        self._context.clients.discard(self)

    def pause_writing(self) -> None:
        """Stop reading the upstream: this client is slower."""
        self.write_paused = True
        self._stalled_since = self._context.clock()
        self._unsent = 0
        if self.exchange is not None:
            self.exchange.pause_response()

    def resume_writing(self) -> None:
        """Go on reading the upstream, or with the next request."""
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.resume_response()
        elif self._lingering_since is None:
            self._go_on()

    # wire.RequestReceiver

    def take_request(self, head: RequestHead) -> None:
        """Begin an exchange."""
        self.exchange = HttpExchange(self._context, self, head, self._read_at)
        self.exchange.begin()

    def take_body(self, data: bytes) -> None:
        """Hand request body bytes on."""
        if self.exchange is not None:
            self.exchange.take_request_body(data)

    def take_end(self, trailers: bytes) -> None:
        """Hand the end of the request on."""
        if self.exchange is not None:
            self.exchange.take_request_end(trailers)

    # What an exchange asks for

    def describe(self, host: bytes) -> Asked:
        """Say who asks, and how; ``host`` is what it calls this place."""
        get = self._transport.get_extra_info
        scheme = b"http" if get("sslcontext") is None else b"https"
        return Asked(plain_address(get("peername")), scheme, host)

    def recall(self, head: RequestHead) -> bytes | None:
        """Return what was made of a head for this client alone, if it was remembered."""
        return self._reader.personal.get(head)

    def remember(self, head: RequestHead, forwarded: bytes) -> None:
        """Keep what was made of a head for this client alone."""
        personal = self._reader.personal
        if len(forwarded) <= _MAX_PERSONAL_SIZE:
            if len(personal) >= _MAX_PERSONAL:
                personal.clear()
            personal[head] = forwarded

    def write(self, data: bytes) -> None:
        """Hand bytes to the client's socket."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop reading the client: the upstream is slower. Its end is still noticed."""
        if not self._paused and not self._transport.is_closing():
            self._context.hang_ups.watch(self._descriptor, self._hang_up)
        super().pause_reading()

    def resume_reading(self) -> None:
        """Go on reading the client, whose time to send starts anew."""
        if self._paused and not self._transport.is_closing():
            self._since = self._context.clock()
            self._context.hang_ups.forget(self._descriptor)
        super().resume_reading()

    def truncate(self, *, visible: bool) -> None:
        """End a response early; ``visible`` when its framing shows that bytes are missing.

        RFC 9112 section 8: without a length only a reset can tell an incomplete message.
        """
        self.exchange = None
        self._since = self._context.clock()
        if visible:
            self._transport.close()
        else:
            reset(self._transport)

    def finish_exchange(self, *, keep: bool) -> None:
        """Go on with the next request, or end the connection once its bytes are out."""
        self.exchange = None
        self._since = self._context.clock()
        if not keep or self._context.closes_clients:
            self._end(linger=self._reader.started or self._paused)
        elif self.write_paused:
            # The next answer would only pile up behind this one.
            self.pause_reading()
        else:
            self._go_on()

    # Deadlines and the end

    def check(self, now: float) -> None:
        """End what took too long; called by `deadlines`."""
        timeouts = self._context.timeouts
        waited = now - self._since
        if self._stalls(now):
            self._context.taps.report(LimitHit(limit="client_write"))
            reset(self._transport)
        elif self.exchange is not None:
            self.exchange.check(now, idle=0.0 if self._paused else waited)
        elif self._lingering_since is not None:
            if waited > _LINGER_SECONDS or now - self._lingering_since > _MAX_LINGER_SECONDS:
                self._transport.abort()
        elif self.write_paused or self._transport.is_closing():
            return
        elif self._reader.started:
            if waited > timeouts.client_head:
                self._refuse(Rejected(408, "head_timeout", "the request head did not come whole"))
        elif waited > (timeouts.client_idle or timeouts.client_head):
            limit = "client_idle" if timeouts.client_idle else "client_head"
            self._context.taps.report(LimitHit(limit=limit))
            self._transport.close()

    def _stalls(self, now: float) -> bool:
        """Tell whether the client takes nothing of what waits for it, for too long."""
        # Closing under an exchange, it is lost already, and about to be told so.
        closing = self.exchange is None and self._transport.is_closing()
        if not self.write_paused and not closing:
            return False
        unsent = count_unsent(self._transport, self._descriptor)
        if unsent < self._unsent or (closing and not unsent):
            self._stalled_since = now
        self._unsent = unsent
        since = self._stalled_since
        if self.exchange is None:  # the last answer may have been handed over later than that
            since = max(since, self._since)
        return now - since > self._context.timeouts.client_write

    def drain(self) -> None:
        """Close now if nothing runs; otherwise the running exchange closes it."""
        if self.exchange is not None:
            self.exchange.end_stream()
        elif self._lingering_since is None and not self._reader.started:
            self._close()

    def shut_down(self) -> None:
        """End the running exchange, visibly unfinished, and the connection."""
        if self.exchange is not None:
            self.exchange.shut_down()
        self._close()

    def abort(self) -> None:
        """Close at once, whatever was not sent."""
        self._transport.abort()

    def _go_on(self) -> None:
        """Wait for the next request, or start the one that waits."""
        self.resume_reading()
        if not self._reader.pending:
            self._reader.busy = False
        elif not self._feeding:
            self._advance()

    def _advance(self) -> None:
        """Start pipelined requests until one has to wait for its answer, or others are served."""
        reader = self._reader
        self._feeding = True
        for _ in range(_MAX_AT_ONCE):
            if not self._may_begin():
                break
            self._since = self._read_at = now = self._context.clock()
            try:
                started = reader.resume()
            except Rejected as error:
                started = True
                self._refuse(error)
            self._flush(now)
            if not started:
                break
        self._feeding = False
        if self._is_behind():
            self._yield()
        elif reader.busy and self._lingering_since is None and reader.pending > BUFFER_HIGH_WATER:
            # Not for a head that is not whole yet: nothing would end the pause.
            self.pause_reading()

    # turns.TurnTaker

    def _is_behind(self) -> bool:
        reader = self._reader
        if reader.in_body:
            return reader.is_behind and self.exchange is not None
        return reader.busy and reader.pending > 0 and self._may_begin()

    def _work(self) -> None:
        """Read more of a body, or begin more requests."""
        reader = self._reader
        if reader.is_behind:
            self._since = self._read_at = now = self._context.clock()
            self._feeding = True
            try:
                reader.go_on()
            except Rejected as error:
                self._refuse(error)
            self._flush(now)
            self._feeding = False
        if reader.pending and reader.busy:
            self._advance()

    def _may_begin(self) -> bool:
        """Tell whether the connection is free for the next request."""
        return (
            self.exchange is None
            and self._lingering_since is None
            and not self.write_paused
            and not self._transport.is_closing()
        )

    def _flush(self, entered: float) -> None:
        if self.exchange is not None:
            self.exchange.flush_request(entered)

    def _refuse(self, error: Rejected) -> None:
        """Answer bytes that are no HTTP, and end the connection: its framing is lost."""
        if self.exchange is not None:
            self.exchange.reject(error)
            return
        self.write(answer(error, close=True))
        if error.limit:
            self._context.taps.report(LimitHit(limit=error.limit))
        self._context.taps.report(
            HttpExchangeClosed(
                method="",
                status=error.status,
                duration=self._context.clock() - self._since,
                long_lived=False,
                request_overhead=0.0,
                response_overhead=0.0,
            )
        )
        self._end(linger=True)

    def _end(self, *, linger: bool) -> None:
        """Close after the last answer, giving a client that still sends time to read it."""
        if self._transport.is_closing():
            return
        if not linger:
            self._transport.close()
            return
        self._lingering_since = self._since = self._context.clock()
        self.resume_reading()
        if self._transport.can_write_eof():  # TLS has no half of an end
            with suppress(OSError):  # the client reset the connection a moment ago
                self._transport.write_eof()

    def _hang_up(self) -> None:
        """Take note of the end of a client that was not being read."""
        self._leave()
        self._close()

    def _close(self) -> None:
        # Once only: with a second call asyncio's TLS transport forgets what it would have to abort.
        if not self._transport.is_closing():
            self._transport.close()

    def _leave(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.leave()
