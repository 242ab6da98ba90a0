"""Odd and broken JSON passes exact, both ways, and is counted once, whatever it is counted as."""

import json

import aiohttp
import pytest

from tests.support.messages import answer
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape
from tests.support.scripted_upstream import ScriptedUpstream
from tests.test_app import build_server, build_settings, running, scrape

TEXT = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
RESULT = '{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'


def with_id(written: str) -> bytes:
    return TEXT.replace('"id":1', f'"id":{written}').encode()


CALLS: dict[str, bytes] = {
    # Read as a call, if an odd one.
    "plain": TEXT.encode(),
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "blanks around": b" \r\n\t" + TEXT.encode() + b"\n\n",
    "invalid UTF-8 in a value": TEXT.replace("nap", "nap\xff").encode("latin-1"),
    "half a surrogate pair": TEXT.replace("nap", "\\ud800").encode(),
    "duplicate names": TEXT.replace('"id":1', '"id":7,"id":1').encode(),
    "duplicate methods": TEXT.replace('"method"', '"method":"ping","method"').encode(),
    "unknown members": TEXT.replace('"id"', '"x":[null,{}],"id"').encode(),
    "an id of a text": with_id('"1"'),
    "an empty id": with_id('""'),
    "a fraction as id": with_id("1.5"),
    "an id with an exponent": with_id("1e2"),
    "a huge id": with_id("9" * 18),
    "an id of null": with_id("null"),
    "an id of true": with_id("true"),
    "a negative id": with_id("-1"),
    "a long id": with_id('"%s"' % ("x" * 100_000)),
}
UNREADABLE: dict[str, bytes] = {
    # No JSON, or no message: nobody knows what it meant.
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-32": TEXT.encode("utf-32"),
    "NaN": TEXT.replace('"nap"', "NaN").encode(),
    "a single quote": TEXT.replace('"', "'").encode(),
    "a comment": b"// a call\n" + TEXT.encode(),
    "a comma too many": TEXT[:-1].encode() + b",}",
    "cut off": TEXT[:-1].encode(),
    "two messages": TEXT.encode() * 2,
    "an id of an object": with_id("{}"),
    "an id of an array": with_id("[1]"),
    "an id of 5 000 digits": with_id("9" * 5000),
    "nothing but blanks": b" \n ",
    "zeros": bytes(100),
}
NO_MESSAGES: dict[str, bytes] = {
    # JSON, and certainly nothing of JSON-RPC.
    "a text": b'"tools/call"',
    "a number": b"1",
    "null": b"null",
    "nothing of JSON-RPC": b'{"method":"tools/call"}',
    "an empty batch": b"[]",
    "a batch of nothing": b"[1,null,[]]",
}


def summarize(figures: Scrape) -> tuple[float, float, float]:
    """Return the calls that ended, the requests that were seen, and what could not be read."""
    return (
        figures.total("mcp_requests_total"),
        figures.total("mcp_message_size_bytes_count", direction="to_server", kind="request"),
        figures.total("mcp_proxy_uninspected_messages_total"),
    )


async def pass_both_ways(asked: bytes, told: bytes, *, chunked: bool) -> Scrape:
    """Ask and answer, see that every byte arrives, and return the figures."""
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
        RawClient.connecting(service.addresses("cats")[0]) as client,
    ):
        upstream.answer(answer(told, b"Content-Type: application/json"))
        head = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        if chunked:
            half = (len(asked) + 1) // 2
            await client.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            await client.send(b"%x\r\n%b\r\n" % (half, asked[:half]))
            rest = asked[half:]
            await client.send(b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"")
            await client.send(b"0\r\n\r\n")
        else:
            await client.send(head + b"Content-Length: %d\r\n\r\n" % len(asked) + asked)
        assert (await client.read_response()).body == told
        assert upstream.requests[0].body == asked
        figures = await scrape(http, service)
        assert figures.total("mcp_proxy_inspection_errors_total") == 0
        assert figures.total("mcp_requests_in_flight") == 0
        assert figures.total("mcp_http_requests_total") == 1
        return figures


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", CALLS)
async def test_an_odd_call_is_counted_once(name: str, *, chunked: bool) -> None:
    asked = CALLS[name]
    figures = await pass_both_ways(asked, RESULT.encode(), chunked=chunked)
    ended, seen, unread = summarize(figures)
    assert (ended, seen, unread) == (1, 1, 0)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_cannot_be_read_is_counted_as_that(name: str, *, chunked: bool) -> None:
    figures = await pass_both_ways(UNREADABLE[name], b"", chunked=chunked)
    ended, seen, unread = summarize(figures)
    assert (ended, seen, unread) == (0, 0, 1)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", NO_MESSAGES)
async def test_what_is_no_message_is_none(name: str, *, chunked: bool) -> None:
    figures = await pass_both_ways(NO_MESSAGES[name], b"", chunked=chunked)
    ended, seen, unread = summarize(figures)
    assert (ended, seen, unread) == (0, 0, 0)


@pytest.mark.parametrize("name", [*CALLS, *UNREADABLE, *NO_MESSAGES])
async def test_an_odd_answer_ends_its_call_once(name: str) -> None:
    odd = {**CALLS, **UNREADABLE, **NO_MESSAGES}[name].replace(
        b'"method":"tools/call","params"', b'"result"'
    )
    figures = await pass_both_ways(TEXT.encode(), odd, chunked=False)
    assert figures.total("mcp_requests_total") == 1
    assert figures.total("mcp_requests_total", method="tools/call") == 1
    assert figures.total("mcp_late_responses_total") == 0


async def test_each_call_of_a_batch_counts_once() -> None:
    calls = [json.loads(TEXT) | {"id": number} for number in (1, "1", 2.5)]
    answers = [json.loads(RESULT) | {"id": number} for number in (2.5, "1", 1)]
    figures = await pass_both_ways(
        json.dumps([*calls, 5, {}]).encode(), json.dumps(answers).encode(), chunked=False
    )
    assert figures.table("mcp_requests_total", ("method", "outcome")) == {
        ("tools/call", "success"): 3
    }
