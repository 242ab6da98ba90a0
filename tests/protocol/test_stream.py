"""Event streams that answer a GET."""

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    InspectionStopped,
    LateResponse,
    Outcome,
    SessionOpened,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
)
from mcp_proxy_exporter.protocol.response import ABORTED
from mcp_proxy_exporter.protocol.sse import MAX_IDS
from tests.support.holdings import holdings
from tests.support.inspection import (
    EVENTS,
    JSON,
    Wire,
    notification,
    only,
    outcomes,
    request,
    result,
    sse,
)

ENDPOINT = b"event: endpoint\ndata: /messages?s=1\n\n"
LEGACY = StreamKind.LEGACY_SSE
PING = notification("notifications/ping")
S = b"s"


# GET


def test_a_stream_is_opened_counted_and_closed() -> None:
    wire = Wire()
    turn = wire.get()
    assert turn.begin() == [StreamOpened(StreamKind.GET)]
    assert turn.send(b"id: 1\ndata:") == []
    assert turn.send(b"\n\ndata: x\n\nevent: ping\ndata: x\n\n: c\n\n") == [
        StreamEvents(StreamKind.GET, 3),
        InspectionStopped("invalid_json"),
    ]
    wire.now = 7.0
    assert turn.end() == [StreamClosed(StreamKind.GET, 7.0)]
    assert wire.holds_nothing()


@pytest.mark.parametrize("cause", list(Abort))
def test_whoever_ends_a_stream_it_is_closed_once(cause: Abort) -> None:
    wire = Wire()
    turn = wire.stream(mcp_session_id=S)
    assert turn.abort(cause) == [StreamClosed(StreamKind.GET, 0.0)]
    assert turn.abort(cause) == []
    assert turn.end() == []
    assert turn.send(sse(PING)) == []
    assert turn.begin() == []


@pytest.mark.parametrize(
    ("status", "fields"),
    [(200, JSON), (200, {}), (404, EVENTS), (405, JSON), (302, EVENTS), (500, {})],
)
def test_another_answer_to_a_get_is_let_pass(status: int, fields: dict[bytes, bytes]) -> None:
    wire = Wire()
    assert wire.get(mcp_session_id=S).answer(sse(PING), status, fields) == []
    assert wire.holds_nothing()


def test_a_get_without_an_answer_says_nothing() -> None:
    wire = Wire()
    assert wire.get(mcp_session_id=S, last_event_id=b"1").abort(Abort.UPSTREAM_UNREACHABLE) == []
    assert wire.holds_nothing()


def test_the_body_of_a_get_is_nobodys_business() -> None:
    tap = Wire().get().tap
    assert tap.request(request(1), 1.0) == ()
    assert tap.request_data(request(1), 1.0) == ()
    assert tap.request_end(1.0) == ()


def test_a_stream_in_one_piece_is_read_too() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    turn = wire.get(mcp_session_id=S, last_event_id=b"1")
    events = turn.answer(sse(result(1)), fields=EVENTS)
    assert outcomes(events) == [Outcome.SUCCESS]
    assert only(events, StreamEvents) == [StreamEvents(StreamKind.GET, 1)]


def test_a_stream_proves_that_a_session_exists() -> None:
    wire = Wire()
    assert wire.get(mcp_session_id=S).begin() == [
        SessionOpened(),
        StreamOpened(StreamKind.GET),
    ]


def test_a_call_is_resumed_from_any_event_of_its_stream() -> None:
    for last in (b"a", b"b"):
        wire = Wire()
        turn = wire.post(request(1), mcp_session_id=S)
        turn.begin()
        turn.send(sse(PING, event_id=b"a") + sse(PING, event_id=b"b"))
        turn.end()
        stream = wire.stream(mcp_session_id=S, last_event_id=last)
        wire.now = 1_000.0
        assert wire.sweep(1_000.0) == []  # a stream is open that may bring it
        [end] = only(stream.send(sse(result(1))), CallClosed)
        assert (end.outcome, end.at, end.first_message_at) == (Outcome.SUCCESS, 1_000.0, 0.0)
        assert wire.inspector.calls.used == 0


