"""The reader's document of the metrics, written from the table: ``docs/metrics.md``.

``python -m mcp_proxy_exporter.observe.document > docs/metrics.md``. Knows how to explain; whatever
it says about families, caps and words is read from where the program reads it.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from mcp_proxy_exporter.observe.bounds import describe_bounds
from mcp_proxy_exporter.observe.catalogue import SECTIONS
from mcp_proxy_exporter.observe.catalogue.semconv import SEMCONV
from mcp_proxy_exporter.observe.family import Family, Kind
from mcp_proxy_exporter.observe.labels import EMPTY
from mcp_proxy_exporter.observe.metrics import MetricsOptions
from mcp_proxy_exporter.observe.queries import describe_answers
from mcp_proxy_exporter.observe.words import (
    BLOCK_TYPES,
    GUARDED_LABELS,
    HTTP_METHODS,
    JSONRPC_CODES,
    LIMITS,
    LOG_LEVELS,
    MAX_SOFT_ERROR_REASONS,
    NOTIFICATION_METHODS,
    OTHER,
    PROTOCOL_VERSIONS,
    REQUEST_METHODS,
    SEMCONV_CALLER_ERRORS,
    SEMCONV_ERROR_TYPES,
    SEMCONV_OTHER,
    SKIP_REASONS,
    SOFT_ERROR_MATCHED,
    STRUCTURED,
    UNINSPECTED_REASONS,
    UNKNOWN,
    UPSTREAM_FAILURES,
)
from mcp_proxy_exporter.protocol.content import MAX_COMPARED
from mcp_proxy_exporter.protocol.events import Delivery, SessionEnd, StreamKind, TaskOutcome
from mcp_proxy_exporter.protocol.inputs import INPUT_METHODS
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.scope import MAX_RECENT

S = TypeVar("S", bound=StrEnum)

_INTRODUCTION = """\
# Metrics

This file is generated from the table in `mcp_proxy_exporter/observe/catalogue/`; do not edit it:
`python -m mcp_proxy_exporter.observe.document > docs/metrics.md`.

Names, labels and label values are the product's public interface. `mcp_*` is measured about the
traffic, `mcp_proxy_*` about the exporter itself. Units are seconds and bytes. `server` is the name
in the configuration. `/metrics` answers in OpenMetrics 1.0.0 to a scraper that asks for it, else in
the Prometheus text format 0.0.4; there are no `_created` series. What the configuration adds of its
own is in [custom-metrics.md](custom-metrics.md).

In OpenMetrics, buckets of `mcp_tool_call_duration_seconds` and `mcp_request_duration_seconds` have
an exemplar: the `trace_id` of the last call in them that belongs to a recorded trace, as its
`traceparent` says. Prometheus keeps exemplars with `--enable-feature=exemplar-storage`.
"""

_OUTCOMES_HEAD = """\
## What happened to a call: `outcome`

One JSON-RPC request, as its sender sees it, has exactly one outcome, decided by the first event
that ends it. What comes later is counted in `mcp_late_responses_total` only. The HTTP status and
the outcome are independent of each other.

