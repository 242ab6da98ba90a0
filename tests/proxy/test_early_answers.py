"""Answers that come before their request is whole: refusals, mostly. The call still counts."""

import pytest

from mcp_proxy_exporter.protocol.events import CallClosed, HttpExchangeClosed
from mcp_proxy_exporter.protocol.inspector import Inspector
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.support.deadlines import Clock, sweep
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import Moment, ScriptedUpstream

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
HEAD = (
    b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
REFUSAL = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)


@pytest.mark.parametrize("rounds", [1, 2])
async def test_a_call_that_was_refused_unread_is_seen_whole_before_its_answer_ends(
    rounds: int, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    upstream.answer_always(REFUSAL, when=Moment.HEAD)
    running = await proxy(upstream.url)
    for number in range(rounds):
        async with RawClient.connecting(running.url) as client:
            await client.send(HEAD % len(CALL))
            response = await client.read_response(b"POST")
            assert response.status == 401
            await client.send(CALL)
            await client.read_eof()
        await running.wait_for(HttpExchangeClosed, number + 1)
    for exchange in running.exchanges:
        assert exchange.request_body == CALL
        assert exchange.calls == [
            "response_head", "response_data", "request_data", "request_end", "response_end",
        ]  # fmt: skip
        assert exchange.abort is None
    assert {closed.status for closed in running.seen(HttpExchangeClosed)} == {401}


async def test_a_client_that_leaves_after_an_early_answer_has_had_it(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    upstream.answer(REFUSAL, when=Moment.HEAD)
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(HEAD % len(CALL), CALL[:10])
        assert (await client.read_response(b"POST")).status == 401
    await running.wait_for(HttpExchangeClosed)
    assert running.exchanges[0].abort is None
    assert running.exchanges[0].calls[-1] == "response_end"


async def test_the_rest_of_a_refused_request_is_read_only_so_far(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    upstream.answer(REFUSAL, when=Moment.HEAD)
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(HEAD % 8_000_000)
        assert (await client.read_response(b"POST")).status == 401
        await client.send(b" " * 2_000_000)
        await running.wait_for(HttpExchangeClosed)
    assert 1_048_576 < len(running.exchanges[0].request_body) < 2_000_000


async def test_who_goes_on_sending_after_a_refusal_has_two_seconds(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    clock = Clock()
    upstream.answer(REFUSAL, when=Moment.HEAD)
    running = await proxy(upstream.url, clock=clock)
    async with RawClient.connecting(running.url) as client:
        await client.send(HEAD % len(CALL), CALL[:10])
        assert (await client.read_response(b"POST")).status == 401
        clock.now += 1.9
        sweep(running)
        assert running.seen(HttpExchangeClosed) == []
        clock.now += 0.2
        sweep(running)
        assert len(running.seen(HttpExchangeClosed)) == 1


def test_an_early_refusal_ends_its_call_as_an_http_error() -> None:
    inspection = Inspector(Limits()).open(b"POST", b"/", {b"content-type": b"application/json"})
    assert inspection is not None
    fields = {b"content-type": b"application/json"}
    events = [
        *inspection.response_head(401, fields, 1.0),
        *inspection.response_data(b"{}", 1.0),
        *inspection.request_data(CALL, 2.0),
        *inspection.request_end(2.0),
        *inspection.response_end(3.0),
    ]
    [closed] = [event for event in events if isinstance(event, CallClosed)]
    assert closed.outcome is Outcome.HTTP_ERROR
    assert closed.call.name == "nap"
