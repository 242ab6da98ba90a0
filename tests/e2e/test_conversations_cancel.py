"""Calls that a client gives up, in each way that a revision has for it."""

import asyncio
from uuid import uuid4

import pytest

from tests.support.account import Account
from tests.support.clients import LEGACY, MODERN
from tests.support.conversations import Stage, scrape_until
from tests.support.peers import Peer
from tests.support.plain import Plain, plain, read_answers
from tests.support.product import Proxy
from tests.support.scrape import Scrape
from tests.support.talk import talk
from tests.support.waiting import until

# The first run installs servers.
pytestmark = pytest.mark.timeout(240)

START_SECONDS = 10.0
LONG = {"duration": 30, "steps": 1}


def has_ended(scrape: Scrape) -> bool:
    """Say whether a call has ended."""
    return bool(scrape.total("mcp_tool_calls_total"))


def has_one_in_flight(scrape: Scrape) -> bool:
    """Say whether one call is in flight."""
    return scrape.total("mcp_tool_calls_in_flight") == 1


async def start_hanging(peer: Peer, client: Plain) -> asyncio.Task[None]:
    """Start a call that the tool never answers, in the background."""
    key = uuid4().hex

    async def hang() -> None:
        params = {"name": "hang", "arguments": {"key": key}}
        async with client.sending(client.build("tools/call", params)) as response:
            async for _ in response.aiter_bytes():
                pass

    call = asyncio.create_task(hang())
    await asyncio.to_thread(peer.program.wait_for_line, f"started {key}", START_SECONDS)
    return call


def test_cancelled_call_that_the_server_confirms_is_counted_once(
    talking_peer: Peer, stage: Stage
) -> None:
    async def give_up(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account) as talker:
            await talker.list_tools()
            key = uuid4().hex
            call = await talker.start("hang", key=key)
            await asyncio.to_thread(
                talking_peer.program.wait_for_line, f"started {key}", START_SECONDS
            )
            answers = account.messages["to_client", "response"]
            await talker.give_up(call, "hang")
            # Error -32800 comes all the same, on the stream of the call.
            await until(lambda: account.messages["to_client", "response"] > answers)
            account.late["tools/call",] += 1

    record = stage.converse(talking_peer.origin, give_up)
    assert record.account.calls == {("hang", "cancelled"): 1}


def test_cancelled_call_that_is_never_answered_is_over(everything_peer: Peer, stage: Stage) -> None:
    async def give_up(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account) as talker:
            await talker.list_tools()
            call = await talker.start("trigger-long-running-operation", **LONG)
            await talker.give_up(call, "trigger-long-running-operation")
            # The server leaves the stream of the call open, and the client leaves it, too.
            scrape = await scrape_until(proxy, has_ended)
            assert scrape.total("mcp_tool_calls_in_flight") == 0
            assert scrape.total("mcp_oldest_request_start_timestamp_seconds") == 0
            assert await talker.call("echo", message="still here") == "success"

    record = stage.converse(everything_peer.origin, give_up)
    assert record.account.calls == {
        ("trigger-long-running-operation", "cancelled"): 1,
        ("echo", "success"): 1,
    }


@pytest.mark.parametrize("revision", [LEGACY, MODERN])
def test_client_that_leaves_for_good_is_counted_once(
    talking_peer: Peer, revision: str, stage: Stage
) -> None:
    # Up to 2025-11-25 leaving cancels nothing, but without event ids there is no way back.
    async def leave(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, revision) as client:
            await client.ask("tools/list")
            call = await start_hanging(talking_peer, client)
            during = await scrape_until(proxy, has_one_in_flight)
            assert has_one_in_flight(during)
            if revision == MODERN:
                # Its head comes with its answer.
                account.exchanges["POST", "0"] += 1
            call.cancel()
            await asyncio.wait([call])
            account.calls["hang", "client_disconnected"] += 1
            await scrape_until(proxy, has_ended)
            if revision == LEGACY:
                await client.delete()

    record = stage.converse(talking_peer.origin, leave)
    assert record.account.calls == {("hang", "client_disconnected"): 1}


@pytest.mark.parametrize(
    ("name", "outcome"), [("resumable_peer", "abandoned"), ("talking_peer", "upstream_closed")]
)
def test_call_whose_session_is_deleted_under_it_is_counted_once(
    request: pytest.FixtureRequest, name: str, outcome: str, stage: Stage
) -> None:
    peer: Peer = request.getfixturevalue(name)

    async def delete(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            call = await start_hanging(peer, client)
            await client.delete()
            # The server ends the stream, and says nothing of the call.
            async with asyncio.timeout(START_SECONDS):
                await call
            account.calls["hang", outcome] += 1

    record = stage.converse(peer.origin, delete)
    assert record.account.calls == {("hang", outcome): 1}


def test_equal_ids_of_two_sessions_are_two_calls(talking_peer: Peer, stage: Stage) -> None:
    async def call_with_one_id(proxy: Proxy, account: Account) -> None:
        async with (
            plain(proxy.origin, account) as patient,
            plain(proxy.origin, account) as hasty,
        ):
            await patient.ask("tools/list")
            keys = uuid4().hex, uuid4().hex
            calls = [
                asyncio.create_task(hold(client, key))
                for client, key in zip((patient, hasty), keys, strict=True)
            ]
            for key in keys:
                await asyncio.to_thread(
                    talking_peer.program.wait_for_line, f"started {key}", START_SECONDS
                )
            await hasty.notify("notifications/cancelled", {"requestId": 7})
            cancelled = await scrape_until(proxy, has_ended)
            assert cancelled.table("mcp_tool_calls_total", ("tool", "outcome")) == {
                ("hold", "cancelled"): 1
            }
            assert cancelled.total("mcp_tool_calls_in_flight", tool="hold") == 1
            await patient.call("release", {"key": keys[0]})
            assert await asyncio.gather(*calls) == ["success", "cancelled"]
            account.late["tools/call",] += 1
            await patient.delete()
            await hasty.delete()

    record = stage.converse(talking_peer.origin, call_with_one_id)
    assert record.account.calls == {
        ("hold", "success"): 1,
        ("hold", "cancelled"): 1,
        ("release", "success"): 1,
    }


async def hold(client: Plain, key: str) -> str:
    """Make a call that lasts until it is released, under an id that others use, too."""
    params = {"name": "hold", "arguments": {"key": key, "seconds": 30.0}}
    async with client.sending(client.build("tools/call", params, 7)) as response:
        (answer,) = await read_answers(response, 1)
    return client.note_end("hold", answer)
