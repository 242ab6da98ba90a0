"""Which tools a server has, by its lists, and which of their names are labels.

Knows ``tools/list`` results and the rules for the label ``tool`` (docs/metrics.md, Labels); does
not know how a call ends.
"""

from collections import Counter
from typing import Any

from tests.support.recorded_calls import OTHER, Call, Caps
from tests.support.recorded_rpc import parse, split_array, split_object


class InventoryReckoning:
    """The tools of one server."""

    def __init__(self, caps: Caps) -> None:
        """Begin without a list."""
        self.caps = caps
        self.lists: list[tuple[float, str]] = []
        """Results of ``tools/list`` and when they came."""
        self.changes: Counter[str] = Counter()
        self.added = 0
        self.removed = 0
        self.listed: dict[str, None] = {}
        """Names that lists made labels."""
        self.called: dict[str, None] = {}
        """Names that successful calls made labels."""
        self.trusted = False
        """A list is known to name all tools."""
        self.unknown = 0
        """Calls of names that no list showed."""
        self.overflow = 0
        """Calls of names that are no labels."""
        self._cut = False
        self._definitions: dict[str, Any] = {}

    def label(self, tool: str | None) -> str:
        """Return a tool's label as things stand."""
        return OTHER if tool not in self.listed and tool not in self.called else str(tool)

    def end_call(self, call: Call) -> None:
        """Take the end of a call; its success may make its name a label."""
        name = call.tool
        label = self.label(name)
        if name is not None and label == OTHER:
            room = len(self.called) < self.caps.called
            if call.outcome == "success" and not self.trusted and room:
                self.called[name] = None
                label = name
            else:
                self.overflow += 1
        call.counted_as = label
        if self.trusted and not self._cut and name not in self.listed and name is not None:
            self.unknown += 1

    def take_list(self, result: str, at: float) -> None:
        """Take a list."""
        tools = list_definitions(result)
        if self.lists:
            before = list_definitions(self.lists[-1][1])
            self.added += len(tools.keys() - before.keys())
            self.removed += len(before.keys() - tools.keys())
        self.lists.append((at, result))
        self.trusted = True
        for name, text in tools.items():
            if name not in self.listed and len(self.listed) >= self.caps.listed:
                self._cut = True
                continue
            self.called.pop(name, None)
            self.listed[name] = None
            definition = parse(text)
            self.changes[name] += self._definitions.get(name, definition) != definition
            self._definitions[name] = definition


def list_definitions(result: str) -> dict[str, str]:
    """Return the definitions in a ``tools/list`` result by the tools' names."""
    members = split_object(result)
    assert "nextCursor" not in members, "no page of these servers has another one"
    return {parse(text)["name"]: text for text in split_array(members["tools"])}
