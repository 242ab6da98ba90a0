import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from prometheus_client import exposition as library_text
from prometheus_client.openmetrics import exposition as library_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from mcp_proxy_exporter.config.custom import SoftErrorSettings
from mcp_proxy_exporter.observe.catalogue import FAMILIES
from mcp_proxy_exporter.observe.exposition import OPENMETRICS, TEXT, Exposition, choose
from mcp_proxy_exporter.observe.metrics import Metrics
from mcp_proxy_exporter.protocol.events import (
    Call,
    CallClosed,
    CallOpened,
    Content,
    Delivery,
    Direction,
    HttpExchangeClosed,
    InputAnswered,
    InputRequested,
    InspectionStopped,
    LateResponse,
    MessageKind,
    MessageSeen,
    ServerDescribed,
    SessionClosed,
    SessionEnd,
    SessionOpened,
    StreamClosed,
    StreamKind,
    StreamOpened,
    TaskClosed,
    TaskOpened,
    TaskOutcome,
    UpstreamAnswered,
    UpstreamConnected,
    UpstreamFailed,
)
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import (
    HOSTILE_NAMES,
    OFFSET,
    Figures,
    call_tool,
    from_openmetrics,
    from_text,
    list_tools,
    make_metrics,
    scrape,
)

both_formats = pytest.mark.parametrize(
    ("exposition", "read"), [(TEXT, from_text), (OPENMETRICS, from_openmetrics)]
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def make_busy_metrics() -> Metrics:
    """Return metrics in which every family has a series."""
    rule = SoftErrorSettings(when="tool == 'hunt'")
    metrics = make_metrics(semconv=True, soft_errors=(rule,))
    for name in ("cats", "dogs"):
        server = metrics.server(name)
        call_tool(server, "early")
        list_tools(server, "nap", "hunt")
        for outcome in Outcome:
            call_tool(server, "nap", outcome)
        call_tool(server, "invented")
        hunt = Call("tools/call", "hunt", 3.0)
        server.handle(CallOpened(hunt))
        content = Content(("text", "image"), structured=True, duplicated=9)
        server.handle(
            CallClosed(hunt, Outcome.SUCCESS, 4.0, 3.5, 300, content=content, repeated=True)
        )
        server.handle(CallOpened(Call("tools/call", "hunt", 3.0)))
        server.handle(ServerDescribed("cat", "1", "2025-11-25", 9))
        failed = Call("prompts/get", None, 1.0)
        server.handle(CallOpened(failed))
        server.handle(CallClosed(failed, Outcome.PROTOCOL_ERROR, 2.0, 2.0, None, -32602))
        for end in TaskOutcome:
            server.handle(TaskOpened(failed))
            server.handle(TaskClosed(failed, end, 60.0))
        server.handle(InputRequested("roots/list", Delivery.SERVER_REQUEST))
        server.handle(InputAnswered("roots/list", 0.1))
        server.handle(SessionOpened())
        server.handle(SessionClosed(SessionEnd.DELETED, 60.0))
        server.handle(StreamOpened(StreamKind.GET))
        server.handle(StreamClosed(StreamKind.GET, 60.0))
        server.handle(LateResponse("tools/call"))
        server.handle(
            MessageSeen(
                Direction.TO_CLIENT, MessageKind.NOTIFICATION, "notifications/message", 9, "info"
            )
        )
        server.handle(InspectionStopped("too_large"))
        server.handle(HttpExchangeClosed("POST", 200, 0.1, False, 0.0001, 0.0002))  # noqa: FBT003
        server.handle(UpstreamConnected(0.001))
        server.handle(UpstreamAnswered())
        server.handle(UpstreamFailed("truncated"))
        server.watch_connections(lambda: {("client", "active"): 1, ("upstream", "idle"): 2})
    metrics.inspection_failed("request_data")
    return metrics


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("text/plain", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("application/openmetrics-text;q=0.5;version=1.0.0", OPENMETRICS),
        ("text/plain, application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;version=0.0.1,*/*;q=0.1", TEXT),
        (PROMETHEUS_3, OPENMETRICS),
        ("application/vnd.google.protobuf;encoding=delimited", TEXT),
    ],
)
def test_the_format_is_chosen_as_the_client_library_does(accept: str, chosen: Exposition) -> None:
    assert choose(accept) is chosen
    library = library_text.choose_encoder(accept)[1]
    assert library.startswith("application/openmetrics-text") == (chosen is OPENMETRICS)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=nonsense", TEXT),
        (";;;,,,=;version", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text; version=1.0.0; Q=0.000", TEXT),
        ("application/openmetrics-text;q=0, application/openmetrics-text;q=0.001", OPENMETRICS),
        ("text/plain;q=0, application/openmetrics-text;q=0.0", TEXT),
        ("application/openmetrics-text;q=nonsense", OPENMETRICS),
        ("\x00\ud800", TEXT),
    ],
)
def test_the_choice_never_fails_nor_promises_another_version(
    accept: str, chosen: Exposition
) -> None:
    assert choose(accept) is chosen


