import pytest

from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.grafana.ask import (
    Chosen,
    fill,
    find_column,
    find_target,
    read,
    run,
    run_target,
)
from tests.grafana.engine import SCRAPE_SECONDS
from tests.grafana.files import (
    BOARDS,
    Target,
    fill_in,
    list_annotations,
    list_panels,
    list_targets,
    list_variables,
)
from tests.grafana.keepers import EACH_SECOND, TRACE_ID
from tests.grafana.world import LATE_CALLS, SPAN, World
from tests.grafana.zoo import TIME_LIMIT, TOOLS

# The traffic takes most of a minute; whichever test comes first waits for it.
pytestmark = pytest.mark.timeout(150)

EMPTY = {
    "mcp-proxy: Blind spots: B": "nothing from outside makes the inspection fail",
    "mcp-proxy: HTTP exchanges by status: D": "no MCP server redirects",
}
"""Queries that find nothing even here, and why."""
NEVER_SCRAPED = {Outcome.PROXY_SHUTDOWN}
"""The process ends with the calls that end so."""

ZOO: Chosen = {"server": ["zoo"]}
SESSION_TOOLS = {"consult", "delegate", "repeat", "vanish"}
"""One call each second, in a session."""
PER_SECOND = sum(EACH_SECOND.values()) + len(SESSION_TOOLS) + len(["linger", "guarded", "ask"])
FAILING = {"crash", "babble", "stall", "drop", "refuse", "vanish"}
UNJUDGED = {"withdraw", "linger", "guarded", "bulky"}
TOOL_ERRORS = 3
FINISHED = 9 + TOOL_ERRORS + len(["ask again", "consult", "repeat"])
FAILED_SHARE = len(FAILING) / (PER_SECOND - len(UNJUDGED))


def test_traffic_ends_in_every_way_that_can_be_scraped(world: World) -> None:
    found = run(world, "sum by (outcome) (mcp_tool_calls_total) > 0", {}, instant=True)
    outcomes = {series["metric"]["outcome"] for series in found}
    assert outcomes == {outcome.value for outcome in set(Outcome) - NEVER_SCRAPED}


@pytest.mark.parametrize("board", BOARDS)
def test_every_query_of_a_panel_works_and_finds_something(world: World, board: str) -> None:
    empty = {str(each) for each in list_targets(board) if not run_target(world, each, {})}
    assert empty == {name for name in EMPTY if name.startswith(f"{board}:")}


@pytest.mark.parametrize("board", BOARDS)
def test_every_query_works_on_a_server_that_nobody_reached(world: World, board: str) -> None:
    chosen = {"server": ["down"]}
    shown = {str(each) for each in list_targets(board) if run_target(world, each, chosen)}
    # There is always something to show: what failed, or that nothing is there.
    assert shown


@pytest.mark.parametrize("board", BOARDS)
def test_variables_find_their_values(world: World, board: str) -> None:
    expected = {
        "job": {"mcp-proxy-exporter"},
        "instance": {world.instance},
        "server": {"cats", "zoo", "down", "late"},
        "tool": {*TOOLS, "summer-coat", "winter-coat", "_other"}
        | {"sharpen_claw", "scratch_sofa", "nap", "catch_laser"},
    }
    for variable in list_variables(board):
        series = fill(variable.series, {})
        times = (world.end - SPAN, world.end)
        values = set(world.engine.read_labels(variable.label, series, *times))
        assert values == expected[variable.name]


def test_variables_follow_the_ones_before_them(world: World) -> None:
    [tool] = [each for each in list_variables("mcp-tool") if each.name == "tool"]
    series = fill(tool.series, {"server": ["cats"]})
    values = world.engine.read_labels("tool", series, world.end - SPAN, world.end)
    assert set(values) == {"sharpen_claw", "scratch_sofa", "nap", "catch_laser", "_other"}


