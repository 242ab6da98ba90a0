"""What is counted per session and per long-lived event stream of one server.

Knows how many there are and how long they last; does not know their ids, who holds them
(`clients`) or what passes in them (`calls`, `messages`).
"""

from mcp_proxy_exporter.observe.series import Histogram, Histograms, Store, Value, Values
from mcp_proxy_exporter.protocol.events import (
    SessionClosed,
    SessionEnd,
    SessionOpened,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
)


class SessionMetrics:
    """Counts the sessions of one server."""

    def __init__(self, server: str, store: Store) -> None:
        self._active = store.of(Values, "mcp_sessions_active").child(server)
        self._opened = store.of(Values, "mcp_sessions_opened_total").child(server)
        closed = store.of(Values, "mcp_sessions_closed_total")
        self._closed = {reason: closed.child(server, reason.value) for reason in SessionEnd}
        self._durations = store.of(Histograms, "mcp_session_duration_seconds").child(server)

    def opened(self, _event: SessionOpened) -> None:
        """Count a session that begins."""
        self._opened.value += 1
        self._active.value += 1

    def closed(self, event: SessionClosed) -> None:
        """Count a session that ended."""
        self._active.value -= 1
        self._closed[event.reason].value += 1
        self._durations.observe(event.duration)


class StreamSeries:
    """The series of one kind of stream."""

    __slots__ = ("duration", "events", "open")

    def __init__(self, opened: Value, duration: Histogram, events: Value) -> None:
        self.open = opened
        self.duration = duration
        self.events = events


class StreamMetrics:
    """Counts the long-lived event streams of one server."""

    def __init__(self, server: str, store: Store) -> None:
        opened = store.of(Values, "mcp_streams_open")
        durations = store.of(Histograms, "mcp_stream_duration_seconds")
        events = store.of(Values, "mcp_stream_events_total")
        self._kinds = {
            kind: StreamSeries(
                opened.child(server, kind.value),
                durations.child(server, kind.value),
                events.child(server, kind.value),
            )
            for kind in StreamKind
        }

    def opened(self, event: StreamOpened) -> None:
        """Count a stream that begins, or one that is of another kind than it seemed."""
        self._kinds[event.kind].open.value += 1
        if event.instead_of is not None:
            self._kinds[event.instead_of].open.value -= 1

    def passed(self, event: StreamEvents) -> None:
        """Count the events of a stream."""
        self._kinds[event.kind].events.value += event.count

    def closed(self, event: StreamClosed) -> None:
        """Count a stream that ended."""
        series = self._kinds[event.kind]
        series.open.value -= 1
        series.duration.observe(event.duration)
