"""Questions of the server within a call, and the time that they take."""

from typing import Any

import pytest

from mcp_proxy_exporter.protocol import (
    CallClosed,
    Delivery,
    InputAnswered,
    InputRequested,
    Outcome,
)
from mcp_proxy_exporter.protocol.remembered import MAX_REMEMBERED
from tests.support.inspection import (
    Turn,
    Wire,
    error,
    notification,
    only,
    request,
    result,
    sse,
)

S = {"mcp_session_id": b"s"}
PRIMING = b"id: 1\ndata:\n\n"
ELICIT = "elicitation/create"


def call(wire: Wire, message_id: Any = 1, **fields: bytes) -> Turn:
    """Begin a call that an event stream shall answer."""
    turn = wire.post(request(message_id), **(fields or S))
    turn.begin()
    return turn


def ask(turn: Turn, question_id: Any = 1, method: str = ELICIT) -> None:
    """Let the server ask."""
    assert InputRequested(method, Delivery.SERVER_REQUEST) in turn.send(
        sse(request(question_id, method))
    )


def reply(wire: Wire, question_id: Any = 1) -> list[InputAnswered]:
    """Let the client answer."""
    return only(wire.post(result(question_id), **S).begun, InputAnswered)


def end_of(turn: Turn, message_id: Any = 1) -> CallClosed:
    [end] = only(turn.send(sse(result(message_id))), CallClosed)
    return end


def test_a_question_is_answered_and_its_time_told_apart() -> None:
    wire = Wire()
    turn = call(wire)
    wire.now = 1.0
    ask(turn)
    wire.now = 4.0
    assert reply(wire) == [InputAnswered(ELICIT, 3.0)]
    assert reply(wire) == []
    wire.now = 5.0
    end = end_of(turn)
    assert (end.waited, end.at) == (3.0, 5.0)


def test_an_error_is_an_answer_too() -> None:
    wire = Wire()
    turn = call(wire)
    ask(turn)
    wire.now = 2.0
    turn = wire.post(error(1, -1, "User rejected"), **S)
    assert only(turn.begun, InputAnswered) == [InputAnswered(ELICIT, 2.0)]


@pytest.mark.parametrize("method", ["sampling/createMessage", "roots/list", ELICIT])
def test_input_is_asked_for_by_three_methods(method: str) -> None:
    wire = Wire()
    ask(call(wire), method=method)
    assert reply(wire) == [InputAnswered(method, 0.0)]


def test_a_ping_is_no_question() -> None:
    wire = Wire()
    turn = call(wire)
    assert only(turn.send(sse(request(1, "ping"))), InputRequested) == []
    assert reply(wire) == []


def test_questions_that_overlap_are_waited_for_once() -> None:
    wire = Wire()
    turn = call(wire)
    for now, question in ((1.0, "a"), (2.0, "b")):
        wire.now = now
        ask(turn, question)
    for now, question, took in ((3.0, "a", 2.0), (5.0, "b", 3.0)):
        wire.now = now
        assert reply(wire, question) == [InputAnswered(ELICIT, took)]
    wire.now = 7.0
    ask(turn, "c")
    wire.now = 8.0
    assert end_of(turn).waited == 5.0  # 1 to 5, and 7 until now
    assert reply(wire, "c") == [InputAnswered(ELICIT, 1.0)]


def test_a_question_asked_again_is_one_question() -> None:
    wire = Wire()
    turn = call(wire)
    for now in (1.0, 2.0):
        wire.now = now
        ask(turn)
    wire.now = 5.0
    assert reply(wire) == [InputAnswered(ELICIT, 3.0)]
    assert end_of(turn).waited == 4.0


def test_a_server_may_withdraw_its_question() -> None:
    wire = Wire()
    turn = call(wire)
    ask(turn)
    wire.now = 2.0
    for body in (
        b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
        notification("notifications/cancelled"),
        notification("notifications/cancelled", requestId=2),
        notification("notifications/cancelled", requestId=1),
    ):
        turn.send(sse(body))
    wire.now = 9.0
    assert reply(wire) == []
    assert end_of(turn).waited == 2.0


def test_the_server_does_not_cancel_the_clients_calls() -> None:
    wire = Wire()
    turn = call(wire)
    turn.send(sse(notification("notifications/cancelled", requestId=1)))
    assert end_of(turn).outcome is Outcome.SUCCESS
    elsewhere = wire.post(request(1))
    elsewhere.begin()
    elsewhere.send(sse(notification("notifications/cancelled", requestId=1)))
    assert end_of(elsewhere).outcome is Outcome.SUCCESS


