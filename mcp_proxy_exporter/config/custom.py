"""The settings of metrics and errors that the operator makes of what calls say.

Knows which names, types and expressions fit together; does not know the other settings (`models`)
nor what a call is (`expression` has its members).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mcp_proxy_exporter.config.expression import compile_expression
from mcp_proxy_exporter.config.globs import matches
from mcp_proxy_exporter.config.section import (
    Integer,
    KeyPath,
    Number,
    Section,
    check_bounds,
    faults,
)

RESERVED_PREFIXES = ("mcp_", "process_", "python_")
"""How the exporter's own families begin, today's and tomorrow's."""

# What Prometheus stores about each target and each rule itself.
_PROMETHEUS_NAMES = re.compile(r"up|scrape_.*|ALERTS(_FOR_STATE)?")

MAX_CUSTOM_METRICS = 100
"""Far more than anybody looks at, and a bound to how many series there can be."""

# What histograms, summaries and counters add to their names in a scrape (OpenMetrics 1.0.0,
# section 4.4.2): a family of such a name might meet another one's series.
_SUFFIXES = ("_bucket", "_count", "_sum", "_created", "_total")
_COUNTER_SUFFIX = "_total"
# Prometheus takes colons too, but keeps them for recording rules.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_LABELS = frozenset({"server", "tool", "le", "quantile"})


def _check_metric_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be letters, digits and '_', and not begin with a digit")
    for prefix in RESERVED_PREFIXES:
        if name.startswith(prefix):
            raise ValueError(f"must not begin with {prefix}, as the exporter's own metrics do")
    if _PROMETHEUS_NAMES.fullmatch(name):
        raise ValueError("is a name of Prometheus' own")
    return name


def _check_label_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be letters, digits and '_', and not begin with a digit")
    if name.startswith("__"):
        raise ValueError("must not begin with '__', which belongs to Prometheus")
    if name in _OWN_LABELS:
        raise ValueError("is a label that the exporter sets itself")
    return name


def _check_expression(text: str) -> str:
    compile_expression(text)
    return text


def _check_help(text: str) -> str:
    # Formats differ in how they escape these.
    if not text or not text.isprintable() or "\\" in text or '"' in text:
        raise ValueError("must be one line of text, without '\\' and '\"'")
    return text


def _check_buckets(bounds: tuple[float, ...]) -> tuple[float, ...]:
    # Whether there must be any depends on the type.
    return check_bounds(bounds) if bounds else bounds


def _check_globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    if not globs or not all(globs):
        raise ValueError('must be names or patterns, like ["search_*"]')
    return globs


MetricName = Annotated[str, AfterValidator(_check_metric_name)]
LabelName = Annotated[str, AfterValidator(_check_label_name)]
ExpressionText = Annotated[str, AfterValidator(_check_expression)]
HelpText = Annotated[str, AfterValidator(_check_help)]
Globs = Annotated[tuple[str, ...], AfterValidator(_check_globs)]
"""Patterns of names, any of which may match: ``*``, ``?``, ``[abc]``; case matters."""


class CustomMetricSettings(Section):
    """One metric, made of what calls of some tools say."""

    name: MetricName
    type: Literal["counter", "gauge", "histogram", "summary"]
    help: HelpText = "A custom metric of the exporter's configuration."
    tools: Globs = ("*",)
    """Which tools' calls."""
    servers: Globs = ("*",)
    """On which servers."""
    value: ExpressionText | None = None
    """What a call adds, sets or shows; 1 of a counter without."""
    when: ExpressionText | None = None
    """Which calls count; all without."""
    buckets: Annotated[tuple[Number, ...], AfterValidator(_check_buckets)] = ()
    """Upper bounds of a histogram; ``+Inf`` is added."""
    labels: Mapping[LabelName, ExpressionText] = Field(default_factory=dict)
    """Labels besides server and tool."""
    label_limit: Annotated[Integer, Field(gt=0)] = 50
    """Different sets of values of `labels` per server; further ones are ``_other``."""

    @model_validator(mode="after")
    def _check_type(self) -> Self:
        found = [*self._find_faults()]
        if found:
            raise faults(found)
        return self

    @property
    def stem(self) -> str:
        """The name without what its type adds: no two metrics may share it."""
        return self.name.removesuffix(_COUNTER_SUFFIX)

    def _find_faults(self) -> Iterator[tuple[KeyPath, str]]:
        name = self.name
        if self.type == "counter":
            if not name.endswith(_COUNTER_SUFFIX):
                yield ("name",), f"must end in _total, as counters do: `{name}_total`"
            elif not self.stem:
                yield ("name",), "must have a name before _total"
            elif self.stem.endswith(_SUFFIXES):
                yield ("name",), f"must not have {_suffix(self.stem)} before _total"
        else:
            if name.endswith(_SUFFIXES):
                yield ("name",), f"must not end in {_suffix(name)}, which a {self.type} cannot have"
            if self.value is None:
                yield (), f"needs a value: only a counter counts calls without, no {self.type}"
        if self.type == "histogram" and not self.buckets:
            yield (), "needs buckets, the upper bounds of a histogram"
        if self.type != "histogram" and self.buckets:
            yield ("buckets",), f"has no use: a {self.type} has no buckets"
        if "label_limit" in self.model_fields_set and not self.labels:
            yield ("label_limit",), "has no use: there are no labels"


def _suffix(name: str) -> str:
    return f"_{name.rpartition('_')[2]}"


class SoftErrorSettings(Section):
    """Which successful results are failures all the same."""

    tools: Globs = ("*",)
    """Of which tools."""
    servers: Globs = ("*",)
    """On which servers."""
    when: ExpressionText
    """What is true of a failure."""
    reason: ExpressionText | None = None
    """The label ``reason``; ``matched`` without."""


class OutcomesSettings(Section):
    """What became of calls, where their answers alone do not tell."""

    soft_errors: tuple[SoftErrorSettings, ...] = ()
    """The first rule that is true of a result decides."""


def find_conflicts(
    metrics: Sequence[CustomMetricSettings], labels: Iterable[str]
) -> list[tuple[KeyPath, str]]:
    """Find the metrics that cannot be in one scrape with others, or with these labels of all."""
    found: list[tuple[KeyPath, str]] = []
    stems: dict[str, int] = {}
    for index, metric in enumerate(metrics):
        first = stems.setdefault(metric.stem, index)
        if first != index:
            message = f"is the name of metrics.custom[{first}] as well"
            if metrics[first].name != metric.name:
                message = f"is too like metrics.custom[{first}]: OpenMetrics leaves _total out"
            found.append((("custom", index, "name"), message))
        found += [
            (("custom", index, "labels", label), "is a label of all series: metrics.labels has it")
            for label in labels
            if label in metric.labels
        ]
    if len(metrics) > MAX_CUSTOM_METRICS:
        message = f"is one too many: there can be {MAX_CUSTOM_METRICS}"
        found.append((("custom", MAX_CUSTOM_METRICS), message))
    return found


def find_idle_patterns(
    rules: Sequence[CustomMetricSettings | SoftErrorSettings], servers: Sequence[str]
) -> list[tuple[KeyPath, str]]:
    """Find the patterns that match no configured server."""
    return [
        ((index, "servers", place), f"matches no server; configured: {', '.join(servers)}")
        for index, rule in enumerate(rules)
        for place, glob in enumerate(rule.servers)
        if not any(matches((glob,), name) for name in servers)
    ]
