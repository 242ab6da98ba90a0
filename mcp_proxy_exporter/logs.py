"""What goes to the log: where something happened, never what it was about.

Knows how to word a fault and an unknown name so that a line stays one line, says nothing of the
traffic, and cannot be made to come by the thousand. Does not know who has faults.

The text of an exception is never logged where it comes from the path of traffic: it may hold what
was being read. Its kind and the places in the code tell what has to be mended.
"""

import asyncio
import logging
import os
import ssl
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_LOG = logging.getLogger(__name__)
_INTERVAL = 60.0
"""Seconds: what breaks for one call breaks for each one like it."""
_MAX_NAMES = 10
_MAX_NAME_LENGTH = 128
_MAX_PLACES = 8


def start(level: str) -> None:
    """Write to standard error from now on."""
    logging.basicConfig(level=level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    # A log that cannot be written must not be answered by writing more.
    logging.raiseExceptions = False


def change_level(level: str) -> None:
    """Write what is of this level or above."""
    logging.getLogger().setLevel(level.upper())


def describe(error: BaseException) -> str:
    """Say what kind of error it is and where it rose, the innermost place first."""
    places = [
        f"{_shorten(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    places.reverse()
    if len(places) > _MAX_PLACES:  # a recursion without end has thousands
        places[_MAX_PLACES - 3 : -2] = ["..."]
    return f"{type(error).__name__} at {' < '.join(places)}" if places else type(error).__name__


class Pace:
    """Lets something be said once in a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said_at: dict[str, float] = {}

    def allows(self, subject: str) -> bool:
        """Tell whether it may be said now, and take it for said."""
        now = self._clock()
        if now - self._said_at.get(subject, -_INTERVAL) < _INTERVAL:
            return False
        self._said_at[subject] = now
        return True


class FaultLog:
    """Counts the faults of the inspection, and logs one of each stage in a minute."""

    def __init__(
        self, count: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._pace = Pace(clock)

    def __call__(self, stage: str) -> None:
        """Take a fault, while its exception is handled."""
        self._count(stage)
        if self._pace.allows(stage):
            error = sys.exception()
            what = "an error" if error is None else describe(error)
            _LOG.error(
                "inspection failed at stage %s, the traffic passed unharmed: %s "
                "(at most one such line of a stage in a minute)",
                stage,
                what,
            )


class NameLog:
    """Logs the names of called tools that are in no list: each once in a minute, and few."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = -_INTERVAL
        self._said: set[tuple[str, str]] = set()

    def __call__(self, server: str, name: str) -> None:
        """Take a name as it came."""
        now = self._clock()
        if now - self._since >= _INTERVAL:
            self._since = now
            self._said.clear()
        cut = name[:_MAX_NAME_LENGTH]
        if len(self._said) < _MAX_NAMES and (server, cut) not in self._said:
            self._said.add((server, cut))
            # As Python writes it: no line end, escape sequence or bidirectional mark survives.
            _LOG.info("server %s: a tool was called that is in no tools/list: %a", server, cut)


class LoopLog:
    """Takes what an event loop has no one else to tell; see ``loop.set_exception_handler``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = Pace(clock)

    def __call__(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log it, without the objects that it concerns."""
        error = context.get("exception")
        if isinstance(error, (ssl.SSLError, ConnectionError, TimeoutError)):
            # A handshake that fails or a connection that is reset: a peer's doing, as often as it
            # likes. What becomes of exchanges by it is counted.
            _LOG.debug("a connection ended: %s", type(error).__name__)
            return
        what = str(context.get("message", "")) if error is None else describe(error)
        if isinstance(error, OSError) and error.errno is not None:
            what = f"{os.strerror(error.errno).lower()}, {what}"  # no more open files, mostly
        if self._pace.allows(what):
            _LOG.error("unexpected error: %s", what)


def _shorten(file: str) -> str:
    """Leave out where the program is installed: it says who runs it."""
    return "/".join(file.rsplit("/", 2)[-2:])
