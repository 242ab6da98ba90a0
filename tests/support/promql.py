"""PromQL queries: which series they ask for, and whether the product has those.

Knows the product's table of families and what Prometheus and the client library add; does not know
where queries stand.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import promql_parser
from prometheus_client.utils import floatToGoString

from mcp_proxy_exporter.observe import words
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.family import Kind
from mcp_proxy_exporter.protocol.events import TaskOutcome
from mcp_proxy_exporter.protocol.outcome import Outcome

TARGET_LABELS = frozenset({"job", "instance"})
PROCESS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
)
SCRAPES = ("up", "scrape_duration_seconds")


def _list_series() -> Iterator[tuple[str, frozenset[str]]]:
    for family in FAMILIES:
        labels = TARGET_LABELS | {*family.labels}
        if family.kind in {Kind.HISTOGRAM, Kind.SUMMARY}:
            yield f"{family.name}_count", labels
            yield f"{family.name}_sum", labels
        else:
            yield family.name, labels
        if family.kind is Kind.HISTOGRAM:
            yield f"{family.name}_bucket", labels | {"le"}
    for name in (*PROCESS, *SCRAPES):
        yield name, TARGET_LABELS


SERIES: Mapping[str, frozenset[str]] = dict(_list_series())
"""The labels of everything that a scrape brings, by name."""

_WORDS: Mapping[str, frozenset[str]] = {
    "outcome": frozenset({*Outcome, *TaskOutcome}),
    "method": words.REQUEST_METHODS,
    "reason": frozenset({*words.UPSTREAM_FAILURES, *words.UNINSPECTED_REASONS}),
    "label": frozenset(words.GUARDED_LABELS),
    "tool": frozenset({words.OTHER}),
    "job": frozenset({"mcp-proxy-exporter"}),
}
"""What matchers may say of labels with a closed list of values; no rule may name a real tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What one query asks for."""

    selectors: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Names of metrics with their matchers: label and value, which may be a regular expression."""
    labels: frozenset[str]
    """What it groups by, matches on and takes over."""


def read_query(text: str) -> Query:
    """Parse a query; raise ValueError where it is none."""
    selectors: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    labels: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((one.name, one.value) for one in node.matchers.matchers)
            selectors.append((node.name or "", matchers))
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            labels.update(node.modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier:
            labels.update(node.modifier.matching.labels if node.modifier.matching else ())
            labels.update(node.modifier.group_labels or ())

    promql_parser.walk(promql_parser.parse(text), visit)
    return Query(selectors=tuple(selectors), labels=frozenset(labels))


def find_strangers(text: str, recorded: Mapping[str, frozenset[str]]) -> list[str]:
    """Name what a query asks for that neither the product nor a recording rule has."""
    query = read_query(text)
    known = {**SERIES, **recorded}
    found = [name for name, _ in query.selectors if name not in known]
    labels: set[str] = set()
    for name, matchers in query.selectors:
        labels |= known.get(name, frozenset())
        found += [
            f"{name}{{{label}={value}}}"
            for label, value in matchers
            if label not in known.get(name, ()) or not _is_possible(name, label, value)
        ]
    return found + sorted(query.labels - labels)


def _is_possible(name: str, label: str, value: str) -> bool:
    if label == "le":
        return value in _list_bounds(name)
    if label == "code":
        codes = words.JSONRPC_CODES if "jsonrpc" in name else words.HTTP_STATUSES
        possible = frozenset(codes.values())
    elif label == "method" and "_http_" in name:
        possible = words.HTTP_METHODS
    elif label in _WORDS:
        possible = _WORDS[label]
    else:
        return True
    return all(any(re.fullmatch(part, word) for word in possible) for part in value.split("|"))


def _list_bounds(name: str) -> frozenset[str]:
    [family] = (one for one in FAMILIES if f"{one.name}_bucket" == name)
    return frozenset(map(_write_bound, family.buckets))


def _write_bound(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]  # untyped in the library
    return text
