from collections.abc import Sequence

import pytest

from mcp_proxy_exporter.observe.words import LIMITS, OTHER, UPSTREAM_FAILURES
from mcp_proxy_exporter.protocol.events import (
    Event,
    HttpExchangeClosed,
    LimitHit,
    UpstreamAnswered,
    UpstreamConnected,
    UpstreamFailed,
)
from tests.observe.figures import UNIX_TIME, make_metrics, scrape

REQUESTS = "mcp_http_requests_total"
DURATION = "mcp_http_request_duration_seconds"
UP = "mcp_upstream_up"
LAST_SUCCESS = "mcp_upstream_last_success_timestamp_seconds"
FAILURES = "mcp_upstream_failures_total"


def closed(method: str, status: int, *, long_lived: bool = False) -> HttpExchangeClosed:
    return HttpExchangeClosed(method, status, 0.5, long_lived, 0.0001, 0.002)


@pytest.mark.parametrize(
    ("method", "label"),
    [
        *((method, method) for method in ("GET", "POST", "DELETE", "TRACE")),
        *((method, OTHER) for method in ("get", "PROPFIND", "", "\ud800", "X" * 10_000, OTHER)),
    ],
)
def test_methods_come_from_a_closed_list(method: str, label: str) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(closed(method, 200))
    server.handle(closed(method, 200))
    figures = scrape(metrics)
    assert figures(REQUESTS, server="cats", method=label, code="200") == 2
    assert figures(f"{DURATION}_sum", server="cats", method=label) == 1.0


@pytest.mark.parametrize(
    ("status", "code"),
    [(0, "0"), (100, "100"), (599, "599"), (99, OTHER), (600, OTHER), (10**9, OTHER), (-1, OTHER)],
)
def test_statuses_come_from_a_closed_list(status: int, code: str) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(closed("POST", status))
    server.handle(closed("POST", status))
    figures = scrape(metrics)
    assert figures(REQUESTS, server="cats", method="POST", code=code) == 2
    assert figures.total(REQUESTS) == 2


def test_a_server_that_invents_statuses_fills_no_memory() -> None:
    server = make_metrics().server("cats")
    for status in range(600, 2000):
        server.handle(closed("POST", status))
    assert not server._http._methods["POST"].codes


def test_a_long_stream_is_counted_but_not_timed() -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(closed("GET", 200, long_lived=True))
    figures = scrape(metrics)
    assert figures(REQUESTS, server="cats", method="GET", code="200") == 1
    assert figures(f"{DURATION}_count", server="cats", method="GET") == 0


def test_overhead_is_told_by_phase() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    name = "mcp_proxy_overhead_seconds"
    for phase in ("request", "response"):
        assert scrape(metrics)(f"{name}_count", server="cats", phase=phase) == 0
    server.handle(closed("POST", 200))
    server.handle(closed("GET", 200, long_lived=True))
    figures = scrape(metrics)
    assert figures(f"{name}_sum", server="cats", phase="request") == pytest.approx(0.0002)
    assert figures(f"{name}_sum", server="cats", phase="response") == pytest.approx(0.004)
    assert figures(f"{name}_bucket", server="cats", phase="request", le="5e-05") == 0
    assert figures(f"{name}_bucket", server="cats", phase="request", le="0.0001") == 2


def test_connections_are_asked_for_at_each_scrape() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    connections = {("client", "active"): 2, ("upstream", "idle"): 1}
    assert not list(scrape(metrics).series("mcp_http_connections"))
    server.watch_connections(lambda: connections)
    figures = scrape(metrics)
    assert figures("mcp_http_connections", server="cats", side="client", state="active") == 2
    assert figures("mcp_http_connections", server="cats", side="upstream", state="idle") == 1
    connections["client", "active"] = 0
    figures = scrape(metrics)
    assert figures("mcp_http_connections", server="cats", side="client", state="active") == 0


def test_connecting_is_timed_and_says_nothing_about_answers() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(UpstreamConnected(0.004))
    figures = scrape(metrics)
    assert figures("mcp_upstream_connect_duration_seconds_sum", server="cats") == 0.004
    assert figures(UP, server="cats") is None


@pytest.mark.parametrize(
    ("events", "up"),
    [
        ([], None),
        ([UpstreamAnswered()], 1),
        ([UpstreamFailed("connect_refused")], 0),
        ([UpstreamFailed("truncated")], None),
        ([UpstreamAnswered(), UpstreamFailed("truncated")], 1),
        ([UpstreamAnswered(), UpstreamFailed("total_timeout")], 1),
        ([UpstreamAnswered(), UpstreamFailed("invented")], 1),
        ([UpstreamAnswered(), UpstreamFailed("response_timeout")], 0),
        ([UpstreamFailed("dns"), UpstreamAnswered()], 1),
        ([UpstreamFailed("dns"), UpstreamAnswered(), UpstreamFailed("bad_response")], 0),
    ],
)
def test_the_upstream_is_judged_by_the_last_that_was_heard_of_it(
    events: Sequence[Event], up: float | None
) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for event in events:
        server.handle(event)
    assert scrape(metrics)(UP, server="cats") == up


def test_the_last_success_is_the_time_of_the_last_answer() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    assert scrape(metrics)(LAST_SUCCESS, server="cats") == 0
    server.handle(UpstreamAnswered())
    server.handle(UpstreamFailed("dns"))
    assert scrape(metrics)(LAST_SUCCESS, server="cats") == UNIX_TIME


def test_failures_exist_at_zero_and_are_counted_by_reason() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    assert scrape(metrics).values(FAILURES, "reason") == set(UPSTREAM_FAILURES)
    for reason in (*UPSTREAM_FAILURES, "invented"):
        server.handle(UpstreamFailed(reason))
    figures = scrape(metrics)
    assert figures(FAILURES, server="cats", reason="tls") == 1
    assert figures(FAILURES, server="cats", reason=OTHER) == 1
    assert figures.total(FAILURES) == len(UPSTREAM_FAILURES) + 1


def test_every_limit_is_there_before_anything_hits_it() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(LimitHit("requests"))
    server.handle(LimitHit("requests"))
    figures = scrape(metrics)
    for limit in LIMITS:
        assert figures("mcp_proxy_limit_hits_total", server="cats", limit=limit) == (
            2 if limit == "requests" else 0
        )
