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

# JSON-RPC 2.0 section 5.1: method not found, invalid params, internal error.
_METHOD_REFUSED: Final = frozenset({-32601, -32602, -32603})

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
    _untold: list[list[Event]] = []
    """What happened in steps that are not over, the outer ones first."""
    _denial: Error | None = None
    """The error with which the server refused the request."""
    _stream: StreamKind | None = None
    """The long-lived stream that it is."""
    _stream_opened_at: float = 0.0

    def awaits(self) -> bool:
        """Tell whether the answer to an open call may still come on it."""
        return True

    def unfinished(self) -> bool:
        """Tell whether not all of the body was looked at that came."""
        return isinstance(self._response, EventStreamBody) and self._response.unfinished

    def _read_rest(self, now: float) -> Sequence[Event]:
        """Look at all of the body that came."""
        events: Sequence[Event] = ()
        while self.unfinished():
            events = [*events, *self.response_data(b"", now)]
        return events

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes of the response's body that were handed to the client.

        Of a compressed event stream a part only is looked at; no bytes go on while `unfinished`.
        """
        response = self._response
        if response is None:
            return ()
        texts = response.feed(data)
        events: list[Event] = []
        if self._stream is not None and isinstance(response, EventStreamBody) and response.seen:
            events += self._count_events(response, now)
        elif not texts:
            return ()
        # Whatever breaks while a message is read, those before it are told: see `_begin_abort`.
        self._untold.append(events)
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
        self._untold.pop()
        return events

    def _begin_abort(self) -> list[Event]:
        """Return what happened and was not told because of a fault."""
        untold = [event for events in self._untold for event in events]
        self._untold.clear()
        return untold

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
            return self._read_message(decoded, text, now)
        if isinstance(decoded, Batch):
            return self._read_server_batch(decoded, now)
        return () if decoded is None else (self._fault(decoded),)

    def _read_message(
        self, message: Message, text: Text | msgspec.Raw, now: float
    ) -> Sequence[Event]:
        if self._status >= BAD_REQUEST and message.error is not None:
            self._denial = message.error
        return self._tracker.server_message(message, text, self._status, now)

    def _read_server_batch(self, batch: Batch, now: float) -> Sequence[Event]:
        events: list[Event] = []
        self._untold.append(events)
        for element, text in batch.elements:
            if isinstance(element, Message):
                events += self._read_message(element, text, now)
            elif element is not None:
                events.append(self._fault(element))
        self._untold.pop()
        return events

    def _fault(self, problem: Malformed) -> InspectionStopped:
        """Remember that the answer may have been in what could not be read."""
        self._faults += 1
        if problem == INVALID_JSON:
            self._garbled = True
        else:
            self._blind = True
        return InspectionStopped(problem.reason)

    def _confirm_session(self, status: int, now: float) -> Sequence[Event]:
        """Take a success for the proof that the session exists which the request named."""
        scope = self._tracker.scope
        if scope is None or scope.opened_at is not None or status >= FIRST_REDIRECTION:
            return ()
        return self._state.scopes.confirm(scope, now)

    def _look_for_dead_session(self, now: float) -> Sequence[Event]:
        """Take a refusal for the sign that the session is over which the request named.

        That is a 404 (2025-11-25 basic/transports, Session Management), or a 400 whose text speaks
        of it: so the TypeScript SDK's examples answer, and many servers began as one. Not so where
        the server knew the session and refused the method or its parameters.
        """
        scope, denial = self._tracker.scope, self._denial
        if scope is None or scope.kind is not Kind.SESSION:
            return ()
        if denial is not None and denial.code in _METHOD_REFUSED:
            return ()
        text = "" if denial is None or denial.message is None else denial.message.lower()
        if self._status == NOT_FOUND or (self._status == BAD_REQUEST and "session" in text):
            return self._state.scopes.close_session(scope, SessionEnd.EXPIRED, now)
        return ()

    def _leave(self, now: float) -> None:
        """Look at nothing more, and free what is held."""
        self._left = True
        if self._response is not None:
            self._response.close()
            self._response = None
        scope = self._tracker.scope
        if scope is not None:
            self._tracker.scope = None
            self._state.scopes.leave(scope, now)
