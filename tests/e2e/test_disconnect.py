"""A client that closes in the middle of a call: the server learns it, and it is counted once."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.support.clients import MODERN, Wire, sdk_client
from tests.support.ledger import make_call, succeed
from tests.support.peers import Peer
from tests.support.product import Proxy, run_proxy
from tests.support.rpc_client import build_call, build_modern_headers, open_legacy_session, post
from tests.support.scrape import Scrape

# MCP 2026-07-28, basic/transports/streamable-http, Cancellation: closing cancels. The proxy needs
# milliseconds; the rest is the server's own time and a busy machine's.
CANCEL_SECONDS = 1.0
COUNT_SECONDS = 5.0
START_SECONDS = 10.0

ERAS = [pytest.param(True, id="modern"), pytest.param(False, id="legacy")]


@pytest.fixture(scope="module")
def proxy(sdk_peer: Peer) -> Iterator[Proxy]:
    with run_proxy(sdk_peer.origin, name="sdk") as running:
        yield running


@contextmanager
def hanging_call(origin: str, peer: Peer, *, modern: bool) -> Iterator[str]:
    """Start a call that the tool never answers; yield its key once the tool runs; then leave."""
    headers = build_modern_headers("hang") if modern else open_legacy_session(origin)
    key = uuid4().hex
    with post(origin, build_call("hang", {"key": key}, modern=modern), headers):
        peer.program.wait_for_line(f"started {key}", START_SECONDS)
        yield key


async def give_up(proxy: Proxy, mode: str, peer: Peer, late: int) -> Scrape:
    """Let an SDK's client lose patience with a call; return the figures while it is connected,
    once so many late answers have come.
    """
    async with sdk_client(mode)(proxy.origin, Wire()) as session:
        await session.list_tools()
        key = uuid4().hex
        call = asyncio.create_task(make_call(session, succeed("hang", {"key": key})))
        await asyncio.to_thread(peer.program.wait_for_line, f"started {key}", START_SECONDS)
        call.cancel()
        await asyncio.wait([call])
        await asyncio.to_thread(
            proxy.scrape_until, lambda scrape: count_late(scrape) == late, COUNT_SECONDS
        )
        return await asyncio.to_thread(wait_for_calls, proxy, 1)


def count_late(scrape: Scrape) -> float:
    """Return how many answers came after the end of their calls."""
    return scrape.total("mcp_late_responses_total")


def count_calls(scrape: Scrape) -> dict[tuple[str, ...], int]:
    """Return all calls by tool and outcome."""
    return scrape.table("mcp_tool_calls_total", ("tool", "outcome"))


def wait_for_calls(proxy: Proxy, count: int) -> Scrape:
    """Scrape until so many calls have ended, and nothing moves."""
    proxy.scrape_until(lambda scrape: scrape.total("mcp_tool_calls_total") >= count, COUNT_SECONDS)
    return proxy.settle()


@pytest.mark.parametrize("modern", ERAS)
def test_disconnect_is_counted_once(sdk_peer: Peer, *, modern: bool) -> None:
    with run_proxy(sdk_peer.origin, name="sdk") as proxy:
        before = time.time()
        with hanging_call(proxy.origin, sdk_peer, modern=modern):
            during = proxy.scrape()
        after = wait_for_calls(proxy, 1)

    assert count_calls(during) == {}
    assert during.total("mcp_tool_calls_in_flight") == 1
    assert during.total("mcp_requests_in_flight", method="tools/call") == 1
    oldest = during.value("mcp_oldest_request_start_timestamp_seconds", server="sdk")
    assert oldest is not None
    assert before - 1 <= oldest <= time.time() + 1

    # No `tools/list` went through this proxy, and the call did not succeed: no name to trust.
    assert count_calls(after) == {("_other", "client_disconnected"): 1}
    assert after.total("mcp_tool_call_duration_seconds_count") == 1
    assert after.total("mcp_tool_calls_in_flight") == 0
    assert after.total("mcp_requests_in_flight") == 0
    assert after.value("mcp_oldest_request_start_timestamp_seconds", server="sdk") == 0
    assert after.total("mcp_upstream_failures_total") == 0
    assert after.total("mcp_http_connections", side="upstream", state="active") == 0


def test_modern_server_is_told_within_a_second(proxy: Proxy, sdk_peer: Peer) -> None:
    with hanging_call(proxy.origin, sdk_peer, modern=True) as key:
        pass
    line = sdk_peer.program.wait_for_line(f"cancelled {key}", CANCEL_SECONDS)
    assert line == f"cancelled {key}"


def test_server_alone_is_told_within_a_second(sdk_peer: Peer) -> None:
    # The yardstick of the test above: what it asks of the proxy holds for the server alone.
    with hanging_call(sdk_peer.origin, sdk_peer, modern=True) as key:
        pass
    line = sdk_peer.program.wait_for_line(f"cancelled {key}", CANCEL_SECONDS)
    assert line == f"cancelled {key}"


@pytest.mark.parametrize(
    ("mode", "outcome", "late"), [("legacy", "cancelled", 1), (MODERN, "client_disconnected", 0)]
)
def test_sdk_client_that_gives_up_is_counted_once(
    sdk_peer: Peer, mode: str, outcome: str, late: int
) -> None:
    # The one sends `notifications/cancelled`, which ends the call: error -32800 comes later. The
    # other closes the stream.
    with run_proxy(sdk_peer.origin, name="sdk") as proxy:
        metrics = asyncio.run(give_up(proxy, mode, sdk_peer, late))
    assert count_calls(metrics) == {("hang", outcome): 1}
    assert count_late(metrics) == late
    assert metrics.total("mcp_tool_calls_in_flight") == 0


def test_many_clients_that_leave_at_once_are_all_counted(proxy: Proxy, sdk_peer: Peer) -> None:
    before = proxy.settle()
    counted = before.total("mcp_tool_calls_total", outcome="client_disconnected")
    with (
        hanging_call(proxy.origin, sdk_peer, modern=True),
        hanging_call(proxy.origin, sdk_peer, modern=False),
        hanging_call(proxy.origin, sdk_peer, modern=True),
        hanging_call(proxy.origin, sdk_peer, modern=False),
    ):
        assert proxy.scrape().total("mcp_tool_calls_in_flight") == 4
    after = wait_for_calls(proxy, int(before.total("mcp_tool_calls_total")) + 4)
    assert after.total("mcp_tool_calls_total", outcome="client_disconnected") == counted + 4
    assert after.total("mcp_tool_calls_in_flight") == 0
