"""The reader's document of the metrics, written from the table: ``docs/metrics.md``.

``python -m mcp_proxy_exporter.observe.document > docs/metrics.md``. Knows how to explain; whatever
it says about families, caps and words is read from where the program reads it.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from mcp_proxy_exporter.observe.catalogue import FAMILIES, SECTIONS
from mcp_proxy_exporter.observe.family import DIMENSIONS, Family, Kind
from mcp_proxy_exporter.observe.labels import EMPTY
from mcp_proxy_exporter.observe.metrics import MetricsOptions
from mcp_proxy_exporter.observe.words import (
    HTTP_METHODS,
    JSONRPC_CODES,
    LOG_LEVELS,
    NOTIFICATION_METHODS,
    OTHER,
    REQUEST_METHODS,
    UNINSPECTED_REASONS,
    UPSTREAM_FAILURES,
)
from mcp_proxy_exporter.protocol.outcome import Outcome

_INTRODUCTION = """\
# Metrics

This file is generated from the table in `mcp_proxy_exporter/observe/catalogue.py`; do not edit it:
`python -m mcp_proxy_exporter.observe.document > docs/metrics.md`.

Names, labels and label values are the product's public interface. `mcp_*` is measured about the
traffic, `mcp_proxy_*` about the exporter itself. Units are seconds and bytes. `server` is the name
in the configuration. `/metrics` answers in OpenMetrics 1.0.0 to a scraper that asks for it, else in
the Prometheus text format 0.0.4; there are no `_created` series.
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
        Outcome.TOOL_ERROR: "`result.isError` is true",
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
        Outcome.ABANDONED: "an event stream ended after event ids, without the response "
        "(whether it is resumed is not followed)",
        Outcome.REJECTED: "refused by the proxy before it reached the upstream",
        Outcome.PROXY_SHUTDOWN: "the proxy stopped while the call ran",
        Outcome.UNINSPECTED: "forwarded but not judged: over the inspection limit, or in an "
        "unknown encoding",
    }
)

_LABELS = """\
## Labels

Tool names, methods, codes and levels come from peers, who may be hostile. Whatever is not on a
closed list, or beyond a cap, is counted under `{other}`.

- **tool**. A name that the server's `tools/list` showed is admitted, up to {listed} different names
  per server in all the time of the process. Before the first list that was seen to its end, a name
  is admitted also when a call of it succeeds, up to {called} names per server; afterwards only
  lists admit. An answer with `isError` admits nothing: most servers answer an unknown tool that
  way. The two counts are apart, so a caller who invents names cannot keep a real tool from its
  series. A named call that ends under `{other}` counts in `mcp_proxy_label_overflow_total`. An
  admitted name keeps its series until the process ends, also when the tool vanishes; `mcp_tools`
  and `mcp_tool_info` follow the last list.
- **mcp_unknown_tool_calls_total** counts a call when it ends, if its name was on no list so far.
  Nothing counts there before a list was seen to its end, nor after a server listed more names than
  the cap: then nobody remembers all of them. A call without a name is no call of an unknown tool.
- **In flight**. A call is in flight under the label that its name has when the call begins; it is
  counted under the label that its name has when it ends.
- **Text**. Lone surrogates, control characters, line ends, bidirectional marks and invisible spaces
  become U+FFFD, names over {length} characters are cut, the empty name is `{empty}`. Names that
  read the same afterwards share their series.
- **method** of requests: {requests}.
- **method** of notifications: {notifications}.
- **code** of JSON-RPC errors: {codes}.
- **level**: {levels}.
- **method** of HTTP: {http_methods}.
- **code** of HTTP: 100 to 599, and 0 where an exchange ended before any status was sent.
- **reason** of `mcp_proxy_uninspected_messages_total`: {uninspected}.
- **reason** of `mcp_upstream_failures_total`: {down} set `mcp_upstream_up` to 0; {broken} do not.
- **side** is client or upstream, **state** active or idle, **phase** request or response,
  **direction** to_server or to_client, **kind** request, response or notification.
- Ids, sessions, arguments, resource URIs and tokens are never labels.
"""

_BOUNDS = """\
## How many series

"Series at most" in the tables is a product of these:

| symbol | stands for | at most |
|---|---|---|
{rows}
All families together have at most `{process} + S x ({server} + {tool} x T)` lines of figures,
whatever peers send. That takes every method, status and outcome there is: a tool whose calls end in
`n` different ways has {fixed} + {per_outcome} x `n` lines.
"""

_FAMILY_HEAD = """
| name | type | unit | labels | series at most | lines each | meaning |
|---|---|---|---|---|---|---|
"""

_COMPANIONS = """\
## The process

`process_*` (where the system has /proc) and `python_*` come from the Prometheus client library.
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
        yield f"## {title}\n{_FAMILY_HEAD}{rows}{_buckets(families)}"
    yield _COMPANIONS
    yield _labels(options)
    yield _bounds()


def _row(family: Family) -> str:
    cells = (
        f"`{family.name}`",
        family.kind.value,
        family.unit or "-",
        ", ".join(family.labels) or "-",
        family.bound.replace("*", " x "),
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
        empty=EMPTY,
        listed=options.max_listed_tools,
        called=options.max_tools,
        length=options.max_label_length,
        requests=_words(REQUEST_METHODS),
        notifications=_words(NOTIFICATION_METHODS),
        codes=_words(JSONRPC_CODES.values()),
        levels=_words(LOG_LEVELS),
        http_methods=_words(HTTP_METHODS),
        uninspected=_words(UNINSPECTED_REASONS),
        down=_words(reason for reason, down in UPSTREAM_FAILURES.items() if down),
        broken=_words(reason for reason, down in UPSTREAM_FAILURES.items() if not down),
    )


def _words(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _bounds() -> str:
    rows = "".join(
        f"| {symbol} | {dimension.text} | {dimension.size or 'as configured'} |\n"
        for symbol, dimension in DIMENSIONS.items()
    )
    process = limit(servers=0, tools=0)
    server = limit(servers=1, tools=0) - process
    tool = limit(servers=1, tools=1) - process - server
    per_outcome = sum(family.lines for family in SECTIONS["Tool calls"] if _by_outcome(family))
    fixed = tool - per_outcome * len(Outcome)
    return _BOUNDS.format(
        rows=rows, process=process, server=server, tool=tool, fixed=fixed, per_outcome=per_outcome
    )


def _by_outcome(family: Family) -> bool:
    return "outcome" in family.labels


def limit(*, servers: int, tools: int) -> int:
    """Return how many lines of figures a scrape can have at most, the process apart.

    tools is how many labels each server has, ``_other`` included.
    """
    sizes = {"S": servers, "T": tools}
    return sum(family.limit(sizes) * family.lines for family in FAMILIES)


def main() -> None:
    """Write the document to standard output."""
    sys.stdout.write(describe())


if __name__ == "__main__":
    main()
