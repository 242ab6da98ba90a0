"""POSTs whose calls are answered elsewhere, or could be."""

from typing import Any

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallClosed,
    InspectionStopped,
    LateResponse,
    Outcome,
    SessionOpened,
)
from mcp_proxy_exporter.protocol.response import ABORTED
from tests.support.inspection import (
    EVENTS,
    JSON,
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

PRIMING = b"id: 1\ndata:\n\n"
TEXT = {b"content-type": b"text/plain"}
RESUMABLE = {Abort.CLIENT_GONE, Abort.UPSTREAM_CLOSED}


def post(wire: Wire, message_id: Any = 1) -> Turn:
    return wire.post(request(message_id), target=b"/m")


# Streams that may be resumed


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("fields", [{}, {"mcp_session_id": b"s"}])
def test_a_stream_that_ended_after_an_event_id_suspends_its_call(
    fields: dict[str, bytes], *, whole: bool
) -> None:
    wire = Wire(suspended_seconds=10.0)
    turn = wire.post(request(1), **fields)
    if whole:
        turn.answer(PRIMING, fields=EVENTS)
    else:
        turn.begin()
        turn.send(PRIMING)
        turn.end()
    assert outcomes(wire.events) == []
    assert wire.inspector.calls.used == 1
    assert outcomes(wire.sweep(9.9)) == []
    [end] = only(wire.sweep(10.0), CallClosed)
    assert (end.outcome, end.at, end.first_message_at) == (Outcome.ABANDONED, 10.0, None)
    wire.sweep()
    assert wire.holds_nothing()


@pytest.mark.parametrize("cause", list(Abort))
@pytest.mark.parametrize("status", [200, 500])
def test_only_a_good_stream_that_was_cut_by_others_can_be_resumed(
    cause: Abort, status: int
) -> None:
    wire = Wire()
    turn = wire.post(request(1))
    turn.begin(status)
    turn.send(PRIMING)
    suspended = cause in RESUMABLE and status == 200
    assert outcomes(turn.abort(cause)) == ([] if suspended else [ABORTED[cause]])
    assert outcomes(wire.sweep()) == ([Outcome.ABANDONED] if suspended else [])


def test_a_stream_whose_last_event_took_its_id_back_cannot_be_resumed() -> None:
    turn = Wire().post(request(1))
    assert outcomes(turn.answer(PRIMING + b"id:\ndata:\n\n", fields=EVENTS)) == [
        Outcome.UPSTREAM_CLOSED
    ]


def test_a_message_that_answers_somebody_else_leaves_a_call_suspended() -> None:
    wire = Wire()
    turn = wire.post(request(1), mcp_session_id=b"s")
    assert outcomes(turn.answer(b"id: 1\n" + sse(result(2)), fields=EVENTS)) == []
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_a_call_that_could_not_be_read_is_not_waited_for() -> None:
    wire = Wire(max_message_bytes=200)
    turn = wire.post(request(1))
    turn.begin()
    turn.send(PRIMING + sse(b"x" * 300))
    assert outcomes(turn.end()) == [Outcome.UNINSPECTED]


def test_modern_calls_of_a_batch_are_not_suspended_with_the_others() -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    batch = b"[" + request(1, _meta=meta) + b"," + request(2) + b"]"
    wire = Wire()
    assert outcomes(wire.post(batch).answer(PRIMING, fields=EVENTS)) == [Outcome.UPSTREAM_CLOSED]
    assert outcomes(wire.sweep()) == [Outcome.ABANDONED]


# Endpoints of HTTP+SSE


@pytest.mark.parametrize(
    ("status", "fields", "data"),
    [
        (202, TEXT, b"Accepted"),
        (202, {}, b""),
        (200, {}, b""),
        (204, {}, b""),
        (202, JSON, b""),
        (200, JSON, b'{"ok":true}'),
        (200, EVENTS, b""),
        (200, EVENTS, PRIMING),
        (200, TEXT, b"Accepted"),
    ],
)
def test_an_accepted_call_is_answered_on_the_stream(
    status: int, fields: dict[bytes, bytes], data: bytes
) -> None:
    wire = Wire()
    stream = wire.announce()
    assert outcomes(post(wire).answer(data, status, fields)) == []
    assert wire.sweep() == []
    wire.now = 5.0
    [end] = only(stream.send(sse(result(1))), CallClosed)
    assert (end.outcome, end.at, end.first_message_at) == (Outcome.SUCCESS, 5.0, 5.0)
    stream.end()
    assert wire.holds_nothing()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (404, Outcome.HTTP_ERROR),
        (500, Outcome.HTTP_ERROR),
        (307, Outcome.INVALID_RESPONSE),
    ],
)
def test_a_call_that_was_not_accepted_is_over(status: int, outcome: Outcome) -> None:
    wire = Wire()
    stream = wire.announce()
    assert outcomes(post(wire).answer(b"Could not find session", status, TEXT)) == [outcome]
    assert only(stream.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]


