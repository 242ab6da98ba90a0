"""The rule file for a list of objectives: deterministic text, from nothing but the objectives.

Knows which calls count as good and which as bad, the windows and how fast a budget may burn in
each; does not know YAML beyond what it writes: mappings, block scalars and JSON strings, which are
YAML 1.2, too.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TypeAlias

from prometheus_client.utils import floatToGoString

from mcp_proxy_exporter.config import SloSettings
from mcp_proxy_exporter.config.slo import CALLS, DURATIONS
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.slo.pattern import match_label, quote

DEFAULT_SLOS = (
    SloSettings(name="availability", objective=0.99),
    SloSettings(name="latency", objective=0.95, latency=10.0),
)
"""Promises that few servers break without anybody wanting to know."""

# What the server answered, be it that its tool failed: a result with isError is meant for the
# model, which corrects itself by it (MCP 2025-11-25, server/tools, error handling).
_ANSWERED = (Outcome.SUCCESS, Outcome.TOOL_ERROR, Outcome.INPUT_REQUIRED, Outcome.TASK_CREATED)
# What kept the client from an answer. A call that is in neither list is no evidence: its client
# took it back, was refused for what it sent, or nobody could read what became of it.
_FAULTS = (
    Outcome.INVALID_RESPONSE,
    Outcome.UPSTREAM_UNREACHABLE,
    Outcome.UPSTREAM_TIMEOUT,
    Outcome.UPSTREAM_CLOSED,
    Outcome.ABANDONED,
    Outcome.PROXY_SHUTDOWN,
)
# Whoever waited longer than the bound and left had a slow call; whoever left before, had none.
_IMPATIENT = (Outcome.CANCELLED, Outcome.CLIENT_DISCONNECTED, Outcome.UPSTREAM_TIMEOUT)
# The label of names that no list and no success vouches for. An error under it says that the client
# invented a tool, or has no token: strangers must not be able to wake somebody. Any other end of
# such a call is still the server's.
_OTHER = "_other"
_REFUSALS = (Outcome.PROTOCOL_ERROR, Outcome.HTTP_ERROR)

INTERVAL_MINUTES = 1
BASE_MINUTES = 5
"""Calls are counted over five minutes, once each minute: scrapes may be two minutes apart, and all
longer windows are sums of few series instead of looks at the many that calls are counted in."""
_BAD = f"slo:mcp_bad_calls:increase{BASE_MINUTES}m"
_CALLS = f"slo:mcp_calls:increase{BASE_MINUTES}m"
REPEATS = BASE_MINUTES // INTERVAL_MINUTES
"""How often each call is in a sum of those counts."""

MIN_BAD_CALLS = 5
"""The volume gate: fewer bad calls in an alert's long window are no evidence, whatever their share.
One bad call of three in a quiet night would be more than any budget."""

_HOURS = {"5m": Decimal(5) / 60, "30m": Decimal("0.5"), "1h": Decimal(1), "2h": Decimal(2)} | {
    "6h": Decimal(6),
    "1d": Decimal(24),
    "3d": Decimal(72),
}
WINDOWS = tuple(_HOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast is too fast: an alert on a long window, and on a short one, so that it ends soon."""

    share: Decimal
    """Of the budget, spent within the long window."""
    long: str
    short: str
    pause: str
    """How long it has to hold, so that what ends by itself wakes nobody."""
    severity: str
    linger: str = ""
    """How long it stays after that. With few calls the short window is empty between two bad ones,
    and whoever is woken would be told again and again that it is over."""


# The Site Reliability Workbook, chapter 5: multiwindow, multi-burn-rate alerts.
PACES = (
    Pace(
        share=Decimal("0.02"),
        long="1h",
        short="5m",
        pause="2m",
        severity="critical",
        linger="15m",
    ),
    Pace(
        share=Decimal("0.05"),
        long="6h",
        short="30m",
        pause="15m",
        severity="critical",
        linger="30m",
    ),
    Pace(share=Decimal("0.10"), long="1d", short="2h", pause="1h", severity="warning"),
    Pace(share=Decimal("0.10"), long="3d", short="6h", pause="3h", severity="warning"),
)

