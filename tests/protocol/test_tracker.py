"""Calls, opened and closed by messages alone."""

from collections.abc import Sequence

import pytest
from msgspec import UNSET, Raw

from mcp_proxy_exporter.protocol import (
    CallClosed,
    CallOpened,
    Delivery,
    Direction,
    Event,
    InputRequested,
    InspectionStopped,
    LateResponse,
    Limits,
    MessageKind,
    MessageSeen,
    Outcome,
    TaskOpened,
    ToolsListed,
    ToolsSeen,
)
from mcp_proxy_exporter.protocol import state as module
from mcp_proxy_exporter.protocol.calls import OpenCall
from mcp_proxy_exporter.protocol.catalog import Catalog
from mcp_proxy_exporter.protocol.ids import MAX_METHOD, MAX_TEXT, Id
from mcp_proxy_exporter.protocol.jsonrpc import Message
from mcp_proxy_exporter.protocol.params import Meta, Params, TaskParams
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.tracker import ExchangeTracker


def tracker(state: ServerState | None = None) -> ExchangeTracker:
    return ExchangeTracker(state or ServerState(Limits()))


def request(message_id: Id, method: str = "tools/call", params: Params | None = None) -> Message:
    return Message("2.0", message_id, method, params)


def response(message_id: Id, result: bytes = b"{}") -> Message:
    return Message("2.0", message_id, result=Raw(result))


def opened(events: Sequence[Event]) -> CallOpened:
    [event] = [event for event in events if isinstance(event, CallOpened)]
    return event


def closed(events: Sequence[Event]) -> CallClosed | None:
    ends = [event for event in events if isinstance(event, CallClosed)]
    assert len(ends) < 2
    return ends[0] if ends else None


def test_a_request_opens_a_call_and_its_response_closes_it() -> None:
    calls = tracker()
    message = request(1, params=Params(name="sharpen_claw"))
    seen, begin = calls.client_message(message, bytes(100), 1.0)
    assert seen == MessageSeen(Direction.TO_SERVER, MessageKind.REQUEST, "tools/call", 100)
    assert isinstance(begin, CallOpened)
    call = begin.call
    assert (call.method, call.name, call.opened_at) == ("tools/call", "sharpen_claw", 1.0)
    seen, end = calls.server_message(response(1, b'{"a":1}'), bytes(50), 200, 2.0)
    assert seen == MessageSeen(Direction.TO_CLIENT, MessageKind.RESPONSE, None, 50)
    assert end == CallClosed(call, Outcome.SUCCESS, 2.0, 2.0, 7, None)


def test_the_first_message_may_be_a_notification() -> None:
    calls = tracker()
    calls.client_message(request(1), bytes(1), 1.0)
    calls.server_message(request(UNSET, "notifications/progress"), bytes(1), 200, 2.0)
    end = closed(calls.server_message(response(1), bytes(1), 200, 3.0))
    assert end is not None
    assert (end.first_message_at, end.at) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("method", "name"),
    [("tools/call", "a"), ("prompts/get", "a"), ("resources/read", None), ("completion/x", None)],
)
def test_only_tools_and_prompts_have_a_name(method: str, name: str | None) -> None:
    message = request(1, method, Params(name="a"))
    assert opened(tracker().client_message(message, bytes(1), 1.0)).call.name == name


def test_what_an_open_call_holds_is_bounded() -> None:
    long = "x" * 10_000
    call = opened(tracker().client_message(request(1, long), bytes(1), 1.0)).call
    assert call.method == long[:MAX_METHOD]
    message = request(1, params=Params(name=long))
    assert opened(tracker().client_message(message, bytes(1), 1.0)).call.name == long[:MAX_TEXT]


def test_a_call_without_params_has_no_name() -> None:
    assert opened(tracker().client_message(request(1), bytes(1), 1.0)).call.name is None


@pytest.mark.parametrize("message_id", [0, "0", 0.0, None, True, False, "", "é", 10**30, -1])
def test_a_response_must_carry_the_very_id(message_id: Id) -> None:
    others: list[Id] = [0, "0", 0.0, None, True, False, "", "é", 10**30, -1, UNSET, 1, "1"]
    calls = tracker()
    calls.client_message(request(message_id), bytes(1), 1.0)
    for other in others:
        same = type(other) is type(message_id) and other == message_id
        numbers = {type(other), type(message_id)} == {int, float} and other == message_id
        if not (same or numbers):
            assert closed(calls.server_message(response(other), bytes(1), 200, 2.0)) is None
    assert closed(calls.server_message(response(message_id), bytes(1), 200, 2.0)) is not None


