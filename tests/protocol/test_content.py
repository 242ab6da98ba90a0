"""What a tool's result brings to a model's context."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_proxy_exporter.protocol import content as module
from mcp_proxy_exporter.protocol.content import (
    MAX_BLOCKS,
    MAX_COMPARED,
    ONE_TEXT,
    Block,
    measure,
)
from mcp_proxy_exporter.protocol.events import Content
from mcp_proxy_exporter.protocol.ids import MAX_TEXT

NONE = Raw(b"")


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def text(value: Any) -> Block:
    return Block("text", raw(value))


def duplicated(structured: Any, *texts: Any) -> int:
    return measure([text(value) for value in texts], raw(structured)).duplicated


@pytest.mark.parametrize("value", ["Meow.", "", 5, None, "x" * 100_000])
def test_one_text_is_what_most_results_are(value: Any) -> None:
    assert measure([text(value)], NONE) is ONE_TEXT


@pytest.mark.parametrize(
    "types", [(), ("image",), ("text", "text"), ("text", "image", "audio"), ("whatever",)]
)
def test_the_types_of_blocks_are_told_in_their_order(types: tuple[str, ...]) -> None:
    assert measure([Block(type_) for type_ in types], NONE) == Content(types)


def test_a_block_without_a_type_has_the_empty_one() -> None:
    assert measure([Block(None), Block("")], NONE) == Content(("", ""))


def test_what_is_told_is_bounded() -> None:
    measured = measure([Block("x" * 5_000)] * (MAX_BLOCKS + 1), NONE)
    assert measured == Content(("x" * MAX_TEXT,) * MAX_BLOCKS)


def test_structured_content_is_told_even_if_it_is_null() -> None:
    values: tuple[Any, ...] = ({}, None, [], 0)
    for value in values:
        assert measure([], raw(value)) == Content((), structured=True)
        assert measure([Block("text")], raw(value)) == Content(("text",), structured=True)


@pytest.mark.parametrize(
    ("structured", "said"),
    [
        ({"a": 1, "b": [2.0, None]}, '{"a":1,"b":[2.0,null]}'),
        ({"a": 1, "b": [2.0, None]}, '{\n  "b": [2, null],\n  "a": 1.0\n}'),
        ({"a": "ü"}, '{"a": "\\u00fc"}'),
        ([1, 2], "[1, 2]"),
        (5, "5"),
        (None, "null"),
        (True, "true"),
        ("Meow.", "Meow."),
        ("Meow.", '"Meow."'),
        # Wrapped by an SDK, because it is no object.
        ({"result": "Meow."}, "Meow."),
        ({"result": "Meow."}, '"Meow."'),
        ({"result": [1, 2]}, "[1, 2]"),
        ({"result": [1, 2]}, '{"result": [1, 2]}'),
        ({"result": True}, "true"),
        ({"result": "5"}, "5"),
    ],
)
def test_text_that_says_the_same_again_is_counted_in_bytes(structured: Any, said: str) -> None:
    assert duplicated(structured, said) == len(said.encode())


@pytest.mark.parametrize(
    ("structured", "said"),
    [
        ({"a": 1}, '{"a": 2}'),
        ({"a": 1}, "a is 1"),
        ({"a": 1}, ""),
        ({"a": 1}, '{"a": 1'),
        ({"a": 1}, {"a": 1}),
        (1, "true"),
        (True, "1"),
        ({"result": 1}, "true"),
        ({"result": "Meow.", "more": 1}, "Meow."),
        ("Meow.", "Meow"),
        ({"a": 1}, "[" * 100_000),
    ],
)
def test_text_that_says_something_else_is_not(structured: Any, said: Any) -> None:
    assert duplicated(structured, said) == 0


def test_what_is_not_ascii_is_measured_in_utf8() -> None:
    assert duplicated("Müde", "Müde") == 5


def test_every_text_that_repeats_counts_and_other_blocks_do_not() -> None:
    blocks = [text("[1]"), text("one"), Block("image", raw("[1]")), text("[ 1 ]"), Block("text")]
    assert measure(blocks, raw([1])).duplicated == len("[1]") + len("[ 1 ]")


def test_long_texts_are_not_compared() -> None:
    fitting, long = "x" * (MAX_COMPARED - 2), "x" * (MAX_COMPARED - 1)
    assert duplicated(fitting, fitting) == len(fitting)
    assert duplicated(long, long) == 0
    room = 2 * MAX_COMPARED - len(raw("[1]"))
    assert duplicated([1], "[1]" + " " * room) == len("[1]") + room
    assert duplicated([1], "[1]" + " " * (room + 1)) == 0


def test_blocks_beyond_the_limit_are_not_compared() -> None:
    blocks = [Block("image")] * MAX_BLOCKS
    assert measure([*blocks, text("[1]")], raw([1])).duplicated == 0


def test_structured_content_that_cannot_be_read_is_repeated_by_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "_decode_any", overflow)
    assert measure([text("[1]")], raw([1])) == Content(("text",), structured=True)


@given(st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=20))), st.binary(max_size=20))
def test_anything_can_be_measured(blocks: list[tuple[str, bytes]], structured: bytes) -> None:
    measured = measure([Block(type_, Raw(value)) for type_, value in blocks], Raw(structured))
    assert measured.structured == bool(structured)
    assert len(measured.types) == len(blocks)


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists))
def test_a_value_is_repeated_by_its_own_text(value: Any) -> None:
    said = msgspec.json.encode(value).decode()
    assert duplicated(value, said) == len(said.encode())
