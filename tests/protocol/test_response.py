"""The messages of a response, whatever request it answers, and the long streams among them."""

from collections.abc import Callable
from typing import Any

import pytest

from mcp_proxy_exporter.protocol import (
    Abort,
    CallOpened,
    InspectionStopped,
    MessageSeen,
    Outcome,
    SessionOpened,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
    ToolsChanged,
    state,
    tracker,
)
from mcp_proxy_exporter.protocol.calls import open_call
from mcp_proxy_exporter.protocol.response import ABORTED
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.verdict import judge
from tests.support.inspection import (
    EVENTS,
    JSON,
    Turn,
    Wire,
    notification,
    only,
    outcomes,
    request,
    result,
    sse,
)

LISTEN = StreamKind.LISTEN
CHANGED = notification("notifications/tools/list_changed")


def listen(wire: Wire, message_id: object = 1) -> Turn:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    return wire.post(request(message_id, "subscriptions/listen", _meta=meta))


def test_every_cause_of_an_early_end_has_an_outcome() -> None:
    assert list(ABORTED) == list(Abort)


def test_the_answer_to_a_subscription_is_a_long_stream() -> None:
    wire = Wire()
    turn = listen(wire)
    assert turn.begin() == [StreamOpened(LISTEN)]
    acknowledged = notification("notifications/subscriptions/acknowledged")
    events = turn.send(sse(acknowledged, CHANGED) + b"event: ping\ndata: x\n\n")
    assert events[0] == StreamEvents(LISTEN, 3)
    assert only(events, ToolsChanged) == [ToolsChanged()]
    wire.now = 3_600.0
    assert outcomes(turn.send(sse(result(1)))) == [Outcome.SUCCESS]
    assert turn.end() == [StreamClosed(LISTEN, 3_600.0)]
    assert wire.holds_nothing()


@pytest.mark.parametrize("cause", [None, *Abort])
def test_a_subscription_ends_with_its_stream(cause: Abort | None) -> None:
    wire = Wire()
    turn = listen(wire)
    turn.begin()
    wire.now = 2.0
    events = turn.end() if cause is None else turn.abort(cause)
    expected = Outcome.UPSTREAM_CLOSED if cause is None else ABORTED[cause]
    assert outcomes(events) == [expected]
    assert only(events, StreamClosed) == [StreamClosed(LISTEN, 2.0)]
    assert turn.end() == turn.abort(Abort.SHUTDOWN) == []


def test_a_subscription_in_one_piece_is_a_stream_too() -> None:
    events = listen(Wire()).answer(sse(CHANGED, result(1)), fields=EVENTS)
    assert only(events, StreamOpened) == [StreamOpened(LISTEN)]
    assert only(events, StreamEvents) == [StreamEvents(LISTEN, 2)]
    assert only(events, StreamClosed) == [StreamClosed(LISTEN, 0.0)]


@pytest.mark.parametrize(("status", "fields"), [(200, JSON), (404, EVENTS), (302, EVENTS)])
def test_another_answer_to_a_subscription_is_no_stream(
    status: int, fields: dict[bytes, bytes]
) -> None:
    wire = Wire()
    listen(wire).answer(b"", status, fields)
    assert only(wire.events, StreamOpened) == []


def test_the_event_stream_of_another_call_is_no_long_stream() -> None:
    for method in ("tools/call", "initialize"):
        wire = Wire()
        wire.post(request(1, method)).answer(sse(CHANGED, result(1)), fields=EVENTS)
        assert only(wire.events, StreamOpened) == []
        assert only(wire.events, StreamEvents) == []
        assert only(wire.events, ToolsChanged) == [ToolsChanged()]


def test_a_batch_with_a_subscription_is_a_stream() -> None:
    wire = Wire()
    batch = b"[" + request(1) + b"," + request(2, "subscriptions/listen") + b"]"
    assert wire.post(batch).begin() == [StreamOpened(LISTEN)]


def test_a_session_is_opened_before_its_first_answer_is_told() -> None:
    for fields in (JSON, EVENTS):
        wire = Wire()
        turn = wire.post(request(1), mcp_session_id=b"s")
        body = result(1) if fields is JSON else sse(result(1))
        events = turn.answer(body, fields=fields)
        assert [type(event) for event in events[:2]] == [SessionOpened, MessageSeen]
        wire.post(request(2), mcp_session_id=b"s").answer(result(2))
        assert only(wire.events, SessionOpened) == [SessionOpened()]


