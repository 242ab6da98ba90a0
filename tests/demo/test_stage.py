"""The order of the demonstration, with the cats themselves in the proxy's place."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from mcp_proxy_exporter.demo import stage
from mcp_proxy_exporter.demo.stage import RunningProxy, perform

EXPOSITION = """\
mcp_tool_calls_total{{server="cats",tool="nap",outcome="success"}} {calls}
mcp_tool_calls_in_flight{{server="cats",tool="nap"}} 2
"""
PIPE = {"TERM": "xterm"}


class FakeProxy:
    """Answers scrapes; lets the clients go straight to the upstream."""

    def __init__(self) -> None:
        self.upstream = ""
        self.scrapes = 0
        self.scraped_twice = asyncio.Event()
        self.stopped = False
        self.upstream_was_up_at_stop = False
        self.answer: web.Response | None = None
        """To scrapes, in place of growing figures."""
        self.hangs = False
        app = web.Application()
        app.router.add_get("/metrics", self._expose)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)

    async def start(self, upstream: str) -> RunningProxy:
        self.upstream = upstream
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        admin_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return RunningProxy(url=upstream, admin_url=admin_url, stop=self.stop)

    async def stop(self) -> None:
        self.stopped = True
        self.upstream_was_up_at_stop = await is_listening(self.upstream)
        await self._runner.cleanup()

    async def _expose(self, _request: web.Request) -> web.Response:
        self.scrapes += 1
        if self.scrapes > 1:
            self.scraped_twice.set()
        if self.hangs:
            await asyncio.sleep(60)
        if self.answer is not None:
            return web.Response(status=self.answer.status, body=self.answer.body)
        return web.Response(text=EXPOSITION.format(calls=self.scrapes * 10))


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def is_listening(origin: str) -> bool:
    parts = urlsplit(origin)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.fixture
async def proxy() -> AsyncIterator[FakeProxy]:
    fake = FakeProxy()
    yield fake
    await fake.stop()


async def test_a_performance_on_a_pipe(proxy: FakeProxy) -> None:
    output = io.StringIO()

    await perform(proxy.start, output=output, duration=1.3, environment=PIPE)

    text = output.getvalue()
    assert text.startswith(f"MCP {proxy.upstream}/mcp\nmetrics http://127.0.0.1:")
    assert "   0.0s  nap            calls=10 rate=-/s" in text
    assert re.search(r"^   1\.\ds  nap +calls=20 rate=\d+\.\d/s errors=0\.0%", text, re.MULTILINE)
    assert re.search(r"^nap +30 ", text, re.MULTILINE)
    assert text.endswith(stage.NEXT)
    assert "\x1b" not in text


async def test_a_performance_on_a_terminal_leaves_it_as_it_was(proxy: FakeProxy) -> None:
    output = FakeTerminal()

    await perform(proxy.start, output=output, duration=0.1, environment=PIPE)

    live, _, after = output.getvalue().partition("\x1b[?25h\x1b[?1049l")
    assert "Ends in 0 s." in live
    assert "Cats behind" in after
    assert "Ends in" not in after
    assert after.endswith(stage.NEXT)


async def test_everything_is_stopped_in_the_order_of_the_water(proxy: FakeProxy) -> None:
    await perform(proxy.start, output=io.StringIO(), duration=0.1)

    assert proxy.stopped
    assert proxy.upstream_was_up_at_stop
    assert not await is_listening(proxy.upstream)


async def test_cancellation_ends_it_at_once_with_the_last_table(proxy: FakeProxy) -> None:
    output = FakeTerminal()
    show = asyncio.create_task(perform(proxy.start, output=output, environment=PIPE))
    async with asyncio.timeout(5):
        await proxy.scraped_twice.wait()
    clock = asyncio.get_running_loop().time
    started = clock()

    show.cancel()
    with pytest.raises(asyncio.CancelledError):
        await show

    assert clock() - started < 0.5
    live, _, after = output.getvalue().partition("\x1b[?25h\x1b[?1049l")
    assert "Ctrl-C ends it." in live
    assert "Cats behind" in after
    assert after.endswith(stage.NEXT)
    assert proxy.stopped
    assert not await is_listening(proxy.upstream)


async def test_cancellation_that_a_scrape_loses_ends_it_all_the_same(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    scrape = stage._Board.scrape
    losing = asyncio.Event()

    async def lose_cancellation(board: stage._Board) -> None:
        if not proxy.scraped_twice.is_set() or losing.is_set():
            await scrape(board)
            return
        losing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    monkeypatch.setattr(stage._Board, "scrape", lose_cancellation)
    show = asyncio.create_task(perform(proxy.start, output=io.StringIO(), environment=PIPE))
    async with asyncio.timeout(10):
        await losing.wait()
        show.cancel()
        with pytest.raises(asyncio.CancelledError):
            await show
    assert proxy.stopped


async def test_a_proxy_that_does_not_start_ends_it_before_anything_is_drawn() -> None:
    output = FakeTerminal()
    upstreams: list[str] = []

    async def fail(upstream: str) -> RunningProxy:
        upstreams.append(upstream)
        raise OSError("address already in use")

    with pytest.raises(OSError, match="address already in use"):
        await perform(fail, output=output, environment=PIPE)

    assert output.getvalue() == ""
    assert not await is_listening(upstreams[0])


async def test_a_reader_that_leaves_ends_it(proxy: FakeProxy) -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await perform(proxy.start, output=Closed(), environment=PIPE)

    assert proxy.stopped
    assert not await is_listening(proxy.upstream)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (web.Response(status=500), "No new figures: 500, message='Internal Server Error'"),
        (web.Response(body=b"mcp_tool_calls_total{ many\n"), "No new figures: "),
        (web.Response(body=b"\xff"), "No new figures: 'utf-8' codec"),
    ],
    ids=["status", "syntax", "encoding"],
)
async def test_a_scrape_that_fails_is_shown(
    proxy: FakeProxy, answer: web.Response, problem: str
) -> None:
    proxy.answer = answer
    output = io.StringIO()

    await perform(proxy.start, output=output, duration=0.1, environment=PIPE)

    assert problem in output.getvalue()
    assert output.getvalue().endswith(stage.NEXT)


async def test_a_scrape_that_hangs_is_shown_and_not_waited_for(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SCRAPE_TIMEOUT", 0.05)
    running = await proxy.start("http://127.0.0.1:9")
    proxy.hangs = True
    async with aiohttp.ClientSession() as http, asyncio.timeout(5):
        board = stage._Board(http, running, None)
        await board.scrape()

    assert board.take_view().problem == "No new figures: TimeoutError"


async def test_figures_that_come_back_end_the_problem(proxy: FakeProxy) -> None:
    running = await proxy.start("http://127.0.0.1:9")
    async with aiohttp.ClientSession() as http:
        board = stage._Board(http, running, None)
        proxy.answer = web.Response(status=503)
        await board.scrape()
        assert board.take_view().problem is not None
        proxy.answer = None
        await board.scrape()
        assert board.take_view().problem is None
        assert board.take_view().rows[0].calls == 20


async def test_clients_that_break_are_an_error_not_an_empty_table(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_url: str, _stop: asyncio.Event) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(stage, "run_clients", fail)
    output = FakeTerminal()

    with pytest.raises(RuntimeError, match="a bug"):
        await perform(proxy.start, output=output, environment=PIPE)

    assert output.getvalue().endswith("\x1b[?25h\x1b[?1049l")
    assert proxy.stopped
