import pytest

from mcp_proxy_exporter.protocol.events import (
    SessionClosed,
    SessionEnd,
    SessionOpened,
    StreamClosed,
    StreamEvents,
    StreamKind,
    StreamOpened,
)
from tests.observe.figures import make_metrics, scrape

ACTIVE = "mcp_sessions_active"
OPENED = "mcp_sessions_opened_total"
CLOSED = "mcp_sessions_closed_total"
SESSION = "mcp_session_duration_seconds"
OPEN = "mcp_streams_open"
STREAM = "mcp_stream_duration_seconds"
EVENTS = "mcp_stream_events_total"
KINDS = {"get", "listen", "legacy_sse"}


def test_everything_exists_at_zero() -> None:
    metrics = make_metrics()
    metrics.server("cats")
    figures = scrape(metrics)
    for name in (ACTIVE, OPENED, f"{SESSION}_count", f"{SESSION}_sum"):
        assert figures(name, server="cats") == 0
    assert figures.values(CLOSED, "reason") == {"deleted", "expired", "idle"}
    assert figures.total(CLOSED) == 0
    for name in (OPEN, f"{STREAM}_count", EVENTS):
        assert figures.values(name, "kind") == KINDS
        assert figures.total(name) == 0


def test_a_session_is_active_until_it_ends() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(SessionOpened())
    server.handle(SessionOpened())
    figures = scrape(metrics)
    assert figures(ACTIVE, server="cats") == 2
    assert figures(OPENED, server="cats") == 2
    server.handle(SessionClosed(SessionEnd.DELETED, 40.5))
    figures = scrape(metrics)
    assert figures(ACTIVE, server="cats") == 1
    assert figures(OPENED, server="cats") == 2
    assert figures(CLOSED, server="cats", reason="deleted") == 1
    assert figures(f"{SESSION}_sum", server="cats") == 40.5


@pytest.mark.parametrize("reason", SessionEnd)
def test_a_session_ends_for_one_reason(reason: SessionEnd) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(SessionOpened())
    server.handle(SessionClosed(reason, 1.0))
    figures = scrape(metrics)
    assert figures(CLOSED, server="cats", reason=reason.value) == 1
    assert figures.total(CLOSED) == 1
    assert figures(ACTIVE, server="cats") == 0


def test_sessions_are_timed_from_a_second_to_a_day() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for duration in (1.0, 86400.0, 86401.0):
        server.handle(SessionOpened())
        server.handle(SessionClosed(SessionEnd.IDLE, duration))
    figures = scrape(metrics)
    assert figures(f"{SESSION}_bucket", server="cats", le="1.0") == 1
    assert figures(f"{SESSION}_bucket", server="cats", le="86400.0") == 2
    assert figures(f"{SESSION}_count", server="cats") == 3


@pytest.mark.parametrize("kind", StreamKind)
def test_a_stream_is_open_until_it_ends(kind: StreamKind) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    labels = {"server": "cats", "kind": kind.value}
    server.handle(StreamOpened(kind))
    server.handle(StreamOpened(kind))
    server.handle(StreamEvents(kind, 3))
    server.handle(StreamEvents(kind, 1))
    figures = scrape(metrics)
    assert figures(OPEN, **labels) == figures.total(OPEN) == 2
    server.handle(StreamClosed(kind, 3600.5))
    figures = scrape(metrics)
    assert figures(OPEN, **labels) == 1
    assert figures(EVENTS, **labels) == figures.total(EVENTS) == 4
    assert figures(f"{STREAM}_sum", **labels) == 3600.5
    assert figures(f"{STREAM}_bucket", **labels, le="3600.0") == 0
    assert figures(f"{STREAM}_bucket", **labels, le="7200.0") == 1
    assert figures.total(f"{STREAM}_count") == 1


def test_a_stream_that_shows_another_kind_moves_and_is_still_one() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(StreamOpened(StreamKind.GET))
    server.handle(StreamOpened(StreamKind.LEGACY_SSE, instead_of=StreamKind.GET))
    figures = scrape(metrics)
    assert figures(OPEN, server="cats", kind="get") == 0
    assert figures(OPEN, server="cats", kind="legacy_sse") == 1
    server.handle(StreamClosed(StreamKind.LEGACY_SSE, 5.0))
    figures = scrape(metrics)
    assert figures.total(OPEN) == 0
    assert figures(f"{STREAM}_count", server="cats", kind="get") == 0
    assert figures(f"{STREAM}_count", server="cats", kind="legacy_sse") == 1


def test_servers_do_not_share_sessions_and_streams() -> None:
    metrics = make_metrics()
    cats, _dogs = metrics.server("cats"), metrics.server("dogs")
    cats.handle(SessionOpened())
    cats.handle(StreamOpened(StreamKind.LISTEN))
    figures = scrape(metrics)
    assert figures(ACTIVE, server="dogs") == 0
    assert figures(OPEN, server="dogs", kind="listen") == 0
