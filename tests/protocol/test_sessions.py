"""Sessions: when they begin and end, and who is in them."""

import json

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallOpened,
    Client,
    Outcome,
    SessionClosed,
    SessionEnd,
    SessionOpened,
)
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from tests.support.inspection import (
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

PING = notification("notifications/ping")
PRIMING = b"id: 1\ndata:\n\n"


def use(wire: Wire, session: bytes, status: int = 202) -> None:
    """Send something in a session."""
    wire.post(PING, mcp_session_id=session).answer(status=status, fields={})


def test_initialize_opens_a_session_and_says_who_is_in_it() -> None:
    wire = Wire()
    client = {"name": "cat", "version": "9"}
    params = {"protocolVersion": "2025-11-25", "clientInfo": client}
    turn = wire.post(request(1, "initialize", **params))
    events = turn.answer(result(1, {"protocolVersion": "2025-06-18"}), mcp_session_id=b"s")
    assert events[-1] == SessionOpened()
    use(wire, b"s")
    wire.post(request(2), mcp_session_id=b"s").answer(result(2))
    assert only(wire.events, SessionOpened) == [SessionOpened()]
    calls = [event.call for event in wire.events if hasattr(event, "call")]
    assert calls[0].client == Client("cat", "2025-11-25")
    assert calls[-1].client == Client("cat", "2025-06-18")


def test_initialize_on_an_event_stream_opens_a_session_too() -> None:
    wire = Wire()
    turn = wire.post(request(1, "initialize"))
    turn.begin(mcp_session_id=b"s")
    assert turn.send(sse(result(1)))[-1] == SessionOpened()


@pytest.mark.parametrize("answer", [error(1, -32600), result(1, {"isError": True})])
def test_a_refused_initialize_opens_no_session(answer: bytes) -> None:
    wire = Wire()
    wire.post(request(1, "initialize")).answer(answer, mcp_session_id=b"s")
    assert only(wire.events, SessionOpened) == []
    assert wire.holds_nothing()


def test_a_session_that_began_before_us_opens_with_its_first_success() -> None:
    wire = Wire()
    for status in (301, 302, 304, 307, 400, 401, 404, 500):
        use(wire, b"s", status)
        assert wire.holds_nothing()
    use(wire, b"s")
    use(wire, b"s")
    assert only(wire.events, SessionOpened) == [SessionOpened()]


def test_a_client_in_an_older_session_is_known_by_its_version() -> None:
    wire = Wire()
    fields = {"mcp_session_id": b"s", "mcp_protocol_version": b"2025-06-18"}
    turn = wire.post(request(1), **fields)
    assert turn.begun[1].call.client == Client(None, "2025-06-18")  # type: ignore[union-attr]
    turn = wire.post(request(1), mcp_session_id=b"t", mcp_protocol_version=b"\xff" * 5_000)
    client = turn.begun[1].call.client  # type: ignore[union-attr]
    assert client == Client(None, "\xff" * MAX_TEXT)


def test_a_session_expires_with_a_404() -> None:
    wire = Wire()
    use(wire, b"s")
    wire.suspend(mcp_session_id=b"s")
    wire.now = 5.0
    events = wire.post(PING, mcp_session_id=b"s").answer(status=404, fields={})
    assert outcomes(events) == [Outcome.ABANDONED]
    assert events[-1] == SessionClosed(SessionEnd.EXPIRED, 5.0)
    assert wire.holds_nothing()


@pytest.mark.parametrize("code", [-32601, -32602, -32603, -32601.0])
@pytest.mark.parametrize("status", [400, 404])
def test_a_refused_method_says_nothing_of_its_session(status: int, code: float) -> None:
    wire = Wire()
    use(wire, b"s")
    turn = wire.post(request(1), mcp_session_id=b"s")
    events = turn.answer(error(1, code, "Unknown tool: session"), status)
    assert outcomes(events) == [Outcome.PROTOCOL_ERROR]
    assert only(events, SessionClosed) == []
    use(wire, b"s")
    assert len(only(wire.events, SessionOpened)) == 1


@pytest.mark.parametrize("code", [-32000, -32001, -32600, -32700])
def test_a_404_with_another_error_ends_a_session(code: int) -> None:
    wire = Wire()
    use(wire, b"s")
    events = wire.post(request(1), mcp_session_id=b"s").answer(error(1, code), 404)
    assert only(events, SessionClosed) == [SessionClosed(SessionEnd.EXPIRED, 0.0)]


def test_whether_a_session_is_over_is_known_at_the_end_of_the_response() -> None:
    for cut in (False, True):
        wire = Wire()
        use(wire, b"s")
        turn = wire.post(PING, mcp_session_id=b"s")
        assert turn.begin(404, JSON) == []
        assert only(turn.send(error(None, -32001, "Session not found")), SessionClosed) == []
        wire.now = 3.0
        events = turn.abort(Abort.UPSTREAM_CLOSED) if cut else turn.end()
        expected = [] if cut else [SessionClosed(SessionEnd.EXPIRED, 3.0)]
        assert only(events, SessionClosed) == expected


@pytest.mark.parametrize("status", [401, 403, 405, 410, 500])
def test_no_other_status_ends_a_session(status: int) -> None:
    wire = Wire()
    use(wire, b"s")
    events = wire.post(PING, mcp_session_id=b"s").answer(error(None, -1, "session"), status)
    assert only(events, SessionClosed) == []


@pytest.mark.parametrize("method", ["get", "delete"])
@pytest.mark.parametrize("status", [400, 404])
def test_only_a_post_speaks_of_its_session(method: str, status: int) -> None:
    wire = Wire()
    use(wire, b"s")
    turn = getattr(wire, method)(mcp_session_id=b"s")
    events = turn.answer(error(None, -1, "session"), status)
    dead = method == "delete" and status == 404
    assert len(only(events, SessionClosed)) == dead


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("version", [b"2026-07-28", b"2027-01-01"])
def test_a_modern_request_has_no_session(version: bytes, *, known: bool) -> None:
    wire = Wire()
    fields = {"mcp_session_id": b"s", "mcp_protocol_version": version}
    if known:
        use(wire, b"s")
        wire.suspend(1, mcp_session_id=b"s")
    before = len(only(wire.events, SessionOpened))
    turn = wire.post(request(1), **fields)
    assert outcomes(turn.begun) == []
    cancelled = wire.post(notification("notifications/cancelled", requestId=1), **fields)
    assert outcomes(cancelled.begun) == []
    assert outcomes(turn.answer(result(1))) == [Outcome.SUCCESS]
    stream = wire.stream(**fields, last_event_id=b"1")
    assert outcomes(stream.send(sse(result(1)))) == []
    stream.end()
    wire.delete(**fields).answer(status=204)
    wire.post(PING, **fields).answer(status=404, fields={})
    assert only(wire.events, SessionClosed) == []
    assert len(only(wire.events, SessionOpened)) == before
    if not known:
        assert wire.holds_nothing()
    assert outcomes(wire.sweep()) == ([Outcome.ABANDONED] if known else [])


@pytest.mark.parametrize(
    ("answer", "dead"),
    [
        (error("server-error", -32000, "Bad Request: No valid session ID provided"), True),
        (error(None, -32001, "SESSION NOT FOUND"), True),
        (error(None, -32600, "Bad request"), False),
        (error(None, -32600, None), False),  # type: ignore[arg-type]
        (json.dumps({"error": "session"}).encode(), False),
        (b"session", False),
    ],
)
def test_a_session_expires_with_a_400_that_speaks_of_it(answer: bytes, *, dead: bool) -> None:
    wire = Wire()
    use(wire, b"s")
    events = wire.post(PING, mcp_session_id=b"s").answer(answer, 400)
    expected = [SessionClosed(SessionEnd.EXPIRED, 0.0)] if dead else []
    assert only(events, SessionClosed) == expected
    for status in (400, 200):
        elsewhere = wire.post(request(1), mcp_protocol_version=b"2025-11-25")
        assert only(elsewhere.answer(answer, status), SessionClosed) == []


def test_only_a_400_is_looked_at_for_a_dead_session() -> None:
    wire = Wire()
    use(wire, b"s")
    turn = wire.post(request(1), mcp_session_id=b"s")
    assert only(turn.answer(error(1, -1, "session"), 200), SessionClosed) == []
    assert only(turn.answer(error(1, -1, "session"), 500), SessionClosed) == []


def test_a_call_that_was_suspended_by_a_dying_session_is_abandoned_at_once() -> None:
    wire = Wire()
    use(wire, b"s")
    turn = wire.post(request(1), mcp_session_id=b"s")
    turn.begin()
    turn.send(PRIMING)
    wire.delete(mcp_session_id=b"s").answer(status=200)
    assert outcomes(turn.end()) == [Outcome.ABANDONED]
    assert wire.holds_nothing()


def test_a_call_without_event_ids_in_a_dying_session_ends_as_it_would() -> None:
    wire = Wire()
    use(wire, b"s")
    turn = wire.post(request(1), mcp_session_id=b"s")
    turn.begin()
    wire.delete(mcp_session_id=b"s").answer(status=200)
    assert outcomes(turn.end()) == [Outcome.UPSTREAM_CLOSED]


def test_a_session_is_idle_after_its_last_sign_of_life() -> None:
    wire = Wire(session_idle_seconds=100.0)
    use(wire, b"s")
    wire.now = 30.0
    turn = wire.post(PING, mcp_session_id=b"s")
    wire.now = 40.0
    turn.answer(status=202, fields={})
    assert wire.sweep(139.9) == []
    assert wire.sweep(140.0) == [SessionClosed(SessionEnd.IDLE, 40.0)]
    assert wire.holds_nothing()


def test_a_session_in_which_something_is_open_is_not_idle() -> None:
    wire = Wire(session_idle_seconds=100.0)
    call = wire.post(request(1), mcp_session_id=b"a")
    call.begin()
    stream = wire.stream(mcp_session_id=b"b")
    assert wire.sweep(1_000.0) == []
    wire.now = 1_000.0
    call.send(sse(result(1)))
    call.end()
    stream.end()
    assert wire.sweep(1_099.0) == []
    assert wire.sweep(1_100.0) == [SessionClosed(SessionEnd.IDLE, 1_000.0)] * 2


def test_an_idle_session_gives_up_what_waits_in_it() -> None:
    wire = Wire(session_idle_seconds=5.0)
    wire.suspend(mcp_session_id=b"s")
    events = wire.sweep(5.0)
    assert outcomes(events) == [Outcome.ABANDONED]
    assert only(events, SessionClosed) == [SessionClosed(SessionEnd.IDLE, 0.0)]


def test_a_session_that_is_used_again_after_its_end_is_another_one() -> None:
    wire = Wire()
    use(wire, b"s")
    wire.sweep()
    wire.now = 2e6
    use(wire, b"s")
    assert len(only(wire.events, SessionOpened)) == 2
    assert wire.sweep(3e6) == [SessionClosed(SessionEnd.IDLE, 0.0)]


def test_the_longest_idle_sessions_make_room_for_a_new_one() -> None:
    wire = Wire(max_sessions=3)
    busy = wire.post(request(1), mcp_session_id=b"0")
    busy.begin()
    for second in (1, 2, 3, 4):
        wire.now = float(second)
        use(wire, b"%d" % second)
    assert only(wire.events, SessionClosed) == [SessionClosed(SessionEnd.IDLE, 0.0)] * 2
    use(wire, b"3")
    use(wire, b"4")
    assert len(only(wire.events, SessionOpened)) == 5
    assert outcomes(busy.send(sse(result(1)))) == [Outcome.SUCCESS]


def test_a_part_of_many_sessions_is_evicted_at_once() -> None:
    wire = Wire(max_sessions=64)
    for number in range(65):
        wire.now = float(number)
        use(wire, b"%d" % number)
    assert len(only(wire.events, SessionClosed)) == 4
    assert len(only(wire.events, SessionOpened)) == 65


def test_a_busy_session_goes_before_nothing_else_is_left() -> None:
    wire = Wire(max_sessions=1)
    turn = wire.post(request(1), mcp_session_id=b"a")
    turn.begin()
    turn.send(PRIMING)
    use(wire, b"b")
    assert only(wire.events, SessionClosed) == [SessionClosed(SessionEnd.IDLE, 0.0)]
    assert outcomes(turn.end()) == [Outcome.ABANDONED]


def test_a_session_that_is_evicted_at_once_did_not_end_before_it_began() -> None:
    wire = Wire(max_sessions=1)
    turn = wire.post(request(1), mcp_session_id=b"a")
    wire.now = 5.0
    turn.begin()  # the proof
    use(wire, b"b")
    assert only(wire.events, SessionClosed) == [SessionClosed(SessionEnd.IDLE, 0.0)]


def test_evicting_a_session_gives_up_what_waits_in_it() -> None:
    wire = Wire(max_sessions=1)
    wire.suspend(mcp_session_id=b"a")
    wire.post(PING, mcp_session_id=b"b").answer(status=202, fields={})
    assert outcomes(wire.events) == [Outcome.ABANDONED]


def test_a_session_that_was_never_proved_is_forgotten_without_a_word() -> None:
    wire = Wire(max_sessions=1)
    unproved = wire.post(request(1), mcp_session_id=b"a")
    use(wire, b"b")
    assert only(wire.events, SessionClosed) == []
    unproved.begin()
    assert only(wire.events, SessionOpened) == [SessionOpened()]


def test_a_long_session_id_is_held_as_a_digest() -> None:
    wire = Wire()
    use(wire, b"x" * 10_000)
    use(wire, b"x" * 10_000)
    use(wire, b"x" * 9_999)
    assert len(only(wire.events, SessionOpened)) == 2


def test_two_sessions_have_their_own_ids() -> None:
    wire = Wire()
    wire.suspend(mcp_session_id=b"a")
    wire.suspend(mcp_session_id=b"b")
    stream = wire.stream(mcp_session_id=b"b", last_event_id=b"1")
    stream.send(sse(result(1)))
    assert outcomes(wire.sweep(100.0)) == [Outcome.ABANDONED]
    assert outcomes(wire.events) == [Outcome.SUCCESS, Outcome.ABANDONED]


# An initialize whose stream is resumed


def hello(wire: Wire, **fields: bytes) -> Turn:
    """Ask for a session on a stream that ends before its answer."""
    params = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "cat"}}
    turn = wire.post(request(1, "initialize", **params), **fields)
    turn.begin(mcp_session_id=b"s")
    turn.send(PRIMING)
    return turn


