"""One server's inspection and figures without a network: bytes go in, the ledger says what is true.

Knows how an HTTP exchange passes, whole or in pieces, and when time is looked at; does not know
what clients and servers say (`lives`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mcp_proxy_exporter.observe.exposition import TEXT
from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions
from mcp_proxy_exporter.protocol import Abort, Event, HttpExchangeClosed, Inspector, Limits
from mcp_proxy_exporter.protocol.inspector import AnyInspector
from tests.soak.extent import measure
from tests.support.account import IDLE, Account, Table
from tests.support.inspection import EVENTS
from tests.support.ledger import OTHER
from tests.support.scrape import Scrape

NAME: Final = "soak"
INVENTED: Final = "invented"
"""How names begin that no server lists. Some are labels, most are not: they are counted as one."""
SWEEP_SECONDS: Final = 1.0
"""How often the proxy looks for what is overdue."""
MEASURE_SECONDS: Final = 60.0
FAR: Final = 1e6
"""Seconds after which nothing is waited for any more."""

# What the ledger is compared with, by which labels.
_COMPARED: Final[Mapping[str, tuple[str, ...]]] = {
    "mcp_tool_calls_total": ("tool", "outcome"),
    "mcp_tasks_total": ("tool", "outcome"),
    "mcp_sessions_opened_total": (),
    "mcp_sessions_closed_total": ("reason",),
    "mcp_late_responses_total": ("method",),
    "mcp_era_fallbacks_total": (),
    "mcp_input_requests_total": ("method", "delivery"),
    "mcp_input_request_duration_seconds_count": ("method",),
}


class Passage:
    """One HTTP exchange in the making."""

    __slots__ = ("_method", "_pieces", "_status", "_tap", "_world")

    def __init__(
        self, world: "World", tap: AnyInspector | None, method: str, *, pieces: bool
    ) -> None:
        self._world = world
        self._tap = tap
        self._method = method
        self._pieces = pieces
        self._status = 0

    def ask(self, body: bytes) -> None:
        """Pass the request's body and its end."""
        if self._tap is None:
            return
        if self._pieces:
            self.ask_partly(body)
            self._world.tell(self._tap.request_end(self._world.now))
        else:
            self._world.tell(self._tap.request(body, self._world.now))

    def ask_partly(self, body: bytes) -> None:
        """Pass the request's body in two pieces, and no end."""
        if self._tap is None:
            return
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            self._world.tell(self._tap.request_data(piece, self._world.now))

    def answer(self, status: int, fields: Mapping[bytes, bytes], body: bytes = b"") -> None:
        """Pass the whole response."""
        if self._tap is None or self._pieces or not body:
            self.begin(status, fields)
            self.say(body[: len(body) // 2], body[len(body) // 2 :])
            self.end()
            return
        self._status = status
        self._world.tell(self._tap.response(status, fields, body, self._world.now))
        self._close()

    def stream(self, *events: bytes, fields: Mapping[bytes, bytes] = EVENTS) -> None:
        """Begin an event stream."""
        self.begin(200, fields)
        self.say(*events)

    def begin(self, status: int, fields: Mapping[bytes, bytes]) -> None:
        """Pass the response's head."""
        self._status = status
        if self._tap is not None:
            self._world.tell(self._tap.response_head(status, fields, self._world.now))

    def say(self, *pieces: bytes) -> None:
        """Pass bytes of the response."""
        for piece in pieces:
            if self._tap is not None and piece:
                self._world.tell(self._tap.response_data(piece, self._world.now))

    def end(self) -> None:
        """Pass the end of the response."""
        if self._tap is not None:
            self._world.tell(self._tap.response_end(self._world.now))
        self._close()

    def abort(self, cause: Abort) -> None:
        """Break the exchange."""
        if self._tap is not None:
            self._world.tell(self._tap.aborted(cause, self._world.now))
        self._close()

    def _close(self) -> None:
        self._world.tell(
            (HttpExchangeClosed(self._method, self._status, 0.01, False, 0.0001, 0.0001),)  # noqa: FBT003
        )


class Time:
    """What a clock shows: apart from the world, so that the figures do not refer to that."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """What the product knows of one server, and what is true."""

    def __init__(self) -> None:
        self._time = Time()
        self.inspector = Inspector(Limits(), _want)
        self.metrics = Metrics(MetricsOptions(wall_clock=self._time, monotonic_clock=self._time))
        self.account = Account()
        self.exchanges = 0
        self.busiest: Counter[str] = Counter()
        """The largest extents of the inspection that were seen."""
        self._handle = self.metrics.server(NAME).handle
        self._swept = self._measured = 0.0

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self._time.now

    def begin(
        self, method: str, target: bytes, fields: Mapping[bytes, bytes], body: bytes | None = b""
    ) -> Passage:
        """Begin an exchange; every other one comes in pieces. None leaves its request open."""
        self.exchanges += 1
        tap = self.inspector.open(method.encode(), target, fields)
        passage = Passage(self, tap, method, pieces=self.exchanges % 2 == 0)
        if body is not None:
            passage.ask(body)
        return passage

    def tell(self, events: Iterable[Event]) -> None:
        """Count what the inspection says."""
        for event in events:
            self._handle(event)

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self._time.now += seconds
        if self.now - self._swept >= SWEEP_SECONDS:
            self._swept = self.now
            self.tell(self.inspector.sweep(self.now))
        if self.now - self._measured >= MEASURE_SECONDS:
            self._measured = self.now
            self.busiest |= measure(self.inspector)

    def settle(self) -> None:
        """Let the time pass after which nothing is remembered."""
        self.go_on(FAR)
        self.go_on(FAR)

    def compare(self) -> dict[str, tuple[object, object]]:
        """Give what the figures say, and what the ledger, where they differ."""
        scrape = Scrape.from_text(TEXT.render(self.metrics))
        said: dict[str, object] = {
            name: _merge(scrape.table(name, by)) for name, by in _COMPARED.items()
        }
        figures = self.account.figures()
        true: dict[str, object] = {name: figures[name] for name in _COMPARED}
        said |= {name: scrape.total(name) for name in IDLE}
        true |= dict.fromkeys(IDLE, 0)
        return {name: (said[name], true[name]) for name in true if said[name] != true[name]}


def _want(_tool: str | None) -> bool:
    """Have the texts of every call kept, though no rule reads them."""
    return True


def _merge(table: Table) -> Table:
    """Count what is invented as one."""
    merged: Counter[tuple[str, ...]] = Counter()
    for labels, count in table.items():
        merged[_rename(labels)] += count
    return dict(merged)


def _rename(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(OTHER if label.startswith(INVENTED) else label for label in labels)
