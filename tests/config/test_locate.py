"""The line of each key, compared with lines counted by hand and with what tomllib makes of it."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.config.locate import locate

DOCUMENT = (
    r'''# comment [not.a.table]
a.b = 1
"q\u0041.x" = """one
"" "two"""""
'literal.key' = '''
    r"""'''
]''''' # five at the end

[[servers]]
name = 'x' # [y]
headers = { A = { value = "}#" , prefix='b' }, B.env = "c\"d" }
  [servers.tls]
  ca = [
    1, # one
    [2, {z = 1979-05-27 07:32:00}],
  ]
[[servers]]
empty = []
none = {}
[servers."t.u".v]
[ x . 'y' ]
last = true"""
)

LINES = [
    (2, ("a",)),
    (2, ("a", "b")),
    (3, ("qA.x",)),
    (5, ("literal.key",)),
    (8, ("servers",)),
    (8, ("servers", 0)),
    (9, ("servers", 0, "name")),
    (10, ("servers", 0, "headers")),
    (10, ("servers", 0, "headers", "A")),
    (10, ("servers", 0, "headers", "A", "value")),
    (10, ("servers", 0, "headers", "A", "prefix")),
    (10, ("servers", 0, "headers", "B")),
    (10, ("servers", 0, "headers", "B", "env")),
    (11, ("servers", 0, "tls")),
    (12, ("servers", 0, "tls", "ca")),
    (13, ("servers", 0, "tls", "ca", 0)),
    (14, ("servers", 0, "tls", "ca", 1)),
    (14, ("servers", 0, "tls", "ca", 1, 0)),
    (14, ("servers", 0, "tls", "ca", 1, 1)),
    (14, ("servers", 0, "tls", "ca", 1, 1, "z")),
    (16, ("servers", 1)),
    (17, ("servers", 1, "empty")),
    (18, ("servers", 1, "none")),
    (19, ("servers", 1, "t.u")),
    (19, ("servers", 1, "t.u", "v")),
    (20, ("x",)),
    (20, ("x", "y")),
    (21, ("x", "y", "last")),
]

KEYS = st.one_of(st.sampled_from(["a", "b", "c-d"]), st.text(max_size=6))
SCALARS = st.one_of(
    st.integers(-5, 5), st.booleans(), st.text(max_size=8), st.sampled_from(['"""', "'''", "}]#\n"])
)
TABLES = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3),
    lambda inner: st.dictionaries(
        KEYS, st.one_of(SCALARS, inner, st.lists(inner, max_size=3), st.lists(SCALARS)), max_size=3
    ),
    max_leaves=12,
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each key and element below a value."""
    items = value.items() if isinstance(value, dict) else ()
    for key, element in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key)
        yield from paths(element, (*path, key))


def inline(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{quoted(key)} = {inline(element)}" for key, element in value.items())
        return f"{{ {pairs} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return quoted(value) if isinstance(value, str) else str(value).lower()


def quoted(text: str) -> str:
    """Write a basic string; JSON's escapes are TOML's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def write(table: dict[str, Any], header: str = "") -> Iterator[str]:
    """Write a document: tables and arrays of tables under headers, the rest as pairs."""
    headed = {key: value for key, value in table.items() if is_headed(value)}
    for key, value in table.items():
        if key not in headed:
            yield f"{quoted(key)} = {inline(value)}  # [c]"
    for key, value in headed.items():
        full = f"{header}{quoted(key)}"
        for element in value if isinstance(value, list) else [value]:
            yield f"[[{full}]]" if isinstance(value, list) else f"[{full}]"
            yield from write(element, f"{full}.")


def is_headed(value: Any) -> bool:
    """Say whether a value gets headers of its own."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(element, dict) for element in value)
    return isinstance(value, dict)


def test_each_key_is_on_the_line_where_it_was_counted() -> None:
    assert [(line, path) for path, line in locate(DOCUMENT).items()] == LINES


def test_each_key_of_a_document_is_found() -> None:
    assert set(locate(DOCUMENT)) == set(paths(tomllib.loads(DOCUMENT)))


@pytest.mark.parametrize("text", ["", "\n\n", "# only", "a = 1", "a = ''", "[a]"])
def test_small_documents_end(text: str) -> None:
    assert set(locate(text)) == set(paths(tomllib.loads(text)))


@given(TABLES)
def test_what_tomllib_reads_is_what_is_found(table: dict[str, Any]) -> None:
    text = "\n".join(write(table))
    assert tomllib.loads(text) == table
    found = locate(text)
    assert set(found) == set(paths(table))
    lines = text.split("\n")
    for path, line in found.items():
        named = next(part for part in reversed(path) if isinstance(part, str))
        assert quoted(named) in lines[line - 1]
