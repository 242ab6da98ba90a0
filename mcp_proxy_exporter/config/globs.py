"""Patterns of names: ``*``, ``?``, ``[abc]``; case matters.

Knows when patterns match, and what a list to enable and one to disable make of a name; does not
know what is named.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches(globs: Iterable[str], name: str) -> bool:
    """Tell whether any of the patterns matches a name."""
    return any(fnmatchcase(name, glob) for glob in globs)


def is_chosen(name: str, *, enable: Iterable[str], disable: Iterable[str]) -> bool:
    """Tell whether a name is left: what is enabled is, whatever else is said of it."""
    return matches(enable, name) or not matches(disable, name)
