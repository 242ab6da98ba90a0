"""The elements of a JSON array, within bounds."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_proxy_exporter.protocol import elements as module
from mcp_proxy_exporter.protocol.elements import MAX_COMMAS, MAX_FIRST, split

WIDE = b" " * (2 * MAX_COMMAS)


def texts(found: Sequence[Raw] | None) -> list[bytes] | None:
    return None if found is None else [bytes(raw) for raw in found]


@pytest.mark.parametrize("blanks", [b"", WIDE])
def test_each_element_is_told_as_its_own_text(blanks: bytes) -> None:
    array = b'[1, {"a": [2, "]"]}, null,"x"' + blanks + b"]"
    assert texts(split(Raw(array))) == [b"1", b'{"a": [2, "]"]}', b"null", b'"x"']
    assert texts(split(Raw(b"[" + blanks + b"]"))) == []


@pytest.mark.parametrize("text", ["", "null", "5", '"[]"', "{}", "[1", "[1,]", "1,"])
@pytest.mark.parametrize("commas", [0, MAX_COMMAS + 1])
def test_what_is_no_array_has_none(text: str, commas: int) -> None:
    assert split(Raw(text.encode() + b"," * commas + b" " * commas)) is None


def test_there_may_be_as_many_elements_as_commas_and_one() -> None:
    found = split(Raw(b"[" + b"1," * MAX_COMMAS + b"1]"))
    assert found is not None
    assert len(found) == MAX_COMMAS + 1


def test_of_more_only_the_first_are_made() -> None:
    found = split(Raw(b"[" + b"1," * (MAX_COMMAS + 1) + b"2]"))
    assert texts(found) == [b"1"] * MAX_FIRST


def test_commas_within_elements_do_no_harm_where_there_are_few() -> None:
    rows = b'{"rows":"' + b"," * (MAX_COMMAS + 1) + b'"}'
    array = b"[" + b",".join([rows] * 3) + b"]"
    assert texts(split(Raw(array))) == [rows] * 3


@pytest.mark.parametrize("blanks", [b"", b"," * MAX_COMMAS])
def test_an_array_too_deep_has_none(blanks: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: Raw) -> None:
        raise RecursionError

    class Overflowing:
        decode = staticmethod(overflow)

    monkeypatch.setattr(module, "_split", overflow)
    monkeypatch.setattr(module, "_first_elements", Overflowing)
    assert split(Raw(b"[1," + blanks + blanks + b"]")) is None


@given(st.lists(st.integers() | st.text(max_size=5) | st.none()))
def test_any_array_is_what_it_is_made_of(values: list[object]) -> None:
    found = texts(split(Raw(json.dumps(values).encode()))) or []
    assert [json.loads(text) for text in found] == values


@given(st.binary(max_size=60))
def test_anything_can_be_split(data: bytes) -> None:
    split(Raw(data))
