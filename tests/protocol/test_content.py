"""What a tool's result brings to a model's context."""

import json
from collections.abc import Callable
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
    MAX_COMPARED_BLOCKS,
    MAX_COMPARED_TEXT,
    ONE_TEXT,
    Block,
    measure,
    read_blocks,
)
from mcp_proxy_exporter.protocol.events import Content
from mcp_proxy_exporter.protocol.ids import MAX_TEXT

NONE = Raw(b"")


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def text(value: Any) -> Block:
    return Block("text", raw(value))


def duplicated(structured: Any, *texts: Any) -> int:
    measured = measure([text(value) for value in texts], raw(structured))
    assert measured is not None
    return measured.duplicated


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


def test_structured_content_is_told_with_blocks_and_without() -> None:
    values: tuple[Any, ...] = ({}, [], 0, False, "", "null")
    for value in values:
        assert measure(None, raw(value)) == measure([], raw(value)) == Content((), structured=True)
        assert measure([Block("text")], raw(value)) == Content(("text",), structured=True)


def test_structured_content_that_is_null_is_none() -> None:
    assert measure([text("null")], raw(None)) is ONE_TEXT
    assert measure([], raw(None)) == Content(())
    assert measure(None, raw(None)) is measure(None, NONE) is None


@pytest.mark.parametrize(
    ("structured", "said"),
    [
        ({"a": 1, "b": [2.0, None]}, '{"a":1,"b":[2.0,null]}'),
        ({"a": 1, "b": [2.0, None]}, '{\n  "b": [2, null],\n  "a": 1.0\n}'),
        ({"a": "ü"}, '{"a": "\\u00fc"}'),
        ([1, 2], "[1, 2]"),
        (5, "5"),
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
        ({"a": {"b": [True, False, None, 1]}}, '{"a": {"b": [true, false, null, 1.0]}}'),
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
        ([1], "[true]"),
        ([[False]], "[[0]]"),
        ({"a": {"b": [1.0]}}, '{"a": {"b": [true]}}'),
        ({"a": [{"b": 1}, True]}, '{"a": [{"b": 1}, 1]}'),
        ({"result": [0, {}]}, "[false, {}]"),
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
    repeated = len("[1]") + len("[ 1 ]")
    expected = Content(("text", "text", "image", "text", "text"), True, repeated)  # noqa: FBT003
    assert measure(blocks, raw([1])) == expected


def test_long_texts_are_not_compared() -> None:
    fitting, long = "x" * (MAX_COMPARED - 2), "x" * (MAX_COMPARED - 1)
    assert duplicated(fitting, fitting) == len(fitting)
    assert duplicated(long, long) == 0
    room = 2 * MAX_COMPARED - len(raw("[1]"))
    assert duplicated([1], "[1]" + " " * room) == len("[1]") + room
    assert duplicated([1], "[1]" + " " * (room + 1)) == 0


def test_of_many_blocks_the_first_texts_are_compared() -> None:
    said, other = text("[1]"), text("[2]")
    for before, repeated in ((MAX_COMPARED_BLOCKS - 1, 3), (MAX_COMPARED_BLOCKS, 0)):
        measured = measure([Block("image")] * 100 + [other] * before + [said], raw([1]))
        assert measured is not None
        assert measured.duplicated == repeated


def test_of_long_texts_those_are_compared_that_fit_together() -> None:
    long = "[1]" + " " * (MAX_COMPARED_TEXT // 2 - len('"[1]"'))
    assert duplicated([1], long, long) == 2 * len(long)
    assert duplicated([1], long, long, "[1]") == 2 * len(long)
    assert duplicated([1], long, "x" * MAX_COMPARED_TEXT, "[1]") == len(long) + 3


def test_a_text_to_the_byte_is_not_read_to_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "_decode_any", refuse)
    assert duplicated({"a": [1]}, '{"a": [1]}') == len('{"a": [1]}')


def test_structured_content_that_cannot_be_read_is_repeated_by_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def overflow(_: bytes) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "_decode_any", overflow)
    assert measure([text("[ 1]")], raw([1])) == Content(("text",), structured=True)


def nest(depth: int, innermost: str) -> str:
    return "[" * depth + innermost + "]" * depth


def call_deep(frames: int, check: Callable[[], None]) -> None:
    """Check with that much of the stack in use."""
    if frames:
        call_deep(frames - 1, check)
    else:
        check()


def test_no_depth_of_values_that_are_compared_is_a_fault() -> None:
    def check() -> None:
        for depth in range(1, 1_000):
            structured, said = Raw(nest(depth, "1").encode()), nest(depth, " 1")
            measured = measure([text(said)], structured)
            assert measured is not None
            seen.append(measured.duplicated == len(said))

    for frames in (0, 50):
        seen: list[bool] = []
        call_deep(frames, check)
        # As deep as values can be read and compared, and no deeper.
        assert seen == sorted(seen, reverse=True)
        assert seen[200]


def test_values_that_are_too_deep_to_be_compared_are_not_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Deep:
        def __eq__(self, other: object) -> bool:
            raise RecursionError

        __hash__ = None  # type: ignore[assignment]

    monkeypatch.setattr(module, "_decode_any", lambda _: Deep())
    assert duplicated([1], "[ 1]") == 0


@pytest.mark.parametrize("padding", ["", " " * 500_000])
def test_odd_elements_are_blocks_without_a_type(padding: str) -> None:
    array = '[{"type": "text", "text": 5}, "odd", null, {"type": 5}, [], {}' + padding + "]"
    blocks = read_blocks(Raw(array.encode()))
    assert blocks == [Block("text", Raw(b"5")), *[Block()] * 5]


@pytest.mark.parametrize("content", ["", "null", '"text"', "{}", "5"])
def test_what_is_no_array_has_no_blocks(content: str) -> None:
    assert read_blocks(Raw(content.encode())) is None


def test_blocks_are_read_up_to_a_bound() -> None:
    blocks = read_blocks(Raw(b"[" + b"{}," * MAX_BLOCKS + b"{}]"))
    assert blocks is not None
    assert len(blocks) == MAX_BLOCKS >= 10_000


def test_a_block_too_deep_is_an_odd_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "_decode_block", overflow)
    assert read_blocks(Raw(b"[{}]")) == [Block()]


