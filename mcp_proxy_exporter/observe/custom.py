"""The operator's own metrics: families and series made of what calls say.

Knows how a value and labels become a series, and what is no value; does not know which calls to
look at (`rules`) nor how expressions work. Whatever a call says, it costs a skipped sample at most.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from mcp_proxy_exporter.config.custom import CustomMetricSettings
from mcp_proxy_exporter.config.expression import compile_expression, is_true
from mcp_proxy_exporter.observe.facts import Reading, find_needs
from mcp_proxy_exporter.observe.family import Family, Kind
from mcp_proxy_exporter.observe.labels import LARGEST_WHOLE, label_text
from mcp_proxy_exporter.observe.series import (
    Histogram,
    Histograms,
    Store,
    Summaries,
    Summary,
    Value,
    Values,
)
from mcp_proxy_exporter.observe.words import CUSTOM_LABEL, OTHER, SKIP_REASONS

Count: TypeAlias = Callable[[float], bool]
"""Counts one value on one series; False where its sum would be no number for ever after."""


def make_families(settings: Iterable[CustomMetricSettings]) -> tuple[Family, ...]:
    """Return a family for each configured metric."""
    return tuple(
        Family(
            name=metric.name,
            kind=Kind(metric.type),
            help=metric.help,
            labels=("server", "tool", *metric.labels),
            bound=f"S*T*{metric.label_limit + 1}" if metric.labels else "S*T",
            buckets=metric.buckets,
        )
        for metric in settings
    )


SKIPS = "mcp_proxy_custom_metric_skips_total"


class Skips:
    """Counts the samples of one metric that no series could take."""

    def __init__(self, store: Store, metric: str) -> None:
        self._metric = metric
        self._skips = store.of(Values, SKIPS)

    def prepare(self) -> None:
        """Make the series at 0, so that a rate sees the first skip."""
        for reason in SKIP_REASONS:
            self._skips.child(self._metric, reason)

    def add(self, reason: str) -> None:
        """Count a sample that was skipped for one of `words.SKIP_REASONS`."""
        self._skips.child(self._metric, reason).value += 1


class LabelSets:
    """Decides which sets of label values of one metric get series of their own: the first ones."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """How many can be admitted at most."""
        self._admitted: set[tuple[str, ...]] = set()

    def __len__(self) -> int:
        """Return how many sets are admitted."""
        return len(self._admitted)

    def admit(self, labels: tuple[str, ...]) -> bool:
        """Tell whether a set has series of its own; the first ones have, for ever."""
        if labels not in self._admitted:
            if len(self._admitted) >= self.limit:
                return False
            self._admitted.add(labels)
        return True


class AllLabelSets:
    """What the metrics of one server admitted, and can admit, together."""

    def __init__(self, metrics: Sequence["CustomMetric"]) -> None:
        self._metrics = metrics

    def __len__(self) -> int:
        """Return how many sets are admitted."""
        return sum(len(metric.sets) for metric in self._metrics)

    @property
    def limit(self) -> int:
        """How many can be admitted at most."""
        return sum(metric.sets.limit for metric in self._metrics)


class CustomMetric:
    """One configured metric on one server."""

    def __init__(
        self,
        settings: CustomMetricSettings,
        server: str,
        store: Store,
        max_length: int,
    ) -> None:
        self.settings = settings
        self.skips = Skips(store, settings.name)
        self.skips.prepare()
        self._server = server
        self._max_length = max_length
        self._holder = _hold(store, settings)
        self._signed = settings.type == "gauge"
        self._when = None if settings.when is None else compile_expression(settings.when).evaluate
        self._value = (
            None if settings.value is None else compile_expression(settings.value).evaluate
        )
        self._labels = [compile_expression(text).evaluate for text in settings.labels.values()]
        self._others = (OTHER,) * len(self._labels)
        self.sets = LabelSets(settings.label_limit if settings.labels else 0)
        self._overflow = store.of(Values, "mcp_proxy_label_overflow_total").child(
            server, CUSTOM_LABEL
        )
        self._counts: dict[tuple[str, ...], Count] = {}
        self.needs = find_needs(self.members)
        """The texts of a call without which it cannot be counted."""

    @property
    def members(self) -> frozenset[str]:
        """What its expressions ask of a call."""
        settings = self.settings
        texts = (settings.when, settings.value, *settings.labels.values())
        asked = (compile_expression(text).members for text in texts if text is not None)
        return frozenset[str]().union(*asked)

    def count(self, call: Reading, tool: str) -> None:
        """Count a call under the label of its tool."""
        if not self._labels and self._value is None:
            # At 0 before the first that counts, so that a rate sees that one.
            self._find((tool,))
        gap = self.needs.find_gap(call)
        if gap is not None:
            self.skips.add(gap)
            return
        facts = call.facts
        try:
            if self._when is not None and not is_true(self._when(facts)):
                return
            value = 1 if self._value is None else self._value(facts)
            length = self._max_length
            key = (tool, *[label_text(evaluate(facts), length) for evaluate in self._labels])
        except Exception:  # noqa: BLE001  # what an expression raises is its own business
            self.skips.add("expression_failed")
            return
        reason = None
        if type(value) is not float and (
            type(value) is not int or not -LARGEST_WHOLE <= value <= LARGEST_WHOLE
        ):
            value, reason = _read_number(value)
        elif not math.isfinite(value):
            reason = "not_finite"
        if reason is None and value < 0 and not self._signed:
            # OpenMetrics 1.0.0 section 5: what counters, histograms and summaries add up rises.
            reason = "negative"
        if reason is None and not (self._counts.get(key) or self._find(key))(value):
            reason = "not_finite"
        if reason is not None:
            self.skips.add(reason)

    def _find(self, key: tuple[str, ...]) -> Count:
        if not self._labels or self.sets.admit(key[1:]):
            return self._make(key)
        self._overflow.value += 1
        return self._make((key[0], *self._others))

    def _make(self, key: tuple[str, ...]) -> Count:
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = self._adder(self._holder.child(self._server, *key))
        return found

    def _adder(self, series: Value | Histogram | Summary) -> Count:
        if not isinstance(series, Value):
            return _make_observer(series)
        return _make_setter(series) if self._signed else _make_adder(series)


def _hold(store: Store, settings: CustomMetricSettings) -> Values | Histograms | Summaries:
    match settings.type:
        case "histogram":
            return store.of(Histograms, settings.name)
        case "summary":
            return store.of(Summaries, settings.name)
        case _:
            return store.of(Values, settings.name)


def _make_adder(series: Value) -> Count:
    def add(value: float) -> bool:
        total = series.value + value
        if not math.isfinite(total):
            return False
        series.value = total
        return True

    return add


def _make_observer(series: Histogram | Summary) -> Count:
    def observe(value: float) -> bool:
        if not math.isfinite(series.sum + value):
            return False
        series.observe(value)
        return True

    return observe


def _make_setter(series: Value) -> Count:
    def put(value: float) -> bool:
        series.value = value
        return True

    return put


def _read_number(value: object) -> tuple[float, str | None]:
    """Read a value that is no usual number; give 0 and a reason where it is none at all."""
    if value is None:
        return 0, "missing"
    if type(value) is not int:
        return 0, "not_a_number"
    try:
        return float(value), None
    except OverflowError:
        return 0, "not_finite"


def make_metrics(
    settings: Sequence[CustomMetricSettings], server: str, store: Store, max_length: int
) -> tuple[CustomMetric, ...]:
    """Return the metrics of one server."""
    return tuple(CustomMetric(metric, server, store, max_length) for metric in settings)