| outcome | decided by |
|---|---|
"""

OUTCOMES: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.SUCCESS: "a `result` without `isError: true`, complete, no task handle",
        Outcome.TOOL_ERROR: "`result.isError` is true, or a configured rule calls the success a "
        "soft error",
        Outcome.PROTOCOL_ERROR: "a JSON-RPC `error` with this request's id, at any HTTP status; "
        "its code is in `mcp_jsonrpc_errors_total`",
        Outcome.INPUT_REQUIRED: "`resultType: input_required`, or error -32042",
        Outcome.TASK_CREATED: "`resultType: task`, or `result.task.taskId` after `params.task`",
        Outcome.HTTP_ERROR: "an HTTP status >= 400 and no JSON-RPC error with this id",
        Outcome.INVALID_RESPONSE: "an HTTP status below 400 without a usable answer",
        Outcome.CANCELLED: "the client's `notifications/cancelled`, or error -32800 or "
        '(0, "Request cancelled")',
        Outcome.CLIENT_DISCONNECTED: "the client closed before the response",
        Outcome.UPSTREAM_UNREACHABLE: "no connection to the upstream; the proxy answered 502",
        Outcome.UPSTREAM_TIMEOUT: "a configured limit ran out; the proxy answered 504 or ended "
        "the stream",
        Outcome.UPSTREAM_CLOSED: "the upstream closed before the response, or in the middle of it",
        Outcome.ABANDONED: "an event stream ended after event ids, without the response, and was "
        "not resumed in time",
        Outcome.REJECTED: "refused by the proxy before it reached the upstream",
        Outcome.PROXY_SHUTDOWN: "the proxy stopped while the call ran",
        Outcome.UNINSPECTED: "forwarded but not judged: over the inspection limit, or in an "
        "unknown encoding",
    }
)

TASK_OUTCOMES: Mapping[TaskOutcome, str] = MappingProxyType(
    {
        TaskOutcome.SUCCESS: "a result without `isError: true`",
        TaskOutcome.TOOL_ERROR: "a result with `isError: true`",
        TaskOutcome.FAILED: "a JSON-RPC error, or the status `failed` before any result",
        TaskOutcome.CANCELLED: "the status `cancelled`",
        TaskOutcome.EXPIRED: "the server did not know the task any more when its client asked",
        TaskOutcome.UNOBSERVED: "nobody saw its end: its time to live passed, or too many tasks "
        "began after it",
    }
)

SESSION_ENDS: Mapping[SessionEnd, str] = MappingProxyType(
    {
        SessionEnd.DELETED: "the client ended it",
        SessionEnd.EXPIRED: "the server did not know it any more",
        SessionEnd.IDLE: "nothing was heard of it for too long, or too many sessions began "
        "after it",
    }
)

STREAM_KINDS: Mapping[StreamKind, str] = MappingProxyType(
    {
        StreamKind.GET: "the answer to a GET",
        StreamKind.LISTEN: "the answer to `subscriptions/listen`",
        StreamKind.LEGACY_SSE: "the stream of HTTP+SSE, 2024-11-05",
    }
)

DELIVERIES: Mapping[Delivery, str] = MappingProxyType(
    {
        Delivery.SERVER_REQUEST: "a request of the server's own, up to 2025-11-25",
        Delivery.INPUT_REQUIRED: "the answer to a call that the client then repeats",
    }
)

_LABELS = """\
## Labels

Tool names, methods, codes and levels come from peers, who may be hostile. Whatever is not on a
closed list, or beyond a cap, is counted under `{other}`.

- **tool**. A name that the server's `tools/list` showed is admitted, up to {listed} different names
  per server in all the time of the process. Before the first list that was seen to its end, a name
  is admitted also when a call or task of it succeeds, up to {called} names per server; afterwards
  only lists admit, until the server says that its tools changed: then success admits again, within
  the same {called}, up to the end of the next list. An answer with `isError` admits nothing: most
  servers answer an unknown tool that way. The two counts are apart, so a caller who invents names
  cannot keep a real tool from its series. A named call or task that ends under `{other}` counts in
  `mcp_proxy_label_overflow_total`. An admitted name keeps its series until the process ends, also
  when the tool vanishes; the gauges of the inventory follow the last list. Tools beyond the cap are
  in those of the whole server, such as `mcp_tools` and `mcp_tools_list_size_bytes`, and in none by
  tool.
- **mcp_unknown_tool_calls_total** counts a call when it ends, if its name was on no list so far.
  Nothing counts there before a list was seen to its end, nor between a change of the tools and the
  next list, nor after a server listed more names than the cap: then nobody remembers all of them. A
  call without a name is no call of an unknown tool.
- **client** is what a client calls itself (`clientInfo.name`), unverified: the first {clients}
  names per server are admitted. A request under a name beyond them counts under `{other}`, and in
  `mcp_proxy_label_overflow_total`. `{unknown}` is a client that gave no name.
- **gen_ai_prompt_name**, with `metrics.semconv`: a name is admitted when a `prompts/get` of it
  succeeds, up to {prompts} names per server.
- **protocol_version** is the revision negotiated for the session, or declared by the request:
  {versions}; `{unknown}` where neither was seen.
- **In flight**. A call is in flight under the label that its name has when the call begins; it is
  counted under the label that its name has when it ends.
- **Text**. Lone surrogates, control characters, line ends, bidirectional marks and invisible spaces
  become U+FFFD, names over {length} characters are cut, the empty name is `{empty}`. Names that
  read the same afterwards share their series.
  The definitions of listed tools whose names read the same are summed up, too.
