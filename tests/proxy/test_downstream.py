"""A client's connection: one request after the other, in order, whatever the client does."""

import asyncio
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from mcp_proxy_exporter.config import LimitSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, LimitHit
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.context import BUFFER_HIGH_WATER
from mcp_proxy_exporter.proxy.downstream import ClientConnection
from mcp_proxy_exporter.proxy.sockets import HangUps, keep_alive
from tests.support.messages import GET, OK, UNTIL_CLOSE, answer, post, post_chunked
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream, UpstreamSide
from tests.support.waiting import WAIT_SECONDS, until

FOREIGN = b"GET /%d HTTP/1.1\r\nHost: evil.test\r\n\r\n"


def only_client(running: RunningProxy) -> ClientConnection:
    (client,) = running.server._context.clients
    return client


def echo_targets(upstream: ScriptedUpstream) -> None:
    async def echo(side: UpstreamSide) -> None:
        await side.write(answer(upstream.requests[-1].target))

    upstream.answer_always(echo)


async def test_pipelined_requests_are_answered_in_order(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    echo_targets(upstream)
    requests = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" % number
        for number in range(200)
    )
    async with RawClient.connecting(running.url) as client:
        await client.send(requests)
        for number in range(200):
            assert (await client.read_response()).body == b"/%d" % number
    assert len(upstream.connections) == 1
    assert len(running.seen(HttpExchangeClosed)) == 200


async def test_pipelined_requests_cut_anywhere_are_answered_in_order(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    echo_targets(upstream)
    stream = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(20))
    async with RawClient.connecting(running.url) as client:
        for start in range(0, len(stream), 7):
            await client.send(stream[start : start + 7])
            await asyncio.sleep(0)
        for number in range(20):
            assert (await client.read_response()).body == b"/%d" % number


async def test_pipelined_requests_mixed_with_refused_ones_are_answered_in_order(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, host_header="upstream")
    echo_targets(upstream)
    host = running.url.removeprefix("http://").encode()
    own = b"GET /%d HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    kinds = [own if number % 3 == 0 else FOREIGN for number in range(200)]
    async with RawClient.connecting(running.url) as client:
        await client.send(b"".join(kind % number for number, kind in enumerate(kinds)))
        for number, kind in enumerate(kinds):
            response = await client.read_response()
            assert response.status == (200 if kind is own else 421)
            assert kind is FOREIGN or response.body == b"/%d" % number
    assert len(upstream.requests) == 67


async def test_thousands_of_refused_requests_in_one_read_do_not_recurse(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, host_header="upstream")
    count = 2000
    async with RawClient.connecting(running.url) as client:
        sending = asyncio.create_task(client.send(b"".join(FOREIGN % i for i in range(count))))
        for _ in range(count):
            assert (await client.read_response()).status == 421
        await sending
    assert len(running.seen(HttpExchangeClosed)) == count


async def test_answers_that_nobody_reads_stop_the_next_requests(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, host_header="upstream")
    flood = b"".join(FOREIGN % i for i in range(1000))
    peer = await connect_blocking(running, receive_buffer=4096)
    peer.settimeout(0)
    client = only_client(running)
    connection = client._transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    refused_sends = 0
    async with asyncio.timeout(WAIT_SECONDS):
        while refused_sends < 50:
            try:
                peer.send(flood)
            except BlockingIOError:
                refused_sends += 1
            await asyncio.sleep(0.001)
    assert client.write_paused
    assert client._transport.get_write_buffer_size() < 2 * BUFFER_HIGH_WATER
    assert client._reader.pending < 1_000_000
    answered = len(running.seen(HttpExchangeClosed))
    # Once they are read, what was sent is answered.
    received = await read_some(peer, lambda: len(running.seen(HttpExchangeClosed)) > answered)
    assert received.startswith(b"HTTP/1.1 421 ")
    peer.close()


