"""Tasks, from the call that was answered by one to the first sign of its end."""

import json
from typing import Any

import pytest

from mcp_proxy_exporter.protocol import Outcome, TaskClosed, TaskOpened, TaskOutcome
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from tests.support.inspection import (
    EVENTS,
    Wire,
    error,
    message,
    notification,
    only,
    outcomes,
    request,
    result,
    sse,
)

DAY = 86_400.0
GRACE = 60.0
CREATED = {"taskId": "t", "status": "working"}
FAILED_PAYLOAD = {"content": [], "isError": True}


def create(wire: Wire, value: Any = None) -> list[str]:
    """Call, and be answered by a task of the extension; tell how tasks ended meanwhile."""
    value = {"resultType": "task", **(CREATED if value is None else value)}
    events = wire.post(request(1, name="nap")).answer(result(1, value))
    assert outcomes(events) == [Outcome.TASK_CREATED]
    return [event.outcome for event in only(events, TaskClosed)]


def create_2025(wire: Wire, value: Any = None) -> None:
    """Ask for a task in the way of 2025-11-25, and get one."""
    turn = wire.post(request(1, name="nap", task={"ttl": 1}))
    events = turn.answer(result(1, {"task": CREATED if value is None else value}))
    assert outcomes(events) == [Outcome.TASK_CREATED]
    assert len(only(events, TaskOpened)) == 1


def ask(wire: Wire, method: str, answer: bytes, status: int = 200, task: Any = "t") -> list[str]:
    """Send ``tasks/…`` about a task; tell what its answer says of the task's end."""
    turn = wire.post(request(9, f"tasks/{method}", taskId=task))
    events = turn.answer(answer, status)
    return [event.outcome for event in only(events, TaskClosed)]


def get(wire: Wire, **members: Any) -> list[str]:
    return ask(wire, "get", result(9, {**CREATED, **members}))


def test_a_task_is_opened_by_its_call_and_closed_by_the_first_sign_of_its_end() -> None:
    wire = Wire()
    wire.now = 1.0
    create(wire)
    wire.now = 3.0
    assert get(wire) == []
    wire.now = 8.0
    assert get(wire, status="completed", result={"content": []}) == [TaskOutcome.SUCCESS]
    assert get(wire, status="completed") == []
    [opened], [closed] = only(wire.events, TaskOpened), only(wire.events, TaskClosed)
    assert closed.call is opened.call
    assert (closed.call.name, closed.duration) == ("nap", 7.0)
    assert wire.holds_nothing()


def test_a_task_that_nobody_asked_for_in_the_old_way_is_none() -> None:
    wire = Wire()
    events = wire.post(request(1)).answer(result(1, {"task": CREATED}))
    assert outcomes(events) == [Outcome.SUCCESS]
    assert only(events, TaskOpened) == []


@pytest.mark.parametrize(
    ("status", "members", "outcome"),
    [
        ("working", {}, None),
        ("input_required", {"inputRequests": {}}, None),
        ("submitted", {"result": FAILED_PAYLOAD}, None),
        (None, {}, None),
        ("completed", {}, TaskOutcome.SUCCESS),
        ("completed", {"result": {"content": []}}, TaskOutcome.SUCCESS),
        ("completed", {"result": {"isError": False}}, TaskOutcome.SUCCESS),
        ("completed", {"result": {"isError": None}}, TaskOutcome.SUCCESS),
        ("completed", {"result": FAILED_PAYLOAD}, TaskOutcome.TOOL_ERROR),
        ("failed", {"result": FAILED_PAYLOAD}, TaskOutcome.TOOL_ERROR),
        ("failed", {}, TaskOutcome.FAILED),
        ("failed", {"result": None}, TaskOutcome.FAILED),
        ("failed", {"result": {"isError": "true"}}, TaskOutcome.FAILED),
        ("failed", {"error": {"code": -32603}}, TaskOutcome.FAILED),
        ("completed", {"result": [1]}, TaskOutcome.SUCCESS),
        ("cancelled", {}, TaskOutcome.CANCELLED),
        ("cancelled", {"result": FAILED_PAYLOAD}, TaskOutcome.CANCELLED),
    ],
)
def test_the_payload_goes_before_the_status(
    status: str | None, members: dict[str, Any], outcome: TaskOutcome | None
) -> None:
    expected = [] if outcome is None else [outcome]
    for begin in (create, create_2025):
        wire = Wire()
        begin(wire)
        assert get(wire, status=status, **members) == expected
        wire = Wire()
        begin(wire)
        tasks = [{"taskId": "other", "status": "failed"}, {**CREATED, "status": status, **members}]
        assert ask(wire, "list", result(9, {"tasks": tasks})) == expected
        wire = Wire()
        begin(wire)
        for method in ("notifications/tasks", "notifications/tasks/status"):
            turn = wire.stream()
            notice = notification(method, **{**CREATED, "status": status, **members})
            events = turn.send(sse(notice))
            assert [event.outcome for event in only(events, TaskClosed)] == expected
            expected_again: list[TaskOutcome] = []
            assert get(wire, status=status, **members) == expected_again
            if outcome is not None:
                break


