"""JMESPath expressions about a tool call: text into something that can be asked.

Knows JMESPath, and which members a call has for an expression; does not know metrics, nor how a
call becomes such members. What is wrong with an expression is found when it is read, as far as that
can be told without a call.
"""

import difflib
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

import jmespath  # type: ignore[import-untyped]  # as the next two: the library has no types
from jmespath.exceptions import (  # type: ignore[import-untyped]
    IncompleteExpressionError,
    JMESPathError,
    LexerError,
    ParseError,
)
from jmespath.functions import Functions  # type: ignore[import-untyped]

from mcp_proxy_exporter.config.interpreter import INTERPRETER, Node

MEMBERS: Final = (
    "tool",
    "arguments",
    "result",
    "error",
    "meta",
    "client",
    "outcome",
    "duration_seconds",
)
"""What an expression can ask of a call."""

OUTCOMES: Final = (
    "success",
    "tool_error",
    "protocol_error",
    "input_required",
    "task_created",
    "http_error",
    "invalid_response",
    "cancelled",
    "client_disconnected",
    "upstream_unreachable",
    "upstream_timeout",
    "upstream_closed",
    "abandoned",
    "rejected",
    "proxy_shutdown",
    "uninspected",
)
"""What the member ``outcome`` can be."""

MAX_LENGTH: Final = 4096
"""Characters of an expression: several screens."""

MAX_DEPTH: Final = 50
"""Levels of an expression. Each takes up to ten of the interpreter's 1000 frames, and a chain of
``||`` has as many as parts: `contains()` of an array says the same in two."""

Evaluate: TypeAlias = Callable[[Any], Any]

# Of these only the first part is asked of the call itself, the others of what that gives.
_NESTED: Final = frozenset(
    {
        "subexpression",
        "index_expression",
        "pipe",
        "projection",
        "value_projection",
        "filter_projection",
    }
)
_EQUALITIES: Final = frozenset({"eq", "ne"})
_WHOLE: Final = frozenset({"current", "identity"})
# A reference is asked of what its function goes through.
_NOTHING: Final = frozenset({"slice", "expref"})
# What JMESPath reads as the name of a member.
_CONSTANTS: Final = frozenset({"true", "false", "null"})
_OPERATORS: Final = {"and": "&&", "or": "||"}


