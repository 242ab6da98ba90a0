"""C4, C5: what passes through stays there. Canaries in the traffic, and a look at every output."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest
import trustme

from mcp_proxy_exporter import logs
from mcp_proxy_exporter.app import Service
from mcp_proxy_exporter.config import Settings
from mcp_proxy_exporter.observe import scrape as scrape_writer
from mcp_proxy_exporter.observe.metrics import ServerMetrics
from mcp_proxy_exporter.protocol.exchange import ExchangeInspector
from mcp_proxy_exporter.protocol.inspector import Inspector
from mcp_proxy_exporter.proxy.pool import UpstreamPool
from tests.support.raw_client import RawClient
from tests.support.scripted_upstream import CLOSE, ScriptedUpstream
from tests.test_app import build_server, build_settings

CANARY = "canary7c"
"""Part of every secret below, so that one look finds any of them."""
SCRAPE_TOKEN = f"{CANARY}-scrape"


def mark(text: str) -> str:
    """Put the canary into a text."""
    return text.replace("@", CANARY)


RESULT = mark(
    '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"@-result"}],'
    '"structuredContent":{"a":"@-structured"},"_meta":{"b":"@-meta"}}}'
).encode()
CALL = mark(
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap",'
    '"arguments":{"@-name":"@-argument"},"_meta":{"c":"@-meta"}}}'
).encode()
HEAD = mark(
    "%s /mcp/@-path?key=@-query HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    "Authorization: Bearer @-auth\r\nCookie: a=@-cookie\r\n"
    "Mcp-Session-Id: @-session\r\nLast-Event-ID: @-event\r\n"
    "X-Api-Key: @-key\r\nOrigin: http://@-origin.test\r\n"
)
ANSWER = mark(
    "HTTP/1.1 200 @-reason\r\nContent-Type: %s\r\nMcp-Session-Id: @-session\r\n"
    "Set-Cookie: b=@-set\r\nContent-Length: %d\r\n\r\n"
)


@dataclass(slots=True)
class World:
    """A running service on which every output is collected."""

    service: Service
    upstream: ScriptedUpstream
    outputs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.service.addresses("cats")[0]

    async def send(self, request: bytes, *, passes: bool = False) -> int:
        """Send a request and read its answer; the proxy's own are outputs."""
        async with RawClient.connecting(self.url) as client:
            await client.send(request)
            raw = await client.read_rest() if not passes else b""
            if passes:
                answer = await client.read_response()
                return answer.status
        self.outputs.append(("answer", raw.decode("latin-1")))
        return int(raw.split(b" ")[1]) if raw else 0

    async def look(self) -> None:
        """Collect what the admin listener says, in all formats."""
        known = {"Authorization": f"Bearer {SCRAPE_TOKEN}"}
        async with aiohttp.ClientSession() as http:
            for path, fields in (
                ("/", known),
                ("/metrics", known),
                ("/metrics", known | {"Accept": "application/openmetrics-text"}),
                ("/metrics", {}),
                (f"/{CANARY}?{CANARY}", known),
                ("/readyz", known),
            ):
                async with http.get(self.service.admin_url + path, headers=fields) as answer:
                    text = await answer.text()
                    self.outputs.append((path[:8], f"{answer.headers} {text}"))


@asynccontextmanager
async def watched(
    upstream_url: str | None = None, tls: dict[str, str] | None = None, **tables: Any
) -> AsyncIterator[World]:
    async with ScriptedUpstream.running() as upstream:
        server = build_server(
            upstream_url or upstream.url,
            headers={"X-Secret": {"value": f"{CANARY}-header", "prefix": CANARY}},
            tls=tls or {},
        )
        base = build_settings(server, **tables)
        settings = Settings.model_validate(
            {
                **{name: getattr(base, name) for name in Settings.model_fields},
                "admin": {
                    "listen": "127.0.0.1:0",
                    "bearer_token": {"value": SCRAPE_TOKEN},
                    "basic_auth": {"username": "me", "password": {"value": f"{CANARY}-pass"}},
                },
            }
        )
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(logs.LoopLog())
        service = Service(settings)
        await service.start()
        try:
            yield World(service, upstream)
        finally:
            await service.stop()


