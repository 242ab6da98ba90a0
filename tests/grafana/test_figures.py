"""Figures that are known to the last one, and what the boards make of them."""

from collections.abc import Iterator

import pytest

from tests.grafana.ask import find_column, find_target
from tests.grafana.files import Target, fill_in
from tests.grafana.past import SCRAPE_SECONDS, SPAN, Past, run_known

OVERVIEW = "mcp-overview"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    with run_known(tmp_path_factory.mktemp("past")) as known:
        yield known


def read(past: Past, target: Target, *by: str, server: str = "") -> dict[tuple[str, ...], float]:
    """Return the values at the end of the range, by some labels."""
    chosen = {"server": [server]} if server else {}
    query = fill_in(target.expr, chosen, scrape=SCRAPE_SECONDS, step=60, span=SPAN)
    found = past.engine.ask("query", {"query": query, "time": past.end})["result"]
    values = {
        tuple(series["metric"].get(label, "") for label in by): float(series["value"][1])
        for series in found
    }
    assert len(values) == len(found)
    return values


def read_column(past: Past, table: str, title: str) -> dict[tuple[str, ...], float]:
    """Return a column of a table of the overview, by server."""
    return read(past, find_column(OVERVIEW, table, title), "server")


def test_an_exporter_that_is_gone_is_down(past: Past) -> None:
    assert read(past, find_target(OVERVIEW, "Exporters down"))[()] == 1


def test_a_server_is_down_once_however_many_exporters_see_it(past: Past) -> None:
    # To both of them, and to one of them.
    assert read(past, find_target(OVERVIEW, "Upstreams down"))[()] == 2
    assert read_column(past, "Servers", "Up") == {("cats",): 1, ("dogs",): 0, ("hens",): 0}


def test_calls_of_all_exporters_add_up(past: Past) -> None:
    calls = read_column(past, "Servers", "Calls")
    assert calls["cats",] == pytest.approx((6 + 3) * 60 + 8)


def test_first_values_count_in_full(past: Past) -> None:
    calls = read_column(past, "Servers", "Calls")
    assert calls["dogs",] == 20
    failed = read_column(past, "Servers", "Failed")
    assert failed["dogs",] == pytest.approx(5 / 20)
    assert failed["cats",] == pytest.approx(8 / 548)
    by_tool = read(past, find_column(OVERVIEW, "Tools", "Failed"), "server", "tool")
    assert by_tool["cats", "hunt"] == 1
    assert by_tool["cats", "nap"] == 0
    availability = find_target(OVERVIEW, "Availability")
    assert read(past, availability, server="dogs")[()] == pytest.approx(15 / 20)


def test_processes_that_began_within_the_range_count_from_their_first_value(past: Past) -> None:
    assert read_column(past, "Servers", "Calls")["born",] == 40
    assert read_column(past, "Servers", "Failed")["born",] == pytest.approx(10 / 40)


def test_what_is_only_new_to_prometheus_counts_from_then_on(past: Past) -> None:
    # Scraped since ten minutes, in which nothing was called.
    assert read_column(past, "Servers", "Calls")["moved",] == 0


def test_restarts_lose_nothing_of_what_was_scraped(past: Past) -> None:
    # First seen with 40, last seen with 1160 before the restart; 60 after it.
    assert read_column(past, "Servers", "Calls")["hens",] == pytest.approx(1160 - 40 + 60, rel=0.03)


def test_means_divide_the_sum_by_the_count(past: Past) -> None:
    assert read_column(past, "Tools", "Mean result") == {("cats",): pytest.approx(200)}


@pytest.mark.parametrize("table", ["Servers", "Tools"])
def test_p95_is_no_other_quantile(past: Past, table: str) -> None:
    # Half of the way through the bucket from 0.5 to 1, in which the last tenth is.
    [p95] = read_column(past, table, "p95").values()
    assert p95 == pytest.approx(0.75)


def test_the_least_budget_is_shown(past: Past) -> None:
    least = find_target(OVERVIEW, "Error budget left")
    assert read(past, least)[()] == -2
    assert read(past, least, server="cats")[()] == 0.5
    assert read_column(past, "Servers", "Budget left") == {("cats",): 0.5, ("dogs",): -2}
