"""What is too much is refused in words, counted by the setting's name, and spoils nothing else."""

import asyncio
import resource
import socket
import time

import pytest

from mcp_proxy_exporter.config import LimitSettings, TimeoutSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, LimitHit, UpstreamFailed
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy import downstream
from mcp_proxy_exporter.proxy.sockets import allow_descriptors, count_unsent
from tests.support.deadlines import Clock, sweep
from tests.support.messages import CHUNKED, EVENTS, GET, OK, UNTIL_CLOSE, chunk, post, post_chunked
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient, RawResponse
from tests.support.scripted_upstream import CLOSE, ScriptedUpstream, UpstreamSide
from tests.support.transports import hold_back
from tests.support.waiting import until


def hits(running: RunningProxy) -> list[str]:
    return [event.limit for event in running.seen(LimitHit)]


def check_overload(response: RawResponse, *, close: bool) -> None:
    assert response.status == 503
    assert response.head.values(b"retry-after") == [b"1"]
    assert response.head.values(b"connection") == ([b"close"] if close else [])
    assert response.head.values(b"content-type") == [b"text/plain; charset=utf-8"]


# Requests


@pytest.mark.parametrize("known", [False, True])
async def test_a_request_too_many_is_told_at_once_and_its_connection_is_kept(
    proxy: ProxyFactory, upstream: ScriptedUpstream, *, known: bool
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(requests=1))
    gate = asyncio.Event()
    async with (
        RawClient.connecting(running.url) as first,
        RawClient.connecting(running.url) as second,
    ):
        if known:
            await second.send(post())
            await second.read_response()
        upstream.answer(gate.wait, OK)
        await first.send(post())
        await upstream.wait_for_requests(1 + known)
        for _ in range(3):
            started = time.perf_counter()
            await second.send(post(b'{"id":1}'))
            check_overload(await second.read_response(), close=False)
            assert time.perf_counter() - started < 0.5
        gate.set()
        assert (await first.read_response()).body == b"ok"
        await second.send(post())
        assert (await second.read_response()).status == 204
    assert len(upstream.connections) == 1
    assert hits(running) == ["requests"] * 3
    refused = [exchange for exchange in running.exchanges if exchange.abort is Abort.REJECTED]
    # Its call can be read, and so be counted as rejected.
    assert [exchange.request_body for exchange in refused] == [b'{"id":1}'] * 3


async def test_an_upload_too_many_takes_no_room_while_it_is_read(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(requests=1))
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with (
        RawClient.connecting(running.url) as first,
        RawClient.connecting(running.url) as uploading,
    ):
        await first.send(GET)
        await upstream.wait_for_requests(1)
        await uploading.send(post_chunked(b"half"))
        await until(lambda: len(running.exchanges) == 2)
        gate.set()
        await first.read_response()
        await first.send(GET)
        assert (await first.read_response()).status == 204
        await uploading.send(chunk(b"whole"), b"0\r\n\r\n")
        check_overload(await uploading.read_response(), close=False)
    assert running.exchanges[1].request_body == b"halfwhole"


async def test_a_client_that_waits_for_continue_is_told_before_its_body(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(requests=1))
    upstream.answer(asyncio.Event().wait)
    async with (
        RawClient.connecting(running.url) as first,
        RawClient.connecting(running.url) as second,
    ):
        await first.send(GET)
        await upstream.wait_for_requests(1)
        await second.send(post(b"12", b"Expect: 100-continue")[:-2])
        check_overload(await second.read_response(), close=True)
        await second.read_eof()


