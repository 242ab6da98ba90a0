"""How a scrape is written: Prometheus text 0.0.4 and OpenMetrics 1.0.0.

Knows both formats and which one a scraper asks for; does not know what the figures mean. Sample
lines are the same in both but for exemplars, so every series keeps its own; here are the headers
around them. What the client library collects about the process is written by the client library.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from prometheus_client import exposition as text_format
from prometheus_client.openmetrics import exposition as openmetrics_format

from mcp_proxy_exporter.observe.family import Family
from mcp_proxy_exporter.observe.metrics import Metrics
from mcp_proxy_exporter.observe.series import Histogram, Series

_SLICE = 500
"""Lines that are written in one go: some 0.2 ms."""

_OPENMETRICS_TYPE = "application/openmetrics-text"
# What says "OpenMetrics 1" in an Accept header; without a version any is meant.
_OPENMETRICS_VERSIONS = ("", "1.0.0")
# The weight 0 (RFC 9110 section 12.4.2).
_NOTHING = re.compile(r"0(\.0*)?")


class Exposition(ABC):
    """One format of a scrape."""

    content_type: str

    def render(self, metrics: Metrics) -> bytes:
        """Return a whole scrape, UTF-8.

        May run in another thread than the one that counts.
        """
        return b"".join(self.slices(metrics))

    def slices(self, metrics: Metrics) -> Iterator[bytes]:
        """Yield the scrape in pieces that do not take long each.

        What is counted meanwhile shows in the pieces that follow.
        """
        written: list[bytes] = []
        room = _SLICE
        for held in metrics.store:
            written.append(self._header(held.family).encode())
            for series in held.series():
                written.append(self._lines(series))
                room -= held.family.lines
                if room <= 0:
                    yield b"".join(written)
                    written.clear()
                    room = _SLICE
        yield b"".join(written)
        yield self._companions(metrics)

    def write(self, family: Family, series: Iterable[Series]) -> str:
        """Return some series of a family, with its header."""
        lines = map(self._lines, series)
        return self._header(family) + b"".join(lines).decode()

    def _lines(self, series: Series) -> bytes:
        return series.lines()

    @abstractmethod
    def _header(self, family: Family) -> str:
        """Return the comment lines that introduce a family."""

    @abstractmethod
    def _companions(self, metrics: Metrics) -> bytes:
        """Return what the client library collects, and the end of the scrape."""


class TextExposition(Exposition):
    """Prometheus text format 0.0.4."""

    content_type = text_format.CONTENT_TYPE_PLAIN_0_0_4

    def _header(self, family: Family) -> str:
        name = family.name
        return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind.value}\n"

    def _companions(self, metrics: Metrics) -> bytes:
        return text_format.generate_latest(metrics.companions)


class OpenMetricsExposition(Exposition):
    """OpenMetrics text format 1.0.0."""

    content_type = openmetrics_format.CONTENT_TYPE_LATEST

    def _header(self, family: Family) -> str:
        name = family.openmetrics_name
        unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
        return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind.value}\n{unit}"

    def _lines(self, series: Series) -> bytes:
        return series.lines_with_exemplars() if type(series) is Histogram else series.lines()

    def _companions(self, metrics: Metrics) -> bytes:
        # Untyped in the library.
        written: bytes = openmetrics_format.generate_latest(  # type: ignore[no-untyped-call]
            metrics.companions
        )
        return written


TEXT = TextExposition()
OPENMETRICS = OpenMetricsExposition()


def choose(accept_header: str) -> Exposition:
    """Return the format for a request's Accept header; never fails.

    As the client library chooses: OpenMetrics if the header names it in version 1.0.0 or in none,
    whatever the weights but 0 (RFC 9110 section 12.4.2: not acceptable); else text 0.0.4, which
    every scraper reads.
    """
    for accepted in accept_header.split(","):
        media_type, *rest = (part.strip().lower() for part in accepted.split(";"))
        parameters = dict(_split(parameter) for parameter in rest)
        if (
            media_type == _OPENMETRICS_TYPE
            and parameters.get("version", "") in _OPENMETRICS_VERSIONS
            and not _NOTHING.fullmatch(parameters.get("q", ""))
        ):
            return OPENMETRICS
    return TEXT


def _split(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return name.strip(), value.strip().strip('"')
