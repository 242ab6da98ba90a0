"""One HTTP exchange: how a request finds its upstream, and every way it can end.

Knows that each exchange ends once, and reports it once. Does not know sockets (`downstream`,
`upstream`), how bytes pass (`relay`), framing (`wire`) or what the bytes mean.
"""

import asyncio
from typing import TYPE_CHECKING

from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, LimitHit, UpstreamFailed
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.admission import (
    check_fields,
    check_loop,
    check_origin,
    resolve_target,
)
from mcp_proxy_exporter.proxy.context import Context
from mcp_proxy_exporter.proxy.errors import (
    ProxyError,
    Rejected,
    UpstreamError,
    UpstreamReason,
    answer,
    overloaded,
    shutting_down,
)
from mcp_proxy_exporter.proxy.headers import forward_request, wants_close
from mcp_proxy_exporter.proxy.heads import RequestHead
from mcp_proxy_exporter.proxy.relay import Relay

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.downstream import ClientConnection
    from mcp_proxy_exporter.proxy.upstream import UpstreamConnection

_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Safe methods (RFC 9110 section 9.2.1): the only ones ever sent a second time, and only when a
kept connection closed before a single byte of the answer (section 9.2.2)."""
_MAX_UNREAD = 1_048_576
"""Request bytes read after a failure, so that the call in them is counted and the answer reaches
the client; beyond that the connection ends at once."""
_LATE_SECONDS = 2.0
"""How long the rest of a request is read after its answer: it was refused, and need not come."""
_LOST_FRAMING = frozenset({400, 408, 431, 501, 505})
"""Statuses after which the next byte's meaning is in doubt: answered at once, then closed."""
_EVENT_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
"""An empty line, with each of the line ends that may follow each other (WHATWG HTML, 9.2.5)."""
_METHODS = {name.encode(): name for name in ("POST", "GET", "DELETE", "OPTIONS", "HEAD")}


