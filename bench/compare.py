"""Tool calls through the proxy, side by side with nginx and with nothing in between.

Usage: python -m bench.compare [--seconds N] [--rounds N] [--targets …] [--cases …] [--json FILE]

Every figure comes from one interleaved run: per round and case all targets follow each other,
in reversed order every second round; medians over the rounds; ratios are medians of the ratios
within a round. The proxy must have counted every call that wrk completed, or the run is void.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.harness import (
    BODY,
    DEFAULT_TARGETS,
    HEADERS,
    HERE,
    HOST,
    BenchError,
    Cpus,
    Target,
    fleet,
    pin,
    post,
    read_steal,
    read_successes,
    read_usage,
    require,
    run,
)
from bench.table import Results, Sample, cpu, format_table

KINDS = ("json", "sse", "sse3", "big64k", "big1m")
DEFAULT_CASES = ("json:1", "json:16", "json:64", "sse:1", "sse:16", "sse:64")
BODIES = 13
"""Different lengths of request bodies."""
CPU_BAR = 2.5
"""How many times nginx's CPU the proxy may need per request, compiled: about what Envoy needs."""
BUSY = 0.1
"""Share of the time that a target may wait for its own CPU before the figures mean little."""
SETTLE_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of answer at one number of connections."""

    kind: str
    connections: int

    @classmethod
    def parse(cls, text: str) -> "Case":
        """Read ``kind:connections``."""
        kind, _, connections = text.partition(":")
        if kind not in KINDS or not connections.isdecimal() or int(connections) < 1:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no case: KIND:CONNECTIONS with KIND one of {', '.join(KINDS)}"
            )
        return cls(kind, int(connections))

    def __str__(self) -> str:
        return f"{self.kind}:{self.connections}"


@dataclass(frozen=True, slots=True)
class Load:
    """How wrk drives a target."""

    seconds: int
    cpus: Cpus
    sessions: int
    """Different session ids, each with every body: so many request heads there are."""
    traced: bool
    """Each request has a ``traceparent`` of its own: no two heads are alike."""

    def arguments(self) -> list[str]:
        """Return the counts that `post.lua` begins with."""
        return [str(BODIES), str(self.sessions), str(int(self.traced))]


def drive(target: Target, case: Case, load: Load) -> dict[str, float]:
    """Run wrk once and return its figures."""
    fields = [part for field in HEADERS.items() for part in field]
    # No two lengths alike: cats' names of one letter and more.
    bodies = [BODY.replace("Whiskers", "W" * (index + 1)) for index in range(BODIES)]
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{load.seconds}s", "--latency"]
    command += ["-s", str(HERE / "post.lua"), f"http://{HOST}:{target.port}/{case.kind}"]
    done = subprocess.run(
        pin([*command, "--", *load.arguments(), *bodies, *fields], load.cpus.load),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    figures: dict[str, float] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    if figures["errors"] or not figures["requests"]:
        raise BenchError(
            f"{target.name} at {case}: {figures['requests']} requests, {figures['errors']} errors"
        )
    return figures


def await_successes(target: Target) -> int | None:
    """Return the target's count once it has stopped moving: cut-off calls have ended by then."""
    deadline = time.monotonic() + SETTLE_TIMEOUT
    count = read_successes(target)
    while time.monotonic() < deadline:
        time.sleep(0.05)
        previous, count = count, read_successes(target)
        if count == previous:
            break
    return count


def measure(target: Target, case: Case, number: int, load: Load) -> Sample:
    """Drive one target and take all readings around it."""
    counted_before = read_successes(target)
    usage, start = read_usage(target.pid), time.monotonic()
    figures = drive(target, case, load)
    used, elapsed = read_usage(target.pid).since(usage), time.monotonic() - start
    counted = await_successes(target)
    if counted is not None and counted_before is not None:
        counted -= counted_before
    requests = int(figures["requests"])
    return Sample(
        case=str(case),
        target=target.name,
        round=number,
        requests=requests,
        rate=requests / figures["seconds"],
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
        cpu_us=used.cpu / requests * 1e6,
        core=used.cpu / elapsed,
        waited=used.waited / elapsed,
        counted=counted,
    )


