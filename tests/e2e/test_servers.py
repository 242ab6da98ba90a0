"""Several servers behind one process: each has an address and figures of its own."""

import asyncio
import json
import re
import socket
from pathlib import Path

from tests.support.clients import Opener, Wire, fastmcp_client, sdk_client
from tests.support.ledger import Entry, Planned, count_calls, fail, make_calls, succeed
from tests.support.peers import Peer
from tests.support.product import is_ready, run_configured, run_product
from tests.support.programs import find_free_port, is_listening
from tests.support.rpc_client import build_call, build_modern_headers, post

EXIT_SECONDS = 10.0

CONFIGURATION = """\
[[servers]]
name = "first"
listen = "127.0.0.1:{first}"
upstream = "{first_upstream}"

[[servers]]
name = "second"
listen = "127.0.0.1:{second}"
upstream = "{second_upstream}"

[admin]
listen = "127.0.0.1:{admin}"
"""

ADD = succeed("add", {"a": 20, "b": 3})
FIRST_PLAN = [ADD, ADD, fail("refuse", {"reason": "no"})]
SECOND_PLAN = [ADD, fail("no_such_tool", {})]
NAMES = ("add", "refuse")


def test_each_server_has_an_address_and_figures_of_its_own(
    sdk_peer: Peer, fastmcp_peer: Peer, tmp_path: Path
) -> None:
    first, second, admin = find_free_port(), find_free_port(), find_free_port()
    file = tmp_path / "two.toml"
    file.write_text(
        CONFIGURATION.format(
            first=first,
            second=second,
            admin=admin,
            first_upstream=sdk_peer.origin,
            second_upstream=fastmcp_peer.origin,
        )
    )
    origins = f"http://127.0.0.1:{first}", f"http://127.0.0.1:{second}"
    with run_configured(file, f"http://127.0.0.1:{admin}") as proxy:
        ledgers = asyncio.run(call_both(*origins))
        metrics = proxy.settle()

    listed = frozenset(NAMES)
    by_tool = ("tool", "outcome")
    for name, entries in zip(("first", "second"), ledgers, strict=True):
        calls = metrics.table("mcp_tool_calls_total", by_tool, server=name)
        assert calls == count_calls(entries, listed)
    assert metrics.value("mcp_unknown_tool_calls_total", server="first") == 0
    assert metrics.value("mcp_unknown_tool_calls_total", server="second") == 6
    # `hang` is in the one's inventory only.
    assert metrics.value("mcp_tools", server="first") == 6
    assert metrics.value("mcp_tools", server="second") == 5


async def call_both(first: str, second: str) -> tuple[list[Entry], list[Entry]]:
    """Call both servers at the same time."""
    return await asyncio.gather(
        call(sdk_client("legacy"), first, FIRST_PLAN),
        call(fastmcp_client("auto"), second, SECOND_PLAN),
    )


async def call(client: Opener, origin: str, plan: list[Planned]) -> list[Entry]:
    """Make each call of a plan six times."""
    async with client(origin, Wire()) as session:
        await session.list_tools()
        return await make_calls(session, plan, 5)


def test_taken_metrics_port_ends_the_start(sdk_peer: Peer) -> None:
    port = find_free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["run", "--upstream", sdk_peer.origin, "--listen", f"127.0.0.1:{port}"]
        with run_product([*arguments, "--admin", admin]) as program:
            code = program.wait_for_exit(EXIT_SECONDS)
            output = program.output
    assert code not in (0, None)
    assert admin in output
    assert "Traceback" not in output
    assert not is_listening(port)


def test_free_ports_are_chosen_and_printed(sdk_peer: Peer) -> None:
    anywhere = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    call, headers = build_call("add", ADD.arguments or {}, modern=True), build_modern_headers("add")
    with run_product(["run", "--upstream", sdk_peer.origin, *anywhere]) as program:
        program.wait_until(lambda: len(find_origins(program.output, sdk_peer.origin)) == 2, "ready")
        origins = find_origins(program.output, sdk_peer.origin)
        admins = [origin for origin in origins if is_ready(origin)]
        assert len(admins) == 1
        (proxy,) = origins - {*admins}
        with post(proxy, call, headers) as connection:
            response = connection.getresponse()
            answer = json.loads(response.read())
    assert answer["result"]["structuredContent"] == {"result": 23}


def find_origins(output: str, upstream: str) -> set[str]:
    """Return the loopback addresses that a program wrote, without its upstream's."""
    return set(re.findall(r"http://127\.0\.0\.1:[1-9]\d*", output)) - {upstream}