_HEADER = """\
# Made by `mcp-proxy-exporter rules`; changes belong into its configuration, [[slo]].
# What counts as a good call, why the alerts look at two windows, and how to change it:
# docs/alerts.md.
"""

Value: TypeAlias = "str | dict[str, str]"
Rule: TypeAlias = dict[str, Value]


def render_rules(slos: Sequence[SloSettings]) -> str:
    """Write the rule file for some objectives."""
    return _HEADER + "groups:\n" + "".join(_render_group(slo) for slo in slos)


def _render_group(slo: SloSettings) -> str:
    head = (
        f"  - name: {_scalar(f'slo {slo.title}')}\n    interval: {INTERVAL_MINUTES}m\n    rules:\n"
    )
    return head + "".join(_render_rule(rule) for rule in _make_rules(slo))


def _render_rule(rule: Rule) -> str:
    text = ""
    for key, value in rule.items():
        text += f"      {' ' if text else '-'} {key}:"
        if isinstance(value, dict):
            lines = (f"          {name}: {_scalar(of)}\n" for name, of in value.items())
            text += "\n" + "".join(lines)
        elif key == "expr":
            # A block, whatever it is: names of objectives may hold what ends a plain scalar.
            text += " |\n" + "".join(f"          {line}\n" for line in value.splitlines())
        else:
            text += f" {value}\n"
    return text


def _scalar(text: str) -> str:
    # As it is: YAML libraries disagree on pairs of escaped surrogates.
    return json.dumps(text, ensure_ascii=False)


def _make_rules(slo: SloSettings) -> Iterator[Rule]:
    budget = 1 - Decimal(repr(slo.objective))
    of = _of(slo)
    bad, total = _count_by_latency(slo) if slo.latency else _count_by_outcome(slo)
    records = {_BAD: bad, _CALLS: total}
    for window in (*WINDOWS, f"{slo.days}d"):
        bad, total = f"{_BAD}{of}", f"{_CALLS}{of}"
        if window != WINDOWS[0]:
            bad, total = f"sum_over_time({bad}[{window}])", f"sum_over_time({total}[{window}])"
        records[_ratio(window)] = f"{bad}\n/\n({total} > 0)"
    records |= {
        "slo:objective:ratio": f"vector({1 - budget:f})",
        "slo:error_budget:ratio": f"vector({budget:f})",
        "slo:window:days": f"vector({slo.days})",
        "slo:burn_rate:ratio": f"{_ratio('1h')}{of} / {budget:f}",
        "slo:error_budget_remaining:ratio": f"1 - {_ratio(f'{slo.days}d')}{of} / {budget:f}",
    }
    for name, expr in records.items():
        yield {"record": name, "expr": expr, "labels": {"slo": slo.title}}
    for pace, factor in _list_factors(slo.days):
        # More than all calls cannot be bad: such an alert would only look as if it guarded.
        if factor * budget < 1:
            yield _make_alert(slo, pace, factor, budget)


def _list_factors(days: int) -> Iterator[tuple[Pace, Decimal]]:
    """Give each pace with how many times too fast it is; none below 1, at which budgets last.

    In short windows the slow paces would be below: the first of them is raised to 1, and the others
    would only say the same later.
    """
    for pace in PACES:
        factor = round(pace.share * days * 24 / _HOURS[pace.long], 4).normalize()
        yield pace, max(factor, Decimal(1))
        if factor <= 1:
            return


def _escape(text: str) -> str:
    """Write text for Prometheus' templates, which labels and annotations of alerts are."""
    return text.replace("{{", '{{ "{{" }}')


def _ratio(window: str) -> str:
    return f"slo:mcp_bad_calls_per_call:ratio_rate{window}"


def _of(slo: SloSettings) -> str:
    return f"{{slo={quote(slo.title)}}}"


