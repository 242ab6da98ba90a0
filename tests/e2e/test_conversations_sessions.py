"""Sessions, long-lived streams and who the clients are: what one HTTP exchange does not show."""

import asyncio

import pytest

from tests.support.account import Account
from tests.support.clients import LEGACY, MODERN
from tests.support.conversations import Stage, scrape_until
from tests.support.peers import Peer
from tests.support.plain import UNKNOWN, plain, read_answers
from tests.support.product import Proxy
from tests.support.scrape import Scrape
from tests.support.talk import talk

# The first run installs servers.
pytestmark = pytest.mark.timeout(240)

BATCHING = "2025-03-26"


def read_sessions(scrape: Scrape) -> tuple[float, float, float]:
    """Return how many sessions began, are active and are over."""
    return (
        scrape.total("mcp_sessions_opened_total"),
        scrape.total("mcp_sessions_active"),
        scrape.total("mcp_sessions_closed_total"),
    )


def count_open(scrape: Scrape, kind: str) -> float:
    """Return how many streams of a kind are open."""
    return scrape.total("mcp_streams_open", kind=kind)


def test_sessions_are_counted_while_they_last(talking_peer: Peer, stage: Stage) -> None:
    async def visit(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, name="first") as first:
            async with (
                talk(proxy.origin, account, name="second") as second,
                talk(proxy.origin, account, name="modern", mode=MODERN) as modern,
            ):
                for talker in (first, second, modern):
                    await talker.list_tools()
                    assert await talker.call("end", ending="success") == "success"
                both = await scrape_until(proxy, lambda scrape: count_open(scrape, "get") == 2)
                assert count_open(both, "get") == 2
                assert read_sessions(both) == (2, 2, 0)
            one = await scrape_until(proxy, lambda scrape: count_open(scrape, "get") == 1)
            assert count_open(one, "get") == 1
            assert read_sessions(one) == (2, 1, 1)

    record = stage.converse(talking_peer.origin, visit)
    assert record.account.closed == {("deleted",): 2}
    assert record.metrics.total("mcp_session_duration_seconds_count") == 2
    # A listing, a call, and in the old era `initialize`.
    assert record.account.clients == {
        ("first", LEGACY): 3,
        ("second", LEGACY): 3,
        ("modern", MODERN): 2,
    }


