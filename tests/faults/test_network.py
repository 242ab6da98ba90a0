"""Faults of the network itself, between this machine and a namespace: they need root."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from tests.support.fault_messages import (
    EVENTS_TYPE,
    FAULTY,
    GOOD,
    WARM_UP,
    Request,
    in_chunks,
    make_request,
    make_result,
)
from tests.support.fault_network import PORT, Namespace, open_namespace
from tests.support.fault_product import Product, count_sockets, run_product
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.waiting import until

NOTE = b"data: 1\n\n"
KEEP_ALIVE_SECONDS = 60.0
"""30 s of silence, then three probes 10 s apart (`proxy/sockets.py`)."""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with open_namespace() as opened:
        yield opened


@pytest.fixture
async def upstream(namespace: Namespace) -> AsyncIterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    upstream.url = f"http://{namespace.address}:{PORT}"
    loop = asyncio.get_running_loop()
    upstream._server = await loop.create_server(upstream._build, sock=namespace.listen())
    yield upstream
    await upstream.stop()


async def call(product: Product, client: RawClient, number: int) -> int:
    """Make a call; give its status."""
    await client.send(*make_request(Request.CALL, number, product.host))
    return (await client.read_response()).status


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (("REJECT", "--reject-with", "tcp-reset"), "connect_refused"),
        (("REJECT", "--reject-with", "icmp-port-unreachable"), "connect_refused"),
        (("REJECT", "--reject-with", "icmp-host-unreachable"), "connect_failed"),
        (("DROP",), "connect_timeout"),
    ],
)
async def test_a_firewall_before_the_upstream_is_told_by_its_manner(
    namespace: Namespace, upstream: ScriptedUpstream, target: tuple[str, ...], reason: str
) -> None:
    base = count_sockets()
    upstream.answer_always(make_result(GOOD))
    async with (
        run_product(upstream.url, TimeoutSettings(connect=1.0, drain=0.0)) as product,
        RawClient.connecting(product.url) as client,
    ):
        namespace.filter(*target)
        assert await call(product, client, FAULTY) == 502
        namespace.unfilter()
        assert await call(product, client, GOOD) == 200
        scrape = await product.settle()
        assert product.holdings() == {}
    assert scrape.table("mcp_upstream_failures_total", ("reason",)) == {(reason,): 1}
    assert scrape.table("mcp_tool_calls_total", ("outcome",)) == {
        ("upstream_unreachable",): 1, ("success",): 1,
    }  # fmt: skip
    assert len(upstream.heads) == 1
    await until(lambda: count_sockets() == base)


async def test_a_firewall_that_resets_a_kept_connection_costs_one_call_which_arrives_never(
    namespace: Namespace, upstream: ScriptedUpstream
) -> None:
    upstream.answer(make_result(WARM_UP))
    upstream.answer(make_result(GOOD))
    async with (
        run_product(upstream.url, TimeoutSettings(upstream_idle=60.0, drain=0.0)) as product,
        RawClient.connecting(product.url) as client,
    ):
        assert await call(product, client, WARM_UP) == 200
        namespace.filter("REJECT", "--reject-with", "tcp-reset")
        assert await call(product, client, FAULTY) == 502
        namespace.unfilter()
        assert await call(product, client, GOOD) == 200
        scrape = await product.settle()
        assert product.pool.idle == 1
    assert scrape.table("mcp_upstream_failures_total", ("reason",)) == {("closed_before_head",): 1}
    assert scrape.table("mcp_tool_calls_total", ("outcome",)) == {
        ("upstream_closed",): 1, ("success",): 2,
    }  # fmt: skip
    assert len(upstream.heads) == 2


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_an_upstream_that_vanishes_mid_stream_is_found_within_about_a_minute(
    namespace: Namespace, upstream: ScriptedUpstream
) -> None:
    upstream.answer_always(in_chunks(NOTE, fields=(EVENTS_TYPE,)), asyncio.Event().wait)
    async with (
        run_product(upstream.url, TimeoutSettings(drain=0.0)) as product,
        RawClient.connecting(product.url) as listening,
        RawClient.connecting(product.url) as calling,
    ):
        await listening.send(*make_request(Request.STREAM, FAULTY, product.host))
        await calling.send(*make_request(Request.CALL, FAULTY, product.host))
        for client in (listening, calling):
            assert (await client.read_until(NOTE)).endswith(NOTE)
        namespace.fall_silent()
        started = time.perf_counter()
        async with asyncio.timeout(2 * KEEP_ALIVE_SECONDS):
            rests = [await client.reader.read() for client in (listening, calling)]
        took = time.perf_counter() - started
        scrape = await product.settle()
        assert product.holdings() == {}
        assert product.pool.active == 0
    print(f"found after {took:.1f} s")  # noqa: T201  # for -s
    assert rests == [b"\r\n"] * 2  # of the chunk; never a last one
    assert took > KEEP_ALIVE_SECONDS / 2
    assert scrape.table("mcp_upstream_failures_total", ("reason",)) == {("truncated",): 2}
    assert scrape.table("mcp_tool_calls_total", ("outcome",)) == {("upstream_closed",): 1}
    assert scrape.total("mcp_streams_open") == 0
