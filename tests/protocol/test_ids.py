"""Which response answers which request."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from mcp_proxy_exporter.protocol import LateResponse, Outcome
from mcp_proxy_exporter.protocol.ids import (
    MAX_ID,
    MAX_METHOD,
    MAX_TEXT,
    equal_number,
    id_key,
    read_id,
)
from tests.support.inspection import Wire, notification, only, outcomes, request, result, sse

KINDS: list[Any] = [0, "0", False, None, 1, "1", True, "", 10**30]


def test_ids_that_are_equal_in_python_alone_are_different_keys() -> None:
    keys = {id_key(value) for value in (0, "0", 0.0, False, None, 1, "1", 1.0, True, UNSET)}
    assert len(keys) == 10


def test_a_long_id_is_held_as_a_digest() -> None:
    long = "x" * (MAX_ID + 1)
    key = id_key(long)
    assert key != long
    assert len(repr(key)) < 200
    assert key == id_key(str(long))
    assert key != id_key(long + "y")
    assert id_key("x" * MAX_ID) == "x" * MAX_ID


@pytest.mark.parametrize(
    ("value", "other"),
    [(1, 1.0), (0, 0.0), (-5, -5.0), (1.0, 1), (-0.0, 0), (1e300, int(1e300))],
)
def test_a_number_has_one_key_that_javascript_cannot_tell_from_it(
    value: float, other: float
) -> None:
    assert equal_number(id_key(value)) == id_key(other)


@pytest.mark.parametrize("value", ["1", None, True, 1.5, 2**53, "x" * 2_000, UNSET])
def test_what_is_no_exact_number_equals_nothing(value: Any) -> None:
    assert equal_number(id_key(value)) is None


def test_the_limits_hold_for_what_a_call_keeps() -> None:
    assert MAX_TEXT >= 128  # what MCP recommends for tool names
    assert MAX_ID >= 36  # a UUID
    assert len("notifications/resources/list_changed") < MAX_METHOD


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1.0", 1.0), ('"1"', "1"), ("true", True), ("null", None), ("-0.5", -0.5)],
)
def test_an_id_is_read_as_what_it_is(text: str, value: Any) -> None:
    found = read_id(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["{}", "[]", "[1]", "9" * 5_000])
def test_what_cannot_be_an_id_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        read_id(text)


@pytest.mark.parametrize("message_id", KINDS)
def test_only_the_very_id_answers_on_another_exchange(message_id: Any) -> None:
    wire = Wire()
    wire.suspend(message_id, event_id=b"e", mcp_session_id=b"s")
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"e")
    for other in [*KINDS, 0.5]:
        if type(other) is not type(message_id) or other != message_id:
            assert outcomes(stream.send(sse(result(other)))) == []
    assert outcomes(stream.send(sse(result(message_id)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize(("asked", "answered"), [(1.0, 1), (1, 1.0)])
def test_javascript_may_answer_1_to_1_0_on_another_exchange(asked: Any, answered: Any) -> None:
    wire = Wire()
    wire.suspend(asked, event_id=b"e", mcp_session_id=b"s")
    stream = wire.stream(mcp_session_id=b"s")
    assert outcomes(stream.send(sse(result(answered)))) == [Outcome.SUCCESS]


def test_the_exact_id_goes_before_the_equal_number_on_another_exchange() -> None:
    wire = Wire()
    wire.suspend(1.0, event_id=b"a", mcp_session_id=b"s")
    live = wire.post(request(1), mcp_session_id=b"s")
    live.begin()
    stream = wire.stream(mcp_session_id=b"s")
    assert outcomes(stream.send(sse(result(1.0)))) == [Outcome.SUCCESS]
    assert outcomes(live.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert only(wire.events, LateResponse) == []


@pytest.mark.parametrize(("asked", "answered"), [(1.0, 1), (1, 1.0), ("1", "1")])
def test_an_answer_to_a_call_that_is_over_is_late_once(asked: Any, answered: Any) -> None:
    wire = Wire()
    wire.suspend(asked, event_id=b"e", mcp_session_id=b"s")
    wire.sweep(100.0)
    wire.now = 100.0
    stream = wire.stream(mcp_session_id=b"s")
    for wrong in (True, "x", None):
        stream.send(sse(result(wrong)))
    stream.send(sse(result(answered), result(answered), result(asked)))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


def test_an_answer_to_a_cancelled_call_is_late_once_wherever_it_comes() -> None:
    wire = Wire()
    turn = wire.post(request(1.0), mcp_session_id=b"s")
    turn.begin()
    wire.post(notification("notifications/cancelled", requestId=1.0), mcp_session_id=b"s")
    turn.send(sse(result(1)))
    wire.stream(mcp_session_id=b"s").send(sse(result(1)))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


@pytest.mark.parametrize("named", KINDS)
def test_a_cancellation_names_the_very_id(named: Any) -> None:
    wire = Wire()
    for message_id in KINDS:
        wire.post(request(message_id), mcp_session_id=b"s")
    turn = wire.post(notification("notifications/cancelled", requestId=named), mcp_session_id=b"s")
    assert outcomes(turn.begun) == [Outcome.CANCELLED]
    assert wire.inspector.calls.used == len(KINDS) - 1