def test_an_answer_after_the_end_of_the_call_still_took_its_time() -> None:
    wire = Wire()
    turn = call(wire)
    ask(turn)
    wire.now = 2.0
    assert end_of(turn).waited == 2.0
    wire.now = 6.0
    assert reply(wire) == [InputAnswered(ELICIT, 6.0)]


@pytest.mark.parametrize(("asked", "answered"), [(1.0, 1), (1, 1.0)])
def test_javascript_may_answer_the_question_1_to_1_0(asked: Any, answered: Any) -> None:
    wire = Wire()
    ask(call(wire), asked)
    assert reply(wire, "1") == []
    assert reply(wire, answered) == [InputAnswered(ELICIT, 0.0)]


def test_more_questions_than_are_remembered_are_forgotten_in_their_order() -> None:
    wire = Wire()
    turn = call(wire)
    ask(turn, 0)
    wire.now = 1.0
    for number in range(1, MAX_REMEMBERED + 1):
        ask(turn, number)
    assert reply(wire, 0) == []
    assert len([number for number in range(1, MAX_REMEMBERED + 1) if reply(wire, number)]) == 100
    assert end_of(turn).waited == 1.0


def test_a_question_that_could_belong_to_several_calls_belongs_to_none() -> None:
    wire = Wire()
    turn = wire.post(b"[" + request(1) + b"," + request(2) + b"]", **S)
    turn.begin()
    ask(turn)
    wire.now = 2.0
    assert reply(wire) == [InputAnswered(ELICIT, 2.0)]
    ends = only(turn.send(sse(result(1), result(2))), CallClosed)
    assert [end.waited for end in ends] == [0.0, 0.0]


def test_a_question_without_a_session_cannot_be_followed() -> None:
    wire = Wire()
    turn = wire.post(request(1))
    turn.begin()
    ask(turn)
    assert only(wire.post(result(1)).begun, InputAnswered) == []
    assert end_of(turn).waited == 0.0


@pytest.mark.parametrize("fields", [{}, {"last_event_id": b"1"}])
def test_a_question_on_a_stream_belongs_to_the_call_that_it_resumes(
    fields: dict[str, bytes],
) -> None:
    wire = Wire()
    wire.suspend(**S)
    stream = wire.stream(**S, **fields)
    ask(stream)
    wire.now = 3.0
    assert reply(wire) == [InputAnswered(ELICIT, 3.0)]
    assert end_of(stream).waited == (3.0 if fields else 0.0)


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    ("ids", "waited"), [([[1]], [3.0]), ([[1], [2]], [0.0, 0.0]), ([[1, 2]], [0.0, 0.0])]
)
def test_a_question_on_the_old_stream_belongs_to_the_only_call(
    ids: list[list[int]], waited: list[float], *, accepted: bool
) -> None:
    wire = Wire()
    stream = wire.announce()
    for batch in ids:
        texts = [request(message_id) for message_id in batch]
        body = texts[0] if len(texts) == 1 else b"[" + b",".join(texts) + b"]"
        turn = wire.post(body, target=b"/m")
        if accepted:
            turn.answer(status=202, fields={})
    ask(stream)
    wire.now = 3.0
    replied = wire.post(result(1), target=b"/m").begun
    assert only(replied, InputAnswered) == [InputAnswered(ELICIT, 3.0)]
    calls = [message_id for batch in ids for message_id in batch]
    assert [end_of(stream, message_id).waited for message_id in calls] == waited


def test_a_question_on_the_old_stream_may_belong_to_no_call() -> None:
    wire = Wire()
    stream = wire.announce()
    ask(stream)
    wire.post(request(1), target=b"/m").answer(status=202, fields={})
    wire.now = 3.0
    replied = wire.post(result(1), target=b"/m").begun
    assert only(replied, InputAnswered) == [InputAnswered(ELICIT, 3.0)]
    assert end_of(stream).waited == 0.0


def test_what_was_asked_of_a_call_that_is_given_up_counts_as_waited() -> None:
    wire = Wire()
    turn = call(wire)
    turn.send(PRIMING)
    ask(turn)
    turn.end()
    assert only(wire.sweep(60.0), CallClosed)[0].waited == 60.0


