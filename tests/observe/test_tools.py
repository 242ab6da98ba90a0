import pytest

from mcp_proxy_exporter.observe.words import OTHER
from mcp_proxy_exporter.protocol.content import ONE_TEXT
from mcp_proxy_exporter.protocol.events import (
    Call,
    CallClosed,
    CallOpened,
    Tool,
    ToolsChanged,
    ToolsListed,
    ToolsSeen,
)
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import OFFSET, call_tool, list_tools, make_metrics, scrape

CALLS = "mcp_tool_calls_total"
IN_FLIGHT = "mcp_tool_calls_in_flight"
LAST_CALL = "mcp_tool_last_call_timestamp_seconds"
UNKNOWN = "mcp_unknown_tool_calls_total"
OVERFLOW = "mcp_proxy_label_overflow_total"

failures = pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.SUCCESS])


def test_a_listed_tool_exists_at_zero_before_its_first_call() -> None:
    metrics = make_metrics()
    list_tools(metrics.server("cats"), "nap")
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool="nap", outcome="success") == 0
    assert figures(LAST_CALL, server="cats", tool="nap") == 0
    assert figures(IN_FLIGHT, server="cats", tool="nap") == 0
    assert figures("mcp_tools", server="cats") == 1


def test_a_call_is_counted_with_its_outcome_duration_size_and_time() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    call = Call("tools/call", "nap", 10.0)
    server.handle(CallOpened(call))
    assert scrape(metrics)(IN_FLIGHT, server="cats", tool="nap") == 1
    server.handle(CallClosed(call, Outcome.TOOL_ERROR, 10.25, 10.125, 300))
    figures = scrape(metrics)
    labels = {"server": "cats", "tool": "nap"}
    assert figures(CALLS, **labels, outcome="tool_error") == 1
    assert figures(CALLS, **labels, outcome="success") == 0
    duration = "mcp_tool_call_duration_seconds"
    assert figures(f"{duration}_sum", **labels, outcome="tool_error") == 0.25
    assert figures(f"{duration}_bucket", **labels, outcome="tool_error", le="0.1") == 0
    assert figures(f"{duration}_bucket", **labels, outcome="tool_error", le="0.25") == 1
    assert figures("mcp_tool_result_size_bytes_sum", **labels) == 300
    assert figures("mcp_tool_result_size_bytes_bucket", **labels, le="256.0") == 0
    assert figures("mcp_tool_result_size_bytes_bucket", **labels, le="1024.0") == 1
    assert figures(LAST_CALL, **labels) == 10.25 + OFFSET
    assert figures(IN_FLIGHT, **labels) == 0


def test_a_call_without_a_result_has_no_size() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    call = Call("tools/call", "nap", 10.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, Outcome.CLIENT_DISCONNECTED, 11.0))
    assert not list(scrape(metrics).series("mcp_tool_result_size_bytes_count"))


@pytest.mark.parametrize("outcome", Outcome)
def test_only_results_for_the_model_have_a_size_and_content(outcome: Outcome) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    call = Call("tools/call", "nap", 10.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, outcome, 11.0, 10.5, 300, content=ONE_TEXT))
    figures = scrape(metrics)
    counted = int(outcome in {Outcome.SUCCESS, Outcome.TOOL_ERROR})
    assert figures.total("mcp_tool_result_size_bytes_count") == counted
    assert figures.total("mcp_tool_result_content_blocks_total") == counted


def test_a_name_that_a_list_may_have_had_is_not_unknown() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(ToolsSeen((Tool("nap"),), 1))
    server.handle(ToolsListed((Tool("nap"),), 100, 1))
    call_tool(server, "beyond")
    figures = scrape(metrics)
    assert figures(UNKNOWN, server="cats") == 0
    assert figures("mcp_tools", server="cats") == 2
    server.handle(ToolsListed((Tool("nap"),), 100, 2))
    assert scrape(metrics)("mcp_tools", server="cats") == 3


def test_before_a_list_success_admits_a_name() -> None:
    metrics = make_metrics()
    call_tool(metrics.server("cats"), "nap")
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool="nap", outcome="success") == 1
    assert figures(OVERFLOW, server="cats", label="tool") == 0
    assert figures(UNKNOWN, server="cats") == 0


@failures
def test_before_a_list_nothing_but_success_admits_a_name(outcome: Outcome) -> None:
    metrics = make_metrics()
    call_tool(metrics.server("cats"), "nap", outcome)
    figures = scrape(metrics)
    assert figures.values(CALLS, "tool") == {OTHER}
    assert figures(CALLS, server="cats", tool=OTHER, outcome=outcome.value) == 1
    assert figures(OVERFLOW, server="cats", label="tool") == 1
    assert figures(UNKNOWN, server="cats") == 0


