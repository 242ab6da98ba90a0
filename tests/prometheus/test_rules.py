"""The shipped rules: promtool's judgement, what they ask for, what they say, their runbooks."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import find_tool
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
    done = subprocess.run(
        [find_tool("promtool"), *arguments],
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


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
    assert find_strangers(query, {}) == [
        "nothing",
        "mcp_tools{tool=y}",
        "nothing{outcome=z}",
        "mcp_requests_total{outcome=success|sucess}",
        "mcp_tools{le=1}",
        "mcp_request_duration_seconds_bucket{le=1}",
        "cat",
        "tool",
    ]


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
