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
    FIRST_REDIRECTION,
    NOT_FOUND,
    ResponseInspector,
)
from mcp_proxy_exporter.protocol.resumption import Resumption, compact
from mcp_proxy_exporter.protocol.scope import Kind, Scope

_GET: Final = StreamKind.GET
_LEGACY_SSE: Final = StreamKind.LEGACY_SSE


class StreamInspector(ResponseInspector, eq=False, gc=False):
    """One GET. `response`, `response_end` or `aborted` ends it."""

    _resumption: Resumption | None = None
    """The streams that it goes on from."""

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
        if self._left:
            return ()
        state, tracker = self._state, self._tracker
        tracker.scope = state.scopes.join_session(self._fields, now)
        content_type = fields.get(b"content-type")
        if (
            status >= FIRST_REDIRECTION
            or content_type is None
            or media_of(content_type) is not Media.EVENT_STREAM
        ):
            self._leave(now)
            return ()
        self._status = status
        coding = fields.get(b"content-encoding")
        self._response = open_event_stream(state.limits, state.buffers, coding)
        event_id = self._fields.get(b"last-event-id")
        if event_id:
            key = compact(event_id)
            self._resumption = tracker.resumption = stream = Resumption({key: None})
            if tracker.scope is None:
                tracker.scope = state.scopes.join_stream(key, stream, self)
            if tracker.scope is not None:
                tracker.scope.resume(stream)
        return (*self._confirm_session(status, now), self._open_stream(_GET, now))

    def awaits(self) -> bool:
        """Tell whether the answer to an open call may still come on it."""
        scope, stream = self._tracker.scope, self._resumption
        if scope is None:
            return stream is not None  # of what it goes on from, nothing is known
        if scope.kind is Kind.ENDPOINT:
            return bool(scope.live or scope.suspended)
        return stream is not None and scope.awaits(stream)

    def enter(self, scope: Scope, stream: Resumption) -> None:
        """Go on in the scope that it turns out to belong to."""
        self._tracker.scope = scope
        scope.resume(stream)

    def _count_events(self, body: EventStreamBody, now: float) -> Sequence[Event]:
        """Count what passed since the last time, and learn what kind of stream it is."""
        events: list[Event] = []
        self._note_ids(body)
        while body.endpoints and self._tracker.scope is None:
            scope = self._state.scopes.announce(self._target, body.endpoints.pop(0), now)
            if scope is not None:
                self._stop_looking()
                self._tracker.scope = scope
                self._stream = _LEGACY_SSE
                events.append(StreamOpened(_LEGACY_SSE, instead_of=_GET))
        return [*events, *super()._count_events(body, now)]

    def _note_ids(self, body: EventStreamBody) -> None:
        """Take the ids from which it may be resumed itself."""
        stream, scope = self._resumption, self._tracker.scope
        if stream is None:
            return
        stream.retry = body.retry
        seen = tuple(map(compact, body.event_ids))
        if seen == stream.seen:
            return
        if scope is None:
            self._state.scopes.lost.note_ids(stream, seen)
            return
        stream.seen = seen
        if scope.kind is Kind.STREAM:
            self._state.scopes.register(scope, seen)

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes of the stream that were handed to the client."""
        events = super().response_data(data, now)
        scope, body = self._tracker.scope, self._response
        unreadable = body is None or (isinstance(body, EventStreamBody) and body.stopped)
        if unreadable and scope is not None and scope.kind is Kind.ENDPOINT and not self._left:
            # Nobody will see the answers that it brings from now on.
            self._tracker.scope = None
            closed = self._state.scopes.close_endpoint(scope, Outcome.UNINSPECTED, now)
            self._state.scopes.leave(scope, now)
            return [*events, *closed]
        return events

    def response_end(self, now: float) -> Sequence[Event]:
        """Take the clean end of the stream: what it could have brought comes no more."""
        rest = self._read_rest(now)
        events = self._end(Outcome.UPSTREAM_CLOSED, now)
        return [*rest, *events] if rest else events

    def aborted(self, cause: Abort, now: float) -> Sequence[Event]:
        """Take the early end of the stream."""
        return [*self._begin_abort(), *self._end(ABORTED[cause], now)]

    def _end(self, outcome: Outcome, now: float) -> Sequence[Event]:
        events = self._close_stream(now)
        scope = self._tracker.scope
        if isinstance(self._response, EventStreamBody):
            self._note_ids(self._response)
        if scope is not None and scope.kind is Kind.ENDPOINT:
            final = Outcome.UNINSPECTED if self._blind else outcome
            events = [*events, *self._state.scopes.close_endpoint(scope, final, now)]
        elif scope is not None and self._resumption is not None:
            events = [*events, *self._end_resumption(scope, self._resumption, now)]
        elif self._resumption is not None:
            self._state.scopes.lost.end(self._resumption, now)
        self._resumption = None
        self._leave(now)
        return events

    def _stop_looking(self) -> None:
        """Do not wait any more for the end of a stream that this one may resume."""
        if self._resumption is not None:
            self._state.scopes.lost.remove(self._resumption)

    def _end_resumption(self, scope: Scope, stream: Resumption, now: float) -> Sequence[Event]:
        """Let the calls wait again that it resumed and did not answer."""
        scopes = self._state.scopes
        resumed = scope.find_resumed(stream) if self._blind else ()
        scopes.end_resumption(scope, stream, now)
        # The answers may have been in what could not be read.
        return scopes.give_up(scope, resumed, Outcome.UNINSPECTED, now)


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
        scope = scopes.join_session(self._fields, now)
        if scope is None:
            return ()
        events: Sequence[Event] = ()
        if status < FIRST_REDIRECTION:
            events = scopes.close_session(scope, SessionEnd.DELETED, now)
        elif status == NOT_FOUND:
            events = scopes.close_session(scope, SessionEnd.EXPIRED, now)
        scopes.leave(scope, now)
        return events