@pytest.mark.parametrize(
    "notice",
    [
        notification("notifications/tasks", status="failed"),
        notification("notifications/tasks", taskId="other", status="failed"),
        notification("notifications/tasks", taskId=5, status="failed"),
        notification("notifications/tasks", taskId="t", status=5),
        b'{"jsonrpc":"2.0","method":"notifications/tasks"}',
        b'{"jsonrpc":"2.0","method":"notifications/tasks","params":["t"]}',
    ],
)
def test_a_notification_about_nothing_known_is_ignored(notice: bytes) -> None:
    wire = Wire()
    create(wire)
    turn = wire.post(request(2))
    assert only(turn.answer(sse(notice, result(2)), fields=EVENTS), TaskClosed) == []


def test_a_task_may_be_over_when_it_is_created() -> None:
    for status, outcome in (("completed", TaskOutcome.SUCCESS), ("failed", TaskOutcome.FAILED)):
        wire = Wire()
        assert create(wire, {"taskId": "t", "status": status}) == [outcome]
        assert wire.holds_nothing()


@pytest.mark.parametrize(
    ("answer", "status", "outcome"),
    [
        (result(9, {"content": []}), 200, TaskOutcome.SUCCESS),
        (result(9, FAILED_PAYLOAD), 200, TaskOutcome.TOOL_ERROR),
        (error(9, -32603), 200, TaskOutcome.FAILED),
        (error(9, "odd"), 200, TaskOutcome.FAILED),
        (error(9, -32602), 200, TaskOutcome.FAILED),
        (error(9, -32602, "Invalid arguments for tool nap"), 400, TaskOutcome.FAILED),
        (error(9, -32602, "Task not found: t"), 200, TaskOutcome.EXPIRED),
        (error(9, -32602, "unknown TASK"), 400, TaskOutcome.EXPIRED),
        (error(9, -32603, "Task failed"), 200, TaskOutcome.FAILED),
        (message(id=9, error={"code": -32602}), 200, TaskOutcome.FAILED),
        (error(9, -32800), 200, None),
        (error(9, -32042), 200, None),
        (result(9, {"resultType": "?"}), 200, None),
        (result(9, {"content": []}), 500, None),
        (b"", 404, None),
    ],
)
def test_the_result_of_a_task_is_its_end(
    answer: bytes, status: int, outcome: TaskOutcome | None
) -> None:
    wire = Wire()
    create_2025(wire)
    assert ask(wire, "result", answer, status) == ([] if outcome is None else [outcome])
    assert ask(wire, "result", answer, status) == []


@pytest.mark.parametrize("task", ["other", None, 5])
@pytest.mark.parametrize("method", ["get", "result", "cancel"])
def test_an_answer_about_another_task_says_nothing(method: str, task: Any) -> None:
    wire = Wire()
    create(wire)
    assert ask(wire, method, error(9, -32602), task=task) == []
    if method == "result":
        assert ask(wire, method, result(9), task=task) == []


def test_a_task_that_its_server_does_not_know_any_more_is_expired() -> None:
    wire = Wire()
    create(wire)
    assert ask(wire, "get", error(9, -32603)) == []
    assert ask(wire, "get", error(9, -32602), 400) == [TaskOutcome.EXPIRED]
    assert ask(wire, "get", error(9, -32602), 400) == []


def test_a_cancellation_tells_the_end_only_where_it_says_so() -> None:
    wire = Wire()
    create(wire)
    assert ask(wire, "cancel", error(9, -32602)) == []  # it is over, nobody says how
    assert ask(wire, "cancel", result(9, {"resultType": "complete"})) == []  # cooperative
    assert ask(wire, "cancel", result(9, CREATED)) == []
    cancelled = result(9, {**CREATED, "status": "cancelled"})
    assert ask(wire, "cancel", cancelled) == [TaskOutcome.CANCELLED]
    assert ask(wire, "result", error(9, -32603)) == []


@pytest.mark.parametrize(
    "answer", [result(9), result(9, {"isError": True}), error(9, -32602), error(9, -32601)]
)
def test_an_update_says_nothing(answer: bytes) -> None:
    wire = Wire()
    create(wire)
    assert ask(wire, "update", answer) == []
    assert wire.sweep()[0] == TaskClosed(
        only(wire.events, TaskOpened)[0].call, TaskOutcome.UNOBSERVED, 1e6
    )


