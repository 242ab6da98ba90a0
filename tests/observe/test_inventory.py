import random

import pytest

from mcp_proxy_exporter.observe.metrics import Metrics, MetricsOptions
from mcp_proxy_exporter.observe.words import OTHER, PROTOCOL_VERSIONS, UNKNOWN
from mcp_proxy_exporter.protocol.events import ServerDescribed, Tool, ToolsListed
from tests.observe.figures import HOSTILE_NAMES, UNIX_TIME, list_tools, make_metrics, scrape

DEFINITION = "mcp_tool_definition_size_bytes"
TOKENS = "mcp_tool_definition_estimated_tokens"
CHANGES = "mcp_tool_definition_changes_total"
ADDED = "mcp_tools_added_total"
REMOVED = "mcp_tools_removed_total"
LIST_SIZE = "mcp_tools_list_size_bytes"
LAST_LIST = "mcp_tools_list_last_success_timestamp_seconds"
INFO = "mcp_server_info"
INSTRUCTIONS = "mcp_server_instructions_size_bytes"
PARTS = {"description", "input_schema", "output_schema", "other"}
GAUGES = ("mcp_tool_info", DEFINITION, TOKENS)
V = "2025-11-25"


def define(name: str, *sizes: int, digest: bytes = b"") -> Tool:
    """Make a tool whose parts have these sizes: description, input, output, other."""
    description, inputs, outputs, other = sizes or (0, 0, 0, 0)
    return Tool(
        name,
        description_size=description,
        input_schema_size=inputs,
        output_schema_size=outputs,
        other_size=other,
        digest=digest,
    )


def test_before_a_list_the_inventory_is_silent_and_its_counters_stand_at_zero() -> None:
    metrics = make_metrics()
    metrics.server("cats")
    figures = scrape(metrics)
    for name in (*GAUGES, CHANGES, LIST_SIZE, INFO, INSTRUCTIONS, "mcp_tools"):
        assert not list(figures.series(name))
    assert figures(ADDED, server="cats") == 0
    assert figures(REMOVED, server="cats") == 0
    assert figures(LAST_LIST, server="cats") == 0


def test_a_definition_is_told_by_parts_and_estimated_in_tokens() -> None:
    metrics = make_metrics()
    listed = (define("nap", 100, 200, 30, 71), define("hunt", 1, 0, 0, 20))
    metrics.server("cats").handle(ToolsListed(listed, 500))
    figures = scrape(metrics)
    nap = {"server": "cats", "tool": "nap"}
    assert figures(DEFINITION, **nap, part="description") == 100
    assert figures(DEFINITION, **nap, part="input_schema") == 200
    assert figures(DEFINITION, **nap, part="output_schema") == 30
    assert figures(DEFINITION, **nap, part="other") == 71
    assert figures(TOKENS, **nap) == 401 / 4
    assert figures(TOKENS, server="cats", tool="hunt") == 21 / 4
    assert figures(DEFINITION, server="cats", tool="hunt", part="output_schema") == 0
    assert figures.values(DEFINITION, "part") == PARTS
    assert figures(LIST_SIZE, server="cats") == 500


def test_the_bytes_of_a_token_can_be_set() -> None:
    metrics = Metrics(MetricsOptions(bytes_per_token=2.5))
    metrics.server("cats").handle(ToolsListed((define("nap", 100, 0, 0, 0),)))
    assert scrape(metrics)(TOKENS, server="cats", tool="nap") == 40


@pytest.mark.parametrize("ratio", [0, -1, float("inf"), float("nan")])
def test_a_token_of_no_bytes_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="bytes_per_token must be a positive finite number"):
        MetricsOptions(bytes_per_token=ratio)


def test_what_vanished_leaves_the_gauges_and_keeps_its_counter() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(ToolsListed((define("nap", 1, 1, 1, 1), define("hunt", 1, 1, 1, 1)), 80))
    server.handle(ToolsListed((define("nap", 2, 1, 1, 1),), 40))
    figures = scrape(metrics)
    for name in GAUGES:
        assert figures.values(name, "tool") == {"nap"}
    assert figures(DEFINITION, server="cats", tool="nap", part="description") == 2
    assert figures.values(CHANGES, "tool") == {"nap", "hunt"}
    assert figures(LIST_SIZE, server="cats") == 40
    server.handle(ToolsListed((), 12))
    figures = scrape(metrics)
    for name in GAUGES:
        assert not list(figures.series(name))
    assert figures(LIST_SIZE, server="cats") == 12


