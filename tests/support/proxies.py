"""A proxy under test, with everything that its tap and its sink were told.

Knows how to build a `ProxyServer`; does not know what is sent through it.

    proxy = await start_proxy("http://127.0.0.1:1234")
    async with RawClient.connecting(proxy.url) as client: ...
    closed = await proxy.wait_for(HttpExchangeClosed)
    assert proxy.exchanges[0].request_body == b"..."
    assert proxy.exchanges[0].calls == ["request_end", "response_head", "response_end"]
    await proxy.stop()
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mcp_proxy_exporter.config import LimitSettings, ServerSettings, TimeoutSettings
from mcp_proxy_exporter.protocol.events import Event
from mcp_proxy_exporter.protocol.outcome import Abort
from mcp_proxy_exporter.proxy.server import ProxyServer
from mcp_proxy_exporter.tap import Fields, TapFactory

WAIT_SECONDS = 20.0

EventType = TypeVar("EventType")


@dataclass(slots=True, kw_only=True)
class RecordedExchange:
    """One exchange as its tap saw it. The `Inspection` that only takes notes."""

    method: bytes
    target: bytes
    fields: dict[bytes, bytes]
    calls: list[str] = field(default_factory=list)
    """The names of the tap's calls, in order, each run of the same name once."""
    request_body: bytes = b""
    status: int = 0
    response_fields: dict[bytes, bytes] = field(default_factory=dict)
    response_body: bytes = b""
    abort: Abort | None = None
    awaited: bool = False
    """An answer to an open call may come on it."""

    def _note(self, call: str) -> tuple[()]:
        if self.calls[-1:] != [call]:
            self.calls.append(call)
        return ()

    def request(self, data: bytes, now: float) -> Sequence[Event]:
        return [*self.request_data(data, now), *self.request_end(now)]

    def response(self, status: int, fields: Fields, data: bytes, now: float) -> Sequence[Event]:
        head = self.response_head(status, fields, now)
        return [*head, *self.response_data(data, now), *self.response_end(now)]

    def request_data(self, data: bytes, now: float) -> Sequence[Event]:
        assert data
        assert now
        self.request_body += data
        return self._note("request_data")

    def request_end(self, now: float) -> Sequence[Event]:
        assert now
        return self._note("request_end")

    def response_head(self, status: int, fields: Fields, now: float) -> Sequence[Event]:
        assert now
        self.status = status
        self.response_fields = dict(fields)
        return self._note("response_head")

    def response_data(self, data: bytes, now: float) -> Sequence[Event]:
        assert data
        assert now
        self.response_body += data
        return self._note("response_data")

    def response_end(self, now: float) -> Sequence[Event]:
        assert now
        return self._note("response_end")

    def unfinished(self) -> bool:
        return False

    def awaits(self) -> bool:
        return self.awaited

    def aborted(self, cause: Abort, now: float) -> Sequence[Event]:
        assert now
        self.abort = cause
        return self._note("aborted")


class RunningProxy:
    """A started `ProxyServer` and its records."""

    def __init__(
        self,
        settings: ServerSettings,
        limits: LimitSettings,
        timeouts: TimeoutSettings,
        clock: Callable[[], float],
    ) -> None:
        self.exchanges: list[RecordedExchange] = []
        """In the order of their heads."""
        self.events: list[Event] = []
        """All that the sink was told; never an inspection's own, which has none here."""
        self.faults: list[str] = []
        self._news = asyncio.Event()
        self.server = ProxyServer(
            settings,
            limits=limits,
            timeouts=timeouts,
            taps=TapFactory(self, self._take, self.faults.append, clock),
            clock=clock,
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.server.addresses[0]

    def open(self, method: bytes, target: bytes, fields: Fields) -> RecordedExchange:
        """Begin a record (`mcp_proxy_exporter.tap.Inspecting`)."""
        exchange = RecordedExchange(method=method, target=target, fields=dict(fields))
        self.exchanges.append(exchange)
        return exchange

    def sweep(self, _now: float) -> Sequence[Event]:
        """End what is overdue: nothing is."""
        return ()

    def close(self, _now: float) -> Sequence[Event]:
        """End what waits: nothing does."""
        return ()

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def seen(self, kind: type[EventType]) -> list[EventType]:
        """Return the events of one class so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[EventType], count: int = 1) -> list[EventType]:
        """Return the events of one class once there are ``count`` of them."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(found := self.seen(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return found

    async def stop(self, grace: float = 0.0) -> None:
        """Stop; whatever a test did, no inspection and no sink may have failed."""
        await self.server.stop(grace)
        assert self.faults == []
        context = self.server._context
        # Each exchange gives back the room that it took, once.
        assert context.room == (context.limits.requests or 1 << 60)


async def start_proxy(
    upstream: str,
    *,
    listen: str = "127.0.0.1:0",
    limits: LimitSettings | None = None,
    timeouts: TimeoutSettings | None = None,
    clock: Callable[[], float] = time.perf_counter,
    **settings: Any,
) -> RunningProxy:
    """Start a proxy on a free port; ``settings`` are fields of `ServerSettings`."""
    proxy = RunningProxy(
        ServerSettings(upstream=upstream, listen=listen, **settings),
        limits or LimitSettings(),
        timeouts or TimeoutSettings(),
        clock,
    )
    await proxy.server.start()
    return proxy


ProxyFactory = Callable[..., Awaitable[RunningProxy]]
"""`start_proxy`, as the fixture ``proxy`` hands it out: it stops what it started."""
