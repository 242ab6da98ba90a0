import re
from itertools import pairwise

import pytest

from mcp_proxy_exporter.observe.catalogue import FAMILIES, SECTIONS
from mcp_proxy_exporter.observe.family import DIMENSIONS, Family, Kind

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_every_family_is_declared_once() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert len(names) == sum(map(len, SECTIONS.values()))


@each_family
def test_names_follow_the_conventions(family: Family) -> None:
    assert re.fullmatch(r"mcp_[a-z]+(_[a-z]+)*", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert family.unit in {"", "seconds", "bytes"}
    if family.unit:
        assert family.openmetrics_name.endswith(f"_{family.unit}")


@each_family
def test_help_is_a_sentence_on_one_line(family: Family) -> None:
    assert re.fullmatch(r"[A-Z0-9][^\n\\\"|]*\.", family.help)


@each_family
def test_every_label_is_accounted_for_in_the_bound(family: Family) -> None:
    terms = [term.split("*") for term in family.bound.split("+")]
    factors = {factor for term in terms for factor in term}
    assert all(factor.isdecimal() or factor in DIMENSIONS for factor in factors)
    assert all(("S" in term) == ("server" in family.labels) for term in terms)
    assert ("T" in factors) == bool({"tool", "gen_ai_tool_name"} & {*family.labels})
    assert ("Q" in factors) == ("gen_ai_prompt_name" in family.labels)
    assert bool({"O", "A"} & {*factors}) == ("outcome" in family.labels)
    assert ("K" in factors) == ("client" in family.labels)
    assert ("P" in factors) == ("protocol_version" in family.labels)
    assert ("Y" in factors) == ("type" in family.labels)
    assert not {"le", "quantile"} & set(family.labels)


@each_family
def test_buckets_are_a_histograms_and_ascend(family: Family) -> None:
    assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
    assert all(low < high for low, high in pairwise(family.buckets))
    assert not family.configurable or family.buckets


@each_family
def test_only_gauges_are_polled(family: Family) -> None:
    assert not family.polled or family.kind is Kind.GAUGE


def test_sections_stand_in_the_order_of_the_document() -> None:
    assert tuple(SECTIONS) == (
        "Tool calls",
        "All operations",
        "Tasks",
        "Sessions, streams and clients",
        "Inventory",
        "HTTP and the upstream",
        "OpenTelemetry names",
        "The exporter itself",
    )


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("mcp_input_request_duration_seconds", 0.05, 3600),
        ("mcp_task_duration_seconds", 0.5, 86400),
        ("mcp_session_duration_seconds", 1, 86400),
        ("mcp_stream_duration_seconds", 1, 86400),
    ],
)
def test_buckets_reach_as_far_as_what_they_time(name: str, first: float, last: float) -> None:
    [family] = (family for family in FAMILIES if family.name == name)
    assert (family.buckets[0], family.buckets[-1]) == (first, last)


@pytest.mark.parametrize("name", ["mcp_tool_call_duration_seconds", "mcp_request_duration_seconds"])
def test_durations_say_that_a_clients_time_is_not_in_them(name: str) -> None:
    [family] = (family for family in FAMILIES if family.name == name)
    assert "without the time in which the client had a question" in family.help


def test_families_of_traffic_carry_the_server() -> None:
    for title, families in SECTIONS.items():
        if title != "The exporter itself":
            assert all(family.labels[0] == "server" for family in families)
