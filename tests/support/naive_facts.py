"""What the naive model (`tests.support.naive_model`) remembers of exchanges, calls and the rest.

Knows attributes; does not know what happens to them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias

from mcp_proxy_exporter.protocol import Abort, Outcome, StreamKind, TaskOutcome

Id: TypeAlias = int | str
Scope: TypeAlias = tuple[str, str, int]
"""Whose ids they are: of which session or endpoint, and of which of its lives."""
Client: TypeAlias = tuple[str | None, str | None]
"""A client's name and version of the protocol."""

GRACE = 60.0
"""Seconds after a task's time to live in which a client may still be told that it is gone."""
ENDS_OF_TASKS = {
    "completed": TaskOutcome.SUCCESS,
    "failed": TaskOutcome.FAILED,
    "cancelled": TaskOutcome.CANCELLED,
}
FINAL_ABORTS = {
    Abort.UPSTREAM_UNREACHABLE: Outcome.UPSTREAM_UNREACHABLE,
    Abort.UPSTREAM_TIMEOUT: Outcome.UPSTREAM_TIMEOUT,
    Abort.REJECTED: Outcome.REJECTED,
    Abort.SHUTDOWN: Outcome.PROXY_SHUTDOWN,
    Abort.FAULT: Outcome.UNINSPECTED,
}
RESUMABLE_ABORTS = {
    Abort.CLIENT_GONE: Outcome.CLIENT_DISCONNECTED,
    Abort.UPSTREAM_CLOSED: Outcome.UPSTREAM_CLOSED,
}
MAX_IDS = 32
"""The last events of a call from which its client may go on."""
NOBODY: Client = (None, None)
NEGOTIATED = "2025-06-18"
"""The version that every server here answers an ``initialize`` with."""


@dataclass(eq=False, kw_only=True, slots=True)
class Exchange:
    """One HTTP exchange."""

    get: bool = False
    session: str | None = None
    life: int = 0
    """How often the session had ended before."""
    endpoint: str | None = None
    """Of HTTP+SSE: what its GET announced, or where its POST goes."""
    resumes: str | None = None
    """The ``Last-Event-ID`` of a GET."""
    modern: bool = False
    in_vain: str | None = None
    """The session that a request of 2026-07-28 names although it has none."""
    mints: str | None = None
    """The session id that the answer to an ``initialize`` will carry."""
    named: bool = False
    """It has done so in its head."""
    ended: bool = False
    calls: list["Call"] = field(default_factory=list)
    """Those that there was room for."""
    ids: list[str] = field(default_factory=list)
    """Of its events."""
    retry: float | None = None
    """What the server last asked the client to wait before it resumes."""
    asked_at: float = 0.0
    kind: StreamKind | None = None
    stream_since: float = 0.0

    @property
    def scope(self) -> Scope | None:
        """Say whose ids its messages have; None if they are its own."""
        if self.session is not None:
            return "session", self.session, self.life
        return None if self.endpoint is None else ("endpoint", self.endpoint, 0)


@dataclass(eq=False, kw_only=True, slots=True)
class Call:
    """One request of a client."""

    number: int
    id: Id
    method: str
    exchange: Exchange
    opened_at: float
    client: Client
    """Who sends it; of an ``initialize`` also who will send what follows."""
    open: bool = True
    answered_on: Exchange | None = None
    answered_by_post: bool = False
    late: bool = False
    """A response came when it was too late."""
    refused: bool = False
    """There was no room for it."""
    suspended: bool = False
    suspended_at: float = 0.0
    deadline: float = inf
    questions: list["Question"] = field(default_factory=list)

    def waited(self, now: float) -> float:
        """Add the time in which at least one question was open."""
        total = since = 0.0
        for question in sorted(self.questions, key=lambda question: question.asked_at):
            end = min(now, question.answered_at)
            total += max(0.0, end - max(since, question.asked_at))
            since = max(since, end)
        return total


@dataclass(eq=False, kw_only=True, slots=True)
class Question:
    """One request of a server for input."""

    scope: Scope
    id: Id
    method: str
    asked_at: float
    answered_at: float = inf


@dataclass(eq=False, kw_only=True, slots=True)
class Session:
    """One life of a session, or of what is said to be one."""

    id: str
    life: int
    heard_at: float
    opened_at: float | None = None
    """When it was proved to exist."""
    open: bool = True


@dataclass(eq=False, kw_only=True, slots=True)
class Task:
    """One task."""

    id: str
    call: Call
    patience: float
    """Seconds after it was last seen to go on."""
    deadline: float
    open: bool = True


def newest(calls: list[Call], fits: Callable[[Call], bool]) -> Call | None:
    """Find the newest call of a kind."""
    return next((call for call in reversed(calls) if fits(call)), None)


def streams_of(call: Call, resuming: list[Exchange]) -> list[Exchange]:
    """List the event streams that may bring a call's answer: its own, and GETs that went on."""
    streams = [call.exchange]
    if call.exchange.modern or not call.exchange.ids:
        return streams
    ids = [*call.exchange.ids]
    for get in resuming:
        if get.resumes in ids[-MAX_IDS:] and get.scope == call.exchange.scope:
            streams.append(get)
            ids += get.ids
    return streams


def retry_of(call: Call, resuming: list[Exchange]) -> float:
    """Give what the client was last asked to wait, on whichever of a call's streams."""
    asking = [stream for stream in streams_of(call, resuming) if stream.retry is not None]
    last = max(asking, key=lambda stream: stream.asked_at, default=call.exchange)
    return last.retry or 0.0
