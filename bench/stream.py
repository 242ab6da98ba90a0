"""What an event stream loses in time on its way: 100 events a second, one by one.

Usage: python -m bench.stream [--events N] [--rate N] [--rounds N] [--targets …] [--json FILE]

One tool call is answered by an event stream of progress notifications and the result. Every
notification carries the CLOCK_MONOTONIC time of its sending, a clock that all processes of a
machine share; a reader in a process of its own notes when it came in. Targets take turns, in
reversed order every second round. Added latency is the difference of a quantile between the
target's stream and the direct one of the same round; its median over the rounds is reported.
"""

import argparse
import json
import multiprocessing
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles

import httptools

from bench.harness import (
    BODY,
    DEFAULT_TARGETS,
    HEADERS,
    HOST,
    BenchError,
    Target,
    Usage,
    fleet,
    read_successes,
    read_usage,
    require,
    run,
)

BASELINE = "direct"
P99_BAR_MS = 2.0
READ_SIZE = 65536
READ_TIMEOUT = 10.0
NOTIFICATION = re.compile(rb'"progress":(\d+),"message":"(\d+)"')
COLUMNS = (
    "target",
    "events",
    "p50 us",
    "p99 us",
    "max us",
    "added p50 us",
    "added p99 us",
    "CPU us/event",
    "waited ms",
    "late",
)


@dataclass(frozen=True, slots=True)
class Tick:
    """One event: when it was sent and when it was read, in nanoseconds of one clock."""

    sent: int
    read: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One stream through one target."""

    target: str
    round: int
    ticks: list[Tick]
    used: Usage
    counted: int | None
    """What the target's own metrics counted as successful calls: one is right."""

    def latencies(self) -> list[float]:
        """Return the way of every event in microseconds."""
        return [(tick.read - tick.sent) / 1000 for tick in self.ticks]

    def late(self) -> int:
        """Count the events that were read only after the next one had been sent."""
        pairs = zip(self.ticks, self.ticks[1:], strict=False)
        return sum(tick.read >= following.sent for tick, following in pairs)


# ---- the reader, in a process of its own ----------------------------------------------------


class Reader:
    """Splits a response into events and dates each by the read that completed it."""

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.status = 0
        self.done = False
        self._now = 0
        self._text = b""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes, now: int) -> None:
        """Take what was read at `now`."""
        self._now = now
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        """Keep the status."""
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Date the events that are complete by now (each ends with an empty line)."""
        *events, self._text = (self._text + data).split(b"\r\n\r\n")
        for event in events:
            found = NOTIFICATION.search(event)
            if found:
                if int(found[1]) != len(self.ticks) + 1:
                    raise BenchError(f"event {found[1]!r} came after {len(self.ticks)} others")
                self.ticks.append(Tick(int(found[2]), self._now))

    def on_message_complete(self) -> None:
        """End the loop."""
        self.done = True


def read_stream(port: int, path: str, cpu: int | None, results: Connection) -> None:
    """Make the call, read its stream to the end and send the ticks home."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    fields = {"Host": f"{HOST}:{port}", **HEADERS, "Content-Length": str(len(BODY))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    reader = Reader()
    with socket.create_connection((HOST, port), READ_TIMEOUT) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n{BODY}".encode())
        while not reader.done:
            data = peer.recv(READ_SIZE)
            now = time.monotonic_ns()
            if not data:
                break
            reader.feed(data, now)
    results.send((reader.status, reader.done, reader.ticks))


# ---- the measurement ------------------------------------------------------------------------


def read_in_child(target: Target, path: str, cpu: int | None) -> list[Tick]:
    """Run `read_stream` in a fresh process and return its ticks."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    reader = context.Process(
        target=read_stream, args=(target.port, path, cpu, sending), daemon=True
    )
    reader.start()
    sending.close()
    try:
        status, done, ticks = receiving.recv()
    except EOFError:
        raise BenchError(f"the reader of {target.name} failed, see above") from None
    finally:
        reader.join()
    if status != 200 or not done:
        raise BenchError(f"{target.name}: status {status}, cut off after {len(ticks)} events")
    result: list[Tick] = ticks
    return result


def await_successes(target: Target, wanted: int) -> int:
    """Return the target's count as soon as it is `wanted`, or after a second whatever it is."""
    deadline = time.monotonic() + 1
    while (count := read_successes(target) or 0) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return count


