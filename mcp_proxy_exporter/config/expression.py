"""JMESPath expressions about a tool call: text into something that can be asked.

Knows JMESPath, and which members a call has for an expression; does not know metrics, nor how a
call becomes such members. What is wrong with an expression is found when it is read, as far as that
can be told without a call.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

import jmespath  # type: ignore[import-untyped]  # as the next three: the library has no types
from jmespath.exceptions import (  # type: ignore[import-untyped]
    IncompleteExpressionError,
    JMESPathError,
    LexerError,
    ParseError,
)
from jmespath.functions import Functions  # type: ignore[import-untyped]
from jmespath.visitor import TreeInterpreter  # type: ignore[import-untyped]

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

Node: TypeAlias = Mapping[str, Any]
"""A node of the library's syntax tree: type, children, and for some a value."""

Evaluate: TypeAlias = Callable[[Any], Any]

# The interpreter keeps nothing but its methods between two evaluations.
_visit: Final[Callable[[Node, Any], Any]] = TreeInterpreter().visit

# Of these only the first part is asked of the call itself, the others of what that gives.
_NESTED: Final = frozenset(
    {
        "subexpression",
        "index_expression",
        "pipe",
        "projection",
        "value_projection",
        "filter_projection",
        "flatten",
    }
)
_EQUALITIES: Final = frozenset({"eq", "ne"})
_WHOLE: Final = frozenset({"current", "identity"})
# A reference is asked of what its function goes through.
_NOTHING: Final = frozenset({"slice", "expref"})


class Expression:
    """One expression that can be asked of any call."""

    __slots__ = ("evaluate", "members")

    def __init__(self, text: str) -> None:
        """Read an expression; ValueError with a message for the operator where it is none."""
        node = _parse(text)
        for part in _walk(node):
            if part["type"] == "function_expression":
                _check_function(part["value"], len(part["children"]))
        self.members = frozenset(_find_members(node))
        """The members of a call that it asks for."""
        for name in sorted(self.members.difference(MEMBERS)):
            raise ValueError(_word_unknown(name))
        self.evaluate: Evaluate = _compile(node)
        """Ask a call, given as a mapping of members. Raises whatever JMESPath raises."""


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
        raise ValueError(message) from None
    except ParseError as error:
        what = f"{error.token_value!r}" if error.token_value != "" else "its end"
        where = error.lex_position + 1
        message = f"is no JMESPath expression: {what} is unexpected at character {where}"
        raise ValueError(message) from None
    except JMESPathError:
        raise ValueError("is empty") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return parsed


def _walk(node: Node) -> Iterator[Node]:
    yield node
    # The children of a slice are numbers.
    for child in node["children"] if node["type"] != "slice" else ():
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


def _find_members(node: Node) -> Iterator[str]:
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield node["value"]
    elif kind in _WHOLE:
        yield from MEMBERS
    elif kind in _NESTED:
        yield from _find_members(children[0])
    elif kind not in _NOTHING:
        for child in children:
            yield from _find_members(child)


def _word_unknown(name: str) -> str:
    near = difflib.get_close_matches(name, MEMBERS, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(MEMBERS)}"
    return f"asks for `{name}`, which a call does not have; {hint}"


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
        compare = TreeInterpreter.COMPARATOR_FUNC[node["value"]]
        return partial(_compare, compare, _compile(children[0]), _compile(children[1]))
    return partial(_visit, node)


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
    return compare(one(call), other(call))
