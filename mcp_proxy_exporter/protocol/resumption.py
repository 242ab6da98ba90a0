"""Which event streams go on where others ended: the links between a call and who comes back for it.

Knows event ids, and finds by them, at a cost that does not grow with their number, the streams that
resume and what they resume. Does not know calls but by their ids, nor who is told what became of
them.
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import count, islice
from typing import Final, Protocol

import msgspec

from mcp_proxy_exporter.protocol.ids import IdKey
from mcp_proxy_exporter.protocol.sse import MAX_IDS, NO_RETRY, Retry

NEVER: Final = float("inf")

# Streams that ended, and which one that resumes them may name.
MAX_PAST: Final = 8
# Open streams of a scope, the newest ones, from which a new one may go on: a client has one or two.
MAX_FOLLOWED: Final = 32
# Of one event id: exchanges that had it and left calls, the newest ones. Ids that are worth their
# name are one exchange's; some servers count each stream from 1.
MAX_SHARED: Final = 16

# Session ids and event ids are UUIDs, counters or two of them; longer ones are held as a digest.
_MAX_KEY: Final = 128


class Suspension(msgspec.Struct, eq=False, gc=False):
    """The calls that one exchange left open, whose answers may come on others."""

    opened_at: float
    """When the calls were opened."""
    deadline: float
    """When they are given up, unless a stream is open that may bring their answers."""
    event_ids: Sequence[bytes] = ()
    """Of the exchange's stream: what a client may resume from."""
    retry: Retry = NO_RETRY
    """How long the server last asked the client to wait before it resumes."""
    keys: dict[IdKey, None] = {}
    """The ids of the calls that are still open."""
    number: int = msgspec.field(default_factory=count().__next__)
    """Greater than those of all that were left before."""
    due: float = NEVER
    """When `Waiting` looks at it."""
    aged: bool = False
    """`Waiting` knows when it was left."""

    def follow(self, stream: "Resumption") -> None:
        """Take the events of a stream that resumed it: it may be resumed from them, too."""
        self.event_ids = [*self.event_ids, *stream.seen][-MAX_IDS:]


class Resumption(msgspec.Struct, eq=False, gc=False):
    """An open stream that goes on where another one ended."""

    origins: dict[bytes, None]
    """The events that it goes on from: the one its client named, then those of streams before, the
    first of all last."""
    seen: Sequence[bytes] = ()
    """The last ids of its own events."""
    retry: Retry = NO_RETRY
    """How long its client was asked to wait before it resumes."""
    ended_at: float = NEVER

    def has_resumed(self, suspension: Suspension) -> bool:
        """Tell whether it, which is over, might have brought the answers to calls."""
        if self.ended_at < suspension.opened_at:  # its ids were another stream's as well
            return False
        return not self.origins.keys().isdisjoint(suspension.event_ids)

    def follow(self, other: "Resumption") -> None:
        """Take over what another stream goes on from, if this one goes on from that."""
        key, *_ = self.origins
        older = [*other.origins]
        if key not in other.seen:
            if key not in other.origins:
                return
            older = older[older.index(key) :]
        known = [*dict.fromkeys((*self.origins, *older))]
        # Of a call that is polled for long, the last events and the first one can be named.
        self.origins = dict.fromkeys(known[: MAX_IDS - 1] + known[MAX_IDS - 1 :][-1:])


class Watcher(Protocol):
    """Whoever gives up what nobody resumes."""

    def expect(self, suspension: Suspension) -> None:
        """Look again at calls: a stream that resumed them does so no more."""


