"""Custom metrics: what becomes a series, what is skipped, and that nothing else can happen."""

import json
import math
from typing import Any

import pytest

from mcp_proxy_exporter.config.custom import CustomMetricSettings
from mcp_proxy_exporter.observe.custom import make_families
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, Client, Transcript
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import Figures, list_tools, make_metrics, scrape
from tests.observe.told import SKIPS, call, skipped


def metric(kind: str = "counter", name: str = "", **settings: Any) -> CustomMetricSettings:
    """Return the settings of a metric."""
    settings = {"type": kind, "name": name or ("x_total" if kind == "counter" else "x"), **settings}
    if kind == "histogram":
        settings.setdefault("buckets", (1, 10))
    return CustomMetricSettings(**settings)


def count(*calls: tuple[CallOpened, CallClosed], custom: CustomMetricSettings) -> Figures:
    """Count calls of listed tools."""
    metrics = make_metrics(custom=(custom,))
    server = metrics.server("cats")
    list_tools(server, "nap", "hunt")
    for events in calls:
        for event in events:
            server.handle(event)
    return scrape(metrics)


def test_a_counter_without_a_value_counts_calls() -> None:
    figures = count(call(), call(), call(tool="hunt"), custom=metric())
    assert figures("x_total", server="cats", tool="nap") == 2
    assert figures("x_total", server="cats", tool="hunt") == 1


def test_a_counter_adds_values() -> None:
    figures = count(call({"n": 2}), call({"n": 0.5}), custom=metric(value="arguments.n"))
    assert figures("x_total", server="cats", tool="nap") == 2.5


def test_a_gauge_shows_the_last_value_whatever_its_sign() -> None:
    figures = count(call({"n": 2}), call({"n": -7}), custom=metric("gauge", value="arguments.n"))
    assert figures("x", server="cats", tool="nap") == -7
    assert figures.families["x"] == "gauge"


def test_a_histogram_observes() -> None:
    calls = (call({"n": number}) for number in (1, 5, 50))
    figures = count(*calls, custom=metric("histogram", value="arguments.n"))
    series = {"server": "cats", "tool": "nap"}
    assert [figures("x_bucket", le=le, **series) for le in ("1.0", "10.0", "+Inf")] == [1, 2, 3]
    assert (figures("x_count", **series), figures("x_sum", **series)) == (3, 56)


def test_a_summary_observes() -> None:
    calls = (call({"n": number}) for number in (1, 5))
    figures = count(*calls, custom=metric("summary", value="arguments.n"))
    series = {"server": "cats", "tool": "nap"}
    assert (figures("x_count", **series), figures("x_sum", **series)) == (2, 6)


def test_conditions_choose_calls_and_a_counter_begins_at_zero() -> None:
    failures = metric(when="outcome == 'tool_error'")
    assert count(call(), custom=failures)("x_total", server="cats", tool="nap") == 0
    figures = count(call(), call(outcome=Outcome.TOOL_ERROR), custom=failures)
    assert figures("x_total", server="cats", tool="nap") == 1
    assert not skipped(figures, "x_total")


def test_a_call_tells_all_that_is_promised() -> None:
    labels = {
        "a": "tool",
        "b": "arguments.q",
        "c": "result.ok",
        "d": "error.code",
        "e": 'meta."x/y"',
        "f": "client.name",
        "g": "client.protocol_version",
        "h": "outcome",
        "i": "duration_seconds",
    }
    begun = Call("tools/call", "nap", 10.0, Client("desk", "2025-11-25"))
    request = {"params": {"name": "nap", "arguments": {"q": "why"}, "_meta": {"x/y": "acme"}}}
    response = {"result": {"ok": True}, "error": {"code": -7}}
    texts = Transcript(json.dumps(request).encode(), json.dumps(response).encode())
    closed = CallClosed(begun, Outcome.SUCCESS, 13.0, transcript=texts, waited=1.5)
    figures = count((CallOpened(begun), closed), custom=metric(labels=labels))
    [found] = figures.series("x_total")
    assert [found[label] for label in sorted(labels)] == [
        *("nap", "why", "true", "-7", "acme", "desk", "2025-11-25", "success", "1.5")
    ]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("so", "so"),
        ("", "_empty"),
        ("a\nb\ud800", "a\ufffdb\ufffd"),
        ("x" * 200, "x" * 127 + "\u2026"),
        (200, "200"),
        (200.0, "200"),
        (0.1, "0.1"),
        # 16 digits: the most that are the same for every double on their way from a text and back.
        (123456789.0123456, "123456789.0123456"),
        (1e300, "1e+300"),
        (2**53, "9007199254740992"),
        (10**400, "_other"),
        (True, "true"),
        (False, "false"),
        (None, "_unknown"),
        ([], "_other"),
        ({"a": 1}, "_other"),
    ],
)
def test_labels_are_scalars(value: object, label: str) -> None:
    figures = count(call({"v": value}), custom=metric(labels={"v": "arguments.v"}))
    assert figures("x_total", server="cats", tool="nap", v=label) == 1


