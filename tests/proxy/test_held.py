"""An exchange that brings more than can be looked at waits for that, and nobody else does."""

import asyncio
from collections.abc import Callable

import pytest

from mcp_proxy_exporter import tap
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.exchange import HttpExchange
from tests.support.messages import CHUNKED, LAST_CHUNK, OK, chunk, post, post_chunked
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, Moment, ScriptedUpstream, UpstreamSide
from tests.support.transports import hold_back
from tests.support.waiting import until

FLOOD = 16 * 1024 * 1024
"""More than all buffers between two sockets take."""
PIECE = bytes(65_536)


class Looks:
    """Decides when the taps of a proxy look at what they saw."""

    def __init__(self, running: RunningProxy) -> None:
        self.asked: list[Callable[[], None]] = []
        running.server._context.taps._later = self.asked.append

    def look(self) -> None:
        """Look at all that came."""
        while self.asked:
            self.asked.pop(0)()


async def flood(side: UpstreamSide) -> None:
    await side.write(CHUNKED)
    for _ in range(FLOOD // len(PIECE)):
        await side.write(chunk(PIECE))
    await side.write(LAST_CHUNK)


async def wait_for_exchange(running: RunningProxy) -> HttpExchange:
    """Wait for the one exchange that runs."""
    clients = running.server._context.clients
    await until(lambda: any(side.exchange for side in clients))
    (exchange,) = [side.exchange for side in clients if side.exchange]
    return exchange


async def come_to_rest(count: Callable[[], int]) -> int:
    """Wait until a count stays what it is; give it."""
    before = -1
    while before != (before := count()):  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.1)
    return before


async def test_an_answer_waits_until_it_was_looked_at_and_comes_whole(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    looks = Looks(running)
    upstream.answer(flood)
    async with RawClient.connecting(running.url) as client, RawClient.connecting(running.url) as he:
        await client.send(post())
        reading = asyncio.ensure_future(client.read_response())
        exchange = await wait_for_exchange(running)
        await until(lambda: exchange._held)
        waiting = await come_to_rest(lambda: exchange._tap.waiting if exchange._tap else 0)
        assert 0 < waiting < FLOOD // 4
        # Others are served meanwhile.
        upstream.answer(OK)
        await he.send(post())
        assert (await he.read_response()).body == b"ok"
        while not reading.done():
            looks.look()
            await asyncio.sleep(0)
        assert len(reading.result().body) == FLOOD
    looks.look()
    assert len(running.exchanges[0].response_body) == FLOOD


async def test_an_upload_waits_until_it_was_looked_at_and_comes_whole(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    looks = Looks(running)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        head = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % FLOOD
        sending = asyncio.ensure_future(client.send(head, bytes(FLOOD)))
        exchange = await wait_for_exchange(running)
        await until(lambda: exchange._held)
        assert (
            await come_to_rest(lambda: exchange._tap.waiting if exchange._tap else 0) < FLOOD // 4
        )
        assert upstream.requests == []
        while not upstream.requests:
            looks.look()
            await asyncio.sleep(0)
        await sending
        assert (await client.read_response()).body == b"ok"
    looks.look()
    assert len(upstream.requests[0].body) == FLOOD
    assert len(running.exchanges[0].request_body) == FLOOD


async def test_who_is_held_for_two_reasons_waits_for_both(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap, "_MAX_BEHIND", 1)  # so that each read holds it
    running = await proxy(upstream.url)
    looks = Looks(running)
    upstream.answer(flood)
    async with RawClient.connecting(running.url) as client:
        hold_back(client.writer)
        await client.send(post())
        exchange = await wait_for_exchange(running)
        (side,) = running.server._context.clients
        while not (side.write_paused and exchange._held):
            if exchange._held:
                looks.look()
            await asyncio.sleep(0)
        looks.look()
        paused = [exchange._held, exchange._upstream is not None and exchange._upstream._paused]
        assert paused == [False, True]  # the client still takes nothing
    looks.look()


async def test_a_client_that_leaves_while_it_is_held_ends_its_exchange(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    looks = Looks(running)
    upstream.answer(flood)
    client = await RawClient.connect(running.url)
    await client.send(post())
    exchange = await wait_for_exchange(running)
    await until(lambda: exchange._held)
    client.reset()
    await client.close()
    await upstream.connections[0].wait_ended()
    looks.look()
    assert not exchange._held
    assert running.exchanges[0].abort is Abort.CLIENT_GONE


async def test_a_request_that_is_held_after_its_upstream_failed_is_read_to_its_end(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    looks = Looks(running)
    upstream.answer(CLOSE, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"a"))
        exchange = await wait_for_exchange(running)
        await until(lambda: exchange._failure is not None)
        sending = asyncio.ensure_future(client.send(chunk(bytes(600_000)), LAST_CHUNK))
        await until(lambda: exchange._held)
        response = asyncio.ensure_future(client.read_response())
        while not response.done():
            looks.look()
            await asyncio.sleep(0)
        await sending
        assert response.result().status == 502
    looks.look()
    assert len(running.exchanges[0].request_body) == 600_001
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_an_upload_that_is_held_while_its_upstream_reads_nothing_waits_for_both(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap, "_MAX_BEHIND", 1)
    running = await proxy(upstream.url)
    looks = Looks(running)

    async def read_no_more(side: UpstreamSide) -> None:
        hold_back(side.writer)
        await asyncio.Event().wait()

    upstream.answer(read_no_more, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        head = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % FLOOD
        sending = asyncio.ensure_future(client.send(head, bytes(FLOOD)))
        exchange = await wait_for_exchange(running)
        await until(lambda: exchange._upstream is not None)
        upstream_side = exchange._upstream
        assert upstream_side is not None
        while not (upstream_side.write_paused and exchange._held):
            if exchange._held:
                looks.look()
            await asyncio.sleep(0)
        looks.look()
        (side,) = running.server._context.clients
        assert [exchange._held, side._paused] == [False, True]
        sending.cancel()
        client.reset()
