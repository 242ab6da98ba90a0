"""An upload that its client breaks off never looks whole to the upstream, wherever it broke off."""

import asyncio

import pytest

from mcp_proxy_exporter.protocol.outcome import Abort
from tests.support.messages import LAST_CHUNK, chunk, post, post_chunked
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream

ROUNDS = 5
BODY = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'

BROKEN_OFF = {
    "length, before the body": post(BODY)[: -len(BODY)],
    "length, in the body": post(BODY)[:-9],
    "length, before the last byte": post(BODY)[:-1],
    "chunked, before the body": post_chunked(),
    "chunked, in a size": post_chunked(BODY) + b"1",
    "chunked, behind a size": post_chunked(BODY) + b"1\r\n",
    "chunked, in a chunk": post_chunked() + chunk(BODY)[:-9],
    "chunked, behind a chunk": post_chunked(BODY),
    "chunked, in the end of a chunk": post_chunked(BODY)[:-1],
    "chunked, in the last chunk": post_chunked(BODY) + b"0\r\n",
    "chunked, before the last byte": post_chunked(BODY) + LAST_CHUNK[:-1],
    "chunked, in a trailer": post_chunked(BODY) + b"0\r\nA: b\r\n",
}


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("where", BROKEN_OFF)
async def test_an_upload_that_breaks_off_never_ends_properly(
    proxy: ProxyFactory, upstream: ScriptedUpstream, where: str, how: str
) -> None:
    running = await proxy(upstream.url)
    for number in range(ROUNDS):
        client = await RawClient.connect(running.url)
        await client.send(BROKEN_OFF[where])
        await upstream.wait_for_heads(number + 1)
        if how == "reset":
            client.reset()
        else:
            client.half_close()
        await upstream.connections[number].wait_ended()
        async with asyncio.timeout(5.0):
            await upstream.connections[number].wait_closed()
        await client.close()
    assert upstream.requests == []
    assert [exchange.abort for exchange in running.exchanges] == [Abort.CLIENT_GONE] * ROUNDS
    assert all("request_end" not in exchange.calls for exchange in running.exchanges)
    # What belongs to nobody any more spoils nothing for the next one.
    async with RawClient.connecting(running.url) as client:
        await client.send(post(BODY))
        assert (await client.read_response()).status == 204
    assert [request.body for request in upstream.requests] == [BODY]