- **part** of a definition is description, input_schema or output_schema, or other: what is left,
  such as the name, annotations and braces. **mcp_tool_definition_estimated_tokens** is the sum
  divided by {ratio:g} bytes per token: no tokenizer of a model gives exactly this.
- **type** of content blocks: {blocks}; `{structured}` is `structuredContent`, which stands beside
  the blocks. Where a block's text says the same again, it is in
  `mcp_tool_result_duplicated_bytes_total`; structured content over {compared} KiB is not
  compared, nor more than 128 KiB of text in up to 64 blocks of a result. Of a result 10 000 blocks
  are counted; where its content has more than 200 000 commas, the first 4 096. What a task brings
  (`tasks/result`) is not counted.
- **name** and **version** are what the server calls itself (`serverInfo`), unverified; `{unknown}`
  where it did not. There is one series of `mcp_server_info` for each revision at any time.
- **Lists** are compared one by one as they come. A server that shows each user other tools is seen
  to add and remove them. A tool that comes back with another definition than it left with counts in
  `mcp_tool_definition_changes_total`. Definitions, added and removed tools are those of the first
  2 000 of a list; tools beyond them are only counted. A server without sessions that numbers its
  pages, and has other lists for other clients, mixes them.
- **mcp_tool_repeated_calls_total** knows calls by their JSON texts: arguments whose members come
  in another order are others. What changed in between counts as no repetition: of the results of a
  call only the last one is remembered, and of a session only its last {recent} different calls.
  Where there are no sessions (2026-07-28, or a server without them), nothing is known to repeat.
- **method** of requests: {requests}.
- **method** of notifications: {notifications}.
- **method** of `mcp_input_requests_total` and `mcp_input_request_duration_seconds`: {inputs}.
- **delivery**: {deliveries}.
- **outcome** of `mcp_tasks_total`: {task_outcomes}.
- **reason** of `mcp_sessions_closed_total`: {session_ends}.
- **kind** of streams: {stream_kinds}.
- **code** of JSON-RPC errors: {codes}.
- **level**: {levels}.
- **method** of HTTP: {http_methods}.
- **code** of HTTP: 100 to 599, and 0 where an exchange ended before any status was sent.
- **reason** of `mcp_proxy_uninspected_messages_total`: {uninspected}.
- **reason** of `mcp_tool_soft_errors_total`: what the configured rule gives, {reasons} different
  ones per server; `{matched}` where it gives none.
- **metric** is the name of a custom metric, or `mcp_tool_soft_errors_total` where a rule for soft
  errors is meant; **reason** of `mcp_proxy_custom_metric_skips_total`: {skips}.
- **reason** of `mcp_upstream_failures_total`: {down} set `mcp_upstream_up` to 0; {broken} do not.
- **limit** is the name of a setting of `[limits]` or `[timeouts]`: {limits}. Idle connections that
  are closed on time count, too; that is no fault. Limits of the inspection refuse nothing, and are
  in `mcp_proxy_uninspected_messages_total`.
- **side** is client or upstream, **state** active or idle, **phase** request or response,
  **direction** to_server or to_client, **kind** of messages request, response or notification.
- Ids, sessions, arguments, resource URIs and tokens are never labels.
- The caps are settings of `[metrics]`. How full they are is in `mcp_proxy_label_values` and
  `mcp_proxy_label_values_limit`: {guarded}.
"""

_SEMCONV = """
Off by default: `metrics.semconv = true`. Dashboards that are written for OpenTelemetry's semantic
conventions for MCP (semantic-conventions-genai, as of 2026-08-20) find the names, labels and
buckets that they expect, and `server` besides. A proxy is the server of its clients and the client
of the upstream, and hands bytes on as they come: both families time the same thing, to within the
proxy's own overhead. `disable` one of them if that is too much. They differ in what is an error:

- **rpc_response_status_code** is the code of a JSON-RPC error, and so is **error_type**; but of
  operations of the server, {caller_errors} set no `error_type`: they are the caller's mistakes.