async def test_what_is_refused_for_another_reason_takes_no_room(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(
        upstream.url, limits=LimitSettings(requests=1), allowed_origins=("https://a.example",)
    )
    async with RawClient.connecting(running.url) as client:
        for _ in range(3):
            await client.send(post(b"{}", b"Origin: https://evil.example"))
            assert (await client.read_response()).status == 403
        await client.send(post(b"{}", b"Origin: https://a.example"))
        assert (await client.read_response()).status == 204
    assert hits(running) == []


async def test_room_comes_back_however_an_exchange_ends(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(requests=1))
    context = running.server._context
    upstream.answer(CLOSE)
    upstream.answer(CHUNKED + chunk(b"x"), CLOSE)
    upstream.answer(b"nonsense\r\n")
    upstream.answer(OK)
    for _ in range(4):
        async with RawClient.connecting(running.url) as client:
            await client.send(post())
            await client.read_until(b"\r\n\r\n")
            await until(lambda: context.room == 1)
    upstream.answer(asyncio.Event().wait)
    client = await RawClient.connect(running.url)
    await client.send(GET)
    await upstream.wait_for_requests(5)
    assert context.room == 0
    client.reset()
    await client.close()
    await until(lambda: context.room == 1)
    assert hits(running) == []


@pytest.mark.parametrize(("before", "after"), [(1, 2), (0, 2), (1, 0)])
async def test_more_room_can_be_made_while_requests_run(
    proxy: ProxyFactory, upstream: ScriptedUpstream, before: int, after: int
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(requests=before))
    upstream.answer(asyncio.Event().wait)
    async with (
        RawClient.connecting(running.url) as first,
        RawClient.connecting(running.url) as second,
    ):
        await first.send(GET)
        await upstream.wait_for_requests(1)
        context = running.server._context
        limits = LimitSettings(requests=after)
        context.change(context.rules, limits=limits, timeouts=context.timeouts)
        await second.send(GET)
        assert (await second.read_response()).status == 204


# Connections


async def test_a_connection_too_many_is_told_and_closed_and_the_others_go_on(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(connections=2))
    first, second = [await RawClient.connect(running.url) for _ in range(2)]
    await until(lambda: len(running.server._context.clients) == 2)
    async with RawClient.connecting(running.url) as third:
        await third.send(post())
        check_overload(await third.read_response(), close=True)
        await third.read_eof()
    for client in (first, second):
        await client.send(GET)
        assert (await client.read_response()).status == 204
    await first.close()
    await until(lambda: len(running.server._context.clients) == 1)
    async with RawClient.connecting(running.url) as fourth:
        await fourth.send(GET)
        assert (await fourth.read_response()).status == 204
    await second.close()
    assert len(upstream.requests) == 3
    assert hits(running) == ["connections"]
    assert [event.status for event in running.seen(HttpExchangeClosed)].count(503) == 1


async def test_far_too_many_connections_are_reset(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "MAX_REFUSED", 1)
    running = await proxy(upstream.url, limits=LimitSettings(connections=1))
    async with (
        RawClient.connecting(running.url) as first,
        RawClient.connecting(running.url) as told,
    ):
        assert (await told.read_response()).status == 503
        third = await RawClient.connect(running.url)
        with pytest.raises(ConnectionResetError):
            await third.read_rest()
        await third.close()
        assert len(running.server._context.clients) == 2
        await first.send(GET)
        assert (await first.read_response()).status == 204
    assert hits(running) == ["connections"] * 2


async def test_no_limit_is_none(proxy: ProxyFactory, upstream: ScriptedUpstream) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(connections=0, requests=0))
    clients = [await RawClient.connect(running.url) for _ in range(20)]
    for client in clients:
        await client.send(GET)
    for client in clients:
        assert (await client.read_response()).status == 204
        await client.close()
    assert hits(running) == []


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        allow_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Clients that do not read


async def flood(side: UpstreamSide) -> None:
    await side.write(UNTIL_CLOSE)
    while True:
        await side.write(bytes(65_536))


async def settle(side: downstream.ClientConnection) -> None:
    """Wait until the system has taken all that it takes for a client that does not read."""
    await until(lambda: side.write_paused)
    before = -1
    while before != (before := count_unsent(side._transport, side._descriptor)):  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.1)


def connect_narrow(url: str) -> socket.socket:
    """Connect with a small buffer, so that little is read unseen."""
    host, port = url.removeprefix("http://").split(":")
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    peer.connect((host, int(port)))
    return peer


