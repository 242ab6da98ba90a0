"""The shipped rules: promtool's judgement, what they ask for, what they say, their runbooks."""

import re
from pathlib import Path

import pytest
import yaml

from mcp_proxy_exporter.observe.words import SEMCONV_CALLER_ERRORS
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.support.programs import consult
from tests.support.promql import find_strangers, read_query
from tests.support.rule_files import (
    ALERT_NAMES,
    PROMETHEUS,
    ROOT,
    RULE_FILES,
    RULE_TESTS,
    RUNBOOKS,
    SHIPPED,
    Alert,
    list_expectations,
    list_queries,
)

PROMTOOL_SECONDS = 55.0
SEVERITIES = {"critical", "warning", "info"}
# prometheus.io/docs/practices/rules: level:metric:operations.
RECORD_NAME = re.compile(r"[a-z_]+:[a-z_]+:[a-z]+(_[a-z]+)?\d*[mhd]?")
# Without labels of their own a burn alert is several rules.
ALERT_IDS = [f"{alert.name}-{alert.labels.get('window', '')}" for alert in SHIPPED.alerts]
ALERTS_DOCUMENT = (ROOT / "docs" / "alerts.md").read_text()


def run_promtool(*arguments: str | Path) -> str:
    """Run promtool; it has to be content."""
    return consult("promtool", *arguments, seconds=PROMTOOL_SECONDS)


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    said = run_promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert said.count("SUCCESS") == len(RULE_FILES)


def test_promtool_finds_nothing_wrong_with_the_configuration() -> None:
    file = PROMETHEUS / "prometheus.yml"
    said = run_promtool("check", "config", "--lint=all", "--lint-fatal", file)
    assert f"{len(RULE_FILES)} rule files found" in said


@pytest.mark.parametrize("file", sorted(RULE_TESTS.glob("*.yml")), ids=lambda file: file.stem)
def test_rules_fire_and_keep_quiet_as_they_should(file: Path) -> None:
    assert "SUCCESS" in run_promtool("test", "rules", file)


def test_every_alert_is_seen_firing_and_keeping_quiet() -> None:
    expected = {(name, fires) for name in ALERT_NAMES for fires in (True, False)}
    assert set(list_expectations()) == expected


@pytest.mark.parametrize("expr", SHIPPED.expressions)
def test_rules_ask_for_nothing_that_does_not_exist(expr: str) -> None:
    assert find_strangers(expr, SHIPPED.labels) == []


def test_what_does_not_exist_is_found() -> None:
    query = 'sum by (tool, cat) (mcp_tools{server="x", tool="y"}) / nothing{outcome="z"} > 0'
    query += ' and mcp_requests_total{outcome=~"success|sucess"} and mcp_tools{le="1"}'
    query += ' and mcp_request_duration_seconds_bucket{le="1"}'
    query += (
        ' and mcp_http_requests_total{method="tools/call"} and mcp_requests_total{method="POST"}'
    )
    assert find_strangers(query, {}) == [
        "nothing",
        "mcp_tools{tool=y}",
        "nothing{outcome=z}",
        "mcp_requests_total{outcome=success|sucess}",
        "mcp_tools{le=1}",
        "mcp_request_duration_seconds_bucket{le=1}",
        "mcp_http_requests_total{method=tools/call}",
        "mcp_requests_total{method=POST}",
        "cat",
        "tool",
    ]


def list_values(record: str, label: str) -> set[str]:
    """Give what a recording asks for by a label."""
    return {
        value
        for expr in SHIPPED.records[record]
        for _, matchers in read_query(expr).selectors
        for name, values in matchers
        if name == label
        for value in values.split("|")
    }


def test_the_document_names_the_mistakes_of_callers() -> None:
    [told] = re.findall(r"error it was: (.*?) are mistakes of the\s", ALERTS_DOCUMENT, re.DOTALL)
    asked = list_values("instance_server:mcp_caller_mistakes:increase10m", "code")
    assert asked == set(re.findall(r"-\d+", told))
    assert asked == {str(code) for code in SEMCONV_CALLER_ERRORS}


def test_the_document_tells_how_each_outcome_counts_for_other_alerts() -> None:
    rows = re.findall(r"(?m)^\| (`.*?) \| (good|bad|neither) \|", ALERTS_DOCUMENT)
    told: dict[str, set[str]] = {}
    for names, judgement in rows:
        told.setdefault(judgement, set()).update(re.findall("`([a-z_]+)`", names))
    # What belongs to the made-up tool is in a row of its own.
    bad, neither = told["bad"], told["neither"] - told["bad"] - {"_other"}
    assert bad | neither | told["good"] == set(Outcome)
    assert list_values("instance_server:mcp_requests:increase10m", "outcome") == neither
    faults = list_values("instance_server:mcp_request_faults:increase10m", "outcome")
    assert faults == bad
    assert list_values("instance_server_tool:mcp_tool_calls:increase30m", "outcome") == neither
    failures = list_values("instance_server_tool:mcp_tool_failures:increase30m", "outcome")
    assert failures == bad | {"tool_error"}


def test_what_is_recorded_has_names_of_one_schema() -> None:
    assert [name for name in SHIPPED.records if not RECORD_NAME.fullmatch(name)] == []


def test_what_is_recorded_is_used_or_told() -> None:
    used = {name for expr in SHIPPED.expressions for name, _ in read_query(expr).selectors}
    told = set(re.findall(r"`([a-z_]+:[a-z_:0-9]+)`", ALERTS_DOCUMENT))
    assert set(SHIPPED.records) <= used | told


