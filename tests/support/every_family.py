"""What each family of the catalogue must show, computed from what a recorder saw.

Knows the families by name and what each one counts (docs/metrics.md), and how exactly a recorder
beside the proxy can know it; does not know scrapes. Nothing here is computed by the product.
"""

import math
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from tests.support.figures import (
    Figure,
    Labels,
    Table,
    clock_each,
    count_by,
    exactly,
    moment,
    observe,
    tabulate,
)
from tests.support.http_reckoning import LISTEN
from tests.support.peer_families import (
    TASK_ENDS,
    Lane,
    write_http,
    write_inventory,
    write_sessions,
    write_tasks,
)
from tests.support.reckoning import QUESTIONS, Reckoning
from tests.support.recorded_calls import OTHER, UNKNOWN, Call
from tests.support.recorded_rpc import parse, size_of

ANSWERS = {"success", "tool_error", "input_required", "task_created"}
# The closed lists of docs/metrics.md: what a series that is still at 0 may say.
OUTCOMES = ANSWERS | {
    *("protocol_error", "http_error", "invalid_response", "cancelled", "client_disconnected"),
    *("upstream_unreachable", "upstream_timeout", "upstream_closed", "abandoned", "rejected"),
    *("proxy_shutdown", "uninspected"),
}
DOWN = (
    *("bad_response", "closed_before_head", "connect_failed", "connect_refused"),
    *("connect_timeout", "dns", "response_timeout", "tls"),
)
SKIPS = (
    *("missing", "not_a_number", "not_finite", "negative", "expression_failed", "unreadable"),
    *("too_large", "no_room", "uninspected"),
)
BLIND = (
    *("content_encoding", "content_type", "header_mismatch", "invalid_json", "stream_broken"),
    "too_large",
)
LIMITS = (
    *("client_body", "client_head", "client_idle", "client_write", "connect", "connections"),
    *("head_bytes", "head_fields", "requests", "response_head", "total", "upstream_idle"),
)
SLOWEST_START = 15.0
"""Seconds from the command to the proxy's first look at its clock."""
NAMED_CODES = {
    *(-32000, -32001, -32002, -32020, -32021, -32022, -32042),
    *(-32600, -32601, -32602, -32603, -32700, -32800, 0),
}
CALLERS_MISTAKES = {-32002, -32600, -32601, -32602, -32700}
GUARDED = ("client", "custom", "prompt", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """A metric of the configuration, and what it means in Python."""

    name: str
    kind: str
    tool: str
    read: Callable[[Call], float | str | None]
    """The value; None where the call does not concern it, a text where the sample is skipped."""
    labels: Callable[[Call], Labels] = lambda _: ()
    label_limit: int = 0


@dataclass(slots=True, kw_only=True)
class Whole:
    """All servers of one proxy."""

    lanes: Sequence[Lane]
    customs: Sequence[Custom]
    began: float
    """When the proxy's process was started, as Unix time."""
    tables: dict[str, Table] = field(default_factory=lambda: defaultdict(dict))


def expect(whole: Whole) -> dict[str, Table]:
    """Return what each family must show."""
    for lane in whole.lanes:
        for write in (
            *(_write_calls, _write_results, _write_requests, _write_messages, _write_semconv),
            *(write_sessions, write_inventory, write_http, write_tasks),
        ):
            for family, table in write(lane.reckoning, lane).items():
                rows = {(lane.name, *labels): cell for labels, cell in table.items()}
                whole.tables[family].update(rows)
    _write_exporter(whole)
    return whole.tables


def _tool_calls(all_of: Reckoning) -> list[Call]:
    return [call for call in all_of.calls if call.method == "tools/call"]


def _over(calls: Iterable[Call]) -> list[Call]:
    return [call for call in calls if call.ended is not None]


def _write_calls(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    calls = _tool_calls(all_of)
    over = _over(calls)
    labels = [*all_of.tools.listed, *all_of.tools.called]
    used = {call.opened_as for call in calls} | {call.counted_as for call in over}
    in_flight = Counter(call.opened_as for call in calls if call.ended is None)
    last = {call.counted_as: call.ended for call in sorted(over, key=lambda call: call.ended or 0)}
    return {
        "mcp_tool_calls_total": {
            **{(label, "success"): exactly(0) for label in labels},
            **count_by((call.counted_as, call.outcome) for call in over),
        },
        "mcp_tool_call_duration_seconds": clock_each(
            ((call.counted_as, call.outcome), call.seconds - call.waited) for call in over
        ),
        "mcp_tool_calls_in_flight": {
            (label,): exactly(in_flight[label]) for label in {*labels, *used}
        },
        "mcp_tool_last_call_timestamp_seconds": {
            **{(label,): exactly(0) for label in labels},
            **{(label,): moment(at) for label, at in last.items()},
        },
        "mcp_tool_soft_errors_total": count_by(
            (call.counted_as, call.soft) for call in over if call.soft is not None
        ),
        "mcp_unknown_tool_calls_total": {(): exactly(all_of.tools.unknown)},
        "mcp_tool_repeated_calls_total": {
            (label,): exactly(count) for label, count in all_of.repeated.items()
        },
    }


def _write_results(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    sizes: dict[Labels, list[float]] = defaultdict(list)
    blocks: Counter[Labels] = Counter()
    duplicated: Counter[Labels] = Counter()
    for call in _over(_tool_calls(all_of)):
        # A question and a task's handle are no results: a model never reads them.
        if (
            call.outcome not in {"success", "tool_error"}
            or call.result is None
            or call.said is None
        ):
            continue
        tool, result = call.counted_as, call.said["result"]
        sizes[tool,].append(size_of(call.result))
        blocks.update((tool, block["type"]) for block in result.get("content", ()))
        if "structuredContent" in result:
            blocks[tool, "structured"] += 1
            duplicated[tool,] += sum(map(size_of, _find_repeated(result)))
    return {
        "mcp_tool_result_size_bytes": {key: observe(values) for key, values in sizes.items()},
        "mcp_tool_result_content_blocks_total": tabulate(blocks),
        "mcp_tool_result_duplicated_bytes_total": tabulate(duplicated),
    }


def _find_repeated(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts that say what the structure says, or what it wraps."""
    structured = result["structuredContent"]
    meant = [structured, *(structured.values() if structured.keys() == {"result"} else ())]
    for block in result["content"]:
        if block["type"] == "text" and (block["text"] in meant or _read(block["text"]) in meant):
            yield block["text"]


def _read(text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        return text


def _write_requests(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    calls, over = all_of.calls, _over(all_of.calls)
    in_flight = Counter(call.method for call in calls if call.ended is None)
    waiting = [call.began for call in calls if call.ended is None and call.method != LISTEN]
    return {
        "mcp_requests_total": count_by((call.method, call.outcome) for call in over),
        "mcp_request_duration_seconds": clock_each(
            ((call.method,), call.seconds - call.waited) for call in over if call.method != LISTEN
        ),
        "mcp_requests_in_flight": {
            (call.method,): exactly(in_flight[call.method]) for call in calls
        },
        "mcp_oldest_request_start_timestamp_seconds": {
            (): moment(min(waiting)) if waiting else exactly(0)
        },
        "mcp_jsonrpc_errors_total": count_by(
            (call.method, str(call.code) if call.code in NAMED_CODES else OTHER)
            for call in over
            if call.code is not None
        ),
        "mcp_time_to_first_message_seconds": clock_each(
            ((call.method,), call.first - call.began) for call in over if call.first is not None
        ),
        "mcp_client_requests_total": tabulate(all_of.client_requests),
        "mcp_late_responses_total": tabulate({(key,): n for key, n in all_of.late.items()}),
        "mcp_era_fallbacks_total": {(): exactly(all_of.fallbacks)},
        "mcp_input_requests_total": tabulate(all_of.inputs),
        "mcp_input_request_duration_seconds": clock_each(
            ((method,), seconds) for method, seconds in all_of.answers
        ),
    }


def _write_messages(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    sizes: dict[Labels, list[float]] = {
        (direction, kind): []
        for direction in ("to_server", "to_client")
        for kind in ("request", "response", "notification")
    }
    notifications: Counter[Labels] = Counter()
    levels: Counter[Labels] = Counter()
    for message in all_of.messages:
        direction = "to_server" if message.to_server else "to_client"
        sizes[direction, message.kind].append(message.size)
        if message.kind == "notification":
            notifications[direction, message.said["method"]] += 1
            if message.said["method"] == "notifications/message":
                levels[message.said["params"]["level"],] += 1
    return {
        "mcp_message_size_bytes": {key: observe(values) for key, values in sizes.items()},
        "mcp_notifications_total": tabulate(notifications),
        "mcp_log_messages_total": tabulate(levels),
        "mcp_proxy_uninspected_messages_total": {
            (reason,): exactly(all_of.http.uninspected[reason]) for reason in BLIND
        },
    }


def _write_semconv(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    served, sent = [], []
    for call in _over(all_of.calls):
        if call.method == LISTEN or call.outcome == "uninspected":
            continue
        code = ""
        failed = "" if call.outcome in ANSWERS - {"tool_error"} else call.outcome
        theirs = ours = "timeout" if failed == "upstream_timeout" else failed
        if call.code is not None:
            theirs = ours = code = str(call.code) if call.code in NAMED_CODES else "_OTHER"
            ours = "" if call.code in CALLERS_MISTAKES else ours
        tool = call.counted_as.replace(OTHER, "_OTHER")
        key = (call.method, tool, call.prompt)
        served.append(((*key, ours, code), call.seconds))
        if call.outcome != "rejected":
            sent.append(((*key, theirs, code), call.seconds))
    return {
        "mcp_server_operation_duration_seconds": clock_each(served),
        "mcp_client_operation_duration_seconds": clock_each(sent),
    }


def _write_exporter(whole: Whole) -> None:
    skips: Counter[Labels] = Counter()
    for custom in whole.customs:
        skips.update({(custom.name, reason): 0 for reason in SKIPS})
    skips.update({("mcp_tool_soft_errors_total", reason): 0 for reason in SKIPS})
    for lane in whole.lanes:
        all_of = lane.reckoning
        overflow = Counter(all_of.overflow)
        overflow["tool"] += all_of.tools.overflow
        values = Counter(
            tool=len(all_of.tools.listed) + len(all_of.tools.called),
            client=len(all_of.clients),
            prompt=len(all_of.prompts),
        )
        # Once a list is known to hold, success makes no name a label.
        limits = Counter(
            tool=all_of.caps.listed
            + (len(all_of.tools.called) if all_of.tools.trusted else all_of.caps.called),
            client=all_of.caps.clients,
            prompt=all_of.caps.prompts,
        )
        for custom in whole.customs:
            table, admitted = _write_custom(custom, all_of, skips, overflow)
            values["custom"] += admitted
            limits["custom"] += custom.label_limit
            rows = {(lane.name, *labels): cell for labels, cell in table.items()}
            whole.tables[custom.name].update(rows)
        for family, counts in (
            ("mcp_proxy_label_overflow_total", overflow),
            ("mcp_proxy_label_values", values),
            ("mcp_proxy_label_values_limit", limits),
        ):
            whole.tables[family].update(
                {(lane.name, label): exactly(counts[label]) for label in GUARDED}
            )
    whole.tables["mcp_proxy_custom_metric_skips_total"] = tabulate(skips)
    whole.tables["mcp_proxy_inspection_errors_total"] = {}
    build = (version("mcp-proxy-exporter"), "unknown", platform.python_version())
    whole.tables["mcp_proxy_build_info"] = {build: exactly(1)}
    # Nobody tells it to read its configuration again.
    whole.tables["mcp_proxy_config_last_reload_successful"] = {(): exactly(1)}
    started = Figure(whole.began, whole.began + SLOWEST_START)
    whole.tables["mcp_proxy_config_last_reload_success_timestamp_seconds"] = {(): started}
    whole.tables["mcp_proxy_insecure_upstream"] = {(lane.name,): exactly(0) for lane in whole.lanes}
    whole.tables["mcp_proxy_limit_hits_total"] = {
        (lane.name, limit): Figure(0, lane.connects if limit == "upstream_idle" else 0)
        for lane in whole.lanes
        for limit in LIMITS
    }


def _write_custom(
    custom: Custom, all_of: Reckoning, skips: Counter[Labels], overflow: Counter[str]
) -> tuple[Table, int]:
    values: dict[Labels, list[float]] = defaultdict(list)
    admitted: set[Labels] = set()
    concerned = [call for call in _over(_tool_calls(all_of)) if call.tool == custom.tool]
    for call in sorted(concerned, key=lambda call: call.ended or 0):
        value = custom.read(call)
        if isinstance(value, str):
            skips[custom.name, value] += 1
        elif value is not None:
            labels = custom.labels(call)
            if labels and labels not in admitted and len(admitted) >= custom.label_limit:
                overflow["custom"] += 1
                labels = (OTHER,) * len(labels)
            elif labels:
                admitted.add(labels)
            values[call.counted_as, *labels].append(value)
    if custom.kind == "counter":
        return {key: exactly(math.fsum(taken)) for key, taken in values.items()}, len(admitted)
    if custom.kind == "gauge":
        return {key: exactly(taken[-1]) for key, taken in values.items()}, len(admitted)
    return {key: observe(taken) for key, taken in values.items()}, len(admitted)


def may_be_zero(tables: Mapping[str, Table], lanes: Collection[str]) -> dict[str, set[str]]:
    """Return the values that labels of series may have before anything counts there."""
    tools = {labels[1] for labels in tables["mcp_tool_calls_in_flight"]}
    methods = {labels[1] for labels in tables["mcp_requests_in_flight"]}
    return {
        "server": set(lanes),
        "tool": tools | {OTHER},
        "outcome": OUTCOMES | set(TASK_ENDS),
        "method": methods | QUESTIONS | {"GET"},
        "delivery": {"server_request", "input_required"},
        "type": {"text"},
        "kind": {"get", "listen", "legacy_sse"},
        "reason": {*DOWN, "total_timeout", "truncated", "deleted", "expired", "idle"},
        "client": {UNKNOWN},
    }
