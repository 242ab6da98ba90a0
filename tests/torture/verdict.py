"""What a suite says of the proxy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the report."""

    suite: str
    figures: str
    problems: tuple[str, ...] = ()
    """What was found, a sentence or a listing each; nothing if all is well."""


Suite = Callable[[], Iterator[Verdict]]