@pytest.mark.parametrize("alert", SHIPPED.alerts, ids=ALERT_IDS)
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do(alert: Alert) -> None:
    assert alert.labels["severity"] in SEVERITIES
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.annotations["runbook_url"] == f"docs/runbooks/{alert.name}.md"
    assert (ROOT / alert.annotations["runbook_url"]).is_file()
    # Labels of the rule itself are not in $labels: promtool's tests would show an empty text, too.
    own = set(re.findall(r"\$labels\.(\w+)", " ".join(alert.annotations.values())))
    assert own.isdisjoint(alert.labels)


@pytest.mark.parametrize("alert", SHIPPED.alerts, ids=ALERT_IDS)
def test_an_alert_compares_with_something(alert: Alert) -> None:
    assert re.search(r"[<>=]=? |absent\(", alert.expr)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    books = {file.stem for file in RUNBOOKS.glob("*.md")} - {"README"}
    assert books == set(ALERT_NAMES)
    index = (RUNBOOKS / "README.md").read_text()
    assert re.findall(r"\]\((\w+)\.md\)", index) == ALERT_NAMES


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_a_runbook_has_its_parts_and_queries_that_work(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"(?m)^## (.+)$", text) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    queries = list_queries(RUNBOOKS / f"{name}.md")
    assert queries
    assert [find_strangers(query, SHIPPED.labels) for query in queries] == [[]] * len(queries)
    for target in re.findall(r"\]\((\S+?)\)", text):
        path, _, heading = target.partition("#")
        linked = (RUNBOOKS / path).read_text()
        titles = [slug(title) for title in re.findall(r"(?m)^#+ (.+)$", linked)]
        assert not heading or heading in titles, target


def slug(title: str) -> str:
    """Give the anchor of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_document_tells_of_every_alert() -> None:
    row = re.compile(r"(?m)^\| \[(MCP\w+)\]\(runbooks/\1\.md\) \| (\w+) \|.*\| (.*) \|$")
    told = {
        (name, severity): pauses.replace("-", "0s").split(", ")
        for name, severity, pauses in row.findall(ALERTS_DOCUMENT)
    }
    expected: dict[tuple[str, str], list[str]] = {}
    for alert in SHIPPED.alerts:
        expected.setdefault((alert.name, alert.labels["severity"]), []).append(alert.pause)
    assert told == expected


# A failure that begins its series, as it comes: `increase` sees nothing of it.
_FIRST = "_x70 30x20"
_WHERE = 'job="j", instance="a"'
_CALL = f'{_WHERE}, server="cats", tool="nap", outcome="http_error"'
_REQUEST = f'{_WHERE}, server="cats", method="tools/call"'


@pytest.mark.parametrize(
    ("name", "minutes", "series"),
    [
        ("MCPErrorBudgetBurn", 5, [f"mcp_tool_calls_total{{{_CALL}}}"]),
        (
            "MCPErrorRatioHigh",
            8,
            [
                f'mcp_requests_total{{{_REQUEST}, outcome="protocol_error"}}',
                f'mcp_jsonrpc_errors_total{{{_REQUEST}, code="-32603"}}',
                f'mcp_http_requests_total{{{_WHERE}, server="cats", method="POST", code="500"}}',
            ],
        ),
        (
            "MCPInspectionErrors",
            12,
            [
                f'mcp_proxy_inspection_errors_total{{{_WHERE}, stage="request"}}',
                f'mcp_requests_total{{{_REQUEST}, outcome="uninspected"}}',
            ],
        ),
        ("MCPToolFailing", 12, [f"mcp_tool_calls_total{{{_CALL}}}"]),
        (
            "MCPUnknownToolCalls",
            12,
            [
                f'mcp_unknown_tool_calls_total{{{_WHERE}, server="cats"}}',
                f"mcp_request_duration_seconds_count{{{_REQUEST}}}",
            ],
        ),
    ],
)
def test_a_runbook_shows_the_first_failures_that_its_alert_counts(
    tmp_path: Path, name: str, minutes: int, series: list[str]
) -> None:
    metrics = {one.partition("{")[0] for one in series}
    queries = [
        query
        for query in list_queries(RUNBOOKS / f"{name}.md")
        if any(metric in query or metric in str(read_recorded(query)) for metric in metrics)
    ]
    assert queries
    exprs = [*queries, f'ALERTS{{alertname="{name}", alertstate="firing"}}']
    test = {
        "interval": "1m",
        "input_series": [{"series": f"up{{{_WHERE}}}", "values": "1x90"}]
        + [{"series": one, "values": _FIRST} for one in series],
        "promql_expr_test": [
            {
                "expr": f"count({expr}) > bool 0",
                "eval_time": f"{70 + minutes}m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
            for expr in exprs
        ],
    }
    file = tmp_path / "test.yml"
    rule_files = [str(one) for one in RULE_FILES]
    file.write_text(
        yaml.safe_dump({"rule_files": rule_files, "evaluation_interval": "1m", "tests": [test]})
    )
    assert "SUCCESS" in run_promtool("test", "rules", file)


def read_recorded(query: str) -> list[str]:
    """Give the expressions of what a query takes from recordings."""
    names = [name for name, _ in read_query(query).selectors]
    return [expr for name in names for expr in SHIPPED.records.get(name, ())]
