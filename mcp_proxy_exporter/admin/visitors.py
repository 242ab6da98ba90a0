"""Who is connected to the admin listener: how many, and how long each may take.

Knows connections and the time that each has; does not know HTTP, which a protocol behind it speaks.
A library's server has no limit for either, and this port is open to more than one wishes.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from mcp_proxy_exporter.proxy.sockets import reset

MAX_VISITORS = 64
"""Connections at once. Scrapers and probes are a handful, each with one."""
KEEPALIVE_SECONDS = 75.0  # a scraper comes back every 15 or 60 s
_HEAD_SECONDS = 10.0
"""From the start of a connection, or the first byte of a further request, to the end of its head:
as on the listeners of the traffic."""
_ANSWER_SECONDS = 60.0
"""To wait for an answer and take it. Prometheus itself waits 10 s."""
_IDLE_SECONDS = KEEPALIVE_SECONDS + 5.0
"""After an answer. The library closes what is idle before; this is for who took no answer."""


class Visitor(asyncio.Protocol):
    """One connection, with a deadline for whatever it does."""

    def __init__(self, crowd: "Visitors", speaker: asyncio.Protocol) -> None:
        """``speaker`` is the protocol that answers."""
        self._crowd = crowd
        self._speaker = speaker
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._is_waited_for = True
        """The end of a request's head is."""
        self.is_answered = False
        """An answer to it is being made or sent."""
        self.since = 0.0

    @property
    def is_leaving(self) -> bool:
        """Its connection is being closed."""
        return self._transport is not None and self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Come in."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's have the interface only
        self._crowd.members[self._speaker] = self
        self._allow(_HEAD_SECONDS)
        self._speaker.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self._crowd.members.pop(self._speaker, None)
        if self._deadline is not None:
            self._deadline.cancel()
        self._speaker.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Ask."""
        if not self.is_answered and not self._is_waited_for:
            self._is_waited_for = True
            self._allow(_HEAD_SECONDS)
        self._speaker.data_received(data)

    def eof_received(self) -> bool | None:
        """Half-close."""
        return self._speaker.eof_received()

    def pause_writing(self) -> None:
        """Read more slowly than is written."""
        self._speaker.pause_writing()

    def resume_writing(self) -> None:
        """Have read."""
        self._speaker.resume_writing()

    def begin(self) -> None:
        """Take note that a request has come whole."""
        self.is_answered, self._is_waited_for = True, False
        self._allow(_ANSWER_SECONDS)

    def end(self) -> None:
        """Take note that its answer is handed over."""
        self.is_answered = False
        if not self.is_leaving:
            self._allow(_IDLE_SECONDS)

    def reset(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            with suppress(OSError):  # it may have ended by itself already
                reset(self._transport)

    def _allow(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._deadline is not None:
            self._deadline.cancel()
        self.since = loop.time()
        self._deadline = loop.call_later(seconds, self.reset)


class Visitors:
    """All connections of the admin listener."""

    def __init__(self) -> None:
        self.members: dict[asyncio.BaseProtocol, Visitor] = {}
        """By the protocol that answers."""

    def admit(self, greeting: int, drop: Callable[[], bool]) -> bool:
        """Say whether one more may come in, in place of the one that has done nothing for longest.

        So silent ones cannot keep out a probe. ``greeting`` handshakes are under way; ``drop`` ends
        the oldest of them.
        """
        present = [visitor for visitor in self.members.values() if not visitor.is_leaving]
        if len(present) + greeting < MAX_VISITORS or drop():
            return True
        idle = [visitor for visitor in present if not visitor.is_answered]
        if idle:
            min(idle, key=lambda visitor: visitor.since).reset()
        return bool(idle)

    async def leave(self, seconds: float) -> None:
        """End all connections, those that are being answered after some time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.members:
            late = loop.time() >= deadline
            for visitor in tuple(self.members.values()):
                if late or not visitor.is_answered:
                    visitor.reset()
            if late:
                return
            await asyncio.sleep(0.01)
