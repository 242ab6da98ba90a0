"""Streams that resume, without a session, one whose end is seen late."""

import pytest

from mcp_proxy_exporter.protocol import Abort, Outcome
from mcp_proxy_exporter.protocol.lost import MAX_LOST, LostStreams
from mcp_proxy_exporter.protocol.resumption import Resumption
from mcp_proxy_exporter.protocol.scope import Scope
from mcp_proxy_exporter.protocol.sse import MAX_IDS
from tests.support.inspection import Turn, Wire, outcomes, request, result, sse


class Silent:
    """A stream that is told nothing."""

    def enter(self, scope: Scope, stream: Resumption) -> None:  # noqa: ARG002
        raise AssertionError


def event(event_id: int) -> bytes:
    return b"id: %d\ndata:\n\n" % event_id


def lose(wire: Wire, call: int = 1, event_id: int = 1) -> Turn:
    """Begin a call whose client leaves its stream, which is not seen."""
    turn = wire.post(request(call))
    turn.begin()
    turn.send(event(event_id))
    return turn


def resume(wire: Wire, last: int, *event_ids: int) -> Turn:
    """Go on from one event, and have others."""
    stream = wire.stream(last_event_id=b"%d" % last)
    for event_id in event_ids:
        stream.send(event(event_id))
    return stream


@pytest.mark.parametrize("late", [False, True])
def test_a_stream_is_linked_however_long_ago_the_one_between_ended(*, late: bool) -> None:
    wire = Wire(suspended_seconds=10.0)
    lost = lose(wire)
    resume(wire, 1, 2).end()
    streams = [] if late else [resume(wire, 2)]
    wire.now = 1_000.0
    wire.sweep(wire.now)
    stream = resume(wire, 2) if late else streams[0]
    assert outcomes(lost.abort(Abort.CLIENT_GONE)) == []
    assert outcomes(wire.sweep(2_000.0)) == []
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    stream.end()
    wire.sweep()
    assert wire.holds_nothing()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 1, 0), (2, 0, 1)])
@pytest.mark.parametrize("early", [False, True])
def test_the_ends_of_streams_that_were_lost_are_seen_in_any_order(
    order: tuple[int, ...], *, early: bool
) -> None:
    wire = Wire(suspended_seconds=10.0)
    turns = [lose(wire), resume(wire, 1, 2), resume(wire, 2, 3)]
    streams = [resume(wire, 3)] if early else []
    for end in order:
        assert outcomes(turns[end].abort(Abort.CLIENT_GONE)) == []
    stream = streams[0] if early else resume(wire, 3)
    assert outcomes(wire.sweep(1_000.0)) == []
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    stream.end()
    wire.sweep()
    assert wire.holds_nothing()


