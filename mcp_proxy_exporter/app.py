"""The composition root: what exists in a running process, and in which order it starts and stops.

Read this first. Knows every part by its constructor; does not know how any of them works, nor
command lines (`cli`).
"""

import asyncio
import ctypes
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from mcp_proxy_exporter import logs
from mcp_proxy_exporter.admin import MAX_VISITORS, AdminServer, Line, Page
from mcp_proxy_exporter.config import InspectionSettings, ServerSettings, Settings, WrongFile
from mcp_proxy_exporter.observe import scrape
from mcp_proxy_exporter.observe.exposition import Exposition
from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions
from mcp_proxy_exporter.observe.rehearsal import WrongRecord, read_record, rehearse
from mcp_proxy_exporter.protocol.inspector import Inspector
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.proxy.descriptors import share_descriptors
from mcp_proxy_exporter.proxy.server import ProxyServer
from mcp_proxy_exporter.proxy.tls import ListenerContext, TlsContexts
from mcp_proxy_exporter.reload import LOOK_SECONDS, Plan, Reloader, make_access, tell_insecure
from mcp_proxy_exporter.tap import TapFactory

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_SIGNAL = 128
"""Added to a signal's number, as shells do, when a second signal ends the process at once."""

# glibc's <malloc.h>. Reads are buffers of up to 256 KiB, which malloc by default maps and unmaps
# again and again; kept, a result of 1 MiB costs a third of the CPU. The threshold's own maximum is
# 32 MiB on 64 bits.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MIB = 1024 * 1024
_MALLOC_OPTIONS = (
    (_M_MMAP_THRESHOLD, 32 * _MIB),
    (_M_TRIM_THRESHOLD, 256 * _MIB),
    (_M_TOP_PAD, 16 * _MIB),
)

REVISION_VARIABLE = "MCP_PROXY_EXPORTER_REVISION"
"""Names the source revision that was built: a property of the image, set there, and no setting."""

_CLOCK = time.perf_counter
"""Monotonic seconds of everything that is timed: the same ones in taps, data plane and figures."""

_CATCH_UP_SECONDS = 1.0
"""How long a scrape waits for what was seen and not looked at yet; mostly it is a millisecond."""

_STOP_SECONDS = 1.5
"""Of the stop, beyond the settings' delay and drain: for last answers, sockets and a scrape."""
_THREADS_SECONDS = 0.25
"""For threads at the very end: a slow disk, or a large scrape that nobody waits for."""

_SWEEP = 1.0
"""Seconds between two looks for calls, sessions and tasks that are overdue."""

Connections = Mapping[tuple[str, str], int]


class StartError(Exception):
    """The process cannot do what its settings say, for a reason that the operator can remove."""


