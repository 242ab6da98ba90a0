"""What is counted per JSON-RPC message of one server, whether it belongs to a call or not.

Knows directions, kinds, notifications and log levels; does not know which message answers which.
"""

from mcp_proxy_exporter.observe.series import Store, Summaries, Values
from mcp_proxy_exporter.observe.words import (
    LOG_LEVELS,
    LOG_NOTIFICATION,
    NOTIFICATION_METHODS,
    OTHER,
    UNINSPECTED_REASONS,
)
from mcp_proxy_exporter.protocol.events import (
    Direction,
    InspectionStopped,
    MessageKind,
    MessageSeen,
)

_NOTIFICATION = MessageKind.NOTIFICATION


class MessageMetrics:
    """Counts the messages of one server, and what could not be read as messages."""

    def __init__(self, server: str, store: Store) -> None:
        self._server = server
        self._notifications = store.of(Values, "mcp_notifications_total")
        self._logs = store.of(Values, "mcp_log_messages_total")
        self._uninspected = store.of(Values, "mcp_proxy_uninspected_messages_total")
        for reason in sorted(UNINSPECTED_REASONS):
            self._uninspected.child(server, reason)
        sizes = store.of(Summaries, "mcp_message_size_bytes")
        self._sizes = {
            (direction, kind): sizes.child(server, direction.value, kind.value)
            for direction in Direction
            for kind in MessageKind
        }

    def seen(self, event: MessageSeen) -> None:
        """Count a message."""
        sizes = self._sizes[event.direction, event.kind]
        sizes.count += 1
        sizes.sum += event.size
        if event.kind is _NOTIFICATION:
            self._count_notification(event)

    def stopped(self, event: InspectionStopped) -> None:
        """Count what was forwarded without being judged."""
        reason = event.reason if event.reason in UNINSPECTED_REASONS else OTHER
        self._uninspected.child(self._server, reason).value += 1

    def _count_notification(self, event: MessageSeen) -> None:
        method = event.method if event.method in NOTIFICATION_METHODS else OTHER
        self._notifications.child(self._server, event.direction.value, method).value += 1
        if method == LOG_NOTIFICATION:
            level = event.level if event.level in LOG_LEVELS else OTHER
            self._logs.child(self._server, level).value += 1
