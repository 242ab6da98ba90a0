"""Whatever is said by whomever in whatever order, the books balance and memory is bounded.

No model says here what must come out; traffic is mostly nonsense: ids collide, sessions are
invented, servers answer before they were asked, everything is small and runs out.
"""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    Event,
    Inspector,
    Limits,
)
from mcp_proxy_exporter.protocol.inspector import AnyInspector
from tests.support.books import Books
from tests.support.holdings import holdings

SEED = 20241105
STEPS = 600
WALKS = 20
LONG_WALKS = 600
MAX_GOING_ON = 8
FAR = 1e6

LIMITS = Limits(
    max_message_bytes=600,
    max_buffered_bytes=900,
    max_open_calls=6,
    max_sessions=3,
    max_tasks=3,
    suspended_seconds=60.0,
    session_idle_seconds=600.0,
    task_seconds=600.0,
)
MOST_HELD = 80
"""In one container: a few event ids for each call or exchange that there can be."""

IDS: list[Any] = [0, 1, 1.0, "1", None, "a", True]
SESSIONS = [b"s1", b"s2", b"s3", b"s4", b"s5"]
TARGETS = [b"/mcp", b"/m?s=1", b"/m?s=2"]
EVENT_IDS = ["1", "2", "3"]
TASKS = ["t1", "t2", "t3", "t4", "t5"]
STATES = ["x", "y"]
METHODS = [
    "tools/call", "tools/call", "tools/call", "initialize", "ping", "subscriptions/listen",
    "tasks/get", "tasks/result", "tasks/cancel", "tasks/list", "server/discover",
]  # fmt: skip
NOTICES = [
    "notifications/cancelled", "notifications/cancelled", "notifications/tasks/status",
    "notifications/tasks", "notifications/tools/list_changed", "notifications/progress",
]  # fmt: skip
QUESTIONS = ["elicitation/create", "sampling/createMessage", "roots/list", "ping"]
STATUSES = [200, 200, 200, 200, 202, 204, 302, 400, 404, 500]
WAYS: list[dict[bytes, bytes]] = [
    {b"content-type": b"text/event-stream"},
    {b"content-type": b"text/event-stream"},
    {b"content-type": b"application/json"},
    {b"content-type": b"text/html"},
    {},
]


@dataclass(eq=False, slots=True)
class Visit:
    """An exchange, and how far it has come."""

    tap: AnyInspector
    asked: bool = False
    answered: bool = False


