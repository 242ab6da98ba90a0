import pytest

from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions
from mcp_proxy_exporter.observe.words import OTHER
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, LateResponse
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import OFFSET, make_metrics, scrape

REQUESTS = "mcp_requests_total"
IN_FLIGHT = "mcp_requests_in_flight"
DURATION = "mcp_request_duration_seconds_count"
FIRST_MESSAGE = "mcp_time_to_first_message_seconds"
ERRORS = "mcp_jsonrpc_errors_total"
OLDEST = "mcp_oldest_request_start_timestamp_seconds"


def test_a_request_is_in_flight_until_it_ends_and_then_counted_once() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = Call("tools/list", None, 10.0)
    server.handle(CallOpened(call))
    figures = scrape(metrics)
    assert figures(IN_FLIGHT, server="cats", method="tools/list") == 1
    assert figures(REQUESTS, server="cats", method="tools/list", outcome="success") == 0
    server.handle(CallClosed(call, Outcome.HTTP_ERROR, 10.5))
    figures = scrape(metrics)
    assert figures(IN_FLIGHT, server="cats", method="tools/list") == 0
    assert figures(REQUESTS, server="cats", method="tools/list", outcome="http_error") == 1
    assert figures("mcp_request_duration_seconds_sum", server="cats", method="tools/list") == 0.5
    assert figures(f"{FIRST_MESSAGE}_count", server="cats", method="tools/list") == 0
    assert not list(figures.series("mcp_tool_calls_total"))


def test_a_clients_time_to_answer_a_question_is_not_the_servers() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for method, name in (("tools/call", "nap"), ("prompts/get", "greet")):
        call = Call(method, name, 10.0)
        server.handle(CallOpened(call))
        server.handle(CallClosed(call, Outcome.SUCCESS, 70.5, 10.25, 300, waited=60.0))
    figures = scrape(metrics)
    labels = {"server": "cats", "method": "prompts/get"}
    assert figures("mcp_request_duration_seconds_sum", **labels) == 0.5
    assert figures("mcp_request_duration_seconds_bucket", **labels, le="0.5") == 1
    assert figures(f"{FIRST_MESSAGE}_sum", **labels) == 0.25
    tool = {"server": "cats", "tool": "nap"}
    assert figures("mcp_tool_call_duration_seconds_sum", **tool, outcome="success") == 0.5
    assert figures("mcp_tool_last_call_timestamp_seconds", **tool) == 70.5 + OFFSET


def test_a_call_that_did_nothing_but_wait_took_no_time_and_never_less() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = Call("tools/list", None, 0.1)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, Outcome.CANCELLED, 0.3, waited=0.2 + 1e-12))
    figures = scrape(metrics)
    labels = {"server": "cats", "method": "tools/list"}
    assert figures("mcp_request_duration_seconds_sum", **labels) == 0
    assert figures("mcp_request_duration_seconds_bucket", **labels, le="0.005") == 1


def test_methods_off_the_list_share_one_label() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for method in ("no/such", "\ud800", "x" * 1000, "notifications/progress", OTHER):
        call = Call(method, None, 1.0)
        server.handle(CallOpened(call))
        server.handle(CallClosed(call, Outcome.PROTOCOL_ERROR, 2.0, 2.0, None, -32601))
        server.handle(LateResponse(method))
    figures = scrape(metrics)
    assert figures.values(REQUESTS, "method") == {OTHER}
    assert figures(REQUESTS, server="cats", method=OTHER, outcome="protocol_error") == 5
    assert figures("mcp_late_responses_total", server="cats", method=OTHER) == 5


@pytest.mark.parametrize(
    ("outcome", "code", "label"),
    [
        (Outcome.PROTOCOL_ERROR, -32602, "-32602"),
        (Outcome.PROTOCOL_ERROR, -31999, OTHER),
        (Outcome.PROTOCOL_ERROR, 10**400, OTHER),
        (Outcome.PROTOCOL_ERROR, None, OTHER),
        (Outcome.CANCELLED, -32800, "-32800"),
        (Outcome.CANCELLED, 0, "0"),
        (Outcome.INPUT_REQUIRED, -32042, "-32042"),
    ],
)
def test_every_error_answer_is_counted_by_code(
    outcome: Outcome, code: int | None, label: str
) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = Call("prompts/get", "greet", 1.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, outcome, 2.0, 2.0, None, code))
    assert scrape(metrics)(ERRORS, server="cats", method="prompts/get", code=label) == 1


