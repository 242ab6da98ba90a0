"""What is counted per HTTP exchange of one server, and what traffic says about its upstream.

Knows HTTP methods, statuses, connections and failures; does not know JSON-RPC.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from mcp_proxy_exporter.observe.clock import Clock
from mcp_proxy_exporter.observe.series import Histogram, Histograms, Polled, Store, Value, Values
from mcp_proxy_exporter.observe.words import (
    HTTP_METHODS,
    HTTP_STATUSES,
    LIMITS,
    OTHER,
    UPSTREAM_FAILURES,
)
from mcp_proxy_exporter.protocol.events import (
    HttpExchangeClosed,
    LimitHit,
    UpstreamAnswered,
    UpstreamConnected,
    UpstreamFailed,
)


class HttpMethodSeries:
    """The series of one HTTP method, found by one lookup per exchange."""

    __slots__ = ("codes", "duration", "label")

    def __init__(self, label: str, duration: Histogram) -> None:
        self.label = label
        self.duration = duration
        self.codes: dict[int, Value] = {}


class HttpMetrics:
    """Counts the HTTP exchanges of one server and judges its upstream by them."""

    def __init__(self, server: str, store: Store, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._requests = store.of(Values, "mcp_http_requests_total")
        self._durations = store.of(Histograms, "mcp_http_request_duration_seconds")
        self._connections = store.of(Polled, "mcp_http_connections")
        self._ups = store.of(Values, "mcp_upstream_up")
        self._last_success = store.of(Values, "mcp_upstream_last_success_timestamp_seconds").child(
            server
        )
        self._failures = store.of(Values, "mcp_upstream_failures_total")
        for reason in UPSTREAM_FAILURES:
            self._failures.child(server, reason)
        hits = store.of(Values, "mcp_proxy_limit_hits_total")
        self._limits = {limit: hits.child(server, limit) for limit in LIMITS}
        self._connects = store.of(Histograms, "mcp_upstream_connect_duration_seconds").child(server)
        overheads = store.of(Histograms, "mcp_proxy_overhead_seconds")
        self._request_overhead = overheads.child(server, "request")
        self._response_overhead = overheads.child(server, "response")
        self._methods: dict[str, HttpMethodSeries] = {}
        self._up: Value | None = None

    def closed(self, event: HttpExchangeClosed) -> None:
        """Count an exchange that is over."""
        method = self._methods.get(event.method)
        if method is None:
            method = self._find(event.method)
        requests = method.codes.get(event.status)
        if requests is None:
            requests = self._code(method, event.status)
        requests.value += 1
        if not event.long_lived:
            durations = method.duration
            durations.counts[bisect_left(durations.bounds, event.duration)] += 1
            durations.sum += event.duration
        # Histogram.observe, written out: these are the most frequent ones.
        overheads = self._request_overhead
        overheads.counts[bisect_left(overheads.bounds, event.request_overhead)] += 1
        overheads.sum += event.request_overhead
        overheads = self._response_overhead
        overheads.counts[bisect_left(overheads.bounds, event.response_overhead)] += 1
        overheads.sum += event.response_overhead

    def connected(self, event: UpstreamConnected) -> None:
        """Count a connection that was opened. Whether anybody answers on it is still open."""
        self._connects.observe(event.duration)

    def answered(self, _event: UpstreamAnswered) -> None:
        """Take note that the upstream answers."""
        up = self._up
        if up is None:
            up = self._up = self._ups.child(self._server)
        up.value = 1
        self._last_success.value = self._clock.now()

    def failed(self, event: UpstreamFailed) -> None:
        """Count a failure, and take the upstream for down where the reason says so."""
        reason = event.reason if event.reason in UPSTREAM_FAILURES else OTHER
        self._failures.child(self._server, reason).value += 1
        if UPSTREAM_FAILURES.get(reason, False):
            self._up = self._ups.child(self._server)
            self._up.value = 0

    def limited(self, event: LimitHit) -> None:
        """Count what a limit refused or ended."""
        self._limits[event.limit].value += 1

    def watch_connections(self, source: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Ask a source for its open connections at each scrape, by (side, state)."""

        def read() -> Iterator[Value]:
            for (side, state), count in source().items():
                yield Value(self._connections.family, (self._server, side, state), count)

        self._connections.watch(read)

    def _find(self, name: str) -> HttpMethodSeries:
        label = name if name in HTTP_METHODS else OTHER
        found = self._methods.get(label)
        if found is None:
            duration = self._durations.child(self._server, label)
            found = self._methods[label] = HttpMethodSeries(label, duration)
        return found

    def _code(self, method: HttpMethodSeries, status: int) -> Value:
        code = HTTP_STATUSES.get(status)
        requests = self._requests.child(self._server, method.label, code or OTHER)
        if code is not None:
            method.codes[status] = requests
        return requests
