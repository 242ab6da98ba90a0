"""Event streams of every shape arrive as they were sent, piece by piece and without delay."""

import asyncio
import time

import pytest

from tests.protocol.test_sse import FIXTURES
from tests.support.messages import EVENTS, LAST_CHUNK, answer, chunk, post, post_chunked
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import Moment, ScriptedUpstream, UpstreamSide

MANY = 1000
USUAL, WORST = 0.05, 0.5
"""Seconds for 99 % of the events, and for the slowest: far more than is seen, 2 and 6 ms."""
AT_ONCE = 0.25
"""Seconds for what takes one millisecond."""


@pytest.mark.parametrize("stream", [stream for stream, _ in FIXTURES if stream])
async def test_a_stream_cut_anywhere_arrives_in_the_same_pieces(
    proxy: ProxyFactory, upstream: ScriptedUpstream, stream: bytes
) -> None:
    running = await proxy(upstream.url)
    arrived = asyncio.Semaphore(0)
    async with RawClient.connecting(running.url) as client:
        for place in range(len(stream)):
            pieces = [piece for piece in (stream[:place], stream[place:]) if piece]

            async def speak(side: UpstreamSide, pieces: list[bytes] = pieces) -> None:
                await side.write(EVENTS)
                for piece in pieces:
                    await side.write(chunk(piece))
                    await asyncio.wait_for(arrived.acquire(), 5.0)
                await side.write(LAST_CHUNK)

            upstream.answer(speak)
            await client.send(post())
            await client.read_head()
            for piece in pieces:
                framed = chunk(piece)
                assert await client.read(len(framed)) == framed
                arrived.release()
            assert await client.read(5) == LAST_CHUNK
    assert {exchange.response_body for exchange in running.exchanges} == {stream}


@pytest.mark.slow
async def test_events_are_not_delayed(proxy: ProxyFactory, upstream: ScriptedUpstream) -> None:
    running = await proxy(upstream.url)
    loop = asyncio.get_running_loop()
    arrived = asyncio.Semaphore(0)
    sent_at: list[float] = []

    async def stream(side: UpstreamSide) -> None:
        await side.write(EVENTS)
        for number in range(MANY):
            sent_at.append(loop.time())
            await side.write(chunk(b"data: %04d\n\n" % number))
            await asyncio.wait_for(arrived.acquire(), 5.0)
        await side.write(LAST_CHUNK)

    took: dict[str, list[float]] = {}
    for where in (upstream.url, running.url):  # without the proxy, and with it
        upstream.answer(stream)
        sent_at.clear()
        delays = took[where] = []
        async with RawClient.connecting(where) as client:
            await client.send(post())
            await client.read_head()
            for number in range(MANY):
                expected = chunk(b"data: %04d\n\n" % number)
                assert await client.read(len(expected)) == expected
                delays.append(loop.time() - sent_at[number])
                arrived.release()
            assert await client.read(5) == LAST_CHUNK
    direct, proxied = (sorted(delays) for delays in took.values())
    for name, delays in (("direct", direct), ("proxied", proxied)):
        usual, slowest = delays[MANY * 99 // 100], delays[-1]
        print(f"{name}: p99 {usual * 1000:.2f} ms, slowest {slowest * 1000:.2f} ms")  # noqa: T201
    assert proxied[MANY * 99 // 100] < USUAL
    assert proxied[-1] < WORST


async def test_an_early_answer_is_there_at_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    delays = []
    for _ in range(20):
        upstream.answer(answer(b"no", status=b"413 Content Too Large"), when=Moment.HEAD)
        async with RawClient.connecting(running.url) as client:
            began = time.perf_counter()
            await client.send(post_chunked(b"x" * 1000))  # and never the rest
            assert (await client.read_response()).status == 413
            delays.append(time.perf_counter() - began)
    assert sorted(delays)[-2] < AT_ONCE  # but for one pause of a busy machine
