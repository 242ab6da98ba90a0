"""The servers, each started once, and the ledger runs, each made once per session."""

from collections.abc import Iterator

import pytest

from tests.support.courses import EVERYTHING, FASTMCP, SDK
from tests.support.peers import Peer, run_everything_server, run_python_server
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


@pytest.fixture(scope="session", params=list(COURSES))
def ledger_run(request: pytest.FixtureRequest) -> LedgerRun:
    name: str = request.param
    peer: Peer = request.getfixturevalue(f"{name}_peer")
    return run_ledger(name, peer.origin, COURSES[name])
