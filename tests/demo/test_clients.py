"""The scripted clients against the cats, without a proxy between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web

from mcp_proxy_exporter.demo import clients, rpc, script
from mcp_proxy_exporter.demo.clients import run_clients
from mcp_proxy_exporter.demo.server import CatServer


class WatchedCats(CatServer):
    """Cats that note what they are asked and how it ended."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port=port)
        self.seen: Counter[tuple[str, str]] = Counter()
        """By revision and what happened."""
        self.running = 0
        self.most_running = 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        version = request.headers.get(rpc.VERSION_HEADER, "none")
        what = await self._name(request)
        self.seen[version, what] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            answer = await super()._handle(request)
        except asyncio.CancelledError:
            self.seen[version, f"{what}, hung up"] += 1
            raise
        finally:
            self.running -= 1
        self.seen[version, f"{what}, {answer.status}"] += 1
        return answer

    async def _name(self, request: web.Request) -> str:
        if request.method != "POST":
            return request.method
        message = msgspec.json.decode(await request.read())
        if message["method"] == "tools/call":
            return str(message["params"]["name"])
        return str(message["method"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - conditions over counters, not events
            await asyncio.sleep(0.01)


@asynccontextmanager
async def playing(url: str) -> AsyncIterator[asyncio.Event]:
    """Clients that call until the end of the block, or of the event."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_clients(url, stop))
    yield stop
    stop.set()
    async with asyncio.timeout(2):
        await task


@pytest.fixture
async def watched() -> AsyncIterator[WatchedCats]:
    server = WatchedCats()
    await server.start()
    yield server
    await server.stop()


EVERY_KIND = {
    ("none", "initialize, 200"),
    ("2025-11-25", "notifications/initialized, 202"),
    ("2025-11-25", "tools/list, 200"),
    ("2025-11-25", "sharpen_claw, 200"),
    ("2025-11-25", "scratch_sofa, 200"),
    ("2025-11-25", "catch_laser, 200"),
    ("2025-11-25", "climb_curtain, 200"),
    ("2025-11-25", "nap, 200"),
    ("2025-11-25", "notifications/cancelled, 202"),
    ("2025-03-26", "sharpen_claw, 200"),
    ("2026-07-28", "server/discover, 200"),
    ("2026-07-28", "tools/list, 200"),
    ("2026-07-28", "sharpen_claw, 200"),
    ("2026-07-28", "scratch_sofa, 200"),
    ("2026-07-28", "catch_laser, 200"),
    ("2026-07-28", "climb_curtain, 200"),
    ("2026-07-28", "nap, 200"),
    ("2026-07-28", "nap, hung up"),
}


async def test_both_eras_make_every_kind_of_call(
    watched: WatchedCats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "MEAN_PAUSE", 0.005)

    async with playing(watched.url):
        await until(lambda: watched.seen.keys() >= EVERY_KIND)

    assert watched.most_running >= 3
    # The good-bye of both legacy clients is heard even though the end is hasty.
    assert watched.seen["2025-11-25", "DELETE, 200"] == 1
    assert watched.seen["2025-03-26", "DELETE, 200"] == 1
    assert not [what for _, what in watched.seen if what.endswith((", 400", ", 404", ", 500"))]


async def test_the_pace_is_some_thirty_calls_a_second(watched: WatchedCats) -> None:
    async with playing(watched.url):
        await until(lambda: watched.seen["2026-07-28", "tools/list"] == 2)
        before = watched.seen.total()
        await asyncio.sleep(1)
        # Every call is noted twice: as it comes and as it goes.
        calls = (watched.seen.total() - before) / 2

    assert 15 <= calls <= 60


async def test_stopping_is_prompt(watched: WatchedCats, caplog: pytest.LogCaptureFixture) -> None:
    clock = asyncio.get_running_loop().time
    async with playing(watched.url) as stop:
        await until(lambda: watched.seen["2026-07-28", "nap"] > 0)
        started = clock()
        stop.set()

    assert clock() - started < 0.5
    assert caplog.records == []


async def test_cancelling_is_prompt(watched: WatchedCats) -> None:
    task = asyncio.create_task(run_clients(watched.url, asyncio.Event()))
    await until(lambda: watched.seen["2025-11-25", "nap"] > 0)
    clock = asyncio.get_running_loop().time
    started = clock()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert clock() - started < 0.5


async def test_a_server_that_goes_and_comes_back_is_called_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clients, "RETRY_PAUSE", 0.02)
    first = WatchedCats()
    await first.start()
    port = int(first.origin.rpartition(":")[2])
    second = WatchedCats(port)
    try:
        async with playing(first.url):
            await until(lambda: first.seen["2026-07-28", "nap"] > 0)
            await first.stop()
            await second.start()
            await until(lambda: second.seen["2025-11-25", "sharpen_claw, 200"] > 0)
            await until(lambda: second.seen["2026-07-28", "sharpen_claw, 200"] > 0)
            await second.stop()  # and nobody to say good-bye to
    finally:
        await first.stop()
        await second.stop()

    assert caplog.records == []


async def test_a_lost_session_is_opened_anew(
    watched: WatchedCats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "RETRY_PAUSE", 0.02)

    async with playing(watched.url):
        await until(lambda: watched.seen["none", "initialize, 200"] == 2)
        watched._sessions.clear()
        await until(lambda: watched.seen["none", "initialize, 200"] == 4)


async def test_a_server_without_sessions_is_called_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "RETRY_PAUSE", 0.02)
    sessions: set[str | None] = set()

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get(rpc.VERSION_HEADER) == "2025-11-25":
            sessions.add(request.headers.get(rpc.SESSION_HEADER))
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/mcp", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with playing(f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"):
            await until(lambda: bool(sessions))
    finally:
        await runner.cleanup()

    assert sessions == {None}


async def test_a_cancellation_that_fails_is_nobody_s_trouble(
    watched: WatchedCats, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_arguments: object) -> None:
        raise ConnectionResetError

    acts = iter([script.Act(tool="nap", arguments={"seconds": 0.1}, patience=0.01, pause=60)])
    async with aiohttp.ClientSession() as http:
        client = clients.LegacyClient(http, watched.url, "t", acts)
        await client._open()
        act = next(acts)
        call = asyncio.create_task(client._call_and_give_up(1, act, 0.05))
        await until(lambda: watched.running == 1)
        monkeypatch.setattr(client, "_post", fail)
        async with asyncio.timeout(2):
            await call

    assert watched.seen["2025-11-25", "nap, 200"] == 1
    assert caplog.records == []


async def test_no_client_lets_more_than_its_share_of_naps_run(watched: WatchedCats) -> None:
    nap = script.Act(tool="nap", arguments={"seconds": 5}, pause=0)
    done = script.Act(tool="catch_laser", pause=60)
    async with aiohttp.ClientSession() as http:
        client = clients.ModernClient(http, watched.url, "t", iter([nap] * 9 + [done]))
        task = asyncio.create_task(client.run())
        await until(lambda: watched.seen["2026-07-28", "catch_laser, 200"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert watched.seen["2026-07-28", "nap"] == clients.MAX_NAPS
