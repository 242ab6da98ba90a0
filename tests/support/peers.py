"""MCP servers that this project did not write, each as a running program.

Knows how to install and start them; does not know what they are asked. Each listens on the loopback
address only and speaks Streamable HTTP on ``/mcp``.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import (
    Program,
    find_free_port,
    find_tool,
    is_listening,
    lack,
    running,
)

SERVERS = Path(__file__).parent / "servers"
NPM_CACHE = Path(__file__).parents[2] / ".cache" / "npm"

EVERYTHING = "@modelcontextprotocol/server-everything"
# Pinned: the ledger states what each of its tools answers.
EVERYTHING_VERSION = "2026.8.31"
NPM_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running MCP server."""

    origin: str
    """``http://127.0.0.1:PORT``; the endpoint is ``/mcp`` below it."""
    program: Program


@contextmanager
def run_python_server(script: str) -> Iterator[Peer]:
    """Run one of the scripts in ``servers``."""
    port = find_free_port()
    with running([sys.executable, str(SERVERS / script), str(port)]) as program:
        program.wait_until(lambda: is_listening(port), "listening")
        yield Peer(origin=f"http://127.0.0.1:{port}", program=program)


@contextmanager
def run_everything_server() -> Iterator[Peer]:
    """Run npm ``@modelcontextprotocol/server-everything``, installed on first use."""
    node = find_tool("node")
    index = install_everything_server()
    port = find_free_port()
    # The server has no host setting and would listen on all interfaces.
    argv = [node, "--require", str(SERVERS / "loopback.cjs"), str(index), "streamableHttp"]
    with running(argv, {**os.environ, "PORT": str(port)}) as program:
        program.wait_until(lambda: is_listening(port), "listening")
        yield Peer(origin=f"http://127.0.0.1:{port}", program=program)


def install_everything_server() -> Path:
    """Return the server's entry point, after installing it where it is missing."""
    package = NPM_CACHE / f"everything-{EVERYTHING_VERSION}"
    index = package / "node_modules" / EVERYTHING / "dist" / "index.js"
    package.mkdir(parents=True, exist_ok=True)
    # Parallel test processes: one installs, the others wait for it.
    with (package / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (package / ".installed").exists():
            _install(find_tool("npm"), package)
            (package / ".installed").touch()
    return index


def _install(npm: str, package: Path) -> None:
    argv = [npm, "install", "--prefix", str(package), "--no-audit", "--no-fund"]
    argv += ["--ignore-scripts", f"{EVERYTHING}@{EVERYTHING_VERSION}"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        lack(f"npm did not install {EVERYTHING} in {NPM_SECONDS} s")
    else:
        if done.returncode != 0:
            lack(f"npm cannot install {EVERYTHING}: {done.stderr[-500:]}")
