"""The accumulators: series that count in plain numbers, and the families that hold them.

Knows how to count, and how one series reads as samples and as exposition lines; does not know
events, label rules or formats' headers. Counting costs a tenth of the client library's, and writing
a scrape a tenth of its writer's, because all that is text in a line is built once per series.

Not locked: one thread counts. Another one may read at the same time; it sees each number as it
was at some moment of the reading.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
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


class Value:
    """One series of a counter or gauge. Whoever counts writes `value`."""

    __slots__ = ("_family", "_prefix", "labels", "value")

    def __init__(self, family: Family, labels: tuple[str, ...], value: float = 0) -> None:
        self._family = family
        self.labels = labels
        self.value = value
        self._prefix = f"{family.name}{render(family.labels, labels)} ".encode()

    def lines(self) -> bytes:
        """Return the exposition line."""
        return b"%b%b\n" % (self._prefix, number(self.value))

    def samples(self) -> Iterator[Sample]:
        """Yield the sample as the client library knows it."""
        family = self._family
        yield Sample(family.name, dict(zip(family.labels, self.labels, strict=True)), self.value)


class Summary:
    """One series of a summary without quantiles: how many and how much."""

    __slots__ = ("_family", "_template", "count", "labels", "sum")

    def __init__(self, family: Family, labels: tuple[str, ...]) -> None:
        self._family = family
        self.labels = labels
        self.count = 0
        self.sum: float = 0
        rendered = render(family.labels, labels).replace("%", "%%")
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
        labels = dict(zip(family.labels, self.labels, strict=True))
        yield Sample(f"{family.name}_count", labels, self.count)
        yield Sample(f"{family.name}_sum", labels, self.sum)


class Histogram:
    """One series of a classic histogram."""

    __slots__ = ("_family", "_les", "_template", "bounds", "counts", "labels", "sum")

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
        name = family.name
        names = (*family.labels, "le")
        buckets = (f"{name}_bucket{render(names, (*labels, le))}" for le in les)
        rendered = render(family.labels, labels)
        lines = (*buckets, f"{name}_count{rendered}")
        counts = "".join(f"{line.replace('%', '%%')} %d\n" for line in lines)
        self._template = f"{counts}{name}_sum{rendered.replace('%', '%%')} %b\n".encode()

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to its own bucket (``le``)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self) -> bytes:
        """Return the exposition lines."""
        counts = tuple(accumulate(self.counts))
        return self._template % (*counts, counts[-1], number(self.sum))

    def samples(self) -> Iterator[Sample]:
        """Yield the samples as the client library knows them."""
        family = self._family
        labels = dict(zip(family.labels, self.labels, strict=True))
        counts = tuple(accumulate(self.counts))
        for le, count in zip(self._les, counts, strict=True):
            yield Sample(f"{family.name}_bucket", {**labels, "le": le}, count)
        yield Sample(f"{family.name}_count", labels, counts[-1])
        yield Sample(f"{family.name}_sum", labels, self.sum)


Series: TypeAlias = Value | Summary | Histogram
S = TypeVar("S", Value, Summary, Histogram)


class Counted(ABC, Generic[S]):
    """The series of one family that events count. A series that was made once stays."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._children: dict[tuple[str, ...], S] = {}

    def child(self, *labels: str) -> S:
        """Return the series of these label values, in the family's order; make it at zero."""
        found = self._children.get(labels)
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

    def __init__(self, family: Family, bounds: Sequence[float]) -> None:
        super().__init__(family)
        self._bounds = tuple(map(float, bounds))
        self._les = (*map(floatToGoString, self._bounds), "+Inf")

    def _make(self, labels: tuple[str, ...]) -> Histogram:
        return Histogram(self.family, labels, self._bounds, self._les)


class Polled:
    """The series of one gauge that are asked for at each scrape: what is gone is gone."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._sources: list[Callable[[], Iterable[Value]]] = []

    def watch(self, source: Callable[[], Iterable[Value]]) -> None:
        """Add a source. It must be quick, and no two may yield the same label values."""
        self._sources.append(source)

    def series(self) -> Sequence[Value]:
        """Return all series of this moment."""
        return [value for source in self._sources for value in source()]


FamilySeries: TypeAlias = Values | Summaries | Histograms | Polled
F = TypeVar("F", Values, Summaries, Histograms, Polled)


class Store(Collector):
    """The series of all families, in the order of the table.

    A collector of the client library too: its formats, filters and tests work on what is in here.
    """

    def __init__(self, families: Iterable[Family], *, duration_buckets: Sequence[float]) -> None:
        """Make a place for every family; duration_buckets replace those that may be set."""
        self._families = {
            family.name: _place(family, duration_buckets if family.configurable else family.buckets)
            for family in families
        }

    def __iter__(self) -> Iterator[FamilySeries]:
        return iter(self._families.values())

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


def _place(family: Family, buckets: Sequence[float]) -> FamilySeries:
    if family.polled:
        return Polled(family)
    if family.kind is Kind.HISTOGRAM:
        return Histograms(family, buckets)
    if family.kind is Kind.SUMMARY:
        return Summaries(family)
    return Values(family)


def _metric(family: Family) -> Metric:
    return Metric(family.openmetrics_name, family.help, family.kind.value, family.unit)
