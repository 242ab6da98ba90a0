from collections.abc import Mapping

import pytest

from mcp_proxy_exporter.config import MetricsSettings
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.family import Kind
from mcp_proxy_exporter.observe.metrics import Companions, Metrics, MetricsOptions, review
from mcp_proxy_exporter.observe.switches import COMPANIONS, Switches, arrange, find_hidden
from mcp_proxy_exporter.protocol.events import HttpExchangeClosed
from tests.observe.figures import call_tool, list_tools, scrape

OPTIONAL = {family.name for family in FAMILIES if family.optional}


def make(switches: Switches) -> Metrics:
    return Metrics(MetricsOptions(switches=switches))


def test_without_a_choice_the_table_is_as_it_is() -> None:
    assert arrange(Switches()) == FAMILIES
    assert find_hidden(Switches()) == OPTIONAL
    assert OPTIONAL


@pytest.mark.parametrize(
    ("switches", "hidden"),
    [
        (Switches(disable=("mcp_tools",)), {"mcp_tools", *OPTIONAL}),
        (
            Switches(disable=("mcp_tools*", "mcp_up*"), enable=("mcp_tools_a*", "mcp_upstream_*")),
            {
                "mcp_tools",
                "mcp_tools_list_size_bytes",
                "mcp_tools_list_last_success_timestamp_seconds",
                "mcp_tools_removed_total",
                *OPTIONAL,
            },
        ),
        (Switches(semconv=True), set()),
        (
            Switches(semconv=True, disable=("mcp_client_operation_*",)),
            {"mcp_client_operation_duration_seconds"},
        ),
        (
            Switches(enable=("mcp_server_operation_*",)),
            OPTIONAL - {"mcp_server_operation_duration_seconds"},
        ),
        (
            Switches(disable=("*",), enable=("mcp_tools",)),
            {family.name for family in FAMILIES} - {"mcp_tools"},
        ),
    ],
)
def test_enable_wins_over_disable(switches: Switches, hidden: set[str]) -> None:
    assert find_hidden(switches) == hidden


def test_a_disabled_family_is_in_no_format() -> None:
    metrics = make(Switches(disable=("*",), enable=("mcp_tool_calls_total", "mcp_requests_*")))
    server = metrics.server("cats")
    list_tools(server, "nap")
    call_tool(server, "nap")
    call_tool(server, "invented")
    server.handle(HttpExchangeClosed("POST", 200, 0.1, False, 0.1, 0.1))  # noqa: FBT003
    figures = scrape(metrics)
    own = {name for name in figures.families if name.startswith("mcp_")}
    assert own == {"mcp_tool_calls", "mcp_requests", "mcp_requests_in_flight"}
    assert {metric.name for metric in metrics.registry.collect()} >= own
    assert figures("mcp_tool_calls_total", server="cats", tool="nap", outcome="success") == 1
    assert figures("mcp_requests_in_flight", server="cats", method="tools/call") == 0


def test_what_the_client_library_measures_can_be_hidden_too() -> None:
    every = scrape(make(Switches())).families
    assert {"process_cpu_seconds", "python_info"} <= every.keys()
    hidden = make(Switches(disable=("process_*", "python_gc_objects_collected_total")))
    names = scrape(hidden).families.keys()
    assert every.keys() - names == {
        "python_gc_objects_collected",
        *(name for name in every if name.startswith("process_")),
    }
    shown = make(Switches(disable=("p*",), enable=("python_info",)))
    assert [name for name in scrape(shown).families if name.startswith("p")] == ["python_info"]


def test_the_client_librarys_families_are_all_known() -> None:
    found = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in Companions().collect()
    }
    assert found <= set(COMPANIONS)


def test_all_may_be_disabled() -> None:
    metrics = make(Switches(disable=("*",)))
    call_tool(metrics.server("cats"), "nap")
    assert not [name for name in scrape(metrics).families if name.startswith("mcp_")]


