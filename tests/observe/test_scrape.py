import gzip
import threading
import time

import pytest

from mcp_proxy_exporter.observe import scrape
from mcp_proxy_exporter.observe.exposition import OPENMETRICS, TEXT, Exposition
from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions
from mcp_proxy_exporter.observe.switches import Switches
from tests.observe.figures import call_tool, list_tools, make_metrics

TOOLS = [f"tool_{number}" for number in range(200)]


def make_large() -> Metrics:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, *TOOLS)
    for name in TOOLS:
        call_tool(server, name)
    return metrics


def own(written: bytes) -> list[bytes]:
    return [line for line in written.splitlines() if b"mcp_" in line]


@pytest.mark.parametrize("exposition", [TEXT, OPENMETRICS])
@pytest.mark.parametrize("compress", [False, True])
def test_a_scrape_says_what_its_format_says(exposition: Exposition, *, compress: bool) -> None:
    metrics = make_large()
    written = scrape.write(exposition, metrics, compress=compress)
    assert written.compressed is compress
    body = gzip.decompress(written.body) if compress else written.body
    assert own(body) == own(exposition.render(metrics))
    assert not compress or len(written.body) * 10 < len(body)


def test_little_is_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(MetricsOptions(switches=Switches(disable=("*",))))
    monkeypatch.setattr(metrics.companions, "collect", lambda: ())
    written = scrape.write(OPENMETRICS, metrics, compress=True)
    assert (written.body, written.compressed) == (b"# EOF\n", False)


def test_a_large_scrape_is_written_in_slices() -> None:
    sizes = [written.count(b"\n") for written in TEXT.slices(make_large())]
    assert len(sizes) > 10
    assert max(sizes) < 1000


def test_another_thread_does_not_wait_for_a_scrape() -> None:
    """A thread that wants the interpreter every now and then has it long before the end."""
    metrics = make_large()
    turns: list[float] = []
    done = threading.Event()

    def turn() -> None:
        while not done.is_set():
            time.sleep(0.0005)
            turns.append(time.perf_counter())

    other = threading.Thread(target=turn)
    other.start()
    try:
        started = time.perf_counter()
        scrape.write(TEXT, metrics, compress=False)
        ended = time.perf_counter()
    finally:
        done.set()
        other.join()
    assert sum(started < at < ended for at in turns) >= 3
