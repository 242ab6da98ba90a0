"""The ledger of conversations: what clients did, sent and saw, and the figures that follow from it.

Knows the families of the metrics that count such things, and compares; does not know how the
clients found out. Nothing in it is read from the metrics or computed by the product.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.scrape import Scrape

Table: TypeAlias = dict[tuple[str, ...], int]

SERVER_REQUEST = "server_request"
INPUT_REQUIRED = "input_required"
UNOBSERVED = "unobserved"

# Each family that is compared whole, and by which labels.
COMPARED = {
    "mcp_tool_calls_total": ("tool", "outcome"),
    "mcp_tool_call_duration_seconds_count": ("tool", "outcome"),
    "mcp_requests_total": ("method",),
    "mcp_request_duration_seconds_count": ("method",),
    "mcp_notifications_total": ("direction", "method"),
    "mcp_message_size_bytes_count": ("direction", "kind"),
    "mcp_input_requests_total": ("method", "delivery"),
    "mcp_input_request_duration_seconds_count": ("method",),
    "mcp_late_responses_total": ("method",),
    "mcp_era_fallbacks_total": (),
    "mcp_tasks_total": ("tool", "outcome"),
    "mcp_task_duration_seconds_count": ("tool",),
    "mcp_sessions_opened_total": (),
    "mcp_sessions_closed_total": ("reason",),
    "mcp_stream_duration_seconds_count": ("kind",),
    "mcp_stream_events_total": ("kind",),
    "mcp_client_requests_total": ("client", "protocol_version"),
    "mcp_http_requests_total": ("method", "code"),
}
# What there is of each of these when nobody is connected any more.
IDLE = (
    "mcp_tool_calls_in_flight",
    "mcp_requests_in_flight",
    "mcp_oldest_request_start_timestamp_seconds",
    "mcp_tasks_pending",
    "mcp_sessions_active",
    "mcp_streams_open",
)
# What never happens, and need not be there before it does.
NEVER = ("mcp_proxy_uninspected_messages_total", "mcp_proxy_inspection_errors_total")
FAULTS = "mcp_upstream_failures_total"
# The streams of `subscriptions/listen` never enter the durations of requests.
UNTIMED = "subscriptions/listen"


def _counter() -> Counter[tuple[str, ...]]:
    return Counter()


@dataclass(slots=True)
class Account:
    """What the clients of one proxy did and saw, all together."""

    calls: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """By tool and outcome."""
    requests: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """JSON-RPC requests by method."""
    messages: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """JSON-RPC messages by direction and kind."""
    notifications: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """By direction and method."""
    inputs: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """What servers asked, by method and delivery."""
    answers: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """What clients answered to that, by method."""
    late: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """Responses to requests that were over, by the request's method."""
    fallbacks: int = 0
    tasks: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """By tool and outcome."""
    opened: int = 0
    """Sessions that began."""
    closed: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """Sessions that ended, by reason."""
    streams: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """Long-lived streams, by kind."""
    events: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """Events on them, by kind."""
    clients: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """Requests by the client's name and revision."""
    exchanges: Counter[tuple[str, ...]] = field(default_factory=_counter)
    """HTTP answers by method and status."""

    def figures(self) -> dict[str, Table]:
        """Return what the compared families must hold."""
        timed = Counter({key: count for key, count in self.requests.items() if key != (UNTIMED,)})
        by_tool = Counter(dict[tuple[str, ...], int]())
        for (tool, ending), count in self.tasks.items():
            # How long a task took whose end nobody saw, nobody knows.
            by_tool[tool,] += count if ending != UNOBSERVED else 0
        counted: dict[str, Counter[tuple[str, ...]]] = {
            "mcp_tool_calls_total": self.calls,
            "mcp_tool_call_duration_seconds_count": self.calls,
            "mcp_requests_total": self.requests,
            "mcp_request_duration_seconds_count": timed,
            "mcp_notifications_total": self.notifications,
            "mcp_message_size_bytes_count": self.messages,
            "mcp_input_requests_total": self.inputs,
            "mcp_input_request_duration_seconds_count": self.answers,
            "mcp_late_responses_total": self.late,
            "mcp_era_fallbacks_total": Counter({(): self.fallbacks}),
            "mcp_tasks_total": self.tasks,
            "mcp_task_duration_seconds_count": by_tool,
            "mcp_sessions_opened_total": Counter({(): self.opened}),
            "mcp_sessions_closed_total": self.closed,
            "mcp_stream_duration_seconds_count": self.streams,
            "mcp_stream_events_total": self.events,
            "mcp_client_requests_total": self.clients,
            "mcp_http_requests_total": self.exchanges,
        }
        return {name: {key: n for key, n in table.items() if n} for name, table in counted.items()}


def read_figures(scrape: Scrape) -> dict[str, Table]:
    """Return what the compared families hold."""
    return {name: scrape.table(name, by) for name, by in COMPARED.items()}


def is_idle(scrape: Scrape) -> bool:
    """Say whether nobody is connected and nothing is under way."""
    return not any(scrape.total(name) for name in IDLE)


def compare(scrape: Scrape, account: Account, faults: int = 0) -> dict[str, tuple[object, object]]:
    """Return what the metrics of a proxy at rest say, and what its clients' ledger, where they
    differ.
    """
    endings = Counter[tuple[str, ...]]()
    for (_, ending), count in account.calls.items():
        endings[ending,] += count
    calls = scrape.table("mcp_requests_total", ("outcome",), method="tools/call")
    said: dict[str, object] = {**read_figures(scrape), "tools/call": calls}
    true: dict[str, object] = {**account.figures(), "tools/call": dict(endings)}
    for name in (*IDLE, *NEVER, FAULTS):
        # A gauge that is not there at all would be zero, too.
        said[name] = scrape.total(name) if name in scrape.names or name in NEVER else None
        true[name] = faults if name == FAULTS else 0
    return {name: (said[name], true[name]) for name in true if said[name] != true[name]}
