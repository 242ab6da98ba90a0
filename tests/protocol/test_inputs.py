"""Input that a server asks for by the answer to a call, which its client then repeats."""

import json
from typing import Any

import pytest

from mcp_proxy_exporter.protocol import Delivery, Event, InputAnswered, InputRequested, Outcome
from mcp_proxy_exporter.protocol.inputs import (
    MAX_READ,
    MAX_REQUESTS,
    MAX_WAITING,
    WAITING_SECONDS,
)
from tests.support.inspection import Wire, error, message, only, outcomes, request, result

ELICIT = "elicitation/create"
SAMPLE = "sampling/createMessage"


def require(wire: Wire, **members: Any) -> list[str]:
    """Call, and be asked for input; tell by which methods."""
    turn = wire.post(request(1, name="nap"))
    events = turn.answer(result(1, {"resultType": "input_required", **members}))
    return asked(events)


def asked(events: list[Event]) -> list[str]:
    assert outcomes(events) == [Outcome.INPUT_REQUIRED]
    requests = only(events, InputRequested)
    assert {request.delivery for request in requests} <= {Delivery.INPUT_REQUIRED}
    return [request.method for request in requests]


def repeat(wire: Wire, state: Any) -> list[InputAnswered]:
    """Repeat the call with the state that its answer had."""
    return only(wire.post(request(2, name="nap", requestState=state)).begun, InputAnswered)


def test_a_call_that_is_repeated_tells_how_long_its_client_took() -> None:
    wire = Wire()
    requests = {"a": {"method": ELICIT, "params": {}}, "b": {"method": SAMPLE}}
    assert require(wire, inputRequests=requests, requestState="secret") == [ELICIT, SAMPLE]
    wire.now = 5.0
    assert repeat(wire, "other") == []
    assert repeat(wire, "secret") == [InputAnswered(ELICIT, 5.0), InputAnswered(SAMPLE, 5.0)]
    assert repeat(wire, "secret") == []


def test_the_state_of_a_conversation_is_not_held_as_it_is() -> None:
    wire = Wire()
    require(wire, requestState="secret")
    assert not wire.holds_nothing()
    assert "secret" not in repr(wire.inspector.state.inputs._waiting)


def test_without_a_state_its_answer_is_not_recognised() -> None:
    wire = Wire()
    assert require(wire, inputRequests={"a": {"method": "roots/list"}}) == ["roots/list"]
    assert wire.holds_nothing()
    assert repeat(wire, None) == []


def test_a_state_alone_asks_nothing() -> None:
    wire = Wire()
    assert require(wire, requestState="s") == []
    assert repeat(wire, "s") == []


def test_a_conversation_may_go_on() -> None:
    wire = Wire()
    for now, state in ((0.0, "1"), (10.0, "2")):
        wire.now = now
        if state == "2":
            assert repeat(wire, "1") == [InputAnswered(ELICIT, 10.0)]
        require(wire, inputRequests={"a": {"method": ELICIT}}, requestState=state)
    wire.now = 11.0
    assert repeat(wire, "2") == [InputAnswered(ELICIT, 1.0)]


def test_the_same_state_again_counts_from_the_last_time() -> None:
    wire = Wire()
    for now in (0.0, 10.0):
        wire.now = now
        require(wire, inputRequests={"a": {"method": ELICIT}}, requestState="s")
    wire.now = 12.0
    assert repeat(wire, "s") == [InputAnswered(ELICIT, 2.0)]


def test_who_never_comes_back_is_forgotten() -> None:
    wire = Wire()
    require(wire, inputRequests={"a": {"method": ELICIT}}, requestState="a")
    wire.now = 1.0
    require(wire, inputRequests={"a": {"method": ELICIT}}, requestState="b")
    wire.sweep(WAITING_SECONDS)
    wire.now = WAITING_SECONDS
    assert repeat(wire, "a") == []
    assert repeat(wire, "b") == [InputAnswered(ELICIT, WAITING_SECONDS - 1.0)]


