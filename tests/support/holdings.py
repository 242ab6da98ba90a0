"""What an object still holds, found without knowing its attributes."""

from collections.abc import Iterator, Sized
from typing import Any

# What is kept for ever, and bounded: descriptions of clients, of which there are few kinds.
_CACHES = {"clients", "_clients"}
_PLAIN = (str, bytes, int, float, bool, type(None))


def holdings(root: object) -> dict[str, int]:
    """Give the containers below an object that are not empty, by their paths, with their sizes.

    Tuples, frozen sets and caches are taken for constants; amounts called ``used`` count as well.
    """
    found: dict[str, int] = {}
    seen: set[int] = set()

    def look(value: Any, path: str) -> None:
        if isinstance(value, _PLAIN) or id(value) in seen or callable(value):
            return
        seen.add(id(value))
        if isinstance(value, Sized) and not isinstance(value, tuple | frozenset):
            if len(value) > 0:
                found[path] = len(value)
            return
        for name in _attributes(value):
            member = getattr(value, name, None)
            if name == "used" and member:
                found[f"{path}.{name}"] = member
            if name not in _CACHES:
                look(member, f"{path}.{name}")

    look(root, "")
    return found


def _attributes(value: object) -> Iterator[str]:
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
    yield from getattr(value, "__struct_fields__", ())
    yield from getattr(value, "__dict__", ())
