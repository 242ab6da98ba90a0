import platform
import random
import time
from collections import Counter
from typing import get_args

import pytest
from prometheus_client import Gauge

from mcp_proxy_exporter import __version__
from mcp_proxy_exporter.observe.bounds import limit
from mcp_proxy_exporter.observe.exposition import OPENMETRICS
from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions, ServerMetrics
from mcp_proxy_exporter.observe.words import (
    GUARDED_LABELS,
    HTTP_METHODS,
    JSONRPC_CODES,
    OTHER,
    REQUEST_METHODS,
)
from mcp_proxy_exporter.protocol.events import (
    Call,
    CallClosed,
    CallOpened,
    Client,
    Delivery,
    Direction,
    Event,
    HttpExchangeClosed,
    InputAnswered,
    InputRequested,
    MessageKind,
    MessageSeen,
    TaskClosed,
    TaskOpened,
    TaskOutcome,
)
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import (
    Figures,
    call_tool,
    from_openmetrics,
    list_tools,
    make_metrics,
    scrape,
)


def test_every_event_has_its_place() -> None:
    assert set(make_metrics().server("cats")._handlers) == set(get_args(Event))


def test_a_server_is_made_once() -> None:
    metrics = make_metrics()
    assert metrics.server("cats") is metrics.server("cats")
    assert metrics.server("cats") is not metrics.server("dogs")


def test_a_servers_name_cannot_break_a_scrape() -> None:
    metrics = make_metrics()
    metrics.server('c"a\\t\ns\ud800')
    assert scrape(metrics).values("mcp_unknown_tool_calls_total", "server") == {'c"a\\t�s�'}


def test_the_build_is_told() -> None:
    figures = scrape(Metrics(MetricsOptions(revision="abc123")))
    build = {"version": __version__, "revision": "abc123", "python": platform.python_version()}
    assert figures("mcp_proxy_build_info", **build) == 1


def test_faults_of_the_inspection_are_counted_by_stage() -> None:
    metrics = make_metrics()
    metrics.inspection_failed("response_data")
    metrics.inspection_failed("response_data")
    assert scrape(metrics)("mcp_proxy_inspection_errors_total", stage="response_data") == 2


def test_how_full_the_labels_of_each_server_are_is_told() -> None:
    metrics = make_metrics(max_tools=5, max_listed_tools=10)
    cats = metrics.server("cats")
    assert scrape(metrics)("mcp_proxy_label_values", server="cats", label="tool") == 0
    list_tools(cats, "nap", "hunt")
    call_tool(metrics.server("dogs"), "fetch")
    figures = scrape(metrics)
    # A server that is full is full, however much room the others have.
    for server, values, room in (("cats", 2, 10), ("dogs", 1, 15)):
        labels = {"server": server, "label": "tool"}
        assert figures("mcp_proxy_label_values", **labels) == values
        assert figures("mcp_proxy_label_values_limit", **labels) == room
        assert figures("mcp_proxy_label_overflow_total", **labels) == 0


@pytest.mark.parametrize("label", GUARDED_LABELS)
def test_how_full_the_labels_are_is_told_before_anything_is_refused(label: str) -> None:
    metrics = make_metrics()
    metrics.server("cats")
    figures = scrape(metrics)
    labels = {"server": "cats", "label": label}
    assert figures("mcp_proxy_label_overflow_total", **labels) == 0
    assert figures("mcp_proxy_label_values", **labels) == 0
    assert figures("mcp_proxy_label_values_limit", **labels) is not None


def test_the_registry_refuses_a_second_family_of_a_name() -> None:
    metrics = make_metrics()
    with pytest.raises(ValueError, match="Duplicated"):
        Gauge("mcp_tools", "Another one.", registry=metrics.registry)


def test_a_ledger_of_mixed_calls_equals_the_figures_exactly() -> None:
    """Random traffic, counted once by the product and once by hand."""
    chance = random.Random(20260728)  # noqa: S311  # repeatable, no secret
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap", "hunt", "purr")
    ledger = Ledger()
    pending: list[Call] = []
    for step in range(6000):
        now = step / 8
        if chance.random() < 0.5 or not pending:
            method = chance.choice((*sorted(REQUEST_METHODS), *["tools/call"] * 20, "no/such"))
            name = chance.choice(("nap", "hunt", "invented", None))
            pending.append(Call(method, name, now))
            server.handle(CallOpened(pending[-1]))
            continue
        call = pending.pop(chance.randrange(len(pending)))
        outcome = chance.choice(tuple(Outcome))
        first = now - 0.125 if chance.random() < 0.5 else None
        size = chance.randrange(1 << 20) if chance.random() < 0.5 else None
        code = chance.choice((-32602, -1)) if outcome is Outcome.PROTOCOL_ERROR else None
        event = CallClosed(call, outcome, now, first, size, code)
        server.handle(event)
        ledger.enter(event)
    ledger.check(scrape(metrics), pending)
    for call in pending:
        server.handle(CallClosed(call, Outcome.PROXY_SHUTDOWN, 1000.0))
    figures = scrape(metrics)
    assert figures.total("mcp_requests_in_flight") == 0
    assert figures.total("mcp_tool_calls_in_flight") == 0
    assert figures("mcp_oldest_request_start_timestamp_seconds", server="cats") == 0


