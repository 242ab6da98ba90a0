"""JMESPath evaluated with an end: the library's interpreter, and how much work a call is worth.

Knows what the steps of an evaluation cost; does not know how expressions are written (`expression`)
nor what a call is. Calls are judged one after the other in one thread, so one account is enough.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from jmespath.visitor import TreeInterpreter  # type: ignore[import-untyped]  # has no types

Node: TypeAlias = Mapping[str, Any]
"""A node of the library's syntax tree: type, children, and for some a value."""

MAX_WORK: Final = 15_000
"""Steps that all expressions about one call may take together: 15 to 20 ms.

A peer chooses how long its arrays are, and nothing else is served meanwhile. The sum over an array
of 2 500 texts, with a filter, takes 13 000 steps.
"""

# What a function may go through for one step: about as long as a visit of one node takes.
_ELEMENTS: Final = 8
_CHARACTERS: Final = 64
# To sort, or to write out what is nested, takes longer for each.
_SORTED: Final = 2
_NESTED: Final = 2
_CONTAINER: Final = 2

_FREE: Final = frozenset({"abs", "ceil", "floor", "length", "not_null", "to_array", "type"})
_EQUALITIES: Final = frozenset({"eq", "ne"})
_CONTAINERS: Final = (dict, list)


class TooMuchWork(Exception):
    """The expressions about one call have taken all that they may."""


class Interpreter(TreeInterpreter):  # type: ignore[misc]  # the library has no types
    """The library's interpreter, which gives up once the work that it was given is done."""

    def __init__(self) -> None:
        super().__init__()
        self.left = MAX_WORK
        """Steps that may still be taken."""
        self._visits: dict[str, Callable[[Node, Any], Any]] = {
            name.removeprefix("visit_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("visit_")
        }

    def begin(self) -> None:
        """Begin another call: all of the work may be done again."""
        self.left = MAX_WORK

    def spend(self, steps: int) -> None:
        """Take some steps at once; raise TooMuchWork where that is more than is left."""
        self.left -= steps
        if self.left < 0:
            raise TooMuchWork

    def spend_on_comparing(self, one: object, other: object) -> None:
        """Take the steps of comparing two values."""
        # By what is in it, and not by its length: expressions can make arrays whose elements are
        # all the same one, which is compared each time.
        if type(one) in _CONTAINERS and type(other) is type(one):
            self._measure(one)

    def visit(self, node: Node, value: Any) -> Any:
        """Evaluate a node."""
        self.left -= 1
        if self.left < 0:
            raise TooMuchWork
        return self._visits[node["type"]](node, value)

    def visit_comparator(self, node: Node, value: Any) -> Any:
        """Compare two values."""
        if node["value"] not in _EQUALITIES:
            return super().visit_comparator(node, value)
        one, other = (self.visit(child, value) for child in node["children"])
        self.spend_on_comparing(one, other)
        return self.COMPARATOR_FUNC[node["value"]](one, other)

    def visit_flatten(self, node: Node, value: Any) -> Any:
        """Put the elements of an array's arrays into one."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        # Before it is made: its elements may be the same long array many times.
        length = sum(len(element) if isinstance(element, list) else 1 for element in base)
        self.spend(length // _ELEMENTS)
        merged: list[Any] = []
        for element in base:
            if isinstance(element, list):
                merged.extend(element)
            else:
                merged.append(element)
        return merged

    def visit_function_expression(self, node: Node, value: Any) -> Any:
        """Call a function."""
        name = node["value"]
        arguments = [self.visit(child, value) for child in node["children"]]
        if name not in _FREE:
            self._spend_on_calling(name, arguments)
        return self._functions.call_function(name, arguments)

    def _spend_on_calling(self, name: str, arguments: list[Any]) -> None:
        match name, arguments:
            case "to_string", [dict() | list()]:
                self._measure(arguments[0])
            case "contains", [list(), dict() | list()]:
                self._measure(arguments[0])
            case "sort", [list() as array]:
                self.spend(len(array) // _SORTED)
            case "join", [str() as glue, list() as array]:
                self.spend(len(array) // _ELEMENTS)
                written = sum(len(text) for text in array if isinstance(text, str))
                self.spend((written + len(glue) * len(array)) // _CHARACTERS)
            case _:
                for argument in arguments:
                    if isinstance(argument, str):
                        self.spend(len(argument) // _CHARACTERS)
                    elif isinstance(argument, _CONTAINERS):
                        self.spend(len(argument) // _ELEMENTS)

    def _measure(self, value: object) -> None:
        """Take the steps of going through all that is in a value."""
        waiting = [value]
        while waiting:
            found = waiting.pop()
            if isinstance(found, str):
                self.spend(len(found) // _CHARACTERS)
            elif isinstance(found, list):
                self.spend(_CONTAINER + len(found) // _NESTED)
                waiting.extend(found)
            elif isinstance(found, dict):
                self.spend(_CONTAINER + len(found) // _NESTED)
                self.spend(sum(map(len, found)) // _CHARACTERS)
                waiting.extend(found.values())


INTERPRETER: Final = Interpreter()
"""The one that all expressions share, and the account of the call that they are about."""
