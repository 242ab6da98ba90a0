"""Listings of tools, page by page."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_proxy_exporter.protocol import catalog as module
from mcp_proxy_exporter.protocol.catalog import MAX_TOOLS, MAX_UNFINISHED, Catalog, place_of
from mcp_proxy_exporter.protocol.events import Event, Tool, ToolsListed, ToolsSeen
from mcp_proxy_exporter.protocol.ids import MAX_TEXT


def raw(result: Any) -> Raw:
    return Raw(json.dumps(result).encode())


def page(*names: str, cursor: Any = None) -> Raw:
    result: dict[str, Any] = {"tools": [{"name": name, "inputSchema": {}} for name in names]}
    return raw(result if cursor is None else {**result, "nextCursor": cursor})


def tools(*names: str) -> tuple[Tool, ...]:
    return tuple(Tool(name) for name in names)


def add(catalog: Catalog, cursor: str | None, result: Raw) -> list[Event]:
    return list(catalog.add(place_of(cursor), result))


def test_a_single_page_is_the_inventory() -> None:
    found = tools("a", "b")
    assert add(Catalog(), None, page("a", "b")) == [ToolsSeen(found), ToolsListed(found)]


def test_an_empty_listing_is_an_inventory_too() -> None:
    assert add(Catalog(), None, page()) == [ToolsSeen(()), ToolsListed(())]


def test_pages_make_one_inventory_when_the_last_has_come() -> None:
    catalog = Catalog()
    assert add(catalog, None, page("a", cursor="1")) == [ToolsSeen(tools("a"))]
    assert add(catalog, "1", page("b", cursor="2")) == [ToolsSeen(tools("b"))]
    assert add(catalog, "2", page("c")) == [
        ToolsSeen(tools("c")),
        ToolsListed(tools("a", "b", "c")),
    ]


def test_listings_of_several_clients_do_not_mix() -> None:
    catalog = Catalog()
    add(catalog, None, page("a", cursor="x"))
    add(catalog, None, page("b", cursor="y"))
    assert add(catalog, "y", page("d"))[1] == ToolsListed(tools("b", "d"))
    assert add(catalog, "x", page("c"))[1] == ToolsListed(tools("a", "c"))


def test_two_clients_may_follow_the_same_cursor() -> None:
    catalog = Catalog()
    add(catalog, None, page("a", cursor="x"))
    add(catalog, None, page("a", cursor="x"))
    for _ in range(2):
        assert add(catalog, "x", page("b"))[1] == ToolsListed(tools("a", "b"))


def test_a_listing_whose_beginning_was_missed_is_no_inventory() -> None:
    catalog = Catalog()
    assert add(catalog, "1", page("b", cursor="2")) == [ToolsSeen(tools("b"))]
    assert add(catalog, "2", page("c")) == [ToolsSeen(tools("c"))]


@pytest.mark.parametrize("cursor", ["", 5, [], {}])
def test_what_is_no_cursor_ends_the_listing(cursor: Any) -> None:
    assert add(Catalog(), None, page("a", cursor=cursor))[1] == ToolsListed(tools("a"))


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
    assert list(catalog._unfinished.values()) == [tools("a")]


def test_abandoned_listings_are_forgotten() -> None:
    catalog = Catalog()
    for i in range(MAX_UNFINISHED + 1):
        add(catalog, None, page("a", cursor=str(i)))
    assert len(catalog._unfinished) == MAX_UNFINISHED
    assert len(add(catalog, "0", page("b"))) == 1
    assert len(add(catalog, "1", page("b"))) == 2


def test_an_endless_listing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOOLS", 5)
    catalog = Catalog()
    add(catalog, None, page("a", "b", "c", cursor="1"))
    [_, listed] = add(catalog, "1", page("d", "e", "f"))
    assert listed == ToolsListed(tools("a", "b", "c", "d", "e"))
    [seen, _] = add(catalog, None, page(*"abcdefgh"))
    assert seen == ToolsSeen(tools(*"abcde"))
    assert MAX_TOOLS >= 1_000


def test_a_name_that_is_listed_twice_is_one_tool() -> None:
    assert add(Catalog(), None, page("a", "a"))[1] == ToolsListed(tools("a"))


def test_a_long_name_is_cut() -> None:
    [seen, _] = add(Catalog(), None, page("x" * 2_000))
    assert seen == ToolsSeen(tools("x" * MAX_TEXT))


def test_hints_are_read() -> None:
    annotations = {
        "title": "A cat",
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": None,
    }
    [seen, _] = add(
        Catalog(), None, raw({"tools": [{"name": "a", "annotations": annotations}, {"name": "b"}]})
    )
    assert seen == ToolsSeen(
        (Tool("a", read_only=True, destructive=False, idempotent=True), Tool("b"))
    )


def test_a_tool_with_broken_annotations_is_still_a_tool() -> None:
    result = {
        "tools": [
            {"name": "a", "annotations": {"readOnlyHint": "yes"}},
            {"name": "b", "annotations": {"readOnlyHint": True}},
            {"name": 5},
            {"title": "nameless"},
            "text",
        ],
        "nextCursor": "1",
    }
    catalog = Catalog()
    expected = (Tool("a"), Tool("b", read_only=True))
    assert add(catalog, None, raw(result)) == [ToolsSeen(expected)]
    assert add(catalog, "1", page())[1] == ToolsListed(expected)


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
