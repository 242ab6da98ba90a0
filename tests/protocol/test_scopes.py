"""Streams that are resumed without a session, and the end of everything."""

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    CallOpened,
    Client,
    InspectionStopped,
    LateResponse,
    Limits,
    Outcome,
    SessionClosed,
    SessionEnd,
    SessionOpened,
)
from mcp_proxy_exporter.protocol.state import ServerState
from tests.support.inspection import (
    EVENTS,
    Wire,
    only,
    outcomes,
    request,
    result,
    sse,
)

PRIMING = b"id: 1\ndata:\n\n"


def test_a_call_without_a_session_is_resumed_by_its_event_id() -> None:
    for event_id in (b"abc", b"x" * 500):
        wire = Wire()
        wire.suspend(event_id=event_id)
        for others in ({}, {"last_event_id": b""}, {"last_event_id": b"other"}):
            other = wire.stream(**others)
            assert outcomes(other.send(sse(result(1)))) == []
            other.end()
        stream = wire.stream(last_event_id=event_id)
        assert wire.sweep(1_000.0) == []
        assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
        stream.end()
        assert wire.holds_nothing()


def test_a_call_without_a_session_is_resumed_again_from_a_later_event() -> None:
    wire = Wire(suspended_seconds=10.0)
    wire.suspend()
    for now, last, event_id in ((5.0, b"1", b"2"), (14.0, b"2", b"3")):
        wire.now = now
        stream = wire.stream(last_event_id=last)
        stream.send(b"id: %b\ndata:\n\n" % event_id)
        stream.end()
        assert wire.sweep(now + 9.9) == []
    stream = wire.stream(last_event_id=b"3")
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    stream.end()
    assert wire.holds_nothing()


def test_a_call_without_a_session_is_given_up_and_its_event_ids_forgotten() -> None:
    wire = Wire()
    wire.suspend()
    assert outcomes(wire.sweep(60.0)) == [Outcome.ABANDONED]
    assert wire.holds_nothing()


def test_a_stream_that_was_lost_is_found_when_its_end_is_seen_and_not_before() -> None:
    wire = Wire()
    turn = wire.post(request(1))
    turn.begin()
    turn.send(PRIMING)
    other, stream = wire.stream(last_event_id=b"2"), wire.stream(last_event_id=b"1")
    turn.end()
    assert outcomes(other.send(sse(result(1)))) == []
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    other.end()
    stream.end()
    assert wire.holds_nothing()


def test_a_stream_that_was_lost_and_is_over_finds_nothing() -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1))
    turn.begin()
    turn.send(PRIMING)
    first, second = wire.stream(last_event_id=b"1"), wire.stream(last_event_id=b"1")
    first.end()  # not that which is looked for any more
    turn.end()
    assert outcomes(wire.sweep(1_000.0)) == []
    wire.now = 1_000.0
    second.end()
    assert outcomes(wire.sweep(1_010.0)) == [Outcome.ABANDONED]
    assert wire.holds_nothing()
    stream = wire.stream(last_event_id=b"1")
    stream.end()
    wire.suspend()
    wire.now = 2_000.0
    assert outcomes(wire.sweep(2_000.0)) == [Outcome.ABANDONED]
    assert wire.holds_nothing()


def test_the_same_event_id_of_two_streams_means_the_later_one() -> None:
    wire = Wire()
    wire.suspend(1)
    wire.suspend(2)
    stream = wire.stream(last_event_id=b"1")
    assert outcomes(stream.send(sse(result(1), result(2)))) == [Outcome.SUCCESS]
    stream.end()
    assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED]
    assert wire.holds_nothing()


def test_calls_of_one_batch_are_suspended_together() -> None:
    wire = Wire()
    turn = wire.post(b"[" + request(1) + b"," + request(2) + b"," + request(1) + b"]")
    turn.begin()
    turn.send(PRIMING)
    assert outcomes(turn.end()) == [Outcome.ABANDONED]  # the first of two with one id
    stream = wire.stream(last_event_id=b"1")
    assert outcomes(stream.send(sse(result(2), result(1)))) == [Outcome.SUCCESS] * 2
    assert wire.inspector.calls.used == 0


