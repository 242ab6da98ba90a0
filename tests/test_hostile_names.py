"""Names that would break a scrape, said by clients and by servers over HTTP, break none."""

import asyncio
import json
import subprocess

import aiohttp
import pytest

from tests.observe.figures import HOSTILE_NAMES
from tests.support.messages import answer
from tests.support.programs import find_tool
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape
from tests.support.scripted_upstream import ScriptedUpstream
from tests.test_app import build_server, build_settings, running

JSON = b"Content-Type: application/json"
NAMES = [name[:5_000] for name in HOSTILE_NAMES]
"""Not so long that a message of them would not be looked at any more."""
PROMTOOL_SECONDS = 30.0


def post(message: object) -> bytes:
    body = json.dumps(message).encode()  # lone surrogates as escapes, as JSON allows
    head = b"POST /mcp HTTP/1.1\r\nHost: a\r\n" + JSON
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def ask(client: RawClient, upstream: ScriptedUpstream, asked: object, told: object) -> None:
    upstream.answer(answer(json.dumps(told).encode(), JSON))
    await client.send(post(asked))
    assert (await client.read_response()).status == 200


async def say_it_all(client: RawClient, upstream: ScriptedUpstream) -> None:
    """Put each name wherever a name may stand."""
    done = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
    for name in NAMES:
        who = {"name": name, "version": name, "title": name}
        begin = {"protocolVersion": name, "capabilities": {}, "clientInfo": who}
        begun = {"protocolVersion": name, "capabilities": {}, "serverInfo": who}
        for method, params, result in (
            ("initialize", begin, begun),
            ("tools/call", {"name": name, "arguments": {name: name}}, {"content": []}),
            ("prompts/get", {"name": name}, {"messages": []}),
            (name, {"name": name}, {}),
        ):
            asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            await ask(client, upstream, asked, {**done, "result": result})
            failed = {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": name}}
            await ask(client, upstream, asked, failed)
        note = {"jsonrpc": "2.0", "method": name, "params": {"level": name}}
        await ask(client, upstream, note, {})
    tools = [{"name": name, "description": name, "inputSchema": {}} for name in NAMES]
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    await ask(client, upstream, listing, {**done, "result": {"tools": tools}})
    for name in NAMES:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}
        await ask(client, upstream, call, done)


@pytest.mark.timeout(120)
async def test_no_name_breaks_a_scrape() -> None:
    async with (
        aiohttp.ClientSession() as http,
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
        RawClient.connecting(service.addresses("cats")[0]) as client,
    ):
        await say_it_all(client, upstream)
        scrapes = {}
        for format_ in ("text/plain", "application/openmetrics-text"):
            fields = {"Accept": format_}
            async with http.get(f"{service.admin_url}/metrics", headers=fields) as got:
                assert got.status == 200
                scrapes[format_] = await got.read()
    Scrape.from_openmetrics(scrapes["application/openmetrics-text"])
    figures = Scrape.from_text(scrapes["text/plain"])
    assert figures.total("mcp_tool_calls_total") == 3 * len(NAMES)
    assert figures.total("mcp_tools") == len(NAMES)
    assert figures.total("mcp_proxy_inspection_errors_total") == 0
    assert "mcp_fake_total" not in figures.names
    assert len(scrapes["text/plain"]) < 2_000_000
    checked = await asyncio.to_thread(
        subprocess.run,
        [find_tool("promtool"), "check", "metrics"],
        input=scrapes["text/plain"],
        capture_output=True,
        timeout=PROMTOOL_SECONDS,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, b""), checked
