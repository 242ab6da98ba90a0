"""A scope: the space in which the JSON-RPC ids of one client are unique across HTTP exchanges.

It is a session of Streamable HTTP, an endpoint of HTTP+SSE (2024-11-05), or, where a server has no
sessions, one event stream that may be resumed. Knows which calls are open in it, on which exchange
or on none; does not know HTTP, nor when a scope begins and ends (`scopes`).
"""

from collections.abc import Sequence
from enum import Enum, auto
from itertools import islice
from typing import Final, Protocol

import msgspec

from mcp_proxy_exporter.protocol.calls import CallSlots, OpenCall
from mcp_proxy_exporter.protocol.events import CallClosed, Client
from mcp_proxy_exporter.protocol.ids import IdKey, equal_number
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.remembered import Ledger, Remembered
from mcp_proxy_exporter.protocol.resumption import NEVER, Links, Resumption, Suspension
from mcp_proxy_exporter.protocol.waiting import Waiting

# Tool calls of one session that may come again: who runs in a circle makes it a small one.
MAX_RECENT: Final = 16


class Holder(Protocol):
    """An exchange that holds open calls."""

    @property
    def first_message_at(self) -> float | None:
        """When the first message of its response came."""

    def find(self, key: IdKey) -> OpenCall | None:
        """Return the open call that an id names."""

    def remove(self, key: IdKey, opened: OpenCall) -> None:
        """Hold an open call no more."""

    def remember(self, key: IdKey, method: str) -> None:
        """Remember that a call was answered: a second response is late."""


class Suspended(msgspec.Struct, eq=False, gc=False, frozen=True):
    """A call whose exchange is over and whose answer may come on another one."""

    key: IdKey
    opened: OpenCall
    first_message_at: float | None
    suspension: Suspension
    """The calls that its exchange left."""


class Found(msgspec.Struct, eq=False, gc=False, frozen=True):
    """An open call of a scope, and where it is held."""

    key: IdKey
    opened: OpenCall
    holder: Holder | None
    """The exchange that holds it; None where it is suspended."""
    first_message_at: float | None


class Kind(Enum):
    """What makes the ids of a scope unique."""

    SESSION = auto()
    ENDPOINT = auto()
    STREAM = auto()


