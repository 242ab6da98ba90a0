"""The metrics, written out for those who ask: one writing at a time, for all who wait for it.

Knows who holds which page; does not know how one is written, nor how it is sent (`server`). A page
can be megabytes, and who never reads it holds it: together they would take all memory.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from mcp_proxy_exporter.observe.exposition import Exposition

_MAX_HELD = 3
"""Pages that are being sent while another one is written."""
_HOLD_SECONDS = 5.0
"""How long the oldest page is left to those who still take it, while another one waits for its
place: less than the 10 s that Prometheus waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One scrape, written out."""

    body: bytes
    content_type: str
    content_encoding: str = ""
    """Of the body: empty where it is not compressed."""


@dataclass(slots=True, eq=False)
class _Edition:
    """One page, from the first wish for it until nobody takes it any more."""

    takers: list[Callable[[], None]] = field(default_factory=list)
    """What ends the connection of each who waits for it or takes it."""
    written_at: float = 0.0


Write: TypeAlias = Callable[[Exposition, bool], Awaitable[Page]]
_Kind: TypeAlias = tuple[Exposition, bool]


class Pages:
    """Writes pages and counts who holds them."""

    def __init__(self, write: Write) -> None:
        """``write`` gets a format, and whether to compress."""
        self._write = write
        self._wanted: dict[_Kind, tuple[_Edition, asyncio.Task[Page]]] = {}
        """Those whose writing has not begun: what is counted now will stand in them."""
        self._turn = asyncio.Lock()
        self._held: list[_Edition] = []
        """The oldest first."""
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def take(
        self, exposition: Exposition, cut: Callable[[], None], *, compress: bool
    ) -> AsyncIterator[Page]:
        """Give a page that says all that happened before; ``cut`` ends who takes it too slowly."""
        kind = (exposition, compress)
        if kind not in self._wanted:
            edition = _Edition()
            self._wanted[kind] = edition, asyncio.create_task(self._make(kind, edition))
        edition, making = self._wanted[kind]
        edition.takers.append(cut)
        try:
            # Not awaited itself: who leaves must not end it for the others.
            await asyncio.wait({making})
            yield making.result()
        finally:
            edition.takers.remove(cut)
            if not edition.takers and edition in self._held:
                self._held.remove(edition)
                self._given_back.set()

    async def _make(self, kind: _Kind, edition: _Edition) -> Page:
        async with self._turn:
            await self._make_room()
            del self._wanted[kind]
            page = await self._write(*kind)
            if edition.takers:
                edition.written_at = asyncio.get_running_loop().time()
                self._held.append(edition)
            return page

    async def _make_room(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._held) >= _MAX_HELD:
            patience = self._held[0].written_at + _HOLD_SECONDS - loop.time()
            if patience <= 0:
                for cut in self._held.pop(0).takers:
                    cut()
                continue
            self._given_back.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._given_back.wait(), patience)
