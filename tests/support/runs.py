"""Ledger runs: the clients of a course go to a server, directly and through the proxy.

Knows what is kept of a run; does not know what has to be true of it.
"""

import asyncio
import time
from dataclasses import dataclass

from mcp import types

from tests.support.clients import Wire
from tests.support.courses import Course
from tests.support.ledger import Entry, make_calls
from tests.support.product import run_proxy
from tests.support.scrape import Answer, Scrape


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the clients of a course did and saw at one address."""

    entries: list[Entry]
    wire: Wire
    revisions: set[str]
    tools: list[types.Tool]
    """As the last client listed them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRun:
    """A course, run against the server itself and then through a fresh proxy."""

    server: str
    course: Course
    direct: Visit
    proxied: Visit
    started: float
    """Unix time before the first proxied call."""
    text: Answer
    openmetrics: Answer
    metrics: Scrape
    """Both answers are scrapes at rest, after the last call; this is `text`, parsed."""

    @property
    def listed(self) -> frozenset[str]:
        """The names of the server's tools."""
        return frozenset(tool.name for tool in self.proxied.tools)


async def visit(origin: str, course: Course) -> Visit:
    """Let each client of a course list the tools and make all calls."""
    wire = Wire()
    entries: list[Entry] = []
    revisions: set[str] = set()
    tools: list[types.Tool] = []
    for open_session in course.clients.values():
        async with open_session(origin, wire) as session:
            revisions.add(session.protocol_version or "")
            tools = await session.list_tools()
            entries += await make_calls(session, course.plan, course.rounds)
    return Visit(entries=entries, wire=wire, revisions=revisions, tools=tools)


def run_ledger(name: str, origin: str, course: Course) -> LedgerRun:
    """Run a course against a server itself, and then through a fresh proxy."""
    direct = asyncio.run(visit(origin, course))
    with run_proxy(origin, name=name) as proxy:
        started = time.time()
        proxied = asyncio.run(visit(proxy.origin, course))
        proxy.settle()
        text = proxy.read()
        return LedgerRun(
            server=name,
            course=course,
            direct=direct,
            proxied=proxied,
            started=started,
            text=text,
            openmetrics=proxy.scrape_openmetrics(),
            metrics=Scrape.from_text(text.body),
        )
