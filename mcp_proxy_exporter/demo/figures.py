"""What the proxy's ``/metrics`` says about each tool and of the cats, as numbers for a table.

Knows the metric names and how Prometheus computes with them; does not know how the text was
fetched or how a table looks.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from mcp_proxy_exporter.protocol.outcome import Outcome

CALLS: Final = "mcp_tool_calls_total"
IN_FLIGHT: Final = "mcp_tool_calls_in_flight"
DURATION_BUCKET: Final = "mcp_tool_call_duration_seconds_bucket"

ERRORS: Final = frozenset(
    (
        Outcome.TOOL_ERROR,
        Outcome.PROTOCOL_ERROR,
        Outcome.HTTP_ERROR,
        Outcome.INVALID_RESPONSE,
        Outcome.UPSTREAM_UNREACHABLE,
        Outcome.UPSTREAM_TIMEOUT,
        Outcome.UPSTREAM_CLOSED,
        Outcome.ABANDONED,
        Outcome.REJECTED,
    )
)
"""The outcomes that the table counts as errors. Not what the client itself gave up (``cancelled``,
``client_disconnected``), nor what is no end of the work (``input_required``, ``task_created``)."""

_PREFIXES: Final = ("mcp_tool_call", "cat_")
"""All three families begin with the one, those of ``cats.toml`` with the other: other lines need
not be parsed, which keeps the event loop that table and proxy share in the demo free."""

Buckets: TypeAlias = Sequence[tuple[float, float]]
"""Cumulative buckets, (upper bound, count), the bounds ascending and the last one +Inf."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What one scrape says about one tool, since the proxy started."""

    calls: float = 0
    errors: float = 0
    in_flight: float = 0
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(slots=True, kw_only=True)
class Reading:
    """What one scrape says of one custom metric, since the proxy started."""

    value: float = 0
    """Of a histogram: how many it observed."""
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    """Of a histogram; no other has any."""

    def estimate(self, q: float) -> float | None:
        """Estimate a quantile, as `estimate_quantile`."""
        return estimate_quantile(q, sorted(self.buckets.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One scrape: the counts of each tool, over all servers and outcomes, at a time (seconds)."""

    at: float
    tools: Mapping[str, Counts]
    custom: Mapping[str, Reading] = field(default_factory=dict)
    """By the metric's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tool's line. None stands for what nothing is known about yet."""

    tool: str
    calls: float
    error_share: float | None
    """Of all calls that ended, 0 to 1."""
    in_flight: float
    rate: float | None
    """Calls that ended per second, over the window; as the two below."""
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row per tool, by name: totals of one snapshot, rates and quantiles since another."""

    rows: Sequence[Row]
    seconds: float
    """Between the two."""
    custom: Mapping[str, Reading] = field(default_factory=dict)
    """By the metric's name, of the first of the two."""


EMPTY: Final = Comparison(rows=(), seconds=0)


def read_snapshot(text: str, at: float) -> Snapshot:
    """Read an answer of ``/metrics`` in Prometheus' text format.

    Raises: `ValueError` when it is none.
    """
    tools: defaultdict[str, Counts] = defaultdict(Counts)
    custom: defaultdict[str, Reading] = defaultdict(Reading)
    for sample in _read_samples(text):
        if not sample.name.startswith(_PREFIXES[0]):
            _read_custom(sample, custom)
            continue
        counts = tools[sample.labels["tool"]]
        if sample.name == CALLS:
            counts.calls += sample.value
            if sample.labels["outcome"] in ERRORS:
                counts.errors += sample.value
        elif sample.name == IN_FLIGHT:
            counts.in_flight += sample.value
        elif sample.name == DURATION_BUCKET:
            counts.buckets[float(sample.labels["le"])] += sample.value
    return Snapshot(at=at, tools=tools, custom=custom)


def _read_custom(sample: Sample, custom: defaultdict[str, Reading]) -> None:
    family, _, kind = sample.name.rpartition("_")
    if kind == "bucket":
        custom[family].buckets[float(sample.labels["le"])] += sample.value
    elif kind == "count":
        custom[family].value += sample.value
    elif kind != "sum":
        custom[sample.name].value += sample.value


def _read_samples(text: str) -> Iterator[Sample]:
    lines = "\n".join(line for line in text.splitlines() if line.startswith(_PREFIXES))
    for family in text_string_to_metric_families(lines + "\n"):
        yield from family.samples


def _compare(now: Snapshot, base: Snapshot) -> Comparison:
    # What belongs to no known tool (``_other``) comes last.
    names = sorted(now.tools, key=lambda name: (name.startswith("_"), name))
    seconds = now.at - base.at
    rows = [
        _compare_tool(name, now.tools[name], base.tools.get(name) or Counts(), seconds)
        for name in names
    ]
    return Comparison(rows=rows, seconds=seconds, custom=now.custom)


def _compare_tool(name: str, now: Counts, base: Counts, seconds: float) -> Row:
    buckets = [(le, count - base.buckets.get(le, 0)) for le, count in sorted(now.buckets.items())]
    return Row(
        tool=name,
        calls=now.calls,
        error_share=now.errors / now.calls if now.calls else None,
        in_flight=now.in_flight,
        rate=(now.calls - base.calls) / seconds if seconds > 0 else None,
        p50=estimate_quantile(0.5, buckets),
        p95=estimate_quantile(0.95, buckets),
    )


def estimate_quantile(q: float, buckets: Buckets) -> float | None:
    """Estimate a quantile (0 < q <= 1) as Prometheus' ``histogram_quantile`` does.

    Linear inside the bucket the rank falls into, whose lower bound is 0 for the first; the highest
    finite bound when it falls beyond; None without observations.
    """
    if len(buckets) < 2 or not buckets[-1][1] or not math.isinf(buckets[-1][0]):  # noqa: PLR2004
        return None
    rank = q * buckets[-1][1]
    lower, below = 0.0, 0.0
    for upper, count in buckets[:-1]:
        if count >= rank:
            return lower + (upper - lower) * (rank - below) / (count - below)
        lower, below = upper, count
    return lower


class History:
    """The snapshots that a table needs: the first, the newest, and one to look back to.

    ``window`` is the time (seconds) that `recent` looks back, less while there is no older
    snapshot.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._first: Snapshot | None = None
        self._recent: deque[Snapshot] = deque()

    def add(self, snapshot: Snapshot) -> None:
        """Remember the newest snapshot and forget those that are too old to look back to."""
        self._first = self._first or snapshot
        self._recent.append(snapshot)
        while len(self._recent) > 2 and self._recent[1].at <= snapshot.at - self._window:  # noqa: PLR2004
            self._recent.popleft()

    def recent(self) -> Comparison:
        """Compare with the snapshot about ``window`` seconds ago."""
        return _compare(self._recent[-1], self._recent[0]) if self._recent else EMPTY

    def overall(self) -> Comparison:
        """Compare with the first snapshot."""
        return _compare(self._recent[-1], self._first) if self._first else EMPTY