# Streams that are resumed send again what was sent


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("question", [1, "a", 1.5])
def test_a_question_that_was_asked_before_is_not_counted_again(
    question: Any, *, answered: bool
) -> None:
    wire = Wire()
    turn = call(wire)
    turn.send(PRIMING)
    ask(turn, question)
    turn.end()
    wire.now = 1.0
    if answered:
        assert len(reply(wire, question)) == 1
    wire.now = 5.0
    stream = wire.stream(**S, last_event_id=b"1")
    assert only(stream.send(sse(request(question, ELICIT))), InputRequested) == []
    assert len(reply(wire, question)) == (0 if answered else 1)
    wire.now = 9.0
    assert end_of(stream).waited == (1.0 if answered else 5.0)
    assert len(only(wire.events, InputRequested)) == 1


def test_a_new_question_on_a_resumed_stream_is_counted() -> None:
    wire = Wire()
    turn = call(wire)
    turn.send(PRIMING)
    ask(turn, 1)
    turn.end()
    stream = wire.stream(**S, last_event_id=b"1")
    ask(stream, 2)
    wire.now = 3.0
    assert reply(wire, 2) == [InputAnswered(ELICIT, 3.0)]
    assert end_of(stream).waited == 3.0


def test_a_question_asked_again_on_a_stream_of_its_own_is_another_one() -> None:
    wire = Wire()
    stream = wire.stream(**S)
    ask(stream)
    wire.now = 1.0
    assert reply(wire) == [InputAnswered(ELICIT, 1.0)]
    ask(stream)
    wire.now = 3.0
    assert reply(wire) == [InputAnswered(ELICIT, 2.0)]


def test_only_so_many_answered_questions_are_remembered() -> None:
    wire = Wire()
    wire.suspend(**S)
    turn = call(wire, 2)
    for number in range(MAX_REMEMBERED + 1):
        ask(turn, number)
        assert len(reply(wire, number)) == 1
    stream = wire.stream(**S, last_event_id=b"1")
    assert only(stream.send(sse(request(1, ELICIT))), InputRequested) == []
    ask(stream, 0)
    assert len(reply(wire, 0)) == 1
    [session] = wire.inspector.state.scopes._sessions.values()
    assert len(session.remembered._answered) == MAX_REMEMBERED


def test_a_question_on_a_resumed_stream_is_not_that_of_another_call() -> None:
    wire = Wire()
    wire.suspend(1, event_id=b"1", **S)
    wire.suspend(2, event_id=b"2", **S)
    elsewhere = call(wire, 3)
    stream = wire.stream(**S, last_event_id=b"2")
    ask(stream)
    wire.now = 3.0
    assert reply(wire) == [InputAnswered(ELICIT, 3.0)]
    assert [end_of(stream, message_id).waited for message_id in (1, 2)] == [0.0, 3.0]
    assert end_of(elsewhere, 3).waited == 0.0


@pytest.mark.parametrize(("last", "calls"), [(b"1", 2), (b"other", 1)])
def test_a_question_on_a_stream_that_resumes_none_or_several_belongs_to_none(
    last: bytes, calls: int
) -> None:
    wire = Wire()
    for message_id in range(calls):
        wire.suspend(message_id, **S)
    stream = wire.stream(**S, last_event_id=last)
    ask(stream)
    wire.now = 3.0
    assert reply(wire) == [InputAnswered(ELICIT, 3.0)]
    assert [end_of(stream, message_id).waited for message_id in range(calls)] == [0.0] * calls


def test_a_question_on_a_resumed_stream_without_a_session_is_counted_and_not_timed() -> None:
    wire = Wire()
    wire.suspend()
    stream = wire.stream(last_event_id=b"1")
    ask(stream)
    wire.now = 3.0
    assert only(wire.post(result(1)).begun, InputAnswered) == []
    stream.send(sse(notification("notifications/cancelled", requestId=1)))
    assert end_of(stream).waited == 0.0
    stream.end()
    assert wire.holds_nothing()


def test_a_question_on_the_old_stream_belongs_to_none_of_two_calls_with_one_id() -> None:
    wire = Wire()
    stream = wire.announce()
    turn = wire.post(b"[" + request(1) + b"," + request(1) + b"]", target=b"/m")
    ask(stream)
    wire.now = 3.0
    assert [end_of(stream).waited for _ in range(2)] == [0.0, 0.0]
    assert only(turn.answer(status=202, fields={}), CallClosed) == []