def test_nothing_is_counted_after_a_stream_was_given_up() -> None:
    wire = Wire()
    turn = listen(wire)
    turn.begin()
    events = turn.send(b"data: x\n\n" * 150)
    assert len(only(events, InspectionStopped)) == 100
    assert turn.send(sse(result(1))) == []
    assert outcomes(turn.end()) == [Outcome.UNINSPECTED]
    assert only(wire.events, StreamClosed) == [StreamClosed(LISTEN, 0.0)]


# Faults of our own


class Break:
    """Judges some answers, and breaks at the next one."""

    def __init__(self, good: int) -> None:
        self.good = good

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.good:
            raise RuntimeError
        self.good -= 1
        return judge(*args, **kwargs)


def batch(*texts: bytes) -> bytes:
    return b"[" + b",".join(texts) + b"]"


@pytest.mark.parametrize("good", [0, 1, 2])
@pytest.mark.parametrize("way", ["events", "batch", "batch of json", "whole", "whole batch"])
def test_what_was_read_before_a_fault_is_told_by_its_end(
    monkeypatch: pytest.MonkeyPatch, way: str, good: int
) -> None:
    wire = Wire()
    turn = wire.post(batch(*map(request, range(3))))
    answers = [*map(result, range(3))]
    ways: dict[str, list[Callable[[], object]]] = {
        "events": [turn.begin, lambda: turn.send(sse(*answers))],
        "batch": [turn.begin, lambda: turn.send(sse(batch(*answers)))],
        "batch of json": [
            lambda: turn.begin(200, JSON),
            lambda: turn.send(batch(*answers)),
            turn.end,
        ],
        "whole": [lambda: turn.answer(sse(*answers), fields=EVENTS)],
        "whole batch": [lambda: turn.answer(batch(*answers))],
    }
    steps = ways[way]
    monkeypatch.setattr(state, "judge", Break(good))
    for step in steps[:-1]:
        step()
    with pytest.raises(RuntimeError):
        steps[-1]()
    events = turn.abort(Abort.FAULT)
    expected = [Outcome.SUCCESS] * good + [Outcome.UNINSPECTED] * (3 - good)
    assert outcomes(events) == expected
    assert len(only(events, MessageSeen)) == good
    assert turn.abort(Abort.FAULT) == []
    assert wire.holds_nothing()


def test_what_was_read_of_a_request_before_a_fault_is_told_by_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire()
    tap = wire.inspector.open(b"POST", b"/mcp", JSON)
    assert tap is not None
    begun: list[Any] = []

    def begin(*args: Any) -> Any:
        if len(begun) == 2:
            raise RuntimeError
        begun.append(args)
        return open_call(*args)

    monkeypatch.setattr(tracker, "open_call", begin)
    with pytest.raises(RuntimeError):
        tap.request(batch(*map(request, range(4))), 1.0)
    events = wire.note(tap.aborted(Abort.FAULT, 2.0))
    assert len(only(events, CallOpened)) == 2
    assert outcomes(events) == [Outcome.UNINSPECTED] * 2
    assert wire.holds_nothing()


def test_a_fault_on_a_stream_tells_what_it_had_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    for message_id in (1, 2):
        wire.suspend(message_id, mcp_session_id=b"s")
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    monkeypatch.setattr(state, "judge", Break(1))
    with pytest.raises(RuntimeError):
        stream.send(sse(result(1), result(2)))
    events = stream.abort(Abort.FAULT)
    assert outcomes(events) == [Outcome.SUCCESS]
    assert only(events, StreamEvents) == [StreamEvents(StreamKind.GET, 2)]
    assert outcomes(wire.sweep()) == [Outcome.ABANDONED]


def test_a_fault_while_calls_are_closed_closes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    turn = wire.post(batch(*map(request, range(3))))
    turn.begin()
    remember = ServerState.note_refusal

    def fail_once(*_: object) -> None:
        monkeypatch.setattr(ServerState, "note_refusal", remember)
        raise RuntimeError

    monkeypatch.setattr(ServerState, "note_refusal", fail_once)
    with pytest.raises(RuntimeError):
        turn.end()
    assert len(outcomes(turn.abort(Abort.FAULT))) == 3


def test_what_came_before_a_batch_that_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    turn = wire.post(batch(*map(request, range(3))))
    turn.begin()
    monkeypatch.setattr(state, "judge", Break(2))
    with pytest.raises(RuntimeError):
        turn.send(sse(result(0), batch(result(1), result(2))))
    events = turn.abort(Abort.FAULT)
    assert outcomes(events) == [Outcome.SUCCESS, Outcome.SUCCESS, Outcome.UNINSPECTED]