@given(st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=20))), st.binary(max_size=20))
def test_anything_can_be_measured(blocks: list[tuple[str, bytes]], structured: bytes) -> None:
    measured = measure([Block(type_, Raw(value)) for type_, value in blocks], Raw(structured))
    assert measured is not None
    assert measured.structured == (structured not in {b"", b"null"})
    assert len(measured.types) == len(blocks)


VALUES = st.recursive(
    st.booleans() | st.integers(-1, 2) | st.floats(-1, 2, width=16) | st.text("ab", max_size=1),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "result"]), values, max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_a_value_is_repeated_by_its_own_text(value: Any) -> None:
    said = msgspec.json.encode(value).decode()
    assert duplicated(value, said) == len(said.encode())


def canonical(value: Any) -> Any:
    """Give a value that is equal to another one only if both say the same."""
    if isinstance(value, dict):
        return {name: canonical(member) for name, member in value.items()}
    if isinstance(value, list):
        return [canonical(member) for member in value]
    return (type(value) is bool, value)


@given(VALUES, VALUES)
def test_a_value_is_repeated_by_texts_that_mean_it_and_by_no_others(meant: Any, said: Any) -> None:
    meanings = [meant]
    if isinstance(meant, dict) and meant.keys() == {"result"}:
        meanings.append(meant["result"])
    text = json.dumps(said, indent=1)
    same = any(canonical(said) == canonical(meaning) for meaning in meanings) or text in meanings
    assert duplicated(meant, text) == (len(text) if same else 0)
