"""A scrape of ``/metrics``, read with the parsers of the Prometheus client library.

Knows the two text formats; does not know what the families mean.
"""

import http.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
HTTP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    content_type: str
    body: bytes


def fetch(origin: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """GET one resource."""
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=HTTP_SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(
            status=response.status,
            content_type=response.headers.get("Content-Type", ""),
            body=response.read(),
        )
    finally:
        connection.close()


class Scrape:
    """Samples by name and labels."""

    def __init__(self, families: Iterable[Metric]) -> None:
        """Index the samples of parsed families."""
        self._samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
        for family in families:
            for sample in family.samples:
                series = self._samples.setdefault(sample.name, {})
                series[frozenset(sample.labels.items())] = sample.value

    @classmethod
    def from_text(cls, body: bytes) -> "Scrape":
        """Read the text format 0.0.4."""
        return cls(parse_text(body.decode()))

    @classmethod
    def from_openmetrics(cls, body: bytes) -> "Scrape":
        """Read OpenMetrics 1.0.0; the parser raises `ValueError` on any violation."""
        return cls(parse_openmetrics(body.decode()))  # type: ignore[no-untyped-call]

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return set(self._samples)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of exactly this series; None without it."""
        return self._samples.get(name, {}).get(frozenset(labels.items()))

    def rows(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Return the series of a name that carry these labels, among others."""
        return [
            (dict(key), value)
            for key, value in self._samples.get(name, {}).items()
            if labels.items() <= dict(key).items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """Sum the series of a name that carry these labels."""
        return sum(value for _, value in self.rows(name, **labels))

    def table(self, name: str, by: tuple[str, ...], **labels: str) -> dict[tuple[str, ...], int]:
        """Return the counts that are not zero, summed by some labels."""
        table: dict[tuple[str, ...], int] = {}
        for key, value in self.rows(name, **labels):
            if value:
                cell = tuple(key[label] for label in by)
                table[cell] = table.get(cell, 0) + int(value)
        return table

    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return what only traffic moves: the `mcp_*` counters and histogram counts."""
        return {
            (name, key): value
            for name, series in self._samples.items()
            if name.startswith("mcp_") and name.endswith(("_total", "_count"))
            for key, value in series.items()
        }