@pytest.mark.parametrize("cause", list(Abort))
@pytest.mark.parametrize("begun", [True, False])
def test_a_post_that_is_given_up_by_its_client_is_still_answered_on_the_stream(
    cause: Abort, *, begun: bool
) -> None:
    wire = Wire()
    stream = wire.announce()
    turn = post(wire)
    if begun:
        turn.begin(202, {})
    if cause is Abort.CLIENT_GONE:
        assert outcomes(turn.abort(cause)) == []
        assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    else:
        assert outcomes(turn.abort(cause)) == [ABORTED[cause]]


def test_a_post_that_is_never_answered_is_answered_on_the_stream() -> None:
    wire = Wire()
    stream = wire.announce()
    turn = post(wire)
    assert outcomes(stream.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert outcomes(turn.abort(Abort.CLIENT_GONE)) == []
    assert only(stream.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]


def test_an_answer_within_the_post_counts_too() -> None:
    wire = Wire()
    stream = wire.announce()
    assert outcomes(post(wire).answer(error(1, -32700), 400)) == [Outcome.PROTOCOL_ERROR]
    assert outcomes(stream.end()) == []


def test_another_target_is_another_endpoint() -> None:
    wire = Wire()
    wire.announce()
    turn = wire.post(request(1), target=b"/m?x=1")
    assert outcomes(turn.answer(status=202, fields={})) == [Outcome.INVALID_RESPONSE]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (202, Outcome.PROXY_SHUTDOWN),
        (400, Outcome.HTTP_ERROR),
        (302, Outcome.INVALID_RESPONSE),
    ],
)
def test_a_post_that_outlives_its_stream_ends_as_that_did(status: int, outcome: Outcome) -> None:
    wire = Wire()
    stream = wire.announce()
    turn = post(wire)
    stream.abort(Abort.SHUTDOWN)
    assert outcomes(turn.answer(status=status, fields={})) == [outcome]
    assert wire.holds_nothing()


def test_a_post_whose_client_leaves_after_its_stream_ended_is_the_clients_end() -> None:
    wire = Wire()
    stream = wire.announce()
    turn = post(wire)
    stream.end()
    assert outcomes(turn.abort(Abort.CLIENT_GONE)) == [Outcome.CLIENT_DISCONNECTED]


def test_an_accepted_call_whose_post_could_not_be_read_is_uninspected() -> None:
    wire = Wire(max_message_bytes=200)
    wire.announce()
    events = post(wire).answer(b" " * 300, 202)
    assert InspectionStopped("too_large") in events
    assert outcomes(events) == [Outcome.UNINSPECTED]


# Other requests in a session


def test_a_foreign_request_in_a_session_leaves_nothing_behind() -> None:
    wire = Wire()
    assert wire.post(b'{"client_name":"cat"}', mcp_session_id=b"s").begun == []
    assert wire.holds_nothing()
    assert wire.post(b"[1,2]", mcp_session_id=b"s").begun == []
    assert wire.holds_nothing()


def test_a_call_without_room_is_not_waited_for_in_its_session() -> None:
    wire = Wire(max_open_calls=1)
    first = wire.post(request(1), mcp_session_id=b"s")
    turn = wire.post(request(2), mcp_session_id=b"s")
    assert outcomes(turn.begun) == [Outcome.UNINSPECTED]
    stream = wire.stream(mcp_session_id=b"s")
    assert outcomes(stream.send(sse(result(2), result(1)))) == [Outcome.SUCCESS]
    assert outcomes([*first.end(), *turn.end(), *stream.end()]) == []


