"""The accumulators: series that count in plain numbers, and the families that hold them.

Knows how to count, and how one series reads as samples and as exposition lines; does not know
events, label rules or formats' headers. Counting costs a tenth of the client library's, and writing
a scrape a tenth of its writer's, because all that is text in a line is built once per series.

Not locked: one thread counts. Another one may read at the same time; it sees each number as it
was at some moment of the reading.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeAlias, TypeVar

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from mcp_proxy_exporter.observe.family import Family, Kind
from mcp_proxy_exporter.observe.labels import render


def number(value: float) -> bytes:
    """Return a sample's value as both formats write it."""
    if type(value) is int:
        return b"%d" % value
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # untyped in the library
    return text.encode()


def _name_labels(family: Family) -> tuple[str, ...]:
    return (*family.labels, *(name for name, _ in family.constants))


def _fill_labels(family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
    return (*labels, *(value for _, value in family.constants))


def _render(family: Family, labels: tuple[str, ...]) -> str:
    return render(_name_labels(family), _fill_labels(family, labels))


def _pair(family: Family, labels: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(_name_labels(family), _fill_labels(family, labels), strict=True))


class Value:
    """One series of a counter or gauge. Whoever counts writes `value`."""

    __slots__ = ("_family", "_prefix", "labels", "value")

    def __init__(self, family: Family, labels: tuple[str, ...], value: float = 0) -> None:
        self._family = family
        self.labels = labels
        self.value = value
        self._prefix = f"{family.name}{_render(family, labels)} ".encode()

    def lines(self) -> bytes:
        """Return the exposition line."""
        return b"%b%b\n" % (self._prefix, number(self.value))

    def samples(self) -> Iterator[Sample]:
        """Yield the sample as the client library knows it."""
        family = self._family
        yield Sample(family.name, _pair(family, self.labels), self.value)


class Summary:
    """One series of a summary without quantiles: how many and how much."""

    __slots__ = ("_family", "_template", "count", "labels", "sum")

    def __init__(self, family: Family, labels: tuple[str, ...]) -> None:
        self._family = family
        self.labels = labels
        self.count = 0
        self.sum: float = 0
        rendered = _render(family, labels).replace("%", "%%")
        name = family.name
        self._template = f"{name}_count{rendered} %d\n{name}_sum{rendered} %b\n".encode()

    def observe(self, value: float) -> None:
        """Count one value."""
        self.count += 1
        self.sum += value

    def lines(self) -> bytes:
        """Return the exposition lines."""
        return self._template % (self.count, number(self.sum))

    def samples(self) -> Iterator[Sample]:
        """Yield the samples as the client library knows them."""
        family = self._family
        labels = _pair(family, self.labels)
        yield Sample(f"{family.name}_count", labels, self.count)
        yield Sample(f"{family.name}_sum", labels, self.sum)


class Histogram:
    """One series of a classic histogram."""

    __slots__ = ("_examples", "_family", "_les", "_template", "bounds", "counts", "labels", "sum")

    def __init__(
        self, family: Family, labels: tuple[str, ...], bounds: Sequence[float], les: Sequence[str]
    ) -> None:
        """Take the bounds, ascending, and the same as texts, with ``+Inf`` at the end."""
        self._family = family
        self.labels = labels
        self.bounds = bounds
        self._les = les
        self.counts = [0] * len(les)
        """Per bucket, not cumulative; one more than bounds, for ``+Inf``."""
        self.sum: float = 0
        self._examples: list[tuple[str, float, float] | None] | None = None
        name = family.name
        names, values = (*_name_labels(family), "le"), _fill_labels(family, labels)
        buckets = (f"{name}_bucket{render(names, (*values, le))}" for le in les)
        rendered = _render(family, labels)
        lines = (*buckets, f"{name}_count{rendered}")
        counts = "".join(f"{line.replace('%', '%%')} %d\n" for line in lines)
        self._template = f"{counts}{name}_sum{rendered.replace('%', '%%')} %b\n".encode()

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to its own bucket (``le``)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_traced(self, value: float, trace_id: str, at: float) -> None:
        """Count one value of a trace, seen at a Unix time: its bucket's exemplar until the next."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        if self._examples is None:
            self._examples = [None] * len(self.counts)
        self._examples[bucket] = (trace_id, value, at)

    def lines(self) -> bytes:
        """Return the exposition lines."""
        counts = tuple(accumulate(self.counts))
        return self._template % (*counts, counts[-1], number(self.sum))

    def lines_with_exemplars(self) -> bytes:
        """Return the exposition lines as OpenMetrics has them."""
        examples = self._examples
        if examples is None:
            return self.lines()
        lines = self.lines().splitlines(keepends=True)
        for bucket, example in enumerate(examples):
            if example is not None:
                lines[bucket] = lines[bucket][:-1] + _exemplar(*example)
        return b"".join(lines)

    def samples(self) -> Iterator[Sample]:
        """Yield the samples as the client library knows them."""
        family = self._family
        labels = _pair(family, self.labels)
        counts = tuple(accumulate(self.counts))
        for le, count in zip(self._les, counts, strict=True):
            yield Sample(f"{family.name}_bucket", {**labels, "le": le}, count)
        yield Sample(f"{family.name}_count", labels, counts[-1])
        yield Sample(f"{family.name}_sum", labels, self.sum)


def _exemplar(trace_id: str, value: float, at: float) -> bytes:
    labels = render(("trace_id",), (trace_id,)).encode()
    return b" # %b %b %.3f\n" % (labels, number(value), at)


Series: TypeAlias = Value | Summary | Histogram
S = TypeVar("S", Value, Summary, Histogram)


class Counted(ABC, Generic[S]):
    """The series of one family that events count. A series that was made once stays.

    Those of a hidden family are all the same one, which counts into the void.
    """

    def __init__(self, family: Family, *, hidden: bool = False) -> None:
        self.family = family
        self._children: dict[tuple[str, ...], S] = {}
        self._void: S | None = self._make(("",) * len(family.labels)) if hidden else None

    def child(self, *labels: str) -> S:
        """Return the series of these label values, in the family's order; make it at zero."""
        found = self._children.get(labels) or self._void
        if found is None:
            found = self._children[labels] = self._make(labels)
        return found

    def series(self) -> Sequence[S]:
        """Return all series, oldest first: a copy, so that counting may go on."""
        return tuple(self._children.values())

    @abstractmethod
    def _make(self, labels: tuple[str, ...]) -> S:
        """Return a new series at zero."""


class Values(Counted[Value]):
    """The series of one counter or gauge."""

    def _make(self, labels: tuple[str, ...]) -> Value:
        return Value(self.family, labels)


class Summaries(Counted[Summary]):
    """The series of one summary."""

    def _make(self, labels: tuple[str, ...]) -> Summary:
        return Summary(self.family, labels)


class Histograms(Counted[Histogram]):
    """The series of one histogram."""

    def __init__(self, family: Family, *, hidden: bool = False) -> None:
        # Nothing to look up in the void.
        self._bounds = () if hidden else tuple(map(float, family.buckets))
        self._les = (*map(floatToGoString, self._bounds), "+Inf")
        super().__init__(family, hidden=hidden)

    def _make(self, labels: tuple[str, ...]) -> Histogram:
        return Histogram(self.family, labels, self._bounds, self._les)


class Polled:
    """The series of one gauge that are asked for at each scrape: what is gone is gone.

    Those of a hidden family are not asked for.
    """

    def __init__(self, family: Family, *, hidden: bool = False) -> None:
        self.family = family
        self._hidden = hidden
        self._sources: list[Callable[[], Iterable[Value]]] = []

    def watch(self, source: Callable[[], Iterable[Value]]) -> None:
        """Add a source. It must be quick, and no two may yield the same label values."""
        if not self._hidden:
            self._sources.append(source)

    def series(self) -> Sequence[Value]:
        """Return all series of this moment."""
        return [value for source in self._sources for value in source()]


FamilySeries: TypeAlias = Values | Summaries | Histograms | Polled
F = TypeVar("F", Values, Summaries, Histograms, Polled)


class Store(Collector):
    """The series of all families, in the order of the table. Hidden ones are not seen from here.

    A collector of the client library too: its formats, filters and tests work on what is in here.
    """

    def __init__(self, families: Iterable[Family], *, hidden: Collection[str] = ()) -> None:
        """Make a place for every family; the hidden ones, by name, take what comes and forget."""
        self._families = {
            family.name: _place(family, hidden=family.name in hidden) for family in families
        }
        self._shown = tuple(held for name, held in self._families.items() if name not in hidden)

    def __iter__(self) -> Iterator[FamilySeries]:
        return iter(self._shown)

    def shows(self, name: str) -> bool:
        """Say whether a family is counted and shown."""
        return any(held.family.name == name for held in self._shown)

    def of(self, kind: type[F], name: str) -> F:
        """Return the series of a family.

        Raises KeyError for a name that the table lacks, TypeError for a family of another kind.
        """
        found = self._families[name]
        if not isinstance(found, kind):
            raise TypeError(f"{name} is no {kind.__name__} but {type(found).__name__}")
        return found

    def describe(self) -> Iterator[Metric]:
        """Yield every family without samples: the names that this collector claims."""
        for held in self:
            yield _metric(held.family)

    def collect(self) -> Iterator[Metric]:
        """Yield every family with its samples."""
        for held in self:
            metric = _metric(held.family)
            for series in held.series():
                metric.samples.extend(series.samples())
            yield metric


def _place(family: Family, *, hidden: bool) -> FamilySeries:
    if family.polled:
        return Polled(family, hidden=hidden)
    if family.kind is Kind.HISTOGRAM:
        return Histograms(family, hidden=hidden)
    if family.kind is Kind.SUMMARY:
        return Summaries(family, hidden=hidden)
    return Values(family, hidden=hidden)


def _metric(family: Family) -> Metric:
    return Metric(family.openmetrics_name, family.help, family.kind.value, family.unit)
