"""The servers, each started once, and the ledger runs, each made once per session."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.conversations import Stage
from tests.support.courses import EVERYTHING, FASTMCP, SDK
from tests.support.peers import (
    Peer,
    install_fastmcp_tasks,
    run_everything_server,
    run_node_server,
    run_python_server,
)
from tests.support.runs import LedgerRun, run_ledger

COURSES = {"everything": EVERYTHING, "sdk": SDK, "fastmcp": FASTMCP}


@pytest.fixture(scope="session")
def everything_peer() -> Iterator[Peer]:
    with run_everything_server() as peer:
        yield peer


@pytest.fixture(scope="session")
def sdk_peer() -> Iterator[Peer]:
    with run_python_server("sdk_server.py") as peer:
        yield peer


@pytest.fixture(scope="session")
def fastmcp_peer() -> Iterator[Peer]:
    with run_python_server("fastmcp_server.py") as peer:
        yield peer


@pytest.fixture(scope="session")
def everything_sse_peer() -> Iterator[Peer]:
    with run_everything_server("sse") as peer:
        yield peer


@pytest.fixture(scope="session")
def talking_peer() -> Iterator[Peer]:
    """Its legacy streams have no event ids."""
    with run_python_server("talking_server.py", "plain") as peer:
        yield peer


@pytest.fixture(scope="session")
def resumable_peer() -> Iterator[Peer]:
    with run_python_server("talking_server.py", "resumable") as peer:
        yield peer


@pytest.fixture(scope="session")
def stateless_peer() -> Iterator[Peer]:
    with run_python_server("talking_server.py", "stateless") as peer:
        yield peer


@pytest.fixture(scope="session")
def sse_peer() -> Iterator[Peer]:
    with run_python_server("talking_server.py", "sse") as peer:
        yield peer


@pytest.fixture(scope="session")
def task_peer() -> Iterator[Peer]:
    """Tasks of 2025-11-25."""
    with run_node_server("task_server.cjs") as peer:
        yield peer


@pytest.fixture(scope="session")
def task_extension_peer() -> Iterator[Peer]:
    """Tasks of the extension of 2026-07-28."""
    with run_python_server("task_server.py", packages=install_fastmcp_tasks()) as peer:
        yield peer


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with ExitStack() as proxies:
        yield Stage(proxies)


@pytest.fixture(scope="session", params=list(COURSES))
def ledger_run(request: pytest.FixtureRequest) -> LedgerRun:
    name: str = request.param
    peer: Peer = request.getfixturevalue(f"{name}_peer")
    return run_ledger(name, peer.origin, COURSES[name])
