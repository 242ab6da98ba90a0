"""What one server says that it is and has: itself, its tools, and what these cost a model.

Knows the last complete ``tools/list`` and how it differs from the one before; does not know which
tool names are labels (`tools`), nor who asked for the list.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

from mcp_proxy_exporter.observe.clock import Clock
from mcp_proxy_exporter.observe.labels import clean
from mcp_proxy_exporter.observe.series import Polled, Store, Value, Values
from mcp_proxy_exporter.observe.tools import ToolMetrics
from mcp_proxy_exporter.observe.words import OTHER, PROTOCOL_VERSIONS, UNKNOWN
from mcp_proxy_exporter.protocol.events import ServerDescribed, Tool, ToolsListed

_HINTS = {None: "unset", False: "false", True: "true"}


class _Shown(NamedTuple):
    """The series of the tools in the last list."""

    infos: Sequence[Value] = ()
    sizes: Sequence[Value] = ()
    tokens: Sequence[Value] = ()


class InventoryMetrics:
    """Shows the last complete list of one server's tools, and counts what changes.

    Names that read the same share a label, and their definitions are summed up under it.
    """

    def __init__(
        self,
        server: str,
        store: Store,
        tools: ToolMetrics,
        clock: Clock,
        *,
        bytes_per_token: float,
    ) -> None:
        self._server = server
        self._tools = tools
        self._clock = clock
        self._bytes_per_token = bytes_per_token
        # Made by the first scrape after a list: for 1 000 tools that takes 50 ms, and no call shall
        # wait for it.
        self._shown: Callable[[], _Shown] = _Shown
        self._listed: tuple[Tool, ...] | None = None
        # By label, of every tool that was ever shown: one that comes back changed has changed.
        self._definitions: dict[str, int] = {}
        self._counts = store.of(Values, "mcp_tools")
        self._infos = store.of(Polled, "mcp_tool_info")
        self._infos.watch(lambda: self._shown().infos)
        self._sizes = store.of(Polled, "mcp_tool_definition_size_bytes")
        self._sizes.watch(lambda: self._shown().sizes)
        self._tokens = store.of(Polled, "mcp_tool_definition_estimated_tokens")
        self._tokens.watch(lambda: self._shown().tokens)
        self._list_sizes = store.of(Values, "mcp_tools_list_size_bytes")
        self._last_success = store.of(
            Values, "mcp_tools_list_last_success_timestamp_seconds"
        ).child(server)
        self._changes = store.of(Values, "mcp_tool_definition_changes_total")
        self._added = store.of(Values, "mcp_tools_added_total").child(server)
        self._removed = store.of(Values, "mcp_tools_removed_total").child(server)

    def listed(self, event: ToolsListed) -> None:
        """Take a complete list as the inventory."""
        self._list_sizes.child(self._server).value = event.size
        self._last_success.value = self._clock.now()
        # First: the same list again also says that what a change announced is in it.
        self._tools.names.complete()
        self._counts.child(self._server).value = len(event.tools) + event.more
        if event.tools == self._listed:
            return
        if self._listed is not None:
            before = {tool.name for tool in self._listed}
            now = {tool.name for tool in event.tools}
            self._added.value += len(now - before)
            self._removed.value += len(before - now)
        self._listed = event.tools
        by_label: dict[str, list[Tool]] = {}
        for tool, series in self._tools.admit(event.tools):
            by_label.setdefault(series.label, []).append(tool)
        self._count_changes(by_label)
        self._shown = cache(partial(self._show, by_label))

    def _count_changes(self, by_label: Mapping[str, Collection[Tool]]) -> None:
        for label, tools in by_label.items():
            changes = self._changes.child(self._server, label)
            # Python's hash of bytes is keyed anew by each process (SipHash).
            definition = hash(frozenset(tool.digest for tool in tools))
            if self._definitions.setdefault(label, definition) != definition:
                self._definitions[label] = definition
                changes.value += 1

    def _show(self, by_label: Mapping[str, Sequence[Tool]]) -> _Shown:
        infos, sizes, tokens = [], [], []
        for label, tools in by_label.items():
            infos.append(self._info(label, tools[-1]))
            parts = {
                "description": sum(tool.description_size for tool in tools),
                "input_schema": sum(tool.input_schema_size for tool in tools),
                "output_schema": sum(tool.output_schema_size for tool in tools),
                "other": sum(tool.other_size for tool in tools),
            }
            for part, size in parts.items():
                sizes.append(Value(self._sizes.family, (self._server, label, part), size))
            estimate = sum(parts.values()) / self._bytes_per_token
            tokens.append(Value(self._tokens.family, (self._server, label), estimate))
        return _Shown(infos, sizes, tokens)

    def _info(self, label: str, tool: Tool) -> Value:
        hints = (tool.read_only, tool.destructive, tool.idempotent, tool.open_world)
        values = (self._server, label, *map(_HINTS.__getitem__, hints))
        return Value(self._infos.family, values, 1)


class DescriptionMetrics:
    """Shows what one server says of itself, in each revision of MCP that it was asked in.

    One series for each revision of the closed list, whatever names the server gives itself.
    """

    def __init__(self, server: str, store: Store, *, max_length: int) -> None:
        self._server = server
        self._max_length = max_length
        self._by_revision: dict[str, Value] = {}
        self._shown: Sequence[Value] = ()
        self._instructions = store.of(Values, "mcp_server_instructions_size_bytes")
        self._infos = store.of(Polled, "mcp_server_info")
        self._infos.watch(lambda: self._shown)

    def described(self, event: ServerDescribed) -> None:
        """Take what the server said last for what it is."""
        self._instructions.child(self._server).value = event.instructions_size
        revision = _revision(event.protocol_version)
        labels = (self._server, self._label(event.name), self._label(event.version), revision)
        self._by_revision[revision] = Value(self._infos.family, labels, 1)
        # A copy: a scrape may read it in another thread.
        self._shown = tuple(self._by_revision.values())

    def _label(self, text: str | None) -> str:
        return UNKNOWN if text is None else clean(text, self._max_length)


def _revision(version: str | None) -> str:
    if version is None:
        return UNKNOWN
    return version if version in PROTOCOL_VERSIONS else OTHER
