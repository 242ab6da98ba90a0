"""What the events of an inspector say is open: each end must have its beginning, and only one.

Knows which events belong together; does not know what should happen.
"""

from collections import Counter
from collections.abc import Iterable

from mcp_proxy_exporter.protocol import (
    Call,
    CallClosed,
    CallOpened,
    Event,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamKind,
    StreamOpened,
    TaskClosed,
    TaskOpened,
)


class Books:
    """What is open, by the events."""

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}
        self.tasks: dict[int, Call] = {}
        self.sessions = 0
        self.streams: Counter[StreamKind] = Counter()
        self._kept: list[Event] = []  # so that no identity is given twice

    def enter(self, events: Iterable[Event]) -> None:
        """Book events; each end must have its beginning."""
        for event in events:
            self._kept.append(event)
            match event:
                case CallOpened(call):
                    assert id(call) not in self.calls
                    self.calls[id(call)] = call
                case CallClosed(call):
                    assert self.calls.pop(id(call)) is call
                    first = event.at if event.first_message_at is None else event.first_message_at
                    assert call.opened_at <= first <= event.at
                    assert 0 <= event.waited <= event.at - call.opened_at
                case TaskOpened(call):
                    assert id(call) not in self.calls
                    assert id(call) not in self.tasks
                    self.tasks[id(call)] = call
                case TaskClosed(call):
                    assert self.tasks.pop(id(call)) is call
                case _:
                    self._enter_other(event)
            assert getattr(event, "duration", 0.0) >= 0

    def _enter_other(self, event: Event) -> None:
        match event:
            case SessionOpened():
                self.sessions += 1
            case SessionClosed():
                self.sessions -= 1
                assert self.sessions >= 0
            case StreamOpened(kind, instead_of):
                self.streams[kind] += 1
                if instead_of is not None:
                    self._end_stream(instead_of)
            case StreamClosed(kind):
                self._end_stream(kind)

    def _end_stream(self, kind: StreamKind) -> None:
        self.streams[kind] -= 1
        assert self.streams[kind] >= 0
