"""Malformed HTTP from either side: a clear answer, a closed connection, and the next one works."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_proxy_exporter.config import LimitSettings, TimeoutSettings
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed, UpstreamAnswered, UpstreamFailed
from tests.support.bad_http import BAD_RESPONSES, CHUNKED, ODD, REFUSED, G, P
from tests.support.proxies import ProxyFactory, RunningProxy
from tests.support.raw_client import RawClient, RawResponse
from tests.support.scripted_upstream import CLOSE, Moment, ScriptedUpstream

LIMITS = LimitSettings(head_bytes=4096, head_fields=64)
SOON = TimeoutSettings(client_head=0.3, client_body=0.3)
GOOD = b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where anything was logged: the event loop reports what nobody caught that way."""
    with caplog.at_level(logging.WARNING):
        yield
    assert caplog.messages == []


def check_refusal(response: RawResponse, status: int) -> None:
    assert response.status == status
    assert response.head.values(b"content-type") == [b"text/plain; charset=utf-8"]
    assert response.head.values(b"connection") == [b"close"]
    assert response.body.startswith(b"mcp-proxy-exporter: ")
    assert response.body.endswith(b")\n")


async def check_that_it_still_works(running: RunningProxy, upstream: ScriptedUpstream) -> None:
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GOOD)
        assert (await client.read_response()).body == b"ok"
    assert upstream.requests[-1].raw == GOOD


