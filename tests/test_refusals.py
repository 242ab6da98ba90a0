"""A call that the proxy refuses is in the metrics: `rejected`, by its tool where that is known."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mcp_proxy_exporter.app import Service
from mcp_proxy_exporter.config import AdminSettings, LimitSettings, ServerSettings, Settings
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape, fetch
from tests.support.scripted_upstream import ScriptedUpstream

TOOLS = b'{"jsonrpc":"2.0","id":0,"result":{"tools":[{"name":"nap","inputSchema":{}}]}}'
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
REQUESTS = {"method": "tools/call", "server": "cats"}


def ask(body: bytes, *lines: bytes, host: bytes = b"127.0.0.1") -> bytes:
    fields = [
        b"POST /mcp HTTP/1.1",
        b"Host: " + host,
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *lines,
    ]
    return b"\r\n".join(fields) + b"\r\n\r\n" + body


def call(*lines: bytes, host: bytes = b"127.0.0.1") -> bytes:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
    return ask(body, *lines, host=host)


def answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream.running() as running:
        running.answer(answer(TOOLS))
        running.answer_always(answer(RESULT))
        yield running


@pytest.fixture
async def service(upstream: ScriptedUpstream) -> AsyncIterator[Service]:
    server = ServerSettings(
        name="cats",
        listen="127.0.0.1:0",
        upstream=upstream.url,
        host_header="upstream",
        allowed_origins=("https://app.example",),
        via="edge",
    )
    running = Service(
        Settings(
            servers=(server,),
            admin=AdminSettings(listen="127.0.0.1:0"),
            limits=LimitSettings(requests=1),
        )
    )
    await running.start()
    async with RawClient.connecting(running.addresses("cats")[0]) as client:
        await client.send(ask(b'{"jsonrpc":"2.0","id":0,"method":"tools/list"}'))
        assert (await client.read_response()).body == TOOLS
    yield running
    await running.stop()


async def scrape(service: Service) -> Scrape:
    found = await asyncio.to_thread(fetch, service.admin_url, "/metrics")
    return Scrape.from_text(found.body)


@pytest.mark.parametrize(
    ("refused", "status", "kept"),
    [
        (call(b"Origin: https://evil.example"), 403, True),
        (call(host=b"rebound.example"), 421, True),
        (call(b"Via: 1.1 edge"), 508, True),
        (call(b"Connection: Mcp-Method", b"Mcp-Method: tools/call"), 400, False),
        (call(b"Transfer_Encoding: chunked"), 400, False),
    ],
)
async def test_a_refused_call_counts_under_its_tool(
    service: Service, upstream: ScriptedUpstream, refused: bytes, status: int, *, kept: bool
) -> None:
    async with RawClient.connecting(service.addresses("cats")[0]) as client:
        await client.send(refused)
        response = await client.read_response()
        assert response.status == status
        assert response.head.values(b"connection") == ([] if kept else [b"close"])
        if kept:
            await client.send(call(b"Origin: https://app.example"))
            assert (await client.read_response()).body == RESULT
    metrics = await scrape(service)
    calls = "mcp_tool_calls_total"
    assert metrics.value(calls, server="cats", tool="nap", outcome="rejected") == 1
    assert metrics.value(calls, server="cats", tool="nap", outcome="success") == kept
    assert metrics.value("mcp_requests_total", outcome="rejected", **REQUESTS) == 1
    assert metrics.value("mcp_http_requests_total", server="cats", method="POST", code=f"{status}")
    assert metrics.total("mcp_tool_calls_in_flight") == 0
    assert len(upstream.requests) == 1 + kept


async def test_a_call_too_many_counts_under_its_tool_and_its_limit(
    service: Service, upstream: ScriptedUpstream
) -> None:
    gate = asyncio.Event()
    upstream.answer(gate.wait, answer(RESULT))
    url = service.addresses("cats")[0]
    async with RawClient.connecting(url) as first, RawClient.connecting(url) as second:
        await first.send(call())
        await upstream.wait_for_requests(2)
        for _ in range(3):
            await second.send(call())
            assert (await second.read_response()).status == 503
        gate.set()
        assert (await first.read_response()).body == RESULT
    metrics = await scrape(service)
    calls = "mcp_tool_calls_total"
    assert metrics.value(calls, server="cats", tool="nap", outcome="rejected") == 3
    assert metrics.value(calls, server="cats", tool="nap", outcome="success") == 1
    hits = "mcp_proxy_limit_hits_total"
    assert metrics.value(hits, server="cats", limit="requests") == 3
    assert metrics.total(hits) == 3
    assert len(upstream.connections) == 1