class Scope:
    """The open calls and questions of one id space."""

    __slots__ = (
        "_waiting",
        "client",
        "closed_as",
        "event_ids",
        "heard_at",
        "key",
        "kind",
        "links",
        "live",
        "next_closed",
        "opened_at",
        "recent",
        "remembered",
        "streams",
        "suspended",
        "users",
    )

    def __init__(
        self,
        kind: Kind,
        key: bytes,
        client: Client,
        waiting: "Waiting[Scope]",
        ledger: Ledger,
        now: float,
    ) -> None:
        """Begin empty. `waiting` and `ledger` are those of all scopes of a server."""
        self.kind = kind
        self.key = key
        """What its registry knows it by."""
        self.client = client
        self.opened_at: float | None = None
        """Of a session; None until it is proved to exist, and once it is over."""
        self.heard_at = now
        self.users = 0
        """Exchanges that are going on in it."""
        self.streams = 0
        """Of an endpoint: the streams that bring its answers."""
        self.closed_as: Outcome | None = None
        """How calls end that find their scope closed; None while it is open."""
        self.next_closed: Scope | None = None
        """The one that was closed before, of those some of whose calls are still held."""
        self.event_ids: Sequence[bytes] = ()
        """By which its registry finds it, where its kind has no key."""
        self.live: dict[IdKey, Holder] = {}
        """The exchange that holds each open call."""
        self.suspended: dict[IdKey, Suspended] = {}
        self._waiting = waiting
        self.links: Links | None = None
        """What resumes what; made once there is anything."""
        self.remembered = Remembered(ledger)
        """What of it is over."""
        self.recent: dict[int, complex] = {}
        """Tool calls, by the hash of tool and arguments: the hash of the result, and its time.

        The latest is last. A pair of numbers takes a third of the memory of two in a tuple.
        """

    def find(self, key: IdKey) -> Found | None:
        """Return the open call that an id names, wherever it is held; None if there is none."""
        other = equal_number(key)
        for candidate in (key,) if other is None else (key, other):
            held = self.suspended.get(candidate)
            if held is not None:
                return Found(candidate, held.opened, None, held.first_message_at)
            holder = self.live.get(candidate)
            opened = None if holder is None else holder.find(candidate)
            if holder is not None and opened is not None:
                return Found(candidate, opened, holder, holder.first_message_at)
        return None

    def remove(self, found: Found) -> None:
        """Hold a call no more, because it is over."""
        if found.holder is None:
            self.release(self.suspended[found.key])
        else:
            found.holder.remove(found.key, found.opened)

    def suspend(
        self,
        calls: Sequence[Suspended],
        past: Sequence[Resumption],
        now: float,
        slots: CallSlots,
    ) -> list[CallClosed]:
        """Hold the calls of an exchange that is over; those whose id they use again are given up.

        `past` are streams that have resumed them, and are over as well.
        """
        given_up = []
        suspension = calls[0].suspension
        for held in calls:
            earlier = self.suspended.get(held.key)
            if earlier is not None:
                given_up.append(self.give_up(earlier, Outcome.ABANDONED, now, slots))
            self.suspended[held.key] = held
            suspension.keys[held.key] = None
        if suspension.event_ids:
            self._link().suspend(suspension, past)
        if suspension.deadline != NEVER:
            self._waiting.add(suspension, self)
        return given_up

    def release(self, held: Suspended) -> None:
        """Hold a call no more."""
        del self.suspended[held.key]
        suspension = held.suspension
        del suspension.keys[held.key]
        if not suspension.keys:
            self._waiting.discard(suspension)
            if self.links is not None:
                self.links.release(suspension)
                self._tidy(self.links)

    def resume(self, stream: Resumption) -> None:
        """Begin a stream that goes on where another one ended."""
        self._link().resume(stream)

    def end_resumption(self, stream: Resumption, patience: float, now: float) -> None:
        """Take the end of a stream: what it has not answered waits again, `patience` seconds."""
        links = self.links
        if links is not None:
            links.end(stream, patience, now, keep=self.kind is not Kind.STREAM)
            self._tidy(links)

    def tidy(self) -> None:
        """Forget the streams that are over, once all calls of their time are, too."""
        if self.links is not None and not self.live:
            self.links.forget_past()
            self._tidy(self.links)

    def find_resumed(self, stream: Resumption) -> list[Suspended]:
        """Return the suspended calls to which a stream may bring the answers."""
        found = () if self.links is None else self.links.find_resumed(stream)
        return [self.suspended[key] for suspension in found for key in suspension.keys]

    def find_asked(self, stream: Resumption) -> OpenCall | None:
        """Return the suspended call to which a stream may bring the answer, if it is one alone."""
        suspension = None if self.links is None else self.links.find_only(stream)
        if suspension is None or len(suspension.keys) != 1:
            return None
        [key] = suspension.keys
        return self.suspended[key].opened

    def awaits(self, stream: Resumption) -> bool:
        """Tell whether a stream may bring an answer."""
        return self.links is not None and self.links.resumes(stream)

    def is_resumed(self, suspension: Suspension) -> bool:
        """Tell whether a stream is open that may bring the answers to calls."""
        return self.links is not None and self.links.is_resumed(suspension)

    def close(self, outcome: Outcome) -> None:
        """Begin no call any more: those that are held are given up one by one (`drain`)."""
        self.closed_as = outcome
        self.opened_at = None  # there is nothing left that proves it
        self.links = None

    def drain(self, number: int, now: float, slots: CallSlots) -> list[CallClosed]:
        """Give up so many of the calls that no exchange holds, once it is over."""
        outcome = self.closed_as or Outcome.ABANDONED
        calls = [*islice(self.suspended.values(), number)]
        return [self.give_up(held, outcome, now, slots) for held in calls]

    def give_up(
        self, held: Suspended, outcome: Outcome, now: float, slots: CallSlots
    ) -> CallClosed:
        """Close a call that no exchange holds."""
        self.release(held)
        self.remembered.add_ended(held.key, held.opened.call.method, now)
        slots.release(held.opened)
        return held.opened.close(outcome, now, held.first_message_at)

    def repeats(self, call: int, result: int, since: float, now: float) -> bool:
        """Take a tool call's end: tell whether the same ended in the same way since then."""
        recent = self.recent
        # Out and in again, so that the one that was not called for longest goes first.
        earlier = recent.pop(call, None)
        recent[call] = latest = complex(result, now)
        if earlier is None:
            if len(recent) > MAX_RECENT:
                del recent[next(iter(recent))]
            return False
        return earlier.real == latest.real and earlier.imag >= since

    def find_only_call(self) -> OpenCall | None:
        """Return the open call if there is exactly one: a question can only belong to it."""
        if len(self.suspended) + len(self.live) != 1:
            return None
        for held in self.suspended.values():
            return held.opened
        [(key, holder)] = self.live.items()
        opened = holder.find(key)
        return None if opened is None or opened.next is not None else opened

    def _link(self) -> Links:
        if self.links is None:
            self.links = Links(self._waiting)
        return self.links

    def _tidy(self, links: Links) -> None:
        if links.is_empty():
            self.links = None
