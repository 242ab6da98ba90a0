"""The shipped rules, their tests for promtool and their runbooks, read from their files.

Knows where they stand and what a rule file looks like; does not know what any rule is for.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "prometheus"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RULE_TESTS = ROOT / "tests" / "prometheus" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alerting rule."""

    name: str
    expr: str
    pause: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(slots=True)
class Rules:
    """The rules of one or more files."""

    alerts: list[Alert] = field(default_factory=list)
    records: dict[str, list[str]] = field(default_factory=dict)
    """Expressions by the names of what they record."""

    @property
    def labels(self) -> dict[str, frozenset[str]]:
        """The labels of what is recorded: the first part of its name says them."""
        return {
            name: frozenset({"job", "server", *name.partition(":")[0].split("_")})
            for name in self.records
        }

    @property
    def expressions(self) -> list[str]:
        """All expressions."""
        recorded = [expr for exprs in self.records.values() for expr in exprs]
        return recorded + [alert.expr for alert in self.alerts]


def read_rules(*texts: str) -> Rules:
    """Read the texts of rule files."""
    rules = Rules()
    for text in texts:
        for group in yaml.safe_load(text)["groups"]:
            for rule in group["rules"]:
                _add(rules, rule)
    return rules


def _add(rules: Rules, rule: Mapping[str, Any]) -> None:
    if "record" in rule:
        rules.records.setdefault(rule["record"], []).append(rule["expr"])
        return
    alert = Alert(
        name=rule["alert"],
        expr=rule["expr"],
        pause=rule.get("for", "0s"),
        labels=rule["labels"],
        annotations=rule["annotations"],
    )
    rules.alerts.append(alert)


SHIPPED = read_rules(*(file.read_text() for file in RULE_FILES))
ALERT_NAMES = sorted({alert.name for alert in SHIPPED.alerts})


def list_queries(runbook: Path) -> list[str]:
    """List the queries of a runbook."""
    return re.findall(r"```promql\n(.*?)```", runbook.read_text(), re.DOTALL)


def list_expectations() -> Iterator[tuple[str, bool]]:
    """Yield the alerts that promtool's tests look at, and whether they expect them to fire."""
    for file in sorted(RULE_TESTS.glob("*.yml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                yield case["alertname"], bool(case.get("exp_alerts"))
