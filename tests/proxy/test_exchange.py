"""One request and its answer, when nothing breaks: framing, order, ends, and what is reported."""

import asyncio

import pytest

from mcp_proxy_exporter.protocol.events import (
    HttpExchangeClosed,
    UpstreamAnswered,
    UpstreamConnected,
    UpstreamFailed,
)
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy import downstream
from mcp_proxy_exporter.proxy.downstream import ClientConnection
from mcp_proxy_exporter.proxy.upstream import UpstreamConnection
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
from tests.support.proxies import ProxyFactory, RecordedExchange
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, Moment, ScriptedUpstream, UpstreamSide
from tests.support.waiting import until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_exchange_is_reported_once_with_its_figures(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)

    async def think() -> None:
        await asyncio.sleep(0.02)

    upstream.answer(think, answer(b"hello"))
    async with RawClient.connecting(running.url) as client:
        await client.send(post(b"body"))
        assert (await client.read_response()).body == b"hello"
    connected, answered, closed = running.events
    assert isinstance(connected, UpstreamConnected)
    assert 0 < connected.duration < 1
    assert isinstance(answered, UpstreamAnswered)
    assert isinstance(closed, HttpExchangeClosed)
    assert (closed.method, closed.status, closed.long_lived) == ("POST", 200, False)
    assert 0.02 <= closed.duration < 1
    assert 0 < closed.request_overhead < 0.02
    assert 0 < closed.response_overhead < 0.02
    (exchange,) = running.exchanges
    assert exchange.calls == [
        "request_data",
        "request_end",
        "response_head",
        "response_data",
        "response_end",
    ]
    assert (exchange.request_body, exchange.response_body) == (b"body", b"hello")