def test_a_suspended_initialize_is_answered_in_the_session_that_its_head_named() -> None:
    wire = Wire()
    assert hello(wire).end() == []
    wire.now = 2.0
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    answer = result(1, {"protocolVersion": "2025-06-18"})
    assert outcomes(stream.send(sse(answer))) == [Outcome.SUCCESS]
    assert len(only(wire.events, SessionOpened)) == 1
    begun = only(wire.post(request(2), mcp_session_id=b"s").begun, CallOpened)
    assert [event.call.client for event in begun] == [Client("cat", "2025-06-18")]


def test_a_suspended_initialize_that_is_never_answered_leaves_nothing() -> None:
    wire = Wire()
    assert hello(wire).abort(Abort.CLIENT_GONE) == []
    assert outcomes(wire.sweep(60.0)) == [Outcome.ABANDONED]
    assert only(wire.events, SessionOpened) == []
    assert wire.holds_nothing()


def test_an_initialize_that_cannot_be_resumed_leaves_nothing() -> None:
    wire = Wire()
    assert outcomes(hello(wire).abort(Abort.UPSTREAM_TIMEOUT)) == [Outcome.UPSTREAM_TIMEOUT]
    assert wire.holds_nothing()


def test_initialize_within_a_session_says_who_is_in_it() -> None:
    wire = Wire()
    fields = {"mcp_session_id": b"s", "mcp_protocol_version": b"2025-03-26"}
    params = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "cat"}}
    wire.post(request(1, "initialize", **params), **fields).answer(result(1))
    begun = only(wire.post(request(2), **fields).begun, CallOpened)
    assert [event.call.client for event in begun] == [Client("cat", "2025-11-25")]
    assert only(wire.events, SessionOpened) == [SessionOpened()]


def test_an_error_within_a_batch_speaks_of_a_session_too() -> None:
    wire = Wire()
    use(wire, b"s")
    for status, answer, dead in (
        (404, error(1, -32601, "Method not found"), False),
        (400, error(1, -32000, "No valid session ID"), True),
    ):
        turn = wire.post(b"[" + request(1) + b"]", mcp_session_id=b"s")
        assert len(only(turn.answer(b"[" + answer + b"]", status), SessionClosed)) == dead
