"""Heads that were seen before take a shorter way; what passes must not show it."""

import pytest

from mcp_proxy_exporter.proxy.chunks import read_single_chunk
from mcp_proxy_exporter.proxy.heads import KnownHeads, RequestHead, parse_request_head
from tests.support.proxies import ProxyFactory
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import ScriptedUpstream

ROUNDS = 4
REQUEST = b"POST /mcp?%2F HTTP/1.1\r\nHost: a\r\nX-Odd:  b \r\nContent-Length: 3\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ONE_CHUNK = EVENTS + b"5\r\nhello\r\n0\r\n\r\n"

# What the upstream sends, and what the client gets.
ANSWERS = {
    "length": (JSON + b"{}", JSON + b"{}"),
    "one chunk": (ONE_CHUNK, ONE_CHUNK),
    "two chunks": (
        EVENTS + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        EVENTS + b"6\r\nhello!\r\n0\r\n\r\n",
    ),
    "chunk extension": (EVENTS + b"5;a=b\r\nhello\r\n0\r\n\r\n", ONE_CHUNK),
    "trailer": (
        EVENTS + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
        EVENTS + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    ),
    "no chunk": (EVENTS + b"0\r\n\r\n", EVENTS + b"0\r\n\r\n"),
    "no content": (b"HTTP/1.1 204 Gone\r\nX-A: b\r\n\r\n", b"HTTP/1.1 204 Gone\r\nX-A: b\r\n\r\n"),
    "interim": (
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + JSON + b"{}",
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + JSON + b"{}",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_same_heads_again_pass_the_same_bytes(
    name: str, proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    sent, expected = ANSWERS[name]
    upstream.answer_always(sent)
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        for number in range(ROUNDS):
            body = b"%03d" % number
            await client.send(REQUEST + body)
            assert await client.read(len(expected)) == expected
    assert [request.raw for request in upstream.requests] == [
        REQUEST + b"%03d" % number for number in range(ROUNDS)
    ]
    exchanges = running.exchanges
    assert [bytes(exchange.request_body) for exchange in exchanges] == [
        b"%03d" % number for number in range(ROUNDS)
    ]
    assert len({bytes(exchange.response_body) for exchange in exchanges}) == 1
    assert {exchange.calls[-1] for exchange in exchanges} == {"response_end"}


async def test_a_known_head_with_its_body_in_pieces_or_with_a_second_request_is_no_whole_message(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    upstream.answer_always(JSON + b"{}")
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(REQUEST + b"one")
        assert await client.read(len(JSON) + 2) == JSON + b"{}"
        await client.send(REQUEST, b"t", b"wo")
        assert await client.read(len(JSON) + 2) == JSON + b"{}"
        await client.send(REQUEST + b"tri" + REQUEST + b"for")
        assert await client.read(2 * (len(JSON) + 2)) == 2 * (JSON + b"{}")
    assert [bytes(exchange.request_body) for exchange in running.exchanges] == [
        b"one", b"two", b"tri", b"for",
    ]  # fmt: skip


async def test_answers_to_head_have_no_body_whatever_was_known(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    upstream.answer(JSON + b"{}")
    upstream.answer(JSON)
    upstream.answer(JSON + b"{}")
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        await client.send(REQUEST + b"one")
        assert await client.read(len(JSON) + 2) == JSON + b"{}"
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await client.read(len(JSON)) == JSON
        await client.send(REQUEST + b"two")
        assert await client.read(len(JSON) + 2) == JSON + b"{}"


async def test_an_interim_head_that_is_known_stays_interim(
    proxy: ProxyFactory, upstream: ScriptedUpstream
) -> None:
    interim = b"HTTP/1.1 103 Early\r\n\r\n"
    upstream.answer_always(interim, JSON + b"{}")
    running = await proxy(upstream.url)
    async with RawClient.connecting(running.url) as client:
        for _ in range(ROUNDS):
            await client.send(REQUEST + b"abc")
            expected = interim + JSON + b"{}"
            assert await client.read(len(expected)) == expected


def test_the_store_is_bounded_and_leaves_out_long_heads() -> None:
    known: KnownHeads[RequestHead] = KnownHeads()
    head = parse_request_head(REQUEST, 100)
    for number in range(2000):
        known.add(b"%d" % number, head)
    assert known.get(b"1999") is head
    assert sum(known.get(b"%d" % number) is not None for number in range(2000)) <= 512
    known.add(b"x" * 5000, head)
    assert known.get(b"x" * 5000) is None


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"5\r\nhello\r\n0\r\n\r\nX", None),
        (b"5\r\nhello\r\n", None),
        (b"6\r\nhello\r\n0\r\n\r\n", None),
        (b"0\r\n\r\n", None),
        (b"x\r\n", None),
        (b"", None),
    ],
)
def test_a_single_chunk_is_read_only_when_it_is_all(body: bytes, payload: bytes | None) -> None:
    assert read_single_chunk(b"head" + body, 4) == payload