class Expression:
    """One expression that can be asked of any call."""

    __slots__ = ("evaluate", "members")

    def __init__(self, text: str) -> None:
        """Read an expression; ValueError with a message for the operator where it is none."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"is too long: {len(text)} characters, of which {MAX_LENGTH} can be")
        node = _parse(text)
        _check_depth(node)
        for part in _walk(node):
            if part["type"] == "function_expression":
                _check_function(part["value"], len(part["children"]))
        asked = [*_walk_call(node)]
        self.members = frozenset(_find_members(asked))
        """The members of a call that it asks for."""
        for name in sorted(self.members.difference(MEMBERS)):
            raise ValueError(_word_unknown(name, text))
        for outcome in _find_outcomes(asked):
            if outcome not in OUTCOMES:
                raise ValueError(_word_outcome(outcome))
        self.evaluate: Evaluate = _compile(node)
        """Ask a call, given as a mapping of members. Raises whatever JMESPath raises, and
        `interpreter.TooMuchWork`."""


compile_expression = lru_cache(maxsize=1024)(Expression)
"""Read an expression, once for each text; ValueError with a message for the operator."""


def is_true(value: object) -> bool:
    """Judge a value as JMESPath does: 0 is true, what is empty is not."""
    return not (value is None or value is False or value in ("", [], {}))


def _parse(text: str) -> Node:
    try:
        parsed: Node = jmespath.compile(text).parsed
    except IncompleteExpressionError:
        raise ValueError("is no JMESPath expression: it ends too early") from None
    except LexerError as error:
        where = error.lexer_position + 1
        message = f"is no JMESPath expression: {error.message.lower()} at character {where}"
        is_equals = error.message.startswith("Unknown token '='")
        hint = "; equality is written ==" if is_equals else ""
        raise ValueError(message + hint) from None
    except ParseError as error:
        what = f"{error.token_value!r}" if error.token_value != "" else "its end"
        where = error.lex_position + 1
        message = f"is no JMESPath expression: {what} is unexpected at character {where}"
        raise ValueError(message + _hint(error.token_value)) from None
    except JMESPathError:
        raise ValueError("is empty") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return parsed


def _hint(value: object) -> str:
    if isinstance(value, int):
        return f"; a number is written in backticks: `{value}`"
    operator = _OPERATORS.get(value) if isinstance(value, str) else None
    return f"; {value!r} is written {operator}" if operator else ""


def _check_depth(node: Node) -> None:
    # Without recursion: the parser makes deep trees of flat texts, such as a chain of `||`.
    level = [node]
    for _ in range(MAX_DEPTH):
        level = [child for part in level for child in _children(part)]
        if not level:
            return
    raise ValueError(f"is nested too deeply: it has more than {MAX_DEPTH} levels")


def _children(node: Node) -> list[Node]:
    # Those of a slice are numbers.
    children: list[Node] = [] if node["type"] == "slice" else node["children"]
    return children


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _check_function(name: str, given: int) -> None:
    # The library looks for a function only when it is called.
    table = Functions.FUNCTION_TABLE
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"calls {name}(), which JMESPath does not have{hint}")
    signature = table[name]["signature"]
    needed = len(signature)
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if given < needed or (given > needed and not variadic):
        least = "at least " if variadic else ""
        raise ValueError(f"calls {name}() with {given} arguments; it takes {least}{needed}")


def _walk_call(node: Node) -> Iterator[Node]:
    """Yield the nodes that are asked of the call itself."""
    yield node
    kind, children = node["type"], node["children"]
    if kind in _NESTED:
        yield from _walk_call(children[0])
    elif kind not in _NOTHING:
        for child in children:
            yield from _walk_call(child)


def _find_members(asked: list[Node]) -> Iterator[str]:
    for node in asked:
        if node["type"] == "field":
            yield node["value"]
        elif node["type"] in _WHOLE:
            yield from MEMBERS


def _find_outcomes(asked: list[Node]) -> Iterator[object]:
    """Yield what the outcome is compared with."""
    for node in asked:
        if node["type"] == "comparator" and node["value"] in _EQUALITIES:
            one, other = node["children"]
            for side, constant in ((one, other), (other, one)):
                is_outcome = side["type"] == "field" and side["value"] == "outcome"
                if is_outcome and constant["type"] == "literal":
                    yield constant["value"]


def _word_unknown(name: str, text: str) -> str:
    near = difflib.get_close_matches(name, MEMBERS, n=1)
    if name in _CONSTANTS:
        hint = f"{name} itself is written in backticks: `{name}`"
    elif near:
        hint = f"did you mean `{near[0]}`?"
    elif f'"{name}"' in text:
        hint = f"a text is written in single quotes: '{name}'"
    else:
        hint = f"it has {', '.join(MEMBERS)}"
    return f"asks for `{name}`, which a call does not have; {hint}"


def _word_outcome(outcome: object) -> str:
    near = difflib.get_close_matches(str(outcome), OUTCOMES, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"it can be {', '.join(OUTCOMES)}"
    return f"compares outcome with {outcome!r}, which it never is; {hint}"


def _compile(node: Node) -> Evaluate:
    """Give what evaluates a node: without the interpreter where that is simple."""
    kind, children = node["type"], node["children"]
    parts = children if kind == "subexpression" else (node,)
    if all(part["type"] == "field" for part in parts):
        return partial(_follow, tuple(part["value"] for part in parts))
    if kind == "literal":
        return partial(_repeat, node["value"])
    if kind == "or_expression":
        return partial(_choose, _compile(children[0]), _compile(children[1]))
    if kind == "comparator" and node["value"] in _EQUALITIES:
        compare = INTERPRETER.COMPARATOR_FUNC[node["value"]]
        return partial(_compare, compare, _compile(children[0]), _compile(children[1]))
    return partial(INTERPRETER.visit, node)


def _follow(keys: tuple[str, ...], value: Any) -> Any:
    # What most expressions are, in a tenth of the interpreter's time.
    for key in keys:
        if type(value) is not dict:
            return None
        value = value.get(key)
    return value


def _repeat(value: Any, _call: Any) -> Any:
    return value


def _choose(first: Evaluate, second: Evaluate, call: Any) -> Any:
    value = first(call)
    return value if is_true(value) else second(call)


def _compare(compare: Callable[[Any, Any], Any], one: Evaluate, other: Evaluate, call: Any) -> Any:
    first, second = one(call), other(call)
    INTERPRETER.spend_on_comparing(first, second)
    return compare(first, second)