def measure(target: Target, number: int, events: int, rate: int, cpu: int | None) -> Sample:
    """Run one stream through one target."""
    before, usage = read_successes(target), read_usage(target.pid)
    ticks = read_in_child(target, f"/ticks?events={events}&rate={rate}", cpu)
    used = read_usage(target.pid).since(usage)
    if len(ticks) != events:
        raise BenchError(f"{target.name}: {len(ticks)} of {events} events came")
    counted = None if before is None else await_successes(target, before + 1) - before
    return Sample(target.name, number, ticks, used, counted)


# ---- what it says ---------------------------------------------------------------------------


def p50(values: Sequence[float]) -> float:
    return median(values)


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


class Results:
    """Samples by target."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def of(self, target: str) -> list[Sample]:
        """Return the rounds of one target, in their order."""
        found = [sample for sample in self.samples if sample.target == target]
        return sorted(found, key=lambda sample: sample.round)

    def latencies(self, target: str) -> list[float]:
        """Return the latencies of all rounds together, in microseconds."""
        return [latency for sample in self.of(target) for latency in sample.latencies()]

    def late(self, target: str) -> int:
        """Count the events that came after the next one was sent."""
        return sum(sample.late() for sample in self.of(target))

    def added(self, target: str, quantile: Callable[[Sequence[float]], float]) -> float:
        """Return what the target adds to a quantile: the median over the rounds."""
        pairs = zip(self.of(target), self.of(BASELINE), strict=True)
        return median(quantile(s.latencies()) - quantile(base.latencies()) for s, base in pairs)

    def row(self, target: str) -> list[str]:
        """Return the target's cells of the table."""
        latencies = self.latencies(target)
        cpu = sum(sample.used.cpu for sample in self.of(target)) / len(latencies) * 1e6
        waited = sum(sample.used.waited for sample in self.of(target)) * 1e3
        figures = [p50(latencies), p99(latencies), max(latencies)]
        figures += [self.added(target, p50), self.added(target, p99), cpu, waited]
        cells = [f"{figure:,.0f}" for figure in figures]
        return [target, f"{len(latencies):,}", *cells, str(self.late(target))]

    def table(self, targets: Sequence[str]) -> str:
        """Return the markdown table."""
        head = [f"| {' | '.join(COLUMNS)} |", "|---" + "|--:" * (len(COLUMNS) - 1) + "|"]
        return "\n".join([*head, *(f"| {' | '.join(self.row(target))} |" for target in targets)])


def judge(results: Results, bar: float) -> bool:
    """Print how the proxy stands against the bars; True when it meets them."""
    added, late = results.added("proxy", p99) / 1000, results.late("proxy")
    print(f"added p99 of the proxy: {added:.2f} ms (bar: {bar:g} ms)")
    print(f"events that came after the next was sent: {late} (bar: 0)")
    miscounted = [sample for sample in results.of("proxy") if sample.counted != 1]
    for sample in miscounted:
        print(f"VOID: round {sample.round + 1} counted {sample.counted} calls instead of one")
    if late and results.late(BASELINE):
        print("the machine stalled without any proxy, too: repeat on a quiet one")
    return added < bar and not late and not miscounted


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.stream", description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=2000, help="per target, all rounds together")
    parser.add_argument("--rate", type=int, default=100, help="events per second")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--targets", default=",".join(DEFAULT_TARGETS), help="comma-separated")
    parser.add_argument("--bar", type=float, default=P99_BAR_MS, help="ms of added p99; more fails")
    parser.add_argument("--json", type=Path, help="write every event's times here")
    options = parser.parse_args()
    if BASELINE not in options.targets.split(","):
        parser.error(f"--targets needs {BASELINE}: added latency is relative to it")
    return options


def main() -> int:
    options = parse_arguments()
    names = options.targets.split(",")
    if "nginx" in names:
        require("nginx")
    samples: list[Sample] = []
    with fleet() as running:
        targets = [running.start(name) for name in names]
        for number in range(options.rounds):
            for target in targets if number % 2 == 0 else reversed(targets):
                print(f"round {number + 1}/{options.rounds} {target.name}", file=sys.stderr)
                events = options.events // options.rounds
                cpu = running.cpus.load
                samples.append(measure(target, number, events, options.rate, cpu))
    results = Results(samples)
    print(f"\n{results.table(names)}\n")
    print(f"{options.rate} events a second, {options.rounds} rounds, interleaved")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([asdict(sample) for sample in samples]))
    return 0 if "proxy" not in names or judge(results, options.bar) else 1


if __name__ == "__main__":
    run(main)