def test_shutting_down_ends_what_waits() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=b"s")
    wire.suspend()
    stream = wire.announce()
    wire.post(request(3), target=b"/m").answer(status=202, fields={})
    assert outcomes(stream.abort(Abort.SHUTDOWN)) == [Outcome.PROXY_SHUTDOWN]
    assert outcomes(wire.note(wire.inspector.close(9.0))) == [Outcome.PROXY_SHUTDOWN] * 2
    assert wire.inspector.calls.used == 0
    assert wire.note(wire.inspector.close(9.0)) == []
    wire.sweep()
    assert wire.holds_nothing()


def test_shutting_down_forgets_streams_without_a_session() -> None:
    wire = Wire()
    wire.suspend()
    assert outcomes(wire.note(wire.inspector.close(9.0))) == [Outcome.PROXY_SHUTDOWN]
    assert wire.holds_nothing()


def test_a_session_ends_once() -> None:
    scopes = ServerState(Limits()).scopes
    scopes.open_session(b"s", Client(), 1.0)
    scope = scopes.join({b"mcp-session-id": b"s"}, b"/mcp", 1.0)
    assert scope is not None
    for expected in ((SessionClosed(SessionEnd.DELETED, 1.0),), ()):
        assert tuple(scopes.close_session(scope, SessionEnd.DELETED, 2.0)) == expected
    assert scopes.confirm(scope, 3.0) == ()


def test_what_is_overdue_is_ended_little_by_little() -> None:
    wire = Wire(session_idle_seconds=5.0)
    body = b"[" + b",".join(request(number) for number in range(1_000)) + b"]"
    for fields in ({}, {"mcp_session_id": b"s"}):
        wire.post(body, **fields).answer(PRIMING, fields=EVENTS)
    for _ in range(4):
        assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED] * 500
    assert wire.sweep(100.0) == [SessionClosed(SessionEnd.IDLE, 0.0)]
    assert wire.holds_nothing()


def test_idle_sessions_are_ended_little_by_little() -> None:
    wire = Wire(session_idle_seconds=5.0)
    scopes = wire.inspector.state.scopes
    for number in range(1_100):
        scopes.open_session(b"%d" % number, Client(), 0.0)
    for expected in (500, 500, 100, 0):
        assert wire.sweep(100.0) == [SessionClosed(SessionEnd.IDLE, 0.0)] * expected
    assert wire.holds_nothing()


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("session", Outcome.ABANDONED), ("endpoint", Outcome.CLIENT_DISCONNECTED)],
)
def test_what_waits_in_a_dying_scope_is_ended_little_by_little(kind: str, outcome: Outcome) -> None:
    wire = Wire()
    body = b"[" + b",".join(request(number) for number in range(700)) + b"]"
    if kind == "session":
        turn = wire.post(body, mcp_session_id=b"s")
        turn.answer(PRIMING, fields=EVENTS)
        resumed = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
        events = wire.delete(mcp_session_id=b"s").answer(status=204)
    else:
        resumed = wire.announce()
        wire.post(body, target=b"/m").answer(status=202, fields={})
        events = resumed.abort(Abort.CLIENT_GONE)
    assert outcomes(events) == [outcome] * 500
    assert outcomes(wire.sweep(0.0)) == [outcome] * 200
    resumed.end()
    assert wire.holds_nothing()


# Room for calls


def test_who_waited_longest_makes_room_for_a_new_call() -> None:
    wire = Wire(max_open_calls=2)
    wire.suspend(1, mcp_session_id=b"s")
    wire.suspend(2)
    wire.now = 4.0
    turn = wire.post(request(3))
    [given_up] = only(turn.begun, CallClosed)
    assert (given_up.outcome, given_up.at) == (Outcome.ABANDONED, 4.0)
    assert given_up.call is only(wire.events, CallOpened)[0].call
    assert turn.begun.index(given_up) < turn.begun.index(only(turn.begun, CallOpened)[0])
    assert only(turn.begun, InspectionStopped) == []
    assert outcomes(wire.post(request(4)).begun) == [Outcome.ABANDONED]
    assert wire.inspector.state.scopes._streams == {}
    refused = wire.post(request(5))
    assert only(refused.begun, InspectionStopped) == [InspectionStopped("too_large")]
    assert outcomes(refused.begun) == [Outcome.UNINSPECTED]
    assert outcomes(turn.answer(result(3))) == [Outcome.SUCCESS]
    assert wire.inspector.calls.used == 1


