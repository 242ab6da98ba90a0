"""A listener from bind to drain, and the Host rules that it sets up."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed
from mcp_proxy_exporter.protocol.outcome import Abort
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
from tests.support.proxies import ProxyFactory, RunningProxy, start_proxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, Moment, ScriptedUpstream, UpstreamSide
from tests.support.transports import hold_back
from tests.support.waiting import WAIT_SECONDS, until


def gauges(running: RunningProxy) -> tuple[int, int, int, int]:
    """Return client active, client idle, upstream active, upstream idle."""
    connections = running.server.connections()
    return (
        connections["client", "active"],
        connections["client", "idle"],
        connections["upstream", "active"],
        connections["upstream", "idle"],
    )


# Listening


async def test_address_has_the_real_port(proxy: ProxyFactory, upstream: ScriptedUpstream) -> None:
    running = await proxy(upstream.url)
    (address,) = running.server.addresses
    host, port = address.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


async def test_empty_host_listens_on_every_interface(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, listen=":0")
    addresses = running.server.addresses
    assert any(address.startswith("http://0.0.0.0:") for address in addresses)
    port = next(a for a in addresses if "0.0.0.0" in a).rpartition(":")[2]
    async with RawClient.connecting(f"http://127.0.0.1:{port}") as client:
        await client.send(GET)
        assert (await client.read_response()).status == 204


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6_listener_serves(proxy: ProxyFactory, upstream: ScriptedUpstream) -> None:
    running = await proxy(upstream.url, listen="[::1]:0")
    assert running.url.startswith("http://[::1]:")
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).status == 204


async def test_taken_port_is_an_os_error(proxy: ProxyFactory, upstream: ScriptedUpstream) -> None:
    running = await proxy(upstream.url)
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        await start_proxy(upstream.url, listen=running.url.removeprefix("http://"))


async def test_unix_listener_serves_and_leaves_no_file(
    proxy: ProxyFactory, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "proxy"
    running = await proxy(upstream.url, listen=f"unix:{path}")
    assert running.server.addresses == [f"unix:{path}"]
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        assert (await client.read_response()).body == b"ok"
        await running.stop()
    assert not path.exists()


async def test_stale_unix_socket_is_replaced(
    proxy: ProxyFactory, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "proxy"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    running = await proxy(upstream.url, listen=f"unix:{path}")
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).status == 204


@pytest.mark.parametrize("backlog", [8, 0])
async def test_living_unix_socket_is_left_alone(
    upstream: ScriptedUpstream, tmp_path: Path, backlog: int
) -> None:
    path = tmp_path / "proxy"
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as waiting:
        living.bind(str(path))
        living.listen(backlog)
        waiting.connect(str(path))  # fills a backlog of none
        before = path.stat().st_ino
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await start_proxy(upstream.url, listen=f"unix:{path}")
        assert path.stat().st_ino == before


async def test_file_that_is_no_socket_is_left_alone(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "proxy"
    path.write_text("precious")
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        await start_proxy(upstream.url, listen=f"unix:{path}")
    assert path.read_text() == "precious"


async def test_unix_socket_of_a_successor_survives_our_stop(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "proxy"
    first = await start_proxy(upstream.url, listen=f"unix:{path}")
    os.rename(path, tmp_path / "aside")  # noqa: PTH104  # as a rolling update may
    second = await start_proxy(upstream.url, listen=f"unix:{path}")
    await first.stop()
    async with RawClient.connecting(second.url) as client:
        await client.send(GET)
        assert (await client.read_response()).status == 204
    await second.stop()
    assert not path.exists()


# The gauges


async def test_gauges_are_right_at_every_stage(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(gate.wait, CHUNKED + chunk(b"x"), gate.wait, LAST_CHUNK)
    assert gauges(running) == (0, 0, 0, 0)
    async with RawClient.connecting(running.url) as client:
        await until(lambda: gauges(running) == (0, 1, 0, 0))  # connected
        await client.send(GET[:10])
        await asyncio.sleep(0.01)
        assert gauges(running) == (0, 1, 0, 0)  # half a head
        await client.send(GET[10:])
        await upstream.wait_for_requests(1)
        assert gauges(running) == (1, 0, 1, 0)  # waiting for the answer
        gate.set()
        await client.read_response()
        assert gauges(running) == (0, 1, 0, 1)  # both kept
        upstream.answer(asyncio.Event().wait)
        await client.send(GET)
        await upstream.wait_for_requests(2)
        assert gauges(running) == (1, 0, 1, 0)
    await until(lambda: gauges(running) == (0, 0, 0, 0))  # the client left


# Stopping


async def test_stop_before_start_does_nothing(upstream: ScriptedUpstream) -> None:
    running = await start_proxy(upstream.url)
    await running.stop()
    await running.stop(grace=60)
    assert running.events == []


async def test_stop_closes_the_listener_and_idle_connections_at_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        async with asyncio.timeout(1.0):
            await running.stop(grace=60)
        await client.read_eof()
    with pytest.raises(ConnectionRefusedError):
        await RawClient.connect(running.url)
    await upstream.connections[0].wait_ended()


async def test_running_exchange_finishes_within_the_grace(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await upstream.wait_for_requests(1)
        stopping = asyncio.create_task(running.stop(grace=WAIT_SECONDS))
        await until(lambda: running.server._context.closes_clients)
        with pytest.raises(ConnectionRefusedError):
            await RawClient.connect(running.url)
        gate.set()
        response = await client.read_response()
        assert response.body == b"ok"
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
        async with asyncio.timeout(1.0):
            await stopping
    assert running.exchanges[0].abort is None


async def test_stream_that_began_before_the_drain_ends_its_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(CHUNKED + chunk(b"a"), gate.wait, LAST_CHUNK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_until(b"a\r\n")
        stopping = asyncio.create_task(running.stop(grace=WAIT_SECONDS))
        await until(lambda: running.server._context.closes_clients)
        gate.set()
        assert await client.read_rest() == LAST_CHUNK
        await stopping
    assert running.exchanges[0].abort is None


async def test_request_that_is_coming_in_is_served_during_the_drain(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET[:10])
        await until(lambda: any(c._reader.started for c in running.server._context.clients))
        stopping = asyncio.create_task(running.stop(grace=WAIT_SECONDS))
        await until(lambda: running.server._context.closes_clients)
        await client.send(GET[10:])
        response = await client.read_response()
        assert response.body == b"ok"
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
        await stopping


async def test_failure_during_the_drain_ends_the_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(gate.wait, CLOSE)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await upstream.wait_for_requests(1)
        stopping = asyncio.create_task(running.stop(grace=WAIT_SECONDS))
        await until(lambda: running.server._context.closes_clients)
        gate.set()
        response = await client.read_response()
        assert response.status == 502
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
        await stopping


async def test_exchange_without_an_answer_gets_503_after_the_grace(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await upstream.wait_for_requests(1)
        await running.stop(grace=0.05)
        response = await client.read_response()
        assert response.status == 503
        assert b"(shutting_down)" in response.body
        await client.read_eof()
        await upstream.connections[0].wait_ended()
    (exchange,) = running.exchanges
    assert exchange.abort is Abort.SHUTDOWN
    (closed,) = running.seen(HttpExchangeClosed)
    assert closed.status == 503


async def test_upload_that_failed_before_gets_503_after_the_grace(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CLOSE, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await upstream.wait_for_heads(1)
        await until(lambda: gauges(running)[2] == 0)
        await running.stop()
        assert (await client.read_response()).status == 503
    assert len(running.seen(HttpExchangeClosed)) == 1


@pytest.mark.parametrize("head", [EVENTS, CHUNKED])
async def test_stream_is_cut_without_a_last_chunk_after_the_grace(
    proxy: ProxyFactory, upstream: ScriptedUpstream, head: bytes
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(head + chunk(b"data: 1\n\n"), asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_until(b"data: 1\n\n\r\n")
        running.exchanges[0].awaited = True
        await running.stop(grace=0.05)
        await client.read_eof()
        await upstream.connections[0].wait_ended()
    assert running.exchanges[0].abort is Abort.SHUTDOWN


async def test_client_that_never_reads_cannot_hold_up_the_stop(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)

    async def flood(side: UpstreamSide) -> None:
        await side.write(UNTIL_CLOSE)
        while True:
            await side.write(bytes(65_536))

    upstream.answer(flood)
    client = await RawClient.connect(running.url)
    hold_back(client.writer)
    await client.send(post())
    await until(lambda: any(c.write_paused for c in running.server._context.clients))
    async with asyncio.timeout(2.0):
        await running.stop(grace=0.05)
    assert gauges(running) == (0, 0, 0, 0)
    client.reset()


async def test_lingering_client_does_not_hold_up_the_stop_beyond_its_grace(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"nonsense\r\n\r\n")
        assert (await client.read_response()).status == 400
        async with asyncio.timeout(2.0):
            await running.stop(grace=0.1)
    assert gauges(running) == (0, 0, 0, 0)


# Keep-alive and Host


async def test_no_idle_time_for_clients_means_no_keep_alive(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, timeouts=TimeoutSettings(client_idle=0))
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        response = await client.read_response()
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
    assert gauges(running)[3] == 1


@pytest.mark.parametrize(
    ("rule", "expected"), [("auto", b"client.test"), ("preserve", b"client.test")]
)
async def test_host_is_preserved_towards_plain_http(
    proxy: ProxyFactory, upstream: ScriptedUpstream, rule: str, expected: bytes
) -> None:
    running = await proxy(upstream.url, host_header=rule)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: client.test\r\n\r\n")
        assert (await client.read_response()).status == 204
    assert upstream.heads[0].values(b"host") == [expected]


@pytest.mark.parametrize("rule", ["upstream", "literal.test:81"])
async def test_host_is_rewritten_on_request_and_foreign_ones_are_refused(
    proxy: ProxyFactory, upstream: ScriptedUpstream, rule: str
) -> None:
    running = await proxy(upstream.url, host_header=rule, allowed_hosts=("good.test",))
    expected = upstream.url.removeprefix("http://") if rule == "upstream" else rule
    _, port = running.url.removeprefix("http://").split(":")
    hosts = {
        f"127.0.0.1:{port}": 204,
        f"localhost:{port}": 204,
        "good.test": 204,
        "good.test:99": 204,
        "evil.test": 421,
    }
    async with RawClient.connecting(running.url) as client:
        for host, status in hosts.items():
            await client.send(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
            assert (await client.read_response()).status == status
        await client.send(b"GET http://evil.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n")
        assert (await client.read_response()).status == 421
    assert {head.values(b"host")[0] for head in upstream.heads} == {expected.encode()}
    assert len(upstream.heads) == 4


async def test_foreign_origins_are_forbidden_and_listed_ones_served(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(
        upstream.url, allowed_origins=("https://App.example:443", "http://localhost:6274")
    )
    statuses = {
        b"": 204,
        b"Origin: https://app.example\r\n": 204,
        b"Origin: http://localhost:6274\r\n": 204,
        b"Origin: http://localhost:6275\r\n": 403,
        b"Origin: null\r\n": 403,
        b"Origin: https://evil.example\r\n": 403,
    }
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):  # and again, with heads that are known by now
            for line, status in statuses.items():
                await client.send(post(b"{}", *line.splitlines()))
                response = await client.read_response()
                assert response.status == status
                assert response.head.values(b"connection") == []
    # What is served has its Origin still: the upstream may judge as well.
    assert [head.values(b"origin") for head in upstream.heads] == 2 * [
        [],
        [b"https://app.example"],
        [b"http://localhost:6274"],
    ]
    assert sum(exchange.abort is Abort.REJECTED for exchange in running.exchanges) == 6


async def test_the_upstream_judges_origins_where_none_is_listed(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n"
    async with RawClient.connecting(running.url) as client:
        await client.send(raw)
        assert (await client.read_response()).status == 204
    assert upstream.heads[0].raw == raw


async def test_unix_listener_serves_every_host(
    proxy: ProxyFactory, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    running = await proxy(upstream.url, listen=f"unix:{tmp_path}/proxy", host_header="upstream")
    async with RawClient.connecting(running.url) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: whatever.test\r\n\r\n")
        assert (await client.read_response()).status == 204


async def test_configured_headers_are_set_and_replace_the_clients(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(
        upstream.url, headers={"Authorization": {"value": "Bearer ours"}, "X-New": {"value": "1"}}
    )
    async with RawClient.connecting(running.url) as client:
        await client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nauthorization: Bearer theirs\r\nA: b\r\n\r\n"
        )
        await client.read_response()
    (head,) = upstream.heads
    assert head.lines == (b"Host: a", b"A: b", b"Authorization: Bearer ours", b"X-New: 1")


async def test_configured_headers_cannot_be_replaced_by_trailers(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, headers={"X-Api-Key": {"value": "ours"}})
    trailers = b"x-api-key: theirs\r\nX-Sum: 1\r\nX_API_KEY: theirs\r\nA: b\r\n"
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x") + b"0\r\n" + trailers + b"\r\n")
        await client.read_response()
    (request,) = upstream.requests
    assert request.trailers == (b"X-Sum: 1", b"A: b")


async def test_listener_survives_its_clients_faults(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(answer(b"fine"))
    for piece in (b"", b"\r\n", GET[:7], post()[:-1], b"\x16\x03\x01"):
        client = await RawClient.connect(running.url)
        if piece:
            await client.send(piece)
        client.reset()
    await until(lambda: gauges(running)[:2] == (0, 0))
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).body == b"fine"