def test_a_failed_call_of_an_admitted_name_has_its_label() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call_tool(server, "nap")
    call_tool(server, "nap", Outcome.TOOL_ERROR)
    assert scrape(metrics)(CALLS, server="cats", tool="nap", outcome="tool_error") == 1


def test_a_first_call_leaves_flight_under_the_label_it_took_off_with() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    first = Call("tools/call", "nap", 10.0)
    second = Call("tools/call", "nap", 10.0)
    server.handle(CallOpened(first))
    server.handle(CallOpened(second))
    server.handle(CallClosed(first, Outcome.SUCCESS, 11.0))
    figures = scrape(metrics)
    assert figures(IN_FLIGHT, server="cats", tool=OTHER) == 1
    assert figures(IN_FLIGHT, server="cats", tool="nap") == 0
    server.handle(CallClosed(second, Outcome.SUCCESS, 11.0))
    figures = scrape(metrics)
    assert figures(IN_FLIGHT, server="cats", tool=OTHER) == 0
    assert figures(CALLS, server="cats", tool="nap", outcome="success") == 2


def test_one_page_of_a_list_admits_its_names_and_leaves_the_others_to_success() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(ToolsSeen((Tool("nap"),)))
    call_tool(server, "nap", Outcome.TOOL_ERROR)
    call_tool(server, "on_the_next_page")
    figures = scrape(metrics)
    assert figures.values(CALLS, "tool") == {"nap", "on_the_next_page"}
    assert figures("mcp_tools", server="cats") is None
    assert not list(figures.series("mcp_tool_info"))


def test_after_a_complete_list_an_invented_name_is_other_and_unknown() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    call_tool(server, "invented")
    call_tool(server, "invented", Outcome.TOOL_ERROR)
    call_tool(server, "nap")
    figures = scrape(metrics)
    assert figures.values(CALLS, "tool") == {"nap", OTHER}
    assert figures(UNKNOWN, server="cats") == 2
    assert figures(OVERFLOW, server="cats", label="tool") == 2


def test_a_name_that_success_admitted_and_no_list_showed_is_unknown_but_keeps_its_series() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call_tool(server, "hidden")
    list_tools(server, "nap")
    call_tool(server, "hidden")
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool="hidden", outcome="success") == 2
    assert figures(UNKNOWN, server="cats") == 1


def test_a_call_without_a_name_is_other_and_neither_unknown_nor_overflow() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    call_tool(server, None, Outcome.PROTOCOL_ERROR)
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool=OTHER, outcome="protocol_error") == 1
    assert figures(UNKNOWN, server="cats") == 0
    assert figures(OVERFLOW, server="cats", label="tool") == 0


def test_a_tool_that_vanished_leaves_the_inventory_and_keeps_its_counters() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap", "hunt")
    call_tool(server, "hunt")
    list_tools(server, "nap")
    call_tool(server, "hunt")
    figures = scrape(metrics)
    assert figures("mcp_tools", server="cats") == 1
    assert figures.values("mcp_tool_info", "tool") == {"nap"}
    assert figures(CALLS, server="cats", tool="hunt", outcome="success") == 2
    assert figures(UNKNOWN, server="cats") == 0


def test_hints_are_told_as_the_server_claims_them() -> None:
    metrics = make_metrics()
    hinted = Tool("nap", read_only=True, destructive=False, open_world=None)
    metrics.server("cats").handle(ToolsListed((hinted,)))
    info = {
        "server": "cats",
        "tool": "nap",
        "read_only": "true",
        "destructive": "false",
        "idempotent": "unset",
        "open_world": "unset",
    }
    assert scrape(metrics)("mcp_tool_info", **info) == 1


def test_changed_hints_replace_the_old_ones() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(ToolsListed((Tool("nap", read_only=True),)))
    server.handle(ToolsListed((Tool("nap", read_only=False),)))
    assert [info["read_only"] for info in scrape(metrics).series("mcp_tool_info")] == ["false"]


def test_the_same_list_again_changes_nothing() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap", "hunt")
    call_tool(server, "nap")
    before = scrape(metrics)
    list_tools(server, "nap", "hunt")
    server.handle(ToolsSeen((Tool("nap"), Tool("hunt"))))
    after = scrape(metrics)
    assert {k: v for k, v in before.samples.items() if k[0].startswith("mcp_")} == {
        k: v for k, v in after.samples.items() if k[0].startswith("mcp_")
    }


