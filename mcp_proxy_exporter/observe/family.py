"""What a metric family is, and how many series it can have.

Knows the shape of a row of the table (`catalogue`); does not know the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from types import MappingProxyType

from mcp_proxy_exporter.config.custom import MAX_CUSTOM_METRICS
from mcp_proxy_exporter.observe import words
from mcp_proxy_exporter.protocol.events import Delivery, SessionEnd, StreamKind, TaskOutcome
from mcp_proxy_exporter.protocol.inputs import INPUT_METHODS
from mcp_proxy_exporter.protocol.outcome import Outcome


class Kind(StrEnum):
    """The metric types of both exposition formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """What multiplies a family's series."""

    text: str
    size: int | None
    """How many at most; None where the configuration says so."""


DIMENSIONS: Mapping[str, Dimension] = MappingProxyType(
    {
        "S": Dimension(text="configured servers", size=None),
        "V": Dimension(
            text="labels whose values come from outside", size=len(words.GUARDED_LABELS)
        ),
        "T": Dimension(text="tool names admitted (see Labels) and `_other`", size=None),
        "K": Dimension(
            text="client names admitted (see Labels), `_other` and `_unknown`", size=None
        ),
        "Q": Dimension(text="prompt names admitted (see Labels) and `_OTHER`", size=None),
        "O": Dimension(text="outcomes of requests", size=len(Outcome)),
        "M": Dimension(
            text="request methods of all MCP revisions and `_other`",
            size=len(words.REQUEST_METHODS) + 1,
        ),
        "N": Dimension(
            text="notification methods of all MCP revisions and `_other`",
            size=len(words.NOTIFICATION_METHODS) + 1,
        ),
        "C": Dimension(
            text="known JSON-RPC error codes and `_other`", size=len(words.JSONRPC_CODES) + 1
        ),
        "I": Dimension(
            text="ways in which a server asks for input and `_other`",
            size=len(INPUT_METHODS) + 1,
        ),
        "D": Dimension(text="ways in which that question travels", size=len(Delivery)),
        "A": Dimension(text="outcomes of tasks", size=len(TaskOutcome)),
        "B": Dimension(text="reasons for which sessions end", size=len(SessionEnd)),
        "G": Dimension(text="kinds of long-lived event streams", size=len(StreamKind)),
        "P": Dimension(
            text="revisions of MCP, `_other` and `_unknown`", size=len(words.PROTOCOL_VERSIONS) + 2
        ),
        "Y": Dimension(
            text="types of content blocks, `structured` and `_other`",
            size=len(words.BLOCK_TYPES) + 2,
        ),
        "L": Dimension(text="log levels of RFC 5424 and `_other`", size=len(words.LOG_LEVELS) + 1),
        "H": Dimension(text="HTTP methods and `_other`", size=len(words.HTTP_METHODS) + 1),
        "X": Dimension(
            text="HTTP statuses 100 to 599, 0 and `_other`", size=len(words.HTTP_STATUSES) + 1
        ),
        "R": Dimension(
            text="reasons for not inspecting and `_other`",
            size=len(words.UNINSPECTED_REASONS) + 1,
        ),
        "F": Dimension(
            text="reasons of upstream failures and `_other`", size=len(words.UPSTREAM_FAILURES) + 1
        ),
        "J": Dimension(
            text="ends of requests in the words of OpenTelemetry",
            size=len({*words.SEMCONV_ERROR_TYPES.values()} - {None}) + len(words.JSONRPC_CODES),
        ),
        "U": Dimension(text="custom metrics, and 1 for soft errors", size=MAX_CUSTOM_METRICS + 1),
        "W": Dimension(text="reasons to skip a sample", size=len(words.SKIP_REASONS)),
        "Z": Dimension(
            text="reasons of soft errors, `matched` and `_other`",
            size=words.MAX_SOFT_ERROR_REASONS + 2,
        ),
        # The alphabet is used up.
        "LT": Dimension(text="limits and timeouts", size=len(words.LIMITS)),
        "E": Dimension(text="stages of inspection: a handful, named by the program", size=16),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric family."""

    name: str
    """As in a query; a counter's ends in ``_total``."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    """Base unit: seconds or bytes; a suffix of the name. Empty for plain numbers."""
    bound: str
    """How many series at most: a sum of products of `DIMENSIONS` and numbers, as ``S*M+S*T*2``."""
    buckets: tuple[float, ...] = ()
    configurable: bool = False
    """The buckets are a setting; `buckets` is its default."""
    polled: bool = False
    """Asked for at each scrape instead of counted as events come."""
    optional: bool = False
    """Exists only where the configuration asks for it."""
    constants: tuple[tuple[str, str], ...] = ()
    """Labels that the configuration gives to every series, by name and value, after its own."""

    @property
    def openmetrics_name(self) -> str:
        """The family's name in OpenMetrics, where ``_total`` belongs to the sample."""
        return self.name.removesuffix("_total") if self.kind is Kind.COUNTER else self.name

    @property
    def lines(self) -> int:
        """Exposition lines of one series."""
        if self.kind is Kind.HISTOGRAM:
            return len(self.buckets) + 3
        return 2 if self.kind is Kind.SUMMARY else 1

    def limit(self, sizes: Mapping[str, int]) -> int:
        """Return how many series there can be, given the sizes of S, T, K and Q."""
        return sum(
            prod(_size(factor, sizes) for factor in term.split("*"))
            for term in self.bound.split("+")
        )


def _size(factor: str, sizes: Mapping[str, int]) -> int:
    if factor.isdecimal():
        return int(factor)
    size = DIMENSIONS[factor].size
    return sizes[factor] if size is None else size
