"""The same thing a thousand times, and the same again with an upstream that comes and goes."""

import asyncio
import random
import time
from collections import Counter

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, LimitHit, UpstreamFailed
from tests.support.messages import OK, answer
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import RESET, ScriptedUpstream, UpstreamSide
from tests.support.waiting import until

TARGETS = [
    b"/", b"//", b"///", b"/mcp", b"/mcp/", b"//mcp", b"/mcp//x", b"/./mcp", b"/../mcp", b"/a/..",
    b"/a/../../b", b"/%2e%2e/x", b"/%2E%2e%2fx", b"/%2F", b"/%2f%2F", b"/a%2Fb", b"/%5c..%5c",
    b"/\\", b"/\\\\x", b"/..\\x", b"/;", b"/;a", b"/a;b=c/d;e", b"/..;/x", b"/~a", b"/%7ea",
    b"/%7Ea", b"/+", b"/a+b%20c", b"/&&", b"/a&b=c", b"/?", b"/??", b"/?a", b"/?a=b&c=d&a=e",
    b"/?a=%26", b"/?/..", b"/?//x", b"/?a#b", b"/#", b"/a#b?c", b"/%0d%0aX:%20y", b"/%00", b"/%zz",
    b"/%", b"/%u0041", b"/{}", b"/|", b"/^`", b'/"<>', b"/'", b"/[::1]", b"/:80", b"/a:b@c",
    b"/*", b"/=", b"/,", b"/!$()", b"/\xff", b"/caf\xc3\xa9", b"/\xf0\x9f\x90\xb1",
    b"/" + b"a" * 9000,
]  # fmt: skip


async def test_any_target_arrives_as_it_was_and_leads_nowhere_else(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with ScriptedUpstream.running() as trap, RawClient.connecting(running.url) as client:
        place = trap.url.removeprefix("http://").encode()
        tempting = [
            b"//" + place + b"/x",
            b"/@" + place,
            b"/\\\\" + place,
            b"/" + trap.url.encode(),
        ]
        for target in (*TARGETS, *tempting):
            await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.read_response()).status == 204
        # RFC 9112 section 3.2.2: an absolute one names us; nothing ever connects to what it says.
        await client.send(b"GET " + trap.url.encode() + b"/y HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).status == 204
        assert trap.connections == []
    assert [request.target for request in upstream.requests] == [*TARGETS, *tempting, b"/y"]
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"HEAD", b"OPTIONS", b"POST"])
async def test_a_request_without_a_body_gains_none(
    proxy: ProxyFactory, upstream: ScriptedUpstream, method: bytes
) -> None:
    running = await proxy(upstream.url)
    raw = method + b" /mcp HTTP/1.1\r\nHost: a\r\nMcp-Session-Id: b\r\n\r\n"
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):
            await client.send(raw)
            assert (await client.read_response(method)).status == 204
    assert [request.raw for request in upstream.requests] == [raw, raw]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_thousand_unsolicited_answers_reach_nobody(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    number = -1

    async def respond(side: UpstreamSide) -> None:
        await side.write(
            answer(b"%d" % number) + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"
        )

    upstream.answer_always(respond)
    async with RawClient.connecting(running.url) as client:
        for number in range(10_000):  # the upstream reads it
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            assert (await client.read_response()).body == b"%d" % number
            if number % 500 == 0:  # its records would slow the test down
                upstream.requests.clear()
                running.exchanges.clear()
    assert running.seen(UpstreamFailed) == []


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_post_never_arrives_twice_at_a_server_that_closes_idle_connections(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    # As the defaults stand to uvicorn's and Node's: ours is a bit shorter.
    running = await proxy(upstream.url, timeouts=TimeoutSettings(upstream_idle=0.016))
    loop = asyncio.get_running_loop()

    async def respond(side: UpstreamSide) -> None:
        served = len(upstream.requests)
        await side.write(OK)
        loop.call_later(0.02, close_if_idle, side, served)

    def close_if_idle(side: UpstreamSide, served: int) -> None:
        if len(upstream.requests) == served and not side.writer.is_closing():
            side.writer.close()

    upstream.answer_always(respond)
    statuses: Counter[int] = Counter()
    rng = random.Random(6)  # noqa: S311  # nothing secret
    async with RawClient.connecting(running.url) as client:
        for number in range(1000):
            body = b"%04d" % number
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n" + body)
            statuses[(await client.read_response()).status] += 1
            await asyncio.sleep(rng.uniform(0.0, 0.03))
    bodies = Counter(request.body for request in upstream.requests)
    assert max(bodies.values()) == 1
    assert statuses[200] >= 999  # an error in a thousand at most
    assert len(upstream.connections) > 100  # it did close many


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_flapping_upstream_costs_its_own_time_only(proxy: ProxyFactory) -> None:
    upstream = ScriptedUpstream()
    upstream.answer_always(OK)
    await upstream.start()
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(upstream.url)
    statuses: Counter[int] = Counter()
    ends = time.perf_counter() + 10.0

    async def flap() -> None:
        loop = asyncio.get_running_loop()
        while time.perf_counter() < ends:
            await asyncio.sleep(0.1)
            assert upstream._server is not None
            upstream._server.close()
            for side in upstream.connections:
                side.end(RESET)
            upstream.connections.clear()
            await asyncio.sleep(0.1)
            upstream._server = await loop.create_server(
                upstream._build, "127.0.0.1", port, reuse_address=True
            )

    async def ask() -> None:
        async with RawClient.connecting(running.url) as client:
            while time.perf_counter() < ends:
                await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
                statuses[(await client.read_response()).status] += 1
                await asyncio.sleep(0.002)

    await asyncio.gather(flap(), *(ask() for _ in range(8)))
    assert set(statuses) == {200, 502}
    started = time.perf_counter()
    async with RawClient.connecting(running.url) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        assert (await client.read_response()).status == 200
    assert time.perf_counter() - started < 1.0
    assert len(running.seen(HttpExchangeClosed)) == statuses.total() + 1
    assert running.seen(LimitHit) == []
    pool = running.server._context.pool
    await until(lambda: not pool._tasks)
    assert pool.active == 0
    await upstream.stop()
