import pytest

from mcp_proxy_exporter.observe.metrics import ServerMetrics
from mcp_proxy_exporter.observe.words import OTHER
from mcp_proxy_exporter.protocol.events import (
    Call,
    CallClosed,
    CallOpened,
    TaskClosed,
    TaskOpened,
    TaskOutcome,
)
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import list_tools, make_metrics, scrape

TASKS = "mcp_tasks_total"
DURATION = "mcp_task_duration_seconds"
PENDING = "mcp_tasks_pending"
CALLS = "mcp_tool_calls_total"
OVERFLOW = "mcp_proxy_label_overflow_total"
UNKNOWN = "mcp_unknown_tool_calls_total"


def begin(server: ServerMetrics, name: str | None, method: str = "tools/call") -> Call:
    """Report a call that a task answers."""
    call = Call(method, name, 10.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, Outcome.TASK_CREATED, 10.5, 10.25, 60))
    server.handle(TaskOpened(call))
    return call


def test_before_any_task_there_is_none_pending() -> None:
    metrics = make_metrics()
    list_tools(metrics.server("cats"), "nap")
    figures = scrape(metrics)
    assert figures(PENDING, server="cats") == 0
    assert not list(figures.series(TASKS))
    assert not list(figures.series(f"{DURATION}_count"))


def test_a_task_is_pending_until_it_ends_and_its_ends_exist_at_zero() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    call = begin(server, "nap")
    figures = scrape(metrics)
    assert figures(PENDING, server="cats") == 1
    assert figures.values(TASKS, "outcome") == {
        *("success", "tool_error", "failed", "cancelled", "expired", "unobserved")
    }
    assert figures.values(TASKS, "tool") == {"nap"}
    assert figures.total(TASKS) == 0
    server.handle(TaskClosed(call, TaskOutcome.SUCCESS, 90.0))
    figures = scrape(metrics)
    assert figures(PENDING, server="cats") == 0
    assert figures(TASKS, server="cats", tool="nap", outcome="success") == 1
    assert figures(f"{DURATION}_sum", server="cats", tool="nap") == 90
    assert figures(f"{DURATION}_bucket", server="cats", tool="nap", le="60.0") == 0
    assert figures(f"{DURATION}_bucket", server="cats", tool="nap", le="120.0") == 1


@pytest.mark.parametrize("outcome", TaskOutcome)
def test_a_task_has_one_outcome_and_is_timed_if_its_end_was_seen(outcome: TaskOutcome) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    server.handle(TaskClosed(begin(server, "nap"), outcome, 90.0))
    figures = scrape(metrics)
    assert figures(TASKS, server="cats", tool="nap", outcome=outcome.value) == 1
    assert figures.total(TASKS) == 1
    seen = outcome is not TaskOutcome.UNOBSERVED
    assert figures.total(f"{DURATION}_count") == seen
    assert figures(PENDING, server="cats") == 0


def test_a_tasks_end_changes_nothing_of_its_call() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    server.handle(TaskClosed(begin(server, "nap"), TaskOutcome.SUCCESS, 90.0))
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool="nap", outcome="task_created") == 1
    assert figures(CALLS, server="cats", tool="nap", outcome="success") == 0
    duration = "mcp_tool_call_duration_seconds_sum"
    assert figures(duration, server="cats", tool="nap", outcome="task_created") == 0.5


def test_before_a_list_the_success_of_a_task_admits_its_tool() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(TaskClosed(begin(server, "nap"), TaskOutcome.SUCCESS, 90.0))
    begin(server, "nap")
    figures = scrape(metrics)
    assert figures(TASKS, server="cats", tool="nap", outcome="success") == 1
    assert figures(CALLS, server="cats", tool="nap", outcome="task_created") == 1
    # The first call had ended before its task told that the tool is real.
    assert figures(CALLS, server="cats", tool=OTHER, outcome="task_created") == 1
    assert figures(OVERFLOW, server="cats", label="tool") == 1


@pytest.mark.parametrize("outcome", [o for o in TaskOutcome if o is not TaskOutcome.SUCCESS])
def test_before_a_list_nothing_but_success_admits_a_tool(outcome: TaskOutcome) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(TaskClosed(begin(server, "nap"), outcome, 90.0))
    figures = scrape(metrics)
    assert figures.values(TASKS, "tool") == {OTHER}
    assert figures(TASKS, server="cats", tool=OTHER, outcome=outcome.value) == 1
    # Its call, and the task itself.
    assert figures(OVERFLOW, server="cats", label="tool") == 2


def test_after_a_list_an_invented_name_is_other_and_unknown_once() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    server.handle(TaskClosed(begin(server, "invented"), TaskOutcome.SUCCESS, 90.0))
    figures = scrape(metrics)
    assert figures(TASKS, server="cats", tool=OTHER, outcome="success") == 1
    assert figures(UNKNOWN, server="cats") == 1


def test_a_tool_listed_while_its_task_ran_has_its_label_at_the_end() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = begin(server, "nap")
    list_tools(server, "nap")
    server.handle(TaskClosed(call, TaskOutcome.FAILED, 90.0))
    figures = scrape(metrics)
    assert figures(TASKS, server="cats", tool="nap", outcome="failed") == 1
    assert figures(TASKS, server="cats", tool="nap", outcome="success") == 0
    assert figures.total(TASKS, tool=OTHER) == 0


@pytest.mark.parametrize(
    ("method", "name"), [("tools/call", None), ("prompts/get", "greet"), ("no/such", "nap")]
)
def test_a_task_without_a_tools_name_is_other_and_admits_nothing(
    method: str, name: str | None
) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(TaskClosed(begin(server, name, method), TaskOutcome.SUCCESS, 90.0))
    figures = scrape(metrics)
    assert figures(TASKS, server="cats", tool=OTHER, outcome="success") == 1
    assert figures("mcp_proxy_label_values", server="cats", label="tool") == 0
    assert figures(OVERFLOW, server="cats", label="tool") == 0


def test_servers_do_not_share_tasks() -> None:
    metrics = make_metrics()
    begin(metrics.server("cats"), "nap")
    metrics.server("dogs")
    figures = scrape(metrics)
    assert figures(PENDING, server="cats") == 1
    assert figures(PENDING, server="dogs") == 0