class Links:
    """The streams of one scope that resume, and what they resume."""

    __slots__ = ("_open", "_origins", "_past", "_places", "_watcher")

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._open: dict[Resumption, None] = {}
        # How many open streams go on from each event.
        self._origins: dict[bytes, int] = {}
        # Such streams that have ended, the newest last.
        self._past: list[Resumption] = []
        # What can be resumed from each event, the newest last.
        self._places: dict[bytes, tuple[Suspension, ...]] = {}

    def is_empty(self) -> bool:
        """Tell whether there is nothing that could be linked."""
        return not (self._open or self._past or self._places)

    def suspend(self, suspension: Suspension, past: Sequence[Resumption] = ()) -> None:
        """Take calls whose exchange is over; `past` are streams that are over as well."""
        for stream in (*self._past, *past):  # the client came and went before that was seen
            if stream.has_resumed(suspension):
                suspension.deadline -= suspension.retry.seconds
                suspension.retry = max(suspension.retry, stream.retry)
                suspension.deadline += suspension.retry.seconds
                suspension.follow(stream)
        for event_id in dict.fromkeys(suspension.event_ids):
            self._place(event_id, suspension)

    def release(self, suspension: Suspension) -> None:
        """Take the end of all calls of a suspension."""
        for event_id in dict.fromkeys(suspension.event_ids):
            self._displace(event_id, suspension)

    def resume(self, stream: Resumption) -> None:
        """Begin a stream that goes on where another one ended."""
        # The client may come back before the end of the stream that it lost is seen here.
        newest = [*islice(reversed(self._open), MAX_FOLLOWED)]
        for other in (*reversed(newest), *self._past):
            stream.follow(other)
        self._open[stream] = None
        for origin in stream.origins:
            self._origins[origin] = self._origins.get(origin, 0) + 1

    def end(self, stream: Resumption, patience: float, now: float, *, keep: bool) -> None:
        """Take the end of a stream: what it has not answered waits again, `patience` seconds.

        `keep` tells that it may have resumed calls whose exchanges seem to go on, too.
        """
        stream.ended_at = now
        del self._open[stream]
        for origin in stream.origins:
            self._origins[origin] -= 1
            if not self._origins[origin]:
                del self._origins[origin]
        if keep:
            self._past.append(stream)
            del self._past[:-MAX_PAST]
        resumed = self.find_resumed(stream)
        for suspension in resumed:
            suspension.retry = max(suspension.retry, stream.retry)
            suspension.deadline = now + patience + suspension.retry.seconds
        if stream.seen:
            for suspension in resumed[-MAX_SHARED:]:
                self._go_on(suspension, stream)
        for suspension in resumed:
            self._watcher.expect(suspension)

    def forget_past(self) -> None:
        """Forget the streams that are over: no exchange goes on that they might have resumed."""
        self._past.clear()

    def find_resumed(self, stream: Resumption) -> list[Suspension]:
        """Return what a stream resumes, in the order in which it was left."""
        places = self._places
        found = {each: None for key in stream.origins if key in places for each in places[key]}
        return sorted(found, key=_age) if len(found) > 1 else [*found]

    def find_only(self, stream: Resumption) -> Suspension | None:
        """Return what a stream resumes, if that is the calls of one exchange alone."""
        found: Suspension | None = None
        for origin in stream.origins:
            for suspension in self._places.get(origin, ()):
                if found is not None and found is not suspension:
                    return None
                found = suspension
        return found

    def resumes(self, stream: Resumption) -> bool:
        """Tell whether a stream resumes anything."""
        return not self._places.keys().isdisjoint(stream.origins)

    def is_resumed(self, suspension: Suspension) -> bool:
        """Tell whether a stream is open that may bring answers to calls."""
        return not self._origins.keys().isdisjoint(suspension.event_ids)

    def _go_on(self, suspension: Suspension, stream: Resumption) -> None:
        before = dict.fromkeys(suspension.event_ids)
        suspension.follow(stream)
        after = dict.fromkeys(suspension.event_ids)
        for event_id in before.keys() - after.keys():
            self._displace(event_id, suspension)
        for event_id in after.keys() - before.keys():
            self._place(event_id, suspension)

    def _place(self, event_id: bytes, suspension: Suspension) -> None:
        """Let calls be resumed from an event."""
        others = self._places.get(event_id, ())
        if len(others) >= MAX_SHARED:
            oldest, others = others[0], others[1:]
            oldest.event_ids = [each for each in oldest.event_ids if each != event_id]
            self._watcher.expect(oldest)
        self._places[event_id] = (*others, suspension)

    def _displace(self, event_id: bytes, suspension: Suspension) -> None:
        others = tuple(each for each in self._places.get(event_id, ()) if each is not suspension)
        if others:
            self._places[event_id] = others
        else:
            self._places.pop(event_id, None)


def compact(key: bytes) -> bytes:
    """Return a session's or an event's id as it is remembered."""
    return key if len(key) <= _MAX_KEY else sha256(key).digest()


def _age(suspension: Suspension) -> int:
    return suspension.number
