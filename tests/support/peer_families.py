"""What the families of sessions, the inventory, HTTP and tasks must show, by a recorder.

Knows what each of them counts (docs/metrics.md); does not know those of calls (`every_family`).
"""

from dataclasses import dataclass

from tests.support.figures import (
    LAG,
    Figure,
    Table,
    clock,
    clock_each,
    count_by,
    exactly,
    limit_each,
    moment,
    tabulate,
)
from tests.support.inventory_reckoning import list_definitions
from tests.support.reckoning import Reckoning
from tests.support.recorded_rpc import parse, size_of, split_object

# How old the time of the upstream's last answer may be.
STALE = 1.0
BYTES_PER_TOKEN = 4
TASK_ENDS = ("success", "tool_error", "failed", "cancelled", "expired", "unobserved")


@dataclass(slots=True, kw_only=True)
class Lane:
    """One configured server, seen from both its sides."""

    name: str
    reckoning: Reckoning
    client_connections: tuple[int, int]
    """Open ones of clients: busy with an exchange, and idle."""
    upstream_connections: tuple[int, int]
    connects: int
    """Connections to the server that were opened so far."""


def write_sessions(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    """Return the families of sessions and streams."""
    sessions, streams = all_of.http.sessions.values(), all_of.http.streams
    closed = [session for session in sessions if session.ended is not None]
    kinds = ("get", "listen", "legacy_sse")
    return {
        "mcp_sessions_active": {(): exactly(len(sessions) - len(closed))},
        "mcp_sessions_opened_total": {(): exactly(len(sessions))},
        "mcp_sessions_closed_total": count_by((session.reason,) for session in closed),
        "mcp_session_duration_seconds": {
            (): clock((session.ended or 0) - session.began for session in closed)
        },
        "mcp_streams_open": {
            (kind,): exactly(sum(s.kind == kind and s.ended is None for s in streams))
            for kind in kinds
        },
        "mcp_stream_duration_seconds": clock_each(
            ((stream.kind,), stream.ended - stream.began)
            for stream in streams
            if stream.ended is not None
        ),
        "mcp_stream_events_total": {
            (kind,): exactly(sum(s.events for s in streams if s.kind == kind)) for kind in kinds
        },
    }


def write_inventory(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    """Return the families of what the server says that it is and has."""
    tables: dict[str, Table] = {
        "mcp_tools": {},
        "mcp_tool_info": {},
        "mcp_tool_definition_size_bytes": {},
        "mcp_tool_definition_estimated_tokens": {},
        "mcp_tools_list_size_bytes": {},
        "mcp_tools_list_last_success_timestamp_seconds": {(): exactly(0)},
        "mcp_tool_definition_changes_total": tabulate(
            {(name,): count for name, count in all_of.tools.changes.items()}
        ),
        "mcp_tools_added_total": {(): exactly(all_of.tools.added)},
        "mcp_tools_removed_total": {(): exactly(all_of.tools.removed)},
        "mcp_server_info": {
            (*named, revision): exactly(1) for revision, named in all_of.servers.items()
        },
        "mcp_server_instructions_size_bytes": {},
    }
    if all_of.instructions is not None:
        tables["mcp_server_instructions_size_bytes"] = {(): exactly(all_of.instructions)}
    if not all_of.tools.lists:
        return tables
    at, result = all_of.tools.lists[-1]
    definitions = list_definitions(result)
    tables["mcp_tools"] = {(): exactly(len(definitions))}
    tables["mcp_tools_list_size_bytes"] = {(): exactly(size_of(result))}
    tables["mcp_tools_list_last_success_timestamp_seconds"] = {(): moment(at)}
    words = {None: "unset", True: "true", False: "false"}
    for name, text in definitions.items():
        if name not in all_of.tools.listed:
            continue
        hints = parse(text).get("annotations") or {}
        names = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
        tables["mcp_tool_info"][name, *(words[hints.get(hint)] for hint in names)] = exactly(1)
        members = split_object(text)
        parts = {
            "description": size_of(members.get("description", "")),
            "input_schema": size_of(members.get("inputSchema", "")),
            "output_schema": size_of(members.get("outputSchema", "")),
        }
        parts["other"] = size_of(text) - sum(parts.values())
        for part, size in parts.items():
            tables["mcp_tool_definition_size_bytes"][name, part] = exactly(size)
        tables["mcp_tool_definition_estimated_tokens"][name,] = exactly(
            size_of(text) / BYTES_PER_TOKEN
        )
    return tables


def write_http(all_of: Reckoning, lane: Lane) -> dict[str, Table]:
    """Return the families of HTTP and of the connections."""
    over = all_of.http.exchanges
    tables: dict[str, Table] = {
        "mcp_http_requests_total": count_by((each.method, str(each.status)) for each in over),
        "mcp_http_request_duration_seconds": clock_each(
            ((each.method,), (each.ended or 0) - each.began)
            for each in over
            if not (each.method == "GET" and each.is_stream)
        ),
        "mcp_http_connections": {
            (side, state): exactly(count)
            for side, counts in (
                ("client", lane.client_connections),
                ("upstream", lane.upstream_connections),
            )
            for state, count in zip(("active", "idle"), counts, strict=True)
        },
        "mcp_upstream_up": {},
        "mcp_upstream_last_success_timestamp_seconds": {(): exactly(0)},
        "mcp_upstream_failures_total": {
            (reason,): exactly(count) for reason, count in all_of.http.failures.items()
        },
        "mcp_upstream_connect_duration_seconds": {(): clock([0.0] * lane.connects)},
        "mcp_proxy_overhead_seconds": {
            (phase,): limit_each((each.ended or 0) - each.began + LAG for each in over)
            for phase in ("request", "response")
        },
    }
    if all_of.http.up is not None:
        tables["mcp_upstream_up"] = {(): exactly(all_of.http.up)}
    if all_of.http.last_answer is not None:
        last = all_of.http.last_answer
        tables["mcp_upstream_last_success_timestamp_seconds"] = {
            (): Figure(last - STALE - LAG, last + LAG)
        }
    return tables


def write_tasks(all_of: Reckoning, _: Lane) -> dict[str, Table]:
    """Return the families of tasks."""
    tasks = all_of.tasks.values()
    over = [task for task in tasks if task.ended is not None]
    return {
        "mcp_tasks_total": {
            **{(task.tool, end): exactly(0) for task in tasks for end in TASK_ENDS},
            **count_by((task.tool, task.outcome) for task in over),
        },
        "mcp_task_duration_seconds": clock_each(
            ((task.tool,), (task.ended or 0) - task.began) for task in over
        ),
        "mcp_tasks_pending": {(): exactly(len(tasks) - len(over))},
    }
