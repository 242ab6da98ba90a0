"""Whatever passes on however many exchanges at once: what begins ends, once, and nothing is held.

Ids, sessions, endpoints, event ids and tasks are so few that they collide all the time.
"""

import gzip
import itertools
import random
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    Event,
    InputAnswered,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamOpened,
    TaskClosed,
    TaskOpened,
)
from mcp_proxy_exporter.protocol.inspector import Inspector
from mcp_proxy_exporter.protocol.limits import Limits
from tests.support.holdings import holdings
from tests.support.inspection import (
    EVENTS,
    FAR,
    JSON,
    Turn,
    Wire,
    error,
    notification,
    only,
    request,
    result,
    sse,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SEED = 20251125
WALKS = 8
EACH = 60
STEPS = 80

IDS: list[Any] = [1, 1.0, "1", 2, None, True]
TASKS = ["t", "u"]
STATES = ["r", "s"]
SESSIONS = [b"a", b"b", b"c"]
TARGETS = [b"/mcp", b"/m", b"/sse"]
METHODS = [
    "initialize",
    "server/discover",
    "subscriptions/listen",
    "tasks/get",
    "tasks/result",
    "tools/call",
    "tools/list",
]
MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


class Crowd:
    """Clients and servers that do anything at any time."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.turns: list[Turn] = []
        self.begun: set[Turn] = set()
        self.named = rng.choice([0.0, 0.6, 0.9])
        """How many requests name a session."""
        self.wire = Wire(
            max_sessions=rng.choice([2, 100]),
            max_open_calls=rng.choice([3, 100]),
            max_tasks=rng.choice([1, 100]),
            session_idle_seconds=rng.choice([5.0, 50.0]),
            suspended_seconds=rng.choice([2.0, 20.0]),
            max_message_bytes=400,
        )

    def step(self) -> None:
        """Do one thing."""
        self.wire.now += self.rng.choice([0.0, 0.0, 0.5, 3.0])
        chance = self.rng.random()
        if chance < 0.4 or not self.turns:
            self.turns.append(self.open())
        elif chance < 0.45:
            self.wire.sweep(self.wire.now)
        else:
            self.go_on(self.rng.choice(self.turns))

    def end(self) -> None:
        """End all exchanges, and wait until nothing is waited for any more."""
        for turn in self.rng.sample(self.turns, len(self.turns)):
            self.finish(turn)
        for rounds in (1, 2, 3):
            self.wire.now = rounds * FAR
            self.wire.sweep(self.wire.now)

    def open(self) -> Turn:
        fields: dict[str, bytes] = {}
        if self.rng.random() < self.named:
            fields["mcp_session_id"] = self.rng.choice(SESSIONS)
        if self.rng.random() < 0.3:
            fields["last_event_id"] = b"%d" % self.rng.randint(1, 4)
        target = self.rng.choice(TARGETS)
        chance = self.rng.random()
        if chance < 0.7:
            return self.wire.post(self.some(self.message_to_server), target=target, **fields)
        if chance < 0.93 or "mcp_session_id" not in fields:
            return self.wire.get(target=target, **fields)
        return self.wire.delete(target=target, **fields)

    def go_on(self, turn: Turn) -> None:
        chance = self.rng.random()
        if chance < 0.2:
            self.finish(turn)
        elif turn in self.begun:
            turn.send(self.events() if chance < 0.9 else self.some(self.message_to_client))
        else:
            self.begun.add(turn)
            status = self.rng.choice([200, 200, 200, 202, 302, 400, 404, 500])
            fields = self.rng.choice([EVENTS, EVENTS, EVENTS, JSON, {}])
            named = {"mcp_session_id": self.rng.choice(SESSIONS)} if chance < 0.4 else {}
            if chance < 0.8:
                turn.begin(status, fields, **named)
            else:
                body = self.events() if fields is EVENTS else self.some(self.message_to_client)
                turn.answer(body, status, fields, **named)
                self.turns.remove(turn)

    def finish(self, turn: Turn) -> None:
        self.turns.remove(turn)
        if self.rng.random() < 0.5:
            turn.end()
        else:
            turn.abort(self.rng.choice(list(Abort)))

    def some(self, make: Callable[[], bytes]) -> bytes:
        """Give one message or several."""
        if self.rng.random() < 0.8:
            return make()
        return b"[" + b",".join(make() for _ in range(self.rng.randint(1, 4))) + b"]"

    def events(self) -> bytes:
        stream = b""
        for _ in range(self.rng.randint(1, 3)):
            stream += self.rng.choice([b"", b"retry: 1000\n", b"id: %d\n" % self.rng.randint(1, 4)])
            stream += self.rng.choice(
                [
                    b"data:\n\n",
                    b": ping\n\n",
                    b"event: endpoint\ndata: /m\n\n",
                    *[sse(self.some(self.message_to_client))] * 5,
                ]
            )
        return stream

    def message_to_server(self) -> bytes:
        pick = self.rng.choice
        more: dict[str, Any] = pick([{}, {"task": {}}, {"_meta": MODERN}])
        call = request(
            pick(IDS),
            pick(METHODS),
            taskId=pick(TASKS),
            requestState=pick([None, *STATES]),
            **more,
        )
        cancelled = notification("notifications/cancelled", requestId=pick(IDS))
        return pick([call, call, call, call, cancelled, result(pick(IDS)), b"{}", b"{"])

    def message_to_client(self) -> bytes:
        pick = self.rng.choice
        value: dict[str, Any] = pick(
            [
                {},
                {"isError": True},
                {"resultType": "task", "taskId": pick(TASKS)},
                {"task": {"taskId": pick(TASKS)}},
                {"taskId": pick(TASKS), "status": "completed"},
                {
                    "resultType": "input_required",
                    "inputRequests": {"a": {"method": "roots/list"}},
                    "requestState": pick(STATES),
                },
            ]
        )
        answer = result(pick(IDS), value)
        refusal = error(pick(IDS), pick([-32602, -32042, -32800]), pick(["", "session"]))
        question = request(pick(IDS), "elicitation/create")
        withdrawn = notification("notifications/cancelled", requestId=pick(IDS))
        notice = notification("notifications/tasks", taskId=pick(TASKS), status="failed")
        others = [refusal, question, withdrawn, notice, b"{}", b"{", b"x" * 500]
        return pick([answer] * 6 + others)


def count(events: Iterable[Event], kind: type[Event]) -> int:
    return len(only(events, kind))


@pytest.mark.parametrize("number", range(WALKS))
def test_what_begins_ends_once_and_nothing_is_held(number: int) -> None:
    rng = random.Random(SEED + number)  # noqa: S311  (repeatable, not secret)
    for _ in range(EACH):
        crowd = Crowd(rng)
        for _ in range(rng.randint(1, STEPS)):
            crowd.step()
        crowd.end()
        events = crowd.wire.events
        assert count(events, CallOpened) == count(events, CallClosed)
        assert count(events, SessionOpened) == count(events, SessionClosed)
        assert count(events, TaskOpened) == count(events, TaskClosed)
        streams = [event for event in only(events, StreamOpened) if event.instead_of is None]
        assert len(streams) == count(events, StreamClosed)
        for end in only(events, CallClosed):
            first = end.at if end.first_message_at is None else end.first_message_at
            assert end.call.opened_at <= first <= end.at
            assert 0.0 <= end.waited <= end.at - end.call.opened_at
        lasting = (InputAnswered, SessionClosed, StreamClosed, TaskClosed)
        assert all(event.duration >= 0.0 for event in events if isinstance(event, lasting))
        held = holdings(crowd.wire.inspector)
        # Who lists tools and stops leaves a place behind, of which there are a few.
        held.pop(".state.catalog._unfinished", None)
        assert held == {}


CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"gzip, br": lambda data: brotli.compress(gzip.compress(data)),
}
ENDS = [*Abort, None]


@pytest.mark.parametrize("coding", CODINGS)
def test_whatever_ends_a_compressed_exchange_no_decoder_is_held(coding: bytes) -> None:
    encode = CODINGS[coding]
    asked = encode(request(1, "tools/call", name="nap"))
    told = encode(sse(result(1, "purr " * 10_000)) * 3)
    for cut, spoiled in itertools.product((5, len(told) - 5, len(told)), (False, True)):
        for end, wanted in itertools.product(ENDS, (asked[:6], asked)):
            inspector = Inspector(Limits())
            exchange = inspector.open(b"POST", b"/mcp", {**JSON, b"content-encoding": coding})
            assert exchange is not None
            exchange.request_data(wanted, 1.0)
            assert inspector.buffers.used >= 10_000
            if wanted is asked:
                exchange.request_end(1.0)
                assert inspector.buffers.used == 0
            exchange.response_head(200, {**EVENTS, b"content-encoding": coding}, 1.0)
            exchange.response_data(told[:cut] + b"spoiled" * spoiled, 1.0)
            if end is None:
                exchange.response_end(2.0)
            else:
                exchange.aborted(end, 2.0)
            assert inspector.buffers.used == 0
            inspector.sweep(FAR)
            assert holdings(inspector) == {}
