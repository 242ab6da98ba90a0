"""The boards as they are committed, and how Grafana fills in their variables.

Knows Grafana's classic JSON and its rules of interpolation; does not know who answers the queries.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"
BOARDS: Mapping[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(DASHBOARDS.glob("*.json"))
}
ALL = ".+"
"""What stands for "All" in every variable."""

_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    ref: str
    kind: str
    """The panel's type."""
    expr: str
    instant: bool
    exemplar: bool
    step: int
    """The shortest step in seconds that the panel wants; 0 for any."""

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable that is a query."""

    board: str
    name: str
    series: str
    label: str


def list_panels(board: str) -> list[Any]:
    """Return the panels of a board, without rows."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def list_targets(board: str) -> Iterator[Target]:
    """Yield every query of a board."""
    for panel in list_panels(board):
        for target in panel["targets"]:
            yield Target(
                board=board,
                panel=panel["title"],
                ref=target["refId"],
                kind=panel["type"],
                expr=target["expr"],
                instant=target.get("instant", False),
                exemplar=target.get("exemplar", False),
                step={"1m": 60}[panel["interval"]] if "interval" in panel else 0,
            )


def list_annotations(board: str) -> dict[str, str]:
    """Return the queries of a board's annotations by their names."""
    return {each["name"]: each["target"]["expr"] for each in BOARDS[board]["annotations"]["list"]}


def list_variables(board: str) -> Iterator[Variable]:
    """Yield the variables of a board that are queries, in their order."""
    for variable in BOARDS[board]["templating"]["list"]:
        if variable["type"] == "query":
            found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert found, variable
            yield Variable(board=board, name=variable["name"], series=found[1], label=found[2])


def fill_in(
    query: str, chosen: Mapping[str, Sequence[str]], *, scrape: int, step: int, span: int
) -> str:
    """Fill in what Grafana fills in; a variable of which nothing is chosen stands at All.

    ``scrape`` is the data source's interval, ``step`` the query's and ``span`` the time range, all
    in seconds.
    """
    values = {
        # Of the data source's documentation: at least four scrapes, and one more than a step.
        "__rate_interval": f"{max(step + scrape, 4 * scrape)}s",
        "__interval": f"{step}s",
        "__range_s": f"{span}",
        "__range": f"{span}s",
    }
    for name in ("job", "instance", "server", "tool"):
        values[name] = _join(chosen.get(name, ()))
    return re.sub(r"\$(__range_s|[a-z_]+)", lambda found: values[found[1]], query)


def _join(values: Sequence[str]) -> str:
    if not values:
        return ALL
    escaped = [_escape(value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _escape(value: str) -> str:
    """Escape for a regular expression within a quoted text, as for variables of many values."""
    doubled = value.replace("\\", "\\\\\\\\")
    return re.sub(r"[$^*{}\[\]'+?.()|]", lambda found: "\\\\" + found[0], doubled)
