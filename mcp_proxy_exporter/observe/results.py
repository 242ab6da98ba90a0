"""What is counted per result of a tool: its size, its blocks, and what it says twice.

Knows which types of blocks are labels; does not know which tool names are (`tools`), nor how a
result is read.
"""

from mcp_proxy_exporter.observe.series import Histogram, Histograms, Store, Value, Values
from mcp_proxy_exporter.observe.words import BLOCK_TYPES, OTHER, STRUCTURED, TEXT_BLOCK
from mcp_proxy_exporter.protocol.content import ONE_TEXT
from mcp_proxy_exporter.protocol.events import Content


class ResultSeries:
    """The series of one tool label."""

    __slots__ = ("label", "size", "structured", "texts", "types")

    def __init__(self, label: str, texts: Value) -> None:
        self.label = label
        self.texts = texts
        """Blocks of text: the one series that nearly every result counts in."""
        self.size: Histogram | None = None
        self.structured: tuple[Value, Value] | None = None
        """Results with ``structuredContent``, and the bytes that say the same again."""
        self.types: dict[str, Value] = {TEXT_BLOCK: texts}
        """Blocks by the types of the closed list that came so far."""


class ResultMetrics:
    """Counts the results of one server's tools."""

    def __init__(self, server: str, store: Store) -> None:
        self._server = server
        self._sizes = store.of(Histograms, "mcp_tool_result_size_bytes")
        self._blocks = store.of(Values, "mcp_tool_result_content_blocks_total")
        self._duplicated = store.of(Values, "mcp_tool_result_duplicated_bytes_total")

    def make(self, label: str) -> ResultSeries:
        """Return the series of a tool label, with those that exist at 0."""
        return ResultSeries(label, self._blocks.child(self._server, label, TEXT_BLOCK))

    def count(self, series: ResultSeries, size: int, content: Content | None) -> None:
        """Count a result: the bytes of its JSON text, and what it holds."""
        sizes = series.size
        if sizes is None:
            sizes = series.size = self._sizes.child(self._server, series.label)
        sizes.observe(size)
        if content is ONE_TEXT:
            series.texts.value += 1
        elif content is not None:
            self._count_blocks(series, content)

    def _count_blocks(self, series: ResultSeries, content: Content) -> None:
        known = series.types
        for kind in content.types:
            (known.get(kind) or self._find(series, kind)).value += 1
        if content.structured:
            results, duplicated = series.structured or self._find_structured(series)
            results.value += 1
            duplicated.value += content.duplicated

    def _find_structured(self, series: ResultSeries) -> tuple[Value, Value]:
        labels = (self._server, series.label)
        series.structured = (
            self._blocks.child(*labels, STRUCTURED),
            self._duplicated.child(*labels),
        )
        return series.structured

    def _find(self, series: ResultSeries, kind: str) -> Value:
        if kind not in BLOCK_TYPES:
            return self._blocks.child(self._server, series.label, OTHER)
        blocks = series.types[kind] = self._blocks.child(self._server, series.label, kind)
        return blocks
