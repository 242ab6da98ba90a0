"""A recorder between two programs: every byte that passes, when, and who closed.

Knows TCP; does not know HTTP, MCP or what the bytes mean. It relays from a thread of its own, so
that neither a test nor its event loop can delay it.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

READ_SIZE = 256 * 1024
STOP_SECONDS = 5.0


class Side(Enum):
    """An end of a connection."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes as they were read, before they were passed on."""

    at: float
    """Unix time."""
    data: bytes


@dataclass(slots=True)
class Recording:
    """One connection."""

    began: float
    sent: dict[Side, list[Chunk]] = field(
        default_factory=lambda: {Side.CLIENT: [], Side.SERVER: []}
    )
    """Chunks by who sent them."""
    closed_by: Side | None = None
    """Who ended it first; None while it is open."""
    ended: float | None = None


class Tap:
    """A relay to one address."""

    def __init__(self, upstream: str) -> None:
        """Listen from now on; the other end is asked for when somebody connects."""
        self.recordings: list[Recording] = []
        """In the order of the connections."""
        self.origin = ""
        """Where clients go instead."""
        self._upstream = upstream
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._do(
            asyncio.start_server(self._relay, "127.0.0.1", 0, limit=READ_SIZE)
        )
        host, port = self._server.sockets[0].getsockname()
        self.origin = f"http://{host}:{port}"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return sum(recording.ended is None for recording in self.recordings)

    def refuse(self) -> None:
        """Accept no connection any more."""
        self._do(self._stop_listening())

    def stop(self) -> None:
        """Close everything."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_SECONDS)

    async def _stop_listening(self) -> None:
        self._server.close()

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recording = Recording(began=time.time())
        self.recordings.append(recording)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        try:
            address = urlsplit(self._upstream)
            onward = await asyncio.open_connection(address.hostname, address.port)
            writers.append(onward[1])
            ways = (
                asyncio.create_task(self._pass(reader, onward[1], recording, Side.CLIENT)),
                asyncio.create_task(self._pass(onward[0], writer, recording, Side.SERVER)),
            )
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except OSError:
            recording.closed_by = Side.SERVER
        finally:
            for each in writers:
                each.close()
            recording.ended = time.time()
            self._tasks.discard(task)

    @staticmethod
    async def _pass(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recording: Recording, side: Side
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(READ_SIZE):
                recording.sent[side].append(Chunk(time.time(), data))
                writer.write(data)
                await writer.drain()
        if recording.closed_by is None:
            recording.closed_by = side


@contextmanager
def tapping(upstream: str) -> Iterator[Tap]:
    """Relay for the length of a block."""
    tap = Tap(upstream)
    try:
        yield tap
    finally:
        tap.stop()
