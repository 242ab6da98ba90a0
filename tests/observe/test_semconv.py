import pytest

from mcp_proxy_exporter.observe.catalogue.buckets import SEMCONV_BUCKETS
from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions, ServerMetrics
from mcp_proxy_exporter.observe.switches import Switches
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import Figures, list_tools, scrape

SERVER, CLIENT = (f"mcp_{side}_operation_duration_seconds" for side in ("server", "client"))


def make() -> tuple[Metrics, ServerMetrics]:
    metrics = Metrics(MetricsOptions(max_prompts=2, switches=Switches(semconv=True)))
    return metrics, metrics.server("cats")


def close(  # what an end can say
    server: ServerMetrics,
    outcome: Outcome,
    *,
    code: int | None = None,
    method: str = "tools/call",
    name: str | None = "nap",
    waited: float = 0.0,
) -> None:
    call = Call(method, name, 10.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, outcome, 11.5, error_code=code, waited=waited))


def labels_of(figures: Figures, family: str) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            found["mcp_method_name"],
            found["gen_ai_tool_name"],
            found["gen_ai_prompt_name"],
            found["error_type"],
            found["rpc_response_status_code"],
        )
        for found in figures.series(f"{family}_count")
    ]


@pytest.mark.parametrize(
    ("outcome", "code", "served", "sent", "status"),
    [
        (Outcome.SUCCESS, None, "", "", ""),
        (Outcome.INPUT_REQUIRED, None, "", "", ""),
        (Outcome.INPUT_REQUIRED, -32042, "-32042", "-32042", "-32042"),
        (Outcome.TASK_CREATED, None, "", "", ""),
        (Outcome.TOOL_ERROR, None, "tool_error", "tool_error", ""),
        (Outcome.PROTOCOL_ERROR, -32700, "", "-32700", "-32700"),
        (Outcome.PROTOCOL_ERROR, -32600, "", "-32600", "-32600"),
        (Outcome.PROTOCOL_ERROR, -32601, "", "-32601", "-32601"),
        (Outcome.PROTOCOL_ERROR, -32602, "", "-32602", "-32602"),
        (Outcome.PROTOCOL_ERROR, -32002, "", "-32002", "-32002"),
        (Outcome.PROTOCOL_ERROR, -32603, "-32603", "-32603", "-32603"),
        (Outcome.PROTOCOL_ERROR, -32020, "-32020", "-32020", "-32020"),
        (Outcome.PROTOCOL_ERROR, 4711, "_OTHER", "_OTHER", "_OTHER"),
        (Outcome.PROTOCOL_ERROR, None, "_OTHER", "_OTHER", "_OTHER"),
        (Outcome.CANCELLED, None, "cancelled", "cancelled", ""),
        (Outcome.CANCELLED, 0, "0", "0", "0"),
        (Outcome.UPSTREAM_TIMEOUT, None, "timeout", "timeout", ""),
        (Outcome.UPSTREAM_CLOSED, None, "upstream_closed", "upstream_closed", ""),
        (Outcome.HTTP_ERROR, None, "http_error", "http_error", ""),
    ],
)
def test_errors_are_those_of_the_conventions(
    outcome: Outcome, code: int | None, served: str, sent: str, status: str
) -> None:
    metrics, server = make()
    list_tools(server, "nap")
    close(server, outcome, code=code)
    figures = scrape(metrics)
    assert labels_of(figures, SERVER) == [("tools/call", "nap", "", served, status)]
    assert labels_of(figures, CLIENT) == [("tools/call", "nap", "", sent, status)]


def test_what_never_reached_the_upstream_is_no_operation_of_the_client() -> None:
    metrics, server = make()
    list_tools(server, "nap")
    close(server, Outcome.REJECTED)
    figures = scrape(metrics)
    assert labels_of(figures, SERVER) == [("tools/call", "nap", "", "rejected", "")]
    assert labels_of(figures, CLIENT) == []


def test_what_cannot_be_judged_or_lasts_for_hours_is_not_timed() -> None:
    metrics, server = make()
    close(server, Outcome.UNINSPECTED)
    close(server, Outcome.SUCCESS, method="subscriptions/listen", name=None)
    figures = scrape(metrics)
    assert labels_of(figures, SERVER) == labels_of(figures, CLIENT) == []


def test_an_operation_lasts_until_its_end_whoever_is_waited_for() -> None:
    metrics, server = make()
    close(server, Outcome.SUCCESS, method="ping", name=None, waited=1.0)
    figures = scrape(metrics)
    for family in (SERVER, CLIENT):
        assert figures.total(f"{family}_sum") == 1.5
        bounds = {*map(str, map(float, SEMCONV_BUCKETS)), "+Inf"}
        assert figures.values(f"{family}_bucket", "le") == bounds
        assert figures.values(f"{family}_bucket", "server") == {"cats"}


def test_names_are_labels_where_they_belong_and_are_admitted() -> None:
    metrics, server = make()
    list_tools(server, "nap")
    close(server, Outcome.TOOL_ERROR, name="invented")
    close(server, Outcome.SUCCESS, name=None)
    close(server, Outcome.SUCCESS, method="debug/trace", name="nap")
    assert labels_of(scrape(metrics), SERVER) == [
        ("tools/call", "_OTHER", "", "tool_error", ""),
        ("tools/call", "", "", "", ""),
        ("_OTHER", "", "", "", ""),
    ]


def test_a_success_that_admits_its_tool_is_counted_under_it() -> None:
    metrics, server = make()
    close(server, Outcome.SUCCESS, name="early")
    assert labels_of(scrape(metrics), SERVER) == [("tools/call", "early", "", "", "")]


def test_only_a_success_admits_a_prompt_up_to_the_cap() -> None:
    metrics, server = make()

    def get(name: str | None, outcome: Outcome = Outcome.SUCCESS) -> None:
        close(server, outcome, method="prompts/get", name=name)

    get("invented", Outcome.HTTP_ERROR)
    for name in ("greet", "part", "beyond", None):
        get(name)
    get("greet", Outcome.HTTP_ERROR)
    figures = scrape(metrics)
    assert labels_of(figures, SERVER) == [
        ("prompts/get", "", "_OTHER", "http_error", ""),
        ("prompts/get", "", "greet", "", ""),
        ("prompts/get", "", "part", "", ""),
        ("prompts/get", "", "_OTHER", "", ""),
        ("prompts/get", "", "", "", ""),
        ("prompts/get", "", "greet", "http_error", ""),
    ]
    assert figures("mcp_proxy_label_overflow_total", server="cats", label="prompt") == 2
    assert figures("mcp_proxy_label_values", server="cats", label="prompt") == 2
    assert figures("mcp_proxy_label_values_limit", server="cats", label="prompt") == 2


def test_one_side_may_be_enough() -> None:
    metrics = Metrics(MetricsOptions(switches=Switches(enable=(CLIENT,))))
    close(metrics.server("cats"), Outcome.SUCCESS)
    figures = scrape(metrics)
    assert len(labels_of(figures, CLIENT)) == 1
    assert SERVER not in figures.families


def test_by_default_ends_of_calls_go_nowhere_else() -> None:
    server = Metrics(MetricsOptions()).server("cats")
    assert server._handlers[CallClosed].__qualname__ == "CallMetrics.closed"
