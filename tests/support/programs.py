"""Programs that end-to-end tests start: their output line by line, their readiness, their end.

Knows processes and ports; does not know what the programs are. Every wait is bounded, and every
program that starts in a `with` block is gone when the block is left.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

# A cold Python interpreter that imports a whole SDK needs 1-2 s of a free core; a busy machine
# runs several at once.
START_SECONDS = 30.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02


class ProgramError(Exception):
    """A program ended, or stayed silent, when something was expected of it."""


class Program:
    """A running program whose standard output and error are read as they come."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start ``argv``, in this process's environment unless another one is given."""
        self._argv = list(argv)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """What the program has written so far."""
        with self._news:
            return "\n".join(self._lines)

    @property
    def exit_code(self) -> int | None:
        """The exit status; None while it runs."""
        return self._process.poll()

    def wait_for_line(self, text: str, seconds: float) -> str:
        """Return the first line that contains ``text``, past or to come.

        Raises `ProgramError` when the program ends or ``seconds`` pass without one.
        """
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                for line in self._lines:
                    if text in line:
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    break
                self._news.wait(left)
        raise ProgramError(self._complaint(f"no line with {text!r} in {seconds} s"))

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until ``ready()``; raise `ProgramError` if the program ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.exit_code is not None:
                raise ProgramError(self._complaint(f"ended before it was {what}"))
            if time.monotonic() > deadline:
                raise ProgramError(self._complaint(f"not {what} after {START_SECONDS} s"))
            time.sleep(POLL_SECONDS)

    def wait_for_exit(self, seconds: float) -> int:
        """Return the exit status, once the program has ended and its output is read."""
        code = self._process.wait(seconds)
        self._reader.join(STOP_SECONDS)
        return code

    def kill(self) -> None:
        """End the program at once."""
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End the program: politely, then not."""
        if self.exit_code is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _complaint(self, problem: str) -> str:
        return f"{self._argv[0]} {self._argv[1:]}: {problem}; it wrote:\n{self.output}"


@contextmanager
def running(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run a program for the length of a block."""
    program = Program(argv, environment)
    try:
        yield program
    finally:
        program.stop()


def find_free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Say whether someone accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def lack(reason: str) -> None:
    """Skip the test for want of something on this machine; where nothing may lack (CI), fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def find_tool(*names: str) -> str:
    """Return the path of a program on PATH, which may go by several names; without it, `lack`."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        lack(f"{names[0]} is not on PATH")
    assert path is not None
    return path


def consult(name: str, *arguments: str | Path, seconds: float) -> str:
    """Run a program that has to be content; return its answer, without its asides on stderr."""
    done = subprocess.run(
        [find_tool(name), *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
