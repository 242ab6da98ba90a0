"""Recorded conversations: the exchanges of one directory of ``tests/captures`` in order of time.

Knows when each exchange began (``schedule.csv`` says it of those that overlap) and how another
client would have had the same conversation; does not know what either means.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from mcp_proxy_exporter.protocol import Abort, Event, Inspector
from mcp_proxy_exporter.protocol.inspector import AnyInspector
from tests.support.capture_file import CAPTURES, Capture, Head, load, names

GAP = 0.01
"""Seconds between an exchange and the next."""
LINGER = 1.5
"""Seconds after its last bytes until the recorder closed a response that did not end."""

_SESSION_ID = b"mcp-session-id"
_LAST_EVENT_ID = b"last-event-id"
_EVENT_ID = re.compile(rb"(?m)^(id: ?[^\r\n]+)")
_NAMES_IN_BODIES = (
    re.compile(rb'"taskId":"([^"]+)"'),
    re.compile(rb"session_?[iI]d=([0-9a-f-]+)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happens to one exchange."""

    at: float
    """Seconds since the conversation began."""
    file: str
    act: Callable[["Player", float], Iterable[Event]]


@dataclass(slots=True)
class Player:
    """The exchanges of one conversation that an inspector has seen so far."""

    inspector: Inspector
    taps: dict[str, AnyInspector | None] = field(default_factory=dict)
    events: list[tuple[str, Event]] = field(default_factory=list)
    """Each with the file whose step gave it."""

    def play(self, step: Step, now: float) -> None:
        """Take one step."""
        self.events += [(step.file, event) for event in step.act(self, now)]

    def sweep(self, now: float) -> None:
        """End what is overdue."""
        self.events += [("", event) for event in self.inspector.sweep(now)]


def conversations() -> list[str]:
    """List the directories."""
    return sorted({name.partition("/")[0] for name in names()})


def files_of(conversation: str) -> list[str]:
    """List the exchanges of a directory."""
    return [name for name in names() if name.startswith(conversation + "/")]


def steps_of(conversation: str, *, another: str = "") -> list[Step]:
    """Give a conversation in order of time.

    `another` makes it that of another client, who was given other ids of everything that servers
    number: sessions, events, tasks. The JSON-RPC ids, which clients choose, stay.
    """
    captures = {file: load(file) for file in files_of(conversation)}
    if another:
        captures = _renamed(captures, another.encode())
    begins = _begins(captures)
    steps = [
        step for file, capture in captures.items() for step in _steps(file, capture, begins[file])
    ]
    return sorted(steps, key=lambda step: step.at)  # stable: those of a file stay in their order


def length_of(capture: Capture) -> float:
    """Give the seconds from an exchange's request to its end."""
    last = capture.arrivals[-1][0] if capture.arrivals else capture.head_at
    return last if capture.end == "response complete" else last + LINGER


@cache
def _schedule() -> Mapping[str, tuple[str, float]]:
    with (CAPTURES / "schedule.csv").open(newline="") as rows:
        return {row["file"]: (row["after"], float(row["seconds"])) for row in csv.DictReader(rows)}


def _begins(captures: Mapping[str, Capture]) -> Mapping[str, float]:
    """Give the seconds at which exchanges begin: one after the other but for the scheduled ones."""
    begins = {}
    free = 0.0
    for file, capture in captures.items():
        if file not in _schedule():
            begins[file] = free
            free += length_of(capture) + GAP
    for file in captures:
        if file in _schedule():
            after, seconds = _schedule()[file]
            begins[file] = begins[file.partition("/")[0] + "/" + after] + seconds
    return begins


def _steps(file: str, capture: Capture, begin: float) -> Iterator[Step]:
    request, response = capture.request, capture.response

    def ask(player: Player, now: float) -> Iterable[Event]:
        tap = player.inspector.open(request.start[0], request.start[1], request.fields)
        player.taps[file] = tap
        if tap is None:
            return ()
        return [*tap.request_data(capture.request_body, now), *tap.request_end(now)]

    def step(seconds: float, act: Callable[[AnyInspector, float], Sequence[Event]]) -> Step:
        def act_if_inspected(player: Player, now: float) -> Sequence[Event]:
            tap = player.taps[file]
            return () if tap is None else act(tap, now)

        return Step(at=begin + seconds, file=file, act=act_if_inspected)

    yield Step(at=begin, file=file, act=ask)
    if response is not None:
        status = int(response.start[1])
        fields = response.fields
        yield step(capture.head_at, lambda tap, now: tap.response_head(status, fields, now))
        for at, data in capture.arrivals:
            yield step(at, lambda tap, now, data=data: tap.response_data(data, now))  # type: ignore[misc]
    if capture.end == "response complete":
        yield step(length_of(capture), lambda tap, now: tap.response_end(now))
    else:  # the recorder was the client, and closed
        yield step(length_of(capture), lambda tap, now: tap.aborted(Abort.CLIENT_GONE, now))


def _renamed(captures: Mapping[str, Capture], mark: bytes) -> dict[str, Capture]:
    found = {
        capture.response.fields[_SESSION_ID]
        for capture in captures.values()
        if capture.response is not None and _SESSION_ID in capture.response.fields
    }
    for capture in captures.values():
        for pattern in _NAMES_IN_BODIES:
            found.update(pattern.findall(capture.response_body))

    def rename(text: bytes) -> bytes:
        for name in found:
            text = text.replace(name, name + mark)
        return text

    return {file: _rename(capture, rename, mark) for file, capture in captures.items()}


def _rename(capture: Capture, rename: Callable[[bytes], bytes], mark: bytes) -> Capture:
    def rename_head(head: Head) -> Head:
        fields = {name: rename(value) for name, value in head.fields.items()}
        if _LAST_EVENT_ID in fields:
            fields[_LAST_EVENT_ID] += mark
        return replace(head, start=[rename(word) for word in head.start], fields=fields)

    return replace(
        capture,
        request=rename_head(capture.request),
        request_body=rename(capture.request_body),
        response=None if capture.response is None else rename_head(capture.response),
        arrivals=[
            (at, _EVENT_ID.sub(rb"\1" + mark, rename(data))) for at, data in capture.arrivals
        ],
    )
