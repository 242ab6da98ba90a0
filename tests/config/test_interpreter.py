"""Expressions come to an end in time, whatever the texts are that they are asked of."""

import json
import tracemalloc
from typing import Any

import pytest

from mcp_proxy_exporter.config.expression import Expression
from mcp_proxy_exporter.config.interpreter import INTERPRETER, MAX_WORK, TooMuchWork

KIB = 1024
# What is dear in 256 KiB of JSON.
EMPTY = json.loads("[" + ",".join(["{}"] * 87_000) + "]")
NUMBERS = list(range(10)) * 13_000
TEXTS = [str(number) for number in range(10, 99)] * 490
NESTED = [[1] for _ in range(52_000)]
KEYS = {str(number): 1 for number in range(25_000)}
LONG = "a" * 256 * KIB


def ask(text: str, arguments: object, result: object = None) -> Any:
    """Evaluate an expression with the work that a call is worth."""
    evaluate = Expression(text).evaluate
    INTERPRETER.begin()
    return evaluate({"arguments": arguments, "result": result})


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("arguments[?type == 'text'].length(text)", EMPTY),
        ("arguments[*].a", EMPTY),
        ("arguments.*", KEYS),
        ("map(&[@, @], arguments)", NUMBERS),
        ("sort_by(arguments, &length(@))", EMPTY),
        ("max_by(arguments, &length(@))", EMPTY),
        ("sort(arguments)", NUMBERS),
        ("sum(arguments) || max(arguments) && avg(arguments)", NUMBERS),
        ("to_string(arguments)", NESTED),
        ("contains(arguments, `[2]`)", NESTED),
        ("arguments == result", NESTED),
        ("arguments != result && tool", NESTED),
        ("(arguments | @) == (result | @)", NESTED),
        ("arguments[][]", NESTED),
        ("arguments[::-1][::-1][::-1]", NUMBERS),
        ("reverse(reverse(arguments))", NUMBERS),
        ("join(to_string(tool), arguments) | join(@, [@, @, @])", TEXTS),
        ("merge(arguments, arguments, arguments, arguments, arguments)", KEYS),
        ("join('', arguments)", [""] * 130_000),
        ("[" + ", ".join(["contains(arguments, 'b')"] * 4) + "]", LONG),
        # Values that grow with each step.
        ("arguments" + " | [@, @] | []" * 20, [1]),
        ("length(arguments" + " | join('', [@, @])" * 24 + ")", "ab"),
        ("to_string(arguments" + " | [@, @]" * 24 + ")", [1]),
        ("to_string(arguments" + " | {a: @, b: @}" * 24 + ")", ["a" * 1000]),
        ("(arguments" + " | [@, @]" * 24 + ") == (result" + " | [@, @]" * 24 + ")", [1]),
    ],
)
def test_what_would_take_too_long_is_given_up(text: str, arguments: object) -> None:
    twin = json.loads(json.dumps(arguments))
    with pytest.raises(TooMuchWork):
        ask(text, arguments, twin)


MANY = ", ".join(["@"] * 1000)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (f"arguments | [{MANY}] | []", [1] * 10_000),
        (f"to_string(arguments | [{MANY}])", "a" * 10_000),
        (f"to_string(arguments | [{MANY}])", {"a" * 10_000: 1}),
        (f"to_string(arguments | [{MANY}])", [1] * 10_000),
        (f"join(arguments, arguments | [{MANY}])", "a" * 10_000),
    ],
)
def test_what_would_take_too_much_memory_is_given_up_before_it_is_made(
    text: str, arguments: object
) -> None:
    tracemalloc.start()
    with pytest.raises(TooMuchWork):
        ask(text, arguments)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("text", "arguments", "value"),
    [
        ("length(arguments)", EMPTY, 87_000),
        ("sum(arguments)", list(range(10)) * 8_700, 391_500),
        ("sum(arguments[?t == 'x'].length(t))", [{"t": "x"}] * 2_000, 2_000),
        ("contains(arguments, 'aab')", LONG, False),
        ("contains(arguments, `17`)", NUMBERS[:100_000], False),
        ("length(arguments)", LONG, 256 * KIB),
        ("length(keys(arguments))", KEYS, 25_000),
        ("length(to_string(arguments))", [{"a": "b"}] * 1_000, 10_001),
        ("length(join(', ', arguments))", TEXTS[:20_000], 79_998),
        ("length(arguments[])", [[1, 2], 3] * 1_000, 3_000),
        ("arguments[1:3]", NUMBERS, [1, 2]),
        ("sort(arguments)[0]", TEXTS[:10_000], "10"),
        ("arguments == result", {"a": [1, {"b": "c"}]}, True),
        ("arguments < `3`", 2, True),
        ("arguments[]", "no array", None),
        ("arguments[0:1]", "no array", None),
    ],
)
def test_what_people_ask_for_is_answered(text: str, arguments: object, value: object) -> None:
    assert ask(text, arguments, arguments) == value


def test_all_expressions_about_one_call_share_its_work() -> None:
    expression = Expression("sum(arguments)")
    call = {"arguments": list(range(10)) * 8_000}
    INTERPRETER.begin()
    expression.evaluate(call)
    assert 0 < INTERPRETER.left < MAX_WORK / 2
    with pytest.raises(TooMuchWork):
        expression.evaluate(call)
    INTERPRETER.begin()
    expression.evaluate(call)


def test_plain_paths_take_none_of_it() -> None:
    ask("arguments.a.b || result.c", {"a": {"b": 1}})
    assert INTERPRETER.left == MAX_WORK
