"""The whole process in this one: what starts, in which order, what is said, how it ends."""

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest
from prometheus_client import generate_latest

from mcp_proxy_exporter import app
from mcp_proxy_exporter.app import Service, StartError, serve
from mcp_proxy_exporter.config import (
    AdminSettings,
    InspectionSettings,
    MetricsSettings,
    ServerSettings,
    Settings,
    TimeoutSettings,
)
from mcp_proxy_exporter.observe.series import Values
from mcp_proxy_exporter.proxy.server import ProxyServer
from tests.support.programs import is_listening
from tests.support.scrape import Scrape
from tests.support.scripted_upstream import ScriptedUpstream

WAIT = 5.0
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap","arguments":{}}}'
RESULT = b'{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(RESULT),
    RESULT,
)
PRIMING_EVENT = b"id: 1\ndata:\n\n"
PRIMING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (
    len(PRIMING_EVENT),
    PRIMING_EVENT,
)
FIELDS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def build_settings(*servers: ServerSettings, **sections: Any) -> Settings:
    """Build settings with free ports."""
    return Settings(servers=servers, admin=AdminSettings(listen="127.0.0.1:0"), **sections)


def build_server(upstream: str = "http://127.0.0.1:1", **fields: Any) -> ServerSettings:
    """Build a server with a free port."""
    return ServerSettings(
        **{"name": "cats", "listen": "127.0.0.1:0", "upstream": upstream} | fields
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """Run a service."""
    service = Service(settings)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=WAIT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream.running() as upstream:
        upstream.answer_always(ANSWER)
        yield upstream


async def call(http: aiohttp.ClientSession, url: str) -> bytes:
    """Make a tool call."""
    async with http.post(f"{url}/mcp", data=CALL, headers=FIELDS) as answer:
        return await answer.read()


async def scrape(http: aiohttp.ClientSession, service: Service) -> Scrape:
    """Read the metrics."""
    async with http.get(f"{service.admin_url}/metrics") as answer:
        assert answer.status == 200
        return Scrape.from_text(await answer.read())


async def status(http: aiohttp.ClientSession, url: str) -> int:
    """Ask for a resource; give the status."""
    async with http.get(url) as answer:
        return answer.status


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds that no event tells."""
    async with asyncio.timeout(WAIT):
        while not holds():  # noqa: ASYNC110  # nothing would set an event
            await asyncio.sleep(0.005)


async def test_call_passes_and_is_counted(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    async with running(build_settings(build_server(upstream.url))) as service:
        [url] = service.addresses("cats")
        assert await call(http, url) == RESULT
        metrics = await scrape(http, service)
        async with http.get(
            f"{service.admin_url}/metrics", headers={"Accept": "application/openmetrics-text"}
        ) as answer:
            Scrape.from_openmetrics(await answer.read())
    assert upstream.requests[0].body == CALL
    labels = {"server": "cats", "method": "tools/call", "outcome": "tool_error"}
    assert metrics.value("mcp_requests_total", **labels) == 1
    assert metrics.total("mcp_http_connections", server="cats", side="client") == 1
    assert metrics.total("mcp_http_connections", server="cats", side="upstream") == 1


async def test_each_server_has_a_listener_and_a_label_of_its_own(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    dogs = build_server(upstream.url, name="dogs")
    async with running(build_settings(build_server(), dogs)) as service:
        [cats_url], [dogs_url] = service.addresses("cats"), service.addresses("dogs")
        assert cats_url != dogs_url
        await call(http, dogs_url)
        metrics = await scrape(http, service)
        assert service.describe() == [
            f"cats: {cats_url} -> http://127.0.0.1:1",
            f"dogs: {dogs_url} -> {upstream.url}",
            f"metrics: {service.admin_url}/metrics",
        ]
        async with http.get(service.admin_url) as answer:
            index = await answer.text()
    assert metrics.table("mcp_requests_total", ("server",)) == {("dogs",): 1}
    assert f"<td>cats</td><td>{cats_url}</td><td>http://127.0.0.1:1</td>" in index


async def test_each_listener_knows_its_own_paths_only(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    """X5, X6: nothing of the admin's is on the traffic's listener, and the other way round."""
    async with running(build_settings(build_server(upstream.url))) as service:
        [url] = service.addresses("cats")
        for path in ("/metrics", "/livez", "/readyz", "/"):
            async with http.get(url + path) as answer:
                assert await answer.read() == RESULT
        assert [request.target for request in upstream.requests] == [
            b"/metrics",
            b"/livez",
            b"/readyz",
            b"/",
        ]
        async with http.post(f"{service.admin_url}/mcp", data=CALL, headers=FIELDS) as answer:
            assert answer.status == 404
        assert len(upstream.requests) == 4


async def test_without_inspection_only_http_is_counted(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    settings = build_settings(
        build_server(upstream.url), inspection=InspectionSettings(enabled=False)
    )
    async with running(settings) as service:
        [url] = service.addresses("cats")
        assert await call(http, url) == RESULT
        metrics = await scrape(http, service)
    assert metrics.total("mcp_requests_total") == 0
    assert metrics.value("mcp_http_requests_total", server="cats", method="POST", code="200") == 1


async def test_settings_reach_the_parts_that_obey_them(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    settings = build_settings(
        build_server(upstream.url),
        inspection=InspectionSettings(max_message_bytes=10, max_buffered_bytes=10),
        metrics=MetricsSettings(
            max_tools=7,
            max_listed_tools=90,
            max_clients=5,
            max_prompts=3,
            bytes_per_token=3.5,
            duration_buckets=(2.5,),
            buckets={"mcp_proxy_overhead_seconds": (0.5,)},
            disable=("mcp_http_requests_*",),
            semconv=True,
            labels={"env": "prod"},
        ),
    )
    async with running(settings) as service:
        await call(http, service.addresses("cats")[0])
        metrics = await scrape(http, service)
        assert service.metrics._options.bytes_per_token == 3.5
    assert metrics.total("mcp_proxy_uninspected_messages_total", reason="too_large") > 0
    for label, limit in (("tool", 97), ("client", 5), ("prompt", 3)):
        labels = {"server": "cats", "label": label, "env": "prod"}
        assert metrics.value("mcp_proxy_label_values_limit", **labels) == limit
    for family, bound in (("http_request_duration", "2.5"), ("proxy_overhead", "0.5")):
        rows = metrics.rows(f"mcp_{family}_seconds_bucket")
        assert {labels["le"] for labels, _ in rows} == {bound, "+Inf"}
    assert "mcp_http_requests_total" not in metrics.names
    assert metrics.total("mcp_server_operation_duration_seconds_count") == 0


async def test_scraper_gets_the_format_and_the_compression_that_it_asks_for(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    fields = {"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"}
    async with running(build_settings(build_server(upstream.url))) as service:
        async with http.get(f"{service.admin_url}/metrics", headers=fields) as answer:
            text = await answer.text()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        fields["Accept-Encoding"] = "identity"
        async with http.get(f"{service.admin_url}/metrics", headers=fields) as answer:
            assert "Content-Encoding" not in answer.headers
    assert text.endswith("# EOF\n")


async def test_call_that_nobody_resumes_is_abandoned_without_further_traffic(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_SWEEP", 0.01)
    upstream.answer_always(PRIMING)
    inspection = InspectionSettings(suspended_seconds=0.01)
    settings = build_settings(build_server(upstream.url), inspection=inspection)
    async with running(settings) as service:
        assert await call(http, service.addresses("cats")[0]) == PRIMING_EVENT
        requests = service.metrics.store.of(Values, "mcp_requests_total")
        await eventually(lambda: any(series.value for series in requests.series()))
        metrics = await scrape(http, service)
    assert metrics.total("mcp_requests_total", outcome="abandoned") == 1
    assert metrics.total("mcp_requests_in_flight") == 0


async def test_call_that_waits_for_its_client_ends_with_the_process(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    upstream.answer_always(PRIMING)
    service = Service(build_settings(build_server(upstream.url)))
    await service.start()
    assert await call(http, service.addresses("cats")[0]) == PRIMING_EVENT
    metrics = await scrape(http, service)
    assert metrics.total("mcp_requests_in_flight") == 1
    async with asyncio.timeout(WAIT):
        await service.stop()
    series = {
        (sample.name, sample.labels["outcome"]): sample.value
        for family in service.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "mcp_requests_total" and sample.value
    }
    assert series == {("mcp_requests_total", "proxy_shutdown"): 1}


async def test_fault_of_a_sink_costs_a_number_and_no_byte(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object, _event: object) -> NoReturn:
        raise RuntimeError("broken")

    monkeypatch.setattr("mcp_proxy_exporter.observe.metrics.ServerMetrics.handle", fail)
    async with running(build_settings(build_server(upstream.url))) as service:
        assert await call(http, service.addresses("cats")[0]) == RESULT
        metrics = await scrape(http, service)
    assert metrics.total("mcp_proxy_inspection_errors_total", stage="sink") > 0


async def test_taken_admin_port_ends_the_start_before_any_proxy_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(
            servers=(build_server(),), admin=AdminSettings(listen=f"127.0.0.1:{port}")
        )
        service = Service(settings)
        with pytest.raises(StartError) as caught:
            await service.start()
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port} (admin): address already in use"
    assert not service.ready
    assert not service.addresses("cats")


async def test_taken_port_ends_the_start_with_nothing_left_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        dogs = build_server(name="dogs", listen=f"127.0.0.1:{port}")
        service = Service(build_settings(build_server(), dogs))
        with pytest.raises(StartError) as caught:
            await service.start()
    message = f"cannot listen on 127.0.0.1:{port} (servers.dogs): address already in use"
    assert str(caught.value) == message
    opened = [*service.addresses("cats"), service.admin_url]
    assert len(opened) == 2
    for url in opened:
        assert not is_listening(int(url.rpartition(":")[2]))


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("nobody.invalid:0", "not known"),
        ("unix:/nowhere/at/all.sock", "no such file or directory"),
        (f"unix:/{'x' * 200}", "path too long"),
    ],
)
async def test_address_that_cannot_be_had_is_told_with_its_reason(listen: str, reason: str) -> None:
    service = Service(build_settings(build_server(listen=listen)))
    with pytest.raises(StartError, match=f"(?i){reason}") as caught:
        await service.start()
    assert f"cannot listen on {listen} (servers.cats): " in str(caught.value)


async def test_readiness_goes_first_and_the_admin_last(
    http: aiohttp.ClientSession, upstream: ScriptedUpstream
) -> None:
    finish = asyncio.Event()
    upstream.answer(finish.wait, ANSWER)
    service = Service(build_settings(build_server(upstream.url)))
    await service.start()
    [url] = service.addresses("cats")
    assert await status(http, f"{service.admin_url}/readyz") == 200
    calling = asyncio.ensure_future(call(http, url))
    await upstream.wait_for_requests(1)

    stopping = asyncio.ensure_future(service.stop())
    await asyncio.sleep(0)
    assert not service.ready
    assert await status(http, f"{service.admin_url}/readyz") == 503
    assert await status(http, f"{service.admin_url}/livez") == 200
    assert not is_listening(int(url.rpartition(":")[2]))
    assert not stopping.done()

    finish.set()
    assert await calling == RESULT
    assert (await scrape(http, service)).total("mcp_requests_total", outcome="tool_error") == 1
    async with asyncio.timeout(WAIT):
        await stopping
    assert not is_listening(int(service.admin_url.rpartition(":")[2]))


async def test_drain_has_an_end(http: aiohttp.ClientSession, upstream: ScriptedUpstream) -> None:
    upstream.answer(asyncio.Event().wait)
    timeouts = TimeoutSettings(drain=0.05)
    service = Service(build_settings(build_server(upstream.url), timeouts=timeouts))
    await service.start()
    calling = asyncio.ensure_future(call(http, service.addresses("cats")[0]))
    await upstream.wait_for_requests(1)
    async with asyncio.timeout(WAIT):
        await service.stop()
        await asyncio.wait({calling})
    if calling.exception() is None:
        assert calling.result() != RESULT


async def test_first_signal_stops_in_good_order(http: aiohttp.ClientSession) -> None:
    lines: list[str] = []
    serving = asyncio.ensure_future(serve(build_settings(build_server()), lines.append))
    await eventually(lambda: len(lines) == 2)
    assert lines[0].startswith("cats: http://127.0.0.1:")
    metrics_url = lines[1].removeprefix("metrics: ")
    assert await status(http, metrics_url) == 200
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(WAIT):
        assert await serving == 0


async def test_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = ProxyServer.stop
    begun, gate = asyncio.Event(), asyncio.Event()

    async def stop_late(proxy: ProxyServer, grace: float) -> None:
        begun.set()
        await gate.wait()
        await stop(proxy, grace)

    monkeypatch.setattr(ProxyServer, "stop", stop_late)
    lines: list[str] = []
    others = asyncio.all_tasks()
    serving = asyncio.ensure_future(serve(build_settings(build_server()), lines.append))
    await eventually(lambda: len(lines) == 2)
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(WAIT):
        await begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(WAIT):
        assert await serving == 128 + signal.SIGTERM
    # What is left running ends with the process; here it has to be let go.
    gate.set()
    async with asyncio.timeout(WAIT):
        await asyncio.gather(*asyncio.all_tasks() - others)


async def test_start_that_fails_passes_through_serve() -> None:
    settings = build_settings(build_server(listen="unix:/nowhere/at/all.sock"))
    with pytest.raises(StartError):
        await serve(settings, print)


def test_run_gives_the_exit_code_and_sets_up_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", said.update)

    async def main() -> int:
        await asyncio.sleep(0)
        return 3

    assert app.run(main(), log_level="debug") == 3
    assert said["level"] == "DEBUG"
    assert said["stream"] is sys.stderr


def test_run_waits_for_nothing_after_a_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    class EndedError(Exception):
        pass

    def end(code: int) -> NoReturn:
        raise EndedError(code)

    async def main() -> int:
        return 143

    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(EndedError, match="143"):
        app.run(main(), log_level="info")


@pytest.mark.parametrize("installed", [True, False])
def test_uvloop_is_used_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    if installed:
        uvloop = pytest.importorskip("uvloop")
    else:
        uvloop = None
        monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> int:
        loops.append(asyncio.get_running_loop())
        return 0

    assert app.run(main(), log_level="info") == 0
    assert (uvloop is not None and isinstance(loops[0], uvloop.Loop)) is installed


def test_allocator_is_tuned_on_glibc_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        """A C library, as ctypes shows it."""

        def __init__(self) -> None:
            self.options: list[tuple[int, int]] = []

        def mallopt(self, option: int, value: int) -> int:
            self.options.append((option, value))
            return 1

    class Glibc(Libc):
        gnu_get_libc_version = None

    for library, tuned in ((Libc(), False), (Glibc(), True)):
        monkeypatch.setattr(ctypes, "CDLL", lambda _name, library=library: library)
        assert app.tune_allocator() is tuned
        assert len(library.options) == (3 if tuned else 0)


def test_allocator_of_this_machine_takes_the_options() -> None:
    if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("no glibc")
    assert app.tune_allocator()


async def test_unix_socket_is_a_listener_like_any_other(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "proxy.sock"
    async with running(
        build_settings(build_server(upstream.url, listen=f"unix:{path}"))
    ) as service:
        assert service.addresses("cats") == [f"unix:{path}"]
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            assert await call(session, "http://localhost") == RESULT
    assert not path.exists()


@pytest.mark.parametrize(
    ("built", "shown"), [("4f3c2b1", "4f3c2b1"), ("", "unknown"), (None, "unknown")]
)
def test_revision_is_what_the_image_says(
    monkeypatch: pytest.MonkeyPatch, built: str | None, shown: str
) -> None:
    monkeypatch.delenv(app.REVISION_VARIABLE, raising=False)
    if built is not None:
        monkeypatch.setenv(app.REVISION_VARIABLE, built)
    service = Service(build_settings(build_server()))
    scraped = Scrape.from_text(generate_latest(service.metrics.registry))
    [(labels, value)] = scraped.rows("mcp_proxy_build_info")
    assert (labels["revision"], value) == (shown, 1)
