"""A compressed conversation passes byte for byte, and counts as the same one uncompressed does."""

import asyncio
import gzip
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise

import aiohttp
import brotli  # type: ignore[import-untyped]
import pytest

from tests.support.messages import LAST_CHUNK, answer, chunk
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape
from tests.support.scripted_upstream import ScriptedUpstream, UpstreamSide
from tests.test_app import build_server, build_settings, running, scrape

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Encode = Callable[[bytes], bytes]

CODINGS: dict[str, Encode] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
}
TOOL = (
    b'{"name":"nap","description":"%b","inputSchema":{"type":"object"},'
    b'"annotations":{"readOnlyHint":true}}' % (b"Sleep well. " * 300)
)
MESSAGE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"z"}}'
RESULT = b'{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"%b"}]}}' % (
    b"purr " * 2000
)
BEGIN = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"c","version":"1"}}}'
)
BEGUN = (
    b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"serverInfo":{"name":"s","version":"2"},"instructions":"nap often"}}'
)
CONVERSATION: list[tuple[bytes, bytes, bool]] = [
    # What is asked, what is answered, and whether that is an event stream.
    (
        BEGIN,
        BEGUN,
        False,
    ),
    (
        b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":2,"result":{"tools":[%b]}}' % TOOL,
        False,
    ),
    (
        b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"nap","arguments":'
        b'{"why":"%b"}}}' % (b"tired " * 1000),
        b"id: 1\ndata: %b\n\n: still there\n\nid: 2\ndata: %b\n\n" % (MESSAGE, RESULT),
        True,
    ),
    (
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"nap","arguments":{}}}',
        b'{"jsonrpc":"2.0","id":4,"result":{"content":[],"isError":true}}',
        False,
    ),
    (
        b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"nap","arguments":[]}}',
        b'{"jsonrpc":"2.0","id":5,"error":{"code":-32602,"message":"no object"}}',
        False,
    ),
    (b"not JSON at all", b"neither is this", False),
]


def cut(data: bytes, pieces: int) -> list[bytes]:
    ends = [len(data) * number // pieces for number in range(pieces + 1)]
    return [data[a:b] for a, b in pairwise(ends) if a < b]


def figures_of(found: Scrape) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return all that does not depend on the time of day or on how fast this machine is."""
    return {
        (name, frozenset(labels.items())): value
        for name in found.names
        if name.startswith("mcp_")
        and "timestamp" not in name
        and not name.endswith(("_seconds_bucket", "_seconds_sum", "_seconds"))
        for labels, value in found.rows(name)
    }


async def converse(
    coding: str | None, encode: Encode, pieces: int
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Hold the conversation, see that each byte arrives, and return the figures."""
    fields = [] if coding is None else [b"Content-Encoding: " + coding.encode()]
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
        RawClient.connecting(service.addresses("cats")[0]) as client,
    ):
        for asked, told, is_stream in CONVERSATION:
            sent, answered = encode(asked), encode(told)
            kind = b"text/event-stream" if is_stream else b"application/json"
            if pieces == 1 and not is_stream:
                upstream.answer(answer(answered, b"Content-Type: " + kind, *fields))
            else:
                chunked = [b"Content-Type: " + kind, *fields, b"Transfer-Encoding: chunked"]
                head = b"\r\n".join([b"HTTP/1.1 200 OK", *chunked, b"", b""])

                async def speak(
                    side: UpstreamSide, head: bytes = head, all_: bytes = answered
                ) -> None:
                    await side.write(head)
                    for piece in cut(all_, pieces):
                        await side.write(chunk(piece))
                        await asyncio.sleep(0.002)
                    await side.write(LAST_CHUNK)

                upstream.answer(speak)
            head = b"\r\n".join(
                [
                    b"POST /mcp HTTP/1.1",
                    b"Host: a",
                    b"Content-Type: application/json",
                    *fields,
                    b"Content-Length: %d" % len(sent),
                    b"",
                    b"",
                ]
            )
            for piece in [head + sent] if pieces == 1 else [head, *cut(sent, pieces)]:
                await client.send(piece)
                await asyncio.sleep(0)
            response = await client.read_response()
            assert response.body == answered
            assert response.head.values(b"content-encoding") == (
                [] if coding is None else [coding.encode()]
            )
            request = upstream.requests[-1]
            assert request.raw == head + sent
        return figures_of(await scrape(http, service))


@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_coded_conversation_counts_as_the_plain_one_does(pieces: int) -> None:
    plain = await converse(None, bytes, pieces)
    totals = {name for (name, _), value in plain.items() if value}
    # Something of each kind was there to be counted.
    assert totals >= {
        "mcp_tool_calls_total",
        "mcp_tool_result_size_bytes_sum",
        "mcp_tool_definition_size_bytes",
        "mcp_notifications_total",
        "mcp_jsonrpc_errors_total",
        "mcp_message_size_bytes_sum",
        "mcp_client_requests_total",
        "mcp_proxy_uninspected_messages_total",
    }
    for coding, encode in CODINGS.items():
        coded = await converse(coding, encode, pieces)
        differing = {key for key in plain.keys() | coded.keys() if plain.get(key) != coded.get(key)}
        assert not differing, (coding, differing)
