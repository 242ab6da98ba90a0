"""How series are chosen: matchers of the variables, classes of outcomes, quantiles and shares.

Knows labels and PromQL; does not know panels. A test compares every name with the catalogue.
"""

from typing import Final

FAULTS: Final = (
    "abandoned",
    "invalid_response",
    "proxy_shutdown",
    "upstream_closed",
    "upstream_timeout",
    "upstream_unreachable",
)
"""What kept the caller from an answer. With `REFUSALS`, what the objectives count as bad."""
REFUSED: Final = "protocol_error"
"""A JSON-RPC error."""
BROKEN: Final = "http_error"
"""An HTTP status instead of an answer."""
REFUSALS: Final = (REFUSED, BROKEN)
"""A fault, unless the caller invented the tool, or has no token to see one."""
TOOL_ERROR: Final = "tool_error"
"""An answer of the tool, which the model reads and reacts to: shown apart, no failure."""
ANSWERS: Final = ("success", TOOL_ERROR, "input_required", "task_created")
"""What the objectives count as good."""
FINISHED: Final = ("success", TOOL_ERROR)
"""The tool ran to its end: what latency is about. Failures are often quick and would flatter it."""
GIVEN_UP: Final = ("cancelled", "client_disconnected")
"""The caller ended it: nobody's failure."""
OTHERWISE: Final = ("input_required", "task_created", "rejected", "uninspected")
"""A step on the way, a caller's mistake, or unknown."""

_CALLS: Final = "mcp_tool_calls_total"
# Names that no list and no success vouches for: an error there is the caller's mistake.
_REAL: Final = 'tool!="_other"'
_INVENTED: Final = 'tool="_other"'

QUANTILES: Final = ((0.5, "green"), (0.95, "yellow"), (0.99, "red"))
"""The quantiles of latency, and their colours."""

RATE: Final = "$__rate_interval"
RANGE: Final = "$__range"
"""The board's whole time range; only in instant queries."""

_TARGET: Final = 'job=~"$job", instance=~"$instance"'
_SERVER: Final = 'server=~"$server"'
TOOL: Final = 'tool=~"$tool"'


def pick(metric: str, *matchers: str) -> str:
    """Select series of the chosen servers."""
    return f"{metric}{{{', '.join((_TARGET, _SERVER, *matchers))}}}"


def pick_process(metric: str) -> str:
    """Select series that belong to the whole process: they have no label `server`."""
    return f"{metric}{{{_TARGET}}}"


def ours(expression: str, window: str = "") -> str:
    """Keep series of processes that are exporters of this kind.

    Names such as `process_*` say nothing about whose they are, and with all jobs chosen every
    process matches. With a window also those that were one within it and are down now.
    """
    proof = pick_process("mcp_proxy_build_info")
    if window:
        proof = f"last_over_time({proof}[{window}])"
    return f"{expression} and on (job, instance) {proof}"


def pick_alerts() -> str:
    """Select alerts that fire; also those whose expression aggregated the labels away."""
    # "$job|" also matches where the label is missing.
    return (
        'ALERTS{alertstate="firing", alertname=~"MCP.*", '
        'job=~"$job|", instance=~"$instance|", server=~"$server|"}'
    )


def pick_starts_of_alerts() -> str:
    """Select alerts that fire, with the moment at which their condition began to hold, in ms."""
    since = pick_alerts().replace("ALERTS", "ALERTS_FOR_STATE").replace('alertstate="firing", ', "")
    return f"{since} * 1000 and ignoring (alertstate) {pick_alerts()}"


def pick_budget() -> str:
    """Select what is left of error budgets: recorded by prometheus/rules/slo.yml, not scraped."""
    # Summed over instances; several objectives for a server are told apart by the label `slo`.
    return (
        'slo:error_budget_remaining:ratio{job=~"$job", instance=~"$instance|", server=~"$server"}'
    )


def ended(*outcomes: str) -> str:
    """Match calls by what became of them."""
    names = "|".join(outcomes)
    return f'outcome=~"{names}"' if len(outcomes) > 1 else f'outcome="{names}"'


def rate(series: str, window: str = RATE) -> str:
    """Give the increase per second of counters."""
    return f"rate({series}[{window}])"


def increase(series: str, window: str = RATE) -> str:
    """Give the increase of counters."""
    return f"increase({series}[{window}])"


def gained(series: str) -> str:
    """Give what counters gained in the time range, with the first values of those that are new.

    `increase` knows nothing of the value with which a series begins, and most failures are rare
    enough for that one to matter. As in prometheus/rules/calls.yml a series gained all that it
    shows if it was not there when the range began while its target was, or its process was not
    (else it may only be new to this Prometheus). After a restart within the range it shows less
    than it gained, and its increase counts. For instant queries only.
    """
    there = f"{pick_process('up')} offset {RANGE} == 1"
    began = f"{pick_process('process_start_time_seconds')} > time() - {RANGE}_s"
    grown = increase(series, RANGE)
    return (
        f"({series} unless ({series} offset {RANGE} or {grown} > {series}))"
        f" and on (job, instance) ({there} or {began}) or {grown}"
    )


