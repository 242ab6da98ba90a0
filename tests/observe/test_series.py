import math
from dataclasses import replace

import pytest
from prometheus_client.metrics_core import Metric

from mcp_proxy_exporter.observe.family import Family, Kind
from mcp_proxy_exporter.observe.series import (
    Histograms,
    Polled,
    Store,
    Summaries,
    Value,
    Values,
    number,
)

COUNTER = Family(
    name="mcp_calls_total", kind=Kind.COUNTER, labels=("tool",), bound="T", help="Calls."
)
GAUGE = Family(name="mcp_up", kind=Kind.GAUGE, bound="1", help="Up.")
SUMMARY = Family(
    name="mcp_size_bytes", kind=Kind.SUMMARY, unit="bytes", labels=("tool",), bound="T", help="S."
)
HISTOGRAM = Family(
    name="mcp_wait_seconds",
    kind=Kind.HISTOGRAM,
    unit="seconds",
    labels=("tool",),
    bound="T",
    buckets=(1, 2.5),
    help="Waits.",
)
POLLED = Family(
    name="mcp_open", kind=Kind.GAUGE, labels=("side",), bound="2", polled=True, help="Open."
)
FAMILIES = (COUNTER, GAUGE, SUMMARY, HISTOGRAM, POLLED)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def make_store() -> Store:
    return Store(FAMILIES)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, b"0"),
        (10**15, b"1000000000000000"),
        (0.25, b"0.25"),
        (1e-7, b"1e-07"),
        (math.inf, b"+Inf"),
        (-math.inf, b"-Inf"),
        (math.nan, b"NaN"),
    ],
)
def test_numbers_are_written_as_parsers_read_them(value: float, written: bytes) -> None:
    assert number(value) == written


def test_a_counter_is_one_line() -> None:
    calls = make_store().of(Values, "mcp_calls_total").child('a%"b')
    calls.value += 2
    assert calls.lines() == b'mcp_calls_total{tool="a%\\"b"} 2\n'


def test_a_series_without_labels_has_no_braces() -> None:
    up = make_store().of(Values, "mcp_up").child()
    up.value = 1
    assert up.lines() == b"mcp_up 1\n"


def test_a_summary_is_count_and_sum() -> None:
    sizes = make_store().of(Summaries, "mcp_size_bytes").child("100%s")
    sizes.observe(3)
    sizes.observe(4)
    assert sizes.lines() == (
        b'mcp_size_bytes_count{tool="100%s"} 2\nmcp_size_bytes_sum{tool="100%s"} 7\n'
    )


def test_a_histogram_counts_up_to_and_including_each_bound() -> None:
    waits = make_store().of(Histograms, "mcp_wait_seconds").child("%d")
    for wait in (0.5, 1, 2.5, 2.75):
        waits.observe(wait)
    assert waits.lines().decode().splitlines() == [
        'mcp_wait_seconds_bucket{tool="%d",le="1.0"} 2',
        'mcp_wait_seconds_bucket{tool="%d",le="2.5"} 3',
        'mcp_wait_seconds_bucket{tool="%d",le="+Inf"} 4',
        'mcp_wait_seconds_count{tool="%d"} 4',
        'mcp_wait_seconds_sum{tool="%d"} 6.75',
    ]


def test_the_last_traced_value_of_each_bucket_is_its_exemplar() -> None:
    waits = make_store().of(Histograms, "mcp_wait_seconds").child("a")
    waits.observe(1)
    assert waits.lines_with_exemplars() == waits.lines()
    waits.observe_traced(2, "old", 1e9)
    at = 1.7e9 + 0.12345
    waits.observe_traced(2.5, TRACE, at)
    waits.observe_traced(3, "a%d", 1e9)
    waits.observe(2)
    assert waits.lines_with_exemplars().decode().splitlines() == [
        'mcp_wait_seconds_bucket{tool="a",le="1.0"} 1',
        f'mcp_wait_seconds_bucket{{tool="a",le="2.5"}} 4 # {{trace_id="{TRACE}"}} 2.5 {at:.3f}',
        'mcp_wait_seconds_bucket{tool="a",le="+Inf"} 5 # {trace_id="a%d"} 3 1000000000.000',
        'mcp_wait_seconds_count{tool="a"} 5',
        'mcp_wait_seconds_sum{tool="a"} 10.5',
    ]
    assert b"#" not in waits.lines()