async def test_a_client_that_never_reads_is_reset_and_the_upstream_freed(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    upstream.answer(flood)
    client = await RawClient.connect(running.url)
    hold_back(client.writer)
    await client.send(post())
    (downstream_side,) = await wait_for_clients(running)
    await settle(downstream_side)
    clock.now += TimeoutSettings().client_write - 1
    sweep(running)
    await asyncio.sleep(0.01)
    assert running.server.connections()["client", "active"] == 1
    clock.now += 2
    sweep(running)
    await upstream.connections[0].wait_ended()
    await until(lambda: not running.server._context.clients)
    assert hits(running) == ["client_write"]
    assert running.exchanges[0].abort is Abort.CLIENT_GONE
    assert len(running.seen(HttpExchangeClosed)) == 1
    client.reset()
    await client.close()


async def test_a_client_that_reads_however_slowly_is_not_cut(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    upstream.answer(flood)
    with connect_narrow(running.url) as peer:
        peer.sendall(post())
        (downstream_side,) = await wait_for_clients(running)
        await until(lambda: downstream_side.write_paused)
        for _ in range(20):
            clock.now += TimeoutSettings().client_write - 1
            peer.recv(16_384)
            await asyncio.sleep(0.01)
            sweep(running)
            assert hits(running) == []
        assert downstream_side.write_paused  # it was never fast enough to be left alone
        await settle(downstream_side)
        sweep(running)
        clock.now += TimeoutSettings().client_write + 1
        sweep(running)
        await until(lambda: not running.server._context.clients)
    assert hits(running) == ["client_write"]


async def wait_for_clients(running: RunningProxy) -> list[downstream.ClientConnection]:
    await until(lambda: running.server._context.clients)
    return [*running.server._context.clients]


async def test_an_event_stream_that_nobody_reads_is_cut_though_it_has_no_idle_limit(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)

    async def chatter(side: UpstreamSide) -> None:
        await side.write(EVENTS)
        while True:
            await side.write(chunk(b"data: " + b"x" * 8000 + b"\n\n"))

    upstream.answer(chatter)
    client = await RawClient.connect(running.url)
    hold_back(client.writer)
    await client.send(GET)
    await until(lambda: any(c.write_paused for c in running.server._context.clients))
    clock.now += TimeoutSettings().client_write + 1
    sweep(running)
    await upstream.connections[0].wait_ended()
    await until(lambda: not running.server._context.clients)
    assert hits(running) == ["client_write"]
    client.reset()
    await client.close()


@pytest.mark.parametrize("asked", [True, False])
async def test_a_client_that_is_gone_did_not_leave_its_answer_unread(
    proxy: ProxyFactory, upstream: ScriptedUpstream, *, asked: bool
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        (downstream_side,) = await wait_for_clients(running)
        if asked:
            upstream.answer()
            await client.send(GET)
            await until(lambda: downstream_side.exchange is not None)
        clock.now += TimeoutSettings().client_write + 1
        # As a reset does: the loop tells of the end only in its next turn.
        downstream_side._transport.abort()
        downstream_side.check(clock.now)
        await until(lambda: not running.server._context.clients)
    assert hits(running) == []


# What is counted, and the others' calls


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 5000 + b"\r\n\r\n", "head_bytes"),
        (b"HTTP/1.1 200 " + b"a" * 5000, "head_bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 70 + b"\r\n", "head_fields"),
    ],
)
async def test_an_upstreams_head_over_a_limit_is_counted_there(
    proxy: ProxyFactory, upstream: ScriptedUpstream, answer: bytes, limit: str
) -> None:
    running = await proxy(upstream.url, limits=LimitSettings(head_bytes=4096, head_fields=64))
    upstream.answer(answer)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).status == 502
    assert hits(running) == [limit]
    assert [event.reason for event in running.seen(UpstreamFailed)] == ["bad_response"]


@pytest.mark.parametrize(
    ("raw", "status", "limit"),
    [
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n", 414, "head_bytes"),
        (GET[:-2] + b"A: " + b"b" * 5000 + b"\r\n\r\n", 431, "head_bytes"),
        (GET[:-2] + b"A: b\r\n" * 70 + b"\r\n", 431, "head_fields"),
        (GET[:-2], 408, "client_head"),
        (post_chunked(b"x"), 408, "client_body"),
    ],
)
async def test_each_refusal_names_its_setting(
    proxy: ProxyFactory, upstream: ScriptedUpstream, raw: bytes, status: int, limit: str
) -> None:
    running = await proxy(
        upstream.url,
        limits=LimitSettings(head_bytes=4096, head_fields=64),
        timeouts=TimeoutSettings(client_head=0.1, client_body=0.1),
    )
    async with RawClient.connecting(running.url) as client:
        await client.send(raw)
        assert (await client.read_response()).status == status
        await client.read_eof()
    assert hits(running) == [limit]


async def test_upstream_limits_are_counted_beside_their_failures(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(
        upstream.url, clock=clock, timeouts=TimeoutSettings(response_head=5, total=50)
    )
    for limit, seconds, script in (
        ("response_head", 6, ()),
        ("total", 51, (CHUNKED + chunk(b"x"),)),
    ):
        upstream.answer(*script, asyncio.Event().wait)
        async with RawClient.connecting(running.url) as client:
            await client.send(post())
            await upstream.wait_for_requests(1 + (limit == "total"))
            if script:
                await client.read_until(b"x\r\n")
            clock.now += seconds
            sweep(running)
            await client.read_rest() if script else await client.read_response()
    assert hits(running) == ["response_head", "total"]


async def test_idle_connections_that_are_closed_on_time_are_counted(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        clock.now += 5
        sweep(running)
        await upstream.connections[0].wait_ended()
        clock.now += 76
        sweep(running)
        await client.read_eof()
    assert hits(running) == ["upstream_idle", "client_idle"]


async def test_slow_heads_do_not_slow_others_and_all_end_in_time(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    # A slowloris: half a head each, a byte now and then.
    running = await proxy(upstream.url, timeouts=TimeoutSettings(client_head=0.5))
    upstream.answer_always(OK)
    slow = [await RawClient.connect(running.url) for _ in range(100)]
    started = time.perf_counter()
    for client in slow:
        await client.send(GET[:-2])
    answers: list[bytes] = []
    async with RawClient.connecting(running.url) as good:
        while not answers or time.perf_counter() - started < 0.3:
            for client in slow[::10]:
                await client.send(b"A: b\r\n")
            await good.send(post())
            answers.append((await good.read_response()).body)
    for client in slow:
        assert (await client.read_response()).status == 408
        await client.close()
    assert time.perf_counter() - started < 5.0
    assert set(answers) == {b"ok"}
    assert hits(running) == ["client_head"] * 100