def test_a_stream_between_that_is_open_links_one_that_is_over() -> None:
    wire = Wire(suspended_seconds=10.0)
    lost = lose(wire)
    between = resume(wire, 1, 2)
    resume(wire, 2, 3).end()
    lost.end()
    stream = resume(wire, 3)
    between.end()
    assert outcomes(wire.sweep(1_000.0)) == []
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_who_resumes_from_the_same_event_again_is_linked_in_the_same_way() -> None:
    wire = Wire(suspended_seconds=10.0)
    lost = lose(wire)
    resume(wire, 1, 2).end()
    first = resume(wire, 2)  # alive, and brings nothing new
    for number in range(MAX_LOST):  # others push out what links it
        resume(wire, 1_000, 1_001 + number).end()
    second = resume(wire, 2)
    first.end()
    lost.end()
    assert outcomes(wire.sweep(1_000.0)) == []
    assert outcomes(second.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_a_call_is_polled_for_long_before_the_end_of_its_stream_is_seen() -> None:
    wire = Wire(suspended_seconds=10.0)
    lost = lose(wire)
    for number in range(2, 300):
        resume(wire, number - 1, number).end()
        wire.now += 5.0
        wire.sweep(wire.now)
    stream = resume(wire, 299)
    lost.end()
    assert outcomes(wire.sweep(wire.now + 1_000.0)) == []
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_what_a_stream_goes_on_from_is_bounded() -> None:
    stream = Resumption({b"0": None}, [b"1"])
    for number in range(1, 100):
        later = Resumption({b"%d" % number: None}, [b"%d" % (number + 1)])
        later.follow(stream)
        stream = later
    newest = [b"%d" % number for number in range(99, 100 - MAX_IDS, -1)]
    assert [*stream.origins] == [*newest, b"0"]


def test_a_stream_from_the_same_event_goes_on_from_no_later_one() -> None:
    stream, other = Resumption({b"1": None}), Resumption({b"2": None, b"1": None, b"0": None})
    stream.follow(other)
    assert [*stream.origins] == [b"1", b"0"]
    stream.follow(Resumption({b"8": None}, [b"9"]))
    assert [*stream.origins] == [b"1", b"0"]


def test_what_is_remembered_of_streams_that_are_over_is_bounded() -> None:
    wire = Wire()
    lost = lose(wire)
    for number in range(10, 10 + 3 * MAX_LOST):
        resume(wire, 5, number).end()
        resume(wire, 6).end()  # was nothing
        wire.sweep(0.0)
    streams = wire.inspector.state.scopes.lost
    assert (len(streams._past), len(streams._known), streams._open) == (MAX_LOST, MAX_LOST, {})
    lost.send(sse(result(1)))
    lost.end()
    wire.sweep(0.0)
    assert wire.holds_nothing()


def test_a_stream_that_asked_to_wait_is_remembered() -> None:
    wire = Wire(suspended_seconds=10.0)
    lost = lose(wire)
    stream = resume(wire, 1)
    stream.send(b"retry: 5000\n\n")
    stream.end()
    lost.end()
    assert outcomes(wire.sweep(14.9)) == []
    assert outcomes(wire.sweep(15.0)) == [Outcome.ABANDONED]


def test_a_stream_that_was_over_before_a_call_has_not_resumed_it() -> None:
    wire = Wire(suspended_seconds=10.0)
    other = lose(wire, event_id=7)
    resume(wire, 1, 2).end()  # of a client whose server counts from 1 for everybody
    wire.now = 1.0
    lose(wire, 2).end()
    stream = resume(wire, 2)
    assert outcomes(stream.send(sse(result(2)))) == []
    assert outcomes(wire.sweep(11.0)) == [Outcome.ABANDONED]
    assert outcomes(other.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_nor_is_that_so_in_a_session() -> None:
    wire = Wire(suspended_seconds=10.0)
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    stream.send(b"retry: 30000\n\n")
    stream.end()
    wire.now = 1.0
    wire.suspend(mcp_session_id=b"s")
    assert outcomes(wire.sweep(11.0)) == [Outcome.ABANDONED]


def test_of_a_stream_that_looks_for_what_it_resumes_the_last_event_ids_are_remembered() -> None:
    wire = Wire()
    stream = resume(wire, 1, *range(2, 200))
    known = wire.inspector.state.scopes.lost._known
    assert [*known] == [b"%d" % number for number in range(200 - MAX_IDS, 200)]
    lose(wire)
    stream.end()
    assert len(known) == MAX_IDS


def test_a_stream_ends_once() -> None:
    wire = Wire()
    lost = lose(wire)
    stream = resume(wire, 1, 2)
    for _ in range(2):
        stream.end()
        stream.abort(Abort.CLIENT_GONE)
    assert len(wire.inspector.state.scopes.lost._past) == 1
    lost.end()
    stream = resume(wire, 2, 3)
    for _ in range(2):
        stream.end()
        stream.abort(Abort.CLIENT_GONE)
    assert len(wire.inspector.state.scopes.lost._past) == 1  # this one ended in a scope
    wire.sweep()
    assert wire.holds_nothing()


def test_a_stream_that_turns_out_to_be_one_of_the_old_kind_resumes_nothing() -> None:
    wire = Wire(suspended_seconds=10.0)
    lost = lose(wire)
    stream = wire.stream(target=b"/sse", last_event_id=b"1")  # as an EventSource comes back
    stream.send(event(2) + b"event: endpoint\ndata: /m\n\n" + event(3))
    streams = wire.inspector.state.scopes.lost
    assert (streams._past, streams._known, streams._open) == ([], {}, {})
    lost.end()
    assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED]
    stream.end()
    assert wire.holds_nothing()


def test_a_stream_is_claimed_once() -> None:
    streams, stream, resumer = LostStreams(), Resumption({b"2": None, b"1": None}), Silent()
    streams.add(b"2", stream, resumer)
    assert streams.claim(b"1") == [(stream, resumer)]
    assert streams.claim(b"2") == streams.claim(b"3") == []