@pytest.mark.skipif(
    not str(downstream.__file__).endswith(".py"), reason="a compiled module's calls cannot be noted"
)
async def test_every_byte_is_written_before_the_tap_sees_it(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def note(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def noting(*args: object) -> object:
            order.append(f"{owner.__name__}.{name}")
            return original(*args)

        monkeypatch.setattr(owner, name, noting)

    note(UpstreamConnection, "write")
    note(ClientConnection, "write")
    for name in ("request_data", "request_end", "response_head", "response_data", "response_end"):
        note(RecordedExchange, name)
    running = await proxy(upstream.url)
    upstream.answer_always(answer(b"hello"))
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)  # opens the upstream connection
        await client.read_response()
        order.clear()
        await client.send(post(b"body"))
        await client.read_response()
    assert order == [
        "UpstreamConnection.write",
        "RecordedExchange.request_data",
        "RecordedExchange.request_end",
        "ClientConnection.write",
        "RecordedExchange.response_head",
        "RecordedExchange.response_data",
        "RecordedExchange.response_end",
    ]


async def test_inspection_that_opens_no_exchange_changes_nothing(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await proxy(upstream.url)
    monkeypatch.setattr(running.server._context.taps, "_inspector", None)
    upstream.answer(CHUNKED + chunk(b"a"), chunk(b"b") + LAST_CHUNK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"), chunk(b"y"), LAST_CHUNK)
        assert (await client.read_response()).body == b"ab"
        assert upstream.requests[0].body == b"xy"
        upstream.answer(CLOSE)
        await client.send(post())
        assert (await client.read_response()).status == 502
    assert running.exchanges == []
    assert [closed.status for closed in running.seen(HttpExchangeClosed)] == [200, 502]


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"),
        (b"POST", b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_answer_without_a_body_keeps_both_connections(
    proxy: ProxyFactory, upstream: ScriptedUpstream, method: bytes, head: bytes
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(head)
    upstream.answer(answer(b"next"))
    async with RawClient.connecting(running.url) as client:
        await client.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        received = await client.read_head()
        assert received.raw == head.replace(b"Transfer-Encoding: chunked\r\n", b"")
        await client.send(GET)
        assert (await client.read_response()).body == b"next"
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"])
@pytest.mark.parametrize(
    "steps",
    [(CHUNKED + chunk(b"who") + chunk(b"le") + LAST_CHUNK,), (UNTIL_CLOSE + b"whole", CLOSE)],
)
async def test_http_1_0_client_gets_its_answer_without_chunks_until_close(
    proxy: ProxyFactory, upstream: ScriptedUpstream, keep: bytes, steps: tuple[bytes, ...]
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(*steps)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"GET / HTTP/1.0\r\n" + keep + b"\r\n")
        response = await client.read_response()
        assert response.head.values(b"connection") == [b"close"]
        assert response.head.values(b"transfer-encoding") == []
        assert response.framed == b"whole"
    assert upstream.heads[0].values(b"host") == [upstream.url.removeprefix("http://").encode()]


async def test_http_1_0_client_gets_no_interim_answer(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CONTINUE + OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.read_head()).start == b"HTTP/1.1 200 OK"


async def test_client_that_asks_for_close_gets_it(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post(b"{}", b"Connection: close"))
        response = await client.read_response()
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
    assert upstream.heads[0].values(b"connection") == []
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
    assert len(upstream.connections) == 1  # the upstream was not asked to close


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_upstream_that_closes_is_not_used_again_and_the_client_is_kept(
    proxy: ProxyFactory, upstream: ScriptedUpstream, head: bytes
) -> None:
    running = await proxy(upstream.url)
    upstream.answer_always(head)
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):
            await client.send(post())
            response = await client.read_response()
            assert response.body == b"ok"
            assert response.head.values(b"connection") == []
    assert len(upstream.connections) == 2


async def test_expectation_is_forwarded_and_its_answer_relayed_before_the_body(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)

    async def go_on(side: UpstreamSide) -> None:
        await side.write(CONTINUE)

    async def finish() -> None:
        await upstream.wait_for_requests(1)
        await upstream.connections[0].write(OK)

    upstream.answer(go_on, when=Moment.HEAD)
    finishing = asyncio.create_task(finish())
    request = post(b"body", b"Expect: 100-continue")
    async with RawClient.connecting(running.url) as client:
        await client.send(request.removesuffix(b"body"))
        assert (await client.read_head()).raw == CONTINUE
        await client.send(b"body")
        response = await client.read_response()
        assert response.status == 200
        assert response.head.values(b"connection") == []
    await finishing
    assert upstream.requests[0].raw == request
    assert len(running.seen(UpstreamAnswered)) == 1


async def test_upstream_that_never_says_continue_gets_the_body_all_the_same(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    request = post(b"body", b"Expect: 100-continue")
    async with RawClient.connecting(running.url) as client:
        await client.send(request.removesuffix(b"body"))
        await upstream.wait_for_heads(1)
        await client.send(b"body")
        assert (await client.read_response()).body == b"ok"


async def test_final_answer_instead_of_continue_ends_the_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(answer(b"", status=b"417 Expectation Failed"), when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post(b"body", b"Expect: 100-continue").removesuffix(b"body"))
        response = await client.read_response()
        assert response.status == 417
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
    assert running.exchanges[0].calls == ["response_head", "response_end"]


async def test_client_that_waits_for_continue_is_told_of_a_failure_at_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CLOSE, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post(b"body", b"Expect: 100-continue").removesuffix(b"body"))
        response = await client.read_response()
        assert response.status == 502
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()


async def test_interim_heads_split_at_every_byte_come_before_the_final_one(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    stream = CONTINUE + hints + OK

    async def drip(side: UpstreamSide) -> None:
        for index in range(len(stream)):
            await side.write(stream[index : index + 1])
            await asyncio.sleep(0)

    upstream.answer(drip)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        assert (await client.read_head()).raw == CONTINUE
        assert (await client.read_head()).raw == hints
        assert (await client.read_response()).body == b"ok"
        await client.send(GET)
        assert (await client.read_response()).status == 204
    assert len(upstream.connections) == 1


async def test_chunks_are_framed_anew_with_their_trailers_both_ways(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + b"2;ext=1\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n")
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x") + b"0\r\nX-Up: 2\r\n\r\n")
        response = await client.read_response()
    assert (response.body, response.trailers) == (b"ab", (b"X-Sum: 1",))
    (request,) = upstream.requests
    assert (request.body, request.trailers) == (b"x", (b"X-Up: 2",))


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_only_an_event_stream_that_answers_a_get_is_long_lived(
    proxy: ProxyFactory, upstream: ScriptedUpstream, method: bytes
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(EVENTS.replace(b"text/event-stream", b"Text/Event-Stream; x") + LAST_CHUNK)
    async with RawClient.connecting(running.url) as client:
        await client.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.read_response()
    (closed,) = running.seen(HttpExchangeClosed)
    assert closed.long_lived is (method == b"GET")


async def test_any_method_is_forwarded_and_named(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"F!nd /x?y#z HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).status == 204
    assert upstream.heads[0].start == b"F!nd /x?y#z HTTP/1.1"
    assert running.seen(HttpExchangeClosed)[0].method == "F!nd"


async def test_rejected_request_never_reaches_the_upstream(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    request = b"POST nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
    async with RawClient.connecting(running.url) as client:
        await client.send(request)
        response = await client.read_response()
        assert response.status == 400
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
    assert upstream.connections == []
    assert running.exchanges[0].abort is Abort.REJECTED
    (closed,) = running.events
    assert isinstance(closed, HttpExchangeClosed)
    assert closed.status == 400


async def test_rejected_request_of_good_framing_keeps_the_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, host_header="upstream")
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 4\r\n\r\nbo")
        await client.send(b"dy")
        response = await client.read_response()
        assert response.status == 421
        assert response.head.values(b"connection") == []
        host = running.url.removeprefix("http://").encode()
        await client.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert (await client.read_response()).body == b"ok"
    assert running.exchanges[0].request_body == b"body"
    assert len(upstream.requests) == 1


async def test_broken_chunk_of_an_upload_cuts_the_upstream_and_answers_400(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"good"))
        await upstream.wait_for_heads(1)
        await client.send(b"zz\r\n")
        assert (await client.read_response()).status == 400
        await client.read_eof()
        await upstream.connections[0].wait_closed()
    assert upstream.requests == []
    assert running.exchanges[0].request_body == b"good"
    assert running.exchanges[0].abort is Abort.REJECTED
    assert running.seen(UpstreamFailed) == []


async def test_broken_chunk_after_an_early_answer_began_ends_that_answer(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + chunk(b"early"), when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await client.read_until(b"early\r\n")
        await client.send(b"zz\r\n")
        await client.read_eof()
        await upstream.connections[0].wait_closed()
    (closed,) = running.seen(HttpExchangeClosed)
    assert closed.status == 200
    assert running.exchanges[0].abort is Abort.REJECTED


async def test_upload_that_comes_before_the_connection_is_open_is_sent_then(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    body = bytes(range(256)) * 4096  # 1 MiB, more than may wait
    async with RawClient.connecting(running.url) as client:
        await client.send(post(body))
        assert (await client.read_response()).body == b"ok"
    assert upstream.requests[0].body == body
    assert running.exchanges[0].request_body == body


async def test_chunk_whose_size_comes_in_pieces_is_forwarded_whole(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        for piece in (post_chunked(), b"0", b"00a", b"\r", b"\n01234", b"56789\r\n0\r\n", b"\r\n"):
            await client.send(piece)
            await asyncio.sleep(0.005)
        assert (await client.read_response()).body == b"ok"
    assert upstream.requests[0].body == b"0123456789"


async def test_client_that_reads_slowly_while_connecting_is_served(
    proxy: ProxyFactory, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await proxy(upstream.url)
    pool = running.server._context.pool
    gate, open_connection = asyncio.Event(), pool._open_connection

    async def open_late() -> object:
        await gate.wait()
        return await open_connection()

    monkeypatch.setattr(pool, "_open_connection", open_late)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await until(lambda: pool._tasks)
        (downstream,) = running.server._context.clients
        downstream.pause_writing()
        downstream.resume_writing()
        downstream.pause_writing()
        gate.set()
        await upstream.wait_for_requests(1)
        (connection,) = pool._open
        assert connection._paused
        downstream.resume_writing()
        assert (await client.read_response()).body == b"ok"
