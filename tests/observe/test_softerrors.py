"""Failures that call themselves success: counted as failures by every family, and told apart."""

from typing import Any

import msgspec
import pytest

from mcp_proxy_exporter.config.custom import CustomMetricSettings, SoftErrorSettings
from mcp_proxy_exporter.observe import softerrors as module
from mcp_proxy_exporter.observe.words import MAX_SOFT_ERROR_REASONS
from mcp_proxy_exporter.protocol.events import LOST, Transcript
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import Figures, list_tools, make_metrics, scrape
from tests.observe.told import SKIPS, call, skipped

FAMILY = "mcp_tool_soft_errors_total"
NOT_OK = "result.ok == `false`"
BAD = {"ok": False}


def count(*calls: Any, rules: tuple[SoftErrorSettings, ...], **options: Any) -> Figures:
    """Count calls of listed tools."""
    metrics = make_metrics(soft_errors=rules, **options)
    server = metrics.server("cats")
    list_tools(server, "nap", "hunt")
    for events in calls:
        for event in events:
            server.handle(event)
    return scrape(metrics)


def test_a_soft_error_is_a_tool_error_everywhere() -> None:
    rule = SoftErrorSettings(when=NOT_OK)
    custom = CustomMetricSettings(name="x_total", type="counter", labels={"outcome": "outcome"})
    figures = count(call(None, BAD), call(None, {"ok": True}), rules=(rule,), custom=(custom,))
    for outcome in ("tool_error", "success"):
        series = {"server": "cats", "tool": "nap", "outcome": outcome}
        assert figures("mcp_tool_calls_total", **series) == 1
        assert figures("mcp_tool_call_duration_seconds_count", **series) == 1
        assert figures("x_total", **series) == 1
        assert (
            figures("mcp_requests_total", server="cats", method="tools/call", outcome=outcome) == 1
        )
    assert figures(FAMILY, server="cats", tool="nap", reason="matched") == 1
    assert figures("mcp_tool_calls_in_flight", server="cats", tool="nap") == 0


def test_only_success_is_judged() -> None:
    rule = SoftErrorSettings(when="tool")
    figures = count(call(None, BAD, outcome=Outcome.INPUT_REQUIRED), rules=(rule,))
    assert figures.total("mcp_tool_calls_total", outcome="input_required") == 1
    assert figures.total(FAMILY) == 0


def test_the_first_rule_that_is_true_decides() -> None:
    rules = (
        SoftErrorSettings(when="result.never", reason="'a'"),
        SoftErrorSettings(when="tool", tools=("hunt",), reason="'b'"),
        SoftErrorSettings(when="tool", reason="'c'"),
        SoftErrorSettings(when="tool", reason="'d'"),
    )
    figures = count(call(), call(tool="hunt"), rules=rules)
    assert figures(FAMILY, server="cats", tool="nap", reason="c") == 1
    assert figures(FAMILY, server="cats", tool="hunt", reason="b") == 1
    assert figures.total(FAMILY) == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("E7", "E7"),
        (503, "503"),
        (None, "matched"),
        (503.0, "503"),
        (0.1, "0.1"),
        (True, "true"),
        (False, "false"),
        (2**60, "_other"),
        ({}, "_other"),
        (["E7"], "_other"),
        ("a\nb", "a\ufffdb"),
        ("", "_empty"),
    ],
)
def test_a_reason_is_written_as_any_label(code: object, reason: str) -> None:
    rule = SoftErrorSettings(when=NOT_OK, reason="result.code")
    figures = count(call(None, {**BAD, "code": code}), rules=(rule,))
    assert figures.values(FAMILY, "reason") == {reason}


def test_a_number_that_python_does_not_write_is_a_reason_like_others() -> None:
    # More digits than `str` takes, as the sum of two numbers that JSON may have.
    rule = SoftErrorSettings(when=NOT_OK, reason="sum(result.codes)")
    figures = count(call(None, {**BAD, "codes": [9 * 10**4299] * 2}), rules=(rule,))
    assert figures(FAMILY, server="cats", tool="nap", reason="_other") == 1
    assert figures.total("mcp_tool_calls_in_flight") == 0


