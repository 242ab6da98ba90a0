"""Every family of the metrics equals what real programs sent, as recorders on the wire saw it."""

import platform
from collections.abc import Mapping, Sequence
from functools import cache

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mcp_proxy_exporter.observe.catalogue import FAMILIES
from tests.support.comparison import Shape, find_differences, is_at_work
from tests.support.every_family import GUARDED, may_be_zero
from tests.support.reckoning import Reckoning
from tests.support.scrape import Scrape
from tests.support.theatre import Look
from tests.support.whole_course import TRACE, run_everything, run_tasks
from tests.support.whole_rules import CUSTOM_BUCKETS, CUSTOM_LABELS, CUSTOMS

pytestmark = [
    # The first run installs a server.
    pytest.mark.timeout(240),
    # What it deprecates for the next revision is what is to be counted of the present ones.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

RUNS = {"everything": run_everything, "tasks": run_tasks}
SHAPES = {
    shape.name: shape
    for shape in (
        *(
            Shape(
                name=family.name,
                kind=family.kind.value,
                labels=family.labels,
                buckets=family.buckets,
            )
            for family in FAMILIES
        ),
        *(
            Shape(
                name=custom.name,
                kind=custom.kind,
                labels=CUSTOM_LABELS.get(custom.name, ("server", "tool")),
                buckets=CUSTOM_BUCKETS.get(custom.name, ()),
            )
            for custom in CUSTOMS
        ),
    )
}
OF_TASKS = {"mcp_tasks_total", "mcp_task_duration_seconds", "mcp_tasks_pending"}
AT_ZERO = {
    "mcp_proxy_inspection_errors_total": "a fault of the inspection, which no traffic may cause",
    "mcp_proxy_insecure_upstream": "no server is spoken to by TLS; tests/proxy/test_tls.py has it",
}
"""What is compared and never above zero, with the reason."""
# Where the system has /proc, there are more.
COMPANIONS = {
    *("python_gc_collections_total", "python_gc_objects_collected_total"),
    *("python_gc_objects_uncollectable_total", "python_info"),
}
OF_THE_SYSTEM = {
    *("process_cpu_seconds_total", "process_max_fds", "process_open_fds"),
    *("process_resident_memory_bytes", "process_start_time_seconds"),
    "process_virtual_memory_bytes",
}


def compare(look: Look, shape: Shape) -> list[str]:
    zeros = may_be_zero(look.tables, look.lanes)
    table = look.tables[shape.name]
    return [
        difference
        for scrape in read_both(look)
        for difference in find_differences(scrape, shape, table, zeros)
    ]


def compare_all(look: Look) -> Sequence[str]:
    return [difference for shape in SHAPES.values() for difference in compare(look, shape)]


def read_both(look: Look) -> tuple[Scrape, Scrape]:
    return _read_both(look.text.body, look.openmetrics.body)


@cache
def _read_both(text: bytes, openmetrics: bytes) -> tuple[Scrape, Scrape]:
    return Scrape.from_text(text), Scrape.from_openmetrics(openmetrics)


@pytest.fixture(scope="module", params=list(RUNS))
def run(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Look]]:
    return request.param, RUNS[request.param](compare_all)


@pytest.fixture
def looks(run: tuple[str, Mapping[str, Look]]) -> Mapping[str, Look]:
    return run[1]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_family_equals_what_was_sent(looks: Mapping[str, Look], shape: Shape) -> None:
    found = {name: compare(look, shape) for name, look in looks.items()}
    assert found == {name: [] for name in looks}


def test_every_family_has_been_at_work(run: tuple[str, Mapping[str, Look]]) -> None:
    name, looks = run
    at_work = {
        shape.name
        for look in looks.values()
        for shape in SHAPES.values()
        if is_at_work(look.tables[shape.name])
    }
    if name == "tasks":
        assert at_work >= OF_TASKS
    else:
        assert SHAPES.keys() - at_work == OF_TASKS | AT_ZERO.keys()


