"""The exchanges without a request body: the event stream that answers a GET, and a DELETE.

Knows that a GET's stream may bring the answers to calls of other exchanges, because it resumes
where theirs ended or because it is that of HTTP+SSE (2024-11-05), and that a DELETE ends a session.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from mcp_proxy_exporter.protocol.body import (
    EventStreamBody,
    Media,
    media_of,
    open_event_stream,
)
from mcp_proxy_exporter.protocol.events import (
    Event,
    SessionEnd,
    StreamKind,
    StreamOpened,
)
from mcp_proxy_exporter.protocol.outcome import Abort, Outcome
from mcp_proxy_exporter.protocol.response import (
    ABORTED,
    BAD_REQUEST,
    FIRST_REDIRECTION,
    NOT_FOUND,
    ResponseInspector,
)
from mcp_proxy_exporter.protocol.scope import Kind, Scope, Suspended, compact

_GET: Final = StreamKind.GET
_LEGACY_SSE: Final = StreamKind.LEGACY_SSE


class StreamInspector(ResponseInspector, eq=False, gc=False):
    """One GET. `response`, `response_end` or `aborted` ends it."""

    _attached: Sequence[Suspended] = ()
    """The calls that it resumes."""

    def request(self, data: bytes, now: float) -> Sequence[Event]:  # noqa: ARG002
        """Take the request's body whole: whatever it is, it is no message."""
        return ()

    def request_data(self, data: bytes, now: float) -> Sequence[Event]:  # noqa: ARG002
        """Take bytes of the request's body."""
        return ()

    def request_end(self, now: float) -> Sequence[Event]:  # noqa: ARG002
        """Take the end of the request."""
        return ()

    def response(
        self, status: int, fields: Mapping[bytes, bytes], data: bytes, now: float
    ) -> Sequence[Event]:
        """Take the response whole."""
        head = self.response_head(status, fields, now)
        return [*head, *self.response_data(data, now), *self.response_end(now)]

    def response_head(
        self, status: int, fields: Mapping[bytes, bytes], now: float
    ) -> Sequence[Event]:
        """Take the final response head: only an event stream is of interest."""
        content_type = fields.get(b"content-type")
        if (
            self._left
            or status >= FIRST_REDIRECTION
            or content_type is None
            or media_of(content_type) is not Media.EVENT_STREAM
        ):
            self._leave(now)
            return ()
        self._status = status
        state, tracker = self._state, self._tracker
        coding = fields.get(b"content-encoding")
        self._response = open_event_stream(state.limits, state.buffers, coding)
        tracker.scope = state.scopes.find(self._fields, self._target, now)
        event_id = self._fields.get(b"last-event-id")
        if event_id:
            tracker.resumes = True
            if tracker.scope is None:
                tracker.scope = state.scopes.find_stream(event_id)
            if tracker.scope is not None:
                self._attached = tracker.scope.attach(event_id)
        if tracker.scope is not None:
            tracker.scope.streams += 1
        return (*self._note_session(status, now), self._open_stream(_GET, now))

    def _count_events(self, body: EventStreamBody, now: float) -> Sequence[Event]:
        """Count what passed since the last time, and learn what kind of stream it is."""
        events: list[Event] = []
        if body.endpoint is not None and self._tracker.scope is None:
            scope = self._state.scopes.announce(self._target, body.endpoint, now)
            body.endpoint = None
            if scope is not None:
                self._tracker.scope = scope
                scope.streams += 1
                self._stream = _LEGACY_SSE
                events.append(StreamOpened(_LEGACY_SSE, instead_of=_GET))
        return [*events, *super()._count_events(body, now)]

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes of the stream that were handed to the client."""
        events = super().response_data(data, now)
        scope, body = self._tracker.scope, self._response
        unreadable = body is None or (isinstance(body, EventStreamBody) and body.stopped)
        if unreadable and scope is not None and scope.kind is Kind.ENDPOINT and not self._left:
            # Nobody will see the answers that it brings from now on.
            self._tracker.scope = None
            scope.streams -= 1
            closed = self._state.scopes.close_endpoint(scope, Outcome.UNINSPECTED, now)
            return [*events, *closed]
        return events

    def response_end(self, now: float) -> Sequence[Event]:
        """Take the clean end of the stream: what it could have brought comes no more."""
        return self._end(Outcome.UPSTREAM_CLOSED, now)

    def aborted(self, cause: Abort, now: float) -> Sequence[Event]:
        """Take the early end of the stream."""
        return self._end(ABORTED[cause], now)

    def _end(self, outcome: Outcome, now: float) -> Sequence[Event]:
        events = self._close_stream(now)
        scope = self._tracker.scope
        if scope is not None and not self._left:
            scope.streams -= 1
            final = Outcome.UNINSPECTED if self._blind else outcome
            if scope.kind is Kind.ENDPOINT:
                events = [*events, *self._state.scopes.close_endpoint(scope, final, now)]
            else:
                events = [*events, *self._detach(scope, now)]
        self._leave(now)
        return events

    def _detach(self, scope: Scope, now: float) -> Sequence[Event]:
        """Let the calls wait again that it resumed and did not answer."""
        body = self._response
        if self._blind:  # the answers may have been in what could not be read
            return self._state.scopes.give_up(scope, self._attached, Outcome.UNINSPECTED, now)
        deadline, event_ids = now + self._state.limits.suspended_seconds, []
        if isinstance(body, EventStreamBody):
            deadline += body.retry
            event_ids = [compact(event_id) for event_id in body.event_ids]
        self._state.scopes.detach(scope, self._attached, event_ids, deadline)
        return ()


class DeletionInspector(StreamInspector, eq=False, gc=False):
    """One DELETE of a session (2025-11-25 basic/transports, Session Management)."""

    def response_head(
        self,
        status: int,
        fields: Mapping[bytes, bytes],  # noqa: ARG002
        now: float,
    ) -> Sequence[Event]:
        """Take the final response head: the status says what became of the session."""
        if self._left:
            return ()
        self._left = True
        scopes = self._state.scopes
        scope = scopes.find(self._fields, self._target, now)
        if scope is None:
            return ()
        events: Sequence[Event] = ()
        if status < FIRST_REDIRECTION:
            events = scopes.close_session(scope, SessionEnd.DELETED, now)
        elif status in {BAD_REQUEST, NOT_FOUND}:  # nothing else of a DELETE can be bad
            events = scopes.close_session(scope, SessionEnd.EXPIRED, now)
        scopes.leave(scope, now)
        return events