def test_content_types_name_format_version_and_charset() -> None:
    assert TEXT.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert OPENMETRICS.content_type == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )


def library_openmetrics_write(metrics: Metrics) -> bytes:
    written: bytes = library_openmetrics.generate_latest(metrics.registry)  # type: ignore[no-untyped-call]
    return written


@pytest.mark.parametrize(
    ("exposition", "read", "write"),
    [
        (TEXT, from_text, lambda metrics: library_text.generate_latest(metrics.registry)),
        (OPENMETRICS, from_openmetrics, library_openmetrics_write),
    ],
)
def test_a_scrape_says_what_the_client_librarys_writer_would_say(
    exposition: Exposition, read: Callable[[bytes], Figures], write: Callable[[Metrics], bytes]
) -> None:
    metrics = make_busy_metrics()
    ours, theirs = exposition.render(metrics), write(metrics)
    assert read(ours).families == read(theirs).families
    assert own_samples(read(ours)) == own_samples(read(theirs))
    assert set(read(ours).samples) == set(read(theirs).samples)
    assert comments(ours) == comments(theirs)


def own_samples(figures: Figures) -> dict[object, float]:
    return {key: value for key, value in figures.samples.items() if key[0].startswith("mcp_")}


def comments(written: bytes) -> list[bytes]:
    return [line for line in written.splitlines() if line.startswith(b"#")]


def test_every_family_of_the_table_is_in_a_scrape_in_order_and_nothing_else() -> None:
    for metrics, families in (
        (make_metrics(), [family for family in FAMILIES if not family.optional]),
        (make_busy_metrics(), FAMILIES),
    ):
        types = [line.split() for line in comments(TEXT.render(metrics)) if b"TYPE" in line]
        found = [(name.decode(), kind.decode()) for _, _, name, kind in types]
        own = [entry for entry in found if entry[0].startswith("mcp_")]
        assert own == [(family.name, family.kind.value) for family in families]


def test_busy_metrics_have_a_series_of_every_family() -> None:
    sampled = {name for name, _ in scrape(make_busy_metrics()).samples}
    for family in FAMILIES:
        assert sampled & {family.name, f"{family.name}_count"}, family.name


@both_formats
def test_figures_of_the_process_come_along(
    exposition: Exposition, read: Callable[[bytes], Figures]
) -> None:
    figures = read(exposition.render(make_metrics()))
    assert list(figures.series("python_info"))
    assert list(figures.series("python_gc_collections_total"))


@both_formats
def test_there_are_no_created_series(
    exposition: Exposition, read: Callable[[bytes], Figures]
) -> None:
    names = {name for name, _ in read(exposition.render(make_busy_metrics())).samples}
    assert not {name for name in names if name.endswith("_created")}


