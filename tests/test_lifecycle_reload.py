"""A changed configuration while traffic runs: whole or not at all, and nothing is lost."""

import asyncio
import logging
import signal
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import trustme

from mcp_proxy_exporter import reload
from mcp_proxy_exporter.app import Service
from mcp_proxy_exporter.commands.common import read_settings
from mcp_proxy_exporter.config import Settings, load
from tests.support.product import run_product
from tests.support.raw_client import RawClient
from tests.support.scrape import Scrape, fetch
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.waiting import until
from tests.test_app import ANSWER, RESULT, call, scrape

SUCCESSFUL = "mcp_proxy_config_last_reload_successful"
RELOADED_AT = "mcp_proxy_config_last_reload_success_timestamp_seconds"
INSECURE = "mcp_proxy_insecure_upstream"
CANARY = "canary-6f1c"
START_SECONDS = 20.0
STOP_SECONDS = 10.0
GET = b"GET /mcp HTTP/1.1\r\nHost: %b\r\n\r\n"

Write = Callable[..., None]


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(autouse=True)
def _said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=STOP_SECONDS)) as http:
        yield http


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream.running() as upstream:
        upstream.answer_always(ANSWER)
        yield upstream


class World:
    """A running service, and the file that it was started from."""

    def __init__(self, file: Path, upstream: str) -> None:
        self.file = file
        self._upstream = upstream
        self.service: Service

    def write(self, server: str = "", rest: str = "", admin: str = "") -> None:
        """Write the file: settings of the server, and tables after it."""
        self.file.write_text(
            f'[[servers]]\nname = "cats"\nlisten = "127.0.0.1:0"\nupstream = "{self._upstream}"\n'
            f'{server}\n[admin]\nlisten = "127.0.0.1:0"\n{admin}\n{rest}\n'
        )

    def read(self) -> Settings:
        return load(self.file)

    @property
    def url(self) -> str:
        [url] = self.service.addresses("cats")
        return url

    async def reload(self) -> float:
        """Reload to the end; give the figure of success."""
        self.service.reload(self.read)
        await self.settle()
        return self.figure(SUCCESSFUL)

    async def settle(self) -> None:
        await until(lambda: self.service._reloader._task is None)

    def figure(self, name: str, **labels: str) -> float:
        for family in self.service.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        raise AssertionError(name)


@asynccontextmanager
async def started(
    tmp_path: Path, upstream: str, server: str = "", rest: str = "", admin: str = ""
) -> AsyncIterator[World]:
    world = World(tmp_path / "proxy.toml", upstream)
    world.write(server, rest, admin)
    world.service = Service(world.read())
    await world.service.start()
    try:
        yield world
    finally:
        await world.service.stop()


