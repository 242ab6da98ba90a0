"""Every answer of the table, on the wire: 502, or passed to the byte; and the next call is good."""

import logging

import pytest

from tests.support.probe_responses import ANSWERS, ASKED, GOOD, Answer
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, ScriptedUpstream


async def check_what_arrives(client: RawClient, answer: Answer) -> None:
    if not answer.arrives:
        response = await client.read_response()
        assert response.status == 502
        assert response.body.startswith(b"mcp-proxy-exporter: ")
        return
    assert await client.read(len(answer.arrives)) == answer.arrives
    if answer.cut or answer.ends:
        await client.read_eof()


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_a_502_or_passes_to_the_byte(
    name: str, proxy: ProxyFactory, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ANSWERS[name]
    running = await proxy(upstream.url)
    upstream.answer(answer.sent, *([CLOSE] if answer.closes else []))
    upstream.answer_always(GOOD)
    with caplog.at_level(logging.WARNING):
        async with RawClient.connecting(running.url) as client:
            await client.send(answer.asked)
            await check_what_arrives(client, answer)
            if not (answer.cut or answer.ends):
                # Nothing came behind it, and the next one on this connection is served.
                await client.send(ASKED)
                assert await client.read(len(GOOD)) == GOOD
        async with RawClient.connecting(running.url) as client:
            await client.send(ASKED)
            assert await client.read(len(GOOD)) == GOOD
    assert caplog.messages == []
