"""Listings of tools, page by page."""

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_proxy_exporter.protocol import catalog as module
from mcp_proxy_exporter.protocol.catalog import (
    MAX_NAMED,
    MAX_TOOLS,
    MAX_UNFINISHED,
    MAX_VALUES,
    Catalog,
    place_of,
)
from mcp_proxy_exporter.protocol.events import Event, Tool, ToolsListed, ToolsSeen
from mcp_proxy_exporter.protocol.ids import MAX_TEXT


def raw(result: Any) -> Raw:
    return Raw(json.dumps(result).encode())


def define(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {}}


def page(*names: str, cursor: Any = None) -> Raw:
    result: dict[str, Any] = {"tools": [define(name) for name in names]}
    return raw(result if cursor is None else {**result, "nextCursor": cursor})


def measured(definition: dict[str, Any], **hints: bool | None) -> Tool:
    """Give the tool that a definition stands for."""
    texts = {name: json.dumps(value) for name, value in definition.items()}
    parts = [len(texts.get(n, "")) for n in ("description", "inputSchema", "outputSchema")]
    return Tool(
        definition["name"][:MAX_TEXT],
        **hints,
        description_size=parts[0],
        input_schema_size=parts[1],
        output_schema_size=parts[2],
        other_size=len(json.dumps(definition)) - sum(parts),
        digest=sha256(
            json.dumps(definition, sort_keys=True, separators=(",", ":")).encode()
        ).digest(),
    )


def tools(*names: str) -> tuple[Tool, ...]:
    return tuple(measured(define(name)) for name in names)


def listed(result: Raw, *names: str, earlier: tuple[Raw, ...] = (), more: int = 0) -> ToolsListed:
    """Give the inventory that ends with this page."""
    return ToolsListed(tools(*names), sum(map(len, (*earlier, result))), more)


def add(catalog: Catalog, cursor: str | None, result: Raw, whose: bytes = b"") -> list[Event]:
    return list(catalog.add(place_of(cursor), result, whose))


def test_a_single_page_is_the_inventory() -> None:
    result = page("a", "b")
    expected = [ToolsSeen(tools("a", "b")), listed(result, "a", "b")]
    assert add(Catalog(), None, result) == expected


def test_an_empty_listing_is_an_inventory_too() -> None:
    assert add(Catalog(), None, page()) == [ToolsSeen(()), ToolsListed((), len('{"tools": []}'))]


def test_pages_make_one_inventory_when_the_last_has_come() -> None:
    catalog = Catalog()
    pages = page("a", cursor="1"), page("b", cursor="2"), page("c")
    assert add(catalog, None, pages[0]) == [ToolsSeen(tools("a"))]
    assert add(catalog, "1", pages[1]) == [ToolsSeen(tools("b"))]
    assert add(catalog, "2", pages[2]) == [
        ToolsSeen(tools("c")),
        listed(pages[2], "a", "b", "c", earlier=pages[:2]),
    ]


def test_listings_of_several_clients_do_not_mix() -> None:
    catalog = Catalog()
    first, second = page("a", cursor="x"), page("b", "bb", cursor="y")
    add(catalog, None, first)
    add(catalog, None, second)
    rest = page("d"), page("c")
    assert add(catalog, "y", rest[0])[1] == listed(rest[0], "b", "bb", "d", earlier=(second,))
    assert add(catalog, "x", rest[1])[1] == listed(rest[1], "a", "c", earlier=(first,))


def test_two_clients_may_follow_the_same_cursor() -> None:
    catalog = Catalog()
    first, second = page("a", cursor="x"), page("b")
    add(catalog, None, first)
    add(catalog, None, first)
    for _ in range(2):
        assert add(catalog, "x", second)[1] == listed(second, "a", "b", earlier=(first,))


def test_the_same_cursors_of_several_sessions_do_not_mix() -> None:
    """Many servers count their pages, so that everybody has the same cursors."""
    catalog = Catalog()
    ours, theirs = (page(f"{who}1", cursor="2") for who in "ab")
    rest, nothing = page("c"), page(cursor="3")
    for _ in range(3):
        add(catalog, None, ours, b"a")
        add(catalog, None, theirs, b"b")
        assert add(catalog, "2", nothing, b"a") == [ToolsSeen(())]
        assert add(catalog, "2", rest, b"b")[1] == listed(rest, "b1", "c", earlier=(theirs,))
        assert add(catalog, "2", rest) == [ToolsSeen(tools("c"))]
        expected = listed(rest, "a1", "c", earlier=(ours, nothing))
        assert add(catalog, "3", rest, b"a")[1] == expected


def test_what_a_session_has_left_behind_is_not_held() -> None:
    catalog = Catalog()
    add(catalog, None, page("a", cursor="0"), b"s")
    for number in range(2 * MAX_UNFINISHED):
        add(catalog, str(number), page("a", cursor=str(number + 1)), b"s")
    assert len(catalog._unfinished) == 1
    # It may ask for the last page twice.
    for _ in range(2):
        assert len(add(catalog, str(2 * MAX_UNFINISHED), page("b"), b"s")) == 2


