"""A kept connection to the upstream: used again only when nothing can be wrong with it."""

import asyncio

import pytest

from mcp_proxy_exporter.config import LimitSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, UpstreamFailed
from mcp_proxy_exporter.proxy.upstream import UpstreamConnection
from mcp_proxy_exporter.proxy.wire import ResponseReader
from tests.support.messages import CHUNKED, GET, LAST_CHUNK, OK, answer, chunk, post
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, RESET, End, ScriptedUpstream, UpstreamSide

ROUNDS = 200
POISON = answer(b"POISON")


def mine(upstream: ScriptedUpstream) -> None:
    async def reply(side: UpstreamSide) -> None:
        await side.write(answer(upstream.requests[-1].target))

    upstream.answer_always(reply)


async def test_kept_connection_serves_one_request_after_the_other(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    mine(upstream)
    for number in range(20):
        async with RawClient.connecting(running.url) as client:
            await client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            assert (await client.read_response()).body == b"/%d" % number
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.002])
async def test_unsolicited_answer_never_reaches_a_client(
    proxy: ProxyFactory, upstream: ScriptedUpstream, seconds: float
) -> None:
    running = await proxy(upstream.url)
    mine(upstream)
    rounds = ROUNDS if not seconds else 20
    async with RawClient.connecting(running.url) as client:
        for number in range(rounds):
            if number:
                # Without a pause both arrive in one turn of the loop, in either order.
                side = upstream.connections[-1]
                request = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
                if number % 2:
                    side.writer.write(POISON)
                    await asyncio.sleep(seconds)
                    client.writer.write(request)
                else:
                    side.writer.write(POISON[:1])
                    await asyncio.sleep(seconds)
                    client.writer.write(request)
            else:
                client.writer.write(b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.read_response()).body == b"/%d" % number
    assert len(upstream.connections) == rounds
    assert running.seen(UpstreamFailed) == []


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_kept_connection_that_ends_before_the_next_request_is_not_used(
    proxy: ProxyFactory, upstream: ScriptedUpstream, end: End
) -> None:
    running = await proxy(upstream.url)
    mine(upstream)
    async with RawClient.connecting(running.url) as client:
        for number in range(ROUNDS):
            # A POST, which would not be sent a second time.
            request = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % number
            client.writer.write(request)
            assert (await client.read_response()).body == b"/%d" % number
            upstream.connections[-1].end(end)
            if number % 2:
                await upstream.connections[-1].wait_closed()
            else:
                # The end is on the wire, the proxy's loop has not come round to it.
                await asyncio.sleep(0)
    assert len(upstream.connections) == ROUNDS
    assert running.seen(UpstreamFailed) == []


async def test_idle_connection_that_speaks_is_closed_at_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        assert running.server.connections()["upstream", "idle"] == 1
        upstream.connections[0].writer.write(POISON)
        await upstream.connections[0].wait_ended()
        await asyncio.sleep(0)
        assert running.server.connections()["upstream", "idle"] == 0


async def test_reading_resumes_when_a_slow_clients_connection_is_kept(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    body = bytes(600_000)
    upstream.answer(answer(body))
    upstream.answer_always(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        (connection,) = running.server._context.pool._idle
        assert not connection._paused
        for _ in range(3):
            await client.send(GET)
            assert (await client.read_response()).body == b"ok"
    assert len(upstream.connections) == 1


async def test_slow_client_pauses_the_connection_that_it_gets_next(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await upstream.wait_for_requests(1)
        (downstream,) = running.server._context.clients
        (connection,) = running.server._context.pool._open
        downstream.pause_writing()
        paused = connection._paused
        gate.set()
        downstream.resume_writing()
        assert (paused, connection._paused) == (True, False)
        assert (await client.read_response()).body == b"ok"


class _Transport(asyncio.Transport):
    """A transport with unsent bytes."""

    def __init__(self, unsent: int) -> None:
        super().__init__()
        self.unsent = unsent
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("unsent", [0, 1])
def test_connection_with_unsent_bytes_of_its_last_request_is_not_kept(unsent: int) -> None:
    kept: list[UpstreamConnection] = []

    class Pool:
        put = staticmethod(kept.append)

    limits = LimitSettings()
    reader = ResponseReader(limits.head_bytes, limits.head_fields)
    connection = UpstreamConnection(Pool(), reader, lambda: 0.0)  # type: ignore[arg-type]
    connection._transport = transport = _Transport(unsent)
    connection.finish(reuse=True)
    assert transport.aborted is bool(unsent)
    assert kept == ([] if unsent else [connection])


async def test_nothing_happens_to_a_connection_that_is_closing(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + chunk(b"x"), asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_until(b"x\r\n")
        (connection,) = running.server._context.pool._open
        connection._transport.abort()
        connection.write(b"x")
        connection.pause_reading()
        connection.resume_reading()
        assert not connection.is_usable()
        await client.read_eof()
    (closed,) = running.seen(HttpExchangeClosed)
    assert closed.status == 200


async def test_late_word_of_an_idle_connections_buffer_disturbs_nobody(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + LAST_CHUNK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        (connection,) = running.server._context.pool._idle
        connection.pause_writing()
        connection.resume_writing()
        upstream.answer(OK)
        await client.send(GET)
        assert (await client.read_response()).body == b"ok"