def test_the_time_and_size_are_those_of_the_last_list_though_its_tools_are_the_same() -> None:
    hands = [UNIX_TIME]
    metrics = Metrics(MetricsOptions(wall_clock=lambda: hands[0], monotonic_clock=lambda: 0.0))
    server = metrics.server("cats")
    server.handle(ToolsListed((Tool("nap"),), 40))
    assert scrape(metrics)(LAST_LIST, server="cats") == UNIX_TIME
    hands[0] += 60
    server.handle(ToolsListed((Tool("nap"),), 41))
    figures = scrape(metrics)
    assert figures(LAST_LIST, server="cats") == UNIX_TIME + 60
    assert figures(LIST_SIZE, server="cats") == 41


def test_the_first_list_is_the_baseline_and_the_next_ones_add_and_remove() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for names, added, removed in (
        (("nap", "hunt"), 0, 0),
        (("hunt", "nap"), 0, 0),
        (("nap", "purr", "play"), 2, 1),
        ((), 2, 4),
        (("nap",), 3, 4),
    ):
        list_tools(server, *names)
        figures = scrape(metrics)
        assert figures(ADDED, server="cats") == added
        assert figures(REMOVED, server="cats") == removed


def test_an_empty_first_list_is_a_baseline_too() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    list_tools(server)
    list_tools(server, "nap")
    assert scrape(metrics)(ADDED, server="cats") == 1


def test_another_definition_is_a_change_and_the_first_one_is_none() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    counted = []
    for digest in (b"a", b"a", b"b", b"b", b"a"):
        server.handle(ToolsListed((define("nap", digest=digest), define("hunt", digest=b"x"))))
        counted.append(scrape(metrics)(CHANGES, server="cats", tool="nap"))
    assert counted == [0, 0, 1, 1, 2]
    assert scrape(metrics)(CHANGES, server="cats", tool="hunt") == 0


def test_the_same_definition_in_other_words_is_no_change_but_has_its_own_size() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(ToolsListed((define("nap", 1, 2, 3, 4, digest=b"a"),)))
    server.handle(ToolsListed((define("nap", 1, 2, 3, 9, digest=b"a"),)))
    figures = scrape(metrics)
    assert figures(CHANGES, server="cats", tool="nap") == 0
    assert figures(DEFINITION, server="cats", tool="nap", part="other") == 9


def test_a_tool_that_comes_back_changed_has_changed() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    for listed in ((define("nap", digest=b"a"),), (), (define("nap", digest=b"b"),)):
        server.handle(ToolsListed(listed))
    figures = scrape(metrics)
    assert figures(CHANGES, server="cats", tool="nap") == 1
    assert figures(ADDED, server="cats") == figures(REMOVED, server="cats") == 1


def test_names_that_read_the_same_are_summed_up_in_one_series() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    one, two = define("a\n", 1, 2, 3, 4, digest=b"a"), define("a\x00", 10, 20, 30, 40, digest=b"b")
    server.handle(ToolsListed((one, two)))
    server.handle(ToolsListed((two, one)))
    figures = scrape(metrics)
    label = {"server": "cats", "tool": "a�"}
    assert figures(DEFINITION, **label, part="input_schema") == 22
    assert figures(TOKENS, **label) == 110 / 4
    assert figures(CHANGES, **label) == 0
    assert figures("mcp_tools", server="cats") == 2
    server.handle(ToolsListed((two, define("a\n", 1, 2, 3, 4, digest=b"c"))))
    assert scrape(metrics)(CHANGES, **label) == 1


def test_of_names_that_read_the_same_the_last_one_gives_the_hints() -> None:
    metrics = make_metrics()
    listed = (Tool("a\n", read_only=True), Tool("a\x00", destructive=True))
    metrics.server("cats").handle(ToolsListed(listed))
    [info] = scrape(metrics).series("mcp_tool_info")
    assert (info["read_only"], info["destructive"]) == ("unset", "true")


def test_tools_beyond_the_cap_are_in_the_totals_only() -> None:
    metrics = make_metrics(max_listed_tools=3)
    server = metrics.server("cats")
    for round_ in range(4):
        listed = [define(f"tool_{round_}_{i}", 1, 1, 1, 1, digest=bytes([i])) for i in range(5)]
        server.handle(ToolsListed(tuple(listed), 100 + round_))
        figures = scrape(metrics)
        shown = {f"tool_0_{i}" for i in range(3)}
        assert figures.values(TOKENS, "tool") == (shown if round_ == 0 else set())
        assert figures.values(CHANGES, "tool") == shown
    figures = scrape(metrics)
    assert figures("mcp_tools", server="cats") == 5
    assert figures(LIST_SIZE, server="cats") == 103
    assert figures(ADDED, server="cats") == figures(REMOVED, server="cats") == 15