@pytest.mark.parametrize(
    ("name", "tool", "status"), [("talking_peer", "end", 404), ("everything_peer", "echo", 400)]
)
def test_session_that_its_server_forgot_is_expired(
    request: pytest.FixtureRequest, name: str, tool: str, status: int, stage: Stage
) -> None:
    peer: Peer = request.getfixturevalue(name)

    async def outlive(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            # Behind the proxy's back.
            async with plain(peer.origin, Account()) as other:
                other.headers = client.headers
                assert await other.delete() == 200
            for _ in range(2):
                assert await client.call_in_vain(tool) == status
            account.closed["expired",] += 1

    record = stage.converse(peer.origin, outlive)
    assert record.account.closed == {("expired",): 1}


def test_session_that_falls_silent_is_idle_in_time(talking_peer: Peer, stage: Stage) -> None:
    async def fall_silent(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            await client.call("end", {"ending": "success"})
            ended = await scrape_until(proxy, lambda scrape: read_sessions(scrape) == (1, 0, 1))
            assert read_sessions(ended) == (1, 0, 1)
            account.closed["idle",] += 1

    record = stage.converse(
        talking_peer.origin, fall_silent, "[inspection]\nsession_idle_seconds = 0.5\n"
    )
    assert record.metrics.total("mcp_session_duration_seconds_sum") < record.seconds - 0.5


def test_session_from_before_the_proxy_is_counted_from_its_first_use(
    talking_peer: Peer, stage: Stage
) -> None:
    async def go_on(proxy: Proxy, account: Account) -> None:
        async with (
            plain(talking_peer.origin, Account()) as before,
            plain(proxy.origin, account) as client,
        ):
            await client.delete()
            client.headers = before.headers
            client.witness.name = UNKNOWN
            await client.ask("tools/list")
            account.opened += 1
            await client.call("end", {"ending": "success"})
            assert await client.delete() == 200

    record = stage.converse(talking_peer.origin, go_on)
    assert record.account.closed == {("deleted",): 2}
    assert record.account.clients == {("plain", LEGACY): 1, (UNKNOWN, LEGACY): 2}


def test_deleted_session_that_is_used_again_is_closed_once(
    talking_peer: Peer, stage: Stage
) -> None:
    async def return_late(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account) as client:
            await client.ask("tools/list")
            assert await client.delete() == 200
            client.witness.name = UNKNOWN
            assert await client.call_in_vain("end") == 404

    record = stage.converse(talking_peer.origin, return_late)
    assert (record.account.opened, record.account.closed) == (1, {("deleted",): 1})


def test_streams_of_the_server_s_own_messages_are_counted(talking_peer: Peer, stage: Stage) -> None:
    async def announce(proxy: Proxy, account: Account) -> None:
        async with (
            talk(proxy.origin, account) as legacy,
            talk(proxy.origin, account, mode=MODERN) as modern,
        ):
            await legacy.list_tools()
            async with modern.client.listen(tools_list_changed=True) as subscription:
                await modern.wait_for_stream("listen")
                during = await scrape_until(proxy, lambda scrape: count_open(scrape, "listen") == 1)
                assert (count_open(during, "get"), count_open(during, "listen")) == (1, 1)
                # A long-lived stream is nothing that has been running for too long.
                assert during.total("mcp_oldest_request_start_timestamp_seconds") == 0
                for calls in range(1, 4):
                    assert await legacy.call("announce") == "success"
                    await anext(subscription)
                    await legacy.wait_for_notifications(calls)

    record = stage.converse(talking_peer.origin, announce)
    # Of a subscription the first event is its acknowledgement.
    assert record.account.events == {("get",): 3, ("listen",): 4}
    assert record.account.streams == {("get",): 1, ("listen",): 1}
    requests = record.metrics.table("mcp_requests_total", ("method", "outcome"))
    assert requests["subscriptions/listen", "client_disconnected"] == 1


def test_client_that_falls_back_to_the_old_era_is_counted(
    everything_peer: Peer, stage: Stage
) -> None:
    async def fall_back(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, mode="auto") as talker:
            assert talker.client.protocol_version == LEGACY
            account.fallbacks += 1
            await talker.list_tools()
            assert await talker.call("echo", message="mew") == "success"

    record = stage.converse(everything_peer.origin, fall_back)
    assert record.account.clients == {("talker", MODERN): 1, ("talker", LEGACY): 3}
    assert record.account.exchanges["POST", "400"] == 1


def test_client_that_need_not_fall_back_is_not_counted(talking_peer: Peer, stage: Stage) -> None:
    async def discover(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, mode="auto") as talker:
            assert talker.client.protocol_version == MODERN
            await talker.list_tools()
            assert await talker.call("end", ending="success") == "success"

    record = stage.converse(talking_peer.origin, discover)
    assert record.account.fallbacks == 0
    assert record.account.clients == {("talker", MODERN): 3}


def test_each_request_of_a_batch_is_counted(everything_peer: Peer, stage: Stage) -> None:
    async def send_batches(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, BATCHING) as client:
            await client.ask("tools/list")
            calls = [
                ("echo", {"message": "mew"}),
                ("get-sum", {"a": 1, "b": 2}),
                ("get-sum", {"a": "one"}),
                ("no-such-tool", {}),
            ]
            requests = [
                client.build("tools/call", {"name": tool, "arguments": arguments})
                for tool, arguments in calls
            ]
            notice = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
            batch = [*requests[:2], notice, *requests[2:], client.build("ping")]
            async with client.sending(batch) as response:
                answers = {answer["id"]: answer for answer in await read_answers(response, 5)}
            for (tool, _), request in zip(calls, requests, strict=True):
                label = "_other" if tool == "no-such-tool" else tool
                client.note_end(label, answers[request["id"]])
            assert answers[batch[-1]["id"]]["result"] == {}
            await client.delete()

    record = stage.converse(everything_peer.origin, send_batches)
    assert record.account.calls == {
        ("echo", "success"): 1,
        ("get-sum", "success"): 1,
        ("get-sum", "tool_error"): 1,
        ("_other", "tool_error"): 1,
    }
    assert record.account.clients == {("plain", BATCHING): 7}


def test_each_request_of_a_refused_batch_is_counted(talking_peer: Peer, stage: Stage) -> None:
    async def send_batch(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, BATCHING) as client:
            await client.ask("tools/list")
            params = {"name": "end", "arguments": {"ending": "success"}}
            batch = [client.build("tools/call", params) for _ in range(3)]
            async with client.sending(batch) as response:
                # This SDK knows no batches, and refuses them as a whole.
                assert response.status_code == 400
                await response.aread()
            account.calls["end", "http_error"] += 3
            await client.delete()

    record = stage.converse(talking_peer.origin, send_batch)
    assert record.account.calls == {("end", "http_error"): 3}


def test_server_without_sessions_is_counted_by_exchanges(
    stateless_peer: Peer, stage: Stage
) -> None:
    async def call(origin: str, account: Account, ending: str) -> None:
        async with plain(origin, account) as client:
            client.witness.name = UNKNOWN
            await client.ask("tools/list")
            # All clients use the same ids.
            for _ in range(3):
                await client.call("end", {"ending": ending})

    async def call_at_once(proxy: Proxy, account: Account) -> None:
        endings = ("success", "tool_error", "protocol_error")
        await asyncio.gather(*(call(proxy.origin, account, ending) for ending in endings))

    record = stage.converse(stateless_peer.origin, call_at_once)
    assert record.account.calls == {
        ("end", "success"): 3,
        ("end", "tool_error"): 3,
        ("end", "protocol_error"): 3,
    }
    assert record.account.opened == 0
