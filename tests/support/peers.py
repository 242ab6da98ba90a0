"""MCP servers that this project did not write, each as a running program.

Knows how to install and start them; does not know what they are asked. Each listens on the loopback
address only and speaks Streamable HTTP on ``/mcp``, or HTTP+SSE on ``/sse`` where it says so.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
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
CACHE = Path(__file__).parents[2] / ".cache"
NPM_CACHE = CACHE / "npm"
PYPI_CACHE = CACHE / "pypi"

EVERYTHING = "@modelcontextprotocol/server-everything"
# Pinned: the ledger states what each of its tools answers.
EVERYTHING_VERSION = "2026.8.31"
NPM_SECONDS = 120.0

# The server side of the tasks extension of 2026-07-28, and what it needs beyond the locked packages
# of the tests. Its own dependencies are left alone: it has to run on the locked `fastmcp`.
FASTMCP_TASKS = (
    "fastmcp-tasks==4.1.2",
    "pydocket==0.27.0",
    "annotated-doc==0.0.7",
    "burner-redis==0.1.7",
    "cloudpickle==3.1.2",
    "cronsim==2.8",
    "python-json-logger==4.2.0",
    "redis==8.1.0",
    "shellingham==1.5.4",
    "typer==0.29.2",
)
PIP_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running MCP server."""

    origin: str
    """``http://127.0.0.1:PORT``; the endpoint is ``/mcp`` below it."""
    program: Program


@contextmanager
def run_python_server(script: str, *arguments: str, packages: Path | None = None) -> Iterator[Peer]:
    """Run one of the scripts in ``servers``; ``packages`` are importable besides the installed."""
    port = find_free_port()
    argv = [sys.executable, str(SERVERS / script), str(port), *arguments]
    more = {"PYTHONPATH": str(packages)} if packages else {}
    with running(argv, {**os.environ, **more}) as program:
        program.wait_until(lambda: is_listening(port), "listening")
        yield Peer(origin=f"http://127.0.0.1:{port}", program=program)


@contextmanager
def run_everything_server(transport: str = "streamableHttp") -> Iterator[Peer]:
    """Run npm ``@modelcontextprotocol/server-everything``, installed on first use.

    With the transport ``sse`` its endpoint is ``/sse``.
    """
    index = install_everything_server()
    port = find_free_port()
    with run_node([str(index), transport], port) as peer:
        yield peer


@contextmanager
def run_node_server(script: str) -> Iterator[Peer]:
    """Run one of the scripts in ``servers`` on the npm SDK that server-everything brings."""
    index = install_everything_server()
    port = find_free_port()
    with run_node([str(SERVERS / script), str(index)], port) as peer:
        yield peer


@contextmanager
def run_node(arguments: Sequence[str], port: int) -> Iterator[Peer]:
    """Run a program of Node.js that listens on the port which its environment names."""
    # Some servers have no host setting and would listen on all interfaces.
    argv = [find_tool("node"), "--require", str(SERVERS / "loopback.cjs"), *arguments]
    with running(argv, {**os.environ, "PORT": str(port)}) as program:
        program.wait_until(lambda: is_listening(port), "listening")
        yield Peer(origin=f"http://127.0.0.1:{port}", program=program)


def install_everything_server() -> Path:
    """Return the server's entry point, after installing it where it is missing."""
    package = NPM_CACHE / f"everything-{EVERYTHING_VERSION}"
    argv = ["npm", "install", "--prefix", str(package), "--no-audit", "--no-fund"]
    argv += ["--ignore-scripts", f"{EVERYTHING}@{EVERYTHING_VERSION}"]
    _install(package, argv, NPM_SECONDS)
    return package / "node_modules" / EVERYTHING / "dist" / "index.js"


def install_fastmcp_tasks() -> Path:
    """Return the folder of the packages, after installing them where they are missing."""
    version = f"{sys.implementation.cache_tag}"
    package = PYPI_CACHE / f"{FASTMCP_TASKS[0].replace('==', '-')}-{version}"
    argv = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
    argv += ["--target", str(package / "packages"), *FASTMCP_TASKS]
    _install(package, argv, PIP_SECONDS)
    return package / "packages"


def _install(package: Path, argv: Sequence[str], seconds: float) -> None:
    package.mkdir(parents=True, exist_ok=True)
    # Parallel test processes: one installs, the others wait for it.
    with (package / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (package / ".installed").exists():
            return
        try:
            done = subprocess.run(
                [find_tool(argv[0]), *argv[1:]],
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            lack(f"{package.name} is not installed after {seconds} s")
        else:
            if done.returncode != 0:
                lack(f"{package.name} cannot be installed: {done.stderr[-500:]}")
            (package / ".installed").touch()
