"""The calls of one client across its exchanges."""

from typing import Any

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    LateResponse,
    Outcome,
)
from mcp_proxy_exporter.protocol.remembered import MAX_REMEMBERED
from tests.support.inspection import (
    Turn,
    Wire,
    error,
    only,
    outcomes,
    request,
    result,
    sse,
)

S = {"mcp_session_id": b"s"}
PRIMING = b"id: 1\ndata:\n\n"


def call(wire: Wire, message_id: Any = 1, **fields: bytes) -> Turn:
    """Begin a call that an event stream shall answer."""
    turn = wire.post(request(message_id), **(fields or S))
    turn.begin()
    return turn


def test_an_id_that_is_used_again_gives_up_the_suspended_call_before_the_new_one_begins() -> None:
    wire = Wire()
    wire.suspend(**S)
    wire.now = 2.0
    turn = call(wire)
    [given_up] = only(turn.begun, CallClosed)
    assert (given_up.outcome, given_up.at) == (Outcome.ABANDONED, 2.0)
    kinds = [type(event) for event in turn.begun]
    assert kinds.index(CallClosed) < kinds.index(CallOpened)
    turn.send(sse(result(1)))
    assert outcomes(wire.events) == [Outcome.ABANDONED, Outcome.SUCCESS]
    assert only(wire.stream(**S).send(sse(result(1))), LateResponse) == []


def test_an_id_that_is_used_again_gives_up_a_call_that_is_being_resumed() -> None:
    wire = Wire()
    wire.suspend(**S)
    stream = wire.stream(**S, last_event_id=b"1")
    turn = call(wire)
    assert outcomes(turn.begun) == [Outcome.ABANDONED]
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert outcomes([*stream.end(), *turn.end()]) == []


def test_an_id_that_is_used_again_makes_nothing_late_of_its_second_answer() -> None:
    wire = Wire()
    wire.suspend(**S)
    wire.sweep(100.0)
    wire.now = 100.0
    call(wire).send(sse(result(1)))
    assert only(wire.stream(**S).send(sse(result(1))), LateResponse) == []


def test_other_ids_are_left_alone() -> None:
    wire = Wire()
    wire.suspend(1, **S)
    wire.suspend(2, **S)
    assert outcomes(call(wire, 3).begun) == []
    stream = wire.stream(**S, last_event_id=b"1")
    assert outcomes(stream.send(sse(result(2), result(1)))) == [Outcome.SUCCESS] * 2


def test_of_live_calls_with_one_id_a_stream_answers_the_last_one() -> None:
    wire = Wire()
    first, second = call(wire), call(wire)
    stream = wire.stream(**S)
    [end] = only(stream.send(sse(result(1), error(1, -1), result(1))), CallClosed)
    assert end.outcome is Outcome.SUCCESS
    assert end.call is only(second.begun, CallOpened)[0].call
    assert outcomes(second.end()) == []
    assert outcomes(first.send(sse(error(1, -1)))) == [Outcome.PROTOCOL_ERROR]
    assert wire.inspector.calls.used == 0


def test_of_live_calls_with_one_id_the_first_may_end_first() -> None:
    wire = Wire()
    first, second = call(wire), call(wire)
    assert outcomes(first.send(sse(error(1, -1)))) == [Outcome.PROTOCOL_ERROR]
    assert outcomes(wire.stream(**S).send(sse(result(1)))) == [Outcome.SUCCESS]
    assert outcomes([*first.end(), *second.end()]) == []


def test_of_calls_with_one_id_that_end_unanswered_the_last_one_is_waited_for() -> None:
    wire = Wire()
    turns = [call(wire), call(wire)]
    for turn in turns:
        turn.send(PRIMING)
    assert outcomes(turns[0].end()) == []
    assert outcomes(turns[1].end()) == [Outcome.ABANDONED]
    assert outcomes(wire.stream(**S, last_event_id=b"1").send(sse(result(1)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize("cause", [Abort.CLIENT_GONE, Abort.SHUTDOWN])
def test_a_call_that_its_exchange_left_unanswered_may_have_a_late_answer(cause: Abort) -> None:
    wire = Wire()
    assert len(outcomes(call(wire).abort(cause))) == 1
    assert only(wire.stream(**S).send(sse(result(1), result(1))), LateResponse) == [
        LateResponse("tools/call")
    ]


def test_only_so_many_ended_calls_are_remembered() -> None:
    wire = Wire(max_open_calls=MAX_REMEMBERED + 1)
    for message_id in range(MAX_REMEMBERED + 1):
        call(wire, message_id).abort(Abort.CLIENT_GONE)
    stream = wire.stream(**S)
    assert only(stream.send(sse(result(0))), LateResponse) == []
    assert only(stream.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]
