"""A scrape against what is expected of each family, series by series.

Knows how the samples of a family of each type are named and what makes a histogram consistent; does
not know what the families mean.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.support.figures import Expected, Figure, Labels, Observations, Table
from tests.support.scrape import Scrape

SUFFIXES = {
    "counter": ("",),
    "gauge": ("",),
    "summary": ("_count", "_sum"),
    "histogram": ("_bucket", "_count", "_sum"),
}
# Sums of doubles that were added in another order.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A family, as far as its samples go."""

    name: str
    kind: str
    labels: tuple[str, ...]
    buckets: Sequence[float] = ()

    @property
    def samples(self) -> set[str]:
        """The names of its samples."""
        return {self.name + suffix for suffix in SUFFIXES[self.kind]}


@dataclass(slots=True)
class Series:
    """What a scrape shows of one series."""

    value: float = 0.0
    count: float = 0.0
    sum: float = 0.0
    buckets: dict[float, float] | None = None


def read_series(scrape: Scrape, shape: Shape) -> dict[Labels, Series]:
    """Return the series of a family by the values of its labels."""
    found: dict[Labels, Series] = {}
    for suffix in SUFFIXES[shape.kind]:
        for labels, value in scrape.rows(shape.name + suffix):
            bound = labels.pop("le", None)
            assert labels.keys() == set(shape.labels), (shape.name, labels)
            series = found.setdefault(tuple(labels[name] for name in shape.labels), Series())
            if suffix == "_bucket":
                series.buckets = series.buckets or {}
                series.buckets[float(str(bound))] = value
            else:
                setattr(series, suffix.removeprefix("_") or "value", value)
    return found


def find_differences(
    scrape: Scrape, shape: Shape, table: Table, zeros: Mapping[str, Collection[str]]
) -> Iterator[str]:
    """Yield what a family shows and should not, or should and does not."""
    shown = read_series(scrape, shape)
    for labels in sorted(table.keys() | shown.keys()):
        name = f"{shape.name}{list(labels)}"
        series, expected = shown.get(labels), table.get(labels)
        if series is None:
            if expected is not None and not _is_nothing(expected):
                yield f"{name}: expected {expected}, is not there"
            elif isinstance(expected, Figure) and shape.kind == "gauge":
                yield f"{name}: expected at 0, is not there"
        elif expected is None:
            empty = not (series.value or series.count or series.sum)
            pairs = zip(shape.labels, labels, strict=True)
            if not empty or shape.kind == "gauge":
                yield f"{name}: unexpected, {series}"
            elif any(value not in zeros.get(label, ()) for label, value in pairs):
                yield f"{name}: nothing accounts for this series at 0"
        elif isinstance(expected, Figure):
            if not expected.low <= series.value <= expected.high:
                yield f"{name}: {series.value}, expected {expected}"
        else:
            yield from _compare_observations(name, series, expected, shape)


def is_at_work(table: Table) -> bool:
    """Say whether anything is expected of a family but zero."""
    return any(not _is_nothing(expected) for expected in table.values())


def _is_nothing(expected: Expected) -> bool:
    if isinstance(expected, Observations):
        return not expected.taken
    return expected == Figure(0, 0)


def _compare_observations(
    name: str, series: Series, expected: Observations, shape: Shape
) -> Iterator[str]:
    taken = expected.taken
    if series.count != len(taken):
        yield f"{name}: {series.count} observations, expected {len(taken)}"
    low, high = expected.total.low - ROUNDING, expected.total.high + ROUNDING
    if not low <= series.sum <= high:
        yield f"{name}: sum {series.sum}, expected {expected.total}"
    if shape.kind == "histogram":
        yield from _compare_buckets(name, series, expected, shape)


def _compare_buckets(
    name: str, series: Series, expected: Observations, shape: Shape
) -> Iterator[str]:
    bounds = [*map(float, shape.buckets), float("inf")]
    shown = series.buckets or {}
    if sorted(shown) != bounds:
        yield f"{name}: buckets {sorted(shown)}, expected {bounds}"
        return
    before = 0.0
    for bound in bounds:
        least = sum(each.high <= bound for each in expected.taken)
        most = sum(each.low <= bound for each in expected.taken)
        if not max(least, before) <= shown[bound] <= most:
            yield f"{name}: {shown[bound]} up to {bound}, expected {least} to {most}"
        before = shown[bound]
    if shown[bounds[-1]] != series.count:
        yield f"{name}: {shown[bounds[-1]]} in all buckets of {series.count}"