def test_openmetrics_names_the_trace_of_the_last_call_in_each_bucket() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap", "hunt")
    call_tool(server, "hunt")
    for trace, took in (("a" * 32, 0.02), ("b" * 32, 0.02), (None, 0.02), ("c" * 32, 400)):
        call = Call("tools/call", "nap", 10.0, trace_id=trace)
        server.handle(CallOpened(call))
        server.handle(CallClosed(call, Outcome.SUCCESS, 10.0 + took))
    waiting = Call("subscriptions/listen", None, 10.0, trace_id="d" * 32)
    server.handle(CallOpened(waiting))
    server.handle(CallClosed(waiting, Outcome.SUCCESS, 11.0))
    written = OPENMETRICS.render(metrics).decode()
    families = list(read_openmetrics(written))  # type: ignore[no-untyped-call]
    found = {
        (sample.name, sample.labels["le"]): sample.exemplar
        for family in families
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert {
        (name, le): (exemplar.labels, round(exemplar.value, 6), float(exemplar.timestamp))
        for (name, le), exemplar in found.items()
    } == {
        (f"{name}_bucket", le): ({"trace_id": trace}, took, OFFSET + 10.0 + took)
        for name in ("mcp_tool_call_duration_seconds", "mcp_request_duration_seconds")
        for le, trace, took in (("0.025", "b" * 32, 0.02), ("+Inf", "c" * 32, 400))
    }
    assert " # {" not in TEXT.render(metrics).decode()


def test_openmetrics_ends_and_names_units() -> None:
    written = OPENMETRICS.render(make_busy_metrics())
    assert written.endswith(b"\n# EOF\n")
    assert written.count(b"# EOF") == 1
    assert b"# TYPE mcp_tool_calls counter\n" in written
    assert b"# UNIT mcp_tool_call_duration_seconds seconds\n" in written
    assert b"# EOF" not in TEXT.render(make_busy_metrics())


@both_formats
def test_hostile_names_never_break_a_scrape(
    exposition: Exposition, read: Callable[[bytes], Figures]
) -> None:
    metrics = make_metrics()
    callers, lister = metrics.server("callers"), metrics.server("lister")
    list_tools(lister, *HOSTILE_NAMES)
    for name in HOSTILE_NAMES:
        for server in (callers, lister):
            call_tool(server, name)
            call_tool(server, name, Outcome.TOOL_ERROR)
            strange = Call(name, name, 1.0)
            server.handle(CallOpened(strange))
            server.handle(CallClosed(strange, Outcome.SUCCESS, 2.0))
            server.handle(LateResponse(name))
            server.handle(MessageSeen(Direction.TO_SERVER, MessageKind.NOTIFICATION, name, 9, name))
            server.handle(InspectionStopped(name))
            server.handle(UpstreamFailed(name))
            server.handle(HttpExchangeClosed(name, 200, 0.1, False, 0.1, 0.1))  # noqa: FBT003
    written = exposition.render(metrics)
    figures = read(written)
    calls = 2 * len(HOSTILE_NAMES)
    assert figures.total("mcp_tool_calls_total", server="lister") == calls
    assert figures.total("mcp_tool_calls_total", server="callers") == calls
    assert figures.total("mcp_unknown_tool_calls_total") == 0
    assert "mcp_fake_total" not in {name for name, _ in figures.samples}
    assert len(written) < 1_000_000


def test_promtool_finds_nothing_to_complain_about() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if "CI" in os.environ:
            pytest.fail("promtool is not on PATH, and CI must check the metrics with it")
        pytest.skip("promtool is not on PATH")
    for metrics in (make_metrics(), make_busy_metrics()):
        checked = subprocess.run(
            [promtool, "check", "metrics"],
            input=TEXT.render(metrics),
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert checked.returncode == 0, checked
        assert not checked.stdout + checked.stderr


def test_a_scrape_in_another_thread_does_not_mind_traffic() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    scrapes: list[bytes] = []
    failures: list[Exception] = []
    done = threading.Event()

    def keep_scraping() -> None:
        try:
            while not done.is_set():
                scrapes.append(OPENMETRICS.render(metrics))
        except Exception as fault:  # noqa: BLE001  # a thread's fault must reach the test
            failures.append(fault)

    scraper = threading.Thread(target=keep_scraping)
    scraper.start()
    pending: list[Call] = []
    try:
        for number in range(600):
            name = f"tool_{number % 100}"
            list_tools(server, name, "nap")
            pending.append(Call("tools/call", name, float(number)))
            server.handle(CallOpened(pending[-1]))
            if number % 2:
                server.handle(CallClosed(pending.pop(0), Outcome.SUCCESS, number + 1.0, None, 9))
    finally:
        done.set()
        scraper.join(timeout=30)
    assert not failures
    assert scrapes
    for written in (scrapes[0], scrapes[-1]):
        from_openmetrics(written)
    assert scrape(metrics).total("mcp_tool_calls_total") == 300


def test_a_scrape_costs_a_fraction_of_what_the_client_library_takes() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    names = [f"tool_{number}" for number in range(100)]
    list_tools(server, *names)
    for name in names:
        call_tool(server, name)

    def fastest(write: Callable[[], bytes]) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            write()
            times.append(time.perf_counter() - started)
        return min(times)

    ours = fastest(lambda: TEXT.render(metrics))
    theirs = fastest(lambda: library_text.generate_latest(metrics.registry))
    assert ours * 5 < theirs