class Ledger:
    """What happened, counted by hand."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.tools: Counter[tuple[str, str]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.first_messages: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.unknown = 0

    def enter(self, event: CallClosed) -> None:
        call = event.call
        method = self.method(call)
        self.requests[method, event.outcome.value] += 1
        if event.first_message_at is not None:
            self.first_messages[method] += 1
        if event.error_code is not None:
            self.errors[method, "-32602" if event.error_code == -32602 else OTHER] += 1
        if method == "tools/call":
            tool = self.tool(call)
            self.tools[tool, event.outcome.value] += 1
            self.seconds[tool] += int((event.at - call.opened_at) * 8)
            self.unknown += call.name == "invented"
            if event.result_size is not None and event.outcome in {"success", "tool_error"}:
                self.sizes[tool] += event.result_size

    @staticmethod
    def method(call: Call) -> str:
        return call.method if call.method in REQUEST_METHODS else OTHER

    @staticmethod
    def tool(call: Call) -> str:
        return call.name if call.name in {"nap", "hunt"} else OTHER

    def check(self, figures: Figures, pending: list[Call]) -> None:
        def counted(name: str, *labels: str) -> Counter[tuple[str, ...]]:
            found: Counter[tuple[str, ...]] = Counter()
            for series in figures.series(name):
                found[tuple(series[label] for label in labels)] += int(figures(name, **series) or 0)
            return +found

        assert counted("mcp_requests_total", "method", "outcome") == self.requests
        assert counted("mcp_tool_calls_total", "tool", "outcome") == self.tools
        assert counted("mcp_tool_call_duration_seconds_count", "tool", "outcome") == self.tools
        assert counted("mcp_jsonrpc_errors_total", "method", "code") == self.errors
        assert counted("mcp_tool_result_size_bytes_sum", "tool") == keyed(self.sizes)
        assert counted("mcp_time_to_first_message_seconds_count", "method") == keyed(
            self.first_messages
        )
        for tool in ("nap", "hunt", OTHER):
            seconds = figures.total("mcp_tool_call_duration_seconds_sum", tool=tool)
            assert seconds * 8 == self.seconds[tool]
        timed = Counter({key: n for key, n in self.requests.items() if "listen" not in key[0]})
        assert figures.total("mcp_request_duration_seconds_count") == timed.total()
        assert figures("mcp_unknown_tool_calls_total", server="cats") == self.unknown
        open_methods = Counter(map(self.method, pending))
        open_tools = Counter(self.tool(c) for c in pending if c.method == "tools/call")
        assert counted("mcp_requests_in_flight", "method") == keyed(open_methods)
        assert counted("mcp_tool_calls_in_flight", "tool") == keyed(open_tools)


def keyed(counts: Counter[str]) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    found.update({(key,): count for key, count in counts.items()})
    return +found


def test_a_hundred_thousand_invented_names_stay_below_the_stated_bound() -> None:
    metrics = make_metrics(
        max_tools=50, max_listed_tools=20, max_clients=10, max_prompts=15, semconv=True
    )
    server = metrics.server("cats")
    invent_calls(server, 100_000)
    started = time.perf_counter()
    written = OPENMETRICS.render(metrics)
    took = time.perf_counter() - started
    own = [line for line in written.splitlines() if line.startswith(b"mcp_")]
    bound = limit(servers=1, tools=50 + 20 + 1, clients=10 + 2, prompts=15 + 1)
    print(f"{len(own)} lines of at most {bound}, written in {took * 1000:.0f} ms")  # noqa: T201
    assert len(own) <= bound
    sizes = {"S": 1, "T": 71, "K": 12, "Q": 16}
    for held in metrics.store:
        assert len(held.series()) <= held.family.limit(sizes), held.family.name
    figures = from_openmetrics(written)
    assert len(figures.values("mcp_tool_calls_total", "tool")) == 51
    assert len(figures.values("mcp_client_requests_total", "client")) == 11
    prompts = figures.values("mcp_server_operation_duration_seconds_count", "gen_ai_prompt_name")
    assert len(prompts) == 15 + len(("", "_OTHER"))
    for label, limited in (("tool", 50), ("client", 10), ("prompt", 15)):
        assert len(server.names[label]) == limited
        assert figures("mcp_proxy_label_values", server="cats", label=label) == limited
        assert (figures("mcp_proxy_label_overflow_total", server="cats", label=label) or 0) > 1000
    # Real tools have their series all the same.
    list_tools(server, *(f"real-{number}" for number in range(20)))
    for number in range(20):
        call_tool(server, f"real-{number}")
    figures = scrape(metrics)
    for number in range(20):
        tool = {"server": "cats", "tool": f"real-{number}", "outcome": "success"}
        assert figures("mcp_tool_calls_total", **tool) == 1


def invent_calls(server: ServerMetrics, count: int) -> None:
    chance = random.Random(1)  # noqa: S311  # repeatable, no secret
    outcomes, ends = tuple(Outcome), tuple(TaskOutcome)
    for number in range(count):
        method = ("tools/call", "prompts/get", f"method/{number}", "tools/call")[number % 4]
        client = Client(f"client-{chance.getrandbits(64)}", f"version-{number}")
        trace = f"{number:032x}" if number % 3 == 0 else None
        call = Call(method, f"name-{chance.getrandbits(64)}", float(number), client, trace)
        server.handle(CallOpened(call))
        outcome = chance.choice(outcomes)
        code = chance.choice((None, number, *JSONRPC_CODES))
        server.handle(CallClosed(call, outcome, number + chance.random(), None, number, code))
        if number % 4 == 0:
            server.handle(TaskOpened(call))
            server.handle(TaskClosed(call, chance.choice(ends), 1.0))
            server.handle(InputRequested(method, chance.choice(tuple(Delivery))))
            server.handle(InputAnswered(method, 1.0))
            verb = chance.choice((*sorted(HTTP_METHODS), str(number)))
            server.handle(HttpExchangeClosed(verb, chance.randrange(1000), 0.1, False, 0, 0))  # noqa: FBT003
            direction, kind = chance.choice(tuple(Direction)), MessageKind.NOTIFICATION
            server.handle(MessageSeen(direction, kind, f"notifications/{number}", 9, str(number)))