def total(expression: str, *by: str) -> str:
    """Sum, apart by labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def share(part: str, whole: str) -> str:
    """Divide: 0 where no such part was ever seen, nothing where the whole is 0."""
    # A series of an outcome appears with its first call; without `or` no failure ever would look
    # like no calls at all.
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def quantile(
    which: float, family: str, *matchers: str, by: tuple[str, ...] = (), window: str = RATE
) -> str:
    """Estimate a quantile of a histogram; nothing where nothing was observed."""
    buckets = total(rate(pick(f"{family}_bucket", *matchers), window), *by, "le")
    # Without observations it is NaN, which compares with nothing.
    return f"histogram_quantile({which:g}, {buckets}) >= 0"


def mean(family: str, *matchers: str, by: tuple[str, ...] = (), window: str = RATE) -> str:
    """Divide the sum of what was observed by how often; nothing where nothing was observed."""
    observed = total(_count(pick(f"{family}_sum", *matchers), window=window), *by)
    count = total(_count(pick(f"{family}_count", *matchers), window=window), *by)
    return f"{observed} / ({count} > 0)"


def failed(*matchers: str, window: str = RATE) -> str:
    """Give the failed tool calls in a window, each series alone."""
    return _count(
        pick(_CALLS, *matchers, ended(*FAULTS)),
        pick(_CALLS, *matchers, ended(*REFUSALS), _REAL),
        window=window,
    )


def judged(*matchers: str, window: str = RATE) -> str:
    """Give the tool calls in a window that failed or were answered, each series alone."""
    answered = _count(pick(_CALLS, *matchers, ended(*ANSWERS)), window=window)
    return f"{answered} or {failed(*matchers, window=window)}"


def _count(*series: str, window: str) -> str:
    """Give counters per second, or what they gained in the time range: a share is the same."""
    return " or ".join(gained(each) if window == RANGE else rate(each, window) for each in series)


def otherwise() -> str:
    """Give the tool calls per second that came to something else, each series alone."""
    steps = rate(pick(_CALLS, ended(*OTHERWISE)))
    return f"{steps} or {rate(pick(_CALLS, ended(*REFUSALS), _INVENTED))}"


def failed_share(*matchers: str, by: tuple[str, ...] = (), window: str = RATE) -> str:
    """Give the share of the judged tool calls that failed: what the objectives limit."""
    return share(
        total(failed(*matchers, window=window), *by), total(judged(*matchers, window=window), *by)
    )


def tool_error_share(*matchers: str, by: tuple[str, ...] = (), window: str = RATE) -> str:
    """Give the share of the finished tool calls whose result is an error."""
    errors = _count(pick(_CALLS, *matchers, ended(TOOL_ERROR)), window=window)
    finished = _count(pick(_CALLS, *matchers, ended(*FINISHED)), window=window)
    return share(total(errors, *by), total(finished, *by))


def definition_tokens(*by: str, tool: str = "") -> str:
    """Sum the estimated tokens of listed tools' definitions, each tool once."""
    # Replicas of the exporter list the same tools: they must not add up.
    matchers = [tool] if tool else []
    listed = pick("mcp_tool_definition_estimated_tokens", *matchers)
    once = f"max by (job, server, tool) ({listed})"
    return once if by == ("job", "server", "tool") else total(once, *by)


# Custom metrics are named by the configuration, which keeps them away from these beginnings. All
# have the labels `server` and `tool`; names with a colon are those of recording rules.
_FOREIGN: Final = "mcp_.*|process_.*|python_.*|ALERTS.*|.*:.*"
_NAMED_APART: Final = ".*_(total|count|sum|bucket)"
"""Series of counters, histograms and summaries; what else there is is a gauge."""


def custom_gauges() -> str:
    """Give the custom gauges of the chosen tools, by name as the label `metric`."""
    gauges = pick("", f'__name__!~"{_FOREIGN}|{_NAMED_APART}"', TOOL)
    return _name(f"max by (__name__, server, tool) ({ours(gauges)})", "(.+)")


def custom_rates(suffixes: str) -> str:
    """Give the custom metrics of some suffixes per second, by name as the label `metric`."""
    series = pick("", f'__name__=~".+_({suffixes})"', f'__name__!~"{_FOREIGN}"', TOOL)
    # `rate` drops the names, after which several metrics of a tool would be the same series. So
    # they move to a label first, which takes a subquery, as only selectors have a range.
    named = _name(ours(series), f"(.+)_(?:{suffixes})")
    return total(f"rate({named}[{RATE}:$__interval])", "server", "tool", "metric")


def _name(expression: str, pattern: str) -> str:
    return f'label_replace({expression}, "metric", "$1", "__name__", "{pattern}")'