def test_a_call_that_was_given_up_for_room_has_a_late_answer() -> None:
    wire = Wire(max_open_calls=1)
    wire.suspend(1, mcp_session_id=b"s")
    wire.post(request(2), mcp_session_id=b"s")
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    assert only(stream.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]


def test_a_call_that_waits_on_the_old_stream_does_not_make_room() -> None:
    wire = Wire(max_open_calls=1)
    stream = wire.announce()
    wire.post(request(1), target=b"/m").answer(status=202, fields={})
    assert outcomes(wire.post(request(2), target=b"/m").begun) == [Outcome.UNINSPECTED]
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


# Who uses a scope


def test_a_scope_counts_who_uses_it() -> None:
    scopes = ServerState(Limits()).scopes
    fields = {b"mcp-session-id": b"s"}
    first = scopes.join(fields, b"/mcp", 1.0)
    assert first is not None
    assert first.users == 1
    assert scopes.join_session(fields, 1.0) is first
    assert scopes.join(fields, b"/mcp", 1.0) is first
    assert scopes.enter_session(b"s", 1.0) is first
    assert first.users == 4
    for left in (3, 2, 1):
        scopes.leave(first, 2.0)
        assert first.users == left
        assert scopes._sessions == {b"s": first}
    scopes.leave(first, 9.0)
    assert (first.users, first.heard_at) == (0, 9.0)
    assert scopes._sessions == {}
    assert scopes.join({}, b"/mcp", 1.0) is None
    assert scopes.join_session({}, 1.0) is None


def test_a_proof_is_a_sign_of_life() -> None:
    scopes = ServerState(Limits()).scopes
    scope = scopes.enter_session(b"s", 1.0)
    assert list(scopes.confirm(scope, 5.0)) == [SessionOpened()]
    assert (scope.opened_at, scope.heard_at) == (5.0, 5.0)
    assert list(scopes.confirm(scope, 6.0)) == []
    assert scope.heard_at == 5.0


@pytest.mark.parametrize("how", ["sweep", "evict"])
def test_a_scope_that_is_in_use_is_not_forgotten(how: str) -> None:
    wire = Wire(max_sessions=1, suspended_seconds=1.0, session_idle_seconds=5.0)
    turn = wire.post(request(1), mcp_session_id=b"s")
    wire.suspend(2, mcp_session_id=b"s")
    assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED]
    if how == "evict":
        wire.post(request(3, "x")).answer(result(3))
    assert wire.inspector.state.scopes._sessions.keys() == {b"s"}
    wire.now = 100.0
    stream = wire.stream(mcp_session_id=b"s")
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert outcomes([*turn.end(), *stream.end()]) == []


# Known faults


def test_a_stream_that_was_lost_is_found_at_the_end_of_a_resumed_one() -> None:
    wire = Wire()
    wire.suspend()
    first = wire.stream(last_event_id=b"1")
    first.send(b"id: 2\ndata:\n\n")
    second = wire.stream(last_event_id=b"2")
    first.abort(Abort.CLIENT_GONE)
    assert outcomes(second.send(sse(result(1)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": b"s"}])
def test_an_id_without_an_event_is_resumed_from(fields: dict[str, bytes]) -> None:
    wire = Wire(suspended_seconds=10.0)
    wire.suspend(**fields)
    stream = wire.stream(last_event_id=b"1", **fields)
    stream.send(b"id: 2\n\n")
    stream.end()
    stream = wire.stream(last_event_id=b"2", **fields)
    assert outcomes(wire.sweep(1_000.0)) == []
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_a_call_whose_client_is_back_does_not_make_room() -> None:
    wire = Wire(max_open_calls=2)
    wire.suspend(1, event_id=b"1", mcp_session_id=b"s")
    wire.suspend(2, event_id=b"2", mcp_session_id=b"s")
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    assert outcomes(wire.post(request(3)).begun) == [Outcome.ABANDONED]
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_of_two_lost_streams_either_may_answer() -> None:
    wire = Wire()
    turn = wire.post(request(1))
    turn.begin()
    turn.send(PRIMING)
    first, _ = wire.stream(last_event_id=b"1"), wire.stream(last_event_id=b"1")
    turn.end()
    assert outcomes(first.send(sse(result(1)))) == [Outcome.SUCCESS]
