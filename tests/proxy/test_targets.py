"""Targets pass as text and lead nowhere else; a request without a body gains none."""

import pytest

from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream

TARGETS = [
    b"/", b"//", b"///", b"/mcp", b"/mcp/", b"//mcp", b"/mcp//x", b"/./mcp", b"/../mcp", b"/a/..",
    b"/a/../../b", b"/%2e%2e/x", b"/%2E%2e%2fx", b"/%2F", b"/%2f%2F", b"/a%2Fb", b"/%5c..%5c",
    b"/\\", b"/\\\\x", b"/..\\x", b"/;", b"/;a", b"/a;b=c/d;e", b"/..;/x", b"/~a", b"/%7ea",
    b"/%7Ea", b"/+", b"/a+b%20c", b"/&&", b"/a&b=c", b"/?", b"/??", b"/?a", b"/?a=b&c=d&a=e",
    b"/?a=%26", b"/?/..", b"/?//x", b"/?a#b", b"/#", b"/a#b?c", b"/%0d%0aX:%20y", b"/%00", b"/%zz",
    b"/%", b"/%u0041", b"/{}", b"/|", b"/^`", b'/"<>', b"/'", b"/[::1]", b"/:80", b"/a:b@c",
    b"/*", b"/=", b"/,", b"/!$()", b"/\xff", b"/caf\xc3\xa9", b"/\xf0\x9f\x90\xb1",
    b"/" + b"a" * 9000,
]  # fmt: skip


async def test_any_target_arrives_as_it_was_and_leads_nowhere_else(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    running = await proxy(upstream.url)
    async with ScriptedUpstream.running() as trap, RawClient.connecting(running.url) as client:
        place = trap.url.removeprefix("http://").encode()
        tempting = [
            b"//" + place + b"/x",
            b"/@" + place,
            b"/\\\\" + place,
            b"/" + trap.url.encode(),
        ]
        for target in (*TARGETS, *tempting):
            await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.read_response()).status == 204
        # RFC 9112 section 3.2.2: an absolute one names us; nothing ever connects to what it says.
        await client.send(b"GET " + trap.url.encode() + b"/y HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).status == 204
        assert trap.connections == []
    assert [request.target for request in upstream.requests] == [*TARGETS, *tempting, b"/y"]
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"HEAD", b"OPTIONS", b"POST"])
async def test_a_request_without_a_body_gains_none(
    proxy: ProxyFactory, upstream: ScriptedUpstream, method: bytes
) -> None:
    running = await proxy(upstream.url)
    raw = method + b" /mcp HTTP/1.1\r\nHost: a\r\nMcp-Session-Id: b\r\n\r\n"
    async with RawClient.connecting(running.url) as client:
        for _ in range(2):
            await client.send(raw)
            assert (await client.read_response(method)).status == 204
    assert [request.raw for request in upstream.requests] == [raw, raw]
