"""How large everything is that an object keeps, wherever it keeps it.

Knows Python's containers and how objects refer to each other; does not know the product's, nor
which of them may grow.
"""

import gc
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

Extents: TypeAlias = Counter[str]
"""Elements by path; an element of a container is ``[]``, whatever its key."""

# Holds nothing that grows, or belongs to no object.
_PLAIN = (str, bytes, int, float, complex, type, Enum, ModuleType)
_CONTAINERS = (Mapping, set, frozenset, list, tuple, deque)


def measure(root: object) -> Extents:
    """Count the elements of every container that can be reached; amounts ``used`` count as well.

    Containers on one path are added up, so that a thousand maps of one element are no less than
    one map of a thousand. An empty container has an extent, too: 0.
    """
    found: Extents = Counter()
    seen: set[int] = set()
    alive: list[object] = []  # so that no id is used twice
    waiting: deque[tuple[Any, str]] = deque([(root, "")])  # so that the shortest path is found
    while waiting:
        value, path = waiting.popleft()
        if value is None or isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen.add(id(value))
        alive.append(value)
        if isinstance(value, bytearray):
            found[path] += len(value)
        elif isinstance(value, _CONTAINERS):
            found[path] += len(value)
            waiting += [(element, f"{path}[]") for element in _elements(value)]
        else:
            for name, member in _members(value):
                if name == "used":
                    found[f"{path}.used"] += member
                waiting.append((member, f"{path}.{name}"))
    return found


def grown(before: Extents, after: Extents) -> dict[str, tuple[int, int]]:
    """Give what does not have the extent that it had."""
    return {
        path: (before[path], after[path])
        for path in sorted(before.keys() | after.keys())
        if before[path] != after[path]
    }


def count_blocks() -> int:
    """Count the pieces of memory that this interpreter's small objects take, found or not."""
    gc.collect()
    return sys.getallocatedblocks()


def _elements(value: Any) -> Iterator[object]:
    yield from value
    if isinstance(value, Mapping):
        yield from value.values()


def _members(value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, MethodType | BuiltinMethodType):
        yield "__self__", value.__self__
    elif isinstance(value, partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            yield "<closure>", cell.cell_contents
    else:
        for name in _names(value):
            yield name, getattr(value, name, None)


def _names(value: object) -> Sequence[str]:
    names = dict.fromkeys(getattr(value, "__struct_fields__", ()))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names |= dict.fromkeys((slots,) if isinstance(slots, str) else slots)
    names |= dict.fromkeys(getattr(value, "__dict__", ()))
    return [name for name in names if name not in {"__weakref__", "__dict__"}]
