"""What takes too long ends, on time and with a word that says why; what may take long does not."""

import asyncio
import socket

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, LimitHit, UpstreamFailed
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.deadlines import Deadlines, _interval
from tests.support.deadlines import Clock, sweep
from tests.support.messages import (
    CHUNKED,
    EVENTS,
    GET,
    LAST_CHUNK,
    OK,
    answer,
    chunk,
    post,
    post_chunked,
)
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, Moment, ScriptedUpstream, UpstreamSide
from tests.support.transports import hold_back, let_go
from tests.support.waiting import until

TIMEOUTS = TimeoutSettings()


def reasons(running: RunningProxy) -> list[str]:
    return [event.reason for event in running.seen(UpstreamFailed)]


async def test_idle_client_is_closed_without_a_word(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        clock.now += TIMEOUTS.client_idle - 1
        sweep(running)
        await client.send(GET)
        assert (await client.read_response()).status == 204
        clock.now += TIMEOUTS.client_idle - 1
        sweep(running)
        assert running.server.connections()["client", "idle"] == 1
        clock.now += 2
        sweep(running)
        await client.read_eof()
    assert len(running.seen(HttpExchangeClosed)) == 2


async def test_client_that_never_sends_is_closed(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    for idle, limit in ((75.0, 75.0), (0.0, TIMEOUTS.client_head)):
        running = await proxy(upstream.url, clock=clock, timeouts=TimeoutSettings(client_idle=idle))
        async with RawClient.connecting(running.url) as client:
            await until_connected(running)
            clock.now += limit - 1
            sweep(running)
            assert running.server.connections()["client", "idle"] == 1
            clock.now += 2
            sweep(running)
            await client.read_eof()
        assert running.events == [LimitHit(limit="client_idle" if idle else "client_head")]


async def test_slow_head_is_408_however_steadily_it_drips(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        for index in range(11):
            await client.send(GET[index : index + 1])
            await until_received(running, index + 1)
            clock.now += 1
            sweep(running)
        response = await client.read_response()
        assert response.status == 408
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
    hit, closed = running.events
    assert hit == LimitHit(limit="client_head")
    assert isinstance(closed, HttpExchangeClosed)
    assert (closed.method, closed.status, closed.duration) == ("", 408, 11.0)


async def until_connected(running: RunningProxy) -> None:
    await until(lambda: running.server._context.clients)


async def until_received(running: RunningProxy, size: int) -> None:
    (client,) = running.server._context.clients
    await until(lambda: client._reader.pending == size)


async def until_uploaded(running: RunningProxy, size: int) -> None:
    await until(lambda: len(running.exchanges[0].request_body) >= size)


async def test_time_before_the_first_byte_does_not_count_for_the_head(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await until(lambda: running.server._context.clients)
        clock.now += TIMEOUTS.client_idle - 1
        await client.send(GET[:5])
        await until_received(running, 5)
        clock.now += TIMEOUTS.client_head - 1
        sweep(running)
        await client.send(GET[5:])
        assert (await client.read_response()).status == 204


async def test_half_a_pipelined_head_gets_its_time_from_the_end_of_the_answer_before(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET + GET[:7])
        await upstream.wait_for_requests(1)
        clock.now += 100
        sweep(running)
        gate.set()
        assert (await client.read_response()).body == b"ok"
        clock.now += TIMEOUTS.client_head - 1
        sweep(running)
        assert running.server.connections()["client", "idle"] == 1
        clock.now += 2
        sweep(running)
        assert (await client.read_response()).status == 408


async def test_stalled_body_is_408_and_frees_the_upstream(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await upstream.wait_for_heads(1)
        for _ in range(3):
            clock.now += TIMEOUTS.client_body - 1
            sweep(running)
            seen = len(running.exchanges[0].request_body)
            await client.send(chunk(b"y"))
            await until_uploaded(running, seen + 1)
        clock.now += TIMEOUTS.client_body + 1
        sweep(running)
        response = await client.read_response()
        assert response.status == 408
        assert b"(body_timeout)" in response.body
        await client.read_eof()
        await upstream.connections[0].wait_ended()
    assert upstream.requests == []
    assert running.exchanges[0].abort is Abort.REJECTED
    assert running.exchanges[0].request_body == b"xyyy"
    assert len(running.seen(HttpExchangeClosed)) == 1
    assert reasons(running) == []


async def test_stalled_body_under_an_early_answer_cuts_that_answer(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    upstream.answer(CHUNKED + chunk(b"early"), when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await client.read_until(b"early\r\n")
        clock.now += TIMEOUTS.client_body + 1
        sweep(running)
        await client.read_eof()
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_time_that_the_upstream_keeps_the_client_waiting_is_not_the_clients(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)

    async def read_later(side: UpstreamSide) -> None:
        hold_back(side.writer)
        await gate.wait()
        let_go(side.writer)

    gate = asyncio.Event()
    upstream.answer(read_later, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        body = bytes(16 * 1024 * 1024)
        sending = asyncio.create_task(client.send(post(body)))
        await upstream.wait_for_heads(1)
        (downstream,) = running.server._context.clients
        await until(lambda: downstream._paused)
        clock.now += 10 * TIMEOUTS.client_body
        sweep(running)
        gate.set()
        await until(lambda: not downstream._paused)
        sweep(running)  # its time starts anew
        await sending
        await upstream.wait_for_requests(1)
    assert upstream.requests[0].body == body


async def test_client_that_stalls_after_the_upstream_failed_gets_the_failure(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    upstream.answer(CLOSE, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await running.wait_for(UpstreamFailed)
        for _ in range(3):  # dripping does not help
            await client.send(chunk(b"y"))
            clock.now += TIMEOUTS.client_body / 2 - 1
            sweep(running)
            await asyncio.sleep(0.01)
        assert (await client.read_response()).status == 502
        await client.read_eof()
    assert reasons(running) == ["closed_before_head"]
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_late_answer_is_504_where_that_is_limited(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(
        upstream.url, clock=clock, timeouts=TimeoutSettings(response_head=5, total=100)
    )
    upstream.answer(asyncio.Event().wait)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await upstream.wait_for_requests(1)
        await client.send(GET)  # waits its turn, and gains its predecessor no time
        clock.now += 4
        sweep(running)
        assert reasons(running) == []
        clock.now += 2
        sweep(running)
        response = await client.read_response()
        assert response.status == 504
        assert b"(response_timeout)" in response.body
        await upstream.connections[0].wait_ended()
        assert (await client.read_response()).body == b"ok"
    assert reasons(running) == ["response_timeout"]
    assert running.exchanges[0].abort is Abort.UPSTREAM_TIMEOUT


async def test_a_tool_may_think_for_days_where_nothing_is_set(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await upstream.wait_for_requests(1)
        for _ in range(3):
            clock.now += 86_400
            sweep(running)
        gate.set()
        assert (await client.read_response()).body == b"ok"
    assert reasons(running) == []


async def test_answer_that_began_in_time_may_go_on(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock, timeouts=TimeoutSettings(response_head=5))
    gate = asyncio.Event()
    upstream.answer(CHUNKED + chunk(b"a"), gate.wait, LAST_CHUNK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_until(b"a\r\n")
        clock.now += 1000
        sweep(running)
        gate.set()
        assert await client.read(5) == LAST_CHUNK


async def test_time_for_the_answer_counts_from_when_the_request_could_be_sent(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock, timeouts=TimeoutSettings(response_head=5))
    pool = running.server._context.pool
    gate, open_connection = asyncio.Event(), pool._open_connection

    async def open_late() -> object:
        await gate.wait()
        return await open_connection()

    monkeypatch.setattr(pool, "_open_connection", open_late)
    answering = asyncio.Event()
    upstream.answer(answering.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await until(lambda: running.exchanges)
        clock.now += 6
        sweep(running)
        gate.set()
        await upstream.wait_for_requests(1)
        sweep(running)
        answering.set()
        assert (await client.read_response()).body == b"ok"
    assert reasons(running) == []


@pytest.mark.parametrize("sent", [post(), post_chunked(b"x")])
async def test_total_time_ends_an_exchange_without_an_answer_with_504(
    proxy: ProxyFactory, upstream: ScriptedUpstream, sent: bytes
) -> None:
    clock = Clock()
    running = await proxy(
        upstream.url, clock=clock, timeouts=TimeoutSettings(total=10, client_body=100)
    )
    upstream.answer(asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(sent)
        await upstream.wait_for_heads(1)
        for _ in range(3):
            clock.now += 4
            sweep(running)
        response = await client.read_response()
        assert response.status == 504
        assert b"(total_timeout)" in response.body
        sweep(running)
    assert reasons(running) == ["total_timeout"]
    assert len(running.seen(HttpExchangeClosed)) == 1
    await upstream.connections[0].wait_ended()


async def test_total_time_covers_connecting(
    proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    running = await proxy("http://127.0.0.1:1", clock=clock, timeouts=TimeoutSettings(total=10))
    pool = running.server._context.pool
    monkeypatch.setattr(pool, "_open_connection", asyncio.Event().wait)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await until(lambda: pool._tasks)
        clock.now += 11
        sweep(running)
        assert (await client.read_response()).status == 504
        await until(lambda: not pool._tasks)


async def test_total_time_cuts_an_answer_visibly_but_no_standing_stream(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock, timeouts=TimeoutSettings(total=10))
    upstream.answer_always(EVENTS + chunk(b": 1\n\n"), asyncio.Event().wait)
    async with (
        RawClient.connecting(running.url) as caller,
        RawClient.connecting(running.url) as listener,
    ):
        await caller.send(post())
        await caller.read_until(b": 1\n\n\r\n")
        await listener.send(GET)
        await listener.read_until(b": 1\n\n\r\n")
        clock.now += 11
        sweep(running)
        await caller.read_eof()
        assert running.server.connections()["client", "active"] == 1
    assert reasons(running) == ["total_timeout"]
    assert running.exchanges[0].abort is Abort.UPSTREAM_TIMEOUT


async def test_silent_event_stream_stays_open_past_every_idle_limit(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    gate = asyncio.Event()
    upstream.answer_always(EVENTS + chunk(b": 1\n\n"), gate.wait, chunk(b": 2\n\n"), LAST_CHUNK)
    async with (
        RawClient.connecting(running.url) as caller,
        RawClient.connecting(running.url) as listener,
    ):
        await caller.send(post())
        await listener.send(GET)
        for client in (caller, listener):
            await client.read_until(b": 1\n\n\r\n")
        for _ in range(600):  # ten minutes, looked at each second
            clock.now += 1
            sweep(running)
        clock.now += 86_400
        sweep(running)
        gate.set()
        for client in (caller, listener):
            await client.read_until(b": 2\n\n\r\n")
    assert [closed.status for closed in await running.wait_for(HttpExchangeClosed, 2)] == [200, 200]


async def test_idle_upstream_connection_is_closed_before_the_server_would(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        clock.now += TIMEOUTS.upstream_idle - 0.5
        sweep(running)
        assert not upstream.connections[0].is_ended
        clock.now += 1
        sweep(running)
        await upstream.connections[0].wait_ended()
        assert running.server.connections()["upstream", "idle"] == 0


async def test_refused_client_may_finish_sending_for_a_while(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"nonsense\r\n\r\n")
        await client.read_response()
        await client.read_eof()
        (downstream,) = running.server._context.clients
        for _ in range(9):
            clock.now += 4
            await client.send(b"more")
            await until(
                lambda: downstream._since == clock.now or downstream._transport.is_closing()
            )
            sweep(running)
        await until(lambda: not running.server._context.clients)
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_refused_client_that_falls_silent_is_cut(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"nonsense\r\n\r\n")
        await client.read_response()
        clock.now += 4
        sweep(running)
        assert len(running.server._context.clients) == 1
        clock.now += 2
        sweep(running)
        await until(lambda: not running.server._context.clients)


async def test_last_bytes_that_nobody_reads_are_given_up(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    upstream.answer(answer(bytes(60_000)))
    host, port = running.url.removeprefix("http://").split(":")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((host, int(port)))
        await until(lambda: running.server._context.clients)
        (downstream,) = running.server._context.clients
        connection = downstream._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.send(post(b"{}", b"Connection: close"))
        await running.wait_for(HttpExchangeClosed)
        clock.now += 59
        sweep(running)
        await asyncio.sleep(0.01)
        assert len(running.server._context.clients) == 1
        clock.now += 2
        sweep(running)
        await until(lambda: not running.server._context.clients)
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_client_that_never_reads_its_answer_is_given_up_before_its_next_request(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await upstream.wait_for_requests(1)
        (downstream,) = running.server._context.clients
        (connection,) = running.server._context.pool._open
        downstream.pause_writing()
        connection.resume_reading()  # what was read by then goes out all the same
        gate.set()
        assert (await client.read_response()).body == b"ok"
        for seconds, left in ((59, 1), (2, 0)):
            clock.now += seconds
            sweep(running)
            await asyncio.sleep(0.01)
            assert len(running.server._context.clients) == left


async def test_limits_are_kept_without_anybody_looking_by_hand(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(
        upstream.url,
        timeouts=TimeoutSettings(client_idle=0.1, upstream_idle=0.1, client_head=0.1),
    )
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        async with asyncio.timeout(1.0):
            await client.read_eof()
            await upstream.connections[0].wait_ended()
    async with RawClient.connecting(running.url) as client:
        await client.send(GET[:5])
        async with asyncio.timeout(1.0):
            assert (await client.read_response()).status == 408


@pytest.mark.parametrize(
    ("timeouts", "expected"),
    [
        (TimeoutSettings(), 1.0),
        (TimeoutSettings(total=1.0), 0.25),
        (TimeoutSettings(response_head=0.001), 0.02),
        (TimeoutSettings(client_idle=0, upstream_idle=0), 1.0),
    ],
)
def test_looks_are_as_frequent_as_the_shortest_limit_asks(
    timeouts: TimeoutSettings, expected: float
) -> None:
    assert _interval(timeouts) == expected


async def test_looking_that_never_began_can_be_ended(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    Deadlines(running.server._context).stop()
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).status == 204
