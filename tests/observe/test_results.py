import pytest

from mcp_proxy_exporter.observe.metrics import ServerMetrics
from mcp_proxy_exporter.observe.words import OTHER
from mcp_proxy_exporter.protocol.content import ONE_TEXT
from mcp_proxy_exporter.protocol.events import Call, CallClosed, CallOpened, Content
from mcp_proxy_exporter.protocol.outcome import Outcome
from tests.observe.figures import HOSTILE_NAMES, list_tools, make_metrics, scrape

BLOCKS = "mcp_tool_result_content_blocks_total"
DUPLICATED = "mcp_tool_result_duplicated_bytes_total"
REPEATED = "mcp_tool_repeated_calls_total"
SIZE = "mcp_tool_result_size_bytes"
NAP = {"server": "cats", "tool": "nap"}


def answer(
    server: ServerMetrics,
    content: Content | None,
    *,
    name: str | None = "nap",
    method: str = "tools/call",
    outcome: Outcome = Outcome.SUCCESS,
    repeated: bool = False,
) -> Call:
    """Report a call whose result holds this."""
    call = Call(method, name, 1.0)
    server.handle(CallOpened(call))
    server.handle(CallClosed(call, outcome, 2.0, 1.5, 300, content=content, repeated=repeated))
    return call


def test_text_exists_at_zero_and_the_rest_once_it_comes() -> None:
    metrics = make_metrics()
    list_tools(metrics.server("cats"), "nap")
    figures = scrape(metrics)
    assert figures(BLOCKS, **NAP, type="text") == 0
    assert figures.total(BLOCKS) == 0
    assert figures.values(BLOCKS, "type") == {"text"}
    assert not list(figures.series(DUPLICATED))


@pytest.mark.parametrize("content", [ONE_TEXT, Content(("text",))])
def test_one_text_is_one_block(content: Content) -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    for _ in range(3):
        answer(server, content)
    figures = scrape(metrics)
    assert figures(BLOCKS, **NAP, type="text") == figures.total(BLOCKS) == 3
    assert figures(f"{SIZE}_sum", **NAP) == 900
    assert not list(figures.series(DUPLICATED))


def test_blocks_count_by_type_and_what_nobody_specified_is_other() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    known = ("image", "audio", "resource", "resource_link", "text", "image")
    # What a block calls itself is no structuredContent.
    strange = ("structured", "video", "", "Text", OTHER)
    for _ in range(2):
        answer(server, Content((*known, *strange)))
    figures = scrape(metrics)
    counted = {s["type"]: figures(BLOCKS, **s) for s in figures.series(BLOCKS)}
    assert counted == {
        **dict.fromkeys(("audio", "resource", "resource_link", "text"), 2),
        "image": 4,
        OTHER: 10,
    }


def test_structured_content_counts_once_beside_the_blocks_and_with_what_repeats_it() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    answer(server, Content(("text",), structured=True, duplicated=40))
    answer(server, Content((), structured=True))
    answer(server, Content(("text", "text"), structured=True, duplicated=2))
    figures = scrape(metrics)
    assert figures(BLOCKS, **NAP, type="structured") == 3
    assert figures(BLOCKS, **NAP, type="text") == 3
    assert figures(DUPLICATED, **NAP) == 42


def test_structured_content_that_nothing_repeats_is_told_as_zero() -> None:
    metrics = make_metrics()
    answer(metrics.server("cats"), Content(("image",), structured=True))
    assert scrape(metrics)(DUPLICATED, **NAP) == 0


def test_a_result_without_content_has_no_blocks() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    answer(server, None)
    answer(server, Content(()))
    figures = scrape(metrics)
    assert figures.total(BLOCKS) == 0
    assert figures(f"{SIZE}_count", **NAP) == 2


def test_an_error_of_a_tool_brings_blocks_too() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    answer(server, ONE_TEXT, outcome=Outcome.TOOL_ERROR)
    assert scrape(metrics)(BLOCKS, **NAP, type="text") == 1


def test_what_is_no_tool_call_has_no_tools_result() -> None:
    metrics = make_metrics()
    answer(metrics.server("cats"), ONE_TEXT, method="tasks/result")
    assert not list(scrape(metrics).series(BLOCKS))


def test_types_and_names_from_outside_make_no_series() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap")
    for text in HOSTILE_NAMES:
        content = Content((text,), structured=True, duplicated=1)
        answer(server, content, name=text, repeated=True)
    figures = scrape(metrics)
    assert figures.values(BLOCKS, "tool") == {"nap", OTHER}
    assert figures.values(BLOCKS, "type") == {"text", "structured", OTHER}
    other = {"server": "cats", "tool": OTHER}
    assert figures(BLOCKS, **other, type=OTHER) == len(HOSTILE_NAMES)
    assert figures(DUPLICATED, **other) == len(HOSTILE_NAMES)
    assert figures(REPEATED, **other) == len(HOSTILE_NAMES)


def test_a_repeated_call_counts_once_more_under_its_tool() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server, "nap", "hunt")
    assert scrape(metrics)(REPEATED, **NAP) == 0
    for _ in range(3):
        answer(server, ONE_TEXT, repeated=True)
    figures = scrape(metrics)
    assert figures(REPEATED, **NAP) == 3
    assert figures(REPEATED, server="cats", tool="hunt") == 0
    assert figures("mcp_tool_calls_total", **NAP, outcome="success") == 3


def test_a_repeated_call_admits_no_name() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for name in ("invented", None):
        answer(server, None, name=name, outcome=Outcome.TOOL_ERROR, repeated=True)
    figures = scrape(metrics)
    assert figures.values(REPEATED, "tool") == {OTHER}
    assert figures(REPEATED, server="cats", tool=OTHER) == 2