@pytest.mark.parametrize("method", ["get", "list", "cancel"])
@pytest.mark.parametrize(
    "value",
    [
        {},
        {"tasks": None},
        {"tasks": [5]},
        {"tasks": [{"status": "failed"}]},
        {"taskId": 5, "status": "failed"},
        {"taskId": "t", "status": 5},
        {"taskId": ["t"], "status": "failed"},
    ],
)
def test_an_answer_of_odd_types_says_nothing(method: str, value: Any) -> None:
    wire = Wire()
    create(wire)
    assert ask(wire, method, result(9, value)) == []


@pytest.mark.parametrize(
    "value", [{"taskId": 5}, {"taskId": None}, {"status": "working"}, {"task": {}}, {"task": [1]}]
)
def test_a_task_without_a_name_cannot_be_followed(value: dict[str, Any]) -> None:
    wire = Wire()
    turn = wire.post(request(1))
    events = turn.answer(result(1, {"resultType": "task", **value}))
    assert outcomes(events) == [Outcome.TASK_CREATED]
    assert only(events, TaskOpened) == []
    assert wire.holds_nothing()


def test_a_payload_beyond_all_nesting_is_no_error_of_the_tool() -> None:
    deep = b"[" * 900 + b"]" * 900
    wire = Wire()
    create(wire)
    answer = b'{"jsonrpc":"2.0","id":9,"result":{"taskId":"t","status":"failed","result":%b}}'
    assert ask(wire, "get", answer % deep) == [TaskOutcome.FAILED]


@pytest.mark.parametrize(
    ("members", "seconds"),
    [
        ({}, 3600.0),
        ({"ttl": None}, 3600.0),
        ({"ttlMs": None}, 3600.0),
        ({"ttlMs": 5_000}, 5.0 + GRACE),
        ({"ttl": 5_000}, 5.0 + GRACE),
        ({"ttl": 2.5}, 0.0025 + GRACE),
        ({"ttlMs": 1_000, "ttl": 9_000}, 1.0 + GRACE),
        ({"ttl": 0}, GRACE),
        ({"ttlMs": 0}, GRACE),
        ({"ttl": -5_000}, GRACE),
        ({"ttl": 10**15}, 7 * DAY),
        ({"ttl": 10**30}, 7 * DAY),
        ({"ttl": 1e300}, 7 * DAY),
    ],
)
def test_a_task_whose_end_nobody_saw_is_given_up(members: dict[str, Any], seconds: float) -> None:
    wire = Wire()
    create(wire, {**CREATED, **members})
    assert wire.sweep(seconds - 0.001) == []
    [closed] = wire.sweep(seconds)
    assert isinstance(closed, TaskClosed)
    assert (closed.outcome, closed.duration) == (TaskOutcome.UNOBSERVED, seconds)
    assert wire.holds_nothing()


def test_the_id_of_another_task_ends_that_one() -> None:
    wire = Wire()
    assert create(wire) == []
    assert create(wire) == [TaskOutcome.UNOBSERVED]
    assert len(only(wire.events, TaskOpened)) == 2
    assert get(wire, status="completed") == [TaskOutcome.SUCCESS]
    assert only(wire.events, TaskClosed)[1].call is only(wire.events, TaskOpened)[1].call


def test_the_oldest_task_makes_room() -> None:
    wire = Wire(max_tasks=2)
    for task in ("a", "b", "c"):
        create(wire, {"taskId": task})
    assert [event.call for event in only(wire.events, TaskClosed)] == [
        only(wire.events, TaskOpened)[0].call
    ]
    assert ask(wire, "get", error(9, -32602), task="a") == []
    assert ask(wire, "get", error(9, -32602), task="c") == [TaskOutcome.EXPIRED]


@pytest.mark.parametrize("ttl", ["5000", [], {}, True])
def test_a_time_to_live_of_an_odd_type_costs_nothing_but_itself(ttl: Any) -> None:
    wire = Wire()
    create(wire, {**CREATED, "ttl": ttl, "ttlMs": ttl})
    assert len(only(wire.events, TaskOpened)) == 1
    assert get(wire, ttl=ttl, status="completed") == [TaskOutcome.SUCCESS]


def test_an_answer_that_http_calls_an_error_is_no_sign_of_an_end() -> None:
    wire = Wire()
    create(wire)
    answer = result(9, {"taskId": "t", "status": "completed"})
    for method in ("get", "cancel"):
        assert ask(wire, method, answer, 500) == []
    listing = result(9, {"tasks": [{"taskId": "t", "status": "completed"}]})
    assert ask(wire, "list", listing, 500) == []


def test_a_long_task_id_is_cut() -> None:
    wire = Wire()
    long = "x" * (MAX_TEXT + 1)
    create(wire, {"taskId": long})
    assert ask(wire, "result", result(9), task=long) == [TaskOutcome.SUCCESS]