async def test_process_starts_with_a_configuration_in_effect(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    async with started(tmp_path, upstream.url) as world:
        metrics = await scrape(http, world.service)
        assert metrics.value(SUCCESSFUL) == 1
        assert metrics.value(RELOADED_AT) == pytest.approx(world.figure(RELOADED_AT))
        assert metrics.value(INSECURE, server="cats") == 0


async def test_changed_secret_is_sent_on_connections_that_are_open(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old")
    header = f'headers.Authorization = {{ file = "{secret}", prefix = "Bearer " }}'
    async with started(tmp_path, upstream.url, header) as world:
        before = world.figure(RELOADED_AT)
        async with RawClient.connecting(world.url) as client:
            for _ in range(3):  # the head is known by now
                await client.send(GET % b"a")
                await client.read_response()
            secret.write_text("new")
            assert await world.reload() == 1
            for _ in range(2):
                await client.send(GET % b"a")
                await client.read_response()
        sent = [request.head.values(b"authorization") for request in upstream.requests]
        assert sent == [[b"Bearer old"]] * 3 + [[b"Bearer new"]] * 2
        assert len(upstream.connections) == 1
        assert world.figure(RELOADED_AT) > before


async def test_call_in_flight_is_not_harmed(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    finish = asyncio.Event()
    upstream.answer(finish.wait, ANSWER)
    async with started(tmp_path, upstream.url) as world:
        calling = asyncio.ensure_future(call(http, world.url))
        await upstream.wait_for_requests(1)
        world.write("headers.X = { value = 'y' }", "[timeouts]\nupstream_idle = 0")
        assert await world.reload() == 1
        finish.set()
        assert await calling == RESULT
        metrics = await scrape(http, world.service)
        assert metrics.total("mcp_requests_total", outcome="tool_error") == 1
        assert metrics.total("mcp_http_connections", side="upstream") == 0


async def test_hosts_timeouts_limits_and_log_level_change(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    rule = 'host_header = "upstream"'
    async with started(tmp_path, upstream.url, rule) as world:

        async def ask(host: bytes, padding: bytes = b"") -> int:
            async with RawClient.connecting(world.url) as client:
                await client.send(GET.replace(b"%b", host + b"\r\nX: y" + padding))
                return (await client.read_response()).status

        assert [await ask(host) for host in (b"a.test", b"b.test")] == [421, 421]
        world.write(f'{rule}\nallowed_hosts = ["a.test"]')
        assert await world.reload() == 1
        assert [await ask(host) for host in (b"a.test", b"b.test")] == [200, 421]
        assert await ask(b"a.test", b"y" * 2000) == 200
        world.write(
            f'{rule}\nallowed_hosts = ["b.test"]',
            '[limits]\nhead_bytes = 1024\n[timeouts]\nclient_head = 0.1\n[log]\nlevel = "error"',
        )
        assert await world.reload() == 1
        assert [await ask(host) for host in (b"a.test", b"b.test")] == [421, 200]
        assert await ask(b"b.test", b"y" * 2000) == 431
        assert logging.getLogger().level == logging.ERROR
        async with RawClient.connecting(world.url) as slow:
            await slow.send(b"GET")
            assert (await slow.read_response()).status == 408


async def test_what_needs_a_restart_is_named_and_nothing_at_all_changes(
    upstream: ScriptedUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(tmp_path, upstream.url, "headers.X = { value = 'old' }") as world:
        before = world.figure(RELOADED_AT)
        world.write(
            f"headers.X = {{ value = '{CANARY}' }}",
            "[metrics]\nmax_tools = 7\nsemconv = true\n[inspection]\nenabled = false",
        )
        world.file.write_text(world.file.read_text().replace('"127.0.0.1:0"', '"localhost:0"', 1))
        assert await world.reload() == 0
        assert world.figure(RELOADED_AT) == before
        assert [record.getMessage() for record in caplog.records] == [
            "servers[0].listen: only a restart can change it",
            "inspection.enabled: only a restart can change it",
            "metrics.max_tools: only a restart can change it",
            "metrics.semconv: only a restart can change it",
            "nothing was reloaded: what was in effect before stays so",
        ]
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        async with RawClient.connecting(world.url) as client:
            await client.send(GET % b"a")
            await client.read_response()
        assert upstream.requests[0].head.values(b"x") == [b"old"]
        world.write("headers.X = { value = 'new' }")
        assert await world.reload() == 1
        assert world.figure(RELOADED_AT) > before
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[servers]\n", "is not valid TOML"),
        (f'[[servers]]\nupstream = "http://h/{CANARY}"', "servers[0].upstream: must end after"),
        (f'[admin]\nbearer_token = "{CANARY}"', "admin.bearer_token: must be a table"),
        (f'[admin.bearer_token]\nvalue = "{CANARY}"\nfile = "{CANARY}"', "exactly one of value"),
        (f'[admin.basic_auth]\nusername = "{CANARY}:"\npassword.value = "{CANARY}"', "colon"),
    ],
)
async def test_wrong_file_is_told_line_by_line_without_its_secrets(
    upstream: ScriptedUpstream,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
    message: str,
) -> None:
    async with started(tmp_path, upstream.url) as world:
        world.file.write_text(text)
        assert await world.reload() == 0
        assert any(message in record.getMessage() for record in caplog.records)
        assert all("\n" not in record.getMessage() for record in caplog.records)
        assert f"{world.file}:" in caplog.text
        world.file.unlink()
        assert await world.reload() == 0
        assert "no such file or directory" in caplog.text
    assert CANARY not in caplog.text


async def test_unexpected_error_of_reading_is_told_without_its_text(
    upstream: ScriptedUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Settings:
        raise RuntimeError(CANARY)

    async with started(tmp_path, upstream.url) as world:
        world.service.reload(fail)
        await world.settle()
        assert world.figure(SUCCESSFUL) == 0
        assert "an unexpected error: RuntimeError at tests/test_lifecycle_reload.py:" in caplog.text
        assert await world.reload() == 1
    assert CANARY not in caplog.text


async def test_slow_reading_holds_up_nobody_and_later_wishes_are_joined(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    gate = threading.Event()
    reads: list[int] = []
    async with started(tmp_path, upstream.url) as world:

        def read() -> Settings:
            reads.append(1)
            assert gate.wait(STOP_SECONDS)
            return world.read()

        for _ in range(5):
            world.service.reload(read)
            await asyncio.sleep(0.01)
        assert await call(http, world.url) == RESULT
        gate.set()
        await world.settle()
        assert len(reads) == 2
        assert world.figure(SUCCESSFUL) == 1


class Identity:
    """A certificate in a file, by an authority that the clients trust."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.file = folder / "proxy.pem"
        self.renew()
        self.trust = ssl.create_default_context()
        self.authority.configure_trust(self.trust)

    def renew(self) -> None:
        """Put a new file into the place of the old one, as Kubernetes does."""
        leaf = self.authority.issue_cert("127.0.0.1")
        self.replace(leaf.private_key_and_cert_chain_pem.bytes())

    def replace(self, pem: bytes) -> None:
        """Put anything there, never to be seen half written."""
        new = self.file.with_suffix(".new")
        new.write_bytes(pem)
        new.rename(self.file)

    async def serial(self, url: str) -> str:
        """Give the number of the certificate that a listener shows."""
        port = int(url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self.trust)
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        writer.close()
        await writer.wait_closed()
        return str(certificate["serialNumber"])


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path)


async def test_renewed_certificates_are_found_without_a_signal(
    upstream: ScriptedUpstream,
    tmp_path: Path,
    identity: Identity,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp_proxy_exporter.app._SWEEP", 0.01)
    monkeypatch.setattr("mcp_proxy_exporter.app.LOOK_SECONDS", 0.02)
    tls = f'listen_tls.cert_file = "{identity.file}"'
    admin = f'tls.cert_file = "{identity.file}"'
    async with started(tmp_path, upstream.url, tls, admin=admin) as world:
        urls = (world.url, world.service.admin_url)
        assert all(url.startswith("https://") for url in urls)
        before = [await identity.serial(url) for url in urls]
        identity.renew()
        await until(lambda: "certificates were reloaded" in caplog.text)
        after = [await identity.serial(url) for url in urls]
        assert before[0] == before[1]
        assert after[0] == after[1] != before[0]

        # A wrong one is told once, and the earlier one stays.
        identity.replace(b"half a file")
        await until(lambda: world.figure(SUCCESSFUL) == 0)
        await asyncio.sleep(0.2)
        assert caplog.text.count("cert_file: holds no certificate in PEM form") == 1
        assert [await identity.serial(url) for url in urls] == after
        identity.renew()
        await until(lambda: world.figure(SUCCESSFUL) == 1)
        assert [await identity.serial(url) for url in urls] != after


async def test_good_certificate_does_not_hide_a_wrong_configuration(
    upstream: ScriptedUpstream, tmp_path: Path, identity: Identity
) -> None:
    tls = f'listen_tls.cert_file = "{identity.file}"'
    async with started(tmp_path, upstream.url, tls) as world:
        world.file.write_text("wrong")
        assert await world.reload() == 0
        before = await identity.serial(world.url)
        identity.renew()
        world.service._reloader.look()
        await world.settle()
        assert await identity.serial(world.url) != before
        assert world.figure(SUCCESSFUL) == 0


async def test_tls_of_a_listener_cannot_be_switched_on_or_off(
    upstream: ScriptedUpstream,
    tmp_path: Path,
    identity: Identity,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tls = f'listen_tls.cert_file = "{identity.file}"'
    async with started(tmp_path, upstream.url, tls) as world:
        world.write(admin=f'tls.cert_file = "{identity.file}"')
        assert await world.reload() == 0
        assert "servers[0].listen_tls.cert_file: only a restart" in caplog.text
        assert "admin.tls.cert_file: only a restart" in caplog.text


async def test_certificate_that_is_gone_between_check_and_use_is_refused(
    upstream: ScriptedUpstream, tmp_path: Path, identity: Identity
) -> None:
    tls = f'listen_tls.cert_file = "{identity.file}"'
    async with started(tmp_path, upstream.url, tls) as world:

        def read() -> Settings:
            settings = world.read()
            identity.file.unlink()
            return settings

        world.service.reload(read)
        await world.settle()
        assert world.figure(SUCCESSFUL) == 0
        assert await identity.serial(world.url)


async def test_access_to_the_metrics_changes(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    async with started(tmp_path, upstream.url) as world:
        url = f"{world.service.admin_url}/metrics"

        async def status(**options: str) -> int:
            async with http.get(url, headers=options) as answer:
                return answer.status

        assert await status() == 200
        world.write(admin=f'bearer_token.value = "{CANARY}"')
        assert await world.reload() == 1
        assert await status() == 401
        assert await status(Authorization=f"Bearer {CANARY}") == 200
        world.write(admin=f'basic_auth.username = "me"\nbasic_auth.password.value = "{CANARY}"')
        assert await world.reload() == 1
        assert await status(Authorization=f"Bearer {CANARY}") == 401
        assert await status(Authorization=aiohttp.encode_basic_auth("me", CANARY)) == 200


async def test_unverified_upstream_is_warned_of_at_each_start_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warning = "server cats: insecure_skip_verify is set"
    insecure = "tls.insecure_skip_verify = true"
    for _ in range(2):
        caplog.clear()
        async with started(tmp_path, "https://127.0.0.1:1", insecure) as world:
            assert world.figure(INSECURE, server="cats") == 1
            [record] = [record for record in caplog.records if warning in record.getMessage()]
            assert record.levelno == logging.WARNING
            assert await world.reload() == 1
            assert caplog.text.count(warning) == 2
            world.write()
            assert await world.reload() == 1
            assert world.figure(INSECURE, server="cats") == 0


async def test_stop_waits_for_what_is_being_read(
    upstream: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    made = reload.Plan.make

    def make(settings: Settings) -> reload.Plan:
        assert gate.wait(STOP_SECONDS)
        return made(settings)

    async with started(tmp_path, upstream.url) as world:
        monkeypatch.setattr(reload.Plan, "make", make)
        world.service.reload(world.read)
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.05, gate.set)
        async with asyncio.timeout(STOP_SECONDS):
            await world.service.stop()
        assert world.service._reloader._task is None


def test_hangup_makes_a_process_read_its_file_anew(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    server = '[[servers]]\nupstream = "http://127.0.0.1:1"\nlisten = "127.0.0.1:0"\n'
    file.write_text(server)
    with run_product(["run", "--config", str(file), "--admin", "127.0.0.1:0"]) as program:
        admin = program.wait_for_line("metrics: ", START_SECONDS).split()[1]
        origin = admin.removesuffix("/metrics")

        def successful() -> float | None:
            return Scrape.from_text(fetch(origin, "/metrics").body).value(SUCCESSFUL)

        for text, line, figure in (
            ("[timeouts]\ndrain = 1\n", "INFO mcp_proxy_exporter.reload: the conf", 1),
            ("[timeouts]\ndrian = 1\n", "proxy.toml:5: timeouts.drian: unknown setting", 0),
            ("[metrics]\nmax_tools = 1\n", "metrics.max_tools: only a restart", 0),
            ('[log]\nlevel = "debug"\n', "INFO mcp_proxy_exporter.reload: the conf", 1),
        ):
            file.write_text(server + text)
            program._process.send_signal(signal.SIGHUP)
            program.wait_for_line(line, STOP_SECONDS)
            program.wait_until(lambda figure=figure: successful() == figure, "reloaded")  # type: ignore[misc]
        program._process.send_signal(signal.SIGTERM)
        assert program.wait_for_exit(STOP_SECONDS) == 0


def test_flags_stay_in_effect(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[[servers]]\nupstream = "http://h"\n[log]\nlevel = "error"\n')
    read = partial(read_settings, file, {"--log-level": "debug"})
    assert read().log.level == "debug"
    file.write_text('[[servers]]\nupstream = "http://h"\n')
    assert read().log.level == "debug"
