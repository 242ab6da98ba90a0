"""How the table looks, by value."""

import math
import re
from dataclasses import replace

import pytest

from mcp_proxy_exporter.demo.figures import Reading, Row
from mcp_proxy_exporter.demo.table import (
    View,
    format_seconds,
    format_share,
    render_addresses,
    render_frame,
    render_lines,
)

ROWS = (
    Row(
        tool="catch_laser",
        calls=31,
        error_share=1,
        in_flight=0,
        rate=1.04,
        p50=0.0025,
        p95=0.00475,
    ),
    Row(tool="nap", calls=20, error_share=0, in_flight=5, rate=2, p50=1.25, p95=2.45),
    Row(
        tool="scratch_sofa",
        calls=184,
        error_share=0.3261,
        in_flight=1,
        rate=11.5,
        p50=0.0025,
        p95=0.34,
    ),
    Row(
        tool="sharpen_claw",
        calls=0,
        error_share=None,
        in_flight=0,
        rate=None,
        p50=None,
        p95=None,
    ),
)
VIEW = View(
    proxy_url="http://127.0.0.1:8080/mcp",
    metrics_url="http://127.0.0.1:9464/metrics",
    index_url="http://127.0.0.1:9464/",
    rows=ROWS,
    elapsed=17.4,
    window=10.04,
    footer="Ctrl-C ends it.",
)

PLAIN = """\
Cats behind mcp-proxy-exporter  17 s

  MCP      http://127.0.0.1:8080/mcp   through the proxy
  metrics  http://127.0.0.1:9464/metrics
  index    http://127.0.0.1:9464/

tool           calls  calls/s   errors       p50       p95  in flight
catch_laser       31      1.0   100.0%    2.5 ms    4.8 ms          0
nap               20      2.0     0.0%    1.25 s    2.45 s          5
scratch_sofa     184     11.5    32.6%    2.5 ms    340 ms          1
sharpen_claw       0        -        -         -         -          0

Totals since the start; calls/s, p50 and p95 over 10 s.
Ctrl-C ends it.
"""


def test_a_plain_picture() -> None:
    assert render_frame(VIEW, width=79, colour=False) == PLAIN


def test_colours_change_nothing_else() -> None:
    coloured = render_frame(VIEW, width=79, colour=True)

    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == PLAIN


def test_error_shares_are_red_from_a_half_yellow_below_and_plain_at_zero() -> None:
    coloured = render_frame(VIEW, width=79, colour=True)

    assert "\x1b[31m   100.0%\x1b[0m" in coloured
    assert "\x1b[33m    32.6%\x1b[0m" in coloured
    assert "     0.0%    1.25 s" in coloured
    assert "\x1b[0m\x1b[" not in coloured.replace("\x1b[0m\x1b[2m", "")


@pytest.mark.parametrize("width", [1, 20, 50, 69, 70, 120])
@pytest.mark.parametrize("colour", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, *, colour: bool) -> None:
    for line in render_frame(VIEW, width=width, colour=colour).splitlines():
        assert len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= width


def test_long_names_take_the_room_there_is() -> None:
    rows = [replace(ROWS[1], tool="a_tool_with_quite_a_long_name")]
    view = replace(VIEW, rows=rows)

    assert "a_tool_with_quite_a_long_name      20" in render_frame(view, width=100, colour=False)
    assert "a_tool_w..      20" in render_frame(view, width=67, colour=False)
    assert "a_tool..      20" in render_frame(view, width=40, colour=False)


def test_no_rows_yet_is_a_picture_too() -> None:
    picture = render_frame(replace(VIEW, rows=()), width=79, colour=False)

    assert "tool       calls  calls/s" in picture
    assert "\nno calls yet\n" in picture


def test_a_problem_is_told_above_the_footer() -> None:
    picture = render_frame(replace(VIEW, problem="No new figures"), width=79, colour=True)

    assert picture.endswith("\x1b[31mNo new figures\x1b[0m\n\x1b[2mCtrl-C ends it.\x1b[0m\n")


def test_without_a_footer_the_picture_ends_with_what_its_numbers_mean() -> None:
    assert render_frame(replace(VIEW, footer=""), width=79, colour=False).endswith("over 10 s.\n")


def test_plain_lines_have_one_tool_each() -> None:
    assert render_lines(replace(VIEW, problem="No new figures")) == (
        "  17.4s  catch_laser    calls=31 rate=1.0/s errors=100.0% p50=2.5ms p95=4.8ms"
        " in_flight=0\n"
        "  17.4s  nap            calls=20 rate=2.0/s errors=0.0% p50=1.25s p95=2.45s in_flight=5\n"
        "  17.4s  scratch_sofa   calls=184 rate=11.5/s errors=32.6% p50=2.5ms p95=340ms"
        " in_flight=1\n"
        "  17.4s  sharpen_claw   calls=0 rate=-/s errors=- p50=- p95=- in_flight=0\n"
        "  17.4s  No new figures\n"
    )


CUSTOM = {
    "cat_level": Reading(value=4, buckets={50: 1, 100: 4, math.inf: 4}),
    "cat_failures_total": Reading(value=3),
    "cat_new": Reading(buckets={50: 0, math.inf: 0}),
}


def test_the_cats_own_metrics_stand_below_the_table() -> None:
    picture = render_frame(replace(VIEW, custom=CUSTOM), width=79, colour=False)

    table, totals = PLAIN.split("Totals")
    assert picture == (
        f"{table}metrics of the cats' own, by configuration alone\n"
        "cat_failures_total  3\n"
        "cat_level           4 observed, p50 67, p95 97\n"
        "cat_new             0 observed\n"
        f"\nTotals{totals}"
    )


def test_plain_lines_have_one_metric_of_the_cats_own_each() -> None:
    assert render_lines(replace(VIEW, rows=(), custom=CUSTOM)) == (
        "  17.4s  cat_failures_total: 3\n"
        "  17.4s  cat_level: 4 observed, p50 67, p95 97\n"
        "  17.4s  cat_new: 0 observed\n"
    )


def test_addresses_are_one_a_line() -> None:
    assert render_addresses(VIEW) == (
        "MCP http://127.0.0.1:8080/mcp\n"
        "metrics http://127.0.0.1:9464/metrics\n"
        "index http://127.0.0.1:9464/\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0 ms"),
        (0.00004, "0.0 ms"),
        (0.0025, "2.5 ms"),
        (0.0999, "99.9 ms"),
        (0.09996, "100 ms"),
        (0.34, "340 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (12.345, "12.35 s"),
        (300, "300.00 s"),
    ],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(None, "-"), (0, "0.0%"), (1, "100.0%")])
def test_shares_are_per_cent(share: float | None, text: str) -> None:
    assert format_share(share) == text