def test_no_sample_is_of_an_unknown_family(looks: Mapping[str, Look]) -> None:
    known = {sample for shape in SHAPES.values() for sample in shape.samples}
    system = OF_THE_SYSTEM if platform.system() == "Linux" else set()
    for look in looks.values():
        for scrape in read_both(look):
            assert scrape.names <= known | COMPANIONS | system
            assert scrape.names >= COMPANIONS | system


def test_no_series_is_there_twice(looks: Mapping[str, Look]) -> None:
    for look in looks.values():
        for answer, scrape in zip((look.text, look.openmetrics), read_both(look), strict=True):
            lines = [line for line in answer.body.splitlines() if not line.startswith(b"#")]
            assert len(lines) == sum(len(scrape.rows(name)) for name in scrape.names)


def test_openmetrics_states_type_unit_and_help_of_each_family(looks: Mapping[str, Look]) -> None:
    stated = {
        family.name: (family.type, family.unit, family.documentation)
        for family in text_string_to_metric_families(looks["at rest"].openmetrics.body.decode())  # type: ignore[no-untyped-call]
    }
    for family in FAMILIES:
        assert stated[family.openmetrics_name] == (family.kind.value, family.unit, family.help)


def test_process_is_the_one_that_was_started(looks: Mapping[str, Look]) -> None:
    for look in looks.values():
        for scrape in read_both(look):
            [(python, one)] = scrape.rows("python_info")
            assert (python["version"], one) == (platform.python_version(), 1)
            if platform.system() == "Linux":
                began = scrape.total("process_start_time_seconds")
                assert look.began - 1 < began < look.at
                assert 0 < scrape.total("process_open_fds") < scrape.total("process_max_fds")
                assert scrape.total("process_cpu_seconds_total") < look.at - began


def test_exemplars_are_the_traces_of_calls(run: tuple[str, Mapping[str, Look]]) -> None:
    name, looks = run
    families = text_string_to_metric_families(looks["at rest"].openmetrics.body.decode())  # type: ignore[no-untyped-call]
    found = {
        (family.name, sample.labels["server"], exemplar.labels["trace_id"])
        for family in families
        for sample in family.samples
        if (exemplar := sample.exemplar) is not None
    }
    timed = ("mcp_tool_call_duration_seconds", "mcp_request_duration_seconds")
    expected = {(family, "both", TRACE) for family in timed} if name == "everything" else set()
    assert found == expected


def test_conversation_brings_what_it_is_for(run: tuple[str, Mapping[str, Look]]) -> None:
    name, looks = run
    if name == "tasks":
        outcomes = {task.outcome for task in reckon(looks, "tasks").tasks.values()}
        assert outcomes == {"success", "tool_error", "failed", "cancelled"}
        return
    both, mortal, guarded = (reckon(looks, lane) for lane in ("both", "mortal", "guarded"))
    assert {call.outcome for call in both.calls} == {
        *("success", "tool_error", "protocol_error", "input_required", "http_error"),
        *("cancelled", "client_disconnected", "uninspected"),
    }
    assert {call.outcome for call in mortal.calls} >= {"upstream_closed", "upstream_unreachable"}
    assert {call.outcome for call in guarded.calls} == {"success", "rejected"}
    assert {session.reason for session in both.http.sessions.values()} == {"deleted", "expired"}
    assert {session.reason for session in guarded.http.sessions.values()} == {"idle", ""}
    assert {*both.http.uninspected} == {
        *("invalid_json", "content_encoding", "too_large", "header_mismatch"),
    }
    assert (len(both.servers), mortal.fallbacks) == (2, 1)
    assert (both.tools.added, both.tools.removed, both.tools.changes["never_called"]) == (1, 1, 1)
    rest = looks["at rest"]
    overflow = rest.tables["mcp_proxy_label_overflow_total"]
    for label in GUARDED:
        assert is_at_work({key: cell for key, cell in overflow.items() if key[-1] == label})


def reckon(looks: Mapping[str, Look], lane: str) -> Reckoning:
    return looks["at rest"].lanes[lane].reckoning
