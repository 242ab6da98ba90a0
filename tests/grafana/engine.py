"""A real Prometheus for the length of a test, and its answers.

Knows its command line and its HTTP API; does not know what is asked.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support import monitoring
from tests.support.programs import consult, find_free_port
from tests.support.scrape import fetch

SCRAPE_SECONDS = 1
HTTP_SECONDS = 20.0

CONFIGURATION = """\
global: {{scrape_interval: {interval}s, evaluation_interval: {interval}s}}
rule_files: [rules*.yml]
scrape_configs:
  - job_name: mcp-proxy-exporter
    static_configs: [{{targets: ["{exporter}"]}}]
  # Another process with the same `process_*`: no board may take it for an exporter.
  - job_name: prometheus
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


NO_TARGETS = "global: {scrape_interval: 1h}\n"


class QueryError(Exception):
    """Prometheus refused a query."""


class Engine:
    """A running Prometheus."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def ask(self, path: str, parameters: Mapping[str, object]) -> Any:
        """Ask the API; what it warns of is an error, too."""
        body = urlencode({key: str(value) for key, value in parameters.items()}).encode()
        request = urllib.request.Request(f"{self.origin}/api/v1/{path}", data=body)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as response:  # noqa: S310
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise QueryError(json.load(error)["error"]) from None
        complaints = [*answer.get("warnings", ()), *answer.get("infos", ())]
        if complaints:
            raise QueryError("; ".join(complaints))
        return answer["data"]

    def read_labels(self, label: str, series: str, start: float, end: float) -> list[str]:
        """Return the values of a label, as a variable of a board asks for them."""
        query = urlencode({"match[]": series, "start": start, "end": end})
        answer = fetch(self.origin, f"/api/v1/label/{label}/values?{query}")
        values: list[str] = json.loads(answer.body)["data"]
        return values


@contextmanager
def run_prometheus(folder: Path, exporter: str, *rules: str) -> Iterator[Engine]:
    """Run Prometheus on an exporter's address, with some files of rules."""
    port = find_free_port()
    for number, text in enumerate(rules):
        (folder / f"rules{number}.yml").write_text(text)
    written = CONFIGURATION.format(interval=SCRAPE_SECONDS, exporter=exporter, port=port)
    (folder / "prometheus.yml").write_text(written)
    with serve_folder(folder, port) as engine:
        yield engine


@contextmanager
def run_past(folder: Path, samples: str) -> Iterator[Engine]:
    """Run Prometheus with a past, written in OpenMetrics with times, and no present."""
    history = folder / "history.om"
    history.write_text(samples)
    make = ("tsdb", "create-blocks-from", "openmetrics")
    consult("promtool", *make, history, folder / "data", seconds=60)
    (folder / "prometheus.yml").write_text(NO_TARGETS)
    with serve_folder(folder) as engine:
        yield engine


@contextmanager
def serve_folder(folder: Path, port: int | None = None) -> Iterator[Engine]:
    """Run Prometheus by the configuration and on the data of a folder."""
    options = ("--enable-feature=exemplar-storage", "--log.level=warn")
    configured = folder / "prometheus.yml"
    with monitoring.run_prometheus(configured, folder / "data", *options, port=port) as service:
        yield Engine(f"http://{service.address}")
