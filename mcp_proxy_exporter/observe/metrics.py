"""The figures of the whole process: what exists, and which event goes where.

Knows the parts that count and the settings they need; does not know how a scrape is written
(`exposition`) or who asks for it.
"""

import platform
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
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
from mcp_proxy_exporter.config import MetricsSettings
from mcp_proxy_exporter.config.custom import CustomMetricSettings, SoftErrorSettings
from mcp_proxy_exporter.config.section import KeyPath
from mcp_proxy_exporter.observe.calls import CallMetrics
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.clients import ClientMetrics
from mcp_proxy_exporter.observe.clock import Clock
from mcp_proxy_exporter.observe.custom import make_families
from mcp_proxy_exporter.observe.family import Family
from mcp_proxy_exporter.observe.guards import LabelGuards
from mcp_proxy_exporter.observe.http import HttpMetrics
from mcp_proxy_exporter.observe.inputs import InputMetrics
from mcp_proxy_exporter.observe.inventory import DescriptionMetrics, InventoryMetrics
from mcp_proxy_exporter.observe.labels import ClientNames, Names, PromptNames, ToolNames, clean
from mcp_proxy_exporter.observe.messages import MessageMetrics
from mcp_proxy_exporter.observe.rules import CallRules
from mcp_proxy_exporter.observe.semconv import CLIENT_SIDE, SERVER_SIDE, SemconvMetrics
from mcp_proxy_exporter.observe.series import Store, Values
from mcp_proxy_exporter.observe.sessions import SessionMetrics, StreamMetrics
from mcp_proxy_exporter.observe.switches import (
    Choices,
    Switches,
    arrange,
    find_faults,
    find_hidden,
    find_hidden_companions,
)
from mcp_proxy_exporter.observe.tasks import TaskMetrics
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.observe.words import CUSTOM_LABEL
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
    LimitHit,
    MessageSeen,
    ServerDescribed,
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

# MCP 2025-11-25, server/tools: names should have 1 to 128 characters.
MAX_LABEL_LENGTH = 128

# With the reason of each.
_DEFAULTS = MetricsSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsOptions:
    """The settings of the metrics."""

    max_tools: int = _DEFAULTS.max_tools
    """Tool names per server that become labels because a call of them succeeded."""
    max_listed_tools: int = _DEFAULTS.max_listed_tools
    """Tool names per server that become labels because ``tools/list`` showed them."""
    max_clients: int = _DEFAULTS.max_clients
    """Client names per server that become labels: those that come first."""
    max_prompts: int = _DEFAULTS.max_prompts
    """Prompt names per server that become labels because a request of them succeeded."""
    max_label_length: int = MAX_LABEL_LENGTH
    """Characters of a label value that comes from the wire; longer ones are cut."""
    switches: Choices = field(default_factory=Switches)
    """Which families there are, with which buckets and labels."""
    bytes_per_token: float = _DEFAULTS.bytes_per_token
    """How many bytes of a definition are taken for one token of a model's context."""
    custom: tuple[CustomMetricSettings, ...] = ()
    """Metrics that the operator makes of what calls say."""
    soft_errors: tuple[SoftErrorSettings, ...] = ()
    """Rules by which the operator tells failures that call themselves success."""
    revision: str = "unknown"
    """Source revision of the build."""
    tell_unknown: Callable[[str, str], object] | None = None
    """Takes the server and the name, as it came, of each call of a tool that is in no list."""
    wall_clock: Callable[[], float] = time.time
    """Unix time in seconds."""
    monotonic_clock: Callable[[], float] = time.perf_counter
    """The clock whose seconds the events carry."""

    def __post_init__(self) -> None:
        if not 0 < self.bytes_per_token < float("inf"):
            raise ValueError("bytes_per_token must be a positive finite number")


