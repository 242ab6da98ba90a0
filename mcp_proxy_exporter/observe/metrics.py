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
from mcp_proxy_exporter.observe.clients import ClientMetrics
from mcp_proxy_exporter.observe.clock import Clock
from mcp_proxy_exporter.observe.http import HttpMetrics
from mcp_proxy_exporter.observe.inputs import InputMetrics
from mcp_proxy_exporter.observe.labels import ClientNames, Names, ToolNames, clean
from mcp_proxy_exporter.observe.messages import MessageMetrics
from mcp_proxy_exporter.observe.series import Polled, Store, Value, Values
from mcp_proxy_exporter.observe.sessions import SessionMetrics, StreamMetrics
from mcp_proxy_exporter.observe.tasks import TaskMetrics
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.protocol.events import (
    CallClosed,
    CallOpened,
    EraFellBack,
    Event,
    HttpExchangeClosed,
    InputAnswered,
    InputRequested,
    InspectionStopped,
    LateResponse,
    MessageSeen,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamEvents,
    StreamOpened,
    TaskClosed,
    TaskOpened,
    ToolsChanged,
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
# The cap of client names per server: clients are programs, of which few are about; the name is free
# text that nobody vouches for.
MAX_CLIENTS = 50
# MCP 2025-11-25, server/tools: names should have 1 to 128 characters.
MAX_LABEL_LENGTH = 128

_CAPPED_LABELS = ("tool", "client")
"""The labels whose values are names from the wire that were admitted, up to a cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOptions:
    """The settings of the metrics."""

    max_tools: int = MAX_CALLED_TOOLS
    """Tool names per server that become labels because a call of them succeeded."""
    max_listed_tools: int = MAX_LISTED_TOOLS
    """Tool names per server that become labels because ``tools/list`` showed them."""
    max_clients: int = MAX_CLIENTS
    """Client names per server that become labels: those that come first."""
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
        tool_names = ToolNames(
            max_called=options.max_tools,
            max_listed=options.max_listed_tools,
            max_length=options.max_label_length,
        )
        client_names = ClientNames(
            max_names=options.max_clients, max_length=options.max_label_length
        )
        self.names: Mapping[str, Names] = {"tool": tool_names, "client": client_names}
        """Who decides which names become values of a label, by the label."""
        self._http = http = HttpMetrics(name, store, clock)
        tools = ToolMetrics(name, store, tool_names, clock)
        clients = ClientMetrics(name, store, client_names)
        calls = CallMetrics(name, store, tools, clients, clock)
        inputs = InputMetrics(name, store)
        tasks = TaskMetrics(name, store, tools)
        sessions = SessionMetrics(name, store)
        streams = StreamMetrics(name, store)
        messages = MessageMetrics(name, store)
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            CallOpened: calls.opened,
            CallClosed: calls.closed,
            LateResponse: calls.late,
            MessageSeen: messages.seen,
            InspectionStopped: messages.stopped,
            ToolsSeen: tools.seen,
            ToolsListed: tools.listed,
            ToolsChanged: tools.changed,
            TaskOpened: tasks.opened,
            TaskClosed: tasks.closed,
            SessionOpened: sessions.opened,
            SessionClosed: sessions.closed,
            StreamOpened: streams.opened,
            StreamEvents: streams.passed,
            StreamClosed: streams.closed,
            InputRequested: inputs.requested,
            InputAnswered: inputs.answered,
            EraFellBack: clients.fell_back,
            HttpExchangeClosed: http.closed,
            UpstreamConnected: http.connected,
            UpstreamAnswered: http.answered,
            UpstreamFailed: http.failed,
        }

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
        overflow = self.store.of(Values, "mcp_proxy_label_overflow_total")
        for label in _CAPPED_LABELS:
            overflow.child(label)
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

    def _watch(self, family: str, figure: Callable[[Names], int]) -> None:
        polled = self.store.of(Polled, family)

        def read() -> Sequence[Value]:
            servers = tuple(self._servers.values())
            return tuple(
                Value(
                    polled.family,
                    (label,),
                    sum(figure(server.names[label]) for server in servers),
                )
                for label in _CAPPED_LABELS
            )

        polled.watch(read)