class Service:
    """Everything that one process runs: a proxy per configured server, the metrics, the admin."""

    def __init__(self, settings: Settings) -> None:
        """Raise StartError for certificates that are no more what they were."""
        try:
            plan = Plan.make(settings)
        except WrongFile as error:
            raise StartError(str(error)) from error
        self._settings = settings
        self.metrics = _build_metrics(settings)
        self._faults = logs.FaultLog(self.metrics.inspection_failed)
        self._connections: dict[str, Connections] = {}
        self._taps: list[TapFactory] = []
        self._descriptors = share_descriptors(len(settings.servers), MAX_VISITORS)
        self._proxies = {
            server.name: self._build(server, plan.contexts[server.name])
            for server in settings.servers
        }
        admin_tls = None if plan.admin is None else ListenerContext(plan.admin)
        self._admin = AdminServer(
            settings.admin.listen_address,
            render=self._render,
            ready=lambda: self.ready,
            servers=self._describe,
            tls=admin_tls,
            access=make_access(settings.admin),
            allowed_hosts=settings.admin.allowed_hosts,
        )
        self._reloader = Reloader(plan, self._proxies, self._admin, admin_tls, self.metrics)
        self._look_at = _CLOCK() + LOOK_SECONDS
        self._sweeping: asyncio.TimerHandle | None = None
        self.ready = False
        """All listeners are open, and the process is not about to stop."""

    @property
    def admin_url(self) -> str:
        """Where the admin listens: an origin with the real port."""
        return self._admin.url

    @property
    def stop_seconds(self) -> float:
        """How long a stop may take."""
        timeouts = self._reloader.settings.timeouts
        return timeouts.shutdown_delay + timeouts.drain + _STOP_SECONDS

    def addresses(self, name: str) -> Sequence[str]:
        """Where the server of this name is listened for, with the real ports."""
        return self._proxies[name].addresses

    def describe(self) -> list[str]:
        """Write a line for each listener."""
        lines = [
            f"{line.name}: {address} -> {line.upstream}"
            for line in self._describe()
            for address in line.listens
        ]
        return [*lines, f"metrics: {self.admin_url}/metrics"]

    async def start(self) -> None:
        """Open the admin's listener, then the proxies'; raise StartError with nothing left open.

        The admin comes first: never a proxy without metrics.
        """
        try:
            await _open(self._admin.start, self._settings.admin.listen, "admin")
            for server in self._settings.servers:
                start = self._proxies[server.name].start
                await _open(start, server.listen, f"servers.{server.name}")
        except BaseException:
            await self._close(grace=0)
            raise
        tell_insecure(self._settings, self.metrics)
        self.ready = True
        self._sweep()

    def reload(self, read: Callable[[], Settings]) -> None:
        """Read the settings anew, soon, and put into effect what can be changed."""
        self._reloader.request(read)

    async def stop(self) -> None:
        """Say that we are not ready, let the proxies finish what runs, close the admin last."""
        self.ready = False
        timeouts = self._reloader.settings.timeouts
        if timeouts.shutdown_delay:
            # Who sends clients here learns of it by asking, or is told by someone who asks.
            for proxy in self._proxies.values():
                proxy.send_away()
            await asyncio.sleep(timeouts.shutdown_delay)
        await self._close(grace=timeouts.drain)

    async def _close(self, *, grace: float) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for proxy in self._proxies.values():
                    group.create_task(proxy.stop(grace))
        finally:
            if self._sweeping is not None:
                self._sweeping.cancel()
            for taps in self._taps:
                taps.close()
            await self._reloader.stop()
            await self._admin.stop()

    def _sweep(self) -> None:
        for taps in self._taps:
            taps.sweep()
        now = _CLOCK()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._reloader.look()
        self._sweeping = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    def _build(self, server: ServerSettings, tls: TlsContexts) -> ProxyServer:
        figures = self.metrics.server(server.name)
        inspection = self._settings.inspection
        taps = TapFactory(
            Inspector(_make_limits(inspection), figures.wants) if inspection.enabled else None,
            figures.handle,
            self._faults,
            _CLOCK,
            later=_call_soon,
        )
        self._taps.append(taps)
        figures.watch_connections(lambda: self._connections.get(server.name, {}))
        return ProxyServer(
            server,
            limits=self._settings.limits,
            timeouts=self._settings.timeouts,
            taps=taps,
            tls=tls,
            clock=_CLOCK,
            descriptors=self._descriptors,
        )

    async def _render(self, exposition: Exposition, compress: bool) -> Page:  # noqa: FBT001  # a callback
        await self._catch_up()
        # Counted here, because the proxies change their connections while a thread would look.
        self._connections = {name: proxy.connections() for name, proxy in self._proxies.items()}
        # In a thread: a large scrape takes longer than a call may wait.
        written = await asyncio.to_thread(scrape.write, exposition, self.metrics, compress=compress)
        encoding = "gzip" if written.compressed else ""
        return Page(
            body=written.body, content_type=exposition.content_type, content_encoding=encoding
        )

    async def _catch_up(self) -> None:
        """Wait until what has passed so far was looked at, so that no figure is late."""
        loop = asyncio.get_running_loop()
        looked: list[asyncio.Future[None]] = [loop.create_future() for _ in self._taps]
        for taps, one in zip(self._taps, looked, strict=True):
            taps.afterwards(partial(one.set_result, None))
        late = [one for one in looked if not one.done()]
        if late:
            await asyncio.wait(late, timeout=_CATCH_UP_SECONDS)

    def _describe(self) -> list[Line]:
        return [
            Line(
                name=server.name,
                listens=self._proxies[server.name].addresses,
                upstream=str(server.target),
            )
            for server in self._settings.servers
        ]


