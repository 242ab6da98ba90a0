"""What is read from an exposition, and the numbers made of it."""

import math

import pytest

from mcp_proxy_exporter.demo.figures import (
    Buckets,
    History,
    Snapshot,
    estimate_quantile,
    read_snapshot,
)

INF = math.inf

EXPOSITION = """\
# HELP mcp_tool_calls_total Tool calls that ended.
# TYPE mcp_tool_calls_total counter
mcp_tool_calls_total{server="cats",tool="nap",outcome="success"} 6.0
mcp_tool_calls_total{server="cats",tool="nap",outcome="cancelled"} 1.0
mcp_tool_calls_total{server="cats",tool="nap",outcome="client_disconnected"} 1.0
mcp_tool_calls_total{server="dogs",tool="nap",outcome="upstream_closed"} 2.0
mcp_tool_calls_total{server="cats",tool="catch_laser",outcome="tool_error"} 3.0
mcp_tool_calls_total{server="cats",tool="catch_laser",outcome="success"} 0.0
mcp_tool_calls_total{server="cats",tool="_other",outcome="protocol_error"} 1.0
mcp_tool_calls_total{server="cats",tool="sharpen_claw",outcome="success"} 0.0
# TYPE mcp_tool_calls_in_flight gauge
mcp_tool_calls_in_flight{server="cats",tool="nap"} 4.0
mcp_tool_calls_in_flight{server="dogs",tool="nap"} 1.0
# TYPE mcp_tool_call_duration_seconds histogram
mcp_tool_call_duration_seconds_bucket{server="cats",tool="nap",outcome="success",le="1.0"} 2.0
mcp_tool_call_duration_seconds_bucket{server="cats",tool="nap",outcome="success",le="2.5"} 6.0
mcp_tool_call_duration_seconds_bucket{server="cats",tool="nap",outcome="success",le="+Inf"} 6.0
mcp_tool_call_duration_seconds_sum{server="cats",tool="nap",outcome="success"} 9.0
mcp_tool_call_duration_seconds_count{server="cats",tool="nap",outcome="success"} 6.0
mcp_tool_call_duration_seconds_bucket{server="cats",tool="nap",outcome="cancelled",le="1.0"} 1.0
mcp_tool_call_duration_seconds_bucket{server="cats",tool="nap",outcome="cancelled",le="2.5"} 1.0
mcp_tool_call_duration_seconds_bucket{server="cats",tool="nap",outcome="cancelled",le="+Inf"} 1.0
# TYPE mcp_tools gauge
mcp_tools{server="cats"} 4.0
process_open_fds 9.0
"""


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        # By hand: rank = q x total; inside its bucket, lower + width x (rank - below) / in it.
        (0.5, [(1, 10), (INF, 10)], 0.5),
        (0.95, [(1, 10), (INF, 10)], 0.95),
        (0.5, [(1, 2), (2, 6), (4, 10), (INF, 10)], 1.75),  # rank 5: 1 + 1 x 3/4
        (0.95, [(1, 2), (2, 6), (4, 10), (INF, 10)], 3.75),  # rank 9.5: 2 + 2 x 3.5/4
        (0.6, [(1, 2), (2, 6), (4, 10), (INF, 10)], 2.0),  # rank 6 ends its bucket
        (0.5, [(1, 0), (2, 0), (4, 8), (INF, 8)], 3.0),  # empty buckets below
        (0.5, [(1, 4), (2, 4), (4, 8), (INF, 8)], 1.0),  # rank 4 is in the first
        (0.95, [(1, 2), (2, 6), (INF, 10)], 2),  # beyond: the highest finite bound
        (0.5, [(1, 0), (INF, 5)], 1),
        (0.5, [(1, 0), (INF, 0)], None),
        (0.5, [(INF, 5)], None),
        (0.5, [(1, 5), (2, 5)], None),
        (0.5, [], None),
    ],
)
def test_quantiles_are_those_of_histogram_quantile(
    q: float, buckets: Buckets, expected: float | None
) -> None:
    assert estimate_quantile(q, buckets) == (
        None if expected is None else pytest.approx(expected, abs=1e-12)
    )


