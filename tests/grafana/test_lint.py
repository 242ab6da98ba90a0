"""What dashboard-linter asks of every board, and what this project asks besides."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from grafana.boards import promql
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.family import Kind
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.slo import rules
from tests.grafana.files import (
    BOARDS,
    Target,
    fill_in,
    list_annotations,
    list_panels,
    list_targets,
    list_variables,
)
from tests.grafana.syntax import Selector, list_grouping_labels, list_selectors, parse
from tests.support.promql import SERIES, TARGET_LABELS

MAX_PANELS = 12
MAX_LINES = 5
COLUMNS = 24
UNITS = {
    "bool_yes_no", "bytes", "cps", "dateTimeFromNow", "locale", "percentunit", "reqps", "s",
    "short", "string",
}  # fmt: skip
"""Ids of Grafana's units."""
_ALERT = frozenset({"alertname", "severity", "server", "tool"})
OTHERS = {"ALERTS": _ALERT | {"alertstate"}, "ALERTS_FOR_STATE": _ALERT | {"alertstate"}}
BUDGET = "slo:error_budget_remaining:ratio"
"""Recorded by prometheus/rules/slo.yml, without the instance."""
OTHERS[BUDGET] = frozenset({"server", "slo"})
SCRAPED = {"scrape_samples_scraped"}
"""What Prometheus knows of each scrape, beyond what other queries ask for."""
RATES = {"rate", "increase"}
OVER_TIME = {"max_over_time", "last_over_time"}
CUSTOM = "metric"
"""What the boards call the name of a custom metric."""

# Labels whose values are too many for one picture, but of which few occur together.
MANY = {
    "outcome": "sixteen outcomes; a server that fails does so in one or two ways",
    "reason": "eleven reasons of failures; the same",
    "code": "fifteen codes; the same",
    "protocol_version": "five revisions, and what is unknown",
    "server": "as configured, and chosen by the variable",
    "instance": "the same",
    "kind": "three kinds of streams",
    "method": "three methods of questions, and others",
    "label": "four labels",
    "phase": "two phases",
    "side": "client and upstream",
    "state": "active and idle",
    "stage": "faults of the program: none",
    "tool": "as chosen by the variable",
    "metric": "as configured",
    "limit": "seven limits; one or two are reached at a time",
}


def every_target() -> list[Target]:
    return [target for board in BOARDS for target in list_targets(board)]


def list_queries() -> Iterator[tuple[str, str]]:
    """Yield what Prometheus is asked, of panels and annotations."""
    for target in every_target():
        yield str(target), target.expr
    for board in BOARDS:
        for name, query in list_annotations(board).items():
            yield f"{board}: {name}", query


def read(query: str) -> list[Selector]:
    return list(list_selectors(parse(fill_in(query, {}, scrape=10, step=15, span=3600))))


every_board = pytest.mark.parametrize("board", BOARDS)
every_query = pytest.mark.parametrize(
    "query", [pytest.param(query, id=name) for name, query in list_queries()]
)


def test_the_five_boards_are_there() -> None:
    assert set(BOARDS) == {"mcp-overview", "mcp-tool", "mcp-context", "mcp-protocol", "mcp-proxy"}


@every_board
def test_frame_is_that_of_a_provisioned_board(board: str) -> None:
    frame = BOARDS[board]
    assert frame["uid"] == board
    assert frame["id"] is None
    assert frame["editable"] is False
    assert frame["schemaVersion"] == 41
    assert frame["graphTooltip"] == 1
    assert frame["tags"] == ["mcp"]
    assert frame["refresh"]
    assert frame["title"]
    assert frame["description"]


def test_no_import_dialog_and_no_fixed_data_source_is_needed() -> None:
    for board in BOARDS.values():
        assert "__inputs" not in board
        assert "${DS_" not in str(board)
        assert {_["uid"] for _ in _find(board, "datasource")} == {"${datasource}"}


def _find(node: Any, key: str) -> Iterator[Any]:
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for child in node.values():
            yield from _find(child, key)
    elif isinstance(node, list):
        for child in node:
            yield from _find(child, key)


@every_board
def test_variables_are_those_that_every_query_asks_for(board: str) -> None:
    [datasource, *variables] = BOARDS[board]["templating"]["list"]
    assert (datasource["name"], datasource["type"]) == ("datasource", "datasource")
    assert datasource["query"] == "prometheus"
    names = ["job", "instance", "server"] + (["tool"] if board == "mcp-tool" else [])
    assert [variable["name"] for variable in variables] == names
    for variable in variables:
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".+"
        assert variable["refresh"] == 2  # when the time range changes
        assert variable["current"]["value"] == ["$__all"]


