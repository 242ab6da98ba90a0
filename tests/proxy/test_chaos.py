"""Clients and servers that do anything at any moment: every exchange still ends once."""

import asyncio
import random
from contextlib import suppress

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed
from tests.support.messages import (
    CHUNKED,
    EVENTS,
    GET,
    LAST_CHUNK,
    OK,
    UNTIL_CLOSE,
    answer,
    chunk,
    post,
    post_chunked,
)
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, RESET, Moment, ScriptedUpstream, Step
from tests.support.waiting import until

CONVERSATIONS = 60
AT_ONCE = 6
PATIENCE = 0.15
"""Seconds that a client waits for anything before it leaves."""

REQUESTS = (
    GET,
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    post(b"{}"),
    post(b"{}", b"Connection: close"),
    post(b"{}", version=b"1.0"),
    post(b"{}", b"Expect: 100-continue"),
    post_chunked(b"a", b"bc") + LAST_CHUNK,
    post_chunked(b"a") + b"zz\r\n",
    post_chunked(b"never ended"),
    post(b"cut")[:-1],
    GET * 20,
    GET + post(b"{}") + GET[:9],
    b"nonsense\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
)
LARGE = post(bytes(300_000))
"""Comes first only: an end behind so much that waits for another answer cannot even be sent."""


async def never() -> None:
    """Keep the client waiting for good."""
    await asyncio.Event().wait()


ANSWERS: tuple[tuple[Step, ...], ...] = (
    (OK,),
    (OK + b"extra",),
    (answer(bytes(500_000)),),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK,),
    (CHUNKED + chunk(b"a"), chunk(b"b") + LAST_CHUNK),
    (CHUNKED + chunk(b"a"), CLOSE),
    (CHUNKED + chunk(b"a"), RESET),
    (CHUNKED + b"zz\r\n",),
    (UNTIL_CLOSE + b"a", CLOSE),
    (UNTIL_CLOSE + b"a", RESET),
    (EVENTS + chunk(b": 1\n\n"), never),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CLOSE),
    (b"HTTP/1.1 200 OK\r\nConte", RESET),
    (b"nonsense\r\n\r\n",),
    (CLOSE,),
    (RESET,),
    (never,),
)


@pytest.mark.parametrize("seed", range(4))
async def test_every_exchange_ends_once_whatever_either_side_does(
    proxy: ProxyFactory, upstream: ScriptedUpstream, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # to be repeated, not to be secret
    running = await proxy(
        upstream.url, timeouts=TimeoutSettings(client_head=0.2, client_body=0.2, upstream_idle=0.2)
    )
    for _ in range(CONVERSATIONS * 30):
        upstream.answer(
            *chance.choice(ANSWERS), when=chance.choice((Moment.WHOLE, Moment.WHOLE, Moment.HEAD))
        )
    places = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for _ in range(CONVERSATIONS):
            group.create_task(converse(running, places, random.Random(chance.random())))  # noqa: S311
    await until(lambda: not running.server._context.clients)
    pool = running.server._context.pool
    await until(lambda: not pool._tasks and not pool._open)
    assert sum(running.server.connections().values()) == 0
    closed = running.seen(HttpExchangeClosed)
    refused = [event for event in closed if not event.method]
    assert len(closed) - len(refused) == len(running.exchanges) > CONVERSATIONS / 2
    for exchange in running.exchanges:
        ends = [call for call in exchange.calls if call in ("response_end", "aborted")]
        assert len(ends) == 1
        assert exchange.calls[-1] == ends[0]
    assert not running.server._context.hang_ups._watched


async def converse(running: RunningProxy, places: asyncio.Semaphore, chance: random.Random) -> None:
    """Send something in pieces, read or do not, and leave in one way or another."""
    async with places:
        client = await RawClient.connect(running.url)
        with suppress(OSError, RuntimeError):  # the latter is uvloop's word for a closed socket
            async with asyncio.timeout(PATIENCE):
                for number in range(chance.randint(1, 3)):
                    request = chance.choice(REQUESTS if number else (*REQUESTS, LARGE, LARGE))
                    cut = chance.randint(1, len(request))
                    await client.send(request[:cut])
                    await asyncio.sleep(chance.choice((0, 0, 0.003)))
                    if cut < len(request):
                        await client.send(request[cut:])
                    if chance.random() < 0.7:
                        await client.reader.read(chance.choice((1, 100, 1_000_000)))
                if chance.random() < 0.3:
                    client.half_close()
                await client.read_rest()
        if chance.random() < 0.3 and not client.writer.is_closing():
            client.reset()
        await client.close()
