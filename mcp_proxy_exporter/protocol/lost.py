"""Streams that resume, without a session, one that is not known to have ended.

Knows which of them went on from which, open or over, by their event ids: the end of the stream on
which it all began may be seen after the ends of several that resumed it. Does not know calls.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from mcp_proxy_exporter.protocol.resumption import MAX_SHARED, Resumption, Suspension
from mcp_proxy_exporter.protocol.scope import Scope

# Those that are over, of all clients of a server: what they resumed is most often seen to end
# before they do.
MAX_LOST: Final = 64


class Resumer(Protocol):
    """A stream that resumes one that is not known to have ended."""

    def enter(self, scope: Scope, stream: Resumption) -> None:
        """Go on in the scope that it turns out to belong to."""


class LostStreams:
    """Such streams of one server: of each event, the newest open ones that go on from it."""

    __slots__ = ("_known", "_open", "_past")

    def __init__(self) -> None:
        # Open ones, by every event that they go on from.
        self._open: dict[bytes, dict[Resumption, Resumer]] = {}
        # By the ids of their events.
        self._known: dict[bytes, Resumption] = {}
        self._past: list[Resumption] = []  # the newest last

    def add(self, key: bytes, stream: Resumption, resumer: Resumer) -> None:
        """Take a stream that goes on from this event."""
        peers = self._open.get(key)
        earlier = next(reversed(peers)) if peers else self._known.get(key)
        if earlier is not None:
            stream.follow(earlier)
        for origin in stream.origins:
            peers = self._open.setdefault(origin, {})
            peers[stream] = resumer
            if len(peers) > MAX_SHARED:
                # One whose client has come back that often is dead, or nobody's.
                self._drop(next(iter(peers)))

    def note_ids(self, stream: Resumption, event_ids: Sequence[bytes]) -> None:
        """Take the last event ids of a stream."""
        self._forget(stream)
        stream.seen = event_ids
        for event_id in event_ids:
            self._known[event_id] = stream

    def end(self, stream: Resumption, now: float) -> None:
        """Take the end of a stream: others may yet go on from it."""
        stream.ended_at = now
        self.remove(stream)
        if stream.seen or stream.retry.number:
            self.note_ids(stream, stream.seen)
            self._past.append(stream)
            if len(self._past) > MAX_LOST:
                self._forget(self._past.pop(0))

    def remove(self, stream: Resumption) -> None:
        """Take the end of the search: what it resumes was found, or there is nothing to find."""
        self._forget(stream)
        self._drop(stream)

    def claim(self, event_id: bytes) -> Sequence[tuple[Resumption, Resumer]]:
        """Give, and search no more for, the open streams that go on from an event."""
        claimed = [*self._open.get(event_id, {}).items()]
        for stream, _ in claimed:
            self.remove(stream)
        return claimed

    def find_past(self, suspension: Suspension) -> list[Resumption]:
        """Return the streams that have resumed calls and are over, in the order of their ends."""
        return [stream for stream in self._past if stream.has_resumed(suspension)]

    def forget_past(self) -> None:
        """Forget those that are over."""
        for stream in self._past:
            self._forget(stream)
        self._past.clear()

    def _drop(self, stream: Resumption) -> None:
        """Do not find an open stream any more."""
        for origin in stream.origins:
            resumers = self._open.get(origin, {})
            if resumers.pop(stream, None) is not None and not resumers:
                del self._open[origin]

    def _forget(self, stream: Resumption) -> None:
        for event_id in stream.seen:
            if self._known.get(event_id) is stream:
                del self._known[event_id]
