"""Recorded conversations give what the tables say: alone, and among others whose ids collide.

Every conversation passes through one inspector, in its order of time. What its calls become is in
``tests/captures/expected.csv``, and in ``conversations.csv`` where other exchanges of the
conversation have a say.
"""

import csv
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import pytest

from mcp_proxy_exporter.protocol import (
    CallClosed,
    CallOpened,
    Event,
    InputAnswered,
    InputRequested,
    Inspector,
    LateResponse,
    Limits,
    MessageSeen,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamOpened,
    TaskClosed,
    TaskOpened,
    ToolsChanged,
)
from tests.support.capture_file import CAPTURES
from tests.support.holdings import holdings
from tests.support.replay import Player, conversations, files_of, steps_of

SEED = 20251125
FAR = 1e6
"""Seconds after which nothing is waited for any more."""
PACE = 0.01
"""Seconds between two steps of a crowd."""
SWEEPS = 0.05
"""How often time is looked at, which changes nothing."""
ROUNDS = 20
CLIENTS = ("", "-another")


@cache
def calls_by_themselves() -> Mapping[str, Sequence[str]]:
    with (CAPTURES / "expected.csv").open(newline="") as rows:
        return {row["file"]: split(row["calls"]) for row in csv.DictReader(rows)}


@cache
def table() -> Mapping[str, Mapping[str, str]]:
    with (CAPTURES / "conversations.csv").open(newline="") as rows:
        return {row["conversation"]: row for row in csv.DictReader(rows)}


def split(cell: str) -> list[str]:
    return cell.split("; ") if cell else []


def expected_calls(conversation: str) -> Mapping[str, Sequence[str]]:
    """Give the calls of each exchange; an exchange in the second table has one call."""
    otherwise = {entry[:2]: [entry[3:]] for entry in split(table()[conversation]["calls"])}
    return {
        file: otherwise.get(file.partition("/")[2][:2], calls_by_themselves()[file])
        for file in files_of(conversation)
    }


def calls_of(player: Player) -> Mapping[str, Sequence[str]]:
    """Describe the calls that each exchange opened, whoever closed them."""
    ends = {id(event.call): event for _, event in player.events if isinstance(event, CallClosed)}
    opened = [(file, event.call) for file, event in player.events if isinstance(event, CallOpened)]
    assert len(ends) == len([event for _, event in player.events if isinstance(event, CallClosed)])
    assert ends.keys() == {id(call) for _, call in opened}
    calls: dict[str, list[str]] = {file: [] for file in player.taps}
    for file, call in opened:
        end = ends[id(call)]
        words = [call.method, call.name or "-", end.outcome]
        if end.error_code is not None:
            words.append(str(end.error_code))
        calls[file].append(" ".join(words))
    return calls


def facts_of(events: Sequence[Event]) -> dict[str, str]:
    """Describe all but the calls, as the table does."""
    tasks = [event for event in events if isinstance(event, TaskClosed)]
    asked = [event for event in events if isinstance(event, InputRequested)]
    answered = Counter(event.method for event in events if isinstance(event, InputAnswered))
    inputs = []
    for request in asked:
        words = [request.method, request.delivery]
        if answered[request.method]:
            answered[request.method] -= 1
            words.append("answered")
        inputs.append(" ".join(words))
    assert not +answered
    return {
        "late": "; ".join(event.method for event in events if isinstance(event, LateResponse)),
        "sessions": "; ".join(event.reason for event in events if isinstance(event, SessionClosed)),
        "streams": "; ".join(event.kind for event in events if isinstance(event, StreamClosed)),
        "tasks": "; ".join(f"{event.call.name} {event.outcome}" for event in tasks),
        "inputs": "; ".join(inputs),
        "changes": str(sum(isinstance(event, ToolsChanged) for event in events)),
    }


def totals(events: Sequence[Event]) -> Counter[str]:
    """Count what must not depend on who else is there."""
    counted: Counter[str] = Counter()
    for event in events:
        if isinstance(event, CallClosed):
            counted[
                f"{event.call.method} {event.call.name} {event.outcome} {event.call.client}"
            ] += 1
        elif isinstance(event, MessageSeen):
            counted[f"{event.direction} {event.kind} {event.method}"] += 1
        elif isinstance(event, StreamOpened):
            counted[f"opened {event.kind} {event.instead_of}"] += 1
        elif isinstance(event, InputRequested | InputAnswered):
            counted[f"{type(event).__name__} {event.method}"] += 1
        elif isinstance(event, SessionOpened | TaskOpened | CallOpened | ToolsChanged):
            counted[type(event).__name__] += 1
    facts = facts_of(events)
    for column in ("late", "sessions", "streams", "tasks"):
        counted.update(f"{column} {entry}" for entry in split(facts[column]))
    return counted


def end(inspector: Inspector, now: float) -> Sequence[Event]:
    """Let the time pass after which nothing is remembered, and prove that nothing is."""
    events = [*inspector.sweep(now + FAR), *inspector.sweep(now + 2 * FAR)]
    assert not inspector.close(now + 2 * FAR)
    assert holdings(inspector) == {}
    return events


@cache
def alone(conversation: str) -> Player:
    player = Player(Inspector(Limits()))
    now = 0.0
    for step in steps_of(conversation):
        now = step.at
        player.play(step, now)
        player.sweep(now)
    player.events += [("", event) for event in end(player.inspector, now)]
    return player


def events_of(player: Player) -> list[Event]:
    return [event for _, event in player.events]


def test_the_table_has_a_row_for_each_conversation() -> None:
    assert sorted(table()) == conversations()


@pytest.mark.parametrize("conversation", conversations())
def test_a_conversation_gives_the_outcomes_of_the_table(conversation: str) -> None:
    player = alone(conversation)
    row = table()[conversation]
    assert calls_of(player) == expected_calls(conversation)
    facts = facts_of(events_of(player))
    assert facts == {column: row[column] for column in facts}


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_conversations_among_others_are_what_they_are_alone(round_: int) -> None:
    rng = random.Random(SEED + round_)  # noqa: S311  (repeatable, not secret)
    inspector = Inspector(Limits())
    crowd = {
        (conversation, client): Player(inspector)
        for conversation in rng.sample(conversations(), rng.randint(2, len(conversations())))
        for client in CLIENTS[: rng.randint(1, len(CLIENTS))]
    }
    now = mingle(crowd, rng)
    last = end(inspector, now)
    events = [event for player in crowd.values() for event in events_of(player)]
    expected: Counter[str] = Counter()
    for conversation, _ in crowd:
        expected += totals(events_of(alone(conversation)))
    assert totals([*events, *last]) == expected
    for (conversation, _), player in crowd.items():
        opened = {id(event.call) for event in events_of(player) if isinstance(event, CallOpened)}
        player.events += [
            ("", event)
            for event in last
            if isinstance(event, CallClosed) and id(event.call) in opened
        ]
        assert calls_of(player) == expected_calls(conversation)


def mingle(crowd: Mapping[tuple[str, str], Player], rng: random.Random) -> float:
    """Let all conversations go on at once, each in its own order; give the time at their end."""
    rest = {key: steps_of(key[0], another=key[1])[::-1] for key in crowd}
    now = 0.0
    while rest:
        now += PACE
        key = rng.choice(list(rest))
        player = crowd[key]
        player.play(rest[key].pop(), now)
        if not rest[key]:
            del rest[key]
        if rng.random() < SWEEPS:
            assert not player.inspector.sweep(now)
    return now