class HttpExchange(Relay):
    """One request of one client and what comes of it."""

    _connecting: asyncio.Task[None] | None = None
    _urgent = False
    _personal = b""
    """The head for the upstream, where another client's would be another."""
    _counted = False
    """It takes room, from its admission until the upstream is done with it."""
    _ended = False

    def __init__(
        self, context: Context, client: "ClientConnection", head: RequestHead, now: float
    ) -> None:
        super().__init__(context, client, head, now)
        self._started = self._failed_at = now

    # The beginning

    def begin(self) -> None:
        """Admit the request and find it a connection."""
        context = self._context
        head = self._head
        self._tap = context.taps.open(head.method, head.target, head.fields)
        forwarded = head.forwarded
        if forwarded is None:
            forwarded = self._client.recall(head)
            self._personal = forwarded or b""
        try:
            if forwarded is None or context.rules.host_rule is not None:
                forwarded = self._admit(head)
            if context.room <= 0:
                raise overloaded("too_many_requests")
        except Rejected as error:
            self.reject(error)
            return
        self._counted = True
        context.room -= 1
        self._out.append(forwarded)
        connection = context.pool.take(self._started)
        if connection is not None:
            self._attach(connection)
        else:
            self._connecting = context.pool.connect(self)

    def send_known(self, body: bytes) -> None:
        """Begin with a request that came whole and whose head was admitted before."""
        context = self._context
        head = self._head
        self._tap = tap = context.taps.open(head.method, head.target, head.fields)
        self._counted = self._request_done = self._request_shown = self._request_told = True
        context.room -= 1
        forwarded = head.forwarded
        if forwarded is None:
            forwarded = self._personal = self._client.recall(head) or b""
        message = forwarded + body
        connection = context.pool.take(self._started)
        if connection is None:
            self._out.append(message)
            self._connecting = context.pool.connect(self)
        else:
            self._attach(connection)
            connection.write(message)
        if tap is not None:
            if body:
                tap.request(body)
            else:
                tap.request_end()
        self._sent_at = now = context.clock()
        self._request_overhead = now - self._started

    def _admit(self, head: RequestHead) -> bytes:
        """Return the head for the upstream; raise `Rejected` where there is none."""
        rules = self._context.rules
        target, authority = resolve_target(head)
        check_fields(head)
        asked = authority if authority is not None else head.fields.get(b"host", b"")
        if rules.host_rule is not None:
            rules.host_rule.check(asked, self._client.local_host)
        if rules.origins is not None:
            check_origin(head, rules.origins)
        if rules.via:
            check_loop(head, rules.via)
        host = rules.rewrite_host
        if host is None:
            # HTTP/1.0 may come without Host; HTTP/1.1 may not be spoken without (RFC 9112, 3.2).
            known = authority is not None or b"host" in head.fields
            host = authority if known else rules.authority
        extra = rules.extra_headers
        dropped: frozenset[bytes] = frozenset()
        forwarding = rules.forwarding
        personal = forwarding is not None and forwarding.concerns(head)
        if forwarding is not None and personal:
            dropped, added = forwarding.replace(head, self._client.describe(asked))
            configured = {name.lower() for name, _ in extra}
            extra = (*[field for field in added if field[0].lower() not in configured], *extra)
        forwarded = forward_request(
            head, target=target, host=host, extra=extra, dropped=dropped, via=rules.via
        )
        if personal:  # it says who asked, and the same head may come from others
            self._personal = forwarded
            self._client.remember(head, forwarded)
        else:
            head.forwarded = forwarded
        return forwarded

    def attach(self, connection: "UpstreamConnection") -> None:
        """Take a connection that had to be opened first, and send what has come meanwhile."""
        self._connecting = None
        self._attach(connection)
        self._client.resume_reading()
        self._sent_at = self._context.clock()
        self._write_out()

    def repeat(self) -> bool:
        """Send a safe request again on a new connection; False where that is not allowed."""
        if self._head.method not in _REPEATABLE or self._head.length:
            return False
        self._upstream = None
        self._out = [self._head.forwarded or self._personal]
        self._connecting = self._context.pool.connect(self)
        return True

    def _attach(self, connection: "UpstreamConnection") -> None:
        self._upstream = connection
        connection.begin(self, self._head.method)
        if self._client.write_paused or self._held:
            connection.pause_reading()

    # Ends. Each exchange has one.

    def reject(self, error: Rejected) -> None:
        """Refuse the request, or what is left of it; answered with the next flush."""
        self._urgent = error.status in _LOST_FRAMING
        self._fail(error)

    def fail(self, error: UpstreamError) -> None:
        """Take note that the upstream could not be reached, broke the exchange or is too slow."""
        self._connecting = None
        self._context.answered_at = float("-inf")
        self._context.taps.report(UpstreamFailed(reason=error.upstream_reason.value))
        self._fail(error)
        self._answer_failure()

    def leave(self) -> None:
        """End because the client is gone: the upstream learns of it now."""
        self._release(reuse=False)
        self._end(None if self._late else Abort.CLIENT_GONE)

    def shut_down(self) -> None:
        """End because the proxy stops."""
        self._urgent = True
        self._failure = None  # whatever it was, the client learns what is true now
        self._fail(shutting_down())
        self._answer_failure()

    def end_stream(self) -> None:
        """End an event stream that could go on for hours, if nothing is lost by that.

        That is between two events, and where no call waits for its answer on it: a client that is
        told of a proper end comes back at once, and one that waits in vain must see a cut.
        """
        if (
            self._endable
            and self._tail.endswith(_EVENT_ENDS)
            and self._tap is not None
            and not self._tap.awaits()
        ):
            if self._chunked:
                self._client.write(b"0\r\n\r\n")
            self._release(reuse=False)
            self._end(Abort.SHUTDOWN)
            self._client.finish_exchange(keep=False)

    def check(self, now: float, *, idle: float) -> None:
        """End what took too long; ``idle`` is seconds since the client last sent something."""
        timeouts = self._context.timeouts
        if self._late:
            if now - self._failed_at > _LATE_SECONDS:
                self._finish()
        elif not self._request_done and (
            idle > timeouts.client_body
            or (self._failure is not None and now - self._failed_at > timeouts.client_body)
        ):
            self._urgent = True
            self._fail(Rejected(408, "body_timeout", "the request body did not come whole"))
            self._answer_failure()
        elif self._failure is not None:
            return  # it ends with the request, or in the branch above
        elif timeouts.total and now - self._started > timeouts.total and not self._long_lived:
            self._urgent = not self._request_done
            self._expire(UpstreamReason.TOTAL_TIMEOUT, "took too long")
        elif (
            timeouts.response_head
            and self._request_done
            and not self._status
            and self._upstream is not None
            and now - self._sent_at > timeouts.response_head
        ):
            self._expire(UpstreamReason.RESPONSE_TIMEOUT, "answered too late")

    def _expire(self, reason: UpstreamReason, detail: str) -> None:
        self._release(reuse=False)
        self.fail(UpstreamError(reason, f"the upstream {detail}"))

    def _fail(self, error: ProxyError) -> None:
        if error.limit:
            self._context.taps.report(LimitHit(limit=error.limit))
        self._release(reuse=False)
        if self._late:
            self._finish()
        elif self._status:
            self._cut(error)
        elif self._failure is None:
            self._failure = error
            self._failed_at = self._context.clock()
            if b"expect" in self._head.fields:
                # RFC 9110 section 10.1.1: the client waits for a word before it sends its body.
                self._urgent = True
            self._out.clear()
            self._reply.clear()
            self._client.resume_reading()

    def _answer_failure(self) -> None:
        """Answer for a failure once the request was read: until then its call is not known."""
        error = self._failure
        if error is None or self._ended:
            return
        if self._request_done or self._urgent or self._unread > _MAX_UNREAD:
            self._respond(error)

    def _respond(self, error: ProxyError) -> None:
        keep = not (
            not self._request_done
            or self._urgent
            or self._context.closes_clients
            or wants_close(self._head)
        )
        self._status = error.status
        self._client.write(answer(error, close=not keep, body=self._head.method != b"HEAD"))
        self._end(error.abort)
        self._client.finish_exchange(keep=keep)

    def _cut(self, error: ProxyError) -> None:
        """End a response whose head is out: what the upstream sent arrives, and no end of it."""
        self._write_reply()
        self._show_response()
        self._end(error.abort)
        self._client.truncate(visible=self._delimited)

    def _finish(self) -> None:
        if not self._request_done and self._tap is not None and not self._late:
            # Refused unread, mostly (401, 413, 429). The call is known once its request is whole,
            # and a client that still sends must have the time to read its answer (RFC 9112, 9.6).
            self._late = True
            self._failed_at = self._context.clock()
            self._release(reuse=False)
            self._out.clear()
            self._client.resume_reading()
            return
        self._release(reuse=self._request_done and self._reusable)
        self._end(None)
        self._client.finish_exchange(keep=self._request_done and not self._closing)

    def _read_on(self) -> None:
        if self._request_done or self._unread > _MAX_UNREAD:
            self._finish()

    def _release(self, *, reuse: bool) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.finish(reuse=reuse)
        if self._counted:
            self._counted = False
            self._context.room += 1

    def _end(self, abort: Abort | None) -> None:
        self._ended = True
        tap = self._tap
        if tap is not None:
            if abort is None:
                tap.response_end()
            else:
                tap.aborted(abort)
        now = self._failed_at if self._late else self._context.clock()
        if abort is None and not self._late:
            self._response_overhead += now - self._entered
        self._context.taps.report(
            HttpExchangeClosed(
                method=_METHODS.get(self._head.method) or self._head.method.decode("ascii"),
                status=self._status,
                duration=now - self._started,
                long_lived=self._long_lived,
                request_overhead=self._request_overhead,
                response_overhead=self._response_overhead,
            )
        )
