"""Thousands of times the same race, with the whole product: nothing is sent twice or mixed up."""

import asyncio
import random
import socket
import time
from collections import Counter

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from tests.support.fault_messages import (
    GOOD,
    JSON_TYPE,
    Request,
    make_request,
    make_result,
    with_length,
)
from tests.support.fault_product import SERVER, Product, count_sockets, run_product
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape
from tests.support.scripted_upstream import RESET, ScriptedUpstream, UpstreamSide
from tests.support.waiting import until

POISONED = 10_000
RACES = 1_000
FLAPPING_SECONDS = 30.0
CLIENTS = 8
RECOVERY_SECONDS = 1.0
POISON = with_length(b"POISON", JSON_TYPE)


async def call(product: Product, client: RawClient, number: int) -> tuple[int, bytes]:
    """Make a call; give its status and its answer."""
    await client.send(*make_request(Request.CALL, number, product.host))
    response = await client.read_response()
    return response.status, response.body


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_ten_thousand_answers_to_nobody_reach_nobody_and_are_counted_nowhere() -> None:
    number = -1

    async def respond(side: UpstreamSide) -> None:
        await side.write(make_result(number))
        if number % 2:  # at once, or when the connection is idle
            await asyncio.sleep(0)
        await side.write(POISON)

    async with ScriptedUpstream.running() as upstream:
        upstream.answer_always(respond)
        async with (
            run_product(upstream.url, TimeoutSettings(drain=0.0)) as product,
            RawClient.connecting(product.url) as client,
        ):
            for number in range(POISONED):  # the upstream reads it
                status, body = await call(product, client, number)
                assert status == 200
                assert make_result(number).endswith(b"\r\n\r\n" + body)
                if number % 500 == 0:  # its records would slow the test down
                    forget(upstream)
            scrape = await product.settle()
            assert product.holdings() == {}
    calls = {("success",): POISONED}
    assert scrape.table("mcp_tool_calls_total", ("outcome",)) == calls
    assert scrape.table("mcp_requests_total", ("outcome",)) == calls
    assert scrape.table("mcp_http_requests_total", ("code",)) == {("200",): POISONED}
    assert scrape.total("mcp_upstream_failures_total") == 0
    assert scrape.total("mcp_late_responses_total") == 0


def forget(upstream: ScriptedUpstream) -> None:
    upstream.forget()
    upstream.connections[:] = [side for side in upstream.connections if not side.is_ended]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_server_that_closes_idle_connections_a_bit_later_than_we_costs_no_call() -> None:
    loop = asyncio.get_running_loop()
    rng = random.Random(6)  # noqa: S311  # nothing secret
    number = -1

    async def respond(side: UpstreamSide) -> None:
        served = len(upstream.heads)
        await side.write(make_result(number))
        # As the defaults stand to uvicorn's and Node's: ours is a bit shorter.
        loop.call_later(0.02, close_if_idle, side, served)

    def close_if_idle(side: UpstreamSide, served: int) -> None:
        if len(upstream.heads) == served and not side.writer.is_closing():
            side.writer.close()

    statuses: Counter[str] = Counter()
    timeouts = TimeoutSettings(upstream_idle=0.016, drain=0.0)
    async with ScriptedUpstream.running() as upstream:
        upstream.answer_always(respond)
        async with (
            run_product(upstream.url, timeouts) as product,
            RawClient.connecting(product.url) as client,
        ):
            for number in range(RACES):  # the upstream reads it
                status, _ = await call(product, client, number)
                statuses[str(status)] += 1
                await asyncio.sleep(rng.uniform(0.0, 0.03))
            scrape = await product.settle()
            assert product.holdings() == {}
        arrivals = Counter(request.body for request in upstream.requests)
        opened = len(upstream.connections)
    assert max(arrivals.values()) == 1
    assert statuses["200"] > RACES * 0.999
    assert opened > RACES / 10  # it did close many
    check_counts(scrape, statuses)


class Flapping:
    """An upstream that comes and goes, and clients that ask it all the time."""

    def __init__(self) -> None:
        self.upstream = ScriptedUpstream()
        self.upstream.answer_always(make_result(GOOD))
        self.statuses: Counter[str] = Counter()
        self.recoveries: list[float] = []
        """Seconds from each return to the first call that succeeded."""
        self._ends = time.perf_counter() + FLAPPING_SECONDS
        self._back_at: float | None = None
        """When it came back; None once a call succeeded."""

    async def come(self, holder: socket.socket) -> None:
        """Listen at the port of a socket that only keeps it from being anybody's own meanwhile."""
        host, port = holder.getsockname()
        self.upstream.url = f"http://{host}:{port}"
        self.upstream._server = await asyncio.get_running_loop().create_server(
            self.upstream._build, host, port, reuse_address=True
        )

    async def flap(self, holder: socket.socket) -> None:
        """Go and come back, at the same port."""
        upstream = self.upstream
        while time.perf_counter() < self._ends:
            await asyncio.sleep(0.15)
            assert upstream._server is not None
            upstream._server.close()
            for side in upstream.connections:
                side.end(RESET)
            upstream.connections.clear()
            upstream.forget()
            await asyncio.sleep(0.1)
            await self.come(holder)
            self._back_at = time.perf_counter()

    async def ask(self, product: Product) -> None:
        """Call until it has come back for good."""
        async with RawClient.connecting(product.url) as client:
            while time.perf_counter() < self._ends + RECOVERY_SECONDS:
                status, _ = await call(product, client, GOOD)
                self.statuses[str(status)] += 1
                if status == 200 and self._back_at is not None:
                    self.recoveries.append(time.perf_counter() - self._back_at)
                    self._back_at = None
                await asyncio.sleep(0.005)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_an_upstream_that_comes_and_goes_is_used_again_within_a_second() -> None:
    base = count_sockets()
    flapping = Flapping()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        await flapping.come(holder)
        async with run_product(flapping.upstream.url, TimeoutSettings(drain=0.0)) as product:
            asking = (flapping.ask(product) for _ in range(CLIENTS))
            await asyncio.gather(flapping.flap(holder), *asking)
            scrape = await product.settle()
            assert product.holdings() == {}
            assert product.pool.idle <= CLIENTS
    await flapping.upstream.stop()
    await until(lambda: count_sockets() == base)
    statuses, recoveries = flapping.statuses, flapping.recoveries
    assert set(statuses) == {"200", "502"}
    print(f"{len(recoveries)} returns, the slowest was used after {max(recoveries):.3f} s")  # noqa: T201  # for -s
    assert len(recoveries) > 10
    assert max(recoveries) < RECOVERY_SECONDS
    check_counts(scrape, statuses)
    assert scrape.total("mcp_proxy_limit_hits_total") == 0
    assert scrape.value("mcp_upstream_up", server=SERVER) == 1


def check_counts(scrape: Scrape, statuses: Counter[str]) -> None:
    """Every exchange is counted once, and every failure with its call."""
    table = {(status,): count for status, count in statuses.items()}
    assert scrape.table("mcp_http_requests_total", ("code",)) == table
    assert scrape.total("mcp_upstream_failures_total") == statuses["502"]
    assert scrape.total("mcp_tool_calls_total") == statuses.total()
    assert scrape.total("mcp_tool_calls_total", outcome="success") == statuses["200"]