def warm_up(targets: Sequence[Target], cases: Sequence[Case], load: Load) -> None:
    """Check that all targets give the same answers, and bring them to their working state."""
    kinds = list(dict.fromkeys(case.kind for case in cases))
    for kind in kinds:
        answers = {target.name: post(target, f"/{kind}") for target in targets}
        if len(set(answers.values())) > 1:
            raise BenchError(f"the answers to /{kind} differ: {', '.join(answers)}")
    for target in targets:
        if await_successes(target) not in (None, len(kinds)):
            raise BenchError(f"{target.name} did not count {len(kinds)} calls as successes")
        drive(target, Case(cases[0].kind, 16), load)


def compare(
    targets: Sequence[Target], cases: Sequence[Case], rounds: int, load: Load
) -> list[Sample]:
    """Measure everything, interleaved."""
    samples: list[Sample] = []
    warm_up(targets, cases, load)
    for number in range(rounds):
        for case in cases:
            print(f"round {number + 1}/{rounds} {case}", file=sys.stderr, flush=True)
            order = targets if number % 2 == 0 else reversed(targets)
            samples += [measure(target, case, number, load) for target in order]
    return samples


# ---- what it says ---------------------------------------------------------------------------


def is_counted(sample: Sample) -> bool:
    """Tell whether the target counted every completed call, and no more than was under way."""
    connections = Case.parse(sample.case).connections
    return sample.counted is None or 0 <= sample.counted - sample.requests <= connections


def judge(results: Results, bar: float) -> bool:
    """Print what was counted and how the proxy stands against the bar; True when all is well."""
    counting = [sample for sample in results.samples if sample.counted is not None]
    wrong = [sample for sample in counting if not is_counted(sample)]
    for sample in wrong:
        print(
            f"VOID: {sample.target} at {sample.case}, round {sample.round + 1}, counted "
            f"{sample.counted} successes of {sample.requests} completed calls"
        )
    if counting and not wrong:
        completed = sum(sample.requests for sample in counting)
        counted = sum(sample.counted or 0 for sample in counting)
        print(
            f"counted: {counted:,} successes in mcp_tool_calls_total for {completed:,} completed "
            f"calls in {len(counting)} runs (each within its calls cut off at the end)"
        )
    shared = [sample.waited for sample in results.samples if sample.target != "direct"]
    waited = median(shared) if shared else 0.0
    if waited > BUSY:
        print(
            f"other work had the target's CPU {waited:.0%} of the time: repeat on a quiet machine"
        )
    judged = "compiled" if "compiled" in results.targets else "proxy"
    ratios = [results.ratio(case, judged, cpu) for case in results.cases]
    worst = max((ratio for ratio in ratios if ratio is not None), default=None)
    if worst is None:
        return not wrong
    print(f"CPU per request of {judged}: at most {worst:.2f} x nginx (bar: {bar:g})")
    return not wrong and worst <= bar


def describe_machine(cpus: Cpus) -> dict[str, str]:
    """Say where the figures come from."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    return {
        "cpus": f"{os.cpu_count()}, target on {cpus.target}, load and upstream on {cpus.load}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": nginx.strip().rpartition("/")[2],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.compare", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=3, help="of one run of wrk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--targets", default=",".join(DEFAULT_TARGETS), help="comma-separated")
    parser.add_argument(
        "--cases", nargs="+", type=Case.parse, default=[Case.parse(text) for text in DEFAULT_CASES]
    )
    parser.add_argument("--sessions", type=int, default=16, help="different session ids")
    parser.add_argument("--traced", action="store_true", help="no two request heads alike")
    parser.add_argument("--bar", type=float, default=CPU_BAR, help="x nginx's CPU; more fails")
    parser.add_argument("--json", type=Path, help="write every sample here")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    require("wrk", "nginx")
    with fleet() as running:
        targets = [running.start(name) for name in options.targets.split(",")]
        machine = describe_machine(running.cpus)
        stolen, start = read_steal(), time.monotonic()
        load = Load(options.seconds, running.cpus, options.sessions, options.traced)
        samples = compare(targets, options.cases, options.rounds, load)
        stolen, elapsed = read_steal() - stolen, time.monotonic() - start
        machine["steal"] = f"{stolen / elapsed / (os.cpu_count() or 1):.1%}"
    results = Results(samples)
    print(f"\n{format_table(results)}\n")
    print("; ".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"medians of {options.rounds} rounds of {options.seconds} s, interleaved")
    if options.json:
        report = {"machine": machine, "samples": [asdict(sample) for sample in samples]}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))
    return 0 if judge(results, options.bar) else 1


if __name__ == "__main__":
    run(main)
