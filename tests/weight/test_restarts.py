"""Replicas behind HAProxy are replaced one after the other under load: no call is lost.

The recipe of docs/deployment.md. What the replicas counted is what their clients saw: the calls
that had ended at a replica's last scrape and those that were in flight then are all that it got,
because by then nobody sent it any more.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.product import COMMAND, is_ready
from tests.support.programs import Program, running
from tests.support.scrape import Scrape, fetch
from tests.weight.balancer import CHECK_SECONDS, Replica, make_replica, run_balancer
from tests.weight.callers import Callers, run_upstream
from tests.weight.scales import environment_of

RESTARTS = 50
MIN_RATE = 50
"""Calls a second, on average: far below what is wanted, and enough to have calls in every moment
of every restart."""
DELAY_SECONDS = 0.6
"""Several checks."""
DRAIN_SECONDS = 10.0
STOP_SECONDS = DELAY_SECONDS + DRAIN_SECONDS + 5
SEEN_SECONDS = 3 * CHECK_SECONDS
"""In which the balancer has seen that a replica is ready."""
SCRAPE_SECONDS = 0.02


@contextmanager
def run_replica(replica: Replica, upstream: str) -> Iterator[Program]:
    """Run a process as this replica."""
    settings = {"timeouts__shutdown_delay": DELAY_SECONDS, "timeouts__drain": DRAIN_SECONDS}
    arguments = ["run", "--upstream", upstream, "--name", replica.name]
    arguments += ["--listen", f"127.0.0.1:{replica.port}"]
    arguments += ["--admin", f"127.0.0.1:{replica.admin_port}"]
    with running([*COMMAND, *arguments], environment_of(settings)) as program:
        program.wait_until(lambda: is_ready(replica.admin), "ready")
        yield program


class Fleet:
    """The replicas' processes, and what they had counted before each end."""

    def __init__(self, upstream: str, replicas: Sequence[Replica], stack: ExitStack) -> None:
        """Start them all; ``stack`` ends those that are left."""
        self._upstream = upstream
        self._replicas = replicas
        self._stack = stack
        self._processes = [self._start(replica) for replica in replicas]
        self.ended: Counter[str] = Counter()
        """Calls that had ended at the last scrapes, by outcome."""
        self.in_flight = 0
        """Calls that had not."""
        self.codes: list[int] = []
        self.seconds: list[float] = []
        self.output = ""

    def restart_all(self) -> None:
        """Replace one process after the other."""
        for number in range(RESTARTS):
            time.sleep(SEEN_SECONDS)
            which = number % len(self._replicas)
            self._end(which)
            self._processes[which] = self._start(self._replicas[which])

    def end_all(self) -> None:
        """End them for good."""
        for which in range(len(self._replicas)):
            self._end(which)

    def _start(self, replica: Replica) -> Program:
        return self._stack.enter_context(run_replica(replica, self._upstream))

    def _end(self, which: int) -> None:
        """End a process as an operator does, and take its last figures."""
        program, admin = self._processes[which], self._replicas[which].admin
        told_at = time.monotonic()
        program._process.send_signal(signal.SIGTERM)
        page = b""
        while time.monotonic() - told_at < STOP_SECONDS:
            try:
                page = fetch(admin, "/metrics").body
            except (OSError, HTTPException):
                break  # its admin listener closes last
            time.sleep(SCRAPE_SECONDS)
        self.codes.append(program.wait_for_exit(STOP_SECONDS))
        self.seconds.append(time.monotonic() - told_at)
        self.output += program.output
        scrape = Scrape.from_text(page)
        for (outcome,), count in scrape.table("mcp_tool_calls_total", ("outcome",)).items():
            self.ended[outcome] += count
        self.in_flight += int(scrape.total("mcp_tool_calls_in_flight"))


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_fifty_restarts_behind_haproxy_lose_no_call(tmp_path: Path) -> None:
    replicas = [make_replica("a"), make_replica("b")]
    with ExitStack() as stack:
        async with run_upstream() as upstream:
            fleet = await asyncio.to_thread(Fleet, upstream, replicas, stack)
            balancer, origin = stack.enter_context(run_balancer(tmp_path, replicas))
            callers = Callers(origin)
            started = time.monotonic()
            async with callers.calling():
                await asyncio.to_thread(fleet.restart_all)
            seconds = time.monotonic() - started
            await asyncio.to_thread(fleet.end_all)
    answered = callers.answered.total()
    print(  # noqa: T201
        f"\n{RESTARTS} restarts in {seconds:.0f} s, each {min(fleet.seconds):.1f} to "
        f"{max(fleet.seconds):.1f} s to its end: {callers.answered['quick']} quick and "
        f"{callers.answered['slow']} slow calls answered ({answered / seconds:.0f}/s over "
        f"{callers.connections} connections), {len(callers.failures)} failed; the replicas' last "
        f"scrapes had {dict(fleet.ended)} ended and {fleet.in_flight} in flight"
    )
    wrong = [
        line for line in balancer.output.splitlines() if "/mcp" in line and " 200 " not in line
    ]
    assert not callers.failures, (callers.failures[:10], wrong[:10])
    assert set(fleet.codes) == {0}
    assert "Traceback" not in fleet.output
    assert fleet.ended.keys() == {"success"}
    assert fleet.ended.total() + fleet.in_flight == answered
    assert answered > seconds * MIN_RATE