class Crowd:
    """Peers without manners."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311  (repeatable, not secret)
        self.inspector = Inspector(LIMITS)
        self.books = Books()
        self.now = 0.0
        self.going_on: list[Visit] = []
        self.over: list[Visit] = []

    def run(self, steps: int) -> None:
        """Do nonsense, then end everything."""
        for _ in range(steps):
            self.now += self.rng.choice([0.0, 0.001, 0.1, 5.0])
            acts = [self.begin, self.go_on, self.go_on, self.go_on, self.wait, self.disturb]
            self.note(self.rng.choice(acts)())
            self.check()
        while self.going_on:
            self.note(self.end(self.going_on[-1]))
            self.check()
        if self.rng.random() < 0.5:
            self.note(self.inspector.close(self.now))
        for _ in range(2):
            self.now += FAR
            self.note(self.inspector.sweep(self.now))
        assert (self.books.calls, self.books.tasks, self.books.sessions) == ({}, {}, 0)
        assert not +self.books.streams
        assert holdings(self.inspector) == {}

    def note(self, events: Iterable[Event]) -> None:
        self.books.enter(events)

    def check(self) -> None:
        """Look at the bounds."""
        books = self.books
        assert self.inspector.state.calls.used == len(books.calls) <= LIMITS.max_open_calls
        assert len(books.tasks) <= LIMITS.max_tasks
        assert books.sessions <= LIMITS.max_sessions
        assert 0 <= self.inspector.state.buffers.used <= LIMITS.max_buffered_bytes
        held = {path: size for path, size in holdings(self.inspector).items() if "used" not in path}
        assert max(held.values(), default=0) <= MOST_HELD, held

    def wait(self) -> Iterable[Event]:
        """Let time pass and look at it."""
        self.now += self.rng.choice([0.0, 1.0, 30.0, 61.0, 61.0, 700.0])
        return self.inspector.sweep(self.now)

    def begin(self) -> Iterable[Event]:
        """Open an exchange, most often with its request."""
        rng = self.rng
        if len(self.going_on) >= MAX_GOING_ON:
            return self.end(rng.choice(self.going_on))
        method = rng.choice([b"POST", b"POST", b"POST", b"POST", b"GET", b"GET", b"DELETE", b"PUT"])
        fields = dict(rng.choice(WAYS[2:3] * 9 + WAYS))
        if rng.random() < 0.6:
            fields[b"mcp-session-id"] = self.session()
        if rng.random() < 0.3:
            fields[b"last-event-id"] = rng.choice(EVENT_IDS).encode()
        if rng.random() < 0.1:
            fields[b"mcp-protocol-version"] = rng.choice([b"2025-11-25", b"2026-07-28", b"\xff"])
        tap = self.inspector.open(method, rng.choice(TARGETS), fields)
        if tap is None:
            return []
        visit = Visit(tap)
        self.going_on.append(visit)
        return self.ask(visit) if rng.random() < 0.9 else []

    def ask(self, visit: Visit) -> Iterable[Event]:
        """Send a request, which a server need not await."""
        if visit.asked:
            return []
        body = self.body(self.request)
        visit.asked = self.rng.random() < 0.9
        if visit.asked and self.rng.random() < 0.5:
            return visit.tap.request(body, self.now)
        events = [*visit.tap.request_data(body, self.now)]
        return [*events, *visit.tap.request_end(self.now)] if visit.asked else events

    def session(self) -> bytes:
        """Name a session, now and then one that nobody has heard of."""
        if self.rng.random() < 0.2:
            return b"%x" % self.rng.getrandbits(64)
        return self.rng.choice(SESSIONS)

    def go_on(self) -> Iterable[Event]:
        """Do something to some exchange."""
        if not self.going_on:
            return []
        visit = self.rng.choice(self.going_on)
        if not visit.asked and self.rng.random() < 0.5:
            return self.ask(visit)
        if self.rng.random() < 0.1:
            return self.end(visit)
        return self.pass_data(visit.tap) if visit.answered else self.answer_somehow(visit)

    def answer_somehow(self, visit: Visit) -> Iterable[Event]:
        """Begin a response, or give it whole."""
        status = self.rng.choice(STATUSES)
        if self.rng.random() < 0.7:
            visit.answered = True
            return visit.tap.response_head(status, self.head(), self.now)
        self.finish(visit)
        body = self.rng.choice([self.body(self.answer), self.event()])
        return visit.tap.response(status, self.head(), body, self.now)

    def finish(self, visit: Visit) -> None:
        """Remember an exchange that is over: nothing can be heard of it any more."""
        self.going_on.remove(visit)
        self.over = [*self.over[-3:], visit]

    def disturb(self) -> Iterable[Event]:
        """Say something of an exchange that is over."""
        if not self.over:
            return []
        tap = self.rng.choice(self.over).tap
        said = [
            *tap.request_data(b"{", self.now),
            *tap.request_end(self.now),
            *tap.response_data(self.event(), self.now),
            *tap.response_end(self.now),
            *tap.aborted(Abort.CLIENT_GONE, self.now),
        ]
        assert said == []
        return []

    def pass_data(self, tap: AnyInspector) -> Iterable[Event]:
        """Pass some of a response, perhaps cut."""
        body = self.event() if self.rng.random() < 0.9 else self.body(self.answer)
        cut = self.rng.randrange(len(body) + 1) if self.rng.random() < 0.3 else len(body)
        return [*tap.response_data(body[:cut], self.now), *tap.response_data(body[cut:], self.now)]

    def end(self, visit: Visit) -> Iterable[Event]:
        """End an exchange."""
        self.finish(visit)
        if visit.answered and self.rng.random() < 0.6:
            return visit.tap.response_end(self.now)
        return visit.tap.aborted(self.rng.choice([*Abort]), self.now)

    def head(self) -> dict[bytes, bytes]:
        """Give fields of a response."""
        fields = dict(self.rng.choice(WAYS))
        if self.rng.random() < 0.3:
            fields[b"mcp-session-id"] = self.session()
        if self.rng.random() < 0.03:
            fields[b"content-encoding"] = b"rot13"
        return fields

    def event(self) -> bytes:
        """Write an event."""
        lines = [b"data: " + self.body(self.answer) if self.rng.random() < 0.8 else b"data:"]
        if self.rng.random() < 0.5:
            lines.append(b"id: " + self.rng.choice(EVENT_IDS).encode())
        if self.rng.random() < 0.1:
            lines.append(b"retry: 30000")
        if self.rng.random() < 0.1:
            lines = [b"event: endpoint", b"data: " + self.rng.choice(TARGETS)]
        return b"\n".join([*lines, b"", b""])

    def body(self, message: Callable[[], object]) -> bytes:
        """Write a message, a batch, or nonsense."""
        kind = self.rng.random()
        if kind < 0.05:
            return self.rng.choice([b"", b"{", b"[]", b"null", b"{}", b" " * 700])
        if kind < 0.2:
            return json.dumps([message() for _ in range(self.rng.randint(1, 4))]).encode()
        return json.dumps(message()).encode()

    def request(self) -> dict[str, Any]:
        """Write what a client says."""
        rng = self.rng
        if rng.random() < 0.15:
            return self.message(method=rng.choice(NOTICES), params=self.params())
        if rng.random() < 0.2:
            return self.message(id=rng.choice(IDS), result={})
        return self.message(id=rng.choice(IDS), method=rng.choice(METHODS), params=self.params())

    def answer(self) -> dict[str, Any]:
        """Write what a server says."""
        rng = self.rng
        if rng.random() < 0.1:
            return self.message(method=rng.choice(NOTICES), params=self.params())
        if rng.random() < 0.15:
            return self.message(id=rng.choice(IDS), method=rng.choice(QUESTIONS))
        if rng.random() < 0.25:
            code = rng.choice([-32602, -32800, -32042, -32601, 0, "x"])
            error = {"code": code, "message": rng.choice(["no", "no session", "Request cancelled"])}
            return self.message(id=rng.choice(IDS), error=error)
        return self.message(id=rng.choice(IDS), result=self.params())

    def message(self, **members: object) -> dict[str, Any]:
        return {"jsonrpc": "2.0", **members}

    def params(self) -> dict[str, Any]:
        """Invent members of whatever a message has."""
        members: dict[str, Any] = {
            "name": "tool",
            "requestId": self.rng.choice(IDS),
            "taskId": self.rng.choice(TASKS),
            "task": {"taskId": self.rng.choice(TASKS), "status": "working", "ttl": 5000},
            "status": self.rng.choice(["working", "completed", "failed", "cancelled"]),
            "ttlMs": self.rng.choice([None, 0, 5000, -1, 1e30]),
            "resultType": self.rng.choice(["complete", "task", "input_required", "?"]),
            "isError": self.rng.choice([True, False]),
            "requestState": self.rng.choice(STATES),
            "inputRequests": {"q": {"method": self.rng.choice(QUESTIONS)}},
            "protocolVersion": "2025-11-25",
            "clientInfo": {"name": "c"},
            "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"},
        }
        chosen = self.rng.sample(sorted(members), self.rng.randint(0, 5))
        return {name: members[name] for name in chosen}


@pytest.mark.parametrize("number", range(WALKS))
def test_the_books_balance(number: int) -> None:
    Crowd(SEED + number).run(STEPS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_books_balance_for_long() -> None:
    for number in range(LONG_WALKS):
        Crowd(SEED + WALKS + number).run(STEPS)
