"""One HTTP exchange: a request on its way up, its answer on its way down.

Knows the order of things (write to the other side, then tell the tap) and every way an exchange can
end, each of which it reports exactly once. Does not know sockets (`downstream`, `upstream`),
framing (`wire`) or what the bytes mean.

Bytes found in one read are joined into one write: ``flush_request`` and ``flush_response`` come
after each read.
"""

import asyncio
from typing import TYPE_CHECKING

from mcp_proxy_exporter.protocol.events import (
    HttpExchangeClosed,
    UpstreamAnswered,
    UpstreamFailed,
)
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.admission import check_fields, resolve_target
from mcp_proxy_exporter.proxy.context import BUFFER_HIGH_WATER, Context
from mcp_proxy_exporter.proxy.errors import (
    ProxyError,
    Rejected,
    UpstreamError,
    UpstreamReason,
    answer,
    shutting_down,
)
from mcp_proxy_exporter.proxy.headers import (
    forward_request,
    forward_response,
    is_reframed,
    wants_close,
)
from mcp_proxy_exporter.proxy.heads import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead

if TYPE_CHECKING:
    from mcp_proxy_exporter.proxy.downstream import ClientConnection
    from mcp_proxy_exporter.proxy.upstream import UpstreamConnection
    from mcp_proxy_exporter.tap import Tap