def test_the_oldest_conversation_makes_room() -> None:
    wire = Wire()
    inputs = wire.inspector.state.inputs
    for number in range(MAX_WAITING + 1):
        value = {"inputRequests": {"a": {"method": ELICIT}}, "requestState": str(number)}
        require(wire, **value)
        wire.events.clear()
    assert inputs.resume("0", 1.0) == ()
    assert len(inputs.resume("1", 1.0)) == len(inputs.resume(str(MAX_WAITING), 1.0)) == 1


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"inputRequests": {}},
        {"inputRequests": None},
        {"inputRequests": [{"method": ELICIT}]},
        {"inputRequests": {"a": 5}},
        {"inputRequests": {"a": {"method": 5}}},
        {"requestState": 5},
    ],
)
def test_an_answer_of_odd_types_asks_nothing(members: dict[str, Any]) -> None:
    wire = Wire()
    assert require(wire, **members) == []
    assert wire.holds_nothing()


def test_a_request_without_a_method_is_one_all_the_same() -> None:
    assert require(Wire(), inputRequests={"a": {}}) == [""]


@pytest.mark.parametrize("method", ["", "x", "ping", "Elicitation/create", "x" * 5_000])
def test_methods_that_nobody_knows_are_counted_under_one_name(method: str) -> None:
    requests = {"a": {"method": method}, "b": {"method": ELICIT}}
    assert require(Wire(), inputRequests=requests) == ["", ELICIT]


def test_what_one_answer_asks_is_bounded() -> None:
    requests = {str(number): {"method": "roots/list"} for number in range(MAX_REQUESTS + 1)}
    assert require(Wire(), inputRequests=requests) == ["roots/list"] * MAX_REQUESTS


@pytest.mark.parametrize(("size", "read"), [(MAX_READ, True), (MAX_READ + 1, False)])
def test_an_answer_that_is_too_long_is_not_read(size: int, *, read: bool) -> None:
    wire = Wire()
    value = {"resultType": "input_required", "inputRequests": {"a": {"method": ELICIT}}}
    value["requestState"] = "s"
    value["pad"] = "x" * (size - len(json.dumps({**value, "pad": ""})))
    events = wire.post(request(1)).answer(result(1, value))
    assert asked(events) == ([ELICIT] if read else [])
    assert wire.holds_nothing() is not read
    data: dict[str, Any] = {"elicitations": [{}, {}]}
    data["pad"] = "x" * (size - len(json.dumps({**data, "pad": ""})))
    events = wire.post(request(1)).answer(error(1, -32042, data=data))
    assert asked(events) == [ELICIT] * (2 if read else 1)


@pytest.mark.parametrize(
    ("members", "count"),
    [
        ({"data": {"elicitations": [{"mode": "url"}]}}, 1),
        ({"data": {"elicitations": [{}, 5, "x"]}}, 3),
        ({"data": {"elicitations": []}}, 1),
        ({"data": {"elicitations": [0] * 5_000}}, MAX_REQUESTS),
        ({"data": {"elicitations": {}}}, 1),
        ({"data": {"elicitations": None}}, 1),
        ({"data": {}}, 1),
        ({"data": [1]}, 1),
        ({"data": "text"}, 1),
        ({"data": None}, 1),
        ({}, 1),
    ],
)
def test_an_error_that_wants_a_url_opened_asks_for_it(members: dict[str, Any], count: int) -> None:
    for status in (200, 400):
        turn = Wire().post(request(1))
        assert asked(turn.answer(error(1, -32042, **members), status)) == [ELICIT] * count


def test_an_error_whose_data_are_beyond_all_nesting_asks_for_one() -> None:
    deep = b'{"elicitations":' + b"[" * 900 + b"]" * 900 + b"}"
    body = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"data":%b}}' % deep
    assert asked(Wire().post(request(1)).answer(body)) == [ELICIT]


@pytest.mark.parametrize("state", [None, 5, ["s"], {}])
def test_a_state_of_an_odd_type_is_none(state: Any) -> None:
    wire = Wire()
    require(wire, inputRequests={"a": {"method": ELICIT}}, requestState="s")
    assert repeat(wire, state) == []
    assert only(wire.post(message(id=3, method="x", params=[1])).begun, InputAnswered) == []
    assert repeat(wire, "s") == [InputAnswered(ELICIT, 0.0)]