@pytest.mark.parametrize("name", REFUSED)
async def test_a_malformed_request_is_answered_and_goes_no_further(
    name: str, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    status, raw = REFUSED[name]
    running = await proxy(upstream.url, limits=LIMITS, timeouts=SOON)
    async with RawClient.connecting(running.url) as client:
        await client.send(raw)
        check_refusal(await client.read_response(), status)
        await client.read_eof()
    assert [closed.status for closed in await running.wait_for(HttpExchangeClosed)] == [status]
    assert upstream.heads == []
    await check_that_it_still_works(running, upstream)
    assert len(running.seen(HttpExchangeClosed)) == 2


@pytest.mark.parametrize("name", ODD)
async def test_what_is_merely_odd_passes_untouched(
    name: str, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    raw, expected = ODD[name]
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(raw)
        assert (await client.read_response()).status == 204
        await client.send(GOOD)
        assert (await client.read_response()).status == 204
    assert [request.raw for request in upstream.requests] == [expected, GOOD]


@pytest.mark.parametrize(
    ("target", "expected"), [(b"/x", None), (b"http://other:81/x", b"other:81")]
)
async def test_a_missing_host_is_that_of_the_target_or_of_the_upstream(
    target: bytes, expected: bytes | None, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    host = expected or upstream.url.removeprefix("http://").encode()
    async with RawClient.connecting(running.url) as client:
        await client.send(b"GET " + target + b" HTTP/1.0\r\nA: b\r\n\r\n")
        assert (await client.read_response()).status == 204
        await client.read_eof()
    assert upstream.requests[0].raw == b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (CHUNKED + b"2\r\nok\r\n", b"z\r\n", 400),
        (CHUNKED, b"1\r\nab\r\n", 400),
        (CHUNKED + b"2\r\no", b"k0\r\n\r\n", 400),
        (CHUNKED + b"2\r\nok\r\n0\r\n", b"A\x00: b\r\n\r\n", 400),
        (CHUNKED + b"2\r\nok\r\n", b"", 408),
        (P + b"Content-Length: 5\r\n\r\n", b"ok", 408),
    ],
)
async def test_a_body_that_goes_wrong_half_way_never_ends_at_the_upstream(
    first: bytes, second: bytes, status: int, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, timeouts=SOON)
    async with RawClient.connecting(running.url) as client:
        await client.send(first)
        await upstream.wait_for_heads(1)
        if second:
            await client.send(second)
        check_refusal(await client.read_response(), status)
        await client.read_eof()
    await upstream.connections[0].wait_closed()
    assert upstream.requests == []
    assert [closed.status for closed in await running.wait_for(HttpExchangeClosed)] == [status]
    assert running.exchanges[0].calls[-1] == "aborted"
    await check_that_it_still_works(running, upstream)


@pytest.mark.parametrize(
    "bad",
    [b"G(T / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", CHUNKED + b"z\r\n"],
)
async def test_a_malformed_request_behind_a_good_one_spoils_only_itself(
    bad: bytes, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(GOOD + bad + GOOD)
        assert (await client.read_response()).body == b"ok"
        check_refusal(await client.read_response(), 400)
        await client.read_eof()
    assert [request.raw for request in upstream.requests] == [GOOD]
    assert [event.status for event in await running.wait_for(HttpExchangeClosed, 2)] == [200, 400]


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        b"Upgrade: TLS/1.0\r\n",
    ],
)
@pytest.mark.parametrize("body", [b"", b"Content-Length: 2\r\n\r\nok"])
async def test_an_upgrade_is_declined_and_what_follows_is_the_next_request(
    upgrade: bytes, body: bytes, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    # RFC 9110 section 7.8: a server may ignore Upgrade; httptools would stop reading there.
    running = await proxy(upstream.url)
    gate = asyncio.Event()
    upstream.answer(gate.wait, OK)
    async with RawClient.connecting(running.url) as client:
        await client.send(P + upgrade + (body or b"\r\n") + GOOD)
        await upstream.wait_for_requests(1)
        await asyncio.sleep(0.02)
        assert len(upstream.heads) == 1  # the tail waits for the answer before it
        gate.set()
        assert (await client.read_response()).body == b"ok"
        assert (await client.read_response()).status == 204
    first, second = upstream.requests
    assert first.body == (b"ok" if body else b"")
    for name in (b"upgrade", b"connection", b"http2-settings"):
        assert first.head.values(name) == []
    assert second.raw == GOOD


@pytest.mark.parametrize("bad", [b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", P + b"A : b\r\n\r\n"])
async def test_the_refusal_arrives_though_the_client_goes_on_sending(
    bad: bytes, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    # RFC 9112 section 9.6: a close with bytes unread is a reset that would destroy the answer.
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(bad, *[b"x" * 65_536] * 16)
        check_refusal(await client.read_response(), 400)
        await client.read_eof()
    assert upstream.heads == []


async def test_a_head_in_single_bytes_is_refused_like_a_whole_one(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        for byte in G + b"A : b\r\n\r\n":
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        check_refusal(await client.read_response(), 400)
        await client.read_eof()
    assert upstream.heads == []


@pytest.mark.parametrize("name", BAD_RESPONSES)
async def test_a_malformed_response_is_a_502(
    name: str, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url, limits=LIMITS)
    upstream.answer(BAD_RESPONSES[name])
    async with RawClient.connecting(running.url) as client:
        await client.send(GOOD)
        response = await client.read_response()
        assert response.status == 502
        assert response.body.endswith(b"(bad_response)\n")
        assert response.head.values(b"content-type") == [b"text/plain; charset=utf-8"]
        upstream.answer(OK)
        await client.send(GOOD)
        assert (await client.read_response()).body == b"ok"
    assert [event.reason for event in running.seen(UpstreamFailed)] == ["bad_response"]
    assert [event.status for event in await running.wait_for(HttpExchangeClosed, 2)] == [502, 200]
    assert len(running.seen(UpstreamAnswered)) == 1
    await upstream.connections[0].wait_closed()


@pytest.mark.parametrize(
    "steps",
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nz\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"-1\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA\r\n\r\n",),
    ],
)
async def test_a_response_that_goes_wrong_half_way_never_ends_at_the_client(
    steps: tuple[bytes, ...], proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(*steps)
    async with RawClient.connecting(running.url) as client:
        await client.send(GOOD)
        assert await client.read_rest() == (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
        )
    assert [event.reason for event in running.seen(UpstreamFailed)] == ["bad_response"]
    assert running.exchanges[0].calls[-1] == "aborted"
    assert running.exchanges[0].response_body == b"ok"
    await check_that_it_still_works(running, upstream)


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2\r\n", OK])
async def test_a_server_that_speaks_first_is_no_answer(
    banner: bytes, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(banner, when=Moment.CONNECTED)
    async with RawClient.connecting(running.url) as client:
        await client.send(GOOD)
        response = await client.read_response()
    # A whole response may come in the same instant as the request leaves: it cannot be told apart.
    assert response.status == 502 or (response.status, response.body) == (200, b"ok")
    await check_that_it_still_works(running, upstream)


@pytest.mark.parametrize(
    ("steps", "body"),
    [
        # Tolerated: what every client understands alike.
        ((b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",), b"ok"),
        ((b"HTTP/1.1 200 \xe4\xff\r\nContent-Length: 2\r\n\r\nok",), b"ok"),
        ((b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE), b"ok"),
        ((b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",), b""),
        ((b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok",), b"ok"),
        ((OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",), b"ok"),
        ((OK + b"\r\n",), b"ok"),
    ],
)
async def test_an_odd_response_is_passed_on_and_spoils_nothing(
    steps: tuple[Any, ...], body: bytes, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    upstream.answer(*steps)
    async with RawClient.connecting(running.url) as client:
        await client.send(GOOD)
        assert (await client.read_response()).body == body
        upstream.answer(OK)
        await client.send(GOOD)
        assert (await client.read_response()).body == b"ok"
    assert running.seen(UpstreamFailed) == []