def test_after_a_change_success_admits_what_no_list_showed_and_nothing_is_unknown() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    server.handle(ToolsChanged())
    server.handle(ToolsChanged())
    call_tool(server, "brand_new")
    call_tool(server, "invented", Outcome.TOOL_ERROR)
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool="brand_new", outcome="success") == 1
    assert figures(CALLS, server="cats", tool=OTHER, outcome="tool_error") == 1
    assert figures(UNKNOWN, server="cats") == 0
    assert figures("mcp_tools", server="cats") == 1
    assert figures.values("mcp_tool_info", "tool") == {"nap"}


def test_after_changes_the_cap_of_called_names_holds() -> None:
    metrics = make_metrics(max_tools=2)
    server = metrics.server("cats")
    call_tool(server, "early")
    for number in range(10):
        list_tools(server, "nap")
        server.handle(ToolsChanged())
        call_tool(server, f"invented_{number}")
    figures = scrape(metrics)
    assert figures.values(CALLS, "tool") == {"early", "nap", "invented_0", OTHER}
    assert figures(OVERFLOW, server="cats", label="tool") == 9


@pytest.mark.parametrize("listed", [("nap",), ("nap", "purr")])
def test_the_next_complete_list_is_the_truth_again_though_it_equals_the_last(
    listed: tuple[str, ...],
) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    server.handle(ToolsChanged())
    server.handle(ToolsSeen((Tool("nap"),)))
    call_tool(server, "invented", Outcome.TOOL_ERROR)
    assert scrape(metrics)(UNKNOWN, server="cats") == 0
    list_tools(server, *listed)
    call_tool(server, "invented")
    figures = scrape(metrics)
    assert figures(UNKNOWN, server="cats") == 1
    assert figures.values(CALLS, "tool") == {*listed, OTHER}
    assert figures("mcp_tools", server="cats") == len(listed)


def test_an_empty_list_is_an_inventory_of_none() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server)
    call_tool(server, "nap")
    figures = scrape(metrics)
    assert figures("mcp_tools", server="cats") == 0
    assert figures(UNKNOWN, server="cats") == 1


def test_names_that_read_the_same_share_their_series() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "a\nb", "a\x00b", "a�b", "nap", "nap")
    for name in ("a\nb", "a\x00b", "a�b", "a\x01b"):
        call_tool(server, name)
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool="a�b", outcome="success") == 4
    assert figures.values("mcp_tool_info", "tool") == {"a�b", "nap"}
    assert figures("mcp_tools", server="cats") == 5
    assert figures(UNKNOWN, server="cats") == 0


def test_a_tool_called_as_the_rest_is_counted_with_the_rest() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, OTHER)
    call_tool(server, OTHER)
    call_tool(server, "invented")
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool=OTHER, outcome="success") == 2
    assert figures(IN_FLIGHT, server="cats", tool=OTHER) == 0
    assert figures(UNKNOWN, server="cats") == 1


def test_real_tools_get_their_series_though_an_attacker_filled_the_cap_first() -> None:
    metrics = make_metrics(max_tools=10, max_listed_tools=5)
    server = metrics.server("cats")
    for number in range(100):
        call_tool(server, f"invented_{number}")
    full = scrape(metrics)
    assert len(full.values(CALLS, "tool")) == 11
    assert full(OVERFLOW, server="cats", label="tool") == 90
    list_tools(server, "nap", "hunt")
    call_tool(server, "nap", Outcome.TOOL_ERROR)
    figures = scrape(metrics)
    assert figures(CALLS, server="cats", tool="nap", outcome="tool_error") == 1
    assert figures(CALLS, server="cats", tool="hunt", outcome="success") == 0
    assert figures.values("mcp_tool_info", "tool") == {"nap", "hunt"}


def test_a_server_that_lists_without_end_stops_at_the_cap() -> None:
    metrics = make_metrics(max_listed_tools=20)
    server = metrics.server("cats")
    for page in range(50):
        list_tools(server, *(f"tool_{page}_{number}" for number in range(10)))
    call_tool(server, "tool_49_0")
    figures = scrape(metrics)
    assert len(figures.values(CALLS, "tool")) == 21
    assert figures("mcp_tools", server="cats") == 10
    assert not list(figures.series("mcp_tool_info"))
    assert figures(OVERFLOW, server="cats", label="tool") == 1
    # What was listed beyond the cap is not remembered, so nobody can say what is unknown.
    assert figures(UNKNOWN, server="cats") == 0


def test_servers_do_not_share_tools() -> None:
    metrics = make_metrics()
    list_tools(metrics.server("cats"), "nap")
    call_tool(metrics.server("dogs"), "nap", Outcome.TOOL_ERROR)
    figures = scrape(metrics)
    assert figures(CALLS, server="dogs", tool=OTHER, outcome="tool_error") == 1
    assert figures(CALLS, server="dogs", tool="nap", outcome="success") is None
