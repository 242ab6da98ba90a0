"""What passes between a client and an upstream during one exchange, both ways.

Knows the order on every byte (write to the other side, then tell the tap) and how each side's
framing becomes the other's. Does not know how an exchange begins or ends (`exchange`), sockets
(`downstream`, `upstream`) or where messages end (`wire`).

Bytes found in one read are joined into one write: ``flush_request`` and ``flush_response`` come
after each read.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mcp_proxy_exporter.protocol.events import UpstreamAnswered
from mcp_proxy_exporter.proxy.context import BUFFER_HIGH_WATER, Context
from mcp_proxy_exporter.proxy.errors import ProxyError, UpstreamError, UpstreamReason
from mcp_proxy_exporter.proxy.headers import (
    forward_response,
    forward_trailers,
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
_ANSWER_INTERVAL = 1.0  # seconds: how exact the time of the last success needs to be


class Relay(ABC):
    """The bytes of one exchange: what waits to be written, and what waits to be shown."""

    # Defaults of the class, not of each object: an exchange has many states and enters few.
    _tap: "Tap | None" = None
    _upstream: "UpstreamConnection | None" = None
    _failure: ProxyError | None = None
    _late = False
    """The answer is out and the request is not whole: it is read on for what it says."""
    _request_done = False
    _request_shown = False
    _request_told = False
    _request_overhead = 0.0
    _held = False
    """What came is dear to look at: nothing more is read until that was done."""
    _unread = 0
    _answer: ResponseHead | None = None
    _response_done = False
    _response_overhead = 0.0
    _status = 0
    _chunked = False
    _closing = False
    _delimited = True
    _reusable = False
    _long_lived = False
    _endable = False
    """It can be ended between two events, and its client sees that nothing is missing."""
    _tail = b"\n\n"
    """The last bytes of a body that is endable; before the first, it is between events as well."""

    def __init__(
        self, context: Context, client: "ClientConnection", head: RequestHead, now: float
    ) -> None:
        self._context = context
        self._client = client
        self._head = head
        self._sent_at = self._entered = now
        self._out: list[bytes] = []
        self._request_seen: list[bytes] = []
        self._reply: list[bytes] = []
        self._response_seen: list[bytes] = []

    @abstractmethod
    def _finish(self) -> None:
        """End the exchange: its whole answer was handed over and shown."""

    @abstractmethod
    def _read_on(self) -> None:
        """End the exchange once its late request was read far enough."""

    @abstractmethod
    def _answer_failure(self) -> None:
        """Answer for what failed, if the request was read far enough."""

    # The request

    def take_request_body(self, data: bytes) -> None:
        """Take body bytes for the upstream."""
        self._request_seen.append(data)
        if self._failure is not None or self._late:
            self._unread += len(data)
        elif self._head.length == CHUNKED:
            self._out.append(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._out.append(data)

    def take_request_end(self, trailers: bytes) -> None:
        """Take the end of the request."""
        self._request_done = True
        if self._head.length == CHUNKED and self._failure is None:
            if trailers:
                trailers = forward_trailers(trailers, self._context.rules.extra_headers)
            self._out.append(b"0\r\n%b\r\n" % trailers)

    def flush_request(self, entered: float) -> None:
        """Send what one read of the client brought, then show it to the tap."""
        if self._request_told:
            return  # what came belongs to a later request
        if self._upstream is not None:
            self._write_out()
        elif self._failure is None and sum(map(len, self._out)) > BUFFER_HIGH_WATER:
            self._client.pause_reading()
        self._show_request()
        self._sent_at = now = self._context.clock()
        self._request_overhead += now - entered
        if self._failure is not None:
            self._answer_failure()
        elif self._late:
            self._read_on()

    def _write_out(self) -> None:
        out = self._out
        if out and self._upstream is not None:
            self._upstream.write(_join(out))
            out.clear()

    def _show_request(self) -> None:
        tap = self._tap
        seen = self._request_seen
        self._request_told = done = self._request_done
        if tap is not None:
            if done and len(seen) == 1 and not self._request_shown:
                tap.request(seen[0])  # mostly so: head and body come in one read
            else:
                if seen:
                    tap.request_data(_join(seen))
                if done:
                    tap.request_end()
                elif tap.behind:
                    self._hold()
        self._request_shown = True
        seen.clear()

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
        self._closing = (
            not self._request_done or self._context.closes_clients or wants_close(self._head)
        )
        self._long_lived = self._head.method == b"GET" and head.fields.get(
            b"content-type", b""
        ).lower().startswith(b"text/event-stream")
        framing = self._chunked, self._closing
        forwarded = head.forwarded.get(framing)
        if forwarded is None:
            forwarded = forward_response(head, chunked=self._chunked, close=self._closing)
            head.forwarded[framing] = forwarded
        self._reply.append(forwarded)
        self._endable = (
            self._long_lived
            and b"content-encoding" not in head.fields  # which hides where events end
            and (self._chunked or not self._delimited)
        )

    def take_body(self, data: bytes) -> None:
        """Take body bytes for the client."""
        self._response_seen.append(data)
        if self._endable:
            self._tail = data[-3:] if len(data) > 2 else (self._tail + data)[-3:]  # noqa: PLR2004
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._reply.append(data)

    def take_end(self, trailers: bytes) -> None:
        """Take the end of the answer."""
        self._response_done = True
        if self._chunked:
            self._reply.append(b"0\r\n%b\r\n" % trailers)

    def relay_known(self, head: ResponseHead, payload: bytes, entered: float) -> None:
        """Hand over an answer that came whole, show it to the tap and finish."""
        self.take_response(head)
        self.take_body(payload)
        self.take_end(b"")
        self.flush_response(entered)

    def flush_response(self, entered: float) -> None:
        """Hand over what one read of the upstream brought, then show it to the tap."""
        self._entered = entered
        self._write_reply()
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

    def _write_reply(self) -> None:
        reply = self._reply
        if reply:
            self._client.write(_join(reply))
            reply.clear()

    def _show_response(self) -> None:
        tap = self._tap
        seen = self._response_seen
        if self._answer is not None:
            head, self._answer = self._answer, None
            self._note_answer()
            whole = self._response_done and self._request_done and len(seen) == 1
            if tap is not None and whole:
                tap.response(head.status, head.fields, seen[0])  # mostly so: one read
                return
            if tap is not None:
                tap.response_head(head.status, head.fields)
        if tap is not None and seen:
            tap.response_data(_join(seen))
            if tap.behind and not self._response_done:
                self._hold()
        seen.clear()

    def _note_answer(self) -> None:
        context = self._context
        if self._entered - context.answered_at > _ANSWER_INTERVAL:
            context.answered_at = self._entered
            context.taps.report(UpstreamAnswered())

    # Back-pressure

    def pause_response(self) -> None:
        """Stop reading the upstream: the client is slower."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_response(self) -> None:
        """Go on reading the upstream."""
        if self._upstream is not None and not self._held:
            self._upstream.resume_reading()

    def pause_request(self) -> None:
        """Stop reading the client: the upstream is slower."""
        self._client.pause_reading()

    def resume_request(self) -> None:
        """Go on reading the client."""
        self._sent_at = self._context.clock()
        if not self._held:
            self._client.resume_reading()

    def _hold(self) -> None:
        """Let neither side bring more than can be looked at, or it would hold up all others."""
        if self._tap is not None and not self._held:
            self._held = True
            self._tap.when_even(self._let_go)
            self.pause_response()
            if not self._request_done:
                self._client.pause_reading()

    def _let_go(self) -> None:
        self._held = False
        client = self._client
        if client.exchange is not self:
            return  # it is over
        upstream = self._upstream
        if upstream is not None and not client.write_paused:
            upstream.resume_reading()
        if self._request_done:
            return
        if upstream is None:
            waits = self._failure is None and not self._late  # for a connection
        else:
            waits = upstream.write_paused
        if not waits:
            client.resume_reading()


def _join(pieces: list[bytes]) -> bytes:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