def _make_alert(slo: SloSettings, pace: Pace, factor: Decimal, budget: Decimal) -> Rule:
    of, limit = _of(slo), f"{factor:f} * {budget:f}"
    kind, what = "Error", "got no answer"
    if slo.latency:
        kind, what = "Latency", f"took longer than {slo.latency:g} s"
    name = f"MCP{kind}BudgetBurn"
    title = _escape(slo.title)
    return {
        "alert": name,
        "expr": f"{_ratio(pace.long)}{of} > {limit}\nand\n"
        f"{_ratio(pace.short)}{of} > {limit}\nand\n"
        f"sum_over_time({_BAD}{of}[{pace.long}]) / {REPEATS} >= {MIN_BAD_CALLS}",
        "for": pace.pause,
        **({"keep_firing_for": pace.linger} if pace.linger else {}),
        # The objective is a label of the rule, too: two rules of one name and the same labels look
        # like one that was written twice.
        "labels": {"severity": pace.severity, "slo": title, "window": pace.long},
        "annotations": {
            "summary": f"{{{{ $labels.server }}}} spends the error budget of {title} too fast",
            "description": "{{ $value | humanizePercentage }} of the tool calls of "
            f"{{{{ $labels.server }}}} ({{{{ $labels.job }}}}) {what} in the last {pace.long}. "
            f"That is more than {factor:f}x what the objective allows, at which a budget of "
            f"{slo.days} days lasts {round(slo.days * 24 / factor)} hours.",
            "runbook_url": f"docs/runbooks/{name}.md",
        },
    }


def _count_by_outcome(slo: SloSettings) -> tuple[str, str]:
    """Count the calls that got no answer, and all calls."""
    known = f'tool!="{_OTHER}"' if fnmatchcase(_OTHER, slo.tool) else ""
    answered = _select(CALLS, slo, _ANSWERED)
    bad = _sum(
        _increase(_select(CALLS, slo, _FAULTS)),
        _increase(_select(CALLS, slo, _REFUSALS, known)),
        # What never happened has no series, and a sum of no series is no 0.
        f"0 * {answered}",
    )
    return bad, _sum(_increase(answered), f"{_BAD}{_of(slo)}")


def _count_by_latency(slo: SloSettings) -> tuple[str, str]:
    """Count the calls that lasted too long, and these with those that were quick."""
    bound = f"le={quote(floatToGoString(slo.latency))}"  # type: ignore[no-untyped-call]  # untyped in the library
    both = (*_ANSWERED, *_IMPATIENT)
    ended = _sum(_increase(_select(f"{DURATIONS}_count", slo, both)))
    soon = _sum(_increase(_select(f"{DURATIONS}_bucket", slo, both, bound)))
    quick = _increase(_select(f"{DURATIONS}_bucket", slo, _ANSWERED, bound))
    return f"{ended}\n-\n{soon}", _sum(quick, f"{_BAD}{_of(slo)}")


def _select(metric: str, slo: SloSettings, outcomes: Sequence[Outcome], more: str = "") -> str:
    matchers = [f"outcome=~{quote('|'.join(outcomes))}"] if len(outcomes) > 1 else []
    matchers += [f"outcome={quote(outcomes[0])}"] if len(outcomes) == 1 else []
    server = f"server={quote(slo.server)}" if slo.server else ""
    matchers = [server, match_label("tool", slo.tool), more, *matchers]
    return f"{metric}{{{', '.join(matcher for matcher in matchers if matcher)}}}"


def _sum(*terms: str) -> str:
    return "sum by (job, server) (\n  " + "\n  or\n  ".join(terms) + "\n)"


def _increase(selector: str) -> str:
    """Count what a selection gained in five minutes, its first count included.

    `increase` sees the second count of a new series first, and most ends of calls are rare enough
    to be new. A series that is new in a process that was scraped before, or that itself is new, has
    gained all that it has.
    """
    base = f"{BASE_MINUTES}m"
    started = f"process_start_time_seconds > time() - {BASE_MINUTES * 60}"
    return (
        f"({selector}\n    unless {selector} offset {base})\n"
        "    and on (job, instance)\n"
        f"    (up offset {base} == 1 or {started})\n"
        "  or\n"
        f"  increase({selector}[{base}])"
    )