def test_constant_labels_follow_the_familys_own_in_every_series() -> None:
    constants = (("env", "pr%d"), ("site", 'b"'))
    store = Store([replace(family, constants=constants) for family in FAMILIES])
    store.of(Values, "mcp_calls_total").child("a")
    store.of(Values, "mcp_up").child()
    store.of(Summaries, "mcp_size_bytes").child("a")
    store.of(Histograms, "mcp_wait_seconds").child("a")
    polled = store.of(Polled, "mcp_open")
    polled.watch(lambda: [Value(polled.family, ("client",))])
    lines = b"".join(series.lines() for held in store for series in held.series()).decode()
    both = 'env="pr%d",site="b\\""'
    assert lines.splitlines() == [
        f'mcp_calls_total{{tool="a",{both}}} 0',
        f"mcp_up{{{both}}} 0",
        f'mcp_size_bytes_count{{tool="a",{both}}} 0',
        f'mcp_size_bytes_sum{{tool="a",{both}}} 0',
        *(
            f'mcp_wait_seconds_bucket{{tool="a",{both},le="{le}"}} 0'
            for le in ("1.0", "2.5", "+Inf")
        ),
        f'mcp_wait_seconds_count{{tool="a",{both}}} 0',
        f'mcp_wait_seconds_sum{{tool="a",{both}}} 0',
        f'mcp_open{{side="client",{both}}} 0',
    ]
    samples = flatten(store.collect())
    assert len(samples) == 10
    assert all(labels.items() >= dict(constants).items() for _, labels, _ in samples)


def test_hidden_families_keep_nothing_and_show_nothing() -> None:
    store = Store(FAMILIES, hidden={family.name for family in FAMILIES} - {"mcp_up"})
    calls = store.of(Values, "mcp_calls_total")
    waits = store.of(Histograms, "mcp_wait_seconds")
    for name in map(str, range(100)):
        calls.child(name).value += 1
        store.of(Summaries, "mcp_size_bytes").child(name).observe(3)
        waits.child(name).observe(3)
        waits.child(name).observe_traced(3, TRACE, 1e9)
    assert calls.child("a") is calls.child("b")
    assert waits.child("a").bounds == ()
    store.of(Polled, "mcp_open").watch(lambda: pytest.fail("nobody wants to know"))
    assert not store.of(Polled, "mcp_open").series()
    assert not calls.series()
    assert [held.family for held in store] == [GAUGE]
    assert [metric.name for metric in store.collect()] == ["mcp_up"]
    assert [metric.name for metric in store.describe()] == ["mcp_up"]
    assert store.shows("mcp_up")
    assert not store.shows("mcp_calls_total")


def test_the_same_labels_are_the_same_series() -> None:
    calls = make_store().of(Values, "mcp_calls_total")
    assert calls.child("a") is calls.child("a")
    assert calls.child("a") is not calls.child("b")
    assert len(calls.series()) == 2


def test_a_polled_gauge_shows_what_its_sources_say_now() -> None:
    polled = make_store().of(Polled, "mcp_open")
    shown = [Value(POLLED, ("client",), 3)]
    polled.watch(lambda: shown)
    polled.watch(lambda: [Value(POLLED, ("upstream",), 1)])
    assert [value.labels for value in polled.series()] == [("client",), ("upstream",)]
    shown.clear()
    assert [value.labels for value in polled.series()] == [("upstream",)]


def test_a_family_is_held_as_its_kind_says() -> None:
    store = make_store()
    assert [type(held) for held in store] == [*(Values, Values, Summaries, Histograms, Polled)]
    with pytest.raises(TypeError, match="mcp_wait_seconds is no Values but Histograms"):
        store.of(Values, "mcp_wait_seconds")
    with pytest.raises(KeyError):
        store.of(Values, "mcp_nothing")


def test_the_store_is_a_collector_of_the_client_library() -> None:
    store = make_store()
    store.of(Values, "mcp_calls_total").child("a").value = 2
    store.of(Summaries, "mcp_size_bytes").child("a").observe(7)
    store.of(Histograms, "mcp_wait_seconds").child("a").observe(2)
    store.of(Histograms, "mcp_wait_seconds").child("a").observe(3)
    store.of(Polled, "mcp_open").watch(lambda: [Value(POLLED, ("client",), 3)])
    assert [(metric.name, metric.type, metric.unit) for metric in store.collect()] == [
        ("mcp_calls", "counter", ""),
        ("mcp_up", "gauge", ""),
        ("mcp_size_bytes", "summary", "bytes"),
        ("mcp_wait_seconds", "histogram", "seconds"),
        ("mcp_open", "gauge", ""),
    ]
    assert flatten(store.collect()) == [
        ("mcp_calls_total", {"tool": "a"}, 2),
        ("mcp_size_bytes_count", {"tool": "a"}, 1),
        ("mcp_size_bytes_sum", {"tool": "a"}, 7),
        ("mcp_wait_seconds_bucket", {"tool": "a", "le": "1.0"}, 0),
        ("mcp_wait_seconds_bucket", {"tool": "a", "le": "2.5"}, 1),
        ("mcp_wait_seconds_bucket", {"tool": "a", "le": "+Inf"}, 2),
        ("mcp_wait_seconds_count", {"tool": "a"}, 2),
        ("mcp_wait_seconds_sum", {"tool": "a"}, 5),
        ("mcp_open", {"side": "client"}, 3),
    ]
    assert flatten(store.describe()) == []


def flatten(metrics: object) -> list[tuple[str, dict[str, str], float]]:
    assert hasattr(metrics, "__iter__")
    found: list[Metric] = list(metrics)
    return [(s.name, s.labels, s.value) for metric in found for s in metric.samples]
