"""The TypeScript SDK's client hears and says the same through the proxy as without it."""

import json
import subprocess
from typing import Any

import pytest

from tests.support.peers import Peer, install_everything_server
from tests.support.product import run_proxy
from tests.support.programs import find_tool
from tests.support.scrape import Scrape

# The first run installs the SDK.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CLIENT = "tests/support/typescript_client.cjs"
CONVERSATION_SECONDS = 60.0
CALLS = 3 + 2 + 1 + 4
"""Tool calls of one conversation."""

SERVERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # Where its endpoint is, which tool succeeds, and with what.
    "everything": ("/mcp", "trigger-long-running-operation", {"duration": 0.03, "steps": 3}),
    "everything_sse": ("/sse", "echo", {"message": "línea\u2028\n\0\U0001f408"}),
    "sdk": ("/mcp", "count", {"steps": 3}),
    "fastmcp": ("/mcp", "add", {"a": 1, "b": 2}),
}


def converse(url: str, tool: str, arguments: dict[str, Any]) -> dict[str, list[Any]]:
    """Hold the conversation; give all that was said, where order means nothing, sorted."""
    package = str(install_everything_server())
    done = subprocess.run(
        [find_tool("node"), CLIENT, package, url, tool, json.dumps(arguments)],
        capture_output=True,
        timeout=CONVERSATION_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    said: dict[str, list[Any]] = json.loads(done.stdout)
    # Calls that run together, and streams beside each other, have no order of their own.
    return {
        name: part if name == "steps" else sorted(part, key=json.dumps)
        for name, part in said.items()
    }


@pytest.mark.parametrize("name", SERVERS)
def test_conversation_is_the_same_as_without_the_proxy(
    request: pytest.FixtureRequest, name: str
) -> None:
    path, tool, arguments = SERVERS[name]
    peer: Peer = request.getfixturevalue(f"{name}_peer")
    direct = converse(peer.origin + path, tool, arguments)
    with run_proxy(peer.origin, name=name) as proxy:
        proxied = converse(proxy.origin + path, tool, arguments)
        figures: Scrape = proxy.settle()
    assert proxied == direct
    outcomes = [outcome for step, outcome in proxied["steps"] if step == "success"]
    assert len(outcomes) == 3
    assert all(outcome.get("content") for outcome in outcomes)
    assert not any(outcome.get("isError") for outcome in outcomes)
    # And it was counted: each request that the client sent, once.
    sent = [message for message in proxied["sent"] if "method" in message and "id" in message]
    assert figures.total("mcp_requests_total") == len(sent)
    assert figures.total("mcp_tool_calls_total") == CALLS
    assert figures.total("mcp_client_requests_total", client="typescript") == len(sent)
    assert figures.total("mcp_requests_in_flight") == 0
    assert figures.total("mcp_proxy_inspection_errors_total") == 0
