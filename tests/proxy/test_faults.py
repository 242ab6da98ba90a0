"""What breaks between proxy and upstream, and what either side sees of it."""

import asyncio
import socket
from pathlib import Path

import pytest

from mcp_proxy_exporter.config import TimeoutSettings
from mcp_proxy_exporter.protocol.events import (
    HttpExchangeClosed,
    UpstreamAnswered,
    UpstreamConnected,
    UpstreamFailed,
)
from mcp_proxy_exporter.protocol.outcome import Abort
from tests.support.messages import (
    CHUNKED,
    GET,
    LAST_CHUNK,
    OK,
    UNTIL_CLOSE,
    answer,
    chunk,
    post,
    post_chunked,
)
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import (
    CLOSE,
    RESET,
    End,
    Moment,
    ScriptedUpstream,
    UpstreamSide,
)
from tests.support.transports import hold_back

SHORT_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


def failures(proxy: RunningProxy) -> list[str]:
    return [event.reason for event in proxy.seen(UpstreamFailed)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_broken_length_reaches_client_short(
    proxy: ProxyFactory, upstream: ScriptedUpstream, end: End
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(SHORT_LENGTH + b"half", wait_a_moment, end)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        head = await client.read_head()
        assert head.values(b"content-length") == [b"10"]
        assert await client.read_rest() == b"half"
    assert failures(running) == ["truncated"]
    (closed,) = running.seen(HttpExchangeClosed)
    assert closed.status == 200
    (exchange,) = running.exchanges
    assert exchange.abort is Abort.UPSTREAM_CLOSED
    assert exchange.response_body == b"half"


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_truncated_upstream_never_gets_a_last_chunk(
    proxy: ProxyFactory, upstream: ScriptedUpstream, end: End
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + chunk(b"half"), wait_a_moment, end)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_head()
        assert await client.read_rest() == chunk(b"half")
    assert failures(running) == ["truncated"]
    assert running.exchanges[0].abort is Abort.UPSTREAM_CLOSED


async def test_body_until_close_is_whole_after_fin(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(UNTIL_CLOSE + b"whole", CLOSE)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        response = await client.read_response()
        assert response.body == b"whole"
        assert response.framed.endswith(LAST_CHUNK)
        # The client's connection goes on, the upstream's cannot.
        upstream.answer(OK)
        await client.send(post())
        assert (await client.read_response()).body == b"ok"
    assert len(upstream.connections) == 2
    assert failures(running) == []
    assert [exchange.abort for exchange in running.exchanges] == [None, None]


async def test_body_until_close_is_truncated_after_reset(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(UNTIL_CLOSE + b"half", wait_a_moment, RESET)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_head()
        assert await client.read_rest() == chunk(b"half")
    assert failures(running) == ["truncated"]


@pytest.mark.parametrize("head", [UNTIL_CLOSE, CHUNKED])
async def test_http_1_0_client_sees_truncation_as_a_reset(
    proxy: ProxyFactory, upstream: ScriptedUpstream, head: bytes
) -> None:
    running = await proxy(upstream.url)
    piece = chunk(b"half") if head is CHUNKED else b"half"
    upstream.answer(head + piece, wait_a_moment, RESET)
    async with RawClient.connecting(running.url) as client:
        await client.send(post(version=b"1.0"))
        await client.read_head()
        assert await client.read(4) == b"half"
        with pytest.raises(ConnectionResetError):
            await client.read_rest()
    assert failures(running) == ["truncated"]


async def test_http_1_0_client_on_a_unix_socket_sees_an_end(
    proxy: ProxyFactory, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    # There is no reset on a unix socket: its end is all that can be shown.
    running = await proxy(upstream.url, listen=f"unix:{tmp_path}/proxy")
    upstream.answer(UNTIL_CLOSE + b"half", wait_a_moment, RESET)
    async with RawClient.connecting(running.url) as client:
        await client.send(post(version=b"1.0"))
        await client.read_head()
        assert await client.read_rest() == b"half"
    assert running.exchanges[0].abort is Abort.UPSTREAM_CLOSED


@pytest.mark.parametrize(
    "steps",
    [(CLOSE,), (RESET,), (b"HTTP/1.1 200 OK\r\nConte", CLOSE), (b"HTTP/1.1 103 Hi\r\n\r\n", CLOSE)],
)
async def test_post_whose_upstream_closes_without_an_answer_is_502_and_sent_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream, steps: tuple[bytes | End, ...]
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(*steps)
    async with RawClient.connecting(running.url) as client:
        await client.send(post(b"once"))
        response = await client.read_response()
        assert response.status == 502
        assert b"(closed_before_head)" in response.body
        assert response.head.values(b"content-type") == [b"text/plain; charset=utf-8"]
        # The failure is the upstream's: the client's connection goes on.
        await client.send(post(b"next"))
        assert (await client.read_response()).status == 204
    assert [request.body for request in upstream.requests] == [b"once", b"next"]
    assert failures(running) == ["closed_before_head"]
    assert len(running.seen(UpstreamAnswered)) == 1
    assert running.exchanges[0].calls == ["request_data", "request_end", "aborted"]
    assert running.exchanges[0].abort is Abort.UPSTREAM_CLOSED


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_post_on_a_kept_connection_that_closes_is_sent_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream, end: End
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    upstream.answer(end)
    async with RawClient.connecting(running.url) as client:
        await client.send(post(b"first"))
        await client.read_response()
        await client.send(post(b"second"))
        assert (await client.read_response()).status == 502
    assert [request.body for request in upstream.requests] == [b"first", b"second"]
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_safe_request_is_repeated_once_when_a_kept_connection_closes(
    proxy: ProxyFactory, upstream: ScriptedUpstream, method: bytes, end: End
) -> None:
    running = await proxy(upstream.url)
    request = method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n"
    upstream.answer(OK)
    upstream.answer(end)
    upstream.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        await client.send(request)
        assert (await client.read_response(method)).status == 200
    assert [found.raw for found in upstream.requests] == [GET, request, request]
    assert failures(running) == []
    assert len(running.seen(UpstreamConnected)) == 2
    assert len(running.seen(HttpExchangeClosed)) == 2


async def test_safe_request_is_not_repeated_twice_nor_on_a_new_connection(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CLOSE)
    upstream.answer(OK)
    upstream.answer(CLOSE)
    upstream.answer(CLOSE)
    async with RawClient.connecting(running.url) as client:
        for expected in (502, 200, 502):
            await client.send(GET)
            assert (await client.read_response()).status == expected
    assert len(upstream.requests) == 4
    assert failures(running) == ["closed_before_head"] * 2


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_request_with_a_body_or_an_effect_is_not_repeated(
    proxy: ProxyFactory, upstream: ScriptedUpstream, request_bytes: bytes
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    upstream.answer(CLOSE)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        await client.send(request_bytes)
        assert (await client.read_response()).status == 502
    assert len(upstream.requests) == 2


async def test_repeated_request_waits_for_a_client_that_reads_slowly(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    upstream.answer(CLOSE)
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        await client.read_response()
        (connection,) = running.server._context.clients
        connection.pause_writing()
        await client.send(GET)  # waits: its predecessor's answer is not read
        connection.resume_writing()
        assert (await client.read_response()).status == 204
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_answer_that_is_no_http_is_502(
    proxy: ProxyFactory, upstream: ScriptedUpstream, garbage: bytes
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(garbage)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        response = await client.read_response()
        assert response.status == 502
        assert b"(bad_response)" in response.body
        await upstream.connections[0].wait_closed()
    assert failures(running) == ["bad_response"]


async def test_broken_chunk_ends_the_answer_where_it_broke(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + chunk(b"good"), wait_a_moment, b"zz\r\n")
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_head()
        assert await client.read_rest() == chunk(b"good")
    assert failures(running) == ["bad_response"]


async def test_head_and_broken_chunk_in_one_read_arrive_up_to_the_break(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + b"zz\r\n")
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        assert b" 200 " in (await client.read_head()).start
        await client.read_eof()
    (exchange,) = running.exchanges
    assert exchange.calls == ["request_data", "request_end", "response_head", "aborted"]


async def test_interim_answer_does_not_hide_a_failure(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n", wait_a_moment, CLOSE)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        assert (await client.read_head()).start == b"HTTP/1.1 103 Early Hints"
        assert (await client.read_response()).status == 502
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_refused_upstream_is_502_and_recovers(proxy: ProxyFactory) -> None:
    port = free_port()
    running = await proxy(f"http://127.0.0.1:{port}")
    async with RawClient.connecting(running.url) as client:
        await client.send(post(b"lost"))
        response = await client.read_response()
        assert response.status == 502
        assert b"(connect_refused)" in response.body
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response(b"HEAD")).status == 502
        upstream = ScriptedUpstream()
        server = await asyncio.get_running_loop().create_server(upstream._build, "127.0.0.1", port)
        await client.send(post(b"found"))
        assert (await client.read_response()).status == 204
        server.close()
        await upstream.stop()
    assert failures(running) == ["connect_refused"] * 2
    assert [exchange.abort for exchange in running.exchanges] == [
        Abort.UPSTREAM_UNREACHABLE,
        Abort.UPSTREAM_UNREACHABLE,
        None,
    ]
    assert running.exchanges[0].request_body == b"lost"
    assert [closed.status for closed in running.seen(HttpExchangeClosed)] == [502, 502, 204]


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 64 + ".invalid"])
async def test_unknown_name_is_502(
    proxy: ProxyFactory, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_nothing(_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("mcp_proxy_exporter.proxy.pool._look_up", find_nothing)
    running = await proxy(f"http://{host}:3001")
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        response = await client.read_response()
    assert response.status == 502
    assert failures(running) == ["dns"]


async def test_silent_resolver_counts_as_dns(
    proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await proxy("http://name.invalid:3001", timeouts=TimeoutSettings(connect=0.05))

    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("mcp_proxy_exporter.proxy.pool._look_up", hang)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        assert (await client.read_response()).status == 502
    assert failures(running) == ["dns"]


async def test_missing_unix_socket_is_502(proxy: ProxyFactory, tmp_path: Path) -> None:
    running = await proxy(f"unix:{tmp_path}/nobody")
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        assert (await client.read_response()).status == 502
    assert failures(running) == ["connect_failed"]


async def test_call_of_a_failed_upload_is_seen_whole_then_answered(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CLOSE, when=Moment.HEAD)
    body = b"0123456789" * 10_000
    request = post(body)
    async with RawClient.connecting(running.url) as client:
        await client.send(request[:1000])
        await running.wait_for(UpstreamFailed)
        await client.send(request[1000:50_000], request[50_000:])
        response = await client.read_response()
        assert response.status == 502
        assert response.head.values(b"connection") == []
        upstream.answer(OK)
        await client.send(post())
        assert (await client.read_response()).body == b"ok"
    assert running.exchanges[0].request_body == body
    assert running.exchanges[0].calls == ["request_data", "request_end", "aborted"]
    assert failures(running) == ["closed_before_head"]


async def test_endless_upload_after_a_failure_is_answered_and_ended(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CLOSE, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await running.wait_for(UpstreamFailed)
        piece = chunk(bytes(65_536))
        sent = 0
        while not running.seen(HttpExchangeClosed):
            await client.send(piece)
            sent += 65_536
            await asyncio.sleep(0)
            assert sent < 8 * 1024 * 1024
        response = await client.read_response()
        assert response.status == 502
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
    (exchange,) = running.exchanges
    assert 1_048_576 < len(exchange.request_body) < 2 * 1_048_576
    assert exchange.calls == ["request_data", "aborted"]


async def test_malformed_rest_of_a_failed_upload_is_answered_at_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CLOSE, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await running.wait_for(UpstreamFailed)
        await client.send(b"zz\r\n")
        assert (await client.read_response()).status == 502
        await client.read_eof()
    assert len(running.seen(HttpExchangeClosed)) == 1


async def test_client_that_leaves_after_a_failure_ends_the_exchange(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CLOSE, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await running.wait_for(UpstreamFailed)
    (closed,) = await running.wait_for(HttpExchangeClosed)
    assert closed.status == 0
    assert running.exchanges[0].abort is Abort.CLIENT_GONE


async def test_early_answer_is_relayed_while_uploading(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(answer(b"too large", status=b"413 Content Too Large"), when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        response = await client.read_response()
        assert response.status == 413
        assert response.head.values(b"connection") == [b"close"]
        await client.read_eof()
        await client.send(chunk(b"still sending"))  # the answer must not be reset away
        await upstream.connections[0].wait_closed()
    assert failures(running) == []
    (closed,) = running.seen(HttpExchangeClosed)
    assert closed.status == 413
    assert running.exchanges[0].response_body == b"too large"


async def test_early_answer_with_upload_that_still_completes_keeps_the_upstream(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(CHUNKED + chunk(b"early"), when=Moment.HEAD)
    upstream.answer_always(OK)

    async def end_answer() -> None:
        await upstream.wait_for_requests(1)
        gate.set()
        await upstream.connections[0].write(LAST_CHUNK)

    ending = asyncio.create_task(end_answer())
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await client.read_until(b"early\r\n")
        await client.send(LAST_CHUNK)
        await client.read_until(LAST_CHUNK)
        await client.read_eof()
    await ending
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).body == b"ok"
    assert len(upstream.connections) == 1


async def test_answer_of_a_server_that_closes_without_reading_arrives(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    # Closing with unread bytes resets the connection: the answer is in the proxy's receive buffer
    # when its next write fails.
    running = await proxy(upstream.url)

    async def refuse(side: UpstreamSide) -> None:
        hold_back(side.writer)
        await asyncio.sleep(0.02)
        side.writer.write(answer(b"no", b"Connection: close", status=b"413 Content Too Large"))
        side.writer.transport.abort()

    upstream.answer(refuse, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await upstream.wait_for_heads(1)
        sending = asyncio.create_task(send_until_told(client))
        response = await client.read_response()
        sending.cancel()
    assert response.status == 413
    assert response.body == b"no"
    assert failures(running) == []


async def test_answer_before_a_failed_write_is_read(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(asyncio.Event().wait, when=Moment.HEAD)
    async with RawClient.connecting(running.url) as client:
        await client.send(post_chunked(b"x"))
        await upstream.wait_for_heads(1)
        (connection,) = running.server._context.pool._open
        # As when the loop has not come round to reading yet.
        connection._transport.pause_reading()
        upstream.connections[0].writer.write(answer(b"why", status=b"400 Bad Request"))
        upstream.connections[0].end(RESET)
        await upstream.connections[0].wait_closed()
        await client.send(chunk(bytes(100_000)), chunk(bytes(100_000)), chunk(bytes(100_000)))
        response = await client.read_response()
    assert response.status == 400
    assert response.body == b"why"
    assert len(running.seen(HttpExchangeClosed)) == 1


@pytest.mark.parametrize(
    "rest", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"x", b"\r\n"]
)
async def test_bytes_after_an_answer_never_reach_another_request(
    proxy: ProxyFactory, upstream: ScriptedUpstream, rest: bytes
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK + rest)
    upstream.answer(answer(b"mine"))
    async with RawClient.connecting(running.url) as client:
        await client.send(GET)
        assert (await client.read_response()).body == b"ok"
        await client.send(GET)
        assert (await client.read_response()).body == b"mine"
    assert len(upstream.connections) == 2


async def test_tap_is_told_of_each_end_once(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(CHUNKED + chunk(b"x"), RESET)
    async with RawClient.connecting(running.url) as client:
        await client.send(post())
        await client.read_head()
        await client.read_rest()
    await asyncio.sleep(0)
    assert len(running.seen(HttpExchangeClosed)) == 1
    assert len(running.seen(UpstreamFailed)) == 1
    assert len(running.seen(UpstreamConnected)) == 1
    assert len(running.seen(UpstreamAnswered)) == 1


async def wait_a_moment() -> None:
    """Let what was written arrive as a read of its own."""
    await asyncio.sleep(0.01)


async def send_until_told(client: RawClient) -> None:
    while True:
        await client.send(chunk(bytes(10_000)))
        await asyncio.sleep(0)