def request(method: str = "POST", body: bytes = CALL) -> bytes:
    return (
        (HEAD % method) + f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def answer(body: bytes = RESULT, kind: str = "application/json") -> bytes:
    return (ANSWER % (kind, len(body))).encode() + body


def check(world: World, caplog: pytest.LogCaptureFixture, output: str) -> None:
    """Look for canaries in everything that was collected, and for lines that are not one."""
    formatter = logging.Formatter(logs.LOG_FORMAT)
    lines = [("log", formatter.format(record)) for record in caplog.records]
    for where, text in [*world.outputs, *lines, ("stderr", output)]:
        assert CANARY not in text, f"{where}: {text}"
    assert all("\n" not in text for _, text in lines)
    assert len(world.outputs) >= 6


def fail(*_arguments: object, **_options: object) -> NoReturn:
    try:
        raise KeyError(f"{CANARY}-first\n{CANARY}")  # noqa: TRY301  # a cause, as real faults have
    except KeyError as error:
        raise RuntimeError(f"{CANARY}-raised\nforged line", CALL, RESULT) from error


@pytest.fixture(autouse=True)
def _debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def test_traffic_leaves_nothing_but_figures(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with watched() as world:
        event = b"id: " + CANARY.encode() + b"\ndata: " + RESULT + b"\n\n"
        for reply in (answer(), answer(event, "text/event-stream"), answer(b"{" + RESULT)):
            world.upstream.answer(reply)
            assert await world.send(request(), passes=True) == 200
        for method in ("GET", "DELETE", "PUT"):
            world.upstream.answer(answer(event, "text/event-stream"))
            assert await world.send(request(method, b""), passes=True) == 200
        await world.look()
    check(world, caplog, "".join(capfd.readouterr()))


async def test_refusals_and_failures_repeat_nothing(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = CANARY.encode()
    async with watched(limits={"head_bytes": 2048}) as world:
        statuses = [
            await world.send(raw)
            for raw in (
                b"%b %b\r\n\r\n" % (secret, secret),
                b"GET /%b HTTP/9.9\r\nHost: a\r\n\r\n" % secret,
                b"GET / HTTP/1.1\r\nHost: a\r\n%b : b\r\n\r\n" % secret,
                b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\0\r\n\r\n" % secret,
                b"GET / HTTP/1.1\r\nHost: %b@a\r\nConnection: close\r\n\r\n" % secret,
                b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (secret * 1000),
                b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (secret * 1000),
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % secret,
                b"CONNECT %b:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % secret,
            )
        ]
        assert all(400 <= status < 600 for status in statuses)
        for reply in (
            b"%b garbage\r\n\r\n" % secret,
            b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % secret,
            b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % secret,
        ):
            world.upstream.answer(reply, CLOSE)
            assert await world.send(request()) == 502
        world.upstream.answer(CLOSE)
        assert await world.send(request()) == 502
        world.upstream.answer(b"HTTP/1.1 101 %b\r\n\r\n" % secret)
        assert await world.send(request()) == 502
        await world.look()
    check(world, caplog, "".join(capfd.readouterr()))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_unreachable_upstream_is_not_named_with_its_secrets(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], scheme: str
) -> None:
    async with watched(f"{scheme}://127.0.0.1:1", limits={"head_bytes": 2048}) as world:
        world_request = request().replace(b"Host: a", b"Host: 127.0.0.1")
        assert await world.send(world_request) == 502
        await world.look()
    check(world, caplog, "".join(capfd.readouterr()))


BROKEN = [
    (Inspector, "open"),
    (Inspector, "sweep"),
    (Inspector, "close"),
    (ExchangeInspector, "request"),
    (ExchangeInspector, "response"),
    (ServerMetrics, "handle"),
    # These are no inspection: their faults are the data plane's and the scrape's own.
    (scrape_writer, "write"),
    (UpstreamPool, "take"),
    (UpstreamPool, "_open_connection"),
]


@pytest.mark.parametrize(("owner", "name"), BROKEN, ids=lambda one: getattr(one, "__name__", one))
async def test_exceptions_are_told_without_what_they_hold(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    owner: Any,
    name: str,
) -> None:
    monkeypatch.setattr("mcp_proxy_exporter.app._SWEEP", 0.01)
    monkeypatch.setattr(owner, name, fail)
    async with watched() as world:
        world.upstream.answer_always(answer())
        async with RawClient.connecting(world.url) as client:
            await client.send(request())
            try:
                async with asyncio.timeout(0.5):
                    await client.read_response()
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                assert owner is UpstreamPool
        await asyncio.sleep(0.05)
        await world.look()
    assert "RuntimeError at tests/test_secrets.py:" in caplog.text
    check(world, caplog, "".join(capfd.readouterr()))


async def test_broken_handshakes_say_nothing(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / f"{CANARY}.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    async with ScriptedUpstream.running() as upstream:
        server = build_server(upstream.url, listen_tls={"cert_file": str(file)})
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(logs.LoopLog())
        service = Service(build_settings(server))
        await service.start()
        world = World(service, upstream)
        port = int(world.url.rpartition(":")[2])
        for _ in range(3):
            async with RawClient.connecting(world.url) as client:
                await client.send(request())
                await client.read_rest()
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
        await asyncio.sleep(0.05)
        await world.look()
        await service.stop()
    check(world, caplog, "".join(capfd.readouterr()))
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


@pytest.mark.parametrize("trusts", [True, False])
async def test_files_of_certificates_are_not_named(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    *,
    trusts: bool,
) -> None:
    authority, folder = trustme.CA(), tmp_path / f"{CANARY}-folder"
    folder.mkdir()
    names = {name: str(folder / f"{CANARY}-{name}") for name in ("ca_file", "cert_file")}
    (authority if trusts else trustme.CA()).cert_pem.write_to_path(names["ca_file"])
    ours = authority.issue_cert(f"{CANARY}@example.test")
    ours.private_key_and_cert_chain_pem.write_to_path(names["cert_file"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    upstream = ScriptedUpstream()
    loop = asyncio.get_running_loop()
    serving = await loop.create_server(upstream._build, "127.0.0.1", 0, ssl=context)
    port = serving.sockets[0].getsockname()[1]
    async with watched(f"https://127.0.0.1:{port}", tls=names) as world:
        upstream.answer_always(answer())
        asked = request().replace(b"Host: a", b"Host: 127.0.0.1")
        if trusts:
            assert await world.send(asked, passes=True) == 200
        else:
            assert await world.send(asked) == 502
        await world.look()
    serving.close()
    await upstream.stop()
    check(world, caplog, "".join(capfd.readouterr()))


async def test_name_of_an_unknown_tool_is_told_as_one_line(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"nap","inputSchema":{}}]}}'
    failed = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such tool"}}'
    async with watched() as world:
        world.upstream.answer(answer(listed))
        list_call = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
        await world.send(request(body=list_call), passes=True)
        for name in (b"purr", b"purr", rb"a\nb\u001b[31m", b"nap"):
            world.upstream.answer(answer(failed))
            await world.send(request(body=CALL.replace(b'"nap"', b'"%b"' % name)), passes=True)
        await world.look()
    said = [
        record.getMessage().partition(": ")[2]
        for record in caplog.records
        if "a tool was called" in record.getMessage()
    ]
    assert [line.rpartition(": ")[2] for line in said] == ["'purr'", r"'a\nb\x1b[31m'"]
    assert all("purr" not in text for _, text in world.outputs)
    check(world, caplog, "".join(capfd.readouterr()))
