"""A minute of traffic that ends in every way, watched by a real Prometheus.

Knows what is started and in which order; does not know the boards.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from mcp_proxy_exporter.demo.clients import run_clients
from mcp_proxy_exporter.demo.server import PATH, CatServer
from tests.grafana.engine import Engine, run_prometheus
from tests.grafana.keepers import Keeper, call_in_vain, call_once
from tests.grafana.zoo import MESSAGE_LIMIT, TIME_LIMIT, Zoo
from tests.support.product import run_configured
from tests.support.programs import find_free_port

SPAN = 30
"""Seconds at the end of the traffic that the boards look at."""
DRIVE_SECONDS = 45.0
LATE_SECONDS = 30.0
"""When a server is used for the first time: within what the boards look at, and once only."""
LATE_CALLS = {"work": 3, "babble": 2}
"""All at once, so that every one of its series begins with its last value; babble fails."""
SETTLE_SECONDS = 3.0
"""The last calls run into their time limits, and the scrapes after them."""

CONFIGURATION = """\
[[servers]]
name = "cats"
listen = "127.0.0.1:{cats}"
upstream = "{cats_upstream}"

[[servers]]
name = "zoo"
listen = "127.0.0.1:{zoo}"
upstream = "{zoo_upstream}"
# So the proxy judges what clients take for its name, and can refuse them.
host_header = "upstream"

[[servers]]
name = "down"
listen = "127.0.0.1:{down}"
upstream = "http://127.0.0.1:{nowhere}"

[[servers]]
name = "late"
listen = "127.0.0.1:{late}"
upstream = "{zoo_upstream}"

[admin]
listen = "127.0.0.1:{admin}"

[timeouts]
response_head = {time_limit}

[inspection]
max_message_bytes = {message_limit}
suspended_seconds = 1

[[outcomes.soft_errors]]
tools = ["shrug"]
when = "result.structuredContent.success == `false`"
reason = "result.structuredContent.error_code"

[[metrics.custom]]
name = "zoo_bananas"
type = "summary"
help = "Bananas that no tool ever mentions."
tools = ["work"]
servers = ["zoo"]
value = "result.structuredContent.bananas"
"""

# One alert that says whose it is, and one whose expression lost every label.
RULES = """\
groups:
  - name: test
    rules:
      # The zoo seems down each time that it leaves a call unanswered.
      - alert: MCPUpstreamDown
        expr: mcp_upstream_up{server!="zoo"} == 0
        labels: {severity: critical}
      - {alert: MCPAnything, expr: "sum(mcp_upstream_up) > 0", labels: {severity: ticket}}
      - {alert: Elsewhere, expr: "vector(1)", labels: {severity: critical}}
      # As recording rules are called: no custom metric, though it has the labels of one.
      - record: tool:mcp_tool_calls:sum
        expr: sum by (job, instance, server, tool) (mcp_tool_calls_total)
"""

# The shipped rules of the objectives, at a pace that fits: the boards show what they record.
OBJECTIVES = Path(__file__).parents[2] / "prometheus" / "rules" / "slo.yml"

PORTS = ("cats", "zoo", "down", "late", "admin", "nowhere")

CATS_METRICS = Path(__file__).parents[2] / "mcp_proxy_exporter" / "demo" / "cats.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What happened, and whom to ask about it."""

    engine: Engine
    instance: str
    end: float
    """Unix time of the last second of traffic: the end of the boards' time range."""
    calls: list[tuple[float, str]] = field(repr=False)
    """When which tool of the zoo was called, by clients of 2026-07-28."""

    def count(self, *tools: str) -> int:
        """Count the calls of some tools, or of all, in the time range."""
        return sum(
            self.end - SPAN < moment <= self.end and (not tools or tool in tools)
            for moment, tool in self.calls
        )


@contextmanager
def run_world(folder: Path) -> Iterator[World]:
    """Let everything happen; then keep Prometheus for questions."""
    ports = {name: find_free_port() for name in PORTS}
    instance = f"127.0.0.1:{ports['admin']}"
    objectives = OBJECTIVES.read_text().replace("interval: 1m", "interval: 1s")
    with run_prometheus(folder, instance, RULES, objectives) as engine:
        end, calls = asyncio.run(_live(folder, ports))
        yield World(engine=engine, instance=instance, end=end, calls=calls)


async def _live(folder: Path, ports: dict[str, int]) -> tuple[float, list[tuple[float, str]]]:
    cats, zoo = CatServer(), Zoo()
    await cats.start()
    await zoo.start()
    file = folder / "proxy.toml"
    written = CONFIGURATION.format(
        **ports,
        cats_upstream=cats.origin,
        zoo_upstream=zoo.origin,
        time_limit=TIME_LIMIT,
        message_limit=MESSAGE_LIMIT,
    )
    file.write_text(f"{written}\n{CATS_METRICS.read_text()}")
    proxy = run_configured(file, f"http://127.0.0.1:{ports['admin']}")
    try:
        await asyncio.to_thread(proxy.__enter__)
        try:
            return await _drive(ports)
        finally:
            await asyncio.to_thread(proxy.__exit__, None, None, None)
    finally:
        await zoo.stop()
        await cats.stop()


async def _drive(ports: dict[str, int]) -> tuple[float, list[tuple[float, str]]]:
    urls = {name: f"http://127.0.0.1:{port}{PATH}" for name, port in ports.items()}
    stop = asyncio.Event()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
        group.create_task(run_clients(urls["cats"], stop))
        group.create_task(call_in_vain(http, urls["down"], DRIVE_SECONDS))
        group.create_task(call_once(http, urls["late"], LATE_SECONDS, LATE_CALLS))
        keeper = Keeper(http, urls["zoo"])
        await keeper.run(DRIVE_SECONDS)
        end = time.time() - SETTLE_SECONDS
        stop.set()
    return end, keeper.calls
