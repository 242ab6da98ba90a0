"""All scopes of one server: which request belongs to which, when they begin and when they end.

Knows sessions by their ids, HTTP+SSE endpoints by the target that clients are told to POST to, and
resumable event streams of servers without sessions by their event ids; does not know messages. All
of it is bounded, and one sweep ends what is overdue.
"""

from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import Final

from mcp_proxy_exporter.protocol.address import resolve_endpoint
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
from mcp_proxy_exporter.protocol.lost import MAX_LOST, LostStreams, Resumer
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.remembered import Ledger
from mcp_proxy_exporter.protocol.resumption import Resumption, Suspension, compact
from mcp_proxy_exporter.protocol.routing import FIRST_MODERN_FIELD, is_modern_field
from mcp_proxy_exporter.protocol.scope import Kind, Scope, Suspended
from mcp_proxy_exporter.protocol.sse import MAX_IDS
from mcp_proxy_exporter.protocol.waiting import Waiting

# When there is no room for a session, this part of all is forgotten at once, so that looking for
# the longest idle ones is rare.
_EVICTED_PART: Final = 16

# Calls and sessions that are closed at once, in about 2 ms: the rest waits for the next sweep.
_MAX_AT_ONCE: Final = 500
# Streams that are taken into the scope of the one that they resume at once, in about 2 ms. The rest
# are not looked for any more: a client has one or two.
MAX_CLAIMED: Final = 64

_SESSION: Final = Kind.SESSION