@pytest.mark.parametrize("board", BOARDS)
def test_annotations_mark_what_happened(world: World, board: str) -> None:
    found = {
        name: run(world, query, {}, instant=False)
        for name, query in list_annotations(board).items()
    }
    alerts = {series["metric"]["alertname"] for series in found["Firing alerts"]}
    assert alerts == {"MCPUpstreamDown", "MCPAnything"}
    [start] = found["Restarts of the exporter"]
    assert start["metric"]["instance"] == world.instance
    started = float(start["values"][0][1]) / 1000
    assert world.end - 120 < started < world.end - SPAN
    [change] = found["Changed tool definitions"]
    assert change["metric"] == {"server": "zoo", "tool": "work"}
    assert {value for _, value in change["values"]} == {"1"}
    assert len(change["values"]) < SPAN


def test_alerts_without_labels_are_shown_whatever_is_chosen(world: World) -> None:
    target = find_target("mcp-overview", "Firing alerts")
    assert set(read(world, target, ZOO, "alertname")) == {("MCPAnything",)}
    alerts = read(world, target, {"server": ["down"]}, "alertname", "server")
    assert set(alerts) == {("MCPAnything", ""), ("MCPUpstreamDown", "down")}


@pytest.mark.parametrize("board", BOARDS)
def test_queries_of_a_table_give_columns_of_the_same_rows(world: World, board: str) -> None:
    for panel in list_panels(board):
        if panel["type"] != "table" or len(panel["targets"]) == 1:
            continue
        targets = [find_target(board, panel["title"], each["refId"]) for each in panel["targets"]]
        labels = [
            {frozenset(series["metric"]) for series in run_target(world, target, {})}
            for target in targets
        ]
        # One of them may bring further labels; if two did, or brought names, rows would not merge.
        row = frozenset[str].intersection(*(each for query in labels for each in query))
        assert not any("__name__" in each for query in labels for each in query)
        assert sum(query != {row} for query in labels) <= 1


def test_call_rates_are_those_of_the_traffic(world: World) -> None:
    driven = PER_SECOND
    # The world wrote down what was sent, so the figure above is no wish.
    assert world.count() / SPAN == pytest.approx(driven - len(SESSION_TOOLS), rel=0.1)
    figure = find_target("mcp-tool", "Calls")
    assert read(world, figure, ZOO)[()] == pytest.approx(driven, rel=0.1)
    for tool in ("work", "files.read"):
        target = find_target("mcp-tool", "Calls")
        rate = read(world, target, {**ZOO, "tool": [tool]})[()]
        assert rate == pytest.approx(world.count(tool) / SPAN, rel=0.1)
    calls = read(world, find_target("mcp-overview", "Tools"), {}, "server", "tool")
    assert calls["zoo", "work"] == pytest.approx(EACH_SECOND["work"] * SPAN, rel=0.1)


def test_shares_are_those_of_the_traffic(world: World) -> None:
    availability = find_target("mcp-overview", "Availability")
    assert read(world, availability, ZOO)[()] == pytest.approx(1 - FAILED_SHARE, abs=0.02)
    assert read(world, availability, {"server": ["down"]})[()] == 0
    assert read(world, availability, {"server": ["cats"]})[()] == 1
    failed = find_column("mcp-overview", "Servers", "Failed")
    servers = read(world, failed, {}, "server")
    assert servers["zoo",] == pytest.approx(FAILED_SHARE, abs=0.02)
    by_outcome = find_target("mcp-overview", "Failed share by outcome")
    shares = read(world, by_outcome, ZOO, "outcome")
    assert len(shares) == len(FAILING)
    assert sum(shares.values()) == pytest.approx(FAILED_SHARE, abs=0.02)
    errors = find_target("mcp-overview", "Tool error share by server")
    assert read(world, errors, ZOO, "server")["zoo",] == pytest.approx(
        TOOL_ERRORS / FINISHED, abs=0.02
    )


