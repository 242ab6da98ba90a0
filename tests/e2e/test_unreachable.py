"""An upstream that is down: clients get an error, it is counted, and the metrics stay up."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.clients import MODERN, Wire, sdk_client
from tests.support.ledger import Ending, Entry, make_call, succeed
from tests.support.peers import run_python_server
from tests.support.product import run_proxy
from tests.support.programs import find_free_port
from tests.support.rpc_client import build_call, build_modern_headers, post

ADD = succeed("add", {"a": 1, "b": 2})


def test_call_to_a_server_that_is_down_is_counted_once() -> None:
    call, headers = build_call("add", {}, modern=True), build_modern_headers("add")
    with run_proxy(f"http://127.0.0.1:{find_free_port()}", name="down") as proxy:
        with post(proxy.origin, call, headers) as connection:
            response = connection.getresponse()
            body = response.read()
        metrics = proxy.settle()

    assert response.status == 502
    # No client may take it for the server's JSON-RPC.
    assert not response.headers["Content-Type"].startswith("application/json")
    assert b"jsonrpc" not in body
    assert metrics.table("mcp_tool_calls_total", ("tool", "outcome")) == {
        ("_other", "upstream_unreachable"): 1
    }
    assert metrics.table("mcp_http_requests_total", ("method", "code")) == {("POST", "502"): 1}
    assert metrics.total("mcp_upstream_failures_total") == 1
    assert metrics.value("mcp_upstream_up", server="down") == 0
    assert metrics.total("mcp_tool_calls_in_flight") == 0


@pytest.mark.parametrize("mode", ["legacy", MODERN])
def test_client_of_a_server_that_dies_gets_an_error(mode: str) -> None:
    with (
        run_python_server("sdk_server.py") as peer,
        run_proxy(peer.origin, name="mortal") as proxy,
    ):
        alive, dead = asyncio.run(call_across_its_death(proxy.origin, mode, peer.program.stop))
        metrics = proxy.settle()
        proxy_lives = proxy.read("/livez").status

    assert alive.ending is Ending.SUCCESS
    assert dead.ending is Ending.PROTOCOL_ERROR
    calls = metrics.table("mcp_tool_calls_total", ("tool", "outcome"))
    assert calls == {("add", "success"): 1, ("add", "upstream_unreachable"): 1}
    assert metrics.value("mcp_upstream_up", server="mortal") == 0
    assert proxy_lives == 200


async def call_across_its_death(
    origin: str, mode: str, kill: Callable[[], None]
) -> tuple[Entry, Entry]:
    """Call a tool, kill the server, call again: what one client sees."""
    async with sdk_client(mode)(origin, Wire()) as session:
        await session.list_tools()
        alive = await make_call(session, ADD)
        await asyncio.to_thread(kill)
        return alive, await make_call(session, ADD)