class Scopes:
    """The scopes of one server.

    Who joins a scope leaves it again: what nobody uses and nothing proves is forgotten.
    """

    __slots__ = (
        "_clients",
        "_closed",
        "_endpoints",
        "_ledger",
        "_limits",
        "_lingering",
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
        # The calls of all scopes that are given up in time.
        self._waiting: Waiting[Scope] = Waiting()
        # A scope that is over, and some of whose calls are not; the next one is known to it.
        self._closed: Scope | None = None
        self._ledger = Ledger()
        # Sessions without a call on its way, and with streams that are over and may have resumed
        # one: that of an `initialize` whose answer has not named the session yet.
        self._lingering: dict[Scope, None] = {}

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
        opened_at = scope.opened_at
        events: Sequence[Event] = self._close(scope, Outcome.ABANDONED, now)
        if opened_at is None:
            return events
        end = scope.heard_at if reason is SessionEnd.IDLE else now
        return (*events, SessionClosed(reason, end - opened_at))

    def announce(self, base: bytes, endpoint: bytes, now: float) -> Scope | None:
        """Join the HTTP+SSE endpoint that a stream announces; None if that is no address.

        `base` is the target of the stream's GET, against which the address is resolved (2024-11-05
        basic/transports; forms seen are relative, absolute, and a JSON object). A server that tells
        all its clients the same address has one id space for all of them.
        """
        target = resolve_endpoint(base, endpoint)
        if target is None:
            return None
        scope = self._endpoints.get(target)
        if scope is None:
            scope = self._make(Kind.ENDPOINT, target, Client(), now)
            self._endpoints[target] = scope
        scope.users += 1
        scope.streams += 1
        return scope

    def close_endpoint(self, scope: Scope, outcome: Outcome, now: float) -> Sequence[Event]:
        """Take the end of a stream of an HTTP+SSE endpoint: after the last, no answer can come."""
        scope.streams -= 1
        if scope.streams > 0:
            return ()
        return self._close(scope, outcome, now)

    def suspend(
        self, scope: Scope | None, calls: Sequence[Suspended], now: float
    ) -> Sequence[Event]:
        """Hold the calls of an exchange that is over; who used their ids before is given up."""
        if scope is not None:
            return scope.suspend(calls, (), now, self._slots)
        suspension = calls[0].suspension
        scope = self._make(Kind.STREAM, b"", Client(), now)
        given_up = scope.suspend(calls, self.lost.find_past(suspension), now, self._slots)
        self.register(scope, suspension.event_ids)
        return given_up

    def end_resumption(self, scope: Scope, stream: Resumption, now: float) -> None:
        """Take the end of a stream that went on where others ended."""
        scope.end_resumption(stream, self._limits.suspended_seconds, now)
        if scope.kind is _SESSION and not scope.live and scope.closed_as is None:
            lingering = self._lingering
            lingering.pop(scope, None)
            lingering[scope] = None
            if len(lingering) > MAX_LOST:
                self._settle(next(iter(lingering)))

    def give_up(
        self, scope: Scope, calls: Sequence[Suspended], outcome: Outcome, now: float
    ) -> Sequence[Event]:
        """Close suspended calls."""
        return [scope.give_up(held, outcome, now, self._slots) for held in calls]

    def register(self, scope: Scope, event_ids: Sequence[bytes]) -> None:
        """Remember where a stream without a session may be resumed."""
        self._name(scope, event_ids)
        claimed = 0
        waiting = [*reversed(event_ids)]
        while waiting:
            event_id = waiting.pop()
            self._streams[event_id] = scope
            for stream, resumer in self.lost.claim(event_id):
                claimed += 1
                if claimed > MAX_CLAIMED:
                    break
                scope.users += 1
                resumer.enter(scope, stream)
                waiting += reversed(stream.seen)
                self._name(scope, stream.seen)

    def make_room(self, now: float) -> Sequence[Event]:
        """Give up the call that has waited for its client the longest, for one that is alive."""
        while self._closed is not None:
            events = self._drain(self._closed, 1, now)
            if events:
                return events
        found = self._waiting.find_oldest()
        if found is None:
            return ()
        suspension, scope = found
        return self._give_up(suspension, scope, Outcome.ABANDONED, now)

    def sweep(self, now: float) -> Sequence[Event]:
        """End what is overdue, as much of it as does not delay the traffic."""
        events = self._give_up_due(now)
        if len(events) >= _MAX_AT_ONCE:
            return events
        if not self._slots.in_use:  # there is no call that they might have resumed
            self.lost.forget_past()
            for scope in [*self._lingering]:
                self._settle(scope)
        silent_since = now - self._limits.session_idle_seconds
        for scope in [*self._sessions.values()]:
            if scope.links is not None and scope not in self._lingering:
                scope.tidy()
            if scope.heard_at <= silent_since and not scope.users:
                events += self.close_session(scope, SessionEnd.IDLE, now)
                if len(events) >= _MAX_AT_ONCE:
                    break
        return events

    def close(self, now: float) -> Sequence[Event]:
        """End all waiting, because nobody will look any more."""
        events: list[Event] = []
        while self._closed is not None:
            events += self._drain(self._closed, len(self._closed.suspended), now)
        for suspension, scope in [*self._waiting.homes.items()]:
            for _ in [*suspension.keys]:
                events += self._give_up(suspension, scope, Outcome.PROXY_SHUTDOWN, now)
        return events

    def _give_up_due(self, now: float) -> list[Event]:
        events: list[Event] = []
        while self._closed is not None and len(events) < _MAX_AT_ONCE:
            events += self._drain(self._closed, _MAX_AT_ONCE - len(events), now)
        while len(events) < _MAX_AT_ONCE:
            found = self._waiting.find_due(now)
            if found is None:
                break
            events += self._give_up(*found, Outcome.ABANDONED, now)
        return events

    def _close(self, scope: Scope, outcome: Outcome, now: float) -> Sequence[Event]:
        """Close whatever no exchange holds; what is too much for now is left to the sweep."""
        self._forget(scope)
        scope.close(outcome)
        scope.next_closed, self._closed = self._closed, scope
        return self._drain(scope, _MAX_AT_ONCE, now)

    def _drain(self, scope: Scope, number: int, now: float) -> Sequence[Event]:
        """Close so many of the calls of the scope that was closed last."""
        events = scope.drain(number, now, self._slots)
        if not scope.suspended:
            self._closed, scope.next_closed = scope.next_closed, None
            self._forget_unused(scope)
        return events

    def _give_up(
        self, suspension: Suspension, scope: Scope, outcome: Outcome, now: float
    ) -> Sequence[Event]:
        """Close one call of a suspension."""
        held = scope.suspended[next(iter(suspension.keys))]
        closed = scope.give_up(held, outcome, now, self._slots)
        self._forget_unused(scope)
        return (closed,)

    def _make(self, kind: Kind, key: bytes, client: Client, now: float) -> Scope:
        return Scope(kind, key, client, self._waiting, self._ledger, now)

    def _find_session(self, session_id: bytes, version: bytes | None, now: float) -> Scope:
        """Return the scope of a session; a new one has to prove that its session exists."""
        key = compact(session_id)
        scope = self._sessions.get(key)
        if scope is None:
            client = self._clients.find(version)
            scope = self._sessions[key] = self._make(_SESSION, key, client, now)
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
            scope.remembered.forget_all()

    def _forget(self, scope: Scope) -> None:
        """Do not find a scope any more."""
        if scope.kind is Kind.STREAM:
            self._unregister(scope, scope.event_ids)
            scope.event_ids = ()
            return
        self._lingering.pop(scope, None)
        registry = self._sessions if scope.kind is _SESSION else self._endpoints
        if registry.get(scope.key) is scope:
            del registry[scope.key]

    def _settle(self, scope: Scope) -> None:
        """Wait no longer for a call that streams of a session may have resumed."""
        del self._lingering[scope]
        scope.tidy()

    def _name(self, scope: Scope, event_ids: Sequence[bytes]) -> None:
        """Keep the last events by which a stream is found."""
        known = [*dict.fromkeys((*scope.event_ids, *event_ids))]
        self._unregister(scope, known[:-MAX_IDS])
        scope.event_ids = known[-MAX_IDS:]

    def _unregister(self, scope: Scope, event_ids: Sequence[bytes]) -> None:
        for event_id in event_ids:
            if self._streams.get(event_id) is scope:
                del self._streams[event_id]


def _idleness(scope: Scope) -> tuple[bool, float]:
    """Order scopes: first those that nobody uses, of these the longest silent first."""
    return scope.users > 0, scope.heard_at