@every_board
def test_variables_depend_on_the_ones_before_them_and_on_real_series(board: str) -> None:
    before: list[str] = []
    for variable in list_variables(board):
        series = parse(fill_in(variable.series, {}, scrape=10, step=15, span=3600))
        [selector] = list_selectors(series)
        assert variable.label in SERIES[selector.name]
        assert list(selector.matchers) == before
        before.append(variable.name)


@every_board
def test_boards_link_to_each_other_with_time_and_variables(board: str) -> None:
    [link] = BOARDS[board]["links"]
    assert link["type"] == "dashboards"
    assert link["tags"] == ["mcp"]
    assert link["keepTime"]
    assert link["includeVars"]


def test_links_of_tables_lead_to_boards_and_carry_everything_along() -> None:
    links = [link for board in BOARDS.values() for link in _find_links(board)]
    assert len(links) == 5
    for link in links:
        found = re.fullmatch(r"/d/([a-z-]+)\?(.+)", link["url"])
        assert found
        assert found[1] in BOARDS
        carried = found[2].split("&")
        names = {each["name"] for each in BOARDS[found[1]]["templating"]["list"]}
        given = {re.sub(r"var-(\w+)=.*|\$\{(\w+):queryparam\}", r"\1\2", each) for each in carried}
        assert given == names | {"${__url_time_range}"}


def _find_links(board: Any) -> Iterator[Any]:
    for panel in board["panels"]:
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            for each in override["properties"]:
                if each["id"] == "links":
                    yield from each["value"]


