"""The settings of service level objectives: what an operator promises of tool calls.

Knows what a promise is made of and which promises the configured metrics cannot show kept; does not
know how rules are made of it (`mcp_proxy_exporter.slo`). The proxy itself has no use for them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from mcp_proxy_exporter.config.globs import is_chosen
from mcp_proxy_exporter.config.section import KeyPath, Number, Section

CALLS = "mcp_tool_calls_total"
DURATIONS = "mcp_tool_call_duration_seconds"
"""The families that objectives are measured by."""

# Below a week the shortest look back, an hour, is no small part of the window any more; above a
# quarter hardly any Prometheus keeps the samples.
MIN_DAYS, MAX_DAYS = 7, 90
_DAYS = {"d": 1, "w": 7}
_WINDOW = re.compile(r"([1-9]\d{0,2})([dw])")


def _check_glob(glob: str) -> str:
    # Names of tools never have other characters: they are cleaned before they become labels.
    if not glob or not glob.isprintable():
        raise ValueError('must be a name or a pattern, like "search_*"')
    return glob


def _check_objective(objective: float) -> float:
    if not 0 < objective < 1:
        raise ValueError("must be a ratio between 0 and 1, like 0.999 for 99.9 %")
    return objective


def _check_name(name: str) -> str:
    # It becomes a label value, and Alertmanager shows it.
    if not name or not name.isprintable():
        raise ValueError("must be one line of text, and not empty")
    return name


def _check_window(window: str) -> str:
    if not MIN_DAYS <= _count_days(window) <= MAX_DAYS:
        raise ValueError(f'must be {MIN_DAYS} to {MAX_DAYS} days, like "30d" or "4w"')
    return window


def _count_days(window: str) -> int:
    found = _WINDOW.fullmatch(window)
    return int(found[1]) * _DAYS[found[2]] if found else 0


class SloSettings(Section):
    """One promise: which share of which calls is good over a window."""

    server: str | None = None
    """Whose calls; each server's own without."""
    tool: Annotated[str, AfterValidator(_check_glob)] = "*"
    """Calls of which tools: a name or a glob."""
    objective: Annotated[Number, AfterValidator(_check_objective)]
    """The share of good calls that is promised."""
    latency: Annotated[Number, Field(gt=0)] | None = None
    """Seconds within which a good call has ended; without it, good is what the server answered."""
    name: Annotated[str, AfterValidator(_check_name)] | None = None
    """The label ``slo``; made of the other settings without."""
    window: Annotated[str, AfterValidator(_check_window)] = "30d"
    """Over which the promise holds."""

    @property
    def title(self) -> str:
        """Name it, also where the operator did not."""
        kind = "availability" if self.latency is None else f"latency {self.latency:g}s"
        return self.name or f"{self.server or '*'}/{self.tool} {kind}"

    @property
    def days(self) -> int:
        """Count the days of the window."""
        return _count_days(self.window)

    @property
    def family(self) -> str:
        """Name the family that it is measured by."""
        return CALLS if self.latency is None else DURATIONS


class MetricChoices(Protocol):
    """What is chosen about metric families; the settings of the metrics have this shape."""

    @property
    def disable(self) -> Sequence[str]:
        """Globs of families that do not exist."""

    @property
    def enable(self) -> Sequence[str]:
        """Globs of families that exist all the same."""

    @property
    def buckets(self) -> Mapping[str, Sequence[float]]:
        """Upper bounds of single histograms, by the family's name."""

    @property
    def duration_buckets(self) -> Sequence[float]:
        """Upper bounds of the other histograms of durations."""


def find_slo_faults(
    slos: Sequence[SloSettings], servers: Sequence[str], metrics: MetricChoices
) -> Iterator[tuple[KeyPath, str]]:
    """Find the objectives that no metric could ever show, or that are called alike."""
    titles: dict[str, int] = {}
    bounds = metrics.buckets.get(DURATIONS, metrics.duration_buckets)
    for index, slo in enumerate(slos):
        first = titles.setdefault(slo.title, index)
        if first != index:
            at: KeyPath = (index, "name") if slo.name else (index,)
            yield at, f"is called {slo.title!r}, as slo[{first}] is"
        if slo.server is not None and slo.server not in servers:
            yield (index, "server"), f"is no server; configured: {', '.join(servers)}"
        if slo.latency is not None and slo.latency not in bounds:
            known = ", ".join(f"{bound:g}" for bound in bounds)
            yield (index, "latency"), f"is no bucket of {DURATIONS}; there are: {known}"
        if not is_chosen(slo.family, enable=metrics.enable, disable=metrics.disable):
            yield (index,), f"needs {slo.family}, which metrics.disable switches off"