def test_a_listing_whose_beginning_was_missed_is_no_inventory() -> None:
    catalog = Catalog()
    assert add(catalog, "1", page("b", cursor="2")) == [ToolsSeen(tools("b"))]
    assert add(catalog, "2", page("c")) == [ToolsSeen(tools("c"))]


@pytest.mark.parametrize("cursor", ["", 5, [], {}])
def test_what_is_no_cursor_ends_the_listing(cursor: Any) -> None:
    result = page("a", cursor=cursor)
    assert add(Catalog(), None, result)[1] == listed(result, "a")


def test_an_empty_cursor_asks_for_the_beginning() -> None:
    assert place_of("") is None
    assert place_of(None) is None


def test_a_cursor_is_not_held_itself() -> None:
    place = place_of("secret" * 1_000)
    assert place is not None
    assert len(place) == 32


def test_a_cursor_that_leads_to_itself_ends_nowhere_and_holds_nothing() -> None:
    catalog = Catalog()
    add(catalog, None, page("a", cursor="x"))
    for _ in range(10):
        assert add(catalog, "x", page("a", cursor="x")) == [ToolsSeen(tools("a"))]
    assert [unfinished.tools for unfinished in catalog._unfinished.values()] == [tools("a")]


def test_abandoned_listings_are_forgotten() -> None:
    catalog = Catalog()
    for i in range(MAX_UNFINISHED + 1):
        add(catalog, None, page("a", cursor=str(i)))
    assert len(catalog._unfinished) == MAX_UNFINISHED
    assert len(add(catalog, "0", page("b"))) == 1
    assert len(add(catalog, "1", page("b"))) == 2


def test_a_place_that_is_come_to_again_is_forgotten_last() -> None:
    catalog = Catalog()
    for number in (*range(MAX_UNFINISHED), 0, "x"):
        add(catalog, None, page("a", cursor=str(number)))
    assert len(add(catalog, "0", page("b"))) == 2
    assert len(add(catalog, "1", page("b"))) == 1


def test_an_endless_listing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 5)
    catalog = Catalog()
    first, second = page("a", "b", "c", cursor="1"), page("d", "e", "f")
    add(catalog, None, first)
    # Its size is that of all that a client was sent.
    assert add(catalog, "1", second)[1] == listed(second, *"abcde", earlier=(first,), more=1)
    third = page(*"abcdefgh")
    expected = [ToolsSeen(tools(*"abcde"), 3), listed(third, *"abcde", more=3)]
    assert add(catalog, None, third) == expected
    assert MAX_TOOLS >= 1_000


def test_what_is_cut_off_is_counted_over_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 2)
    catalog = Catalog()
    pages = page(*"abc", cursor="1"), page(*"bde", cursor="2"), page("a"), page("f")
    assert add(catalog, None, pages[0]) == [ToolsSeen(tools(*"ab"), 1)]
    assert add(catalog, "1", pages[1]) == [ToolsSeen(tools(*"bd"), 1)]
    assert add(catalog, "2", pages[2])[1] == listed(pages[2], *"ab", earlier=pages[:2], more=3)
    assert add(catalog, "2", pages[3])[1] == listed(pages[3], *"ab", earlier=pages[:2], more=4)


def test_what_is_cut_off_is_counted_by_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 2)
    definitions = [
        *map(define, "aabcc"),
        {"title": "nameless"},
        {"name": 5},
        5,
        {**define("d"), "annotations": "odd"},
        define("b"),
        define("x" * MAX_TEXT + "1"),
        define("x" * MAX_TEXT + "2"),
    ]
    [seen, _] = add(Catalog(), None, raw({"tools": definitions}))
    assert seen == ToolsSeen(tools(*"ab"), len({"c", "d", "x"}))


def test_a_name_too_deep_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "MAX_TOOLS", 1)
    monkeypatch.setattr(module, "_decode_named", overflow)
    assert add(Catalog(), None, page(*"abc"))[0] == ToolsSeen(tools("a"))


@pytest.mark.parametrize("count", [MAX_TOOLS, 5_000, MAX_NAMED, MAX_NAMED + 1, 20_000])
def test_the_number_of_tools_is_true(count: int) -> None:
    [seen, told] = add(Catalog(), None, page(*map(str, range(count))))
    for event in (seen, told):
        assert isinstance(event, ToolsSeen | ToolsListed)
        assert len(event.tools) == MAX_TOOLS
        assert event.more == count - MAX_TOOLS


def test_a_name_that_is_listed_twice_is_one_tool() -> None:
    result = page("a", "a")
    assert add(Catalog(), None, result)[1] == listed(result, "a")


def test_a_long_name_is_cut() -> None:
    [seen, _] = add(Catalog(), None, page("x" * 2_000))
    assert seen == ToolsSeen((measured(define("x" * 2_000)),))
    assert len(seen.tools[0].name) == MAX_TEXT