@pytest.mark.parametrize(("asked", "answered"), [(1.0, 1), (1, 1.0)])
def test_javascript_may_answer_1_to_1_0(asked: Id, answered: Id) -> None:
    calls = tracker()
    calls.client_message(request(asked), bytes(1), 1.0)
    assert closed(calls.server_message(response(answered), bytes(1), 200, 2.0)) is not None
    late = calls.server_message(response(answered), bytes(1), 200, 2.0)[1:]
    assert late == (LateResponse("tools/call"),)


def test_the_exact_id_goes_before_the_equal_number() -> None:
    calls = tracker()
    first = opened(calls.client_message(request(1.0), bytes(1), 1.0)).call
    second = opened(calls.client_message(request(1), bytes(1), 1.0)).call
    for answered, call in ((1, second), (1.0, first)):
        end = closed(calls.server_message(response(answered), bytes(1), 200, 2.0))
        assert end is not None
        assert end.call is call


def test_calls_with_the_same_id_end_in_their_order() -> None:
    state = ServerState(Limits())
    slots = state.calls
    calls = tracker(state)
    begun = [opened(calls.client_message(request(1), bytes(1), float(i))).call for i in range(4)]
    ended = [closed(calls.server_message(response(1), bytes(1), 200, 9.0)) for _ in range(3)]
    assert [end.call for end in ended if end] == begun[:3]
    assert slots.used == 1
    [last] = calls.close(lambda _: Outcome.ABANDONED, 9.0)
    assert isinstance(last, CallClosed)
    assert last.call is begun[3]


def test_a_second_response_is_late() -> None:
    calls = tracker()
    calls.client_message(request("a", "tools/list"), bytes(1), 1.0)
    calls.server_message(response("a"), bytes(1), 200, 2.0)
    events = calls.server_message(response("a"), bytes(7), 200, 3.0)
    seen = MessageSeen(Direction.TO_CLIENT, MessageKind.RESPONSE, None, 7)
    assert events == (seen, LateResponse("tools/list"))


def test_a_fault_while_judging_leaves_the_call_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    state = ServerState(Limits())
    slots = state.calls
    calls = tracker(state)
    calls.client_message(request(1, "tools/list"), bytes(1), 1.0)
    for target, name in ((module, "judge"), (module, "CallClosed"), (Catalog, "add")):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, fail)
            with pytest.raises(RuntimeError):
                calls.server_message(response(1), bytes(1), 200, 2.0)
    assert slots.used == 1
    assert len(calls.close(lambda _: Outcome.UNINSPECTED, 3.0)) == 1
    assert slots.used == 0


def test_a_response_that_nobody_waits_for_is_only_seen() -> None:
    calls = tracker()
    calls.client_message(request(1), bytes(1), 1.0)
    for message_id in (2, "1", None, UNSET, 2.0):
        assert len(calls.server_message(response(message_id), bytes(1), 200, 2.0)) == 1


def test_the_servers_requests_are_another_id_space() -> None:
    calls = tracker()
    call = opened(calls.client_message(request(1), bytes(1), 1.0)).call
    seen, asked = calls.server_message(request(1, "elicitation/create"), bytes(5), 200, 2.0)
    expected = MessageSeen(Direction.TO_CLIENT, MessageKind.REQUEST, "elicitation/create", 5)
    assert seen == expected
    assert asked == InputRequested("elicitation/create", Delivery.SERVER_REQUEST)
    [seen] = calls.client_message(response(1), bytes(6), 3.0)
    assert seen == MessageSeen(Direction.TO_SERVER, MessageKind.RESPONSE, None, 6)
    end = closed(calls.server_message(response(1), bytes(1), 200, 4.0))
    assert end is not None
    assert end.call is call


@pytest.mark.parametrize("direction", list(Direction))
def test_a_notification_shows_its_method_and_a_log_message_its_level(direction: Direction) -> None:
    for method, params, level in (
        ("notifications/message", Params(level="error"), "error"),
        ("notifications/message", Params(), None),
        ("notifications/message", None, None),
        ("notifications/progress", Params(level="error"), None),
    ):
        message = request(UNSET, method, params)
        if direction is Direction.TO_SERVER:
            [seen] = tracker().client_message(message, bytes(9), 1.0)
        else:
            [seen] = tracker().server_message(message, bytes(9), 200, 1.0)
        assert seen == MessageSeen(direction, MessageKind.NOTIFICATION, method, 9, level)