def test_what_is_no_reason_takes_no_place_of_one() -> None:
    rule = SoftErrorSettings(when=NOT_OK, reason="result.code")
    codes = [[], *range(MAX_SOFT_ERROR_REASONS)]
    figures = count(*(call(None, {**BAD, "code": code}) for code in codes), rules=(rule,))
    assert figures(FAMILY, server="cats", tool="nap", reason="_other") == 1
    assert len(figures.values(FAMILY, "reason")) == MAX_SOFT_ERROR_REASONS + 1


@pytest.mark.parametrize("lost", LOST)
def test_nothing_is_concluded_from_a_text_that_is_lost(lost: str) -> None:
    # The first is true of what is not there.
    rules = (
        SoftErrorSettings(when="result.ok != `true`"),
        SoftErrorSettings(when="arguments.bad"),
    )
    opened, closed = call({}, {"ok": True})
    unread = Transcript(closed.transcript.request, b"", None, lost)  # type: ignore[union-attr]
    events = (opened, msgspec.structs.replace(closed, transcript=unread))
    figures = count(events, rules=rules)
    assert figures.total("mcp_tool_calls_total", outcome="success") == 1
    assert figures.total(FAMILY) == 0
    assert skipped(figures, FAMILY) == {lost: 1}
    # Another rule may know enough.
    opened, closed = call({"bad": True}, {})
    unread = Transcript(closed.transcript.request, b"", None, lost)  # type: ignore[union-attr]
    events = (opened, msgspec.structs.replace(closed, transcript=unread))
    figures = count(events, rules=rules)
    assert figures(FAMILY, server="cats", tool="nap", reason="matched") == 1
    assert skipped(figures, FAMILY) == {lost: 1}


def test_a_fault_of_ours_loses_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(module, "label_text", fail)
    metrics = make_metrics(soft_errors=(SoftErrorSettings(when=NOT_OK),))
    server = metrics.server("cats")
    list_tools(server, "nap")
    opened, closed = call(None, BAD)
    server.handle(opened)
    with pytest.raises(RuntimeError):
        server.handle(closed)
    figures = scrape(metrics)
    assert figures.total("mcp_tool_calls_total", outcome="success") == 1
    assert figures.total("mcp_tool_calls_in_flight") == 0
    assert figures.total("mcp_requests_in_flight") == 0
    assert figures.total(FAMILY) == 0


def test_reasons_beyond_the_cap_are_other() -> None:
    rule = SoftErrorSettings(when=NOT_OK, reason="result.code")
    codes = [*range(MAX_SOFT_ERROR_REASONS + 3), 0, None]
    figures = count(*(call(None, {**BAD, "code": code}) for code in codes), rules=(rule,))
    assert figures(FAMILY, server="cats", tool="nap", reason="_other") == 3
    assert figures(FAMILY, server="cats", tool="nap", reason="0") == 2
    assert figures(FAMILY, server="cats", tool="nap", reason="matched") == 1
    assert len(figures.values(FAMILY, "reason")) == MAX_SOFT_ERROR_REASONS + 2


@pytest.mark.parametrize("reason", [None, "length(result.ok)"])
def test_a_rule_that_fails_judges_nothing(reason: str | None) -> None:
    when = "length(result.ok)" if reason is None else NOT_OK
    rules = (
        SoftErrorSettings(when=when, reason=reason),
        SoftErrorSettings(when="result.second"),
    )
    figures = count(call(None, BAD), call(None, {**BAD, "second": 1}), rules=rules)
    assert skipped(figures, FAMILY) == {"expression_failed": 2}
    assert figures.total("mcp_tool_calls_total", outcome="success") == 1
    assert figures(FAMILY, server="cats", tool="nap", reason="matched") == 1


def test_a_soft_error_admits_no_name() -> None:
    metrics = make_metrics(soft_errors=(SoftErrorSettings(when=NOT_OK),))
    for event in call(None, BAD, tool="invented"):
        metrics.server("cats").handle(event)
    assert scrape(metrics)(FAMILY, server="cats", tool="_other", reason="matched") == 1


def test_without_rules_nothing_is_said_of_skips() -> None:
    assert not list(scrape(make_metrics()).series(SKIPS))