def test_hints_are_read() -> None:
    annotations = {
        "title": "A cat",
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": None,
    }
    definitions: list[dict[str, Any]] = [{"name": "a", "annotations": annotations}, {"name": "b"}]
    hinted = measured(definitions[0], read_only=True, destructive=False, idempotent=True)
    [seen, _] = add(Catalog(), None, raw({"tools": definitions}))
    assert seen == ToolsSeen((hinted, measured(definitions[1])))


def test_a_tool_with_broken_annotations_is_still_a_tool() -> None:
    definitions: list[Any] = [
        {"name": "a", "annotations": {"readOnlyHint": "yes"}, "description": "A."},
        {"name": "b", "annotations": {"readOnlyHint": True}},
        {"name": 5},
        {"title": "nameless"},
        "text",
    ]
    result = raw({"tools": definitions, "nextCursor": "1"})
    catalog = Catalog()
    expected = (measured(definitions[0]), measured(definitions[1], read_only=True))
    assert add(catalog, None, result) == [ToolsSeen(expected)]
    assert add(catalog, "1", page())[1] == ToolsListed(expected, len(result) + len(page()))


def read(text: str) -> Tool:
    """Give the one tool that is defined so."""
    [seen, _] = add(Catalog(), None, Raw(b'{"tools":[%b]}' % text.encode()))
    assert isinstance(seen, ToolsSeen)
    [tool] = seen.tools
    return tool


def test_the_parts_of_a_definition_are_measured_as_json_text() -> None:
    text = (
        '{"name":"nap", "description": "Müde? \\n", "inputSchema": {"type": "object"} ,'
        '"outputSchema":{}, "title":"Nap"}'
    )
    tool = read(text)
    assert tool.description_size == len('"Müde? \\n"'.encode())
    assert tool.input_schema_size == len('{"type": "object"}')
    assert tool.output_schema_size == 2
    total = tool.description_size + tool.input_schema_size + tool.output_schema_size
    assert total + tool.other_size == len(text.encode())


def test_what_a_definition_lacks_has_no_size() -> None:
    tool = read('{"name":"nap"}')
    assert (tool.description_size, tool.input_schema_size, tool.output_schema_size) == (0, 0, 0)
    assert tool.other_size == len('{"name":"nap"}')


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('{"inputSchema":{"a":1,"b":[2,3]},"name":"nap"}', True),
        ('{ "name": "nap",\n"inputSchema": {"b": [2, 3], "a": 1} }', True),
        ('{"name":"\\u006eap","inputSchema":{"a":1,"b":[2,3]}}', True),
        ('{"name":"nap","inputSchema":{"a":1,"b":[3,2]}}', False),
        ('{"name":"nap","inputSchema":{"a":true,"b":[2,3]}}', False),
        ('{"name":"nap","inputSchema":{"a":1,"b":[2,3]},"description":"Rest."}', False),
        ('{"name":"nap","inputSchema":{"a":1,"b":[2,3]},"description":null}', False),
        ('{"name":"nap","inputSchema":{"a":1,"b":[2,3]},"_meta":{"x":1}}', False),
    ],
)
def test_the_digest_tells_definitions_apart_and_not_their_spelling(
    text: str, *, same: bool
) -> None:
    reference = read('{"name":"nap","inputSchema":{"a":1,"b":[2,3]}}')
    tool = read(text)
    assert len(tool.digest) == 32
    assert (tool.digest == reference.digest) == same


@pytest.mark.parametrize("values", [100, MAX_VALUES])
def test_definitions_of_too_many_values_are_compared_as_they_are_written(values: int) -> None:
    zeros = ",".join("0" * values)
    one, other = (f'{{"name":"nap",{blank}"x":[{zeros}]}}' for blank in ("", " "))
    assert (read(one).digest == read(other).digest) == (values < MAX_VALUES)
    assert read(one).digest == read(one).digest


def test_commas_are_only_counted_where_there_may_be_many() -> None:
    one, other = (f'{{"name":"nap",{blank}"x":"{"," * 99_900}"}}' for blank in ("", " "))
    assert read(one).digest == read(other).digest


def test_a_definition_that_cannot_be_read_whole_has_a_digest_of_its_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "_decode_any", overflow)
    text = '{"name":"nap","x":[1]}'
    assert read(text).digest == sha256(text.encode()).digest()
    assert read(text).digest != read('{"name":"nap", "x":[1]}').digest


@pytest.mark.parametrize("result", [{}, [], None, 5, {"tools": None}, {"tools": {"a": 1}}])
def test_a_result_without_tools_says_nothing(result: Any) -> None:
    assert add(Catalog(), None, raw(result)) == []


def test_a_listing_too_deep_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "_decode_page", overflow)
    assert add(Catalog(), None, page("a")) == []


@given(st.binary(max_size=100))
def test_any_result_can_be_added(data: bytes) -> None:
    Catalog().add(None, Raw(data))
