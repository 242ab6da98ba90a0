"""The product as a user starts it: a subprocess with a command line.

Knows the command line and the two addresses; imports nothing of the product.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import (
    POLL_SECONDS,
    Program,
    find_free_port,
    running,
)
from tests.support.scrape import OPENMETRICS, Answer, Scrape, fetch

COMMAND = [sys.executable, "-m", "mcp_proxy_exporter"]
SETTLE_SECONDS = 10.0
HTTP_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running proxy."""

    origin: str
    """Where clients go instead of the server."""
    admin: str
    program: Program

    def read(self, path: str = "/metrics", headers: Mapping[str, str] | None = None) -> Answer:
        """GET a resource of the admin listener."""
        return fetch(self.admin, path, headers)

    def scrape(self) -> Scrape:
        """Read the metrics as they are now."""
        return Scrape.from_text(self.read().body)

    def scrape_openmetrics(self) -> Answer:
        """Read the metrics as OpenMetrics, unparsed."""
        return self.read(headers={"Accept": OPENMETRICS})

    def scrape_until(self, holds: Callable[[Scrape], bool], seconds: float) -> Scrape:
        """Scrape until something holds; after ``seconds`` return what there is, for the assert."""
        deadline = time.monotonic() + seconds
        while True:
            scrape = self.scrape()
            if holds(scrape) or time.monotonic() > deadline:
                return scrape
            time.sleep(POLL_SECONDS)

    def settle(self) -> Scrape:
        """Scrape until nothing is in flight and two scrapes in a row count the same.

        An answer reaches the client before it is counted, so the last call's own figures may be
        a moment behind it.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        before = self.scrape()
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            after = self.scrape()
            busy = after.total("mcp_requests_in_flight") + after.total("mcp_tool_calls_in_flight")
            if not busy and after.counters() == before.counters():
                return after
            before = after
        return before


@contextmanager
def run_product(arguments: Sequence[str]) -> Iterator[Program]:
    """Run the command line with no setting from this process's environment."""
    settings = "MCP_PROXY_EXPORTER"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(settings)}
    with running([*COMMAND, *arguments], kept) as program:
        yield program
    # Whatever a test does to the proxy, it shows no traceback.
    assert "Traceback" not in program.output, program.output


@contextmanager
def run_proxy(upstream: str, *, name: str) -> Iterator[Proxy]:
    """Run the proxy in front of one server, without a configuration file."""
    port, admin_port = find_free_port(), find_free_port()
    admin = f"http://127.0.0.1:{admin_port}"
    arguments = ["run", "--upstream", upstream, "--name", name]
    arguments += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin_port}"]
    with run_product(arguments) as program:
        program.wait_until(lambda: is_ready(admin), "ready")
        yield Proxy(origin=f"http://127.0.0.1:{port}", admin=admin, program=program)
    # SIGTERM is how an operator ends it.
    assert program.exit_code == 0, f"exit status {program.exit_code}\n{program.output}"


@contextmanager
def run_configured(file: Path, admin: str) -> Iterator[Proxy]:
    """Run the proxy with a configuration file whose admin listener is at ``admin``."""
    with run_product(["run", "--config", str(file)]) as program:
        program.wait_until(lambda: is_ready(admin), "ready")
        yield Proxy(origin="", admin=admin, program=program)


def is_ready(admin: str) -> bool:
    """Say whether the proxy behind an admin listener is ready."""
    try:
        return fetch(admin, "/readyz").status == HTTP_OK
    except OSError:
        return False
