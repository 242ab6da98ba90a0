"""The metrics of real servers under real clients equal what those clients saw, to the last call."""

import subprocess
from operator import itemgetter

import pytest
from mcp import types

from tests.support.ledger import (
    AT_ONCE,
    Ending,
    count_calls,
    count_codes,
    count_endings,
    count_results,
    count_unknown,
)
from tests.support.programs import find_tool
from tests.support.runs import LedgerRun
from tests.support.scrape import Scrape

# The first run installs the npm server.
pytestmark = pytest.mark.timeout(240)

CALLS_AT_LEAST = 200


def test_ledger_has_calls_of_every_kind(ledger_run: LedgerRun) -> None:
    entries = ledger_run.proxied.entries
    assert len(entries) >= CALLS_AT_LEAST
    assert len(ledger_run.course.plan) * ledger_run.course.rounds >= AT_ONCE
    assert {entry.ending for entry in entries} == set(Ending)
    assert count_unknown(entries, ledger_run.listed) > 0
    assert ledger_run.proxied.revisions == ledger_run.course.revisions


def test_every_call_ends_as_planned(ledger_run: LedgerRun) -> None:
    course = ledger_run.course
    plan = [*course.plan] * (1 + course.rounds) * len(course.clients)
    planned = [(call.tool, call.ending, call.code, call.steps) for call in plan]
    seen = [(call.tool, call.ending, call.code, call.steps) for call in ledger_run.proxied.entries]
    assert seen == planned


def test_answers_through_the_proxy_equal_direct_ones(ledger_run: LedgerRun) -> None:
    assert ledger_run.proxied.entries == ledger_run.direct.entries
    assert ledger_run.proxied.tools == ledger_run.direct.tools
    assert ledger_run.proxied.wire == ledger_run.direct.wire


def test_tool_calls_equal_the_ledger(ledger_run: LedgerRun) -> None:
    assert ledger_run.metrics.table(
        "mcp_tool_calls_total", ("tool", "outcome"), server=ledger_run.server
    ) == count_calls(ledger_run.proxied.entries, ledger_run.listed)


def test_no_call_is_counted_for_another_server(ledger_run: LedgerRun) -> None:
    servers = {
        labels["server"]
        for name in ledger_run.metrics.names
        for labels, _ in ledger_run.metrics.rows(name)
        if "server" in labels
    }
    assert servers == {ledger_run.server}


def test_tools_call_requests_equal_the_ledger(ledger_run: LedgerRun) -> None:
    assert ledger_run.metrics.table(
        "mcp_requests_total", ("outcome",), method="tools/call"
    ) == count_endings(ledger_run.proxied.entries)


def test_every_duration_is_observed_once(ledger_run: LedgerRun) -> None:
    metrics = ledger_run.metrics
    by_tool = ("tool", "outcome")
    calls = count_calls(ledger_run.proxied.entries, ledger_run.listed)
    assert metrics.table("mcp_tool_call_duration_seconds_count", by_tool) == calls
    infinite = {"le": "+Inf"}
    assert metrics.table("mcp_tool_call_duration_seconds_bucket", by_tool, **infinite) == calls
    assert metrics.table("mcp_request_duration_seconds_count", ("method",)) == by_method(ledger_run)


def test_slow_calls_take_their_time(ledger_run: LedgerRun) -> None:
    slow = {call.tool for call in ledger_run.course.plan if call.steps}
    for tool in slow:
        labels = {"server": ledger_run.server, "tool": tool, "outcome": "success"}
        seconds = ledger_run.metrics.value("mcp_tool_call_duration_seconds_sum", **labels)
        count = ledger_run.metrics.value("mcp_tool_call_duration_seconds_count", **labels)
        assert seconds is not None
        assert count is not None
        # Every slow tool of the plans sleeps 2 ms or more in at least half of its calls.
        assert 0.001 < seconds / count < 5


def test_nothing_is_in_flight_at_rest(ledger_run: LedgerRun) -> None:
    metrics = ledger_run.metrics
    calls, requests = "mcp_tool_calls_in_flight", "mcp_requests_in_flight"
    assert {calls, requests} <= metrics.names
    assert [row for row in metrics.rows(calls) + metrics.rows(requests) if row[1]] == []
    oldest = "mcp_oldest_request_start_timestamp_seconds"
    assert metrics.value(oldest, server=ledger_run.server) == 0


def test_inventory_equals_the_listing(ledger_run: LedgerRun) -> None:
    metrics, server = ledger_run.metrics, ledger_run.server
    assert metrics.value("mcp_tools", server=server) == len(ledger_run.proxied.tools)
    infos = [labels for labels, value in metrics.rows("mcp_tool_info") if value == 1]
    listed = [describe_tool(server, tool) for tool in ledger_run.proxied.tools]
    assert sorted(infos, key=itemgetter("tool")) == sorted(listed, key=itemgetter("tool"))