def test_the_answer_is_the_first_message_of_a_call_that_had_none() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    wire.now = 3.0
    stream = wire.stream(mcp_session_id=S, last_event_id=b"1")
    [end] = only(stream.send(sse(result(1, {"isError": True}))), CallClosed)
    assert (end.outcome, end.first_message_at, end.at) == (Outcome.TOOL_ERROR, 3.0, 3.0)


def test_a_stream_that_resumed_in_vain_is_waited_for_again_and_resumed_from_its_own_events() -> (
    None
):
    wire = Wire(suspended_seconds=10.0)
    wire.suspend(mcp_session_id=S)
    for now, last, event_id in ((5.0, b"1", b"2"), (14.0, b"2", b"3"), (23.0, b"1", b"4")):
        wire.now = now
        stream = wire.stream(mcp_session_id=S, last_event_id=last)
        stream.send(sse(PING, event_id=event_id))
        stream.end()
        assert outcomes(wire.sweep(now + 9.0)) == []
    assert outcomes(wire.sweep(33.0)) == [Outcome.ABANDONED]


def test_a_call_that_two_streams_resume_waits_for_the_last_of_them() -> None:
    # A client comes back before the proxy has noticed that its first connection is dead.
    wire = Wire(suspended_seconds=10.0)
    wire.suspend(mcp_session_id=S)
    first = wire.stream(mcp_session_id=S, last_event_id=b"1")
    second = wire.stream(mcp_session_id=S, last_event_id=b"1")
    first.abort(Abort.CLIENT_GONE)
    assert wire.sweep(100.0) == []
    wire.now = 100.0
    assert outcomes(second.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_a_call_that_is_polled_for_long_costs_no_more_memory() -> None:
    wire = Wire()
    wire.suspend()
    for number in range(2, 1_000):
        stream = wire.stream(last_event_id=b"%d" % (number - 1))
        stream.send(b"id: %d\ndata:\n\n" % number)
        stream.end()
    assert sum(holdings(wire.inspector.state.scopes).values()) < 100
    assert outcomes(wire.stream(last_event_id=b"999").send(sse(result(1)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": S}])
@pytest.mark.parametrize("first", [0, 1])
def test_whichever_of_two_streams_ends_first_the_other_still_answers(
    fields: dict[str, bytes], first: int
) -> None:
    wire = Wire(suspended_seconds=10.0)
    wire.suspend(**fields)
    streams = [wire.stream(**fields, last_event_id=b"1") for _ in range(2)]
    streams[first].end()
    assert outcomes(wire.sweep(1_000.0)) == []
    assert outcomes(streams[1 - first].send(sse(result(1)))) == [Outcome.SUCCESS]
    streams[1 - first].end()
    wire.sweep()
    assert wire.holds_nothing()


@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": S}])
@pytest.mark.parametrize("cause", [None, Abort.CLIENT_GONE, Abort.UPSTREAM_CLOSED])
def test_a_client_may_be_back_before_the_end_of_the_stream_that_it_lost_is_seen(
    fields: dict[str, bytes], cause: Abort | None
) -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), **fields)
    turn.begin()
    turn.send(sse(PING, event_id=b"a") + sse(PING, event_id=b"b"))
    stream = wire.stream(**fields, last_event_id=b"a")
    wire.now = 5.0
    assert outcomes(turn.end() if cause is None else turn.abort(cause)) == []
    assert outcomes(wire.sweep(1_000.0)) == []
    wire.now = 1_000.0
    [end] = only(stream.send(sse(result(1))), CallClosed)
    assert (end.outcome, end.first_message_at) == (Outcome.SUCCESS, 0.0)
    stream.end()
    wire.sweep()
    assert wire.holds_nothing()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_stream_that_goes_on_after_one_that_has_not_ended_resumes_the_same_calls(
    order: tuple[int, int],
) -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), mcp_session_id=S)
    turn.begin()
    turn.send(sse(PING, event_id=b"1"))
    first = wire.stream(mcp_session_id=S, last_event_id=b"1")
    first.send(sse(PING, event_id=b"2"))
    second = wire.stream(mcp_session_id=S, last_event_id=b"2")
    for end in order:  # the ends of the streams that it lost are seen in any order
        assert outcomes((turn, first)[end].abort(Abort.CLIENT_GONE)) == []
    assert outcomes(wire.sweep(1_000.0)) == []
    assert outcomes(second.send(sse(result(1)))) == [Outcome.SUCCESS]


