"""The ledger of a stormy soak: what clients saw, and the figures that follow from it.

Knows what each sight means for a call, as docs/calls.md and docs/metrics.md say it; does not know
how things came about. Nothing in it is read from the metrics, but which way a true race went.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.soak.sight import Sight
from tests.soak.weather import LEGACY, TOOL_CALL, Call, Sky
from tests.support.account import COMPARED, IDLE, Account, Table
from tests.support.scrape import Scrape

Counts = Counter[tuple[str, ...]]

RACE: Final = "left_at_answer"
"""Whose client leaves in the moment in which its answer comes: it had the answer, or it did not."""
GONE: Final = "client_disconnected"

# What the proxy's own answers mean.
_OWN: Final[Mapping[str, str]] = {
    "connect_refused": "upstream_unreachable",
    "connect_failed": "upstream_unreachable",
    "closed_before_head": "upstream_closed",
    "bad_response": "upstream_closed",
    "response_timeout": "upstream_timeout",
    "body_timeout": "",
    "head_timeout": "",
    "method": "",
}
# The setting behind those that are the end of one.
_LIMITS: Final = {
    "response_timeout": "response_head",
    "body_timeout": "client_body",
    "head_timeout": "client_head",
}
# Codes with a series of their own, of those that are answered here.
_CODES: Final = frozenset({-32602, -32603, -32800})
# What else is compared, by which labels.
_MORE: Final = {
    "mcp_requests_total": ("method", "outcome"),
    "mcp_upstream_failures_total": ("reason",),
    "mcp_jsonrpc_errors_total": ("code",),
    "mcp_proxy_uninspected_messages_total": ("reason",),
    "mcp_proxy_limit_hits_total": ("limit",),
}
# Connections that were idle too long: nobody's call.
_UNTOLD: Final = frozenset({("upstream_idle",), ("client_idle",)})
_NEVER: Final = (
    "mcp_proxy_inspection_errors_total",
    "mcp_proxy_label_overflow_total",
    "mcp_unknown_tool_calls_total",
)
_SESSIONS: Final = "mcp_sessions_opened_total", "mcp_sessions_closed_total"


def _count() -> Counts:
    return Counter()


@dataclass(slots=True)
class Chronicle(Account):
    """What clients did and saw."""

    endings: Counts = field(default_factory=_count)
    """Requests by method and outcome."""
    failures: Counts = field(default_factory=_count)
    """Of the server's side, by reason."""
    codes: Counts = field(default_factory=_count)
    """JSON-RPC errors."""
    unread: Counts = field(default_factory=_count)
    """What could not be judged, by reason."""
    limits: Counts = field(default_factory=_count)
    """By setting."""
    raced: int = 0
    """Calls that ended in either of two ways."""
    unserved: Counts = field(default_factory=_count)
    """Requests that met a disturbance of the server's side, by what their client was told."""

    def note_request(self, call: Call) -> None:
        """Take a request that was sent whole."""
        self.requests[call.method,] += 1
        self.messages["to_server", "request"] += 1
        self.clients["stormy" if call.era == LEGACY else "modern", call.era] += 1

    def note_end(self, call: Call, outcome: str) -> None:
        """Take the end of a request."""
        self.endings[call.method, outcome] += 1
        if call.method == TOOL_CALL:
            self.calls[call.tool, outcome] += 1

    def note_exchange(self, method: str, sight: Sight) -> None:
        """Take an exchange that the client did not leave."""
        self.exchanges[method, str(sight.status)] += 1
        if sight.cut:
            self.failures["truncated",] += 1
        own = sight.own
        if own in _LIMITS:
            self.limits[_LIMITS[own],] += 1
        if _OWN.get(own):
            self.failures[own,] += 1

    def note_messages(self, sight: Sight) -> None:
        """Take the messages to the client."""
        for message in sight.read_messages():
            if "method" in message:
                self.messages["to_client", "notification"] += 1
                self.notifications["to_client", message["method"]] += 1
            else:
                self.messages["to_client", "response"] += 1

    def judge(self, call: Call, sight: Sight, sky: Sky, *, cancelled: bool = False) -> str:
        """Take the answer to a request, and say what became of it."""
        self.note_exchange("POST", sight)
        self.note_messages(sight)
        answers = [message for message in sight.read_messages() if message.get("id") == call.number]
        for answer in answers:
            if _find_nonce(answer) != call.nonce:
                sky.blame(f"{call.tool} had the answer to another call: {answer}")
        late = len(answers) - (not cancelled)
        if late > 0:
            self.late[call.method,] += late
        if cancelled:
            return "cancelled"
        if answers:
            return self._read(answers[0])
        return self._judge_unanswered(sight)

    def _read(self, answer: dict[str, dict[str, object]]) -> str:
        if "error" in answer:
            code = answer["error"]["code"]
            self.codes[str(code) if code in _CODES else "_other",] += 1
            return "protocol_error"
        return "tool_error" if answer["result"].get("isError") else "success"

    def _judge_unanswered(self, sight: Sight) -> str:
        own = sight.own
        if own in _OWN:
            return _OWN[own]
        if sight.cut:
            return "upstream_closed"
        if sight.status >= 400:
            return "http_error"
        media = sight.values(b"content-type")
        if sight.values(b"content-encoding") == [b"x-rain"]:
            self.unread["content_encoding",] += 1
            return "uninspected"
        if sight.is_stream:
            return "upstream_closed"
        if media == [b"text/html"]:
            self.unread["content_type",] += 1
        elif not sight.read_messages() and sight.text != b"{}":
            self.unread["invalid_json",] += 1
        return "invalid_response"

    def resolve(self, scrape: Scrape) -> "dict[str, Table]":
        """Return what the figures must be, the races being decided as one figure says."""
        left = int(scrape.total("mcp_tool_calls_total", tool=RACE, outcome=GONE))
        had = self.raced - left
        more = Account()
        more.calls = self.calls + Counter({(RACE, GONE): left, (RACE, "success"): had})
        more.exchanges = self.exchanges + Counter({("POST", "0"): left, ("POST", "200"): had})
        more.messages = self.messages + Counter({("to_client", "response"): had})
        true = self.figures()
        resolved = more.figures()
        for name in (
            "mcp_tool_calls_total",
            "mcp_tool_call_duration_seconds_count",
            "mcp_http_requests_total",
            "mcp_message_size_bytes_count",
        ):
            true[name] = resolved[name]
        endings = self.endings + Counter({(TOOL_CALL, GONE): left, (TOOL_CALL, "success"): had})
        true["mcp_requests_total"] = dict(endings)
        for name, counts in (
            ("mcp_upstream_failures_total", self.failures),
            ("mcp_jsonrpc_errors_total", self.codes),
            ("mcp_proxy_uninspected_messages_total", self.unread),
            ("mcp_proxy_limit_hits_total", self.limits),
        ):
            true[name] = dict(counts)
        return true

    def compare(self, scrape: Scrape) -> dict[str, tuple[object, object]]:
        """Return what the metrics of a proxy at rest say, and what is true, where they differ."""
        said = {name: scrape.table(name, by) for name, by in {**COMPARED, **_MORE}.items()}
        limits = said["mcp_proxy_limit_hits_total"]
        for labels in _UNTOLD:
            limits.pop(labels, None)
        wrong: dict[str, tuple[object, object]] = {}
        for name, table in self.resolve(scrape).items():
            if said[name] != table:
                wrong[name] = _differ(said[name], table)
        for name in (*IDLE, *_NEVER, "mcp_http_connections"):
            if scrape.total(name):
                wrong[name] = (scrape.total(name), 0)
        opened, closed = (scrape.total(name) for name in _SESSIONS)
        if opened != closed + scrape.total("mcp_sessions_active"):
            wrong["sessions"] = (opened, closed)
        return wrong


def _find_nonce(answer: dict[str, dict[str, dict[str, str]]]) -> str | None:
    if "error" in answer:
        return answer["error"]["data"]["nonce"]
    return answer["result"]["_meta"]["nonce"]


def _differ(said: Table, true: Table) -> tuple[Table, Table]:
    """Leave out what is the same in both."""
    keys = {key for key in said.keys() | true.keys() if said.get(key, 0) != true.get(key, 0)}
    return ({key: said.get(key, 0) for key in keys}, {key: true.get(key, 0) for key in keys})
