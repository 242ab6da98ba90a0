"""The fuzzer: a million inputs of what reads bytes from the wire.

Usage: python -m tests.fuzz [--runs N] [--seconds S] [--target NAME]... [--seed N] [--input LITERAL]

Run n of a target is the same input on every day; ``--seed`` says where to begin. Exit status 1 says
that an input broke a promise; it is printed with the command that repeats it.
"""

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tests.fuzz.hunt import LIFE, Finding, Tally, Target, hunt, read_input, try_alone
from tests.fuzz.targets import TARGETS

RUNS = 1_000_000
STALL_SECONDS = 300.0
"""How long a process may say nothing: hangs in Python end by themselves, others do not."""

Life = tuple[str, range]


def list_lives(targets: Mapping[str, Target], runs: int, seed: int) -> list[Life]:
    """Return all lives, in an order in which every target comes on at the same pace."""
    shares = sum(target.share for target in targets.values())
    lives: list[tuple[float, str, range]] = []
    for name, target in targets.items():
        end = seed + max(runs * target.share // shares, 1)
        lives += [
            ((first - seed) / (end - seed), name, range(first, min(first + LIFE, end)))
            for first in range(seed, end, LIFE)
        ]
    return [(name, numbers) for _, name, numbers in sorted(lives, key=lambda life: life[:2])]


def work(lives: Sequence[Life], until: float, pipe: Connection) -> None:
    """Do lives in a process of their own, and tell of each before and after."""
    broken: set[str] = set()
    for name, numbers in lives:
        if time.monotonic() > until or name in broken:
            continue
        pipe.send((name, numbers.start))
        tally = Tally()
        hunt(TARGETS[name], numbers, tally)
        if tally.findings:
            broken.add(name)
        pipe.send(tally)
    pipe.send(None)


class Worker:
    """A process, and what it does at the moment."""

    def __init__(self, lives: Sequence[Life], until: float) -> None:
        self.pipe, theirs = multiprocessing.Pipe(duplex=False)
        self.process: BaseProcess = multiprocessing.Process(
            target=work, args=(lives, until, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self._target = ""
        self._first = 0
        self._heard = time.monotonic()

    def receive(self, tallies: Mapping[str, Tally]) -> bool:
        """Take what it says; False once it has nothing more to say."""
        self._heard = time.monotonic()
        try:
            said = self.pipe.recv()
        except EOFError:
            self.process.join()
            tallies[self._target].findings.append(
                self._lose(f"the process ended with {self.process.exitcode}")
            )
            return False
        if isinstance(said, Tally):
            tallies[self._target].add(said)
        elif said is not None:
            self._target, self._first = said
        return said is not None

    def has_stalled(self, tallies: Mapping[str, Tally]) -> bool:
        """End it where it has said nothing for too long."""
        if time.monotonic() - self._heard < STALL_SECONDS:
            return False
        self.process.kill()
        self.process.join()
        tallies[self._target].findings.append(self._lose("the process hung"))
        return True

    def _lose(self, reason: str) -> Finding:
        last = self._first + LIFE - 1
        return Finding(self._target, self._first, last, b"", 0, alone=False, trace=reason)


def run_all(lives: Sequence[Life], jobs: int, seconds: float) -> dict[str, Tally]:
    """Do lives in several processes; return what was done of each target."""
    tallies = {name: Tally() for name, _ in lives}
    until = time.monotonic() + seconds
    workers = {}
    for number in range(jobs):
        worker = Worker(lives[number::jobs], until)
        workers[worker.pipe] = worker
    while workers:
        ready = wait([*workers], timeout=1.0)
        for pipe, worker in [*workers.items()]:
            if (pipe in ready and not worker.receive(tallies)) or worker.has_stalled(tallies):
                del workers[pipe]
                worker.process.join()
    return tallies


def report(tallies: Mapping[str, Tally], seconds: float) -> bool:
    """Print what was done and found; say whether all is well."""
    write = sys.stdout.write
    write(f"{'target':12}{'runs':>10}{'CPU s':>9}{'mean ms':>9}{'worst ms':>10}{'findings':>10}\n")
    total = Tally()
    for name, tally in tallies.items():
        total.add(tally)
        write(describe(name, tally))
    write(describe("all", total))
    write(f"{seconds:.0f} s\n")
    for finding in total.findings:
        write(f"\n{finding.describe()}")
    return not total.findings


def describe(name: str, tally: Tally) -> str:
    """Return a line of the table."""
    mean = 1000 * tally.seconds / max(tally.runs, 1)
    return (
        f"{name:12}{tally.runs:10}{tally.seconds:9.1f}{mean:9.3f}"
        f"{1000 * tally.slowest:10.1f}{len(tally.findings):10}\n"
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--runs", type=int, default=RUNS, help="of all targets together")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--target", action="append", choices=[*TARGETS], help="may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first run")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--input", type=read_input, help="one input of one target, as b'...'")
    options = parser.parse_args(argv)
    if options.input is not None and len(options.target or ()) != 1:
        parser.error("--input needs one --target")
    return options


def main(argv: Sequence[str]) -> int:
    """Hunt; return the exit status."""
    options = parse(argv)
    targets = {name: TARGETS[name] for name in options.target or TARGETS}
    if options.input is not None:
        [target] = targets.values()
        error = try_alone(target, options.input)
        if error is None:
            sys.stdout.write("no promise was broken\n")
            return 0
        traceback.print_exception(error)
        return 1
    for target in targets.values():
        _ = target.mutator  # made once, for all processes
    began = time.monotonic()
    lives = list_lives(targets, options.runs, options.seed)
    tallies = run_all(lives, options.jobs, options.seconds)
    return 0 if report(tallies, time.monotonic() - began) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
