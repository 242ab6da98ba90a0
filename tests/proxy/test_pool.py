"""Connections to the upstream: which are opened, which are kept, which are given away."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcp_proxy_exporter.config import TcpAddress, TimeoutSettings
from mcp_proxy_exporter.protocol.events import (
    HttpExchangeClosed,
    UpstreamConnected,
    UpstreamFailed,
)
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.pool import _look_up
from tests.support.deadlines import Clock, sweep
from tests.support.messages import GET, OK, answer, post
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.waiting import until

Found = tuple[int, int, int, str, tuple[Any, ...]]


@contextmanager
def silent_listener() -> Iterator[int]:
    """Listen with a full backlog: what comes now is neither accepted nor refused. Give the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port: int = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            peer = socket.socket()
            peer.settimeout(0)
            peer.connect_ex(("127.0.0.1", port))
            waiting.append(peer)
        yield port
        for peer in waiting:
            peer.close()


@asynccontextmanager
async def listening_on(host: str, port: int = 0) -> AsyncIterator[tuple[ScriptedUpstream, int]]:
    """Listen on another address than 127.0.0.1."""
    upstream = ScriptedUpstream()
    server = await asyncio.get_running_loop().create_server(upstream._build, host, port)
    try:
        yield upstream, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await upstream.stop()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Let every name stand for these addresses."""

    async def look_up(_: object) -> list[Found]:
        return [
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
            for host, port in addresses
        ]

    monkeypatch.setattr("mcp_proxy_exporter.proxy.pool._look_up", look_up)


async def exchange(running: RunningProxy) -> int:
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        return (await client.read_response()).status


async def test_connection_used_last_is_used_next_and_the_others_age(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    gate = asyncio.Event()
    upstream.answer_always(gate.wait, OK)
    clients = [await RawClient.connect(running.url) for _ in range(5)]
    for client in clients:
        await client.send(GET)
    await upstream.wait_for_requests(5)
    assert running.server.connections()["upstream", "active"] == 5
    gate.set()
    for client in clients:
        await client.read_response()
    assert running.server.connections()["upstream", "idle"] == 5
    for _ in range(3):
        clock.now += 2.0
        await clients[0].send(GET)
        await clients[0].read_response()
        sweep(running)
        await asyncio.sleep(0)
    await until(lambda: running.server.connections()["upstream", "idle"] == 1)
    assert len(upstream.connections) == 5
    assert len({request.connection for request in upstream.requests[5:]}) == 1
    for client in clients:
        await client.close()


async def test_connection_that_was_idle_too_long_is_not_used_even_before_it_is_closed(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    for _ in range(2):
        assert await exchange(running) == 204
        clock.now += 4.1
    assert len(upstream.connections) == 2
    await upstream.connections[0].wait_closed()


async def test_no_connection_is_kept_where_no_idle_time_is_allowed(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, timeouts=TimeoutSettings(upstream_idle=0))
    for number in range(2):
        assert await exchange(running) == 204
        await upstream.connections[number].wait_closed()
    assert len(upstream.connections) == 2


async def test_name_with_two_addresses_reaches_the_one_that_listens_and_remembers_it(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(
        f"http://both.test:{port}", timeouts=TimeoutSettings(upstream_idle=0, connect=0.6)
    )
    with silent_listener() as silent:
        resolve_to(monkeypatch, ("127.0.0.1", silent), ("127.0.0.1", port))
        assert await exchange(running) == 204  # the silent one had half of the time
        assert await exchange(running) == 204
    slow, quick = running.seen(UpstreamConnected)
    assert 0.25 < slow.duration < 0.6
    assert quick.duration < 0.25
    assert running.seen(UpstreamFailed) == []


async def test_address_that_refuses_leaves_it_to_the_next(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(f"http://both.test:{port}")
    resolve_to(monkeypatch, ("127.0.0.9", port), ("127.0.0.1", port))
    assert await exchange(running) == 204
    assert len(running.seen(UpstreamConnected)) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("order", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
async def test_localhost_is_found_whichever_family_listens(
    proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch, host: str, order: tuple[str, str]
) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with listening_on(host) as (upstream, port):
        running = await proxy(f"http://localhost:{port}")
        resolve_to(monkeypatch, *((address, port) for address in order))
        assert await exchange(running) == 204
        assert len(upstream.requests) == 1


async def test_localhost_is_looked_up_by_the_system(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url.replace("127.0.0.1", "localhost"))
    assert await exchange(running) == 204


async def test_name_without_an_address_is_a_failure(
    proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await proxy("http://none.test:1")
    resolve_to(monkeypatch)
    assert await exchange(running) == 502
    assert [failed.reason for failed in running.seen(UpstreamFailed)] == ["connect_failed"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6_upstream_is_reached_and_named(proxy: ProxyFactory) -> None:
    async with listening_on("::1") as (upstream, port):
        running = await proxy(f"http://[::1]:{port}")
        async with RawClient.connecting(running.url) as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.read_response()).status == 204
        assert upstream.heads[0].values(b"host") == [b"[::1]:%d" % port]


async def test_zone_of_an_ipv6_address_is_kept(proxy: ProxyFactory) -> None:
    host = link_local_address()
    if host is None:
        pytest.skip("no link-local IPv6 address here")
    async with listening_on(host) as (upstream, port):
        running = await proxy(f"http://[::1]:{port}")
        pool = running.server._context.pool
        pool._upstream = replace(pool._upstream, address=TcpAddress(host, port))
        assert await exchange(running) == 204
        assert len(upstream.requests) == 1


def link_local_address() -> str | None:
    table = Path("/proc/net/if_inet6")
    if not table.exists():
        return None
    for line in table.read_text().splitlines():
        digits, *_, device = line.split()
        if digits.startswith("fe80") and not device.startswith("fn"):  # fault_network makes those
            return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{device}"
    return None


async def test_unix_socket_upstream_is_reached(proxy: ProxyFactory, tmp_path: Path) -> None:
    async with ScriptedUpstream.running(f"{tmp_path}/server") as upstream:
        upstream.answer(answer(b"unix"))
        running = await proxy(upstream.url)
        async with RawClient.connecting(running.url) as client:
            await client.send(GET)
            assert (await client.read_response()).body == b"unix"
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.read_response()).status == 204
        assert len(upstream.connections) == 1
        assert upstream.heads[1].values(b"host") == [b"localhost"]


async def test_upstream_that_accepts_nobody_is_502_after_the_connect_timeout(
    proxy: ProxyFactory,
) -> None:
    with silent_listener() as port:
        running = await proxy(f"http://127.0.0.1:{port}", timeouts=TimeoutSettings(connect=0.05))
        assert await exchange(running) == 502
    assert [failed.reason for failed in running.seen(UpstreamFailed)] == ["connect_timeout"]
    (closed,) = running.seen(HttpExchangeClosed)
    assert 0.04 < closed.duration < 1.0
    assert running.exchanges[0].abort is Abort.UPSTREAM_UNREACHABLE
    assert running.server.connections()["upstream", "active"] == 0


async def test_client_that_leaves_while_connecting_ends_the_attempt(proxy: ProxyFactory) -> None:
    with silent_listener() as port:
        running = await proxy(f"http://127.0.0.1:{port}")
        async with RawClient.connecting(running.url) as client:
            await client.send(post())
            await until(lambda: running.server._context.pool._tasks)
        (closed,) = await running.wait_for(HttpExchangeClosed)
        await until(lambda: not running.server._context.pool._tasks)
    assert closed.status == 0
    assert running.exchanges[0].abort is Abort.CLIENT_GONE
    assert running.seen(UpstreamFailed) == []


async def test_client_that_leaves_at_any_moment_of_connecting_leaks_no_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(asyncio.Event().wait)
    for turns in range(60):
        client = await RawClient.connect(running.url)
        client.writer.write(post())
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        client.reset()
        await running.wait_for(HttpExchangeClosed, turns + 1) if turns % 12 > 8 else None
    pool = running.server._context.pool
    await until(lambda: not running.server._context.clients)
    await until(lambda: not pool._tasks)
    await until(lambda: not pool._open)
    for side in upstream.connections:
        await side.wait_ended()


async def test_upload_waits_within_bounds_for_a_connection(proxy: ProxyFactory) -> None:
    with silent_listener() as port:
        running = await proxy(f"http://127.0.0.1:{port}")
        async with RawClient.connecting(running.url) as client:
            client.writer.write(post(bytes(16 * 1024 * 1024)))
            await until(lambda: running.exchanges and any_paused(running))
            assert len(running.exchanges[0].request_body) < 1_000_000
            client.reset()
            # Not read, and yet seen to leave.
            await running.wait_for(HttpExchangeClosed)


async def test_stopping_ends_attempts_and_connections(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(asyncio.Event().wait)
    client = await RawClient.connect(running.url)
    await client.send(post())
    await upstream.wait_for_requests(1)
    await running.stop()
    assert running.server.connections() == {
        ("client", "active"): 0,
        ("client", "idle"): 0,
        ("upstream", "active"): 0,
        ("upstream", "idle"): 0,
    }
    await upstream.connections[0].wait_ended()
    await client.close()


async def test_exchanges_share_one_look_up(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(f"http://name.test:{port}", timeouts=TimeoutSettings(upstream_idle=0))
    resolver = Resolver(monkeypatch, port)
    asking = [asyncio.ensure_future(exchange(running)) for _ in range(40)]
    await until(lambda: len(running.server._context.pool._tasks) == 40)
    await asyncio.sleep(0)
    assert [thread.daemon for thread in looking_up()] == [True]
    resolver.answers.set()
    assert await asyncio.gather(*asking) == [204] * 40
    assert resolver.asked == 1
    assert await exchange(running) == 204
    assert resolver.asked == 2  # nothing is kept: who resolves names knows how long they hold
    await until(lambda: not looking_up())


async def test_each_exchange_waits_for_the_resolver_as_long_as_it_may(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(f"http://name.test:{port}", timeouts=TimeoutSettings(connect=0.2))
    resolver = Resolver(monkeypatch, port)
    first = asyncio.ensure_future(exchange(running))
    await until(lambda: running.server._context.pool._tasks)
    await asyncio.sleep(0.1)
    second = asyncio.ensure_future(exchange(running))
    assert await first == 502
    assert not second.done()
    assert await second == 502
    assert [failed.reason for failed in running.seen(UpstreamFailed)] == ["dns", "dns"]
    # It has hung for longer than anybody waits, so it is asked once more.
    third = asyncio.ensure_future(exchange(running))
    await until(lambda: len(looking_up()) == 2)
    resolver.answers.set()
    assert await third == 204
    assert resolver.asked == 2


async def test_client_that_leaves_takes_no_look_up_from_the_others(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(f"http://name.test:{port}")
    resolver = Resolver(monkeypatch, port)
    async with RawClient.connecting(running.url) as impatient:
        await impatient.send(post())
        await until(lambda: running.server._context.pool._tasks)
    await running.wait_for(HttpExchangeClosed)
    await until(lambda: not running.server._context.pool._tasks)
    patient = asyncio.ensure_future(exchange(running))
    await until(lambda: running.server._context.pool._tasks)
    resolver.answers.set()
    assert await patient == 204
    assert resolver.asked == 1


async def test_failed_look_up_is_told_to_all_and_the_next_exchange_asks_anew(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(f"http://name.test:{port}")
    resolver = Resolver(monkeypatch, port)
    resolver.fails = True
    asking = [asyncio.ensure_future(exchange(running)) for _ in range(3)]
    await until(lambda: len(running.server._context.pool._tasks) == 3)
    resolver.answers.set()
    assert await asyncio.gather(*asking) == [502] * 3
    assert [failed.reason for failed in running.seen(UpstreamFailed)] == ["dns"] * 3
    resolver.fails = False
    assert await exchange(running) == 204


async def test_stopping_waits_for_no_resolver_and_its_late_answer_is_nobodys(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    running = await proxy(f"http://name.test:{port}")
    resolver = Resolver(monkeypatch, port)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await until(looking_up)
        async with asyncio.timeout(5.0):
            await running.stop()
    assert looking_up()
    resolver.answers.set()
    await until(lambda: not looking_up())
    await asyncio.sleep(0)


def test_late_answer_of_a_resolver_finds_no_loop_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    resolver = Resolver(monkeypatch, 1)

    async def ask() -> None:
        asking = asyncio.ensure_future(_look_up(TcpAddress("name.test", 1)))
        await asyncio.sleep(0)
        asking.cancel()

    asyncio.run(ask())
    [thread] = looking_up()
    resolver.answers.set()
    thread.join(5.0)
    assert not thread.is_alive()
    assert told == []


class Resolver:
    """The system's, which says nothing about names until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
        self.answers = threading.Event()
        self.asked = 0
        self.fails = False
        self._port = port
        self._ask = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, *arguments: Any, **options: Any) -> list[Any]:
        if host != "name.test" or options.get("flags"):
            return self._ask(host, *arguments, **options)
        self.asked += 1
        assert self.answers.wait(20.0)
        if self.fails:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self._ask("127.0.0.1", self._port, type=socket.SOCK_STREAM)


def looking_up() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "look-up"]


def any_paused(running: RunningProxy) -> bool:
    return any(client._paused for client in running.server._context.clients)


async def test_stopping_ends_an_attempt_that_is_under_way(proxy: ProxyFactory) -> None:
    with silent_listener() as port:
        running = await proxy(f"http://127.0.0.1:{port}")
        async with RawClient.connecting(running.url) as client:
            await client.send(post())
            await until(lambda: running.server._context.pool._tasks)
            async with asyncio.timeout(2.0):
                await running.stop()
            assert (await client.read_response()).status == 503
        assert not running.server._context.pool._tasks
