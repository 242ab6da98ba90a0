"""A random walk of clients and servers through one inspector, checked at every step.

Knows how what the model (`tests.support.naive_model`) is told is written on the wire, and that the
product says no more and no less than the model; does not know why.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from mcp_proxy_exporter.protocol import (
    Call,
    CallClosed,
    CallOpened,
    Event,
    InputAnswered,
    InputRequested,
    InspectionStopped,
    Inspector,
    LateResponse,
    Limits,
    MessageSeen,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamEvents,
    StreamOpened,
    TaskClosed,
    TaskOpened,
    ToolsChanged,
)
from mcp_proxy_exporter.protocol.inspector import AnyInspector
from tests.support.chatter import MODERN, Memory, Wish, encode
from tests.support.holdings import holdings
from tests.support.inspection import JSON
from tests.support.naive_facts import Exchange
from tests.support.naive_model import Saying, World

_SAYINGS: Mapping[type, Callable[[Any], Saying]] = {
    LateResponse: lambda event: ("late", event.method),
    SessionOpened: lambda _: ("session opened",),
    SessionClosed: lambda event: ("session closed", event.reason, round(event.duration, 3)),
    StreamOpened: lambda event: ("stream opened", event.kind, event.instead_of),
    StreamClosed: lambda event: ("stream closed", event.kind, round(event.duration, 3)),
    InputRequested: lambda event: ("asked", event.method, event.delivery),
    InputAnswered: lambda event: ("replied", event.method, round(event.duration, 3)),
    ToolsChanged: lambda _: ("tools changed",),
    MessageSeen: lambda event: ("seen", event.direction, event.kind, event.method),
}

TICK = 0.001
FAR = 1e6


@dataclass(eq=False, kw_only=True, slots=True)
class Dialogue:
    """An exchange that goes on, in both worlds."""

    exchange: Exchange
    tap: AnyInspector
    streaming: bool = False


class Wanderer:
    """The walk: the product, the model, and the exchanges that go on."""

    def __init__(self, rng: Random, limits: Limits) -> None:
        self.rng = rng
        self.inspector = Inspector(limits)
        self.world = World(limits)
        self.memory = Memory(rng)
        self.going_on: list[Dialogue] = []
        self.steps = 0
        self.wishes: dict[int, Wish] = {}
        """What calls ask, by their numbers."""
        self._numbers: dict[int, int] = {}
        self._calls: list[Call] = []  # keeps their ids unique
        self._closed: set[int] = set()
        self._events = 0  # of long-lived streams, not yet reported

    # Steps.

    @property
    def now(self) -> float:
        """Tell the time."""
        return self.world.now

    def use(self, rng: Random) -> None:
        """Let somebody else choose."""
        self.rng = self.memory.rng = rng

    def tick(self, seconds: float = TICK) -> float:
        """Let time pass."""
        self.steps += 1
        self.world.now += seconds
        return self.world.now

    def begin(self, exchange: Exchange, messages: object) -> Dialogue:
        """Send a request of which the model has already been told."""
        tap = self.inspector.open(
            b"GET" if exchange.get else b"POST", self.target(exchange), self.fields(exchange)
        )
        assert tap is not None
        dialogue = Dialogue(exchange=exchange, tap=tap)
        self.going_on.append(dialogue)
        body = b"" if exchange.get else encode(messages)
        if self.rng.random() < 0.5:
            self.check(tap.request(body, self.now))
        else:
            said = [e for piece in self.cut(body) for e in tap.request_data(piece, self.now)]
            self.check([*said, *tap.request_end(self.now)])
        return dialogue

    def target(self, exchange: Exchange) -> bytes:
        """Say where the exchange goes."""
        return b"/mcp" if exchange.get or exchange.endpoint is None else exchange.endpoint.encode()

    def fields(self, exchange: Exchange) -> dict[bytes, bytes]:
        """Give the head of a request."""
        fields = {} if exchange.get else dict(JSON)
        session = exchange.session or exchange.in_vain
        if session is not None:
            fields[b"mcp-session-id"] = session.encode()
        if exchange.resumes is not None:
            fields[b"last-event-id"] = exchange.resumes.encode()
        if exchange.modern:
            fields[b"mcp-protocol-version"] = MODERN.encode()
        return fields

    def cut(self, body: bytes) -> Iterator[bytes]:
        """Cut bytes as a network may."""
        at = self.rng.randrange(len(body) + 1)
        return (piece for piece in (body[:at], body[at:]) if piece)

    def feed(self, dialogue: Dialogue, body: bytes) -> None:
        """Pass bytes of a response."""
        said = [e for piece in self.cut(body) for e in dialogue.tap.response_data(piece, self.now)]
        self.check(said)

    def event(
        self,
        dialogue: Dialogue,
        message: object = None,
        *,
        event_id: str | None = None,
        retry: float | None = None,
        kind: str = "message",
    ) -> None:
        """Pass one event; its data are empty, a word, or a message in JSON."""
        end = self.rng.choice(["\n", "\r\n"])
        data = message if isinstance(message, str) else encode(message).decode()
        lines = [f"data: {'' if message is None else data}"]
        if message is not None:
            lines.insert(self.rng.randrange(2), f"event: {kind}")
        if event_id is not None:
            dialogue.exchange.ids.append(event_id)
            lines.insert(self.rng.randrange(len(lines) + 1), f"id: {event_id}")
        if retry is not None:
            dialogue.exchange.retry, dialogue.exchange.asked_at = retry, self.now
            lines.append(f"retry: {int(retry * 1000)}")
        if dialogue.exchange.kind is not None:
            self._events += 1
        self.feed(dialogue, "".join(line + end for line in [*lines, ""]).encode())

    def sweep(self, seconds: float) -> None:
        """Let time pass and look at it."""
        now = self.tick(seconds)
        self.world.sweep()
        self.memory.sweep(now)
        self.check(self.inspector.sweep(now))

    def done(self, dialogue: Dialogue) -> None:
        """Forget an exchange that is over."""
        self.going_on.remove(dialogue)

    def finish(self) -> None:
        """Prove that nothing stays once everything has ended."""
        assert not self.going_on
        self.sweep(FAR)
        self.sweep(FAR)
        self.check(self.inspector.close(self.now))
        world = self.world
        assert not [call.number for call in world.calls if call.open]
        assert not [session.id for session in world.sessions if session.open]
        assert not [task.id for task in world.tasks if task.open]
        held = holdings(self.inspector)
        assert held == {}, held

    # What the product says.

    def check(self, events: Iterable[Event]) -> None:
        """Compare what the product says with what the model said since the last time."""
        said = Counter(saying for event in events for saying in self._sayings(event))
        expected = self.world.said
        self.world.said = Counter()
        missing, unexpected = expected - said, said - expected
        assert not missing + unexpected, f"missing {missing}, unexpected {unexpected}"
        assert self._events == 0
        open_calls = [call for call in self.world.calls if call.open]
        assert self.inspector.state.calls.used == len(open_calls)

    def _sayings(self, event: Event) -> Iterator[Saying]:
        match event:
            case CallOpened(call):
                number = len(self._calls)
                self._numbers[id(call)] = number
                self._calls.append(call)
                assert call.method == self.world.calls[number].method
                yield "call opened", number, call.client.name, call.client.protocol_version
            case CallClosed():
                first = event.at if event.first_message_at is None else event.first_message_at
                assert event.call.opened_at <= first <= event.at <= self.now
                number = self._numbers[id(event.call)]
                assert number not in self._closed
                self._closed.add(number)
                yield "call closed", number, event.outcome, round(event.waited, 3)
            case TaskOpened(call):
                yield "task opened", self._numbers[id(call)]
            case TaskClosed(call, outcome, duration):
                yield "task closed", self._numbers[id(call)], outcome, round(duration, 3)
            case StreamEvents():
                self._events -= event.count
            case InspectionStopped():
                pass
            case _:
                yield _SAYINGS[type(event)](event)
