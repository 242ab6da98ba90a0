"""The figures of the whole process: what exists, and which event goes where.

Knows the parts that count and the settings they need; does not know how a scrape is written
(`exposition`) or who asks for it.
"""

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mcp_proxy_exporter import __version__
from mcp_proxy_exporter.observe.calls import CallMetrics
from mcp_proxy_exporter.observe.catalogue import DURATION_BUCKETS, FAMILIES
from mcp_proxy_exporter.observe.clock import Clock
from mcp_proxy_exporter.observe.http import HttpMetrics
from mcp_proxy_exporter.observe.labels import ToolNames, clean
from mcp_proxy_exporter.observe.messages import MessageMetrics
from mcp_proxy_exporter.observe.series import Polled, Store, Value, Values
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.protocol.events import (
    CallClosed,
    CallOpened,
    Event,
    HttpExchangeClosed,
    InspectionStopped,
    LateResponse,
    MessageSeen,
    ToolsListed,
    ToolsSeen,
    UpstreamAnswered,
    UpstreamConnected,
    UpstreamFailed,
)

# The cap of names that only a successful call vouches for, per server: far more tools than a model
# can choose from.
MAX_CALLED_TOOLS = 200
# The cap of names that a server ever listed: generous, because these are real. A gateway in front
# of many servers lists hundreds; a hostile server would list without end.
MAX_LISTED_TOOLS = 1000
# MCP 2025-11-25, server/tools: names should have 1 to 128 characters.
MAX_LABEL_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOptions:
    """The settings of the metrics."""

    max_tools: int = MAX_CALLED_TOOLS
    """Tool names per server that become labels because a call of them succeeded."""
    max_listed_tools: int = MAX_LISTED_TOOLS
    """Tool names per server that become labels because ``tools/list`` showed them."""
    max_label_length: int = MAX_LABEL_LENGTH
    """Characters of a label value that comes from the wire; longer ones are cut."""
    duration_buckets: tuple[float, ...] = DURATION_BUCKETS
    """Upper bounds in seconds, ascending, of the duration histograms that may be set."""
    revision: str = "unknown"
    """Source revision of the build."""
    wall_clock: Callable[[], float] = time.time
    """Unix time in seconds."""
    monotonic_clock: Callable[[], float] = time.perf_counter
    """The clock whose seconds the events carry."""

    def __post_init__(self) -> None:
        bounds = self.duration_buckets
        ascending = all(low < high for low, high in zip((0, *bounds), bounds, strict=False))
        if not bounds or not ascending or bounds[-1] == float("inf"):
            raise ValueError("duration_buckets must be positive finite seconds in ascending order")


class Companions(Collector):
    """What the client library measures about this process: memory, CPU, descriptors, collector."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the ``process_*`` and ``python_*`` families."""
        yield from self._registry.collect()


class ServerMetrics:
    """The figures of one server: the sink of its events."""

    def __init__(self, name: str, store: Store, options: MetricsOptions) -> None:
        clock = Clock(options.wall_clock, options.monotonic_clock)
        names = ToolNames(
            max_called=options.max_tools,
            max_listed=options.max_listed_tools,
            max_length=options.max_label_length,
        )
        self._tools = tools = ToolMetrics(name, store, names, clock)
        self._http = http = HttpMetrics(name, store, clock)
        calls = CallMetrics(name, store, tools, clock)
        messages = MessageMetrics(name, store)
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            CallOpened: calls.opened,
            CallClosed: calls.closed,
            LateResponse: calls.late,
            MessageSeen: messages.seen,
            InspectionStopped: messages.stopped,
            ToolsSeen: tools.seen,
            ToolsListed: tools.listed,
            HttpExchangeClosed: http.closed,
            UpstreamConnected: http.connected,
            UpstreamAnswered: http.answered,
            UpstreamFailed: http.failed,
        }

    @property
    def tool_names(self) -> ToolNames:
        """Who decides which tool names become labels."""
        return self._tools.names

    def handle(self, event: Event) -> None:
        """Count one event: the hot path.

        Raises KeyError when a call ends that is not open; nothing that peers send can cause that.
        """
        self._handlers[type(event)](event)

    def watch_connections(self, source: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Ask a source for this server's open connections at each scrape.

        The source returns counts by (side, state): ``client`` or ``upstream``, ``active`` or
        ``idle``. One source per server.
        """
        self._http.watch_connections(source)


class Metrics:
    """All figures of the process, in a registry of their own."""

    def __init__(self, options: MetricsOptions) -> None:
        self.store = Store(FAMILIES, duration_buckets=options.duration_buckets)
        self.companions = Companions()
        self.registry = CollectorRegistry()
        self.registry.register(self.store)
        self.registry.register(self.companions)
        self._options = options
        self._servers: dict[str, ServerMetrics] = {}
        self._faults = self.store.of(Values, "mcp_proxy_inspection_errors_total")
        self.store.of(Values, "mcp_proxy_label_overflow_total").child("tool")
        info = self.store.of(Values, "mcp_proxy_build_info")
        info.child(__version__, options.revision, platform.python_version()).value = 1
        self._watch("mcp_proxy_label_values", len)
        self._watch("mcp_proxy_label_values_limit", lambda names: names.limit)

    def server(self, name: str) -> ServerMetrics:
        """Return the figures of a server, with the series that must exist at 0."""
        found = self._servers.get(name)
        if found is None:
            label = clean(name, self._options.max_label_length)
            found = self._servers[name] = ServerMetrics(label, self.store, self._options)
        return found

    def inspection_failed(self, stage: str) -> None:
        """Count a fault of the inspection itself; stage is one of the program's own few words."""
        self._faults.child(stage).value += 1

    def _watch(self, family: str, figure: Callable[[ToolNames], int]) -> None:
        polled = self.store.of(Polled, family)

        def read() -> Sequence[Value]:
            servers = tuple(self._servers.values())
            total = sum(figure(server.tool_names) for server in servers)
            return (Value(polled.family, ("tool",), total),)

        polled.watch(read)
