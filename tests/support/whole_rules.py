"""A configuration that caps, measures and judges, and what its rules mean in Python.

Knows settings and calls; does not know how a proxy is run.
"""

from tests.support.every_family import Custom
from tests.support.recorded_calls import Call, Caps

CAPS = Caps(largest=100_000, listed=17, called=1, clients=3, prompts=1, sessions=3)

SETTINGS = f"""\
[admin]
listen = "127.0.0.1:0"

[inspection]
max_message_bytes = {CAPS.largest}
max_sessions = {CAPS.sessions}

[metrics]
semconv = true
max_tools = {CAPS.called}
max_listed_tools = {CAPS.listed}
max_clients = {CAPS.clients}
max_prompts = {CAPS.prompts}

[[metrics.custom]]
name = "searches_total"
type = "counter"
tools = ["search"]
labels = {{ reason = "arguments.reason", how = "outcome" }}
label_limit = 2

[[metrics.custom]]
name = "cat_moods"
type = "gauge"
tools = ["introduce"]
value = "length(arguments.moods)"

[[metrics.custom]]
name = "search_rows"
type = "histogram"
tools = ["search"]
value = "result.structuredContent.rows"
buckets = [1, 10]

[[metrics.custom]]
name = "fetched_letters"
type = "summary"
tools = ["fetch"]
value = "arguments.size"

[[outcomes.soft_errors]]
tools = ["search"]
when = "result.structuredContent.ok == `false`"
reason = "result.structuredContent.reason"
"""
"""What its metrics and its rule mean is in `CUSTOMS` and `find_soft_error`."""


def find_soft_error(call: Call) -> str | None:
    """Return the reason for which a success is a failure, as the rule above says."""
    if call.tool != "search" or call.said is None:
        return None
    found = call.said["result"]["structuredContent"]
    return None if found["ok"] else found["reason"] or "matched"


def _read_rows(call: Call) -> float | str:
    result = (call.said or {}).get("result") or {}
    rows: float | None = (result.get("structuredContent") or {}).get("rows")
    return "missing" if rows is None else rows


CUSTOMS = (
    Custom(
        name="searches_total",
        kind="counter",
        tool="search",
        read=lambda _: 1,
        labels=lambda call: (call.params["arguments"].get("reason") or "_unknown", call.outcome),
        label_limit=2,
    ),
    Custom(
        name="cat_moods",
        kind="gauge",
        tool="introduce",
        read=lambda call: len(call.params["arguments"]["moods"]),
    ),
    Custom(name="search_rows", kind="histogram", tool="search", read=_read_rows),
    Custom(
        name="fetched_letters",
        kind="summary",
        tool="fetch",
        read=lambda call: call.params["arguments"]["size"],
    ),
)
CUSTOM_LABELS = {"searches_total": ("server", "tool", "reason", "how")}
CUSTOM_BUCKETS = {"search_rows": (1.0, 10.0)}
