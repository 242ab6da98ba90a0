"""However many calls wait and streams resume, one step costs what it costs where there are few.

Costs are counted in instructions of the interpreter, which are the same on every machine.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from mcp_proxy_exporter.protocol import Abort, CallClosed, InputRequested, Outcome, waiting
from mcp_proxy_exporter.protocol.lost import MAX_LOST
from mcp_proxy_exporter.protocol.resumption import MAX_SHARED
from mcp_proxy_exporter.protocol.scopes import MAX_CLAIMED
from tests.support.holdings import holdings
from tests.support.inspection import EVENTS, Wire, only, outcomes, request, result, sse

S = {"mcp_session_id": b"s"}
FEW, MANY = 30, 300
TOLERANCE = 1.25
"""Of instructions: heaps and texts are a little deeper and longer."""


def count_steps(act: Callable[[], object]) -> int:
    """Count the instructions that something takes."""
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return steps


def suspend_many(wire: Wire, number: int) -> None:
    """Leave calls behind in a session, all of one event and each of one of its own."""
    for message_id in range(number):
        turn = wire.post(request(message_id, "ping"), **S)
        turn.answer(b"id: e%d\ndata:\n\nid: e\ndata:\n\n" % message_id, fields=EVENTS)


def grows(steps_of: Callable[[int], int]) -> bool:
    """Tell whether many cost more than few."""
    return steps_of(MANY) > TOLERANCE * steps_of(FEW)


def test_a_question_costs_the_same_however_many_calls_wait() -> None:
    def ask(number: int) -> int:
        wire = Wire()
        suspend_many(wire, number)
        stream = wire.stream(**S, last_event_id=b"e")
        question = sse(request(1, "roots/list"))
        events: list[Any] = []
        steps = count_steps(lambda: events.extend(stream.tap.response_data(question, 0.0)))
        assert len(only(events, InputRequested)) == 1
        return steps

    assert not grows(ask)


@pytest.mark.parametrize("event_id", [b"e", b"other"])
def test_whether_a_stream_is_awaited_costs_the_same_however_many_calls_wait(
    event_id: bytes,
) -> None:
    def look(number: int) -> int:
        wire = Wire()
        suspend_many(wire, number)
        stream = wire.stream(**S, last_event_id=event_id)
        assert stream.tap.awaits() is (event_id == b"e")
        return count_steps(stream.tap.awaits)

    assert not grows(look)


@pytest.mark.parametrize("last", [b"e", b"e5", b"other"])
def test_a_stream_that_begins_and_ends_costs_the_same_however_many_calls_wait(last: bytes) -> None:
    def resume(number: int) -> int:
        wire = Wire()
        suspend_many(wire, number)
        turn = wire.get(**S, last_event_id=last)
        data = b"id: f\ndata:\n\n"
        return count_steps(lambda: turn.tap.response(200, EVENTS, data, 1.0))

    assert not grows(resume)


def test_a_stream_that_begins_and_ends_costs_the_same_however_many_are_open() -> None:
    def resume(number: int) -> int:
        wire = Wire()
        suspend_many(wire, FEW)
        streams = [wire.stream(**S, last_event_id=b"e") for _ in range(number + FEW)]
        assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED] * (FEW - MAX_SHARED)
        turn = wire.get(**S, last_event_id=b"e")
        steps = count_steps(lambda: turn.tap.response(200, EVENTS, b"", 1.0))
        assert [stream.tap.awaits() for stream in streams] == [True] * len(streams)
        return steps

    assert not grows(resume)


def test_a_sweep_costs_the_same_however_many_streams_resume() -> None:
    def sweep(number: int) -> int:
        wire = Wire()
        suspend_many(wire, FEW)
        for other in range(number):
            wire.stream(**S, last_event_id=b"x%d" % other)
        wire.stream(**S, last_event_id=b"e")
        return count_steps(lambda: wire.inspector.sweep(100.0))

    assert not grows(sweep)


def test_a_sweep_costs_the_same_however_many_calls_are_resumed() -> None:
    def sweep(number: int) -> int:
        wire = Wire()
        suspend_many(wire, number)
        streams = [wire.stream(**S, last_event_id=b"e%d" % each) for each in range(number)]
        assert outcomes(wire.sweep(100.0)) == []
        steps = count_steps(lambda: wire.inspector.sweep(200.0))
        wire.now = 200.0
        for stream in streams:
            stream.end()
        assert outcomes(wire.sweep(259.0)) == []
        assert outcomes(wire.sweep(260.0)) == [Outcome.ABANDONED] * number
        return steps

    assert not grows(sweep)


def test_room_costs_the_same_however_many_calls_are_resumed() -> None:
    def begin(number: int) -> int:
        wire = Wire(max_open_calls=number + 2)
        suspend_many(wire, number)
        streams = [wire.stream(**S, last_event_id=b"e%d" % each) for each in range(number)]
        wire.suspend("last", "ping", event_id=b"last", **S)
        wire.suspend("lost", "ping", event_id=b"last", **S)
        assert outcomes(wire.post(request("a")).begun) == [Outcome.ABANDONED]
        turn = wire.inspector.open(b"POST", b"/", {b"content-type": b"application/json"})
        assert turn is not None
        body = request("b")
        events: list[Any] = []
        steps = count_steps(lambda: events.extend(turn.request(body, 0.0)))
        assert [end.outcome for end in only(events, CallClosed)] == [Outcome.ABANDONED]
        assert outcomes(wire.post(request("c")).begun) == [Outcome.UNINSPECTED]
        streams[0].end()  # who is left by its client again gives way again
        assert outcomes(wire.post(request("d")).begun) == [Outcome.ABANDONED]
        return steps

    assert not grows(begin)


@pytest.mark.parametrize("events", [1, 2])
def test_a_stream_that_many_have_resumed_early_costs_the_same(events: int) -> None:
    def end(number: int) -> int:
        wire = Wire()
        turn = wire.post(request(1))
        turn.begin()
        turn.send(b"".join(b"id: %d\ndata:\n\n" % each for each in range(events)))
        streams = [wire.stream(last_event_id=b"0") for _ in range(number)]
        steps = count_steps(lambda: turn.tap.response_end(0.0))
        assert outcomes(streams[0].send(sse(result(1)))) == []  # its client has come back since
        assert outcomes(streams[-1].send(sse(result(1)))) == [Outcome.SUCCESS]
        for stream in streams:
            stream.end()
        wire.sweep()
        assert wire.holds_nothing()
        return steps

    assert not grows(end)


def test_a_long_chain_of_streams_is_followed_as_far_as_time_allows() -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1))
    turn.begin()
    turn.send(b"id: 0\ndata:\n\n")
    # Each begins before the one that it goes on from has had that event.
    streams = [wire.stream(last_event_id=b"%d" % number) for number in range(1_000)]
    for number, stream in enumerate(streams):
        stream.send(b"id: %d\ndata:\n\n" % (number + 1))
    turn.abort(Abort.CLIENT_GONE)
    scopes = wire.inspector.state.scopes
    assert sum(scopes.lost.claim(b"%d" % number) != [] for number in range(1_000)) in {
        1_000 - MAX_CLAIMED,
        1_000 - MAX_CLAIMED - 1,  # one was found, and is not looked for any more
    }
    assert outcomes(streams[MAX_CLAIMED].send(sse(result(1)))) == []
    assert outcomes(streams[MAX_CLAIMED - 1].send(sse(result(1)))) == [Outcome.SUCCESS]


def test_of_one_event_the_newest_exchanges_are_resumed() -> None:
    wire = Wire(suspended_seconds=10.0)
    suspend_many(wire, MAX_SHARED + 2)
    stream = wire.stream(**S, last_event_id=b"e")
    assert outcomes(wire.sweep(1_000.0)) == [Outcome.ABANDONED] * 2
    answers = [result(number) for number in range(MAX_SHARED + 2)]
    assert outcomes(stream.send(sse(*answers))) == [Outcome.SUCCESS] * MAX_SHARED


def test_a_call_that_is_no_longer_found_by_an_event_is_given_up() -> None:
    wire = Wire(suspended_seconds=10.0)
    wire.suspend("first", event_id=b"e", **S)
    wire.stream(**S, last_event_id=b"e")
    assert outcomes(wire.sweep(100.0)) == []  # resumed
    suspend_many(wire, MAX_SHARED)
    assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED]


def test_calls_that_many_streams_resume_go_on_from_the_events_of_each() -> None:
    wire = Wire(suspended_seconds=10.0)
    suspend_many(wire, 2 * MAX_SHARED)
    for number in range(40):
        stream = wire.stream(**S, last_event_id=b"e" if number == 0 else b"f%d" % (number - 1))
        stream.send(b"id: f%d\ndata:\n\n" % number)
        stream.end()
    wire.stream(**S, last_event_id=b"f39")
    ends = wire.sweep(1_000.0)
    assert outcomes(ends) == [Outcome.ABANDONED] * MAX_SHARED
    assert {end.call for end in only(ends, CallClosed)} == {
        end.call for end in only(wire.events, CallClosed)
    }


def test_a_sweep_looks_at_so_much_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "MAX_LOOKED_AT", FEW)
    wire = Wire(suspended_seconds=10.0, max_open_calls=FEW + 3)
    for number in range(FEW + 3):
        wire.suspend(number, event_id=b"%d" % number, **S)
    for number in range(FEW):
        wire.stream(**S, last_event_id=b"%d" % number)
    assert outcomes(wire.post(request("a")).begun) == [Outcome.UNINSPECTED]
    assert outcomes(wire.post(request("b")).begun) == [Outcome.ABANDONED]
    assert outcomes(wire.sweep(100.0)) == []
    assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED] * 2


def test_calls_that_come_and_go_leave_nothing_behind() -> None:
    wire = Wire()
    wire.suspend("here", **S)
    stream = wire.stream(**S)
    for number in range(200):
        wire.suspend(number, event_id=b"%d" % number, **S)
        stream.send(sse(result(number)))
    assert max(holdings(wire.inspector.state.scopes).values()) < 100


def test_a_call_whose_server_asks_it_to_come_back_soon_is_given_up_soon() -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), **S)
    turn.begin()
    turn.send(b"retry: 1000000\nid: 1\ndata:\n\n")
    turn.end()
    for retry, deadline in ((b"5000", 15.0), (b"9000", 19.0), (b"5000", 15.0), (b"9000", 19.0)):
        stream = wire.stream(**S, last_event_id=b"1")
        stream.send(b"retry: " + retry + b"\n\n")
        stream.end()
        assert outcomes(wire.sweep(deadline - 0.1)) == []
    assert outcomes(wire.sweep(19.0)) == [Outcome.ABANDONED]
    assert wire.sweep(1_000.0) == []


def test_sessions_without_calls_keep_their_ended_streams_up_to_a_number() -> None:
    wire = Wire()
    wire.post(request("open"))  # no scope's, and on its way
    for number in range(MAX_LOST + 10):
        stream = wire.stream(mcp_session_id=b"%d" % number, last_event_id=b"1")
        stream.send(b"id: 2\ndata:\n\n")
        stream.end()
    wire.sweep(0.0)
    scopes = wire.inspector.state.scopes
    assert len(scopes._lingering) == MAX_LOST
    assert sum(scope.links is not None for scope in scopes._sessions.values()) == MAX_LOST


def test_what_is_left_of_a_dying_scope_makes_room_first() -> None:
    wire = Wire(max_open_calls=600)
    stream = wire.announce()
    texts = b",".join(request(number) for number in range(600))
    turn = wire.post(b"[" + texts + b"]", target=b"/m")
    turn.answer(status=202, fields={})
    assert outcomes(stream.abort(Abort.CLIENT_GONE)) == [Outcome.CLIENT_DISCONNECTED] * 500
    texts = b",".join(request(number) for number in range(501))
    begun = wire.post(b"[" + texts + b"]").begun
    assert outcomes(begun) == [Outcome.CLIENT_DISCONNECTED]
    assert outcomes(wire.note(wire.inspector.close(0.0))) == [Outcome.CLIENT_DISCONNECTED] * 99


def test_a_dying_scope_whose_calls_ended_otherwise_makes_no_room() -> None:
    wire = Wire(max_open_calls=501)
    body = b"[" + b",".join(request(number) for number in range(501)) + b"]"
    wire.post(body, **S).answer(b"id: 1\ndata:\n\n", fields=EVENTS)
    stream = wire.stream(**S, last_event_id=b"1")
    wire.delete(**S).answer(status=204)
    assert outcomes(stream.send(sse(result(500)))) == [Outcome.SUCCESS]
    texts = b",".join(request(number) for number in range(502))
    assert outcomes(wire.post(b"[" + texts + b"]").begun) == [Outcome.UNINSPECTED]
