"""What is known of a figure beside the product: a number, or where it lies.

Knows numbers, times that a recorder saw to within its lag, and tables of them by labels; does not
know families.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# How long after a recorder, or before it, the proxy may see the same bytes.
LAG = 1.0

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, or where it lies."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Observations:
    """What a histogram or a summary took, each with where it lies, and where their sum lies."""

    taken: Sequence[Figure]
    total: Figure


Expected = Figure | Observations
Table = dict[Labels, Expected]


def exactly(value: float) -> Figure:
    """Return a number that is known."""
    return Figure(value, value)


def about(seconds: float) -> Figure:
    """Return a time that the recorder knows to within its lag."""
    return Figure(max(0.0, seconds - LAG), seconds + LAG)


def observe(values: Iterable[float]) -> Observations:
    """Return observations that are known."""
    known = [*values]
    return Observations([exactly(value) for value in known], exactly(math.fsum(known)))


def clock(seconds: Iterable[float]) -> Observations:
    """Return observations of times, each known to within the recorder's lag.

    What the recorder saw late of one call it saw in time of nearly all others: the lag does not add
    up.
    """
    seen = [*seconds]
    total, lag = math.fsum(seen), LAG + LAG / 10 * len(seen)
    return Observations(
        [about(value) for value in seen], Figure(max(0.0, total - lag), total + lag)
    )


def count_by(keys: Iterable[Labels]) -> Table:
    """Return how often each set of labels came."""
    return {key: exactly(count) for key, count in Counter(keys).items()}


def clock_each(pairs: Iterable[tuple[Labels, float]]) -> Table:
    """Return times by labels."""
    grouped: dict[Labels, list[float]] = defaultdict(list)
    for key, seconds in pairs:
        grouped[key].append(seconds)
    return {key: clock(each) for key, each in grouped.items()}


def tabulate(counts: Mapping[Any, float]) -> Table:
    """Return counts that are known."""
    return {key: exactly(count) for key, count in counts.items()}


def limit_each(most: Iterable[float]) -> Observations:
    """Return observations of which only is known how much each can be."""
    figures = [Figure(0, seconds) for seconds in most]
    return Observations(figures, Figure(0, math.fsum(figure.high for figure in figures)))


def moment(at: float | None) -> Figure:
    """Return a Unix time that the recorder knows to within its lag."""
    assert at is not None
    return Figure(at - LAG, at + LAG)
