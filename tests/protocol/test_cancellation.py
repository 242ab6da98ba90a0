"""Calls that their client cancels, wherever they are held."""

from typing import Any

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    LateResponse,
    Outcome,
)
from tests.support.inspection import (
    Turn,
    Wire,
    error,
    notification,
    only,
    outcomes,
    request,
    result,
    sse,
)

S = {"mcp_session_id": b"s"}


def call(wire: Wire, message_id: Any = 1, **fields: bytes) -> Turn:
    """Begin a call that an event stream shall answer."""
    turn = wire.post(request(message_id), **(fields or S))
    turn.begin()
    return turn


def cancel(wire: Wire, message_id: Any = 1, *, target: bytes = b"/mcp", **fields: bytes) -> Any:
    body = notification("notifications/cancelled", requestId=message_id)
    turn = wire.post(body, target=target, **fields)
    turn.answer(status=202, fields={})
    return outcomes(turn.begun)


def test_a_live_call_is_cancelled_and_its_answer_late() -> None:
    wire = Wire()
    turn = call(wire)
    turn.send(sse(notification("notifications/progress")))
    wire.now = 3.0
    assert cancel(wire, **S) == [Outcome.CANCELLED]
    [end] = only(wire.events, CallClosed)
    assert (end.at, end.first_message_at) == (3.0, 0.0)
    assert only(turn.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]
    assert only(wire.stream(**S).send(sse(result(1))), LateResponse) == []
    assert outcomes(turn.end()) == []
    assert wire.inspector.calls.used == 0


def test_a_suspended_call_is_cancelled() -> None:
    wire = Wire()
    wire.suspend(**S)
    assert cancel(wire, **S) == [Outcome.CANCELLED]
    assert only(wire.stream(**S).send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]
    assert outcomes(wire.sweep()) == []


def test_a_resumed_call_is_cancelled() -> None:
    wire = Wire()
    wire.suspend(**S)
    stream = wire.stream(**S, last_event_id=b"1")
    assert cancel(wire, **S) == [Outcome.CANCELLED]
    assert outcomes(stream.end()) == []
    assert outcomes(wire.sweep()) == []


@pytest.mark.parametrize("accepted", [True, False])
def test_a_call_of_the_old_transport_is_cancelled(*, accepted: bool) -> None:
    wire = Wire()
    stream = wire.announce()
    turn = wire.post(request(1), target=b"/m")
    if accepted:
        turn.answer(status=202, fields={})
    assert cancel(wire, target=b"/m") == [Outcome.CANCELLED]
    assert only(stream.send(sse(error(1, -32800))), LateResponse) == [LateResponse("tools/call")]
    assert outcomes([*turn.abort(Abort.CLIENT_GONE), *stream.end()]) == []
    assert wire.holds_nothing()


def test_only_one_of_several_calls_is_cancelled() -> None:
    wire = Wire()
    turn = wire.post(b"[" + request(1) + b"," + request(2) + b"," + request(1) + b"]", **S)
    turn.begin()
    assert cancel(wire, **S) == [Outcome.CANCELLED]
    assert outcomes(turn.send(sse(result(2), result(1)))) == [Outcome.SUCCESS] * 2


@pytest.mark.parametrize("named", [2, "1", None, True, {"a": 1}])
def test_a_cancellation_of_nothing_known_is_ignored(named: Any) -> None:
    wire = Wire()
    turn = call(wire)
    assert cancel(wire, named, **S) == []
    assert outcomes(turn.send(sse(result(1)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize(
    "body",
    [
        notification("notifications/cancelled"),
        b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":[1]}',
    ],
)
def test_a_cancellation_that_names_nothing_is_ignored(body: bytes) -> None:
    wire = Wire()
    turn = call(wire)
    assert outcomes(wire.post(body, **S).begun) == []
    assert outcomes(turn.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_a_cancellation_of_another_client_is_ignored() -> None:
    wire = Wire()
    turn = call(wire)
    assert cancel(wire, mcp_session_id=b"t") == []
    assert cancel(wire) == []
    assert outcomes(turn.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_initialize_cannot_be_cancelled() -> None:
    wire = Wire()
    turn = wire.post(request(1, "initialize"), **S)
    assert cancel(wire, **S) == []
    assert outcomes(turn.answer(result(1))) == [Outcome.SUCCESS]
