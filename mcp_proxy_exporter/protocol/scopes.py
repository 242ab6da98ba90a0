"""All scopes of one server: which request belongs to which, when they begin and when they end.

Knows sessions by their ids, HTTP+SSE endpoints by the target that clients are told to POST to, and
resumable event streams of servers without sessions by their event ids; does not know messages. All
of it is bounded, and one sweep ends what is overdue.
"""

from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from mcp_proxy_exporter.protocol.clients import Clients
from mcp_proxy_exporter.protocol.events import (
    CallClosed,
    Client,
    Event,
    SessionClosed,
    SessionEnd,
    SessionOpened,
)
from mcp_proxy_exporter.protocol.limits import Budget, Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.scope import Kind, Scope, Suspended, compact

# When there is no room for a session, this part of all is forgotten at once, so that looking for
# the longest idle ones is rare.
_EVICTED_PART: Final = 16

_SESSION: Final = Kind.SESSION


class _EndpointObject(msgspec.Struct, gc=False, frozen=True):
    """What some servers send for the endpoint's address."""

    uri: str


_decode_endpoint = msgspec.json.Decoder(_EndpointObject).decode


class Scopes:
    """The scopes of one server."""

    __slots__ = ("_clients", "_limits", "_sessions", "_slots", "_streams", "endpoints", "waiting")

    def __init__(self, limits: Limits, slots: Budget, clients: Clients) -> None:
        self._clients = clients
        self._limits = limits
        self._slots = slots
        self._sessions: dict[bytes, Scope] = {}
        self.endpoints: dict[bytes, Scope] = {}
        """By the target of the requests that belong to them."""
        self._streams: dict[bytes, Scope] = {}  # without a session, by event id
        self.waiting: dict[Suspended, Scope] = {}
        """The suspended calls of all scopes."""

    def find(self, fields: Mapping[bytes, bytes], target: bytes, now: float) -> Scope | None:
        """Return the scope of a request; None where its ids mean nothing beyond the exchange."""
        session_id = fields.get(b"mcp-session-id")
        if session_id is not None:
            scope = self._sessions.get(session_id)
            if scope is None:
                scope = self._find_session(session_id, fields, now)
            scope.heard_at = now
            return scope
        return self.endpoints.get(target) if self.endpoints else None

    def find_stream(self, event_id: bytes) -> Scope | None:
        """Return the scope of the stream, of a server without sessions, that had this event."""
        return self._streams.get(compact(event_id))

    def open_session(self, session_id: bytes, client: Client, now: float) -> Sequence[Event]:
        """Begin the session that the answer to an ``initialize`` names."""
        scope = self._find_session(session_id, {}, now)
        scope.client = client
        scope.heard_at = now
        return self.confirm(scope, now)

    def confirm(self, scope: Scope, now: float) -> Sequence[Event]:
        """Take the proof that a session exists."""
        if scope.opened_at is not None or scope.closed_as is not None:
            return ()
        scope.opened_at = now
        return (*self._make_room(scope, now), SessionOpened())

    def close_session(self, scope: Scope, reason: SessionEnd, now: float) -> Sequence[Event]:
        """End a session: what waits in it is given up."""
        if scope.closed_as is not None:
            return ()
        self._forget(scope)
        scope.closed_as = Outcome.ABANDONED
        events: list[Event] = [*scope.close_suspended(Outcome.ABANDONED, now, self._slots)]
        if scope.opened_at is not None:
            end = scope.heard_at if reason is SessionEnd.IDLE else now
            events.append(SessionClosed(reason, end - scope.opened_at))
        return events

    def announce(self, base: bytes, endpoint: bytes, now: float) -> Scope | None:
        """Return the HTTP+SSE endpoint that a stream announces; None if that is no address.

        `base` is the target of the stream's GET, against which the address is resolved (2024-11-05
        basic/transports; forms seen are relative, absolute, and a JSON object). A server that tells
        all its clients the same address has one id space for all of them.
        """
        target = _resolve(base, endpoint)
        if target is None:
            return None
        scope = self.endpoints.get(target)
        if scope is None:
            scope = Scope(Kind.ENDPOINT, target, Client(), self.waiting, now)
            self.endpoints[target] = scope
        return scope

    def close_endpoint(self, scope: Scope, outcome: Outcome, now: float) -> Sequence[CallClosed]:
        """Take the end of a stream of an HTTP+SSE endpoint: after the last, no answer can come."""
        if scope.streams > 0 or self.endpoints.get(scope.key) is not scope:
            return ()
        del self.endpoints[scope.key]
        scope.closed_as = outcome
        return scope.close_suspended(outcome, now, self._slots)

    def give_up(
        self, scope: Scope, calls: Sequence[Suspended], outcome: Outcome, now: float
    ) -> Sequence[CallClosed]:
        """Close those of these calls that still wait."""
        waiting = [held for held in calls if held in self.waiting]
        return [scope.give_up(held, outcome, now, self._slots) for held in waiting]

    def suspend(
        self, scope: Scope | None, calls: Sequence[Suspended], now: float
    ) -> Sequence[CallClosed]:
        """Hold calls whose exchange is over; those whose id they use again are given up."""
        if scope is None:
            scope = Scope(Kind.STREAM, b"", Client(), self.waiting, now)
            self._register(scope, calls[0].event_ids)
        given_up = []
        for held in calls:
            earlier = scope.suspended.get(held.key)
            if earlier is not None:
                given_up.append(scope.give_up(earlier, Outcome.ABANDONED, now, self._slots))
            scope.suspend(held)
        return given_up

    def detach(
        self,
        scope: Scope,
        attached: Sequence[Suspended],
        event_ids: Sequence[bytes],
        deadline: float,
    ) -> None:
        """Take the end of the stream that resumed these calls: what is left waits again."""
        scope.detach(attached, event_ids, deadline)
        if scope.kind is Kind.STREAM and scope.suspended:
            self._register(scope, event_ids)

    def leave(self, scope: Scope, now: float) -> None:
        """Take the end of an exchange: forget a scope that nothing proves or needs."""
        scope.heard_at = now
        if scope.opened_at is None and not (scope.holders or scope.suspended or scope.streams):
            if scope.kind is _SESSION:
                self._forget(scope)
            elif scope.kind is Kind.STREAM:
                for event_id in scope.event_ids:
                    if self._streams.get(event_id) is scope:
                        del self._streams[event_id]
                scope.event_ids = ()

    def sweep(self, now: float) -> Sequence[Event]:
        """End what is overdue."""
        events: list[Event] = []
        for held, scope in [*self.waiting.items()]:
            if held.deadline <= now:
                events.append(scope.give_up(held, Outcome.ABANDONED, now, self._slots))
                self.leave(scope, scope.heard_at)
        silent_since = now - self._limits.session_idle_seconds
        for scope in [*self._sessions.values()]:
            if scope.heard_at <= silent_since and not (scope.holders or scope.streams):
                events += self.close_session(scope, SessionEnd.IDLE, now)
        return events

    def close(self, now: float) -> Sequence[Event]:
        """End all waiting, because nobody will look any more."""
        waiting = [*self.waiting.items()]
        return [
            scope.give_up(held, Outcome.PROXY_SHUTDOWN, now, self._slots) for held, scope in waiting
        ]

    def _find_session(self, session_id: bytes, fields: Mapping[bytes, bytes], now: float) -> Scope:
        """Return the scope of a session; a new one has to prove that its session exists."""
        key = compact(session_id)
        scope = self._sessions.get(key)
        if scope is None:
            client = self._clients.find(fields.get(b"mcp-protocol-version"))
            scope = self._sessions[key] = Scope(_SESSION, key, client, self.waiting, now)
        return scope

    def _make_room(self, newest: Scope, now: float) -> Sequence[Event]:
        """Forget sessions that are silent the longest, where there are too many."""
        surplus = len(self._sessions) - self._limits.max_sessions
        if surplus <= 0:
            return ()
        others = [scope for scope in self._sessions.values() if scope is not newest]
        count = max(surplus, self._limits.max_sessions // _EVICTED_PART)
        events: list[Event] = []
        for scope in nsmallest(count, others, key=_idleness):
            events += self.close_session(scope, SessionEnd.IDLE, now)
        return events

    def _register(self, scope: Scope, event_ids: Sequence[bytes]) -> None:
        scope.event_ids = (*scope.event_ids, *event_ids)
        for event_id in event_ids:
            self._streams[event_id] = scope

    def _forget(self, scope: Scope) -> None:
        if self._sessions.get(scope.key) is scope:
            del self._sessions[scope.key]


def _idleness(scope: Scope) -> tuple[bool, float]:
    """Order scopes: first those where nothing is open, of these the longest silent first."""
    return bool(scope.holders or scope.streams), scope.heard_at


def _resolve(base: bytes, endpoint: bytes) -> bytes | None:
    """Give the target of a request to an announced address."""
    address = endpoint.strip()
    try:
        if address.startswith(b"{"):
            address = _decode_endpoint(address).uri.encode()
        # Latin-1 keeps every byte.
        parts = urlsplit(urljoin(base.decode("latin-1"), address.decode("latin-1")))
    except ValueError:
        return None
    path = parts.path or "/"
    return (f"{path}?{parts.query}" if parts.query else path).encode("latin-1")