def test_buckets_are_those_of_the_family_or_of_durations_or_the_tables() -> None:
    switches = Switches(
        duration_buckets=(0.5, 2),
        buckets={
            "mcp_request_duration_seconds": (3,),
            "mcp_tool_result_size_bytes": (1000, 2000),
        },
    )
    families = {family.name: family for family in arrange(switches)}
    for family in FAMILIES:
        expected = (0.5, 2) if family.configurable else family.buckets
        expected = tuple(switches.buckets.get(family.name, expected))
        if family.kind is Kind.HISTOGRAM:
            assert families[family.name].buckets == expected
    assert families["mcp_request_duration_seconds"].lines == 4
    metrics = make(switches)
    server = metrics.server("cats")
    call_tool(server, "nap")
    figures = scrape(metrics)
    assert figures.values("mcp_request_duration_seconds_bucket", "le") == {"3.0", "+Inf"}
    assert figures.values("mcp_tool_call_duration_seconds_bucket", "le") == {"0.5", "2.0", "+Inf"}
    sizes = {"1000.0", "2000.0", "+Inf"}
    assert figures.values("mcp_tool_result_size_bytes_bucket", "le") == sizes


def test_constant_labels_are_on_all_series_of_ours() -> None:
    metrics = make(Switches(labels={"env": 'pr"od', "site": "b"}, semconv=True))
    server = metrics.server("cats")
    list_tools(server, "nap")
    call_tool(server, "nap")
    figures = scrape(metrics)
    for name, labels in figures.samples:
        assert (labels >= {("env", 'pr"od'), ("site", "b")}) == name.startswith("mcp_"), name


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        ({"disable": ["mcp_*", "process_*"], "enable": ["mcp_tools", "*"]}, []),
        (
            {"disable": ["*", "mcp_tool_cals_total"]},
            [
                (
                    ("disable", 1),
                    "matches no metric family; did you mean `mcp_tool_calls_total`?",
                )
            ],
        ),
        ({"enable": ["%"]}, [(("enable", 0), "matches no metric family")]),
        (
            {"disable": ["mcp_tool_call_duration_seconds_bucket"]},
            [
                (
                    ("disable", 0),
                    "matches no metric family; did you mean `mcp_tool_call_duration_seconds`?",
                )
            ],
        ),
        (
            {"buckets": {"mcp_tools": [1], "nothing": [1], "mcp_session_duration_seconds": [1]}},
            [
                (("buckets", "mcp_tools"), "is a gauge: only histograms have buckets"),
                (("buckets", "nothing"), "is no metric family"),
            ],
        ),
        (
            {"labels": {"env": "prod", "outcome": "x"}},
            [(("labels", "outcome"), "is a label of mcp_tool_calls_total already")],
        ),
    ],
)
def test_choices_that_no_family_answers_to_are_faults(
    settings: Mapping[str, object], faults: list[tuple[tuple[str, int], str]]
) -> None:
    assert list(review(MetricsSettings.model_validate(settings))) == faults


def test_custom_metrics_are_families_like_others() -> None:
    custom = [
        {
            "name": "cat_level",
            "type": "histogram",
            "help": "Level.",
            "value": "arguments.level",
            "buckets": [1],
            "labels": {"paw": "arguments.paw"},
        }
    ]
    settings = {"custom": custom, "disable": ["cat_*"], "buckets": {"cat_level": [2]}}
    assert not list(review(MetricsSettings.model_validate(settings)))


@pytest.mark.parametrize(
    "bounds", [(), (0, 1), (-1, 1), (2, 1), (1, 1), (1, float("inf")), (float("nan"), 1)]
)
def test_buckets_that_make_no_histogram_are_refused(bounds: tuple[float, ...]) -> None:
    for switches in (
        Switches(duration_buckets=bounds),
        Switches(buckets={"mcp_session_duration_seconds": bounds}),
    ):
        with pytest.raises(ValueError, match="positive numbers, each larger"):
            make(switches)


def test_what_the_configuration_would_refuse_is_refused_in_the_program_too() -> None:
    with pytest.raises(ValueError, match=r"disable\.0 matches no metric family"):
        make(Switches(disable=("nothing",)))
