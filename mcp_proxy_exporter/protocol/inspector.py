"""What one HTTP exchange says about JSON-RPC calls: bytes in, events out.

`Inspector` is one per server and holds what its exchanges share; `ExchangeInspector` is one per
HTTP exchange and walks it: request body, response head, response body, end. Knows which bodies
hold messages, and what it means for a call when nothing answers it; does not know sockets, clocks
or metrics. Total on any input: it never raises on what comes from the wire.

The objects of an exchange refer to each other in one direction only, so that the garbage collector
need not know them (``gc=False``); structs are made in half the time of plain classes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.body import (
    EventStreamBody,
    JsonBody,
    Media,
    Text,
    media_of,
    open_event_stream,
    open_json,
)
from mcp_proxy_exporter.protocol.catalog import Catalog
from mcp_proxy_exporter.protocol.events import Event, InspectionStopped
from mcp_proxy_exporter.protocol.jsonrpc import INVALID_JSON, Batch, Malformed, Message, decode
from mcp_proxy_exporter.protocol.limits import Budget, Limits
from mcp_proxy_exporter.protocol.outcome import Abort, Outcome
from mcp_proxy_exporter.protocol.routing import contradicts, is_modern_field
from mcp_proxy_exporter.protocol.sse import read_single_message
from mcp_proxy_exporter.protocol.tracker import ExchangeTracker, OpenCall
from mcp_proxy_exporter.protocol.verdict import FIRST_HTTP_ERROR

# Members of an Enum as globals: looking one up costs 0.2 us on Python 3.11, a global 0.03.
_JSON: Final = Media.JSON
_EVENT_STREAM: Final = Media.EVENT_STREAM
_FORM: Final = Media.FORM
_OTHER: Final = Media.OTHER

_ABORTED: Final[Mapping[Abort, Outcome]] = {
    Abort.CLIENT_GONE: Outcome.CLIENT_DISCONNECTED,
    Abort.UPSTREAM_UNREACHABLE: Outcome.UPSTREAM_UNREACHABLE,
    Abort.UPSTREAM_TIMEOUT: Outcome.UPSTREAM_TIMEOUT,
    Abort.UPSTREAM_CLOSED: Outcome.UPSTREAM_CLOSED,
    Abort.REJECTED: Outcome.REJECTED,
    Abort.SHUTDOWN: Outcome.PROXY_SHUTDOWN,
    Abort.FAULT: Outcome.UNINSPECTED,
}

# "Accepted" and "No Content" hold no message, so that their media type says nothing.
_WITHOUT_MESSAGE: Final = frozenset({202, 204})


# Unreadable events after which a stream is no longer looked at: broken servers send one or two.
_MAX_FAULTS: Final = 100


class Inspector:
    """The inspection of one server: its limits, its tools, its open calls."""

    __slots__ = ("buffers", "calls", "catalog", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.catalog = Catalog()
        self.buffers = Budget(limits.max_buffered_bytes)
        """Bytes of unfinished messages."""
        self.calls = Budget(limits.max_open_calls)
        """Calls in flight."""

    def open(
        self,
        method: bytes,
        target: bytes,  # noqa: ARG002  (any path may be an MCP endpoint)
        fields: Mapping[bytes, bytes],
    ) -> "ExchangeInspector | None":
        """Begin an exchange with the head of its request; None if there is nothing to inspect.

        `fields` maps lower-case names to values, repeated ones joined with ``", "``. Messages come
        in the body of a POST, its answer, or the event stream that answers a GET (MCP 2025-11-25
        basic/transports).
        """
        if method == b"POST":
            content_type = fields.get(b"content-type")
            media = _OTHER if content_type is None else media_of(content_type)
            if media is _FORM:
                return None
            return ExchangeInspector(self, ExchangeTracker(self.catalog, self.calls), fields, media)
        if method == b"GET":
            return ExchangeInspector(self, ExchangeTracker(self.catalog, self.calls), fields, None)
        return None


class ExchangeInspector(msgspec.Struct, eq=False, gc=False):
    """One HTTP exchange. `now` is in seconds of any one monotonic clock.

    `response_end` or `aborted` ends it: what is open is closed, what is held is freed, and calls
    that come later do nothing.
    """

    _inspector: Inspector
    _tracker: ExchangeTracker
    _fields: Mapping[bytes, bytes]
    """Of the request."""
    _media: Media | None
    """Of the request; None for a GET, which has no body."""
    _reading: bool = True
    """The request's body is not whole yet."""
    _request: JsonBody | None = None
    """What of it is held, once it comes in pieces."""
    _response: JsonBody | EventStreamBody | None = None
    _status: int = 0
    _left: bool = False
    """It is over, or not ours: nothing more is looked at."""
    _blind: bool = False
    """A part of the response could not be read."""
    _faults: int = 0
    """Parts of the response that could not be read."""
    _garbled: bool = False
    """A part of the response was no JSON."""

    def request(self, data: bytes, now: float) -> Sequence[Event]:
        """Take the request's body whole: `request_data` and `request_end` in one, and cheaper."""
        if (
            self._media is not _JSON
            or not self._reading
            or self._request is not None
            or b"content-encoding" in self._fields
            or not 0 < len(data) <= self._inspector.limits.max_message_bytes
        ):
            return [*self.request_data(data, now), *self.request_end(now)]
        self._reading = False
        return self._read_request(data, now)

    def response(
        self, status: int, fields: Mapping[bytes, bytes], data: bytes, now: float
    ) -> Sequence[Event]:
        """Take the response whole: `response_head`, `response_data`, `response_end` in one."""
        text = self._find_text(fields, data)
        if text is None:
            head = self.response_head(status, fields, now)
            return [*head, *self.response_data(data, now), *self.response_end(now)]
        self._status = status
        events = self._read_response(text, now)
        if self._tracker.open_calls:
            # Not answered: what that means depends on the kind of body.
            self.response_head(status, fields, now)
            if isinstance(self._response, EventStreamBody):
                self._response.feed(data)
        return self._end_response(events, now)

    def _find_text(self, fields: Mapping[bytes, bytes], data: bytes) -> bytes | None:
        """Return the one JSON text of a response that came whole, if it is there to be seen."""
        content_type = fields.get(b"content-type")
        if (
            content_type is None
            or self._left
            or self._media is None
            or b"content-encoding" in fields
            or not 0 < len(data) <= self._inspector.limits.max_message_bytes
        ):
            return None
        media = media_of(content_type)
        if media is _JSON:
            return data
        return read_single_message(data) if media is _EVENT_STREAM else None

    def request_data(self, data: bytes, now: float) -> Sequence[Event]:  # noqa: ARG002
        """Take bytes of the request's body."""
        if not self._reading or self._media is None:
            return ()
        problems = self._begin_request().feed(data)
        return [InspectionStopped(problem.reason) for problem in problems] if problems else ()

    def request_end(self, now: float) -> Sequence[Event]:
        """Take the end of the request's body: its calls are on their way."""
        if not self._reading or self._media is None:
            return ()
        text = self._begin_request().finish()
        self._reading = False
        self._request = None
        if text is not None:
            return self._read_request(text, now)
        if self._media is not _JSON:
            self._leave()
        return ()

    def _begin_request(self) -> JsonBody:
        if self._request is None:
            inspector = self._inspector
            coding = self._fields.get(b"content-encoding")
            media = self._media or _OTHER
            self._request = open_json(inspector.limits, inspector.buffers, coding, media)
        return self._request

    def response_head(
        self,
        status: int,
        fields: Mapping[bytes, bytes],
        now: float,  # noqa: ARG002
    ) -> Sequence[Event]:
        """Take the final response head; its media type decides how the body is read."""
        if self._left:
            return ()
        self._status = status
        content_type = fields.get(b"content-type")
        media = _OTHER if content_type is None else media_of(content_type)
        coding = fields.get(b"content-encoding")
        inspector = self._inspector
        if media is _EVENT_STREAM:
            self._response = open_event_stream(inspector.limits, inspector.buffers, coding)
        elif self._media is None:
            self._leave()
        elif media is _JSON:
            self._response = open_json(inspector.limits, inspector.buffers, coding, media)
        elif content_type is not None and self._expects_message(status):
            return (InspectionStopped("content_type"),)
        return ()

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes of the response's body that were handed to the client."""
        response = self._response
        if response is None:
            return ()
        texts = response.feed(data)
        if not texts:
            return ()
        events: list[Event] = []
        for text in texts:
            if isinstance(text, Malformed):
                events.append(self._fault(text))
            else:
                events += self._read_response(text, now)
            if self._faults >= _MAX_FAULTS:
                # Not a stream of messages: to look at more would only cost.
                self._blind = True
                response.close()
                self._response = None
                break
        return events

    def response_end(self, now: float) -> Sequence[Event]:
        """Take the clean end of the response: calls without an answer get none any more."""
        response = self._response
        text = None if response is None else response.finish()
        events = () if text is None else self._read_response(text, now)
        return self._end_response(events, now)

    def _end_response(self, events: Sequence[Event], now: float) -> Sequence[Event]:
        tracker = self._tracker
        if tracker.open_calls:
            events = [*events, *tracker.close(self._unanswered, now)]
        self._leave()
        return events

    def aborted(self, cause: Abort, now: float) -> Sequence[Event]:
        """Take the early end of the exchange."""
        outcome = _ABORTED[cause]
        events = self._tracker.close(lambda _: outcome, now)
        self._leave()
        return events

    def _read_request(self, text: Text, now: float) -> Sequence[Event]:
        decoded = decode(text)
        if isinstance(decoded, Message):
            method, name = self._fields.get(b"mcp-method"), self._fields.get(b"mcp-name")
            if (method is None and name is None) or not contradicts(decoded, method, name):
                return self._tracker.client_message(decoded, len(text), now)
            events = self._tracker.client_message(decoded, len(text), now)
            return [*events, InspectionStopped("header_mismatch")]
        if isinstance(decoded, Batch) and decoded.elements:
            return self._read_client_batch(decoded, now)
        if isinstance(decoded, Malformed) and self._media is _JSON:
            return (InspectionStopped(decoded.reason),)
        self._leave()  # other JSON (OAuth client registration, a REST call), or no JSON at all
        return ()

    def _read_client_batch(self, batch: Batch, now: float) -> Sequence[Event]:
        events: list[Event] = []
        for element, size in batch.elements:
            if isinstance(element, Message):
                events += self._tracker.client_message(element, size, now)
            elif element is not None:
                events.append(InspectionStopped(element.reason))
        if not events:
            self._leave()
        return events

    def _read_response(self, text: Text, now: float) -> Sequence[Event]:
        decoded = decode(text)
        if isinstance(decoded, Message):
            return self._tracker.server_message(decoded, len(text), self._status, now)
        if isinstance(decoded, Batch):
            return self._read_server_batch(decoded, now)
        return () if decoded is None else (self._fault(decoded),)

    def _read_server_batch(self, batch: Batch, now: float) -> Sequence[Event]:
        events: list[Event] = []
        for element, size in batch.elements:
            if isinstance(element, Message):
                events += self._tracker.server_message(element, size, self._status, now)
            elif element is not None:
                events.append(self._fault(element))
        return events

    def _fault(self, problem: Malformed) -> InspectionStopped:
        """Remember that the answer may have been in what could not be read."""
        self._faults += 1
        if problem == INVALID_JSON:
            self._garbled = True
        else:
            self._blind = True
        return InspectionStopped(problem.reason)

    def _expects_message(self, status: int) -> bool:
        return (
            status < FIRST_HTTP_ERROR
            and status not in _WITHOUT_MESSAGE
            and len(self._tracker.open_calls) > 0
        )

    def _unanswered(self, opened: OpenCall) -> Outcome:
        """Say what a response that ended cleanly means for a call that it did not answer."""
        if self._blind:
            return Outcome.UNINSPECTED
        if self._status >= FIRST_HTTP_ERROR:
            return Outcome.HTTP_ERROR
        response = self._response
        if isinstance(response, EventStreamBody):
            # MCP 2025-11-25 basic/transports: the client resumes by a GET. 2026-07-28 has no
            # resumption: "a broken response stream loses the in-flight request".
            modern = opened.modern or is_modern_field(self._fields.get(b"mcp-protocol-version"))
            if response.resumable and not modern:
                return Outcome.ABANDONED
            if not self._garbled:
                return Outcome.UPSTREAM_CLOSED
        return Outcome.INVALID_RESPONSE

    def _leave(self) -> None:
        """Look at nothing more, and free what is held."""
        self._left = True
        self._reading = False
        if self._request is not None:
            self._request.close()
            self._request = None
        if self._response is not None:
            self._response.close()
            self._response = None
