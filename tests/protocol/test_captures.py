"""Every recorded exchange with a real server gives what the table says, however it is cut.

Each is looked at as if it were the only one; `test_conversations` plays those of one client
together.
"""

import csv
import random
from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    Direction,
    Event,
    InspectionStopped,
    Inspector,
    LateResponse,
    Limits,
    MessageKind,
    MessageSeen,
    Outcome,
    ToolsListed,
    ToolsSeen,
)
from tests.support.capture_file import CAPTURES, load, names
from tests.support.inspection import Exchange, pieces, plain, single_bytes, walk

SEED = 20260728
FAR = 1e6
"""Seconds after which nothing is waited for any more."""
ENDS = {"response complete": "end", "client closed": Abort.CLIENT_GONE}


def exchange_of(name: str) -> Exchange:
    capture = load(name)
    response = capture.response
    return Exchange(
        method=capture.request.start[0],
        target=capture.request.start[1],
        fields=capture.request.fields,
        request=capture.request_body,
        status=None if response is None else int(response.start[1]),
        response_fields={} if response is None else response.fields,
        response=capture.response_body,
        end=ENDS.get(capture.end),
    )


@cache
def table() -> dict[str, dict[str, str]]:
    with (CAPTURES / "expected.csv").open(newline="") as rows:
        return {row["file"]: row for row in csv.DictReader(rows)}


def calls_of(events: Sequence[Event]) -> list[str]:
    """Describe calls as the table does, in the order of the requests."""
    ends = {id(event.call): event for event in events if isinstance(event, CallClosed)}
    described = []
    for event in events:
        if isinstance(event, CallOpened):
            end = ends.pop(id(event.call), None)
            words = [event.call.method, event.call.name or "-", word_of(end)]
            if end and end.error_code is not None:
                words.append(str(end.error_code))
            described.append(" ".join(words))
    assert not ends
    return described


def word_of(end: CallClosed | None) -> str:
    if end is None:
        return "open"
    return "suspended" if end.outcome is Outcome.ABANDONED else end.outcome


def messages_of(events: Sequence[Event], direction: Direction, *kinds: MessageKind) -> str:
    seen = Counter(
        event.kind
        for event in events
        if isinstance(event, MessageSeen) and event.direction is direction
    )
    return " ".join(str(seen[kind]) for kind in kinds)


def test_the_table_has_a_row_for_each_capture() -> None:
    assert sorted(table()) == names()


@pytest.mark.parametrize("name", names())
def test_a_capture_gives_the_outcomes_of_the_table(name: str) -> None:
    row = table()[name]
    exchange = exchange_of(name)
    inspector = Inspector(Limits())
    events = walk(exchange, inspector=inspector)
    if exchange.end is not None:
        assert not any(word.endswith("suspended") for word in calls_of(events))
        events += inspector.sweep(FAR)

    expected = [call for call in row["calls"].split("; ") if call]
    assert calls_of(events) == expected
    to_server = (MessageKind.NOTIFICATION, MessageKind.RESPONSE)
    assert messages_of(events, Direction.TO_SERVER, *to_server) == row["to_server"]
    assert messages_of(events, Direction.TO_SERVER, MessageKind.REQUEST) == str(len(expected))
    to_client = (MessageKind.NOTIFICATION, MessageKind.REQUEST, MessageKind.RESPONSE)
    assert messages_of(events, Direction.TO_CLIENT, *to_client) == row["to_client"]
    stopped = [event.reason for event in events if isinstance(event, InspectionStopped)]
    assert " ".join(stopped) == row["stopped"]
    assert not any(isinstance(event, LateResponse) for event in events)


@pytest.mark.parametrize("name", [name for name in names() if "tools-list" in name])
def test_a_captured_listing_shows_its_tools(name: str) -> None:
    events = walk(exchange_of(name))
    listed = [event.tools for event in events if isinstance(event, ToolsListed)]
    seen = [event.tools for event in events if isinstance(event, ToolsSeen)]
    assert listed == seen
    assert len(listed) == (table()[name]["calls"] == "tools/list - success")
    assert all(len(tools) > 1 and all(tool.name for tool in tools) for tools in listed)


@pytest.mark.parametrize("name", names())
def test_a_capture_gives_the_same_events_however_it_is_cut(name: str) -> None:
    exchange = exchange_of(name)
    expected = plain(walk(exchange))
    assert plain(walk(exchange, cut=single_bytes)) == expected
    rng = random.Random(SEED + sum(name.encode()))  # noqa: S311  (repeatable, not secret)
    for _ in range(10):
        cuts = [rng.randrange(1 << 20) for _ in range(rng.randint(1, 8))]
        assert plain(walk(exchange, cut=pieces(*cuts))) == expected, cuts