async def serve(
    settings: Settings,
    announce: Callable[[str], object],
    reread: Callable[[], Settings] | None = None,
) -> int:
    """Run until SIGTERM or SIGINT, and return the exit code.

    The first signal stops in good order, a second one at once. SIGHUP puts into effect what
    ``reread`` says, which raises ConfigError. Raises StartError.
    """
    signals = _watch_signals()
    service = Service(settings)
    await service.start()
    if reread is not None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, partial(service.reload, reread))
    for line in service.describe():
        announce(line)
    await signals.get()
    stopping = asyncio.ensure_future(service.stop())
    again = asyncio.ensure_future(signals.get())
    await asyncio.wait(
        {stopping, again}, timeout=service.stop_seconds, return_when=asyncio.FIRST_COMPLETED
    )
    if again.done() and not stopping.done():
        return EXIT_SIGNAL + again.result()
    again.cancel()
    if stopping.done():
        await stopping  # it may have failed
    return EXIT_OK


def run(main: Coroutine[Any, Any, int], *, log_level: str) -> int:
    """Run a coroutine to its end in a process prepared for traffic, on uvloop if it is there."""
    logs.start(log_level)
    tune_allocator()
    with asyncio.Runner(loop_factory=_find_loop_factory()) as runner:
        runner.get_loop().set_exception_handler(logs.LoopLog())
        code = runner.run(main)
        if code > EXIT_SIGNAL:
            _leave(code)
        # The runner, and Python after it, would wait for threads however long they take.
        watch = threading.Timer(_THREADS_SECONDS, _leave, (code,))
        watch.daemon = True
        watch.start()
    watch.cancel()
    return code


def _leave(code: int) -> None:
    """End the process at once; everything that matters is closed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rehearse_call(settings: Settings, recorded: bytes) -> str:
    """Show what the settings' own metrics and soft errors make of a recorded call.

    Raises WrongRecord.
    """
    record = read_record(recorded)
    names = [server.name for server in settings.servers]
    if record.server is not None and record.server not in names:
        raise WrongRecord(f"server: is none of the configured: {', '.join(names)}")
    custom = tuple(metric.name for metric in settings.metrics.custom)
    metrics, limits = _build_metrics(settings), _make_limits(settings.inspection)
    return rehearse(metrics, record.server or names[0], record, custom, limits)


def explain(error: OSError) -> str:
    """Say in few words why an address cannot be had."""
    # The system's own few words: what event loops put around them repeats the address. Errors of
    # name resolution have numbers of their own kind.
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error)).lower()


def tune_allocator() -> bool:
    """Make glibc keep memory that is needed again at once; False where there is no glibc."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return all(libc.mallopt(option, value) for option, value in _MALLOC_OPTIONS)


def _make_limits(inspection: InspectionSettings) -> Limits:
    return Limits(
        max_message_bytes=inspection.max_message_bytes,
        max_buffered_bytes=inspection.max_buffered_bytes,
        max_rule_bytes=inspection.max_rule_bytes,
        max_kept_bytes=inspection.max_kept_bytes,
        max_open_calls=inspection.max_open_calls,
        max_sessions=inspection.max_sessions,
        max_tasks=inspection.max_tasks,
        suspended_seconds=inspection.suspended_seconds,
        session_idle_seconds=inspection.session_idle_seconds,
        repeat_seconds=inspection.repeat_seconds,
        task_seconds=inspection.task_seconds,
    )


def _build_metrics(settings: Settings) -> Metrics:
    return Metrics(
        MetricsOptions(
            max_tools=settings.metrics.max_tools,
            max_listed_tools=settings.metrics.max_listed_tools,
            max_clients=settings.metrics.max_clients,
            max_prompts=settings.metrics.max_prompts,
            bytes_per_token=settings.metrics.bytes_per_token,
            switches=settings.metrics,
            custom=settings.metrics.custom,
            soft_errors=settings.outcomes.soft_errors,
            revision=os.environ.get(REVISION_VARIABLE) or "unknown",
            monotonic_clock=_CLOCK,
            tell_unknown=logs.NameLog(),
        )
    )


def _call_soon(step: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(step)


def _find_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # an extra
    except ImportError:
        return None
    return uvloop.new_event_loop


def _watch_signals() -> asyncio.Queue[int]:
    received: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.put_nowait, number)
    return received


async def _open(start: Callable[[], Coroutine[Any, Any, None]], listen: str, owner: str) -> None:
    try:
        await start()
    except OSError as error:
        raise StartError(f"cannot listen on {listen} ({owner}): {explain(error)}") from error