def test_hostile_names_of_tools_break_nothing() -> None:
    metrics = make_metrics()
    tools = tuple(
        define(name, 1, 1, 1, 1, digest=name.encode("utf-8", "replace")) for name in HOSTILE_NAMES
    )
    metrics.server("cats").handle(ToolsListed(tools))
    figures = scrape(metrics)
    assert figures.total(DEFINITION) == 4 * len(HOSTILE_NAMES)
    assert figures.values(TOKENS, "tool") == figures.values("mcp_tool_info", "tool")


def test_random_lists_are_counted_as_by_hand() -> None:
    chance = random.Random(20260728)  # noqa: S311  # repeatable, no secret
    metrics = make_metrics()
    server = metrics.server("cats")
    added = removed = 0
    last: dict[str, Tool] = {}
    known: dict[str, bytes] = {}
    changes: dict[str, int] = {}
    for step in range(300):
        names = [name for name in "abcdefgh" if chance.random() < 0.6]
        listed = {
            n: define(n, *chance.choices(range(9), k=4), digest=chance.choice((b"x", b"y")))
            for n in names
        }
        server.handle(ToolsListed(tuple(listed.values()), step))
        if step:
            added += len(listed.keys() - last.keys())
            removed += len(last.keys() - listed.keys())
        last = listed
        for name, tool in listed.items():
            changes[name] = changes.get(name, 0) + (
                known.setdefault(name, tool.digest) != tool.digest
            )
            known[name] = tool.digest
    figures = scrape(metrics)
    assert figures(ADDED, server="cats") == added > 0
    assert figures(REMOVED, server="cats") == removed > 0
    assert {n: figures(CHANGES, server="cats", tool=n) for n in known} == changes
    assert figures.values(TOKENS, "tool") == last.keys()
    for name, tool in last.items():
        total = tool.description_size + tool.input_schema_size
        total += tool.output_schema_size + tool.other_size
        assert figures.total(DEFINITION, tool=name) == total
        assert figures(TOKENS, server="cats", tool=name) == total / 4


def test_servers_do_not_share_inventories() -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(ToolsListed((define("nap", 1, 1, 1, 1),), 9))
    metrics.server("dogs").handle(ServerDescribed("Rex", "1", V, 7))
    figures = scrape(metrics)
    for name in (*GAUGES, CHANGES, LIST_SIZE):
        assert figures.values(name, "server") == {"cats"}
    for name in (INFO, INSTRUCTIONS):
        assert figures.values(name, "server") == {"dogs"}


def test_a_server_is_what_it_says_that_it_is() -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(ServerDescribed("Cat Café", "1.2.3", V, 77))
    figures = scrape(metrics)
    labels = {"name": "Cat Café", "version": "1.2.3", "protocol_version": V}
    assert figures(INFO, server="cats", **labels) == 1
    assert figures(INSTRUCTIONS, server="cats") == 77


def test_what_a_server_says_last_in_a_revision_replaces_what_it_said_before() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    server.handle(ServerDescribed("cat", "1", V, 77))
    server.handle(ServerDescribed("cat", "1", "2026-07-28", 5))
    server.handle(ServerDescribed("cat", "2", V, 0))
    figures = scrape(metrics)
    shown = {(info["version"], info["protocol_version"]) for info in figures.series(INFO)}
    assert shown == {("2", V), ("1", "2026-07-28")}
    assert figures(INSTRUCTIONS, server="cats") == 0


def test_what_a_server_does_not_say_is_unknown() -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(ServerDescribed(None, None, None, 9))
    labels = {"name": UNKNOWN, "version": UNKNOWN, "protocol_version": UNKNOWN}
    assert scrape(metrics)(INFO, server="cats", **labels) == 1


def test_whatever_servers_call_themselves_there_is_one_series_for_each_revision() -> None:
    metrics = make_metrics()
    server = metrics.server("cats")
    versions = (None, *PROTOCOL_VERSIONS, *HOSTILE_NAMES, UNKNOWN, OTHER)
    for version in versions:
        for text in HOSTILE_NAMES:
            server.handle(ServerDescribed(text, text, version))
    figures = scrape(metrics)
    shown = list(figures.series(INFO))
    assert len(shown) == len(PROTOCOL_VERSIONS) + 2
    assert {info["protocol_version"] for info in shown} == {*PROTOCOL_VERSIONS, OTHER, UNKNOWN}
    assert all(len(info["name"]) <= 128 and info["name"].isprintable() for info in shown)


@pytest.mark.parametrize("text", HOSTILE_NAMES)
def test_a_name_of_a_server_cannot_break_a_scrape(text: str) -> None:
    metrics = make_metrics()
    metrics.server("cats").handle(ServerDescribed(text, text, text))
    [info] = scrape(metrics).series(INFO)
    assert info["name"] == info["version"]
    assert info["protocol_version"] == OTHER
