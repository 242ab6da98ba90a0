"""What is counted per JSON-RPC request of one server, whatever its method.

Knows which requests are open; does not know what makes a tool's name a label (`tools`), nor a
client's (`clients`).
"""

from collections.abc import Iterator

from mcp_proxy_exporter.observe.clients import ClientMetrics
from mcp_proxy_exporter.observe.clock import Clock
from mcp_proxy_exporter.observe.series import Histogram, Histograms, Polled, Store, Value, Values
from mcp_proxy_exporter.observe.tools import ToolMetrics, ToolSeries
from mcp_proxy_exporter.observe.words import (
    JSONRPC_CODES,
    LONG_LIVED_METHODS,
    OTHER,
    REQUEST_METHODS,
    TOOL_CALL,
)
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, LateResponse
from mcp_proxy_exporter.protocol.outcome import Outcome


class MethodSeries:
    """The series of one method, found by one lookup per call."""

    __slots__ = ("duration", "first_message", "in_flight", "is_tool_call", "label", "outcomes")

    def __init__(
        self, label: str, in_flight: Value, duration: Histogram | None, first_message: Histogram
    ) -> None:
        self.label = label
        self.in_flight = in_flight
        self.duration = duration
        """None for a method that is open for hours by design."""
        self.first_message = first_message
        self.is_tool_call = label == TOOL_CALL
        self.outcomes: dict[Outcome, Value] = {}


class CallMetrics:
    """Counts the JSON-RPC requests of one server."""

    def __init__(
        self,
        server: str,
        store: Store,
        tools: ToolMetrics,
        clients: ClientMetrics,
        clock: Clock,
    ) -> None:
        self._server = server
        self._tools = tools
        self._clients = clients
        self._known_clients = clients.known
        self._clock = clock
        self._requests = store.of(Values, "mcp_requests_total")
        self._durations = store.of(Histograms, "mcp_request_duration_seconds")
        self._in_flight = store.of(Values, "mcp_requests_in_flight")
        self._errors = store.of(Values, "mcp_jsonrpc_errors_total")
        self._first_messages = store.of(Histograms, "mcp_time_to_first_message_seconds")
        self._late = store.of(Values, "mcp_late_responses_total")
        oldest = store.of(Polled, "mcp_oldest_request_start_timestamp_seconds")
        self._oldest = Value(oldest.family, (server,))
        oldest.watch(self._find_oldest)
        self._methods: dict[str, MethodSeries] = {}
        self._open: dict[Call, tuple[MethodSeries, ToolSeries | None]] = {}  # oldest first

    def opened(self, event: CallOpened) -> None:
        """Count a request that begins."""
        call = event.call
        sent = self._known_clients.get(call.client)
        if sent is None:
            sent = self._clients.find(call.client)
        sent.value += 1
        method = self._methods.get(call.method)
        if method is None:
            method = self._find(call.method)
        method.in_flight.value += 1
        tool = self._tools.opened(call.name) if method.is_tool_call else None
        self._open[call] = (method, tool)

    def closed(self, event: CallClosed) -> None:
        """Count a request that ended.

        Raises KeyError for a call that is not open: a fault of whoever reports, which would make
        every figure here wrong.
        """
        call = event.call
        method, tool = self._open.pop(call)
        method.in_flight.value -= 1
        outcome = event.outcome
        requests = method.outcomes.get(outcome)
        if requests is None:
            requests = self._outcome(method, outcome)
        requests.value += 1
        duration = event.at - call.opened_at
        if event.waited:
            # Not below 0 by rounding: parsers refuse a histogram with a negative sum.
            duration = max(0.0, duration - event.waited)
        if method.duration is not None:
            if call.trace_id is None:
                method.duration.observe(duration)
            else:
                at = event.at + self._clock.offset
                method.duration.observe_traced(duration, call.trace_id, at)
        if event.first_message_at is not None:
            method.first_message.observe(event.first_message_at - call.opened_at)
        if event.error_code is not None or outcome is Outcome.PROTOCOL_ERROR:
            self._count_error(method, event.error_code)
        if tool is not None:
            self._tools.closed(tool, event, duration)

    def late(self, event: LateResponse) -> None:
        """Count a response that nobody waits for any more."""
        label = event.method if event.method in REQUEST_METHODS else OTHER
        self._late.child(self._server, label).value += 1

    def _find(self, name: str) -> MethodSeries:
        label = name if name in REQUEST_METHODS else OTHER
        return self._methods.get(label) or self._make(label)

    def _make(self, label: str) -> MethodSeries:
        labels = (self._server, label)
        method = self._methods[label] = MethodSeries(
            label,
            self._in_flight.child(*labels),
            None if label in LONG_LIVED_METHODS else self._durations.child(*labels),
            self._first_messages.child(*labels),
        )
        self._outcome(method, Outcome.SUCCESS)
        return method

    def _outcome(self, method: MethodSeries, outcome: Outcome) -> Value:
        requests = self._requests.child(self._server, method.label, outcome.value)
        method.outcomes[outcome] = requests
        return requests

    def _count_error(self, method: MethodSeries, code: int | None) -> None:
        label = OTHER if code is None else JSONRPC_CODES.get(code, OTHER)
        self._errors.child(self._server, method.label, label).value += 1

    def _find_oldest(self) -> Iterator[Value]:
        self._clock.refresh()
        # A copy: calls open and close while another thread writes a scrape.
        pending = self._open.copy().items()
        starts = (call.opened_at for call, (method, _) in pending if method.duration is not None)
        start = next(starts, None)
        self._oldest.value = 0 if start is None else start + self._clock.offset
        yield self._oldest