- Without a code, **error_type** is `tool_error`, `timeout` (the proxy's), or the outcome of a call
  that failed in another way: {errors}.
- What the conventions' lists or the caps lack is `{other}`, in every label.
- Requests that were `rejected` reached no upstream, so they are no operation of the client. What is
  `uninspected` is in neither: nobody knows whether it failed.
- `subscriptions/listen` and notifications are not timed, and the time in which the client had a
  question to answer is not taken off.
"""

_FAMILY_HEAD = """
| name | type | unit | labels | series at most | lines each | meaning |
|---|---|---|---|---|---|---|
"""

_COMPANIONS = """\
## The process

`process_*` (where the system has /proc) and `python_*` come from the Prometheus client library.
`metrics.disable` hides them.
"""


def describe() -> str:
    """Return the document."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    options = MetricsOptions()
    yield _INTRODUCTION
    yield _OUTCOMES_HEAD + "".join(f"| `{o}` | {text} |\n" for o, text in OUTCOMES.items())
    for title, families in SECTIONS.items():
        rows = "".join(map(_row, families))
        remarks = _semconv() if families is SEMCONV else ""
        yield f"## {title}\n{remarks}{_FAMILY_HEAD}{rows}{_buckets(families)}"
    yield _COMPANIONS
    yield describe_answers()
    yield _labels(options)
    yield describe_bounds()


def _row(family: Family) -> str:
    cells = (
        f"`{family.name}`",
        family.kind.value,
        family.unit or "-",
        ", ".join(family.labels) or "-",
        family.bound.replace("*", " x ").replace("+", " + "),
        str(family.lines),
        family.help,
    )
    return f"| {' | '.join(cells)} |\n"


def _buckets(families: tuple[Family, ...]) -> str:
    histograms = (family for family in families if family.kind is Kind.HISTOGRAM)
    return "".join(
        f"\nBuckets of `{family.name}`{' (a setting)' if family.configurable else ''}: "
        f"{' '.join(map(_decimal, family.buckets))}.\n"
        for family in histograms
    )


def _decimal(bound: float) -> str:
    return f"{bound:.5f}".rstrip("0").rstrip(".")


def _labels(options: MetricsOptions) -> str:
    return _LABELS.format(
        other=OTHER,
        unknown=UNKNOWN,
        empty=EMPTY,
        listed=options.max_listed_tools,
        called=options.max_tools,
        clients=options.max_clients,
        prompts=options.max_prompts,
        guarded=_words(GUARDED_LABELS),
        length=options.max_label_length,
        ratio=options.bytes_per_token,
        compared=MAX_COMPARED // 1024,
        blocks=_words(BLOCK_TYPES),
        structured=STRUCTURED,
        recent=MAX_RECENT,
        requests=_words(REQUEST_METHODS),
        notifications=_words(NOTIFICATION_METHODS),
        inputs=_words(INPUT_METHODS),
        deliveries=_meanings(DELIVERIES),
        task_outcomes=_meanings(TASK_OUTCOMES),
        session_ends=_meanings(SESSION_ENDS),
        stream_kinds=_meanings(STREAM_KINDS),
        versions=_words(PROTOCOL_VERSIONS),
        codes=_words(JSONRPC_CODES.values()),
        levels=_words(LOG_LEVELS),
        http_methods=_words(HTTP_METHODS),
        reasons=MAX_SOFT_ERROR_REASONS,
        matched=SOFT_ERROR_MATCHED,
        skips="; ".join(f"`{word}` ({meaning})" for word, meaning in SKIP_REASONS.items()),
        uninspected=_words(UNINSPECTED_REASONS),
        limits=_words(LIMITS),
        down=_words(reason for reason, down in UPSTREAM_FAILURES.items() if down),
        broken=_words(reason for reason, down in UPSTREAM_FAILURES.items() if not down),
    )


def _semconv() -> str:
    named = {"tool_error", "timeout", SEMCONV_OTHER}
    return _SEMCONV.format(
        caller_errors=_words(map(str, SEMCONV_CALLER_ERRORS)),
        errors=_words(word for word in SEMCONV_ERROR_TYPES.values() if word and word not in named),
        other=SEMCONV_OTHER,
    )


def _words(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _meanings(words: Mapping[S, str]) -> str:
    return "; ".join(f"`{word.value}` ({meaning})" for word, meaning in words.items())


def main() -> None:
    """Write the document to standard output."""
    sys.stdout.write(describe())


if __name__ == "__main__":
    main()
