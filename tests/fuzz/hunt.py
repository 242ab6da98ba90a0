"""The hunt for inputs that break a promise: which input comes when, and what is reported.

Knows targets, seeds, the bounds of work and memory, and how to make a found input smaller; does not
know what is promised. Run number n of a target is the same input in every process and on every day.
Runs come in lives: what a target remembers from one run to the next begins anew with each life, so
that a life can be repeated on its own.
"""

import ast
import resource
import shlex
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import NoReturn, TypeAlias

from tests.fuzz.mutation import Mutator, Random, random_of

LIFE = 250
"""Runs that share what a target remembers."""
MAX_SECONDS = 0.25
"""Of one run, CPU: several hundred times what the mean one takes."""
SECONDS_PER_BYTE = 20e-6
"""What a run may take beyond: reading takes up to 1 us per byte, several times over."""
HANG_SECONDS = 10.0
"""Of CPU, after which a run is broken off."""
MAX_GROWTH = 64 * 1024
"""KiB that a run may add to the most memory that this process ever had."""
_TRIES = 4_000
_TRY_SECONDS = 20.0

Check: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """What reads bytes from the wire, and what is promised of it."""

    name: str
    share: int
    """Of a million runs."""
    seeds: Callable[[], Sequence[bytes]]
    tokens: Sequence[bytes]
    begin: Callable[[], Check]
    """Begin a life; what it returns raises where a promise is broken."""
    finish: Callable[[Random, bytes], bytes] | None = None
    """What to do with an input that was changed, such as to correct its length."""

    @cached_property
    def mutator(self) -> Mutator:
        """What makes its inputs."""
        return Mutator(self.seeds(), self.tokens)

    def input(self, number: int) -> bytes:
        """Return the input of a run."""
        rng = random_of(self.name, number)
        data = self.mutator.make(rng)
        return data if self.finish is None else self.finish(rng, data)


class HangError(Exception):
    """A run took so long that it was broken off."""


class SlowError(Exception):
    """A run took much longer than the size of its input explains."""


class HungryError(Exception):
    """A run took much memory."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that breaks a promise."""

    target: str
    first: int
    """Where its life begins."""
    number: int
    data: bytes
    size: int
    """Of the input before it was made smaller."""
    alone: bool
    """It breaks the promise on its own, without what came before it in its life."""
    trace: str

    def describe(self) -> str:
        """Return what to print: the input, why, and how to have it again."""
        command = f"python -m tests.fuzz --target {self.target}"
        lines = [
            f"{self.target}: run {self.number} broke a promise",
            self.trace.rstrip(),
            f"input, {len(self.data)} bytes (of {self.size}):",
            repr(self.data),
            "again:",
            f"  {command} --seed {self.first} --runs {self.number - self.first + 1}",
        ]
        if self.alone:
            lines.append(f"  {command} --input {shlex.quote(repr(self.data))}")
        return "\n".join([*lines, ""])


@dataclass(slots=True)
class Tally:
    """What was done of one target."""

    runs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add what another process did."""
        self.runs += other.runs
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        self.findings += other.findings


def read_input(literal: str) -> bytes:
    """Read an input as it was printed; raises ValueError if it is no literal of bytes."""
    try:
        data = ast.literal_eval(literal)
    except SyntaxError as error:
        raise ValueError("no literal of bytes") from error
    if not isinstance(data, bytes):
        raise ValueError("no literal of bytes")  # noqa: TRY004  (for argparse)
    return data


def hunt(target: Target, numbers: range, tally: Tally) -> None:
    """Do one life; it ends with the first finding."""
    check = target.begin()
    with _breaking_off():
        for number in numbers:
            data = target.input(number)
            seconds, broken = try_input(check, data)
            tally.runs += 1
            tally.seconds += seconds
            tally.slowest = max(tally.slowest, seconds)
            if broken is not None:
                tally.findings.append(_examine(target, numbers.start, number, data, broken))
                return


def try_alone(target: Target, data: bytes) -> Exception | None:
    """Return how an input breaks a promise on its own."""
    with _breaking_off():
        return try_input(target.begin(), data)[1]


def try_input(check: Check, data: bytes) -> tuple[float, Exception | None]:
    """Return the CPU that a run took, and how it broke a promise."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    broken: Exception | None = None
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_SECONDS)
    began = time.thread_time()
    try:
        check(data)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
        broken = error
    seconds = time.thread_time() - began
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if broken is None:
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held
        bound = MAX_SECONDS + SECONDS_PER_BYTE * len(data)
        if growth > MAX_GROWTH:
            broken = HungryError(f"{growth} KiB more than ever before")
        elif seconds > bound and _measure(check, data) > bound:
            broken = SlowError(f"{seconds:.2f} s of CPU, {bound:.2f} are allowed")
    return seconds, broken


def _measure(check: Check, data: bytes) -> float:
    """Return the least CPU that a run takes in a few tries: other work disturbs caches."""
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        check(data)
        best = min(best, time.thread_time() - began)
    return best


def _examine(target: Target, first: int, number: int, data: bytes, error: Exception) -> Finding:
    alone = try_input(target.begin(), data)[1]
    smaller = data if alone is None else shrink(data, _alike(target, alone))
    if alone is not None:
        error = try_input(target.begin(), smaller)[1] or error
    trace = "".join(traceback.format_exception(error, limit=-6))
    return Finding(target.name, first, number, smaller, len(data), alone is not None, trace)


def _alike(target: Target, error: Exception) -> Callable[[bytes], bool]:
    """Return what tells whether an input fails in the same way."""

    def fails(data: bytes) -> bool:
        broken = try_input(target.begin(), data)[1]
        return broken is not None and _place(broken) == _place(error)

    return fails


def _place(error: Exception) -> tuple[object, ...]:
    """Return where an error was raised, and its kind."""
    if isinstance(error, HangError):  # raised wherever it was
        return (HangError,)
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    return (type(error), *((each.filename, each.lineno) for each in frame))


def shrink(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Return a smaller input that still fails: spans are left out, then bytes made plain."""
    until = time.monotonic() + _TRY_SECONDS
    tries = 0
    again = True
    while again:
        again = False
        for smaller in _list_smaller(data):
            tries += 1
            if tries > _TRIES or time.monotonic() > until:
                return data
            if fails(smaller):
                data = smaller
                again = True
                break
    return data


def _list_smaller(data: bytes) -> Iterable[bytes]:
    size = len(data)
    span = size
    while span:
        for begin in range(0, size, span):
            yield data[:begin] + data[begin + span :]
        span //= 2
    for place, byte in enumerate(data):
        if byte not in b'0a \n\r{}[]":,':
            yield b"%b0%b" % (data[:place], data[place + 1 :])


@contextmanager
def _breaking_off() -> Iterator[None]:
    """Let the timer that `try_input` sets break a run off."""

    def break_off(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise HangError(f"broken off after {HANG_SECONDS:.0f} s of CPU")

    before = signal.signal(signal.SIGVTALRM, break_off)
    try:
        yield
    finally:
        signal.signal(signal.SIGVTALRM, before)
