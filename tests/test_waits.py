"""Nothing of the product makes the event loop wait: not for a disk, a resolver or anybody else."""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from mcp_proxy_exporter.app import Service
from mcp_proxy_exporter.config import MetricsSettings, OutcomesSettings
from mcp_proxy_exporter.observe import scrape as scrapes
from mcp_proxy_exporter.observe.metrics import ServerMetrics
from tests.support.messages import EVENTS, LAST_CHUNK, chunk
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, RESET, ScriptedUpstream
from tests.support.waiting import WAIT_SECONDS, until
from tests.support.waits import watching
from tests.test_app import (
    ANSWER,
    CALL,
    RESULT,
    build_server,
    build_settings,
    running,
    scrape,
)

TOOLS = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"purr","inputSchema":{}}]}}'
LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
LISTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(TOOLS),
    TOOLS,
)
METRICS = {
    "semconv": True,
    "custom": [{"name": "naps_total", "type": "counter", "when": "tool == 'nap'"}],
}
SOFT_ERRORS = {"soft_errors": [{"when": "result.soft == `true`"}]}


def post(body: bytes) -> bytes:
    head = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def make_traffic(upstream: ScriptedUpstream, connect: Callable[[], Any]) -> None:
    """Let every part do its work: calls of many ends, an event stream, refusals."""
    client = await connect()
    upstream.answer(LISTED)
    for body in (LIST, CALL, b"no JSON", CALL.replace(b"nap", b"unheard of")):
        await client.send(post(body))
        await client.read_response()
    upstream.answer(EVENTS, chunk(b"id: 1\ndata: " + RESULT + b"\n\n"), LAST_CHUNK)
    await client.send(post(CALL))
    await client.read_response()
    await client.send(b"nonsense\r\n\r\n")
    assert (await client.read_response()).status == 400
    await client.close()
    for end in (CLOSE, RESET):
        upstream.answer(EVENTS, chunk(b": 1\n\n"), end)
        client = await connect()
        await client.send(post(CALL))
        await client.read_until(b": 1\n\n\r\n")
        await client.close()
    upstream.answer(asyncio.Event().wait)
    client = await connect()
    seen = len(upstream.heads)
    await client.send(post(CALL))
    await upstream.wait_for_heads(seen + 1)
    await client.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A file with a certificate and its key, and a context that trusts it."""
    authority = trustme.CA()
    file = tmp_path / "all.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return file, context


async def test_no_part_of_the_product_makes_the_loop_wait(
    certificate: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file, trusting = certificate
    monkeypatch.setattr("mcp_proxy_exporter.app._SWEEP", 0.01)
    monkeypatch.setattr("mcp_proxy_exporter.app.LOOK_SECONDS", 0.01)
    async with ScriptedUpstream.running() as upstream, aiohttp.ClientSession() as http:
        upstream.answer_always(ANSWER)
        # A name, so that it has to be resolved.
        named = upstream.url.replace("127.0.0.1", "localhost")
        settings = build_settings(
            build_server(named, listen_tls={"cert_file": str(file)}, host_header="preserve"),
            metrics=MetricsSettings.model_validate(METRICS),
            outcomes=OutcomesSettings.model_validate(SOFT_ERRORS),
        )
        service = Service(settings)
        await service.start()
        port = int(service.addresses("cats")[0].rpartition(":")[2])

        async def connect() -> RawClient:
            return RawClient(*await asyncio.open_connection("127.0.0.1", port, ssl=trusting))

        await make_traffic(upstream, connect)  # what is imported late is imported by now
        caplog.set_level(logging.DEBUG)
        with watching() as waits:
            await make_traffic(upstream, connect)
            figures = await scrape(http, service)
            file.write_bytes(file.read_bytes() + b"\n")
            await until(lambda: "certificates were reloaded" in caplog.text)
            service.reload(lambda: settings)
            await until(lambda: "configuration was reloaded" in caplog.text)
            await service.stop()
    assert waits == []
    assert figures.total("mcp_requests_total") > 10
    assert figures.total("mcp_unknown_tool_calls_total") > 0
    assert figures.total("naps_total") > 0


async def test_a_call_passes_while_a_scrape_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    whole = scrapes.write

    def write(*asked: Any, **also: Any) -> Any:
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        return whole(*asked, **also)

    monkeypatch.setattr(scrapes, "write", write)
    async with (
        ScriptedUpstream.running() as upstream,
        aiohttp.ClientSession() as http,
        running(build_settings(build_server(upstream.url))) as service,
        RawClient.connecting(service.addresses("cats")[0]) as client,
    ):
        upstream.answer_always(ANSWER)
        scraping = asyncio.ensure_future(scrape(http, service))
        try:
            await until(begun.is_set)
            await client.send(post(CALL))
            assert (await client.read_response()).body == RESULT
            assert not scraping.done()
        finally:
            go_on.set()
        await scraping
        assert (await scrape(http, service)).total("mcp_tool_calls_total") == 1


def sleep(*_: object) -> None:
    time.sleep(0.001)


def read_a_file(*_: object) -> None:
    Path(__file__).read_bytes()


def ask_the_resolver(*_: object) -> None:
    socket.getaddrinfo("127.0.0.1", 80)


def connect_and_wait(*_: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()


@pytest.mark.parametrize(
    ("step", "called"),
    [
        (sleep, "sleep"),
        (read_a_file, "open"),
        (ask_the_resolver, "getaddrinfo"),
        (connect_and_wait, "connect"),
    ],
)
async def test_a_sink_that_waits_is_found(
    monkeypatch: pytest.MonkeyPatch, step: Callable[..., None], called: str
) -> None:
    """What the test above says is worth as much as what it would find."""
    monkeypatch.setattr(ServerMetrics, "handle", step)
    async with (
        ScriptedUpstream.running() as upstream,
        running(build_settings(build_server(upstream.url))) as service,
    ):
        upstream.answer_always(ANSWER)
        with watching() as waits:
            async with RawClient.connecting(service.addresses("cats")[0]) as client:
                await client.send(post(CALL))
                assert (await client.read_response()).body == RESULT
                await until(lambda: bool(waits))
    assert any(wait.startswith(f"{called} for tap.py:") for wait in waits)