async def test_pipelined_bytes_behind_a_running_request_are_bounded(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await upstream.wait_for_requests(1)
        flood = asyncio.create_task(client.send(post(bytes(8 * 1024 * 1024))))
        await until(lambda: only_client(running)._paused)
        assert only_client(running)._reader.pending < 1_000_000
        gate.set()
        assert (await client.read_response()).body == b"ok"
        assert (await client.read_response()).status == 204
        await flood
    assert len(upstream.requests[1].body) == 8 * 1024 * 1024


async def test_client_behind_a_full_pipeline_is_seen_to_leave(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await upstream.wait_for_requests(1)
        await client.send(GET * 4000)
        await until(lambda: only_client(running)._paused)
    await upstream.connections[0].wait_ended()
    await running.wait_for(HttpExchangeClosed)
    await until(lambda: not running.server._context.clients)
    assert len(upstream.requests) == 1
    assert running.exchanges[0].abort is Abort.CLIENT_GONE


async def test_half_closed_client_counts_as_gone(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await upstream.wait_for_requests(1)
        client.half_close()
        await upstream.connections[0].wait_ended()
        await client.read_eof()
    (closed,) = running.seen(HttpExchangeClosed)
    assert closed.status == 0
    assert running.exchanges[0].abort is Abort.CLIENT_GONE


async def test_client_that_closes_with_its_last_byte_leaves_nothing_behind(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(asyncio.Event().wait)
    for number in range(20):
        peer = await connect_blocking(running)
        peer.sendall(post())
        peer.close()
        await running.wait_for(HttpExchangeClosed, number + 1)
    await until(lambda: not running.server._context.clients)
    await until(lambda: running.server.connections()["upstream", "active"] == 0)
    assert {exchange.abort for exchange in running.exchanges} == {Abort.CLIENT_GONE}
    assert len(running.seen(HttpExchangeClosed)) == 20


async def test_client_that_closes_after_its_answer_costs_no_upstream_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(OK)
    for _ in range(10):
        async with RawClient.connecting(running.url) as client:
            await client.send(post())
            await client.read_response()
    assert len(upstream.connections) == 1
    assert {exchange.abort for exchange in running.exchanges} == {None}


@pytest.mark.parametrize(
    ("garbage", "status"),
    [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/2.0\r\n\r\n", 505), (b"GET / HTTP/1.1\r\n", 431)],
)
async def test_garbage_is_answered_and_the_answer_survives_what_still_comes(
    proxy: ProxyFactory, upstream: ScriptedUpstream, garbage: bytes, status: int
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(head_bytes=1024))
    filler = b"A: " + b"a" * 2000 if status == 431 else b"GET"
    peer = await connect_blocking(running)
    peer.sendall(garbage + filler)
    await running.wait_for(HttpExchangeClosed)
    for _ in range(50):  # more arrives while the answer is on its way
        peer.sendall(b"x" * 1000)
        await asyncio.sleep(0)
    received = await read_some(peer, lambda: False)
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in received
    assert received.count(b"Content-Length") == 1
    peer.close()
    (closed,) = running.seen(HttpExchangeClosed)
    assert len(running.seen(LimitHit)) == (status == 431)
    assert isinstance(closed, HttpExchangeClosed)
    assert (closed.method, closed.status) == ("", status)
    assert running.exchanges == []


async def test_garbage_behind_a_request_is_answered_after_it(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET + b"nonsense\r\n\r\n" + GET)
        assert (await client.read_response()).body == b"ok"
        assert (await client.read_response()).status == 400
        await client.read_eof()
    assert len(upstream.requests) == 1


async def test_pipelined_request_with_a_broken_body_is_answered_400(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET + post_chunked(b"x") + b"zz\r\n")
        assert (await client.read_response()).body == b"ok"
        assert (await client.read_response()).status == 400
        await client.read_eof()
    assert running.exchanges[1].abort is Abort.REJECTED
    assert len(running.seen(HttpExchangeClosed)) == 2


async def test_empty_lines_between_requests_are_ignored(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(OK)
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):
            await client.send(GET + b"\r\n")
            assert (await client.read_response()).body == b"ok"
    assert len(upstream.requests) == 2


async def test_client_that_resets_while_it_is_answered_leaves_cleanly(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()

    async def stream(side: UpstreamSide) -> None:
        await side.write(UNTIL_CLOSE)
        await gate.wait()
        for _ in range(100):
            await side.write(bytes(65_536))

    upstream.answer(stream)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_head()
        client.reset()
    gate.set()
    await upstream.connections[0].wait_ended()
    (closed,) = await running.wait_for(HttpExchangeClosed)
    assert closed.status == 200
    assert running.exchanges[0].abort is Abort.CLIENT_GONE


async def test_client_that_resets_just_before_it_is_refused_leaves_cleanly(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await proxy(upstream.url)
    refuse = ClientConnection._refuse

    async with RawClient.connecting(running.url) as client:

        def reset_first(connection: ClientConnection, error: object) -> None:
            client.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            client.reset()
            refuse(connection, error)  # type: ignore[arg-type]

        monkeypatch.setattr(ClientConnection, "_refuse", reset_first)
        client.writer.write(b"nonsense\r\n\r\n")
        await until(lambda: not running.server._context.clients)
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_connection_that_is_closing_takes_what_comes_late(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        connection = only_client(running)
        connection.abort()
        connection.write(b"late")
        connection.pause_reading()
        connection.resume_reading()
        connection.take_body(b"late")
        connection.take_end(b"")
        connection.finish_exchange(keep=False)
        connection.truncate(visible=False)
        assert connection._lingering_since is None
        with suppress(ConnectionResetError):
            await client.read_eof()
    await until(lambda: not running.server._context.clients)
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_refused_client_is_not_read_again_once_it_has_read_its_answer(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"nonsense\r\n\r\n" + GET)
        assert (await client.read_response()).status == 400
        connection = only_client(running)
        connection.pause_writing()
        connection.resume_writing()
        await client.read_eof()
    assert upstream.connections == []


async def test_each_connection_asks_tcp_to_find_vanished_peers(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        for transport in (
            only_client(running)._transport,
            running.server._context.pool._idle[0]._transport,
        ):
            connection = transport.get_extra_info("socket")
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_local_address_is_known_on_tcp_only(
    proxy: ProxyFactory, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    for listen, expected in (("127.0.0.1:0", "127.0.0.1"), (f"unix:{tmp_path}/proxy", None)):
        running = await proxy(upstream.url, listen=listen)
        async with RawClient.connecting(running.url) as client:
            await client.send(GET)
            assert (await client.read_response()).status == 204
            assert only_client(running).local_host == expected


async def test_hang_up_that_ends_another_watch_is_told_alone() -> None:
    watch = HangUps()
    told: list[int] = []
    pairs = [socket.socketpair() for _ in range(2)]
    ours = [pair[0].fileno() for pair in pairs]

    def forget_both(descriptor: int) -> None:
        told.append(descriptor)
        for other in ours:
            watch.forget(other)

    for descriptor in ours:
        watch.watch(descriptor, partial(forget_both, descriptor))
    for _, theirs in pairs:
        theirs.close()
    await until(lambda: told)
    await asyncio.sleep(0.05)
    assert len(told) == 1
    for mine, _ in pairs:
        mine.close()


def test_socket_whose_peer_is_gone_needs_no_options() -> None:
    class Gone:
        family = socket.AF_INET

        def setsockopt(self, *_: object) -> None:
            raise OSError(22, "Invalid argument")

    class Transport(asyncio.BaseTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:  # noqa: ARG002
            return Gone()

    keep_alive(Transport())


async def connect_blocking(running: RunningProxy, *, receive_buffer: int = 0) -> socket.socket:
    """Open a connection that no event loop reads."""
    host, port = running.url.removeprefix("http://").split(":")
    peer = socket.socket()
    if receive_buffer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    peer.connect((host, int(port)))  # the backlog takes it
    await until(lambda: running.server._context.clients)
    return peer


async def read_some(peer: socket.socket, enough: object) -> bytes:
    """Read until the end of the stream, or until there is enough."""
    assert callable(enough)
    peer.settimeout(0)
    received = b""
    async with asyncio.timeout(WAIT_SECONDS):
        while not enough():
            try:
                data = peer.recv(65_536)
            except BlockingIOError:
                await asyncio.sleep(0.001)
                continue
            if not data:
                break
            received += data
    return received
