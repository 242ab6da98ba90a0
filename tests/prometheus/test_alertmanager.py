"""The shipped Alertmanager configuration: who hears of what, and what is held back."""

import json
import re
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.monitoring import Service, run_alertmanager, wait_for
from tests.support.programs import consult
from tests.support.rule_files import ALERT_NAMES, PROMETHEUS

CONFIG = PROMETHEUS / "alertmanager.yml"
AMTOOL_SECONDS = 20.0
WAIT_SECONDS = 10.0

WHERE = {"job": "j", "instance": "a", "server": "cats"}
ELSEWHERE = {"job": "j", "instance": "b", "server": "dogs"}
# Budgets are of all instances of a server.
BUDGET = {"job": "j", "server": "cats", "slo": "availability"}


def run_amtool(*arguments: str) -> str:
    """Run amtool; it has to be content."""
    return consult("amtool", *arguments, seconds=AMTOOL_SECONDS)


def uncomment(text: str) -> str:
    """Take the comments off what is offered as an example."""
    return re.sub(r"(?m)^( +)# (?=(webhook|slack)_configs:|  )", r"\1", text)


def test_amtool_finds_nothing_wrong() -> None:
    assert "SUCCESS" in run_amtool("check-config", str(CONFIG))


def test_the_receivers_that_are_offered_work(tmp_path: Path) -> None:
    text = uncomment(CONFIG.read_text())
    receivers = {one["name"]: set(one) - {"name"} for one in yaml.safe_load(text)["receivers"]}
    assert receivers == {"nobody": set(), "page": {"webhook_configs"}, "ticket": {"slack_configs"}}
    file = tmp_path / "alertmanager.yml"
    file.write_text(text)
    assert "SUCCESS" in run_amtool("check-config", str(file))


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "page"), ("warning", "ticket"), ("info", "nobody")]
)
def test_how_bad_it_is_decides_who_hears(severity: str, receiver: str) -> None:
    labels = f"severity={severity}"
    said = run_amtool("config", "routes", "test", f"--config.file={CONFIG}", labels, "alertname=X")
    assert said.strip() == receiver


def test_what_is_held_back_has_the_names_of_alerts() -> None:
    rules = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    matchers = [one for rule in rules for key in rule if "match" in key for one in rule[key]]
    patterns = re.findall(r'alertname(?:=|=~|!=)"(.+?)"', " ".join(matchers))
    assert len(patterns) == 11
    # Each alternative of a pattern has to be an alert, not only one of them.
    for pattern in patterns:
        alternatives = re.sub(r"MCP\((.*)\)$", r"\1", pattern)
        for part in re.split(r"\|(?![^(]*\))", alternatives):
            assert any(re.fullmatch(f"(MCP)?{part}", name) for name in ALERT_NAMES), part


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with run_alertmanager(CONFIG, tmp_path_factory.mktemp("alertmanager")) as service:
        yield service


def send(alertmanager: Service, *alerts: Mapping[str, str]) -> None:
    """Give Alertmanager firing alerts."""
    connection = HTTPConnection(alertmanager.address, timeout=WAIT_SECONDS)
    body = json.dumps([{"labels": dict(labels)} for labels in alerts])
    connection.request("POST", "/api/v2/alerts", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def is_held_back(alertmanager: Service, labels: Mapping[str, str]) -> bool | None:
    """Say whether an alert is held back; None before Alertmanager has looked at it."""
    alerts: list[dict[str, Any]] = alertmanager.ask("/api/v2/alerts")
    [status] = [alert["status"] for alert in alerts if alert["labels"] == dict(labels)]
    return None if status["state"] == "unprocessed" else bool(status["inhibitedBy"])


def make_alert(name: str, severity: str, where: Mapping[str, str], **more: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, **where, **more}


@pytest.mark.parametrize(
    ("cause", "held_back", "told"),
    [
        (
            make_alert("MCPProxyDown", "critical", {"job": "j1", "instance": "a"}),
            [make_alert("MCPRequestStuck", "warning", {"job": "j1", "instance": "a"})],
            [make_alert("MCPRequestStuck", "warning", {"job": "j1", "instance": "b"})],
        ),
        (
            make_alert("MCPUpstreamDown", "critical", WHERE),
            [
                make_alert("MCPErrorRatioHigh", "warning", WHERE),
                make_alert("MCPLatencyHigh", "warning", WHERE),
                make_alert("MCPToolFailing", "warning", WHERE, tool="purr"),
                make_alert("MCPRequestStuck", "warning", WHERE),
                make_alert("MCPErrorBudgetBurn", "critical", BUDGET, window="1h"),
                make_alert("MCPLatencyBudgetBurn", "critical", BUDGET, window="1h"),
            ],
            [
                make_alert("MCPToolDefinitionChanged", "warning", WHERE, tool="purr"),
                make_alert("MCPErrorRatioHigh", "warning", ELSEWHERE),
                # Only one instance lost its way to the server.
                make_alert("MCPErrorRatioHigh", "warning", {**WHERE, "instance": "b"}),
                make_alert("MCPRequestStuck", "warning", {**WHERE, "instance": "b"}),
                make_alert("MCPErrorBudgetBurn", "critical", {**BUDGET, "server": "dogs"}),
            ],
        ),
        (
            make_alert("MCPErrorBudgetBurn", "critical", {**BUDGET, "job": "j3"}, window="1h"),
            [make_alert("MCPErrorBudgetBurn", "warning", {**BUDGET, "job": "j3"}, window="3d")],
            [
                make_alert("MCPErrorBudgetBurn", "critical", {**BUDGET, "job": "j3"}, window="6h"),
                make_alert("MCPErrorBudgetBurn", "warning", {**BUDGET, "job": "j3", "slo": "x"}),
                make_alert("MCPLatencyBudgetBurn", "warning", {**BUDGET, "job": "j3"}),
            ],
        ),
        (
            make_alert("MCPUnknownToolCalls", "info", {**WHERE, "job": "j4"}),
            [make_alert("MCPCardinalityOverflow", "info", {**WHERE, "job": "j4"}, label="tool")],
            [
                make_alert(
                    "MCPCardinalityOverflow", "info", {**WHERE, "job": "j4"}, label="client"
                ),
                make_alert("MCPCardinalityOverflow", "info", {**WHERE, "job": "j4"}),
                make_alert(
                    "MCPCardinalityOverflow", "info", {**ELSEWHERE, "job": "j4"}, label="tool"
                ),
            ],
        ),
        (
            make_alert("DiskFull", "critical", {"job": "j5", "instance": "a"}),
            [],
            [
                make_alert("DiskFull", "warning", {"job": "j5", "instance": "a"}),
                make_alert("MCPRequestStuck", "warning", {"job": "j5", "instance": "a"}),
            ],
        ),
    ],
    ids=["proxy down", "upstream down", "fast burn", "invented names", "somebody else's"],
)
def test_what_is_no_news_is_held_back(
    alertmanager: Service,
    cause: dict[str, str],
    held_back: list[dict[str, str]],
    told: list[dict[str, str]],
) -> None:
    send(alertmanager, cause, *held_back, *told)
    others = [*held_back, *told]
    looked = wait_for(
        lambda: None not in [is_held_back(alertmanager, one) for one in others], WAIT_SECONDS
    )
    assert looked
    assert [one for one in others if is_held_back(alertmanager, one)] == held_back
