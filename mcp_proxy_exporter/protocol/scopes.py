"""All scopes of one server: which request belongs to which, when they begin and when they end.

Knows sessions by their ids, HTTP+SSE endpoints by the target that clients are told to POST to, and
resumable event streams of servers without sessions by their event ids; does not know messages. All
of it is bounded, and one sweep ends what is overdue.
"""

from collections.abc import Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from mcp_proxy_exporter.protocol.calls import CallSlots
from mcp_proxy_exporter.protocol.clients import Clients
from mcp_proxy_exporter.protocol.events import (
    Client,
    Event,
    SessionClosed,
    SessionEnd,
    SessionOpened,
)
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.lost import LostStreams, Resumer
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.routing import FIRST_MODERN_FIELD, is_modern_field
from mcp_proxy_exporter.protocol.scope import Kind, Resumption, Scope, Suspended, compact
from mcp_proxy_exporter.protocol.sse import MAX_IDS

# When there is no room for a session, this part of all is forgotten at once, so that looking for
# the longest idle ones is rare.
_EVICTED_PART: Final = 16

# Calls and sessions that are closed at once, in about 2 ms: the rest waits for the next sweep.
_MAX_AT_ONCE: Final = 500

_SESSION: Final = Kind.SESSION


class _EndpointObject(msgspec.Struct, gc=False, frozen=True):
    """What some servers send for the endpoint's address."""

    uri: str


_decode_endpoint = msgspec.json.Decoder(_EndpointObject).decode