@every_board
def test_panels_are_few_and_none_lies_on_another(board: str) -> None:
    panels = BOARDS[board]["panels"]
    assert len(list_panels(board)) <= MAX_PANELS
    assert max(Counter(panel["id"] for panel in panels).values()) == 1
    assert max(Counter(panel["title"] for panel in list_panels(board)).values()) == 1
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= COLUMNS
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@every_board
def test_panels_fill_their_rows(board: str) -> None:
    cells = {
        (x, y)
        for place in (panel["gridPos"] for panel in BOARDS[board]["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    }
    assert len(cells) == COLUMNS * (max(y for _, y in cells) + 1)


@every_board
def test_every_panel_says_what_it_shows(board: str) -> None:
    for panel in list_panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert defaults["unit"] in UNITS
        assert defaults["noValue"]
        assert panel["targets"]
        units = [
            each["value"]
            for override in panel["fieldConfig"]["overrides"]
            for each in override["properties"]
            if each["id"] == "unit"
        ]
        assert set(units) <= UNITS


@every_board
def test_columns_of_tables_are_named_and_those_that_are_sorted_by_are_there(board: str) -> None:
    for panel in list_panels(board):
        if panel["type"] != "table":
            continue
        [merge, organize] = panel["transformations"]
        assert merge["id"] == "merge"
        arranged = organize["options"]
        refs = [target["refId"] for target in panel["targets"]]
        values = ["Value"] if len(refs) == 1 else [f"Value #{ref}" for ref in refs]
        assert list(arranged["renameByName"]) == values
        shown = {
            arranged["renameByName"].get(name, name)
            for name in arranged["indexByName"]
            if name not in arranged["excludeByName"]
        }
        [sort] = panel["options"]["sortBy"]
        assert sort["displayName"] in shown


def test_shares_are_ratios_and_no_bad_colour_shows_at_zero() -> None:
    for board in BOARDS:
        for panel in list_panels(board):
            defaults = panel["fieldConfig"]["defaults"]
            if panel["type"] == "timeseries":
                assert defaults["min"] == 0
            steps = defaults.get("thresholds", {}).get("steps", [])
            at_zero = [step["color"] for step in steps if (step["value"] or 0) <= 0]
            if "red" in at_zero:
                # These are bad when they are low.
                assert panel["title"] in {"Availability", "Error budget left"}


@every_query
def test_every_selector_is_limited_to_what_is_chosen(query: str) -> None:
    for selector in list_selectors(parse(_mark(query))):
        labels = SERIES.get(selector.name, frozenset() if selector.name in SCRAPED else {"server"})
        alerts = selector.name in {"ALERTS", "ALERTS_FOR_STATE"}
        # Alerts may have lost these labels by aggregation, and are shown all the same.
        rest = "|" if alerts else ""
        assert selector.matchers["job"] == [f"JOB{rest}"]
        assert selector.matchers["instance"] == [
            "INSTANCE|" if selector.name == BUDGET else f"INSTANCE{rest}"
        ]
        if "server" in labels:
            assert selector.matchers["server"] == [f"SERVER{rest}"]


def _mark(query: str) -> str:
    """Fill in a query so that a variable can be told from a text that looks like its value."""
    chosen = {name: [name.upper()] for name in ("job", "instance", "server", "tool")}
    return fill_in(query, chosen, scrape=10, step=15, span=3600)


@pytest.mark.parametrize("target", [*list_targets("mcp-tool")], ids=str)
def test_every_query_of_the_tool_board_is_about_the_chosen_tools(target: Target) -> None:
    selectors = list(list_selectors(parse(_mark(target.expr))))
    of_processes = {"mcp_proxy_build_info", "process_start_time_seconds", "up"}
    about_tools = [each for each in selectors if each.name not in of_processes]
    assert about_tools
    for selector in about_tools:
        assert "TOOL" in selector.matchers["tool"]


@every_query
def test_every_name_and_label_is_one_that_the_product_shows(query: str) -> None:
    labels = set(TARGET_LABELS)
    for selector in read(query):
        if selector.name in OTHERS:
            known = OTHERS[selector.name]
        elif selector.name:
            assert selector.name in {*SERIES, *SCRAPED}
            known = SERIES.get(selector.name, frozenset())
        else:
            # Custom metrics are named by the configuration; these labels they always have.
            known = frozenset({"__name__", "server", "tool", CUSTOM})
        assert set(selector.matchers) <= known | TARGET_LABELS
        labels |= known
    grouping = list_grouping_labels(parse(fill_in(query, {}, scrape=10, step=15, span=3600)))
    assert set(grouping) <= labels


@every_query
def test_counters_are_only_looked_at_as_rates_and_gauges_never(query: str) -> None:
    kinds = {family.name: family.kind for family in FAMILIES}
    selectors = read(query)
    for selector in selectors:
        if not selector.name or selector.name in OTHERS:
            continue
        if not selector.function and _counts_from_nothing(selector, selectors):
            continue
        counts = selector.name.endswith(("_total", "_bucket", "_count", "_sum"))
        base = re.sub("_(bucket|count|sum)$", "", selector.name)
        if kinds.get(selector.name) is Kind.GAUGE:
            assert not counts
        if kinds.get(base) in {Kind.HISTOGRAM, Kind.SUMMARY}:
            assert counts
        assert (selector.function in RATES) == counts
        assert selector.window == (selector.function in RATES | OVER_TIME)


def _counts_from_nothing(selector: Selector, selectors: list[Selector]) -> bool:
    """Say whether a counter stands as it is only where it was not there when the range began."""
    same = [(each.name, each.matchers) == (selector.name, selector.matchers) for each in selectors]
    alike = [each for each, is_same in zip(selectors, same, strict=True) if is_same]
    return any(each.earlier for each in alike) and any(
        each.function == "increase" for each in alike
    )


@pytest.mark.parametrize("target", every_target(), ids=str)
def test_windows_are_those_that_grafana_chooses(target: Target) -> None:
    windows = set(re.findall(r"\[([^\]]*)\]", re.sub(r'"[^"]*"', "", target.expr)))
    allowed = {"$__range"} if target.instant else {"$__rate_interval"}
    # Names of custom metrics have to move before a rate drops them.
    subquery = {"$__rate_interval:$__interval"} if "label_replace" in target.expr else set()
    assert windows <= allowed | subquery


@pytest.mark.parametrize("target", every_target(), ids=str)
def test_queries_fit_their_panels(target: Target) -> None:
    assert target.instant == (target.kind == "table" or "$__range" in target.expr)
    # In a range query another five would come and go at each step.
    assert target.instant or "topk" not in target.expr


@every_board
def test_pictures_have_few_lines(board: str) -> None:
    for panel in list_panels(board):
        if panel["type"] != "timeseries":
            continue
        assert len(panel["targets"]) <= MAX_LINES
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= MANY.keys()


def test_every_outcome_has_one_meaning() -> None:
    classes = [promql.ANSWERS, promql.FAULTS, promql.REFUSALS, promql.GIVEN_UP]
    rest = set(promql.OTHERWISE) - set(promql.ANSWERS)
    counted = Counter(outcome for each in (*classes, tuple(rest)) for outcome in each)
    assert counted == Counter({outcome.value: 1 for outcome in Outcome})


def test_boards_and_objectives_mean_the_same_by_availability() -> None:
    assert set(promql.FAULTS) == set(rules._FAULTS)
    assert set(promql.REFUSALS) == set(rules._REFUSALS)
    assert set(promql.ANSWERS) == set(rules._ANSWERED)


@every_board
def test_annotations_mark_alerts_restarts_and_changes(board: str) -> None:
    annotations = list_annotations(board)
    assert list(annotations) == [
        "Firing alerts",
        "Restarts of the exporter",
        "Changed tool definitions",
    ]
    for each in BOARDS[board]["annotations"]["list"]:
        assert each["enable"]
        assert each["titleFormat"]
