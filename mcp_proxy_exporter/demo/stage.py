"""The order of the demonstration: who starts when, who stops when, and what is shown meanwhile.

Knows the cats, the clients and the table; does not know the proxy, which the caller starts and
stops by `StartProxy`. Installs nothing global: no signal handler, no logging.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, TextIO, TypeAlias

import aiohttp

from mcp_proxy_exporter.demo.clients import run_clients
from mcp_proxy_exporter.demo.figures import History, read_snapshot
from mcp_proxy_exporter.demo.screen import Display, choose_display
from mcp_proxy_exporter.demo.server import PATH, CatServer
from mcp_proxy_exporter.demo.table import View

WINDOW: Final = 10.0
"""Seconds that rates and quantiles look back: long enough for slow naps, short enough to move."""
SCRAPE_TIMEOUT: Final = 1.0
"""Seconds. A scrape that takes longer is a finding of its own, and shown as one."""
NEXT: Final = """\

Next, in front of a server of your own:
  mcp-proxy-exporter run --upstream http://127.0.0.1:3001 --listen 127.0.0.1:8080
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProxy:
    """A proxy that listens, and how to stop it. Both addresses are origins, without a path."""

    url: str
    admin_url: str
    stop: Callable[[], Awaitable[object]]


StartProxy: TypeAlias = Callable[[str], Awaitable[RunningProxy]]
"""Starts a proxy in front of the given upstream origin, such as ``http://127.0.0.1:43211``."""


async def perform(
    start_proxy: StartProxy,
    *,
    output: TextIO,
    duration: float | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Run the demonstration for ``duration`` seconds, or until it is cancelled.

    Either way everything is stopped and the last table printed before this returns or raises
    `asyncio.CancelledError`. Raises what ``start_proxy`` raises, `OSError` when the cats find no
    port, and `BrokenPipeError` when nobody reads the output any more.
    """
    display = choose_display(output, environment)
    async with AsyncExitStack() as stack:
        cats = CatServer()
        await cats.start()
        stack.push_async_callback(cats.stop)
        proxy = await start_proxy(cats.origin)
        stack.push_async_callback(proxy.stop)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        board = _Board(http, proxy, duration)
        await board.scrape()  # all zero: what the first figures are compared with
        try:
            with display:
                await _play(board, display, proxy.url + PATH)
        except asyncio.CancelledError:
            await _conclude(board, display, output)
            raise
        await _conclude(board, display, output)


async def _play(board: "_Board", display: Display, url: str) -> None:
    stop = asyncio.Event()
    clients = asyncio.create_task(run_clients(url, stop))
    this = asyncio.current_task()
    try:
        # Clients that end by themselves do so by an exception, which is raised below.
        while not clients.done() and board.time_left() > 0:
            display.show(board.take_view())
            await asyncio.wait({clients}, timeout=min(display.interval, board.time_left()))
            if board.time_left() > 0:
                await board.scrape()
            if this is not None and this.cancelling():
                # What fetches the figures can lose a cancellation; whoever pressed Ctrl-C did once.
                raise asyncio.CancelledError
    finally:
        stop.set()
        await clients


async def _conclude(board: "_Board", display: Display, output: TextIO) -> None:
    await board.scrape()
    display.conclude(board.take_view(final=True))
    output.write(NEXT)
    output.flush()


class _Board:
    """The figures so far, and how to get newer ones."""

    def __init__(
        self, http: aiohttp.ClientSession, proxy: RunningProxy, duration: float | None
    ) -> None:
        self._http = http
        self._proxy = proxy
        self._duration = duration
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._history = History(WINDOW)
        self._problem: str | None = None

    def time_left(self) -> float:
        """Seconds until the demonstration ends; infinite when only its user ends it."""
        if self._duration is None:
            return math.inf
        return self._started + self._duration - self._clock()

    async def scrape(self) -> None:
        """Take the figures from where Prometheus would; what goes wrong is shown, not raised."""
        try:
            timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT)
            async with self._http.get(self._metrics_url, timeout=timeout) as answer:
                answer.raise_for_status()
                text = await answer.text()
            self._history.add(read_snapshot(text, self._clock()))
            self._problem = None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._problem = f"No new figures: {str(error) or type(error).__name__}"

    def take_view(self, *, final: bool = False) -> View:
        """Say what is known now; at the end with rates and quantiles over the whole time."""
        comparison = self._history.overall() if final else self._history.recent()
        return View(
            proxy_url=self._proxy.url + PATH,
            metrics_url=self._metrics_url,
            index_url=self._proxy.admin_url + "/",
            rows=comparison.rows,
            custom=comparison.custom,
            elapsed=self._clock() - self._started,
            window=comparison.seconds,
            problem=self._problem,
            footer="" if final else self._announce_end(),
        )

    @property
    def _metrics_url(self) -> str:
        return self._proxy.admin_url + "/metrics"

    def _announce_end(self) -> str:
        left = self.time_left()
        return "Ctrl-C ends it." if math.isinf(left) else f"Ends in {max(left, 0):.0f} s."