def test_first_calls_within_the_time_range_count(world: World) -> None:
    # Before, all of them fell between two scrapes: series that begin with their last value.
    calls, failed = sum(LATE_CALLS.values()), LATE_CALLS["babble"]
    late: Chosen = {"server": ["late"]}
    availability = find_target("mcp-overview", "Availability")
    assert read(world, availability, late)[()] == pytest.approx(1 - failed / calls)
    for table in ("Servers", "Tools"):
        column = find_column("mcp-overview", table, "Calls")
        assert sum(read(world, column, late, "server", "tool").values()) == calls
    shares = read(world, find_column("mcp-overview", "Servers", "Failed"), late, "server")
    assert shares["late",] == pytest.approx(failed / calls)
    chosen = {**late, "tool": ["_other"]}
    failing = read(world, find_column("mcp-overview", "Tools", "Failed"), chosen, "tool")
    assert failing["_other",] == 1
    by_status = find_target("mcp-proxy", "HTTP status by server")
    assert sum(read(world, by_status, late, "server", "code").values()) == calls


def test_error_budgets_are_those_of_the_shipped_rules(world: World) -> None:
    left = find_column("mcp-overview", "Servers", "Budget left")
    budgets = read(world, left, {}, "server")
    # The zoo fails far beyond a budget of one in a hundred, the cats never.
    assert budgets["cats",] == 1
    assert budgets["zoo",] < -1
    least = find_target("mcp-overview", "Error budget left")
    assert read(world, least, {"server": ["cats"]})[()] == 1


def test_servers_are_down_that_never_answer_and_not_those_that_sometimes_do_not(
    world: World,
) -> None:
    down = find_target("mcp-overview", "Upstreams down")
    assert read(world, down, {})[()] == 1
    assert read(world, down, ZOO)[()] == 0
    assert read(world, find_target("mcp-overview", "Exporters down"), {})[()] == 0


def test_results_add_up_to_all_calls(world: World) -> None:
    parts = [
        sum(read(world, find_target("mcp-overview", "Calls by result", ref), ZOO).values())
        for ref in "ABCDE"
    ]
    assert sum(parts) == pytest.approx(PER_SECOND, rel=0.1)
    by_outcome = read(world, find_target("mcp-tool", "Calls by outcome"), ZOO, "outcome")
    assert sum(by_outcome.values()) == pytest.approx(PER_SECOND, rel=0.1)


def test_latency_is_that_of_finished_calls(world: World) -> None:
    # Stalled calls take as long as they may; those that finish take next to nothing.
    p99 = read(world, find_target("mcp-overview", "Latency of finished calls", "C"), ZOO)[()]
    assert p99 < TIME_LIMIT / 2
    # The client thinks for 0.2 s, which is in the bucket from 0.1 to 0.25, or the next one.
    waits = read(world, find_target("mcp-protocol", "Questions to clients", "B"), ZOO)[()]
    assert 0.2 <= waits <= 0.5


def test_calls_that_only_failed_show_no_latency_and_no_availability(world: World) -> None:
    chosen = {**ZOO, "tool": ["crash"]}
    assert read(world, find_target("mcp-tool", "Availability"), chosen)[()] == 0
    for ref in "ABC":
        assert read(world, find_target("mcp-tool", "Latency of finished calls", ref), chosen) == {}


def test_tool_that_nobody_calls_shows_no_availability_but_its_price(world: World) -> None:
    chosen = {**ZOO, "tool": ["idle"]}
    assert read(world, find_target("mcp-tool", "Availability"), chosen) == {}
    assert read(world, find_target("mcp-tool", "Calls"), chosen)[()] == 0
    assert read(world, find_target("mcp-tool", "Definition"), chosen, "tool")["idle",] > 0


@pytest.mark.parametrize(
    ("tools", "per_second"),
    [
        (["work"], 6),
        # A dot is any character to a regular expression: Grafana has to escape it.
        (["files.read"], 2),
        (["complain", "shrug"], 3),
        (["files.read", "files-read", "crash"], 4),
    ],
)
def test_tool_detail_is_about_the_chosen_tools(
    world: World, tools: list[str], per_second: int
) -> None:
    chosen = {**ZOO, "tool": tools}
    rate = read(world, find_target("mcp-tool", "Calls"), chosen)[()]
    assert rate == pytest.approx(per_second, rel=0.1)
    for target in list_targets("mcp-tool"):
        found = run_target(world, target, chosen)
        assert {each["metric"].get("tool", tools[0]) for each in found} <= {*tools}


