"""Calls whose answer comes on another stream than they went out on (2025-11-25), or never."""

import asyncio
import time
from uuid import uuid4

import pytest

from tests.support.account import Account
from tests.support.conversations import Stage, scrape_until
from tests.support.peers import Peer
from tests.support.plain import Plain, plain, read_answers
from tests.support.product import Proxy
from tests.support.scrape import Scrape
from tests.support.talk import talk

# The first run installs servers.
pytestmark = pytest.mark.timeout(240)

# Long beside the retry of 50 ms that the server asks for, so that clients are back in time.
WORK_SECONDS = 0.5
SUSPENDED_SECONDS = 1.0
SETTINGS = f"[inspection]\nsuspended_seconds = {SUSPENDED_SECONDS}\n"
START_SECONDS = 10.0


async def leave_in_the_middle(peer: Peer, client: Plain, seconds: float) -> float:
    """Start a call that takes so long and leave it once its stream has shown an event id.

    Return the time before leaving.
    """
    key = uuid4().hex
    params = {"name": "hold", "arguments": {"key": key, "seconds": seconds}}
    call = client.build("tools/call", params)
    async with client.sending(call) as response:
        async for _ in response.aiter_bytes():
            if client.witness.event_id:
                break
        await asyncio.to_thread(peer.program.wait_for_line, f"started {key}", START_SECONDS)
        return time.monotonic()


def count_active(scrape: Scrape) -> float:
    """Return how many exchanges with the server are under way."""
    return scrape.total("mcp_http_connections", side="upstream", state="active")


def test_polled_call_is_one_call_with_its_whole_duration(
    resumable_peer: Peer, stage: Stage
) -> None:
    async def poll(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account) as talker:
            await talker.list_tools()
            await asyncio.gather(
                talker.call("poll", times=1, seconds=WORK_SECONDS, ending="success"),
                talker.call("poll", times=2, seconds=WORK_SECONDS, ending="success"),
                talker.call("poll", times=1, seconds=WORK_SECONDS, ending="tool_error"),
                talker.call("poll", times=1, seconds=WORK_SECONDS, ending="protocol_error"),
            )

    record = stage.converse(resumable_peer.origin, poll)
    assert record.account.calls == {
        ("poll", "success"): 2,
        ("poll", "tool_error"): 1,
        ("poll", "protocol_error"): 1,
    }
    # The session's own stream, and one for each time that a call's was closed: that of the second
    # call twice, if its client came back in time.
    assert record.account.streams["get",] in (1 + 4, 1 + 5)
    assert 3 * WORK_SECONDS <= record.seconds_of("poll", outcome="success") < 2 * record.seconds
    assert WORK_SECONDS <= record.seconds_of("poll", outcome="tool_error") < record.seconds


def test_polling_call_is_in_flight_until_its_answer(resumable_peer: Peer, stage: Stage) -> None:
    async def poll(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account) as talker:
            await talker.list_tools()
            key = uuid4().hex
            call = await talker.start("poll", times=1, seconds=30.0, ending="success", key=key)
            # The session's own stream, and the one of the client that came back.
            await talker.wait_for_stream("get", 2)
            during = await scrape_until(
                proxy, lambda scrape: scrape.total("mcp_streams_open", kind="get") == 2
            )
            assert during.total("mcp_streams_open", kind="get") == 2
            assert during.total("mcp_tool_calls_in_flight", tool="poll") == 1
            assert during.total("mcp_tool_calls_total") == 0
            assert await talker.call("release", key=key) == "success"
            assert await call == "success"

    record = stage.converse(resumable_peer.origin, poll)
    assert record.account.calls == {("poll", "success"): 1, ("release", "success"): 1}


def test_call_that_a_client_left_and_came_back_to_is_a_success(
    resumable_peer: Peer, stage: Stage
) -> None:
    async def come_back(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            await leave_in_the_middle(resumable_peer, client, WORK_SECONDS)
            async with client.listening(client.witness.event_id) as response:
                (answer,) = await read_answers(response, 1)
            assert client.note_end("hold", answer) == "success"
            await client.delete()

    record = stage.converse(resumable_peer.origin, come_back)
    assert record.account.calls == {("hold", "success"): 1}
    assert WORK_SECONDS <= record.seconds_of("hold") < record.seconds


def test_call_that_a_client_waits_for_again_is_never_abandoned(
    resumable_peer: Peer, stage: Stage
) -> None:
    # Longer than a call without a client is kept, and than it takes to look for such calls.
    seconds = SUSPENDED_SECONDS + 1.5

    async def come_back(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            await leave_in_the_middle(resumable_peer, client, seconds)
            async with client.listening(client.witness.event_id) as response:
                (answer,) = await read_answers(response, 1)
            assert client.note_end("hold", answer) == "success"
            await client.delete()

    record = stage.converse(resumable_peer.origin, come_back, SETTINGS)
    assert record.account.calls == {("hold", "success"): 1}
    assert seconds <= record.seconds_of("hold") < record.seconds


def test_call_that_nobody_comes_back_to_is_abandoned_in_time(
    resumable_peer: Peer, stage: Stage
) -> None:
    waited = 0.0

    async def leave(proxy: Proxy, account: Account) -> None:
        nonlocal waited
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            left = await leave_in_the_middle(resumable_peer, client, 30.0)
            after = await scrape_until(
                proxy, lambda scrape: bool(scrape.total("mcp_tool_calls_total"))
            )
            waited = time.monotonic() - left
            assert after.total("mcp_tool_calls_in_flight") == 0
            account.calls["hold", "abandoned"] += 1
            await client.delete()

    record = stage.converse(resumable_peer.origin, leave, SETTINGS)
    assert record.account.calls == {("hold", "abandoned"): 1}
    assert waited >= SUSPENDED_SECONDS


def test_call_of_a_session_that_is_deleted_is_abandoned_at_once(
    resumable_peer: Peer, stage: Stage
) -> None:
    async def leave(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            await leave_in_the_middle(resumable_peer, client, 30.0)
            suspended = await scrape_until(proxy, lambda scrape: not count_active(scrape))
            assert count_active(suspended) == 0
            assert suspended.total("mcp_tool_calls_total") == 0
            assert suspended.total("mcp_tool_calls_in_flight", tool="hold") == 1
            account.calls["hold", "abandoned"] += 1
            await client.delete()

    record = stage.converse(resumable_peer.origin, leave)
    assert record.account.calls == {("hold", "abandoned"): 1}


def test_answers_that_a_server_sends_again_count_once(everything_peer: Peer, stage: Stage) -> None:
    async def listen_again(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            last = client.witness.event_id
            await client.call("echo", {"message": "first"})
            await client.call("echo", {"message": "second"})
            # It sends whatever its store holds, of any stream.
            async with client.listening(last) as response:
                again = await read_answers(response, 2)
            # They are the same answers once more, neither calls nor late.
            assert [answer["id"] for answer in again] == [3, 4]
            await client.delete()

    record = stage.converse(everything_peer.origin, listen_again)
    assert record.account.calls == {("echo", "success"): 2}