def read(text: str = EXPOSITION, at: float = 0) -> Snapshot:
    return read_snapshot(text, at)


def test_a_scrape_is_summed_by_tool() -> None:
    nap = read().tools["nap"]

    assert nap.calls == 10
    assert nap.errors == 2
    assert nap.in_flight == 5
    assert nap.buckets == {1.0: 3, 2.5: 7, INF: 7}


def test_other_families_are_no_tools() -> None:
    assert read().tools.keys() == {"nap", "catch_laser", "_other", "sharpen_claw"}


def test_an_empty_scrape_has_no_tools() -> None:
    assert read("").tools == {}


def test_what_is_no_exposition_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        read('mcp_tool_calls_total{tool="a",outcome="success"} many\n')


def test_labels_are_unescaped() -> None:
    text = 'mcp_tool_calls_in_flight{server="a",tool="q\\"b\\\\n\\n"} 1\n'

    assert read(text).tools.keys() == {'q"b\\n\n'}


def test_rows_come_by_name_and_what_is_unknown_last() -> None:
    history = History(window=10)
    history.add(read())

    assert [row.tool for row in history.recent().rows] == [
        "catch_laser",
        "nap",
        "sharpen_claw",
        "_other",
    ]


def test_the_first_snapshot_gives_totals_but_no_rates() -> None:
    history = History(window=10)
    history.add(read(at=5))

    comparison = history.recent()
    laser, nap, sharpen, _ = comparison.rows

    assert comparison.seconds == 0
    assert (nap.calls, nap.error_share, nap.in_flight) == (10, 0.2, 5)
    assert (nap.rate, nap.p50, nap.p95) == (None, None, None)
    assert laser.error_share == 1
    assert (sharpen.calls, sharpen.error_share) == (0, None)


def test_rates_and_quantiles_are_those_since_the_base() -> None:
    history = History(window=10)
    history.add(read("", at=0))
    history.add(read(at=4))

    nap = history.recent().rows[1]

    assert nap.rate == 2.5
    # 7 observations, 3 up to 1 s and 4 up to 2.5 s.
    assert nap.p50 == pytest.approx(1 + 1.5 * (3.5 - 3) / 4)
    assert nap.p95 == pytest.approx(1 + 1.5 * (6.65 - 3) / 4)


def test_the_recent_past_is_as_long_as_the_window() -> None:
    history = History(window=10)
    for at in range(31):
        text = f'mcp_tool_calls_total{{server="a",tool="nap",outcome="success"}} {at * at}\n'
        history.add(read(text, at=at))

    recent, overall = history.recent(), history.overall()

    assert recent.seconds == 10
    assert recent.rows[0].rate == (30 * 30 - 20 * 20) / 10
    assert overall.seconds == 30
    assert overall.rows[0].rate == 30
    assert len(history._recent) == 11


def test_no_history_is_no_rows() -> None:
    history = History(window=10)

    assert history.recent().rows == ()
    assert history.overall().rows == ()


def test_custom_metrics_are_read_by_name_over_all_servers() -> None:
    text = """\
cat_successes_total{server="cats",tool="scratch_sofa"} 3
cat_successes_total{server="dogs",tool="scratch_sofa"} 2
cat_last_level{server="cats",tool="scratch_sofa"} 77
cat_level_bucket{server="cats",tool="scratch_sofa",le="50.0"} 1
cat_level_bucket{server="cats",tool="scratch_sofa",le="100.0"} 4
cat_level_bucket{server="cats",tool="scratch_sofa",le="+Inf"} 4
cat_level_count{server="cats",tool="scratch_sofa"} 4
cat_level_sum{server="cats",tool="scratch_sofa"} 260
"""
    history = History(10)
    history.add(read_snapshot(text, 1.0))

    custom = history.recent().custom

    assert {name: reading.value for name, reading in custom.items()} == {
        "cat_successes_total": 5,
        "cat_last_level": 77,
        "cat_level": 4,
    }
    assert custom["cat_level"].estimate(0.5) == pytest.approx(50 + 50 / 3)
    assert custom["cat_last_level"].estimate(0.5) is None
    assert history.overall().custom == custom