def test_an_end_without_an_error_is_no_error() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = Call("ping", None, 1.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, Outcome.CANCELLED, 2.0))
    assert not list(scrape(metrics).series(ERRORS))


def test_the_first_message_is_timed_from_the_request() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = Call("tools/list", None, 10.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, Outcome.SUCCESS, 12.0, 10.5, 100))
    assert scrape(metrics)(f"{FIRST_MESSAGE}_sum", server="cats", method="tools/list") == 0.5


def test_a_subscription_is_counted_but_neither_timed_nor_called_old() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = Call("subscriptions/listen", None, 5.0)
    server.handle(CallOpened(call))
    assert scrape(metrics)(OLDEST, server="cats") == 0
    server.handle(CallClosed(call, Outcome.SUCCESS, 7205.0, 5.25))
    figures = scrape(metrics)
    method = "subscriptions/listen"
    assert figures(REQUESTS, server="cats", method=method, outcome="success") == 1
    assert figures(DURATION, server="cats", method=method) is None
    assert figures(f"{FIRST_MESSAGE}_sum", server="cats", method=method) == 0.25
    assert figures(IN_FLIGHT, server="cats", method=method) == 0


def test_the_oldest_request_is_the_one_that_waits_longest() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    assert scrape(metrics)(OLDEST, server="cats") == 0
    calls = [Call("ping", None, 1.0 + number) for number in range(3)]
    for call in (Call("subscriptions/listen", None, 0.5), *calls):
        server.handle(CallOpened(call))
    assert scrape(metrics)(OLDEST, server="cats") == 1.0 + OFFSET
    server.handle(CallClosed(calls[1], Outcome.SUCCESS, 5.0))
    assert scrape(metrics)(OLDEST, server="cats") == 1.0 + OFFSET
    server.handle(CallClosed(calls[0], Outcome.SUCCESS, 5.0))
    assert scrape(metrics)(OLDEST, server="cats") == 3.0 + OFFSET
    server.handle(CallClosed(calls[2], Outcome.SUCCESS, 5.0))
    assert scrape(metrics)(OLDEST, server="cats") == 0


def test_the_oldest_request_follows_a_wall_clock_that_was_set() -> None:
    hands = [5000.0]
    metrics = Metrics(MetricsOptions(wall_clock=lambda: hands[0], monotonic_clock=lambda: 10.0))
    metrics.server("cats").handle(CallOpened(Call("ping", None, 8.0)))
    assert scrape(metrics)(OLDEST, server="cats") == 4998.0
    hands[0] = 9000.0
    assert scrape(metrics)(OLDEST, server="cats") == 8998.0


def test_an_end_without_a_beginning_is_refused_and_counts_nothing() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    call = Call("ping", None, 1.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, Outcome.SUCCESS, 2.0))
    with pytest.raises(KeyError):
        server.handle(CallClosed(call, Outcome.SUCCESS, 2.0))
    figures = scrape(metrics)
    assert figures(REQUESTS, server="cats", method="ping", outcome="success") == 1
    assert figures(IN_FLIGHT, server="cats", method="ping") == 0


def test_equal_calls_are_told_apart() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    twins = [Call("ping", None, 1.0), Call("ping", None, 1.0)]
    for call in twins:
        server.handle(CallOpened(call))
    server.handle(CallClosed(twins[0], Outcome.SUCCESS, 2.0))
    assert scrape(metrics)(IN_FLIGHT, server="cats", method="ping") == 1


def test_a_late_response_changes_nothing_else() -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(LateResponse("tools/call"))
    figures = scrape(metrics)
    assert figures("mcp_late_responses_total", server="cats", method="tools/call") == 1
    assert not list(figures.series(REQUESTS))
