import pytest

from mcp_proxy_exporter.observe.family import DIMENSIONS, Family, Kind


def make(kind: Kind, **settings: object) -> Family:
    return Family(**{"name": "mcp_x", "kind": kind, "help": "X.", "bound": "S", **settings})  # type: ignore[arg-type]


def test_a_counter_loses_its_suffix_in_openmetrics() -> None:
    assert make(Kind.COUNTER, name="mcp_x_total").openmetrics_name == "mcp_x"
    assert make(Kind.GAUGE, name="mcp_x").openmetrics_name == "mcp_x"


def test_lines_of_a_series() -> None:
    assert make(Kind.GAUGE).lines == 1
    assert make(Kind.SUMMARY).lines == 2
    assert make(Kind.HISTOGRAM, buckets=(1.0, 2.0)).lines == 5


def test_a_bound_is_a_sum_of_products() -> None:
    sizes = {"S": 3, "T": 5}
    assert make(Kind.GAUGE, bound="1").limit(sizes) == 1
    assert make(Kind.GAUGE, bound="S*T*2").limit(sizes) == 30
    assert make(Kind.GAUGE, bound="S*T+S*2+1").limit(sizes) == 22
    codes = DIMENSIONS["C"].size
    assert codes is not None
    assert make(Kind.GAUGE, bound="S*C").limit(sizes) == 3 * codes


def test_a_bound_of_something_unheard_of_is_an_error() -> None:
    with pytest.raises(KeyError):
        make(Kind.GAUGE, bound="S*?").limit({"S": 1, "T": 1})