class Companions(Collector):
    """What the client library measures about this process: memory, CPU, descriptors, collector."""

    def __init__(self, hidden: Collection[str] = ()) -> None:
        """Hide some families, by their names in a query."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._registry = registry
        self._hidden = hidden

    def collect(self) -> Iterator[Metric]:
        """Yield the ``process_*`` and ``python_*`` families that are shown."""
        for metric in self._registry.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            if name not in self._hidden:
                yield metric


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
        prompt_names = PromptNames(
            max_names=options.max_prompts, max_length=options.max_label_length
        )
        self.names: Mapping[str, Names] = {
            "tool": tool_names,
            "client": client_names,
            "prompt": prompt_names,
        }
        """Who decides which names become values of a label, by the label."""
        self._http = http = HttpMetrics(name, store, clock)
        tell = options.tell_unknown
        told = None if tell is None else partial(tell, name)
        tools = ToolMetrics(name, store, tool_names, clock, told)
        inventory = InventoryMetrics(
            name, store, tools, clock, bytes_per_token=options.bytes_per_token
        )
        description = DescriptionMetrics(name, store, max_length=options.max_label_length)
        clients = ClientMetrics(name, store, client_names)
        calls = CallMetrics(name, store, tools, clients, clock)
        inputs = InputMetrics(name, store)
        tasks = TaskMetrics(name, store, tools)
        sessions = SessionMetrics(name, store)
        streams = StreamMetrics(name, store)
        messages = MessageMetrics(name, store)
        closed: Callable[[CallClosed], None] = calls.closed
        if store.shows(SERVER_SIDE) or store.shows(CLIENT_SIDE):
            semconv = SemconvMetrics(name, store, tools, prompt_names)
            # In this order: the call's end may admit its tool's name.
            closed = _both(closed, semconv.closed)
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            CallOpened: calls.opened,
            LateResponse: calls.late,
            MessageSeen: messages.seen,
            InspectionStopped: messages.stopped,
            ToolsSeen: tools.seen,
            ToolsListed: inventory.listed,
            ToolsChanged: tools.changed,
            ServerDescribed: description.described,
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
            LimitHit: http.limited,
        }
        self.rules = rules = CallRules(name, store, tools, options.custom, options.soft_errors)
        """What the operator says about calls."""
        self.wants: Callable[[str | None], bool] | None = rules.wants if rules else None
        """Of which tools the texts of calls are needed, see `inspector.Inspector`; None: of none.
        """
        self.names = {**self.names, CUSTOM_LABEL: rules.label_sets}
        self._closed = closed
        self._settle()

    def handle(self, event: Event) -> None:
        """Count one event: the hot path.

        Raises KeyError when a call ends that is not open; nothing that peers send can cause that.
        """
        self._handlers[type(event)](event)

    def watch_ends(self, watcher: Callable[[CallClosed], None]) -> None:
        """Tell somebody else, too, of each call's end, with the outcome that is counted."""
        self._closed = _both(self._closed, watcher)
        self._settle()

    def watch_connections(self, source: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Ask a source for this server's open connections at each scrape.

        The source returns counts by (side, state): ``client`` or ``upstream``, ``active`` or
        ``idle``. One source per server.
        """
        self._http.watch_connections(source)

    def _settle(self) -> None:
        # The rules first: whatever else sees the end of a call must see it as they judge it.
        rules, closed = self.rules, self._closed
        self._handlers[CallClosed] = rules.precede(closed) if rules else closed


class Metrics:
    """All figures of the process, in a registry of their own."""

    def __init__(self, options: MetricsOptions) -> None:
        """Raise ValueError for switches that make no sense."""
        families, switches = _list_families(options.custom), options.switches
        self.store = Store(arrange(switches, families), hidden=find_hidden(switches, families))
        self.companions = Companions(find_hidden_companions(switches))
        self.registry = CollectorRegistry()
        self.registry.register(self.store)
        self.registry.register(self.companions)
        self._options = options
        self._servers: dict[str, ServerMetrics] = {}
        self._faults = self.store.of(Values, "mcp_proxy_inspection_errors_total")
        self.guards = LabelGuards(self.store)
        """Where whoever admits names from the wire says so."""
        self._insecure = self.store.of(Values, "mcp_proxy_insecure_upstream")
        prefix = "mcp_proxy_config_last_reload_success"
        self._reload_successful = self.store.of(Values, f"{prefix}ful").child()
        self._reloaded_at = self.store.of(Values, f"{prefix}_timestamp_seconds").child()
        self.reloaded(successful=True)  # whoever makes metrics has a configuration
        info = self.store.of(Values, "mcp_proxy_build_info")
        info.child(__version__, options.revision, platform.python_version()).value = 1

    def server(self, name: str) -> ServerMetrics:
        """Return the figures of a server, with the series that must exist at 0."""
        found = self._servers.get(name)
        if found is None:
            label = clean(name, self._options.max_label_length)
            found = self._servers[name] = ServerMetrics(label, self.store, self._options)
            self._insecure.child(label)
            for guarded, names in found.names.items():
                self.guards.watch(label, guarded, names)
        return found

    def reloaded(self, *, successful: bool) -> None:
        """Take note that a configuration was read, and whether it is in effect."""
        self._reload_successful.value = successful
        if successful:
            self._reloaded_at.value = self._options.wall_clock()

    def verifies(self, server: str, *, insecure: bool) -> None:
        """Take note of whether a server's upstream could be anybody."""
        label = clean(server, self._options.max_label_length)
        self._insecure.child(label).value = insecure

    def inspection_failed(self, stage: str) -> None:
        """Count a fault of the inspection itself; stage is one of the program's own few words."""
        self._faults.child(stage).value += 1


def review(settings: MetricsSettings) -> Iterator[tuple[KeyPath, str]]:
    """Find the settings that no metric family answers to."""
    return find_faults(settings, _list_families(settings.custom))


def _list_families(custom: Iterable[CustomMetricSettings]) -> tuple[Family, ...]:
    return (*FAMILIES, *make_families(custom))


def _both(
    first: Callable[[CallClosed], None], second: Callable[[CallClosed], None]
) -> Callable[[CallClosed], None]:
    def handle(event: CallClosed) -> None:
        first(event)
        second(event)

    return handle
