import pytest

from mcp_proxy_exporter.observe.words import OTHER
from mcp_proxy_exporter.protocol.events import Delivery, InputAnswered, InputRequested
from mcp_proxy_exporter.protocol.inputs import INPUT_METHODS
from tests.observe.figures import HOSTILE_NAMES, make_metrics, scrape

REQUESTS = "mcp_input_requests_total"
DURATION = "mcp_input_request_duration_seconds"


def test_questions_exist_at_zero_and_answers_do_not() -> None:
    metrics = make_metrics()
    metrics.server("cats")
    figures = scrape(metrics)
    assert figures.values(REQUESTS, "method") == INPUT_METHODS
    assert figures.values(REQUESTS, "delivery") == {"server_request", "input_required"}
    assert len(list(figures.series(REQUESTS))) == 6
    assert figures.total(REQUESTS) == 0
    assert not list(figures.series(f"{DURATION}_count"))


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list"])
@pytest.mark.parametrize("delivery", Delivery)
def test_a_question_is_counted_by_what_it_asks_and_how(method: str, delivery: Delivery) -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(InputRequested(method, delivery))
    figures = scrape(metrics)
    labels = {"server": "cats", "method": method, "delivery": delivery.value}
    assert figures(REQUESTS, **labels) == 1
    assert figures.total(REQUESTS) == 1


def test_an_answer_is_timed_up_to_the_hour_that_a_human_may_take() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for duration in (0.03125, 2700.0, 7200.0):
        server.handle(InputAnswered("elicitation/create", duration))
    figures = scrape(metrics)
    labels = {"server": "cats", "method": "elicitation/create"}
    assert figures(f"{DURATION}_bucket", **labels, le="0.05") == 1
    assert figures(f"{DURATION}_bucket", **labels, le="1800.0") == 1
    assert figures(f"{DURATION}_bucket", **labels, le="3600.0") == 2
    assert figures(f"{DURATION}_bucket", **labels, le="+Inf") == 3
    assert figures(f"{DURATION}_sum", **labels) == 9900.03125


def test_a_server_that_invents_questions_makes_one_label() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for method in (*HOSTILE_NAMES, "tools/call", "ping"):
        server.handle(InputRequested(method, Delivery.SERVER_REQUEST))
        server.handle(InputAnswered(method, 1.0))
    figures = scrape(metrics)
    asked = len(HOSTILE_NAMES) + 2
    assert figures.values(REQUESTS, "method") == {*INPUT_METHODS, OTHER}
    assert figures(REQUESTS, server="cats", method=OTHER, delivery="server_request") == asked
    assert figures(f"{DURATION}_count", server="cats", method=OTHER) == asked
