"""Unix sockets on both sides: what holds for TCP holds there."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_proxy_exporter.protocol.events import HttpExchangeClosed
from mcp_proxy_exporter.protocol.outcome import Abort
from tests.support.messages import EVENTS, LAST_CHUNK, OK, answer, chunk, post, post_chunked
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, ScriptedUpstream, UpstreamSide

LARGE = bytes(range(256)) * 4096  # 1 MiB
SECONDS = 0.5
"""For what takes milliseconds."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream.running(f"{tmp_path}/server") as running:
        yield running


async def start(proxy: ProxyFactory, server: ScriptedUpstream, tmp_path: Path) -> RunningProxy:
    return await proxy(server.url, listen=f"unix:{tmp_path}/proxy")


async def test_bytes_pass_both_ways_on_kept_connections(
    proxy: ProxyFactory, server: ScriptedUpstream, tmp_path: Path
) -> None:
    running = await start(proxy, server, tmp_path)
    raw = [post(b"{}", b"A: b"), post(LARGE), post_chunked(LARGE, b"x") + LAST_CHUNK]
    async with RawClient.connecting(running.url) as client:
        for one in raw:
            server.answer(answer(LARGE))
            sending = asyncio.create_task(client.send(one))
            assert (await client.read_response()).body == LARGE
            await sending
    assert [request.body for request in server.requests] == [b"{}", LARGE, LARGE + b"x"]
    assert server.requests[0].raw == raw[0]
    assert len(server.connections) == 1
    closed = await running.wait_for(HttpExchangeClosed, 3)
    assert [event.status for event in closed] == [200] * 3


async def test_events_arrive_one_by_one(
    proxy: ProxyFactory, server: ScriptedUpstream, tmp_path: Path
) -> None:
    running = await start(proxy, server, tmp_path)
    arrived = asyncio.Semaphore(0)

    async def stream(side: UpstreamSide) -> None:
        await side.write(EVENTS)
        for number in range(50):
            await side.write(chunk(b"data: %d\n\n" % number))
            await asyncio.wait_for(arrived.acquire(), 5.0)
        await side.write(LAST_CHUNK)

    server.answer(stream)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_head()
        for number in range(50):
            expected = chunk(b"data: %d\n\n" % number)
            assert await client.read(len(expected)) == expected
            arrived.release()
        assert await client.read(5) == LAST_CHUNK


async def test_disconnect_reaches_the_server_at_once(
    proxy: ProxyFactory, server: ScriptedUpstream, tmp_path: Path
) -> None:
    running = await start(proxy, server, tmp_path)
    server.answer_always(EVENTS + chunk(b": hi\n\n"), asyncio.Event().wait)
    delays = []
    for number in range(10):
        client = await RawClient.connect(running.url)
        await client.send(post())
        await client.read_until(b": hi\n\n\r\n")
        left = time.perf_counter()
        await client.close()
        await server.connections[number].wait_ended()
        delays.append(time.perf_counter() - left)
    assert sorted(delays)[-2] < SECONDS  # but for one pause of a busy machine
    await running.wait_for(HttpExchangeClosed, 10)
    assert {exchange.abort for exchange in running.exchanges} == {Abort.CLIENT_GONE}


async def test_truncated_answer_never_gets_a_last_chunk(
    proxy: ProxyFactory, server: ScriptedUpstream, tmp_path: Path
) -> None:
    running = await start(proxy, server, tmp_path)
    server.answer(EVENTS + chunk(b": hi\n\n"), CLOSE)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_until(b": hi\n\n\r\n")
        try:
            rest = await client.read_rest()
        except ConnectionResetError:
            rest = b""
        assert rest == b""
    assert running.exchanges[0].abort is Abort.UPSTREAM_CLOSED


async def test_server_that_went_and_came_back_is_found(proxy: ProxyFactory, tmp_path: Path) -> None:
    path = tmp_path / "server"
    running = await proxy(f"unix:{path}", listen=f"unix:{tmp_path}/proxy")
    statuses = []
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):
            await client.send(post())
            statuses.append((await client.read_response()).status)
            async with ScriptedUpstream.running(str(path)) as server:
                server.answer_always(OK)
                await client.send(post())
                statuses.append((await client.read_response()).status)
            path.unlink(missing_ok=True)
    assert statuses == [502, 200, 502, 200]


async def test_who_may_connect_is_decided_by_the_umask(
    proxy: ProxyFactory, server: ScriptedUpstream, tmp_path: Path
) -> None:
    before = os.umask(0o117)
    try:
        running = await start(proxy, server, tmp_path)
    finally:
        os.umask(before)
    path = running.url.removeprefix("unix:")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660  # noqa: PTH116  # no wait on a disk
