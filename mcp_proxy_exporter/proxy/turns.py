"""Work in turns: what one peer sends can be long work, and the event loop has other peers.

Knows the two reasons not to read a socket, back-pressure and work that is left; does not know what
the work is (`downstream`, `upstream`), nor how much of it is one turn's share (`wire`, `chunks`).

An event loop hands over 256 KiB at a time, and uvloop does so up to 32 times before it looks at
another socket. What that costs is the sender's choice: bytes of a body cost next to nothing, as
many in chunks of one byte each a hundred times more. So a reader stops after one turn's share, and
the rest is worked off in later turns, with the socket unread until then.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

_TURN = 0.002
"""Seconds of left work after which the sockets are served again, however many peers left some."""


class _Queue:
    """The work that was left on one event loop: first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._called = False

    def add(self, work: Callable[[], None]) -> None:
        """Do this in a turn to come."""
        self._waiting.append(work)
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        waiting = self._waiting
        until = time.perf_counter() + _TURN
        try:
            for _ in range(len(waiting)):  # what is left once more waits for the next turn
                waiting.popleft()()
                if time.perf_counter() > until:
                    break
        finally:
            self._called = bool(waiting)
            if waiting:
                asyncio.get_running_loop().call_soon(self._run)


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()


def _call_in_turn(work: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _Queue()
    queue.add(work)


class TurnTaker(asyncio.Protocol):
    """A connection that is not read while its bytes cannot be passed on, or others are first."""

    __slots__ = ("_paused", "_transport", "_yielding")

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._paused = False
        """True for back-pressure: the other side is slower."""
        self._yielding = False
        """True until the turn in which the work that is left is gone on with."""

    def pause_reading(self) -> None:
        """Stop reading: the other side is slower."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            if not self._yielding:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading, once what was left of the last read is worked off."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            if not self._yielding:
                self._read_on()

    def _yield(self) -> None:
        """Let others be served before the rest of the work."""
        if not self._yielding:
            self._yielding = True
            if not self._transport.is_closing():
                self._transport.pause_reading()
            _call_in_turn(self._take_turn)

    def _take_turn(self) -> None:
        if not self._paused and self._is_behind():
            self._work()
        self._yielding = False  # not before: nothing in there shall read the socket
        self._read_on()

    def _read_on(self) -> None:
        if self._paused:
            return
        if self._is_behind():
            self._yield()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _is_behind(self) -> bool:
        """Tell whether there is work left of what was read."""
        raise NotImplementedError

    def _work(self) -> None:
        """Do one turn's share of it."""
        raise NotImplementedError