def test_a_call_beyond_the_limit_is_counted_and_not_waited_for() -> None:
    state = ServerState(Limits(max_open_calls=1))
    slots = state.calls
    calls = tracker(state)
    calls.client_message(request(1), bytes(1), 1.0)
    seen, stopped, begin, end = calls.client_message(request(2), bytes(1), 2.0)
    assert isinstance(seen, MessageSeen)
    assert stopped == InspectionStopped("too_large")
    assert isinstance(begin, CallOpened)
    assert end == CallClosed(begin.call, Outcome.UNINSPECTED, 2.0)
    assert len(calls.server_message(response(2), bytes(1), 200, 3.0)) == 1
    assert slots.used == 1
    assert closed(calls.server_message(response(1), bytes(1), 200, 3.0)) is not None
    assert slots.used == 0


def test_closing_ends_everything_once() -> None:
    state = ServerState(Limits())
    slots = state.calls
    calls = tracker(state)
    begun = [opened(calls.client_message(request(i % 3), bytes(1), 1.0)).call for i in range(6)]
    assert slots.used == 6
    ends = calls.close(lambda _: Outcome.PROXY_SHUTDOWN, 5.0)
    assert {id(end.call) for end in ends if isinstance(end, CallClosed)} == set(map(id, begun))
    assert {end.outcome for end in ends if isinstance(end, CallClosed)} == {Outcome.PROXY_SHUTDOWN}
    assert slots.used == 0
    assert list(calls.close(lambda _: Outcome.PROXY_SHUTDOWN, 6.0)) == []


def test_closing_may_look_at_the_era() -> None:
    calls = tracker()
    calls.client_message(request(1, params=Params(meta=Meta("2026-07-28"))), bytes(1), 1.0)
    calls.client_message(request(2, params=Params(meta=Meta("2025-11-25"))), bytes(1), 1.0)
    calls.client_message(request(3, params=Params(meta=Meta())), bytes(1), 1.0)
    calls.client_message(request(4, params=Params()), bytes(1), 1.0)
    calls.client_message(request(5), bytes(1), 1.0)
    eras = []

    def look(call: OpenCall) -> Outcome:
        eras.append(call.modern)
        return Outcome.ABANDONED

    calls.close(look, 2.0)
    assert eras == [True, False, False, False, False]


def test_a_task_is_created_for_who_asked() -> None:
    task = b'{"task":{"taskId":"t"}}'
    for params, outcome in (
        (Params(task=TaskParams()), Outcome.TASK_CREATED),
        (Params(), Outcome.SUCCESS),
    ):
        calls = tracker()
        calls.client_message(request(1, params=params), bytes(1), 1.0)
        events = calls.server_message(response(1, task), bytes(1), 200, 2.0)
        end = closed(events)
        assert end is not None
        assert end.outcome is outcome
        begun = [event for event in events if isinstance(event, TaskOpened)]
        assert begun == ([TaskOpened(end.call)] if outcome is Outcome.TASK_CREATED else [])


def test_a_listing_shows_tools_page_by_page() -> None:
    state = ServerState(Limits())
    for cursor, page, kinds in (
        (None, b'{"tools":[{"name":"a"}],"nextCursor":"n"}', [ToolsSeen]),
        ("n", b'{"tools":[{"name":"b"}]}', [ToolsSeen, ToolsListed]),
    ):
        calls = tracker(state)
        calls.client_message(request(1, "tools/list", Params(cursor=cursor)), bytes(1), 1.0)
        events = calls.server_message(response(1, page), bytes(1), 200, 2.0)
        assert [type(event) for event in events] == [MessageSeen, CallClosed, *kinds]


@pytest.mark.parametrize(
    ("method", "status", "result"),
    [
        ("tools/call", 200, b'{"tools":[{"name":"a"}]}'),
        ("tools/list", 500, b'{"tools":[{"name":"a"}]}'),
        ("tools/list", 200, b'{"tools":[{"name":"a"}],"isError":true}'),
        ("tools/list", 200, b'{"tools":[{"name":"a"}],"resultType":"maybe"}'),
    ],
)
def test_only_a_good_listing_shows_tools(method: str, status: int, result: bytes) -> None:
    calls = tracker()
    calls.client_message(request(1, method), bytes(1), 1.0)
    events = calls.server_message(response(1, result), bytes(1), status, 2.0)
    assert [type(event) for event in events] == [MessageSeen, CallClosed]
