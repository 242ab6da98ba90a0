"""The messages of one HTTP response, whatever request it answers.

Knows bodies, messages and the long-lived event streams among them; does not know what it means for
a call when nothing answers it (`exchange`, `stream`).

The objects of an exchange refer to each other in one direction only, but for open calls that their
scope has to find, so that the garbage collector need not know them (``gc=False``); structs are made
in half the time of plain classes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mcp_proxy_exporter.protocol.body import EventStreamBody, JsonBody, Media, Text
from mcp_proxy_exporter.protocol.events import (
    Event,
    InspectionStopped,
    SessionEnd,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
)
from mcp_proxy_exporter.protocol.jsonrpc import (
    INVALID_JSON,
    Batch,
    Error,
    Malformed,
    Message,
    decode,
)
from mcp_proxy_exporter.protocol.outcome import Abort, Outcome
from mcp_proxy_exporter.protocol.scope import Kind
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.tracker import ExchangeTracker
from mcp_proxy_exporter.protocol.verdict import FIRST_HTTP_ERROR

ABORTED: Final[Mapping[Abort, Outcome]] = {
    Abort.CLIENT_GONE: Outcome.CLIENT_DISCONNECTED,
    Abort.UPSTREAM_UNREACHABLE: Outcome.UPSTREAM_UNREACHABLE,
    Abort.UPSTREAM_TIMEOUT: Outcome.UPSTREAM_TIMEOUT,
    Abort.UPSTREAM_CLOSED: Outcome.UPSTREAM_CLOSED,
    Abort.REJECTED: Outcome.REJECTED,
    Abort.SHUTDOWN: Outcome.PROXY_SHUTDOWN,
    Abort.FAULT: Outcome.UNINSPECTED,
}
"""What the early end of an exchange means for a call that it leaves unanswered."""

BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
FIRST_REDIRECTION: Final = 300

# Unreadable events after which a stream is no longer looked at: broken servers send one or two.
_MAX_FAULTS: Final = 100


class ResponseInspector(msgspec.Struct, eq=False, gc=False):
    """One HTTP exchange, as far as its response goes. `now` is in seconds of a monotonic clock."""

    _state: ServerState
    _tracker: ExchangeTracker
    _target: bytes
    _fields: Mapping[bytes, bytes]
    """Of the request."""
    _media: Media | None
    """Of the request; None where it has no body."""
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
    _stream: StreamKind | None = None
    """The long-lived stream that it is."""
    _stream_opened_at: float = 0.0

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes of the response's body that were handed to the client."""
        response = self._response
        if response is None:
            return ()
        texts = response.feed(data)
        events: list[Event] = []
        if self._stream is not None and isinstance(response, EventStreamBody) and response.seen:
            events += self._count_events(response, now)
        elif not texts:
            return ()
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

    def _open_stream(self, kind: StreamKind, now: float) -> Event:
        self._stream = kind
        self._stream_opened_at = now
        return StreamOpened(kind)

    def _close_stream(self, now: float) -> Sequence[Event]:
        kind = self._stream
        if kind is None:
            return ()
        self._stream = None
        return (StreamClosed(kind, now - self._stream_opened_at),)

    def _count_events(self, body: EventStreamBody, now: float) -> Sequence[Event]:  # noqa: ARG002
        """Count what passed since the last time."""
        count, body.seen = body.seen, 0
        return () if self._stream is None else (StreamEvents(self._stream, count),)

    def _read_response(self, text: Text, now: float) -> Sequence[Event]:
        decoded = decode(text)
        if isinstance(decoded, Message):
            events = self._tracker.server_message(decoded, len(text), self._status, now)
            if self._status == BAD_REQUEST and decoded.error is not None:
                return [*events, *self._look_for_dead_session(decoded.error, now)]
            return events
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

    def _note_session(self, status: int, now: float) -> Sequence[Event]:
        """Take what a status says about the session that the request named."""
        scope = self._tracker.scope
        if scope is None or scope.kind is not Kind.SESSION:
            return ()
        if status < FIRST_HTTP_ERROR:
            return self._state.scopes.confirm(scope, now)
        if status == NOT_FOUND:  # 2025-11-25 basic/transports, Session Management
            return self._state.scopes.close_session(scope, SessionEnd.EXPIRED, now)
        return ()

    def _look_for_dead_session(self, error: Error, now: float) -> Sequence[Event]:
        """Take a 400 for the 404 that the specifications ask for, where its text says so.

        The TypeScript SDK's examples answer so, and many servers began as one.
        """
        scope = self._tracker.scope
        if scope is None or scope.kind is not Kind.SESSION:
            return ()
        if error.message is None or "session" not in error.message.lower():
            return ()
        return self._state.scopes.close_session(scope, SessionEnd.EXPIRED, now)

    def _leave(self, now: float) -> None:
        """Look at nothing more, and free what is held."""
        self._left = True
        if self._response is not None:
            self._response.close()
            self._response = None
        scope = self._tracker.scope
        if scope is not None:
            self._state.scopes.leave(scope, now)
