"""Whatever passes arrives byte for byte, and heads differ by the documented list only.

`tests.support.exchanges` says what must arrive; each example is a few exchanges on one connection
of a client, through one proxy that all examples share.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.exchanges import Exchange, exchanges
from tests.support.proxies import RunningProxy, start_proxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, ScriptedUpstream, Step

EXAMPLES = 260
"""For each event loop."""
EXAMPLE_SECONDS = 20.0


class World:
    """One proxy, its upstream, and the loop that both live on while examples come and go."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.upstream = ScriptedUpstream()
        self.proxy: RunningProxy = loop.run_until_complete(self._start())

    async def _start(self) -> RunningProxy:
        await self.upstream.start()
        return await start_proxy(self.upstream.url)

    async def _stop(self) -> None:
        await self.proxy.stop()
        await self.upstream.stop()

    def close(self) -> None:
        self.loop.run_until_complete(self._stop())
        self.loop.close()

    def check(self, sequence: Sequence[Exchange]) -> None:
        self.upstream.forget()
        self.proxy.exchanges.clear()
        self.proxy.events.clear()
        self.loop.run_until_complete(asyncio.wait_for(self._exchange(sequence), EXAMPLE_SECONDS))

    async def _exchange(self, sequence: Sequence[Exchange]) -> None:
        async with RawClient.connecting(self.proxy.url) as client:
            for number, exchange in enumerate(sequence):
                await self._check_one(client, exchange, number)
                if exchange.request.closes:
                    await client.read_eof()
                    break

    async def _check_one(self, client: RawClient, exchange: Exchange, number: int) -> None:
        request, response = exchange.request, exchange.response
        steps: list[Step] = [
            step for piece in exchange.cut(response.wire) for step in (piece, tick)
        ]
        self.upstream.answer(*steps, *([CLOSE] if response.closes else []))
        for piece in exchange.cut(request.wire):
            await client.send(piece)
            await tick()
        await response.check(client, request)
        request.check(self.upstream.requests[number])
        seen = self.proxy.exchanges[number]
        assert (seen.request_body, seen.response_body) == (request.body.data, response.body.data)
        assert (seen.method, seen.target, seen.status) == (
            request.method, request.target, response.status,
        )  # fmt: skip


async def tick() -> None:
    """Let the other side read what was written, so that segments stay apart more often than not."""
    await asyncio.sleep(0)


def build_uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, build_uvloop])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    build: Callable[[], asyncio.AbstractEventLoop] = request.param
    running = World(build())
    yield running
    running.close()


@pytest.mark.timeout(300)
@settings(
    max_examples=EXAMPLES,
    # One proxy serves all examples, as it does in life; large bodies are the point.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large,
    ],
)  # fmt: skip
@given(sequence=st.lists(exchanges(), min_size=1, max_size=3))
def test_what_passes_arrives_byte_for_byte(world: World, sequence: list[Exchange]) -> None:
    world.check(sequence)
    world.check(sequence)  # again, with heads that are known by now