@pytest.mark.parametrize(("last", "found"), [(b"8", False), (b"9", True), (b"40", True)])
@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": S}])
def test_the_last_event_ids_of_a_stream_count(
    fields: dict[str, bytes], last: bytes, *, found: bool
) -> None:
    assert MAX_IDS == 32
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), **fields)
    turn.begin()
    for number in range(1, 41):
        turn.send(b"id: %d\ndata:\n\n" % number)
    turn.end()
    wire.stream(**fields, last_event_id=last)
    assert outcomes(wire.sweep(100.0)) == ([] if found else [Outcome.ABANDONED])


def test_an_id_of_any_length_is_resumed_from() -> None:
    for event_id in (b"x" * 128, b"x" * 129, b"x" * 1_000):
        for fields in ({}, {"mcp_session_id": S}):
            wire = Wire(suspended_seconds=10.0)
            wire.suspend(event_id=event_id, **fields)
            wire.stream(last_event_id=event_id + b"y", **fields)
            stream = wire.stream(last_event_id=event_id, **fields)
            stream.send(b"id: %b2\ndata:\n\n" % event_id)
            stream.end()
            stream = wire.stream(last_event_id=event_id + b"2", **fields)
            assert outcomes(wire.sweep(1_000.0)) == []
            assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_the_time_that_a_server_asks_for_is_kept_until_it_asks_for_another() -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), mcp_session_id=S)
    turn.begin()
    turn.send(b"retry: 5000\nid: 1\ndata:\n\n")
    turn.end()
    for now, data, patience in (
        (10.0, b": nothing\n\n", 15.0),
        (20.0, b"retry: 20000\n\n", 30.0),
        (40.0, b"data:\n\n", 30.0),
    ):
        wire.now = now
        stream = wire.stream(mcp_session_id=S, last_event_id=b"1")
        stream.send(data)
        stream.end()
        assert outcomes(wire.sweep(now + patience - 0.1)) == []
    assert outcomes(wire.sweep(70.0)) == [Outcome.ABANDONED]


def test_a_resumption_that_is_not_answered_by_a_stream_protects_nothing() -> None:
    wire = Wire(suspended_seconds=10.0)
    wire.suspend(mcp_session_id=S)
    wire.get(mcp_session_id=S, last_event_id=b"1").answer(b"", 405, {})
    pending = wire.get(mcp_session_id=S, last_event_id=b"1")
    assert outcomes(wire.sweep(10.0)) == [Outcome.ABANDONED]
    pending.begin()
    assert only(pending.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]


def test_a_server_may_ask_its_client_to_come_back_later() -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), mcp_session_id=S)
    turn.begin()
    turn.send(b"retry: 5000\nid: 1\ndata:\n\n")
    turn.end()
    assert outcomes(wire.sweep(14.9)) == []
    wire.now = 14.9
    stream = wire.stream(mcp_session_id=S, last_event_id=b"1")
    stream.send(b"retry: 20000\n\n")
    stream.end()
    assert outcomes(wire.sweep(44.8)) == []
    assert outcomes(wire.sweep(44.9)) == [Outcome.ABANDONED]