_FIRST_FINAL_STATUS = 200
_SWITCHING_PROTOCOLS = 101
_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Safe methods (RFC 9110 section 9.2.1): the only ones ever sent a second time, and only when a
kept connection closed before a single byte of the answer (section 9.2.2)."""
_MAX_UNREAD = 1_048_576
"""Request bytes read after a failure, so that the call in them is counted and the answer reaches
the client; beyond that the connection ends at once."""


class HttpExchange:
    """One request of one client and what comes of it."""

    __slots__ = (
        "_answer",
        "_chunked",
        "_client",
        "_closing",
        "_connecting",
        "_context",
        "_delimited",
        "_ended",
        "_entered",
        "_failure",
        "_head",
        "_last",
        "_long_lived",
        "_out",
        "_reply",
        "_request_done",
        "_request_head",
        "_request_overhead",
        "_request_seen",
        "_request_told",
        "_response_done",
        "_response_overhead",
        "_response_seen",
        "_reusable",
        "_started",
        "_status",
        "_tap",
        "_unread",
        "_upstream",
    )

    def __init__(
        self, context: Context, client: "ClientConnection", head: RequestHead, now: float
    ) -> None:
        self._context = context
        self._client = client
        self._head = head
        self._started = self._last = self._entered = now
        self._tap: Tap | None = None
        self._upstream: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failure: ProxyError | None = None
        self._request_head = b""
        self._out: list[bytes] = []
        self._request_seen: list[bytes] = []
        self._request_done = False
        self._request_told = False
        self._request_overhead = 0.0
        self._unread = 0
        self._answer: ResponseHead | None = None
        self._reply: list[bytes] = []
        self._response_seen: list[bytes] = []
        self._response_done = False
        self._response_overhead = 0.0
        self._chunked = False
        self._closing = False
        self._delimited = True
        self._reusable = False
        self._long_lived = False
        self._status = 0
        self._ended = False

    # The request

    def begin(self) -> None:
        """Admit the request and find it a connection."""
        context = self._context
        head = self._head
        self._tap = context.taps.open(head.method, head.target, head.fields)
        try:
            target, authority = resolve_target(head)
            check_fields(head)
            if context.host_rule is not None:
                asked = authority if authority is not None else head.fields.get(b"host", b"")
                context.host_rule.check(asked, self._client.local_host)
        except Rejected as error:
            self.reject(error)
            return
        host = context.rewrite_host
        if host is None:
            # HTTP/1.0 may come without Host; HTTP/1.1 may not be spoken without (RFC 9112, 3.2).
            host = context.authority if b"host" not in head.fields else authority
        self._request_head = forward_request(
            head, target=target, host=host, extra=context.extra_headers
        )
        self._out.append(self._request_head)
        connection = context.pool.take(self._started)
        if connection is not None:
            self.attach(connection)
        else:
            self._connecting = context.pool.connect(self)

    def attach(self, connection: "UpstreamConnection") -> None:
        """Take a connection to the upstream; what waits is written with the next flush."""
        self._connecting = None
        self._upstream = connection
        connection.begin(self, self._head.method)
        if self._client.write_paused:
            connection.pause_reading()

    def attached_late(self, connection: "UpstreamConnection") -> None:
        """Take a connection that had to be opened first, and send what has come meanwhile."""
        self.attach(connection)
        self._client.resume_reading()
        self._write_out()

    def take_request_body(self, data: bytes) -> None:
        """Take body bytes for the upstream."""
        self._request_seen.append(data)
        if self._failure is not None:
            self._unread += len(data)
            return
        if self._head.length == CHUNKED:
            self._out.append(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._out.append(data)

    def take_request_end(self, trailers: bytes) -> None:
        """Take the end of the request."""
        self._request_done = True
        if self._head.length == CHUNKED and self._failure is None:
            self._out.append(b"0\r\n%b\r\n" % trailers)

    def flush_request(self, entered: float) -> None:
        """Send what one read of the client brought, then show it to the tap."""
        if self._upstream is not None:
            self._write_out()
        elif self._connecting is not None and sum(map(len, self._out)) > BUFFER_HIGH_WATER:
            self._client.pause_reading()
        self._show_request()
        self._last = now = self._context.clock()
        self._request_overhead += now - entered
        if self._failure is not None:
            self._answer_failure()

    def _write_out(self) -> None:
        out = self._out
        if out and self._upstream is not None:
            self._upstream.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def _show_request(self) -> None:
        tap = self._tap
        if tap is None:
            self._request_seen.clear()
            return
        if self._request_seen:
            for data in self._request_seen:
                tap.request_data(data)
            self._request_seen.clear()
        if self._request_done and not self._request_told:
            self._request_told = True
            tap.request_end()

    # The response (wire.ResponseReceiver)

    def take_response(self, head: ResponseHead) -> None:
        """Take an interim or the final head of the answer."""
        if head.status < _FIRST_FINAL_STATUS:
            self._take_interim(head)
            return
        self._status = head.status
        self._answer = head
        reframed = is_reframed(head.length)
        self._chunked = reframed and self._head.minor == 1
        self._delimited = self._chunked or not reframed
        self._reusable = head.length != UNTIL_CLOSE and not wants_close(head)
        self._closing = not self._request_done or self._context.draining or wants_close(self._head)
        self._long_lived = self._head.method == b"GET" and head.fields.get(
            b"content-type", b""
        ).lower().startswith(b"text/event-stream")
        self._reply.append(forward_response(head, chunked=self._chunked, close=self._closing))

    def take_body(self, data: bytes) -> None:
        """Take body bytes for the client."""
        self._response_seen.append(data)
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._reply.append(data)

    def take_end(self, trailers: bytes) -> None:
        """Take the end of the answer."""
        self._response_done = True
        if self._chunked:
            self._reply.append(b"0\r\n%b\r\n" % trailers)

    def flush_response(self, entered: float) -> None:
        """Hand over what one read of the upstream brought, then show it to the tap."""
        self._entered = entered
        reply = self._reply
        if reply:
            self._client.write(reply[0] if len(reply) == 1 else b"".join(reply))
            reply.clear()
        self._show_response()
        if self._response_done:
            self._finish()
        else:
            self._response_overhead += self._context.clock() - entered

    def _take_interim(self, head: ResponseHead) -> None:
        if head.status == _SWITCHING_PROTOCOLS:
            raise UpstreamError(
                UpstreamReason.BAD_RESPONSE, "the upstream switched protocols unasked"
            )
        if self._head.minor == 1:  # RFC 9110 section 15.2: never to an HTTP/1.0 client
            self._reply.append(forward_response(head, chunked=False, close=False))

    def _show_response(self) -> None:
        tap = self._tap
        if self._answer is not None:
            head, self._answer = self._answer, None
            self._context.taps.report(UpstreamAnswered())
            if tap is not None:
                tap.response_head(head.status, head.fields)
        if tap is not None:
            for data in self._response_seen:
                tap.response_data(data)
        self._response_seen.clear()

    # Back-pressure

    def pause_response(self) -> None:
        """Stop reading the upstream: the client is slower."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_response(self) -> None:
        """Go on reading the upstream."""
        if self._upstream is not None:
            self._upstream.resume_reading()

    def pause_request(self) -> None:
        """Stop reading the client: the upstream is slower."""
        self._client.pause_reading()

    def resume_request(self) -> None:
        """Go on reading the client."""
        self._client.resume_reading()

    # Ends. Each exchange has one.

    def reject(self, error: ProxyError) -> None:
        """Refuse the request, or what is left of it."""
        self._fail(error)

    def fail(self, error: UpstreamError) -> None:
        """Take note that the upstream could not be reached or broke the exchange."""
        self._context.taps.report(UpstreamFailed(reason=error.upstream_reason.value))
        self._fail(error)
        if self._failure is not None:
            self._answer_failure()

    def connect_failed(self, error: UpstreamError) -> None:
        """Take note that no connection could be opened."""
        self._connecting = None
        self.fail(error)

    def repeat(self) -> bool:
        """Send a safe request again on a new connection; False where that is not allowed."""
        if self._head.method not in _REPEATABLE or self._head.length or self._reply or self._status:
            return False
        self._upstream = None
        self._out = [self._request_head]
        self._connecting = self._context.pool.connect(self)
        return True

    def leave(self) -> None:
        """End because the client is gone: the upstream learns of it now."""
        self._release(reuse=False)
        self._end(Abort.CLIENT_GONE)

    def shut_down(self) -> None:
        """End because the proxy stops."""
        error = shutting_down()
        if self._status:
            self._cut(error)
            return
        self._release(reuse=False)
        self._show_request()
        self._respond(error)

    def check(self, now: float, *, idle: float) -> None:
        """End what took too long; ``idle`` is seconds since the client last sent something."""
        timeouts = self._context.timeouts
        if not self._request_done:
            if idle > timeouts.client_body:
                self._fail(Rejected(408, "body_timeout", "the request body did not come whole"))
                self._answer_failure(at_once=True)
                return
        elif (
            timeouts.response_head
            and not self._status
            and self._upstream is not None
            and now - self._last > timeouts.response_head
        ):
            self._expire(UpstreamReason.RESPONSE_TIMEOUT, "answered too late")
            return
        if timeouts.total and now - self._started > timeouts.total and not self._long_lived:
            self._expire(UpstreamReason.TOTAL_TIMEOUT, "took too long")

    def _expire(self, reason: UpstreamReason, detail: str) -> None:
        self.fail(UpstreamError(reason, f"the upstream {detail}"))

    def _fail(self, error: ProxyError) -> None:
        self._release(reuse=False)
        if self._status:
            self._cut(error)
        elif self._failure is None:
            self._failure = error
            self._out.clear()
            self._reply.clear()
            self._client.resume_reading()

    def _answer_failure(self, *, at_once: bool = False) -> None:
        """Answer for a failure once the request was read: until then its call is not known."""
        error = self._failure
        if error is None or self._ended:
            return
        malformed = error.abort is Abort.REJECTED and error.status in _LOST_FRAMING
        if self._request_done or malformed or at_once or self._unread > _MAX_UNREAD:
            self._respond(error)

    def _respond(self, error: ProxyError) -> None:
        if self._ended:
            return
        keep = self._request_done and not wants_close(self._head)
        keep = keep and error.abort is not Abort.SHUTDOWN and error.status not in _LOST_FRAMING
        self._status = error.status
        self._client.write(answer(error, close=not keep, body=self._head.method != b"HEAD"))
        self._end(error.abort)
        self._client.finish_exchange(keep=keep)

    def _cut(self, error: ProxyError) -> None:
        """End a response whose head is out: what the upstream sent arrives, and no end of it."""
        if self._ended:
            return
        self._release(reuse=False)
        if self._reply:
            self._client.write(b"".join(self._reply))
            self._reply.clear()
        self._show_response()
        self._end(error.abort)
        self._client.truncate(visible=self._delimited)

    def _finish(self) -> None:
        self._release(reuse=self._request_done and self._reusable)
        self._end(None)
        self._client.finish_exchange(keep=self._request_done and not self._closing)

    def _release(self, *, reuse: bool) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.finish(reuse=reuse)

    def _end(self, abort: Abort | None) -> None:
        if self._ended:
            return
        self._ended = True
        tap = self._tap
        if tap is not None:
            if abort is None:
                tap.response_end()
            else:
                tap.aborted(abort)
        now = self._context.clock()
        if abort is None:
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


_LOST_FRAMING = frozenset({400, 408, 431, 501, 505})
"""Statuses after which the next byte's meaning is in doubt: answered at once, then closed."""
_METHODS = {name.encode(): name for name in ("POST", "GET", "DELETE", "OPTIONS", "HEAD")}