class Scopes:
    """The scopes of one server.

    Who joins a scope leaves it again: what nobody uses and nothing proves is forgotten.
    """

    __slots__ = (
        "_clients",
        "_endpoints",
        "_limits",
        "_sessions",
        "_slots",
        "_streams",
        "_waiting",
        "lost",
    )

    def __init__(self, limits: Limits, slots: CallSlots, clients: Clients) -> None:
        self._clients = clients
        self._limits = limits
        self._slots = slots
        self._sessions: dict[bytes, Scope] = {}
        # HTTP+SSE, by the target of the requests that belong to it.
        self._endpoints: dict[bytes, Scope] = {}
        # Streams without a session that can be resumed, by event id.
        self._streams: dict[bytes, Scope] = {}
        self.lost = LostStreams()
        # The calls of all scopes that are given up in time, the longest suspended ones first.
        self._waiting: dict[Suspended, Scope] = {}

    def join(self, fields: Mapping[bytes, bytes], target: bytes, now: float) -> Scope | None:
        """Join the scope of a POST; None where its ids mean nothing beyond the exchange."""
        session_id = fields.get(b"mcp-session-id")
        if session_id is None:
            scope = self._endpoints.get(target) if self._endpoints else None
        else:
            scope = self._sessions.get(session_id)
            version = fields.get(b"mcp-protocol-version")
            if scope is None or (version is not None and version >= FIRST_MODERN_FIELD):
                return self.join_session(fields, now)
            scope.heard_at = now
        if scope is not None:
            scope.users += 1
        return scope

    def join_session(self, fields: Mapping[bytes, bytes], now: float) -> Scope | None:
        """Join the session that a request names; 2026-07-28 has none."""
        session_id = fields.get(b"mcp-session-id")
        version = fields.get(b"mcp-protocol-version")
        if session_id is None or is_modern_field(version):
            return None
        scope = self._sessions.get(session_id)
        if scope is None:
            scope = self._find_session(session_id, version, now)
        scope.users += 1
        scope.heard_at = now
        return scope

    def join_stream(self, key: bytes, stream: Resumption, resumer: Resumer) -> Scope | None:
        """Join the stream, of a server without sessions, that had this event.

        Where none is known, the one that ends later takes the resumer into its scope.
        """
        scope = self._streams.get(key)
        if scope is None:
            self.lost.add(key, stream, resumer)
        else:
            scope.users += 1
        return scope

    def leave(self, scope: Scope, now: float) -> None:
        """Take the end of an exchange."""
        scope.users -= 1
        scope.heard_at = now
        self._forget_unused(scope)

    def open_session(self, session_id: bytes, client: Client, now: float) -> Sequence[Event]:
        """Begin the session that the answer to an ``initialize`` names."""
        scope = self._find_session(session_id, None, now)
        scope.client = client
        return self.confirm(scope, now)

    def enter_session(self, session_id: bytes, now: float) -> Scope:
        """Join the session that the head of a response names."""
        scope = self._find_session(session_id, None, now)
        scope.users += 1
        return scope

    def confirm(self, scope: Scope, now: float) -> Sequence[Event]:
        """Take the proof that a session exists."""
        if (
            scope.opened_at is not None
            or scope.closed_as is not None
            or scope.kind is not Kind.SESSION
        ):
            return ()
        scope.opened_at = scope.heard_at = now
        return (*self._make_room(scope, now), SessionOpened())

    def close_session(self, scope: Scope, reason: SessionEnd, now: float) -> Sequence[Event]:
        """End a session: what waits in it is given up."""
        if scope.closed_as is not None:
            return ()
        self._forget(scope)
        events: Sequence[Event] = self._close(scope, Outcome.ABANDONED, now)
        if scope.opened_at is None:
            return events
        end = scope.heard_at if reason is SessionEnd.IDLE else now
        return (*events, SessionClosed(reason, end - scope.opened_at))

    def announce(self, base: bytes, endpoint: bytes, now: float) -> Scope | None:
        """Join the HTTP+SSE endpoint that a stream announces; None if that is no address.

        `base` is the target of the stream's GET, against which the address is resolved (2024-11-05
        basic/transports; forms seen are relative, absolute, and a JSON object). A server that tells
        all its clients the same address has one id space for all of them.
        """
        target = _resolve(base, endpoint)
        if target is None:
            return None
        scope = self._endpoints.get(target)
        if scope is None:
            scope = Scope(Kind.ENDPOINT, target, Client(), self._waiting, now)
            self._endpoints[target] = scope
        scope.users += 1
        scope.streams += 1
        return scope

    def close_endpoint(self, scope: Scope, outcome: Outcome, now: float) -> Sequence[Event]:
        """Take the end of a stream of an HTTP+SSE endpoint: after the last, no answer can come."""
        scope.streams -= 1
        if scope.streams > 0:
            return ()
        self._forget(scope)
        return self._close(scope, outcome, now)

    def suspend(
        self, scope: Scope | None, calls: Sequence[Suspended], now: float
    ) -> Sequence[Event]:
        """Hold calls whose exchange is over; those whose id they use again are given up."""
        if scope is None:
            scope = Scope(Kind.STREAM, b"", Client(), self._waiting, now)
            scope.past = self.lost.find_past(calls[0])
        given_up = []
        for held in calls:
            earlier = scope.suspended.get(held.key)
            if earlier is not None:
                given_up.append(scope.give_up(earlier, Outcome.ABANDONED, now, self._slots))
            scope.suspend(held)
        if scope.kind is Kind.STREAM:
            self.register(scope, calls[0].event_ids)
        return given_up

    def end_resumption(self, scope: Scope, stream: Resumption, now: float) -> None:
        """Take the end of a stream that went on where others ended."""
        scope.end_resumption(stream, self._limits.suspended_seconds, now)

    def give_up(
        self, scope: Scope, calls: Sequence[Suspended], outcome: Outcome, now: float
    ) -> Sequence[Event]:
        """Close suspended calls."""
        return [scope.give_up(held, outcome, now, self._slots) for held in calls]

    def register(self, scope: Scope, event_ids: Sequence[bytes]) -> None:
        """Remember where a stream without a session may be resumed."""
        known = [*dict.fromkeys((*scope.event_ids, *event_ids))]
        self._unregister(scope, known[:-MAX_IDS])
        scope.event_ids = known[-MAX_IDS:]
        for event_id in event_ids:
            self._streams[event_id] = scope
            for stream, resumer in self.lost.claim(event_id):
                scope.users += 1
                resumer.enter(scope, stream)

    def make_room(self, now: float) -> Sequence[Event]:
        """Give up the call that has waited for its client the longest, for one that is alive."""
        for held, scope in islice(self._waiting.items(), _MAX_AT_ONCE):
            if not scope.is_resumed(held):
                return self._give_up(held, scope, Outcome.ABANDONED, now)
        return ()

    def sweep(self, now: float) -> Sequence[Event]:
        """End what is overdue, as much of it as does not delay the traffic."""
        events: list[Event] = []
        for held, scope in [*self._waiting.items()]:
            if held.deadline <= now and not scope.is_resumed(held):
                events += self._give_up(held, scope, scope.closed_as or Outcome.ABANDONED, now)
                if len(events) >= _MAX_AT_ONCE:
                    return events
        if not self._slots.in_use:  # there is no call that they might have resumed
            self.lost.forget_past()
        silent_since = now - self._limits.session_idle_seconds
        for scope in [*self._sessions.values()]:
            if scope.heard_at <= silent_since and not scope.users:
                events += self.close_session(scope, SessionEnd.IDLE, now)
                if len(events) >= _MAX_AT_ONCE:
                    break
        return events

    def close(self, now: float) -> Sequence[Event]:
        """End all waiting, because nobody will look any more."""
        events: list[Event] = []
        for held, scope in [*self._waiting.items()]:
            events += self._give_up(held, scope, Outcome.PROXY_SHUTDOWN, now)
        return events

    def _close(self, scope: Scope, outcome: Outcome, now: float) -> Sequence[Event]:
        """Close whatever no exchange holds; what is too much for now is left to the sweep."""
        scope.closed_as = outcome
        scope.resumptions.clear()
        calls = [*scope.suspended.values()]
        for held in calls[_MAX_AT_ONCE:]:
            held.deadline = now
            self._waiting[held] = scope
        return [scope.give_up(held, outcome, now, self._slots) for held in calls[:_MAX_AT_ONCE]]

    def _give_up(
        self, held: Suspended, scope: Scope, outcome: Outcome, now: float
    ) -> Sequence[Event]:
        closed = scope.give_up(held, outcome, now, self._slots)
        self._forget_unused(scope)
        return (closed,)

    def _find_session(self, session_id: bytes, version: bytes | None, now: float) -> Scope:
        """Return the scope of a session; a new one has to prove that its session exists."""
        key = compact(session_id)
        scope = self._sessions.get(key)
        if scope is None:
            client = self._clients.find(version)
            scope = self._sessions[key] = Scope(_SESSION, key, client, self._waiting, now)
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

    def _forget_unused(self, scope: Scope) -> None:
        """Forget a scope that nothing proves and nobody needs."""
        if scope.opened_at is None and not (scope.users or scope.suspended):
            self._forget(scope)

    def _forget(self, scope: Scope) -> None:
        """Do not find a scope any more."""
        if scope.kind is Kind.STREAM:
            self._unregister(scope, scope.event_ids)
            scope.event_ids = ()
            return
        registry = self._sessions if scope.kind is _SESSION else self._endpoints
        if registry.get(scope.key) is scope:
            del registry[scope.key]

    def _unregister(self, scope: Scope, event_ids: Sequence[bytes]) -> None:
        for event_id in event_ids:
            if self._streams.get(event_id) is scope:
                del self._streams[event_id]


def _idleness(scope: Scope) -> tuple[bool, float]:
    """Order scopes: first those that nobody uses, of these the longest silent first."""
    return scope.users > 0, scope.heard_at


def _resolve(base: bytes, endpoint: bytes) -> bytes | None:
    """Give the target of a request to an announced address."""
    address = endpoint.strip()
    try:
        if address.startswith(b"{"):
            address = _decode_endpoint(address).uri.encode()
        # Latin-1 keeps every byte.
        parts = urlsplit(urljoin(base.decode("latin-1"), address.decode("latin-1")))
    except (ValueError, RecursionError):
        return None
    path = parts.path or "/"
    return (f"{path}?{parts.query}" if parts.query else path).encode("latin-1")
