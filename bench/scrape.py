"""What a scrape costs, and what it does to the traffic meanwhile.

Usage: python -m bench.scrape [--tools N] [--rounds N] [--seconds N] [--gap S]

The proxy counts calls of many tools, each of which succeeded once and failed once, all of them
traced: some ten thousand series. Then it is scraped. CPU per scrape is what the process used for a
hundred scrapes without traffic. Added latency is what pings through the proxy, one after the other,
take longer while a scrape is under way than while there is none: the difference of a quantile
within a round, in which quiet and scraped seconds follow each other; its median over the rounds.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from bench.harness import (
    HEADERS,
    HOST,
    BenchError,
    Target,
    fleet,
    read_usage,
    run,
)

CPU_BAR_MS = 25.0
P99_BAR_MS = 5.0
SERIES_WANTED = 10_000
CPU_SCRAPES = 100
PING_PAUSE = 0.001
TIMEOUT = 10.0
TEXT = "text/plain;version=0.0.4"
# Prometheus 3, as far as it matters.
OPENMETRICS = f"application/openmetrics-text;version=1.0.0;q=0.5,{TEXT};q=0.2"
FORMATS: Mapping[str, Mapping[str, str]] = {
    "text": {"Accept": TEXT, "Accept-Encoding": "identity"},
    "text, gzip": {"Accept": TEXT, "Accept-Encoding": "gzip"},
    "OpenMetrics, gzip": {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"},
}
PROMETHEUS = "OpenMetrics, gzip"
"""What Prometheus asks for, and what the bars are for."""


class Connection:
    """One connection that is kept, and used for one exchange after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(
        self, method: str, path: str, fields: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        sent = {"Host": HOST, **fields, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        async with asyncio.timeout(TIMEOUT):
            answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            [length] = [
                line.partition(":")[2]
                for line in answer.split("\r\n")
                if line.startswith("content-length:")
            ]
            return int(answer.split()[1]), await self._reader.readexactly(int(length))


@contextlib.asynccontextmanager
async def connected(port: int | None) -> AsyncIterator[Connection]:
    """Give a connection that is gone when the block ends."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@dataclass(slots=True)
class Pings:
    """When pings began and ended, and when scrapes did, in seconds of one clock."""

    pings: list[tuple[float, float]] = field(default_factory=list)
    scrapes: list[tuple[float, float]] = field(default_factory=list)

    def latencies(self, *, scraped: bool) -> list[float]:
        """Return the milliseconds of the pings during scrapes, or of all the others."""
        found = []
        scrapes = iter([*self.scrapes, (float("inf"), float("inf"))])
        begin, end = next(scrapes)
        for sent, answered in self.pings:
            while end < sent:
                begin, end = next(scrapes)
            if (begin < answered) is scraped:
                found.append((answered - sent) * 1e3)
        return found


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def message(method: str, params: Mapping[str, object]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


async def call_tools(target: Target, tools: int) -> None:
    """Have each tool succeed once and fail once, with an HTTP error that the upstream makes."""
    async with connected(target.port) as proxy:
        for number in range(2 * tools):
            trace = f"00-{number + 1:032x}-00000000000000ff-01"
            params = {
                "name": f"sharpen_claw_{number % tools}",
                "arguments": {},
                "_meta": {"traceparent": trace},
            }
            path = "/json" if number < tools else "/nothing"
            await proxy.ask("POST", path, HEADERS, message("tools/call", params))


async def scrape(admin: Connection, asked: str) -> bytes:
    """Return what the process says now."""
    status, body = await admin.ask("GET", "/metrics", FORMATS[asked])
    if status != 200:
        raise BenchError(f"/metrics answered {status}")
    return body


async def count_series(target: Target, tools: int) -> int:
    """Return how many series there are; all calls must be among them."""
    async with connected(target.admin_port) as admin:
        text = gzip.decompress(await scrape(admin, PROMETHEUS)).decode()
    lines = [line for line in text.splitlines() if line.startswith("mcp_")]
    calls = [int(line.split("}")[1]) for line in lines if line.startswith("mcp_tool_calls_total{")]
    exemplars = sum(" # {trace_id=" in line for line in lines)
    if sum(calls) != 2 * tools or exemplars < 2 * tools:
        raise BenchError(f"counted {sum(calls)} of {2 * tools} calls, {exemplars} exemplars")
    return len(lines)


async def cost(target: Target, asked: str) -> tuple[float, float, int]:
    """Return one scrape's milliseconds of CPU, its milliseconds until all was read, its bytes."""
    async with connected(target.admin_port) as admin:
        size = len(await scrape(admin, asked))
        before, started = read_usage(target.pid), time.perf_counter()
        for _ in range(CPU_SCRAPES):
            await scrape(admin, asked)
        took = time.perf_counter() - started
        used = read_usage(target.pid).since(before)
    return used.cpu / CPU_SCRAPES * 1e3, took / CPU_SCRAPES * 1e3, size


async def ping(target: Target, pings: list[tuple[float, float]], until: float) -> None:
    body = message("ping", {})
    async with connected(target.port) as proxy:
        while (sent := time.perf_counter()) < until:
            status, _ = await proxy.ask("POST", "/json", HEADERS, body)
            pings.append((sent, time.perf_counter()))
            if status != 200:
                raise BenchError(f"a ping was answered {status}")
            await asyncio.sleep(PING_PAUSE)


async def keep_scraping(
    target: Target, scrapes: list[tuple[float, float]], until: float, gap: float
) -> None:
    async with connected(target.admin_port) as admin:
        while (started := time.perf_counter()) < until:
            await scrape(admin, PROMETHEUS)
            scrapes.append((started, time.perf_counter()))
            await asyncio.sleep(gap)


async def disturb(target: Target, seconds: float, gap: float) -> Pings:
    """Ping for some quiet seconds, and for as many with scrapes."""
    seen = Pings()
    until = time.perf_counter() + seconds
    await ping(target, seen.pings, until)
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        group.create_task(ping(target, seen.pings, until))
        group.create_task(keep_scraping(target, seen.scrapes, until, gap))
    return seen


async def measure(target: Target, options: argparse.Namespace) -> bool:
    """Print what a scrape costs; True when the bars are met."""
    await call_tools(target, options.tools)
    series = await count_series(target, options.tools)
    print(f"\n{series:,} series of {options.tools} tools\n")
    print("| format | bytes | CPU ms | ms |\n|---|--:|--:|--:|")
    cpu = {}
    for asked in FORMATS:
        cpu[asked], took, size = await cost(target, asked)
        print(f"| {asked} | {size:,} | {cpu[asked]:.1f} | {took:.1f} |")
    added, calm, disturbed = [], [], []
    for number in range(options.rounds):
        print(f"round {number + 1}/{options.rounds}", file=sys.stderr)
        seen = await disturb(target, options.seconds, options.gap)
        quiet, scraped = seen.latencies(scraped=False), seen.latencies(scraped=True)
        added.append(p99(scraped) - p99(quiet))
        calm += quiet
        disturbed += scraped
    print("\n| pings | number | p50 ms | p99 ms | max ms |\n|---|--:|--:|--:|--:|")
    for name, values in (("without a scrape", calm), ("during scrapes", disturbed)):
        figures = (median(values), p99(values), max(values))
        print(f"| {name} | {len(values):,} | {' | '.join(f'{one:.2f}' for one in figures)} |")
    print(f"\nCPU per scrape: {cpu[PROMETHEUS]:.1f} ms (bar: {CPU_BAR_MS:g} ms)")
    print(f"added p99 during scrapes: {median(added):.2f} ms (bar: {P99_BAR_MS:g} ms)")
    if series < SERIES_WANTED:
        print(f"only {series} series: the bars are for {SERIES_WANTED}")
    return cpu[PROMETHEUS] < CPU_BAR_MS and median(added) < P99_BAR_MS


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.scrape", description=__doc__.split("\n")[0])
    parser.add_argument("--tools", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0, help="quiet, and as many scraped")
    parser.add_argument("--gap", type=float, default=0.02, help="seconds between two scrapes")
    options = parser.parse_args()
    with fleet() as running:
        target = running.start("proxy")
        if running.cpus.load is not None:
            os.sched_setaffinity(0, {running.cpus.load})
        return 0 if asyncio.run(measure(target, options)) else 1


if __name__ == "__main__":
    run(main)