def test_a_stream_that_resumes_nothing_known_still_answers_calls_of_its_session() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    stream = wire.stream(mcp_session_id=S, last_event_id=b"unknown")
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    stream.end()
    wire.sweep()
    assert wire.holds_nothing()


def test_a_stream_answers_a_call_whose_exchange_goes_on() -> None:
    wire = Wire()
    turn = wire.post(request(1), mcp_session_id=S)
    turn.begin()
    wire.now = 1.0
    turn.send(sse(PING))
    stream = wire.stream(mcp_session_id=S)
    wire.now = 2.0
    [end] = only(stream.send(sse(result(1))), CallClosed)
    assert (end.first_message_at, end.at) == (1.0, 2.0)
    assert only(turn.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]
    assert turn.end() == []
    assert outcomes(stream.end()) == []


def test_a_replayed_answer_is_counted_once() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    stream = wire.stream(mcp_session_id=S, last_event_id=b"1")
    assert outcomes(stream.send(sse(result(1), result(1), result(1)))) == [Outcome.SUCCESS]
    assert outcomes(wire.stream(mcp_session_id=S, last_event_id=b"1").send(sse(result(1)))) == []
    assert only(wire.events, LateResponse) == []


def test_an_answer_after_all_waiting_is_late_once() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED]
    wire.now = 100.0
    stream = wire.stream(mcp_session_id=S, last_event_id=b"1")
    stream.send(sse(result(1), result(1)))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


def test_answers_on_a_stream_that_belongs_to_nobody_are_only_seen() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    assert outcomes(wire.stream().send(sse(result(1)))) == []
    assert outcomes(wire.stream(mcp_session_id=b"other").send(sse(result(1)))) == []
    assert only(wire.events, LateResponse) == []


@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": S}])
@pytest.mark.parametrize("noise", [b"data: x\n\n" * 100, sse(b"x" * 300)])
def test_a_resumed_call_whose_answer_could_not_be_read_is_uninspected(
    fields: dict[str, bytes], noise: bytes
) -> None:
    wire = Wire(max_message_bytes=200)
    wire.suspend(**fields)
    stream = wire.stream(last_event_id=b"1", **fields)
    stream.send(noise)
    assert outcomes(stream.end()) == [Outcome.UNINSPECTED]
    assert outcomes(wire.sweep()) == []
    assert wire.holds_nothing()


def test_a_stream_of_garbage_gives_up_looking() -> None:
    wire = Wire()
    stream = wire.stream()
    events = stream.send(b"data: x\n\n" * 200)
    assert len(only(events, InspectionStopped)) == 100
    assert stream.send(sse(PING)) == []
    assert stream.end() == [StreamClosed(StreamKind.GET, 0.0)]


# The stream of HTTP+SSE


def test_an_endpoint_event_makes_it_a_stream_of_the_old_transport() -> None:
    wire = Wire()
    stream = wire.stream(target=b"/sse")
    assert stream.send(ENDPOINT + sse(PING))[:2] == [
        StreamOpened(LEGACY, instead_of=StreamKind.GET),
        StreamEvents(LEGACY, 2),
    ]
    assert stream.send(ENDPOINT) == [StreamEvents(LEGACY, 1)]
    wire.now = 4.0
    assert stream.end() == [StreamClosed(LEGACY, 4.0)]
    assert wire.holds_nothing()


def test_an_endpoint_event_in_a_session_is_no_endpoint() -> None:
    wire = Wire()
    stream = wire.stream(mcp_session_id=S)
    assert stream.send(ENDPOINT) == [StreamEvents(StreamKind.GET, 1)]


@pytest.mark.parametrize("cause", [None, *Abort])
def test_the_end_of_the_old_stream_ends_what_it_would_have_answered(cause: Abort | None) -> None:
    wire = Wire()
    stream = wire.stream(target=b"/sse")
    stream.send(ENDPOINT)
    wire.post(request(1), target=b"/messages?s=1").answer(status=202, fields={})
    never_answered = wire.post(request(2), target=b"/messages?s=1")
    assert wire.sweep() == []
    events = stream.end() if cause is None else stream.abort(cause)
    expected = Outcome.UPSTREAM_CLOSED if cause is None else ABORTED[cause]
    assert outcomes(events) == [expected]
    assert outcomes(never_answered.answer(status=202, fields={})) == [expected]
    assert wire.holds_nothing()