def test_a_session_that_two_exchanges_prove_is_opened_and_closed_once() -> None:
    wire = Wire()
    told = wire.post(notification("notifications/initialized"), mcp_session_id=b"s")
    wire.post(request(1), mcp_session_id=b"s").answer(b"", 500, {})
    told.answer(status=202, fields={})
    wire.post(request(2), mcp_session_id=b"s").answer(result(2))
    assert only(wire.events, SessionOpened) == [SessionOpened()]
    assert len(wire.sweep()) == 1


# What came before the request was whole


@pytest.mark.parametrize("fields", [{}, {b"mcp-session-id": b"s"}])
def test_a_message_before_the_end_of_the_request_is_not_the_first_of_its_call(
    fields: dict[bytes, bytes],
) -> None:
    tap = Wire().inspector.open(b"POST", b"/mcp", {**JSON, **fields})
    assert tap is not None
    tap.request_data(request(1), 1.0)
    tap.response_head(200, EVENTS, 2.0)
    progress = sse(notification("notifications/progress"))
    tap.response_data(progress, 2.0)
    tap.request_end(3.0)
    tap.response_data(progress, 4.0)
    [end] = only(tap.response_data(sse(result(1)), 5.0), CallClosed)
    assert (end.call.opened_at, end.first_message_at, end.at) == (3.0, 4.0, 5.0)


def test_a_call_that_nothing_came_for_after_its_request_has_no_first_message() -> None:
    tap = Wire().inspector.open(b"POST", b"/mcp", JSON)
    assert tap is not None
    tap.request_data(request(1), 1.0)
    tap.response_head(200, EVENTS, 2.0)
    tap.response_data(sse(notification("notifications/progress")), 2.0)
    tap.request_end(3.0)
    [end] = only(tap.response_end(4.0), CallClosed)
    assert (end.outcome, end.first_message_at) == (Outcome.UPSTREAM_CLOSED, None)


# Late answers


def test_an_answer_after_the_own_one_is_late_once_and_only_there() -> None:
    wire = Wire()
    turn = wire.post(request(1), mcp_session_id=b"s")
    turn.begin()
    turn.send(sse(result(1), result(1), result(1)))
    wire.stream(mcp_session_id=b"s").send(sse(result(1)))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


def test_an_answer_to_a_call_that_its_exchange_left_is_late_once() -> None:
    wire = Wire()
    turn = wire.post(request(1), mcp_session_id=b"s")
    turn.begin()
    turn.abort(Abort.CLIENT_GONE)
    for _ in range(2):
        wire.stream(mcp_session_id=b"s").send(sse(result(1), result(1)))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


def test_an_answer_on_the_old_stream_is_late_once() -> None:
    wire = Wire()
    stream = wire.announce()
    post(wire).answer(status=202, fields={})
    stream.send(sse(result(1), result(1), result(1), result(1.0)))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


def test_an_answer_to_a_cancelled_call_is_late_once_whichever_comes_first() -> None:
    wire = Wire()
    turn = wire.post(request(1), mcp_session_id=b"s")
    turn.begin()
    wire.post(notification("notifications/cancelled", requestId=1), mcp_session_id=b"s")
    wire.stream(mcp_session_id=b"s").send(sse(result(1)))
    turn.send(sse(result(1)))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


def test_an_answer_is_late_once_on_the_old_stream_and_in_the_post() -> None:
    wire = Wire()
    stream = wire.announce()
    turn = post(wire)
    stream.send(sse(result(1), result(1)))
    turn.answer(result(1))
    assert only(wire.events, LateResponse) == [LateResponse("tools/call")]


# The media type of what is no answer


@pytest.mark.parametrize("target", [b"/m", b"/mcp"])
def test_a_text_that_accepts_a_call_of_the_old_transport_is_not_reported(target: bytes) -> None:
    wire = Wire()
    wire.announce()
    events = wire.post(request(1), target=target).answer(b"Accepted", 200, TEXT)
    expected = [] if target == b"/m" else [InspectionStopped("content_type")]
    assert only(events, InspectionStopped) == expected