def test_soft_errors_are_shown_with_their_reason(world: World) -> None:
    target = find_target("mcp-tool", "Soft errors and repeated calls")
    assert read(world, target, {"tool": ["shrug"]}, "reason")["empty",] == pytest.approx(1, rel=0.1)


def test_custom_metrics_are_found_by_their_tool_whatever_their_names(world: World) -> None:
    chosen = {"tool": ["scratch_sofa"]}
    counters = read(world, find_target("mcp-tool", "Custom counters"), chosen, "metric")
    assert set(counters) == {
        ("cat_sofa_scratch_successes",),
        ("cat_sofa_scratch_failures",),
        ("cat_claw_level",),
    }
    gauges = read(world, find_target("mcp-tool", "Custom values", "A"), chosen, "metric")
    assert set(gauges) == {("cat_last_claw_level",)}
    means = read(world, find_target("mcp-tool", "Custom values", "B"), chosen, "metric")
    # The clients scratch with claws of 20 to 120, each as often as another.
    assert 50 < means["cat_claw_level",] < 90
    scratches = counters["cat_sofa_scratch_successes",] + counters["cat_sofa_scratch_failures",]
    assert scratches == pytest.approx(counters["cat_claw_level",])


def test_unused_tools_are_those_that_nobody_called(world: World) -> None:
    target = find_target("mcp-context", "Unused tools that cost")
    tools = {tool for (tool,) in read(world, target, ZOO, "tool")}
    assert "idle" in tools
    assert tools <= {"idle", "summer-coat", "winter-coat"}
    wasted = read(world, find_target("mcp-context", "Tokens of unused tools"), ZOO)[()]
    everything = read(world, find_target("mcp-context", "Definition tokens"), ZOO)[()]
    share = read(world, find_target("mcp-context", "Unused share"), ZOO)[()]
    assert share == pytest.approx(wasted / everything, rel=0.2)


def test_drift_shows_what_came_went_and_changed(world: World) -> None:
    for ref in "ABC":
        drift = run_target(world, find_target("mcp-context", "Drift", ref), ZOO)
        assert max(float(value) for _, value in drift[0]["values"]) > 0
    changed = read(world, find_target("mcp-context", "Changed tools"), ZOO, "tool")
    assert set(changed) == {("work",)}


def test_processes_are_the_exporters_only(world: World) -> None:
    for panel, refs in (("CPU and memory", "AB"), ("Exporters", "ABCDEF")):
        for ref in refs:
            found = read(world, find_target("mcp-proxy", panel, ref), {}, "instance")
            assert set(found) == {(world.instance,)}


def test_latency_has_exemplars(world: World) -> None:
    targets = [each for board in BOARDS for each in list_targets(board) if each.exemplar]
    assert targets
    for target in targets:
        times = {"start": world.end - SPAN, "end": world.end}
        found = world.engine.ask("query_exemplars", {"query": fill(target.expr, ZOO), **times})
        traces = {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}
        assert traces == {TRACE_ID}


def test_hour_wide_ranges_work_as_well(world: World) -> None:
    """Steps and windows that are far longer than what Prometheus knows."""
    for board in BOARDS:
        for target in list_targets(board):
            query = fill_in(target.expr, {}, scrape=SCRAPE_SECONDS, step=60, span=21_600)
            assert _ask_wide(world, target, query)["resultType"] in {"matrix", "vector"}


def _ask_wide(world: World, target: Target, query: str) -> dict[str, str]:
    if target.instant:
        answer = world.engine.ask("query", {"query": query, "time": world.end})
    else:
        times = {"start": world.end - 21_600, "end": world.end, "step": 60}
        answer = world.engine.ask("query_range", {"query": query, **times})
    return dict(answer)
