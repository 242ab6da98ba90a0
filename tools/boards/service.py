"""Two MCP servers that look like work: tools that take their time, err sometimes and change.

Knows what its tools answer, and how fast; does not know who calls, nor that anybody watches.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.grafana.zoo import Message, Zoo, build_result, respond

CHANGE_SECONDS = 210.0
"""Seconds after which a tool is described anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool, and how its calls end."""

    does: str
    seconds: float = 0.05
    """The median; one call in twenty takes about five times as long."""
    size: int = 400
    """Mean bytes of a result's text."""
    errors: float = 0.0
    """The share of results that are errors which the tool reports."""
    structured: bool = False
    """Says everything twice: as text, and as structured content."""
    fields: tuple[str, ...] = ()
    hints: Mapping[str, bool] = field(default_factory=dict)


_READS = {"readOnlyHint": True, "openWorldHint": False}

LIBRARY: Mapping[str, Tool] = {
    "search_books": Tool(
        does="Find books by words of their title, author, subject or text. " * 4,
        seconds=0.12,
        size=2600,
        structured=True,
        fields=("query", "author", "subject", "language", "year_from", "year_to", "limit"),
        hints=_READS,
    ),
    "read_page": Tool(
        does="Read one page of a book that is on the shelf.",
        seconds=0.03,
        size=5200,
        errors=0.02,
        fields=("book", "page"),
        hints=_READS,
    ),
    "lend_book": Tool(
        does="Lend a book to a reader, for three weeks at most. " * 2,
        seconds=0.25,
        size=300,
        errors=0.07,
        structured=True,
        fields=("book", "reader", "weeks"),
        hints={"readOnlyHint": False, "destructiveHint": False},
    ),
    "return_book": Tool(
        does="Take a book back.", fields=("book",), hints={"idempotentHint": True}, seconds=0.06
    ),
    "write_catalogue": Tool(
        does="Write the whole catalogue, in any of eleven formats, sorted as you like. " * 9,
        fields=tuple(f"column_{number}" for number in range(1, 25)),
    ),
    "move_shelves": Tool(
        does="Plan which books stand where. " * 7, fields=("from", "to", "by", "when", "who")
    ),
}
WEATHER: Mapping[str, Tool] = {
    "forecast": Tool(
        does="Say how the weather will be at a place, hour by hour for two days. ",
        seconds=0.35,
        size=3400,
        errors=0.01,
        fields=("place", "hours", "units"),
        hints=_READS,
    ),
    "warnings": Tool(
        does="List the warnings for a region.", seconds=0.08, size=700, fields=("region",)
    ),
    "climate_history": Tool(
        does="Compare with the same day of earlier years, since 1881. " * 5,
        fields=("place", "day", "since", "average", "units"),
    ),
}


class Service(Zoo):
    """A server with such tools."""

    def __init__(self, name: str, tools: Mapping[str, Tool]) -> None:
        super().__init__()
        self._name = name
        self._tools = tools
        self._chance = random.Random(name)  # noqa: S311  # protects nothing
        self._lent = 40

    @property
    def season(self) -> int:
        """Say how often the tools have changed."""
        return int((asyncio.get_running_loop().time() - self._started) / CHANGE_SECONDS)

    def _answer(self, message: Message) -> web.Response:
        if message["method"] == "server/discover":
            result = {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "_meta": {
                    "io.modelcontextprotocol/serverInfo": {"name": self._name, "version": "3.1"}
                },
                "instructions": f"Ask the {self._name} before you guess. " * 6,
                "resultType": "complete",
            }
            return respond(message["id"], result=result)
        return super()._answer(message)

    def _list(self) -> list[Message]:
        return [
            {
                "name": name,
                "description": tool.does + "Ask nicely. " * (self.season * (name == "lend_book")),
                "inputSchema": {
                    "type": "object",
                    "properties": {each: {"type": "string"} for each in tool.fields},
                },
                "annotations": dict(tool.hints),
            }
            for name, tool in self._tools.items()
        ]

    async def _call(self, request: web.Request, message: Message) -> web.StreamResponse:
        tool = self._tools.get(message["params"]["name"])
        if tool is None:
            return await super()._call(request, message)
        await asyncio.sleep(tool.seconds * self._chance.lognormvariate(0, 0.3) * self._slow_down())
        text = "A line of text. " * max(1, int(self._chance.expovariate(16 / tool.size)))
        more: dict[str, Any] = {}
        if tool.structured:
            more["structuredContent"] = {"number": self._count(tool), "text": text}
            text = json.dumps(more["structuredContent"])
        failed = self._chance.random() < tool.errors
        return respond(message["id"], result=build_result(text, **{**more, "isError": failed}))

    def _count(self, tool: Tool) -> int:
        """Count what has been lent; of what is searched for, anything may be found."""
        if "reader" not in tool.fields:
            return int(self._chance.expovariate(0.1))
        self._lent = max(0, self._lent + self._chance.choice((1, 1, 1, -1, -1)))
        return self._lent

    def _slow_down(self) -> float:
        return 5 if self._chance.random() < 0.05 else 1  # noqa: PLR2004


class CalmZoo(Service):
    """The zoo of the tests, whose tools do not change every few seconds."""

    def __init__(self) -> None:
        super().__init__("zoo", {})

    def _answer(self, message: Message) -> web.Response:
        return Zoo._answer(self, message)  # noqa: SLF001

    def _list(self) -> list[Message]:
        return Zoo._list(self)  # noqa: SLF001