def test_label_sets_beyond_the_limit_are_other_and_stay_so() -> None:
    custom = metric(labels={"a": "arguments.a", "b": "arguments.b"}, label_limit=2)
    calls = [call({"a": n, "b": n}) for n in (1, 2, 3, 4, 1)]
    figures = count(*calls, call({"a": 1, "b": 1}, tool="hunt"), custom=custom)
    series = {"server": "cats", "tool": "nap"}
    assert figures("x_total", a="1", b="1", **series) == 2
    assert figures("x_total", a="2", b="2", **series) == 1
    assert figures("x_total", a="_other", b="_other", **series) == 2
    # The limit is of sets of labels, not of series.
    assert figures("x_total", server="cats", tool="hunt", a="1", b="1") == 1
    assert figures("mcp_proxy_label_overflow_total", server="cats", label="custom") == 2
    assert figures("mcp_proxy_label_values", server="cats", label="custom") == 2
    assert figures("mcp_proxy_label_values_limit", server="cats", label="custom") == 2


def test_servers_do_not_use_up_each_others_labels() -> None:
    metrics = make_metrics(custom=(metric(labels={"a": "arguments.a"}, label_limit=1),))
    for name in ("cats", "dogs"):
        for event in call({"a": name}):
            metrics.server(name).handle(event)
    assert scrape(metrics).values("x_total", "a") == {"cats", "dogs"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing"),
        ("7", "not_a_number"),
        (True, "not_a_number"),
        ([7], "not_a_number"),
        (math.nan, "not_finite"),
        (math.inf, "not_finite"),
        (10**400, "not_finite"),
    ],
)
@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
def test_what_is_no_number_is_skipped(kind: str, value: object, reason: str) -> None:
    custom = metric(kind, value="arguments.n", labels={"v": "tool"})
    figures = count(call({"n": value}), custom=custom)
    assert skipped(figures, custom.name) == {reason: 1}
    assert not [*figures.series(custom.name), *figures.series(f"{custom.name}_count")]
    # Skipped samples use up no labels.
    assert figures("mcp_proxy_label_values", server="cats", label="custom") == 0


@pytest.mark.parametrize("kind", ["counter", "histogram", "summary"])
def test_what_only_rises_takes_nothing_negative(kind: str) -> None:
    custom = metric(kind, value="arguments.n")
    assert skipped(count(call({"n": -0.5}), custom=custom), custom.name) == {"negative": 1}


def test_large_numbers_are_taken_as_prometheus_keeps_them() -> None:
    custom = metric(value="arguments.n")
    figures = count(call({"n": 2**80}), call({"n": 2**53}), custom=custom)
    assert figures("x_total", server="cats", tool="nap") == float(2**80 + 2**53)


@pytest.mark.parametrize("kind", ["counter", "histogram", "summary"])
def test_nobody_can_spoil_a_sum_for_ever(kind: str) -> None:
    custom = metric(kind, value="arguments.n")
    calls = [call({"n": n}) for n in (0.5, 1.7e308, 1.7e308, 0.5)]
    figures = count(*calls, custom=custom)
    name = "x_total" if kind == "counter" else "x_sum"
    assert figures(name, server="cats", tool="nap") == 1.7e308
    assert skipped(figures, custom.name) == {"not_finite": 1}
    if kind != "counter":
        assert figures("x_count", server="cats", tool="nap") == 3


def test_a_gauge_takes_large_numbers_one_after_the_other() -> None:
    custom = metric("gauge", value="arguments.n")
    figures = count(call({"n": 1.7e308}), call({"n": 1.7e308}), custom=custom)
    assert figures("x", server="cats", tool="nap") == 1.7e308
    assert not skipped(figures)


def test_the_bound_of_a_family_is_that_of_its_labels() -> None:
    labelled = metric(labels={"a": "tool"}, label_limit=7)
    bare, with_labels = make_families((metric(), labelled))
    assert bare.limit({"S": 2, "T": 3}) == 2 * 3
    assert with_labels.limit({"S": 2, "T": 3}) == 2 * 3 * 8


def test_a_call_that_takes_too_long_costs_a_sample_and_no_call() -> None:
    slow = metric(value="sum(arguments[?type == 'text'].length(text))")
    blocks = [{"type": "text", "text": ""}] * 5000
    figures = count(call(blocks), call(blocks[:100]), custom=slow)
    assert skipped(figures, "x_total") == {"expression_failed": 1}
    assert figures("mcp_tool_calls_total", server="cats", tool="nap", outcome="success") == 2


@pytest.mark.parametrize("place", ["value", "when", "labels"])
def test_an_expression_that_fails_costs_a_sample_and_no_call(place: str) -> None:
    failing = "length(arguments.n)"
    settings: dict[str, Any] = {"value": "arguments.n"}
    settings[place] = {"l": failing} if place == "labels" else failing
    custom = metric(**settings)
    figures = count(call({"n": 7}), call({"n": 7}), custom=custom)
    assert skipped(figures, "x_total") == {"expression_failed": 2}
    assert figures("mcp_tool_calls_total", server="cats", tool="nap", outcome="success") == 2


def test_skips_exist_at_zero_and_only_for_configured_metrics() -> None:
    figures = count(custom=metric())
    assert figures.total(SKIPS, metric="x_total") == 0
    assert figures.values(SKIPS, "metric") == {"x_total"}
    assert not list(scrape(make_metrics()).series(SKIPS))


def test_hidden_families_count_into_the_void() -> None:
    metrics = make_metrics(custom=(metric(),), disable=("x_*",))
    for event in call():
        metrics.server("cats").handle(event)
    assert "x_total" not in scrape(metrics).families
