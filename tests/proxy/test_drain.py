"""How event streams end with the process: between two events, or visibly cut."""

import asyncio

import pytest

from mcp_proxy_exporter.protocol.outcome import Abort
from tests.support.messages import LAST_CHUNK, chunk
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream, UpstreamSide
from tests.support.waiting import until

EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n%b\r\n"
)
GET = b"GET /mcp HTTP/1.%d\r\nHost: a\r\n\r\n"
LONG = 20.0  # seconds of grace that no test waits for


@pytest.mark.parametrize(
    "events", [(b"data: 1\n\n",), (b"data: 1\r\n\r\n",), (b"data: 1\r\r",), (b"data: 1\n", b"\n")]
)
async def test_stream_ends_properly_between_two_events_and_at_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream, events: tuple[bytes, ...]
) -> None:
    running = await proxy(upstream.url)

    async def speak(side: UpstreamSide) -> None:
        for event in events:
            await side.write(chunk(event))
            await asyncio.sleep(0.01)

    upstream.answer(EVENTS % b"", speak, asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 1)
        await client.read_until(chunk(events[-1]))
        async with asyncio.timeout(LONG / 2):
            await running.stop(grace=LONG)
        assert await client.read_rest() == LAST_CHUNK
    assert running.exchanges[0].abort is Abort.SHUTDOWN


async def test_stream_without_an_event_so_far_ends_properly(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(EVENTS % b"", asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 1)
        await client.read_head()
        async with asyncio.timeout(LONG / 2):
            await running.stop(grace=LONG)
        assert await client.read_rest() == LAST_CHUNK


async def test_event_that_has_begun_is_waited_for(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    rest = asyncio.Event()
    first, second = chunk(b"id: 7\ndata: ha"), chunk(b"lf\n\n")
    upstream.answer(EVENTS % b"" + first, rest.wait, second, asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 1)
        await client.read_until(first)
        stopping = asyncio.ensure_future(running.stop(grace=LONG))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        rest.set()
        assert await client.read_rest() == second + LAST_CHUNK
        async with asyncio.timeout(LONG / 2):
            await stopping


async def test_stream_that_an_answer_is_awaited_on_is_cut_after_the_grace(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(EVENTS % b"" + chunk(b"data: 1\n\n"), asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 1)
        await client.read_until(chunk(b"data: 1\n\n"))
        running.exchanges[0].awaited = True
        await running.stop(grace=0.1)
        await client.read_eof()


async def test_awaited_answer_lets_the_stream_end(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(EVENTS % b"", asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 1)
        await client.read_head()
        running.exchanges[0].awaited = True
        stopping = asyncio.ensure_future(running.stop(grace=LONG))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        running.exchanges[0].awaited = False
        assert await client.read_rest() == LAST_CHUNK
        async with asyncio.timeout(LONG / 2):
            await stopping


async def test_compressed_stream_is_cut_because_nobody_sees_where_events_end(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(EVENTS % b"Content-Encoding: gzip\r\n" + chunk(b"\n\n"), asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 1)
        await client.read_until(chunk(b"\n\n"))
        await running.stop(grace=0.1)
        await client.read_eof()


async def test_stream_is_cut_where_nobody_looks_because_a_call_may_wait_on_it(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await proxy(upstream.url)
    monkeypatch.setattr(running.server._context.taps, "_inspector", None)
    upstream.answer(EVENTS % b"" + chunk(b"data: 1\n\n"), asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 1)
        await client.read_until(chunk(b"data: 1\n\n"))
        await running.stop(grace=0.1)
        assert await client.read_rest() == b""


async def test_stream_of_an_old_client_ends_with_its_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(EVENTS % b"" + chunk(b"data: 1\n\n"), asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET % 0)
        await client.read_until(b"data: 1\n\n")
        async with asyncio.timeout(LONG / 2):
            await running.stop(grace=LONG)
        await client.read_eof()


async def test_stream_that_answers_a_post_has_the_whole_grace(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    rest = asyncio.Event()
    upstream.answer(
        EVENTS % b"" + chunk(b"data: 1\n\n"), rest.wait, chunk(b"data: 2\n\n") + LAST_CHUNK
    )
    async with RawClient.connecting(running.url) as client:
        await client.send(b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        await client.read_until(chunk(b"data: 1\n\n"))
        stopping = asyncio.ensure_future(running.stop(grace=LONG))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        rest.set()
        assert await client.read_rest() == chunk(b"data: 2\n\n") + LAST_CHUNK
        async with asyncio.timeout(LONG / 2):
            await stopping
    assert running.exchanges[0].abort is None


async def test_who_is_sent_away_gets_an_answer_that_says_so(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as early:
        await early.send(GET % 1)
        assert (await early.read_response()).head.values(b"connection") == []
        running.server.send_away()
        async with RawClient.connecting(running.url) as late:
            for client in (early, late):
                await client.send(GET % 1)
                answer = await client.read_response()
                assert answer.status == 204
                assert answer.head.values(b"connection") == [b"close"]
                await client.read_eof()
    await until(lambda: not running.server._context.clients)
