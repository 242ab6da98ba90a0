"""HTTP+SSE (2024-11-05): answers come on one stream and never on the exchange of their request."""

import asyncio
from uuid import uuid4

import pytest

from tests.support.account import Account
from tests.support.conversations import Stage, scrape_until
from tests.support.peers import Peer, run_python_server
from tests.support.product import Proxy
from tests.support.scrape import Scrape
from tests.support.talk import Human, talk

# The first run installs servers.
pytestmark = pytest.mark.timeout(240)

START_SECONDS = 10.0
LONG_OPERATION = "trigger-long-running-operation"


def has_none_in_flight(scrape: Scrape) -> bool:
    """Say whether no call is in flight."""
    return not scrape.total("mcp_tool_calls_in_flight")


def test_every_end_of_a_call_is_counted(sse_peer: Peer, stage: Stage) -> None:
    human = Human()

    async def end_in_all_ways(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, human=human, sse=True) as talker:
            await talker.list_tools()
            assert await talker.call("end", ending="success") == "success"
            assert await talker.call("end", ending="tool_error") == "tool_error"
            assert await talker.call("end", ending="protocol_error") == "protocol_error"
            assert await talker.call("end", ending="no such ending") == "tool_error"
            assert await talker.call("no_such_tool") == "tool_error"
            questions = ["elicitation", "sampling", "roots"]
            await talker.call("consult", questions=questions, ending="success")
            key = uuid4().hex
            hanging = await talker.start("hang", key=key)
            await asyncio.to_thread(sse_peer.program.wait_for_line, f"started {key}", START_SECONDS)
            during = await scrape_until(
                proxy, lambda scrape: bool(scrape.total("mcp_tool_calls_in_flight", tool="hang"))
            )
            assert during.total("mcp_tool_calls_in_flight", tool="hang") == 1
            assert during.total("mcp_streams_open", kind="legacy_sse") == 1
            assert during.total("mcp_streams_open", kind="get") == 0
            await talker.give_up(hanging, "hang")
            await scrape_until(proxy, has_none_in_flight)
            await talker.call("end", ending="success")

    record = stage.converse(sse_peer.origin, end_in_all_ways)
    assert record.account.calls == {
        ("end", "success"): 2,
        ("end", "tool_error"): 2,
        ("end", "protocol_error"): 1,
        ("_other", "tool_error"): 1,
        ("consult", "success"): 1,
        ("hang", "cancelled"): 1,
    }
    assert record.account.streams == {("legacy_sse",): 1}
    assert record.account.opened == 0


def test_calls_of_many_clients_at_once_are_told_apart(sse_peer: Peer, stage: Stage) -> None:
    async def call(origin: str, account: Account, ending: str) -> None:
        async with talk(origin, account, name=ending, sse=True) as talker:
            await talker.list_tools()
            for _ in range(3):
                assert await talker.call("end", ending=ending) == ending

    async def call_at_once(proxy: Proxy, account: Account) -> None:
        endings = ("success", "tool_error", "protocol_error")
        await asyncio.gather(*(call(proxy.origin, account, ending) for ending in endings))

    record = stage.converse(sse_peer.origin, call_at_once)
    assert record.account.calls == {
        ("end", "success"): 3,
        ("end", "tool_error"): 3,
        ("end", "protocol_error"): 3,
    }


def test_stream_that_its_client_leaves_ends_its_calls(sse_peer: Peer, stage: Stage) -> None:
    async def leave(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, sse=True) as talker:
            await talker.list_tools()
            key = uuid4().hex
            hanging = await talker.start("hang", key=key)
            await asyncio.to_thread(sse_peer.program.wait_for_line, f"started {key}", START_SECONDS)
        # The client left with the block above; its call ends by an error of the SDK's own making.
        await asyncio.wait([hanging])
        account.calls.clear()
        account.calls["hang", "client_disconnected"] += 1

    record = stage.converse(sse_peer.origin, leave)
    assert record.account.calls == {("hang", "client_disconnected"): 1}


def test_stream_that_its_server_breaks_ends_its_calls(stage: Stage) -> None:
    async def outlive(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, sse=True) as talker:
            await talker.list_tools()
            key = uuid4().hex
            hanging = await talker.start("hang", key=key)
            await asyncio.to_thread(peer.program.wait_for_line, f"started {key}", START_SECONDS)
            await asyncio.to_thread(peer.program.stop)
            await asyncio.wait([hanging])
            account.calls.clear()
            account.calls["hang", "upstream_closed"] += 1

    with run_python_server("talking_server.py", "sse") as peer:
        record = stage.converse(peer.origin, outlive, faults=1)
    assert record.account.calls == {("hang", "upstream_closed"): 1}


def test_server_everything_is_counted_over_its_old_transport(
    everything_sse_peer: Peer, stage: Stage
) -> None:
    human = Human()

    async def end_in_all_ways(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, human=human, sse=True) as talker:
            await talker.wait_for_roots()
            await talker.list_tools()
            assert await talker.call("echo", message="mew") == "success"
            assert await talker.call("get-sum", a="one") == "tool_error"
            assert await talker.call("no-such-tool") == "tool_error"
            await talker.call("trigger-elicitation-request")
            await talker.call("trigger-sampling-request", prompt="mew")
            operation = await talker.start(LONG_OPERATION, duration=30, steps=1)
            await talker.give_up(operation, LONG_OPERATION)
            # Nothing ever answers it.
            await scrape_until(proxy, has_none_in_flight)
            await talker.call("get-sum", a=1, b=2)

    record = stage.converse(everything_sse_peer.origin, end_in_all_ways)
    assert record.account.calls == {
        ("echo", "success"): 1,
        ("get-sum", "tool_error"): 1,
        ("_other", "tool_error"): 1,
        ("trigger-elicitation-request", "success"): 1,
        ("trigger-sampling-request", "success"): 1,
        (LONG_OPERATION, "cancelled"): 1,
        ("get-sum", "success"): 1,
    }
    assert record.account.inputs == {
        ("roots/list", "server_request"): 1,
        ("elicitation/create", "server_request"): 1,
        ("sampling/createMessage", "server_request"): 1,
    }
