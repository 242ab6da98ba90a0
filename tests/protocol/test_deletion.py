"""The end of a session by a DELETE."""

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    LateResponse,
    Outcome,
    SessionClosed,
    SessionEnd,
    SessionOpened,
)
from tests.support.inspection import (
    Wire,
    notification,
    only,
    outcomes,
    result,
    sse,
)

PING = notification("notifications/ping")
S = b"s"


def opened(wire: Wire) -> None:
    wire.post(PING, mcp_session_id=S).answer(status=202, fields={})
    assert only(wire.events, SessionOpened) == [SessionOpened()]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, SessionEnd.DELETED),
        (202, SessionEnd.DELETED),
        (204, SessionEnd.DELETED),
        (404, SessionEnd.EXPIRED),
        (400, None),
        (405, None),
        (401, None),
        (500, None),
        (307, None),
    ],
)
def test_the_answer_to_a_delete_says_what_became_of_the_session(
    status: int, reason: SessionEnd | None
) -> None:
    wire = Wire()
    opened(wire)
    wire.suspend(mcp_session_id=S)
    wire.now = 9.0
    turn = wire.delete(mcp_session_id=S)
    events = turn.answer(b"", status, {})
    if reason is None:
        assert events == []
        return
    assert outcomes(events) == [Outcome.ABANDONED]
    assert events[-1] == SessionClosed(reason, 9.0)
    assert wire.holds_nothing()


def test_a_delete_ends_a_session_once() -> None:
    wire = Wire()
    opened(wire)
    turn = wire.delete(mcp_session_id=S)
    assert len(turn.begin(200)) == 1
    assert turn.begin(200) == turn.send(b"x") == turn.end() == turn.abort(Abort.CLIENT_GONE) == []


def test_a_delete_without_an_answer_ends_nothing() -> None:
    wire = Wire()
    opened(wire)
    assert wire.delete(mcp_session_id=S).abort(Abort.UPSTREAM_CLOSED) == []
    assert wire.sweep(10.0) == []


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_session_that_nobody_knew_is_not_closed(status: int) -> None:
    wire = Wire()
    assert wire.delete(mcp_session_id=S).answer(b"", status, {}) == []
    assert wire.holds_nothing()


def test_a_delete_of_a_session_answers_a_stream_that_is_still_open_no_more() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=S)
    stream = wire.stream(mcp_session_id=S, last_event_id=b"1")
    assert outcomes(wire.delete(mcp_session_id=S).answer(status=204)) == [Outcome.ABANDONED]
    assert only(stream.send(sse(result(1))), LateResponse) == [LateResponse("tools/call")]
    assert outcomes(stream.end()) == []
    assert wire.holds_nothing()