def test_a_task_outlives_its_session() -> None:
    wire = Wire()
    turn = wire.post(request(1, task={}), mcp_session_id=b"s")
    turn.answer(result(1, {"task": CREATED}))
    wire.delete(mcp_session_id=b"s").answer(status=204)
    assert get(wire, status="completed") == [TaskOutcome.SUCCESS]


def test_a_task_may_be_asked_about_and_answered_on_different_exchanges() -> None:
    wire = Wire()
    create(wire)
    turn = wire.post(request(2, "tasks/result", taskId="t"), mcp_session_id=b"s")
    turn.begin()
    turn.send(b"id: 1\ndata:\n\n")
    turn.end()
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    events = stream.send(sse(result(2, FAILED_PAYLOAD)))
    assert [event.outcome for event in only(events, TaskClosed)] == [TaskOutcome.TOOL_ERROR]


def test_an_answer_that_looks_like_a_new_task_is_still_about_the_old_one() -> None:
    # The examples of SEP-2663 answer tasks/get with resultType "task" as well as "complete".
    wire = Wire()
    create(wire)
    assert get(wire, resultType="task") == []
    assert len(only(wire.events, TaskOpened)) == 1
    assert get(wire, resultType="task", status="completed") == [TaskOutcome.SUCCESS]


@pytest.mark.parametrize(
    "sign",
    [
        "get",
        "list",
        "cancel",
        "notifications/tasks",
        "notifications/tasks/status",
    ],
)
def test_every_sign_of_life_renews_the_time_that_a_task_has(sign: str) -> None:
    wire = Wire()
    create(wire, {**CREATED, "ttlMs": 1_000})
    for now in (50.0, 100.0, 150.0):
        wire.now = now
        if sign.startswith("notifications"):
            wire.stream().send(sse(notification(sign, **CREATED)))
        else:
            value = {"tasks": [CREATED]} if sign == "list" else CREATED
            assert ask(wire, sign, result(9, value)) == []
        assert wire.sweep(now + 60.9) == []
    assert len(wire.sweep(211.0)) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (result(9, CREATED), 500),
        (result(9, {**CREATED, "taskId": "other"}), 200),
        (error(9, -32603), 200),
        (b"", 404),
    ],
)
def test_what_is_no_sign_of_life_renews_nothing(answer: bytes, status: int) -> None:
    wire = Wire()
    create(wire, {**CREATED, "ttlMs": 1_000})
    wire.now = 50.0
    assert ask(wire, "get", answer, status) == []
    assert len(wire.sweep(61.0)) == 1


@pytest.mark.parametrize("method", ["get", "cancel", "result"])
def test_an_answer_that_looks_like_a_new_task_is_a_success(method: str) -> None:
    wire = Wire()
    create_2025(wire)
    turn = wire.post(request(9, f"tasks/{method}", taskId="t"))
    events = turn.answer(result(9, {"resultType": "task", **CREATED}))
    assert outcomes(events) == [Outcome.SUCCESS]
    assert only(events, TaskOpened) == []


def test_an_answer_on_another_exchange_that_looks_like_a_new_task_is_a_success() -> None:
    wire = Wire()
    create(wire)
    turn = wire.post(request(2, "tasks/get", taskId="t"), mcp_session_id=b"s")
    turn.begin()
    turn.send(b"id: 1\ndata:\n\n")
    turn.end()
    stream = wire.stream(mcp_session_id=b"s", last_event_id=b"1")
    events = stream.send(sse(result(2, {"resultType": "task", **CREATED, "status": "failed"})))
    assert outcomes(events) == [Outcome.SUCCESS]
    assert [event.outcome for event in only(events, TaskClosed)] == [TaskOutcome.FAILED]


@pytest.mark.parametrize(("extra", "read"), [(0, True), (1, False)])
def test_a_list_that_is_too_long_is_not_read(extra: int, *, read: bool) -> None:
    wire = Wire()
    create(wire)
    value = {"tasks": [{**CREATED, "status": "failed"}], "pad": ""}
    value["pad"] = "x" * (512 * 1024 + extra - len(json.dumps(value)))
    assert ask(wire, "list", result(9, value)) == ([TaskOutcome.FAILED] if read else [])


@pytest.mark.parametrize(("method", "params"), [("update", {"taskId": "t"}), ("list", {})])
def test_no_answer_about_tasks_creates_one(method: str, params: dict[str, str]) -> None:
    events = (
        Wire()
        .post(request(9, f"tasks/{method}", **params))
        .answer(result(9, {"resultType": "task", "tasks": []}))
    )
    assert outcomes(events) == [Outcome.SUCCESS]