def test_an_old_stream_that_could_not_be_read_leaves_its_calls_uninspected() -> None:
    wire = Wire(max_message_bytes=200)
    stream = wire.stream(target=b"/sse")
    stream.send(ENDPOINT)
    wire.post(request(1), target=b"/messages?s=1").answer(status=202, fields={})
    assert InspectionStopped("too_large") in stream.send(sse(result(1, {"a": "x" * 300})))
    assert outcomes(stream.end()) == [Outcome.UNINSPECTED]


# Known faults


def test_a_stream_goes_on_after_one_that_ended_before_the_end_of_the_first_is_seen() -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), mcp_session_id=S)
    turn.begin()
    turn.send(sse(PING, event_id=b"1"))
    first = wire.stream(mcp_session_id=S, last_event_id=b"1")
    first.send(sse(PING, event_id=b"2"))
    first.end()
    wire.stream(mcp_session_id=S, last_event_id=b"2")
    turn.abort(Abort.CLIENT_GONE)
    assert outcomes(wire.sweep(1_000.0)) == []


@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": S}])
@pytest.mark.parametrize(
    ("announced", "early", "patience"),
    [(b"20000", True, 30.0), (b"0", True, 10.0), (b"0", False, 10.0)],
)
def test_the_time_that_was_asked_for_last_counts(
    fields: dict[str, bytes], announced: bytes, patience: float, *, early: bool
) -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), **fields)
    turn.begin()
    turn.send(b"retry: 5000\nid: 1\ndata:\n\n")
    if not early:
        turn.end()
    stream = wire.stream(**fields, last_event_id=b"1")
    stream.send(b"retry: " + announced + b"\n\n")
    stream.end()
    if early:
        turn.end()
    assert outcomes(wire.sweep(patience - 0.1)) == []
    assert outcomes(wire.sweep(patience)) == [Outcome.ABANDONED]


@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": S}])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_time_that_was_asked_for_last_counts_whichever_stream_ends_last(
    fields: dict[str, bytes], order: tuple[int, int]
) -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), **fields)
    turn.begin()
    turn.send(b"id: 1\ndata:\n\n")
    stream = wire.stream(**fields, last_event_id=b"1")
    stream.send(b"retry: 100\n\n")
    turn.send(b"retry: 30000\n\n")
    for end in order:
        (turn, stream)[end].end()
    assert outcomes(wire.sweep(39.9)) == []
    assert outcomes(wire.sweep(40.0)) == [Outcome.ABANDONED]


# Whether a call waits on it


def test_a_stream_of_a_session_is_awaited_only_where_it_goes_on_from_a_calls() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    idle = wire.stream(mcp_session_id=S)
    resuming = wire.stream(mcp_session_id=S, last_event_id=b"1")
    assert not idle.tap.awaits()
    assert resuming.tap.awaits()
    assert outcomes(resuming.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert not resuming.tap.awaits()


def test_a_stream_of_the_old_transport_is_awaited_while_a_call_is_open() -> None:
    wire = Wire()
    stream = wire.announce()
    assert not stream.tap.awaits()
    wire.post(request(1), target=b"/m").answer(b"", 202, {})
    assert stream.tap.awaits()
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert not stream.tap.awaits()


def test_a_stream_of_which_nothing_is_known_is_awaited_where_it_names_an_event() -> None:
    wire = Wire()
    assert not wire.stream().tap.awaits()
    assert wire.stream(last_event_id=b"lost").tap.awaits()


def test_the_answer_to_a_post_is_always_awaited() -> None:
    wire = Wire()
    assert wire.post(request(1)).tap.awaits()
