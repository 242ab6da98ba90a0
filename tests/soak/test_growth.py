"""The running proxy after 30 000 sessions and 100 000 calls is as large as after a tenth of them.

And it is at rest: no descriptor, call, session or stream is left, and every figure is the ledger's.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.soak.process import MIB, open_files, resident_bytes
from tests.soak.visitors import visit
from tests.support.account import Account, compare
from tests.support.product import Proxy, run_proxy
from tests.support.programs import POLL_SECONDS, find_free_port, is_listening, running

LIVES = 30_000
CALLS = 100_000
WARM_UP = LIVES // 10
TOLERANCE = 0.05
MAX_SECONDS = 600.0
"""For all visits. They take one and a half minutes on two free cores, four on busy ones."""
LAST_SECONDS = 0.5
"""In which the connection is closed that asked whether the proxy is ready."""
REST_SECONDS = 15.0
"""Idle connections to the upstream are kept for 4 s."""


@contextmanager
def run_upstream() -> Iterator[str]:
    port = find_free_port()
    script = Path(__file__).with_name("upstream.py")
    with running([sys.executable, str(script), str(port)]) as program:
        program.wait_until(lambda: is_listening(port), "listening")
        yield f"http://127.0.0.1:{port}"
        # A fault of the fake would be one of the test.
        assert "Traceback" not in program.output, program.output


def count_files(pid: int, at_most: int, seconds: float = REST_SECONDS) -> int:
    """Wait until no more files are open than that, but no longer; give their number."""
    deadline = time.monotonic() + seconds
    while open_files(pid) > at_most and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return open_files(pid)


def come(proxy: Proxy, account: Account, first: int, last: int) -> None:
    """Let visitors come, and prove that the figures are theirs."""
    asyncio.run(asyncio.wait_for(visit(proxy.origin, account, range(first, last)), MAX_SECONDS))
    assert compare(proxy.settle(), account) == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_thousand_sessions_leave_nothing() -> None:
    account = Account()
    with run_upstream() as upstream, run_proxy(upstream, name="soak") as proxy:
        pid = proxy.program._process.pid
        files = count_files(pid, 0, LAST_SECONDS)
        come(proxy, account, 0, 1)  # alone: from now on the tools are known
        come(proxy, account, 1, WARM_UP)
        assert count_files(pid, files) == files
        before = resident_bytes(pid)
        started = time.monotonic()
        exchanges = account.exchanges.total()
        come(proxy, account, WARM_UP, LIVES)
        seconds = time.monotonic() - started
        files_after = count_files(pid, files)
        after = resident_bytes(pid)
    assert account.opened == LIVES
    assert account.calls.total() == CALLS
    exchanges = account.exchanges.total() - exchanges
    print(  # noqa: T201
        f"\n{LIVES} lives, {CALLS} calls: {before / MIB:.1f} MiB after {WARM_UP} lives, "
        f"{after / MIB:.1f} MiB at the end; {files} open files before, {files_after} after; "
        f"{exchanges / seconds:.0f} exchanges/s for {seconds:.0f} s"
    )
    assert files_after == files
    assert abs(after - before) <= TOLERANCE * before
