"""Expressions: what is wrong with one is found when it is read; values are those of JMESPath."""

from collections.abc import Callable
from contextlib import suppress

import jmespath  # type: ignore[import-untyped]
import pytest
from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]

from mcp_proxy_exporter.config.expression import (
    MAX_DEPTH,
    MAX_LENGTH,
    MEMBERS,
    OUTCOMES,
    Expression,
    compile_expression,
    is_true,
)
from mcp_proxy_exporter.config.interpreter import INTERPRETER, TooMuchWork
from mcp_proxy_exporter.protocol.outcome import Outcome

CALL = {
    "tool": "search",
    "arguments": {"q": "cat", "odd key": 3, "list": [{"n": 1}, {"n": 2, "on": True}]},
    "result": {"structuredContent": {"rows": 12, "none": None}, "content": []},
    "error": None,
    "meta": {"a.b/c": "acme"},
    "client": {"name": "desk", "protocol_version": "2025-11-25"},
    "outcome": "success",
    "duration_seconds": 0.25,
}

VALUES = [
    ("tool", "search"),
    ("arguments.q", "cat"),
    ('arguments."odd key"', 3),
    ('meta."a.b/c"', "acme"),
    ("result.structuredContent.rows", 12),
    ("result.structuredContent.rows.more", None),
    ("result.structuredContent.none.more", None),
    ("result.nothing.at.all", None),
    ("error.code", None),
    ("arguments.list[0].n", 1),
    ("arguments.list[-1:].n | [0]", 2),
    ("arguments.list[?on].n | [0]", 2),
    ("arguments.list[*].n | sum(@)", 3),
    ("arguments.list[].n", [1, 2]),
    ("sort_by(arguments.list, &n)[1].n", 2),
    ("length(arguments.list)", 2),
    ("length(@)", 8),
    ("result.structuredContent.rows > `10` && outcome == 'success'", True),
    ("!error", True),
    ("outcome == 'success'", True),
    ("outcome != 'success'", False),
    ("result.structuredContent.rows == `12`", True),
    ("`1` == `true`", False),
    ("error || meta.nothing || 'none'", "none"),
    ("result.content || `[]`", []),
    ("`0` || `1`", 0),
    ("length(tool) == `6` || tool", True),
    ("{a: tool, b: outcome}.b", "success"),
    ("[tool, outcome][1]", "success"),
    ("arguments.* | [0]", "cat"),
    ("not_null(error, result.structuredContent.rows)", 12),
    ("arguments.list[0:1].n", [1]),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values_are_those_of_the_library(text: str, value: object) -> None:
    INTERPRETER.begin()
    assert Expression(text).evaluate(CALL) == value
    assert jmespath.search(text, CALL) == value


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("tool", {"tool"}),
        ("arguments.result", {"arguments"}),
        ("result.content[?type == 'text'].text | [0]", {"result"}),
        ("arguments.a || meta.b", {"arguments", "meta"}),
        ("length(result.content)", {"result"}),
        ("{a: tool, b: client.name}", {"tool", "client"}),
        ("sort_by(result.rows, &age)[0]", {"result"}),
        ("arguments[1:2]", {"arguments"}),
        ("`1`", set()),
        ("length(@)", set(MEMBERS)),
        ("*.name", set(MEMBERS)),
        ("[0]", set(MEMBERS)),
    ],
)
def test_an_expression_tells_what_it_asks_for(text: str, members: set[str]) -> None:
    assert Expression(text).members == members


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("arguments.", "is no JMESPath expression: its end is unexpected at character 11"),
        ("a..b", "is no JMESPath expression: '.' is unexpected at character 3"),
        ("length(", "is no JMESPath expression: it ends too early"),
        (
            "5",
            (
                "is no JMESPath expression: 5 is unexpected at character 1; a number is written in "
                "backticks: `5`"
            ),
        ),
        ("$.a", "is no JMESPath expression: unknown token $ at character 1"),
        ("tool == 'x", "is no JMESPath expression: unclosed ' delimiter at character 9"),
        ("a" * 5000, "is too long: 5000 characters, of which 4096 can be"),
        ("(" * 4000, "is nested too deeply"),
        ("!" * 400 + "tool", "is nested too deeply: it has more than 50 levels"),
        ("||".join(["tool"] * 900)[:4094], "is nested too deeply: it has more than 50 levels"),
        (
            "arguments.n > 5",
            (
                "is no JMESPath expression: 5 is unexpected at character 15; a number is written "
                "in backticks: `5`"
            ),
        ),
        (
            "tool and error",
            ("is no JMESPath expression: 'and' is unexpected at character 6; 'and' is written &&"),
        ),
        (
            "tool = 'a'",
            "is no JMESPath expression: unknown token '=' at character 6; equality is written ==",
        ),
        (
            'tool == "search"',
            (
                "asks for `search`, which a call does not have; a text is written in single "
                "quotes: 'search'"
            ),
        ),
        (
            "result.isError == true",
            (
                "asks for `true`, which a call does not have; true itself is written in "
                "backticks: `true`"
            ),
        ),
        (
            "outcome == 'sucess'",
            "compares outcome with 'sucess', which it never is; did you mean 'success'?",
        ),
        (
            "error || `1` != outcome && tool",
            f"compares outcome with 1, which it never is; it can be {', '.join(OUTCOMES)}",
        ),
        (
            "argument.q",
            "asks for `argument`, which a call does not have; did you mean `arguments`?",
        ),
        (
            "zzz",
            (
                "asks for `zzz`, which a call does not have; it has tool, arguments, result, "
                "error, meta, client, outcome, duration_seconds"
            ),
        ),
        ("lenght(tool)", "calls lenght(), which JMESPath does not have; did you mean `length`?"),
        ("zzzzz(tool)", "calls zzzzz(), which JMESPath does not have"),
        ("result.a[?zzzzz(@)]", "calls zzzzz(), which JMESPath does not have"),
        ("length()", "calls length() with 0 arguments; it takes 1"),
        ("length(tool, tool)", "calls length() with 2 arguments; it takes 1"),
        ("not_null()", "calls not_null() with 0 arguments; it takes at least 1"),
    ],
)
def test_what_is_wrong_is_told_when_it_is_read(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        Expression(text)
    assert str(caught.value) == message


def test_outcomes_are_those_of_calls() -> None:
    assert list(OUTCOMES) == [outcome.value for outcome in Outcome]
    for outcome in OUTCOMES:
        assert Expression(f"outcome == '{outcome}'").evaluate({"outcome": outcome}) is True
    # Not the call's own.
    assert Expression("result[?outcome == 'sucess']").members == {"result"}


DEEPEST = [
    "||".join(["arguments.no"] * (MAX_DEPTH - 1)),
    "!" * (MAX_DEPTH - 2) + "arguments.a",
    "arguments" + "[*].a" * (MAX_DEPTH - 2),
    "arguments" + "[?a" * ((MAX_DEPTH - 2) // 2) + "]" * ((MAX_DEPTH - 2) // 2),
    "map(&" * ((MAX_DEPTH - 2) // 2) + "@" + ", arguments)" * ((MAX_DEPTH - 2) // 2),
    "sort_by(arguments, &length(" * 15 + "tool" + "))" * 15,
    "to_array(" * (MAX_DEPTH - 2) + "arguments" + ")" * (MAX_DEPTH - 2),
    "[" * (MAX_DEPTH - 2) + "arguments" + "]" * (MAX_DEPTH - 2),
    "{a:" * 24 + "arguments" + "}" * 24,
    "arguments" + ".a" * ((MAX_LENGTH - 9) // 2),
    "arguments" + " | @" * (MAX_DEPTH - 2),
]


@pytest.mark.parametrize("text", DEEPEST, ids=lambda text: text[:12])
def test_what_can_be_read_can_be_asked(text: str) -> None:
    evaluate = Expression(text).evaluate
    INTERPRETER.begin()
    # As deep in the program as no call of it is.
    _deep(150, lambda: evaluate({"arguments": [{"a": 1}], "tool": "t"}))


def _deep(levels: int, act: Callable[[], object]) -> None:
    if levels:
        _deep(levels - 1, act)
        return
    with suppress(TooMuchWork, JMESPathError):
        act()


def test_a_text_is_read_once() -> None:
    assert compile_expression("tool") is compile_expression("tool")


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_what_is_empty_is_false(value: object) -> None:
    assert not is_true(value)


@pytest.mark.parametrize("value", [True, 0, 0.0, 1, "x", [0], {"a": None}])
def test_all_else_is_true_even_zero(value: object) -> None:
    assert is_true(value)
