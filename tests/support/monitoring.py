"""A real Prometheus and a real Alertmanager, and somebody whom Alertmanager tells.

Knows how to start them and how to ask them; does not know what is scraped or which rules there are.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.programs import find_free_port, find_tool, lack, running
from tests.support.scrape import fetch

LOOK_SECONDS = 0.1
HTTP_OK = 200

DEBIAN_ALERTMANAGER = "prometheus-alertmanager"
# Its build for Debian reads them from there only, where others have them inside.
DEBIAN_TEMPLATES = Path("/usr/share/prometheus/alertmanager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running Prometheus or Alertmanager."""

    address: str

    def ask(self, path: str) -> Any:
        """GET a resource of its interface."""
        return json.loads(fetch(f"http://{self.address}", path).body)

    def is_ready(self) -> bool:
        """Say whether it does its work."""
        try:
            return fetch(f"http://{self.address}", "/-/ready").status == HTTP_OK
        except OSError:
            return False


@contextmanager
def run_prometheus(
    config: Path, data: Path, *options: str, port: int | None = None
) -> Iterator[Service]:
    """Run Prometheus with a configuration, on a port of its own unless one is given."""
    files = [f"--config.file={config}", f"--storage.tsdb.path={data}"]
    with _run(find_tool("prometheus"), [*files, *options], port) as service:
        yield service


@contextmanager
def run_alertmanager(config: Path, data: Path) -> Iterator[Service]:
    """Run one Alertmanager, without peers."""
    options = [f"--config.file={config}", f"--storage.path={data}", "--cluster.listen-address="]
    program = find_tool("alertmanager", DEBIAN_ALERTMANAGER)
    if program.endswith(DEBIAN_ALERTMANAGER) and not DEBIAN_TEMPLATES.is_dir():
        lack(f"{program} wants its templates in {DEBIAN_TEMPLATES}")
    with _run(program, options) as service:
        yield service


@contextmanager
def _run(program: str, options: Sequence[str], port: int | None = None) -> Iterator[Service]:
    service = Service(address=f"127.0.0.1:{port or find_free_port()}")
    with running([program, *options, f"--web.listen-address={service.address}"]) as process:
        process.wait_until(service.is_ready, "ready")
        yield service


@dataclass(slots=True)
class Hearer:
    """A webhook that remembers what it was told."""

    url: str = ""
    _told: list[tuple[str, str]] = field(default_factory=list)

    def hear(self, body: bytes) -> None:
        """Take a notification."""
        alerts = json.loads(body)["alerts"]
        self._told += [(alert["labels"]["alertname"], alert["status"]) for alert in alerts]

    def told(self, name: str) -> list[str]:
        """Return what was said of an alert so far: firing, resolved."""
        return [status for alert, status in tuple(self._told) if alert == name]


@contextmanager
def run_hearer() -> Iterator[Hearer]:
    """Run a webhook."""
    hearer = Hearer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hearer.hear(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(HTTP_OK)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hearer.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hearer
        server.shutdown()
        thread.join()


def wait_for(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; say whether it did in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