def test_tool_that_was_never_called_is_there_with_zero(ledger_run: LedgerRun) -> None:
    metrics = ledger_run.metrics
    idle = {"server": ledger_run.server, "tool": ledger_run.course.idle_tool}
    assert metrics.value("mcp_tool_calls_total", **idle, outcome="success") == 0
    assert metrics.value("mcp_tool_last_call_timestamp_seconds", **idle) == 0


def test_last_calls_happened_during_the_run(ledger_run: LedgerRun) -> None:
    called = {entry.tool for entry in ledger_run.proxied.entries} & ledger_run.listed
    rows = ledger_run.metrics.rows("mcp_tool_last_call_timestamp_seconds")
    stamps = {row["tool"]: stamp for row, stamp in rows if row["tool"] in called}
    assert set(stamps) == called
    assert all(0 <= stamp - ledger_run.started < 120 for stamp in stamps.values())


def test_unknown_tools_are_counted_and_never_named(ledger_run: LedgerRun) -> None:
    unknown = count_unknown(ledger_run.proxied.entries, ledger_run.listed)
    counted = ledger_run.metrics.value("mcp_unknown_tool_calls_total", server=ledger_run.server)
    assert counted == unknown
    for entry in ledger_run.proxied.entries:
        if entry.tool not in ledger_run.listed:
            assert entry.tool.encode() not in ledger_run.text.body


def test_error_codes_equal_the_ledger(ledger_run: LedgerRun) -> None:
    assert ledger_run.metrics.table(
        "mcp_jsonrpc_errors_total", ("code",), method="tools/call"
    ) == count_codes(ledger_run.proxied.entries)


def test_result_sizes_are_observed_for_every_result(ledger_run: LedgerRun) -> None:
    assert ledger_run.metrics.table("mcp_tool_result_size_bytes_count", ("tool",)) == count_results(
        ledger_run.proxied.entries, ledger_run.listed
    )


def test_requests_equal_what_the_clients_sent(ledger_run: LedgerRun) -> None:
    metrics, wire = ledger_run.metrics, ledger_run.proxied.wire
    assert metrics.table("mcp_requests_total", ("method",)) == by_method(ledger_run)
    sent = {"server": ledger_run.server, "direction": "to_server", "kind": "request"}
    assert metrics.value("mcp_message_size_bytes_count", **sent) == wire.requests.total()
    assert metrics.value("mcp_message_size_bytes_sum", **sent) == wire.request_bytes
    answers = {"server": ledger_run.server, "direction": "to_client", "kind": "response"}
    assert metrics.value("mcp_message_size_bytes_count", **answers) == wire.requests.total()


def test_notifications_equal_what_the_clients_sent_and_saw(ledger_run: LedgerRun) -> None:
    metrics, wire = ledger_run.metrics, ledger_run.proxied.wire
    assert metrics.table("mcp_notifications_total", ("method",), direction="to_server") == {
        (method,): count for method, count in wire.notifications.items()
    }
    steps = sum(entry.steps for entry in ledger_run.proxied.entries)
    assert (
        metrics.total(
            "mcp_notifications_total", direction="to_client", method="notifications/progress"
        )
        == steps
    )


def test_http_exchanges_equal_what_the_clients_saw(ledger_run: LedgerRun) -> None:
    exchanges = ledger_run.proxied.wire.exchanges
    table = ledger_run.metrics.table("mcp_http_requests_total", ("method", "code"))
    assert table == dict(exchanges)


def test_inspection_saw_everything_without_a_fault(ledger_run: LedgerRun) -> None:
    metrics = ledger_run.metrics
    assert metrics.total("mcp_proxy_uninspected_messages_total") == 0
    assert metrics.total("mcp_proxy_inspection_errors_total") == 0
    assert metrics.total("mcp_late_responses_total") == 0
    assert metrics.total("mcp_upstream_failures_total") == 0
    assert metrics.value("mcp_upstream_up", server=ledger_run.server) == 1


def test_live_scrape_is_clean_for_promtool(ledger_run: LedgerRun) -> None:
    argv = [find_tool("promtool"), "check", "metrics"]
    done = subprocess.run(
        argv, input=ledger_run.text.body, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_openmetrics_scrape_passes_the_strict_parser(ledger_run: LedgerRun) -> None:
    answer = ledger_run.openmetrics
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    strict = Scrape.from_openmetrics(answer.body)
    assert strict.counters() == ledger_run.metrics.counters()


def by_method(run: LedgerRun) -> dict[tuple[str, ...], int]:
    """Return how many requests of each method the clients sent."""
    return {(method,): count for method, count in run.proxied.wire.requests.items()}


def describe_tool(server: str, tool: types.Tool) -> dict[str, str]:
    """Return the labels of a tool's info series, from the listing that a client got."""
    stated = tool.annotations or types.ToolAnnotations()
    words = {None: "unset", True: "true", False: "false"}
    return {
        "server": server,
        "tool": tool.name,
        "read_only": words[stated.read_only_hint],
        "destructive": words[stated.destructive_hint],
        "idempotent": words[stated.idempotent_hint],
        "open_world": words[stated.open_world_hint],
    }
