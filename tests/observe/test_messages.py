import pytest

from mcp_proxy_exporter.observe.words import LOG_LEVELS, OTHER, UNINSPECTED_REASONS
from mcp_proxy_exporter.protocol.events import (
    Direction,
    InspectionStopped,
    MessageKind,
    MessageSeen,
)
from tests.observe.figures import make_metrics, scrape

SIZE = "mcp_message_size_bytes"
NOTIFICATIONS = "mcp_notifications_total"
LOGS = "mcp_log_messages_total"
UNINSPECTED = "mcp_proxy_uninspected_messages_total"


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("kind", MessageKind)
def test_messages_are_counted_with_their_size(direction: Direction, kind: MessageKind) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for size in (100, 250):
        server.handle(MessageSeen(direction, kind, "ping", size))
    figures = scrape(metrics)
    labels = {"server": "cats", "direction": direction.value, "kind": kind.value}
    assert figures(f"{SIZE}_count", **labels) == 2
    assert figures(f"{SIZE}_sum", **labels) == 350
    assert figures.total(f"{SIZE}_count") == 2


def test_messages_exist_at_zero() -> None:
    metrics = make_metrics()
    metrics.server("cats")
    assert len(list(scrape(metrics).series(f"{SIZE}_count"))) == 6


@pytest.mark.parametrize(
    ("method", "label"),
    [
        ("notifications/progress", "notifications/progress"),
        ("notifications/tasks", "notifications/tasks"),
        ("notifications/invented", OTHER),
        ("tools/call", OTHER),
        (None, OTHER),
    ],
)
def test_notifications_are_counted_by_method(method: str | None, label: str) -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(
        MessageSeen(Direction.TO_CLIENT, MessageKind.NOTIFICATION, method, 50)
    )
    figures = scrape(metrics)
    assert figures(NOTIFICATIONS, server="cats", direction="to_client", method=label) == 1
    assert not list(figures.series(LOGS))


@pytest.mark.parametrize("kind", [MessageKind.REQUEST, MessageKind.RESPONSE])
def test_only_notifications_are_notifications(kind: MessageKind) -> None:
    metrics = make_metrics()
    event = MessageSeen(Direction.TO_CLIENT, kind, "notifications/progress", 50)
    metrics.server("cats").handle(event)
    assert not list(scrape(metrics).series(NOTIFICATIONS))


@pytest.mark.parametrize(
    ("level", "label"),
    [*((level, level) for level in sorted(LOG_LEVELS)), ("loud", OTHER), (None, OTHER)],
)
def test_log_messages_are_counted_by_level(level: str | None, label: str) -> None:
    metrics = make_metrics()
    event = MessageSeen(
        Direction.TO_CLIENT, MessageKind.NOTIFICATION, "notifications/message", 50, level
    )
    metrics.server("cats").handle(event)
    assert scrape(metrics)(LOGS, server="cats", level=label) == 1


def test_reasons_for_not_inspecting_exist_at_zero_and_are_counted() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    assert scrape(metrics).values(UNINSPECTED, "reason") == UNINSPECTED_REASONS
    server.handle(InspectionStopped("too_large"))
    server.handle(InspectionStopped("invented"))
    figures = scrape(metrics)
    assert figures(UNINSPECTED, server="cats", reason="too_large") == 1
    assert figures(UNINSPECTED, server="cats", reason=OTHER) == 1
    assert figures.total(UNINSPECTED) == 2
