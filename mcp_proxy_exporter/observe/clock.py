"""Unix time for events, which carry monotonic time.

Knows how far the two clocks are apart; does not know what happened when.
"""

from collections.abc import Callable

# Clocks that differ by less went on as before. The offset is kept then, so that the timestamp of an
# old event reads the same in every scrape.
_TOLERANCE_SECONDS = 0.1


class Clock:
    """Turns monotonic seconds into Unix time without asking the operating system each time."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """Take the clock that says Unix time, and the one whose seconds events carry."""
        self._wall = wall
        self._monotonic = monotonic
        self.offset = wall() - monotonic()
        """What to add to monotonic seconds."""

    def refresh(self) -> None:
        """Follow a wall clock that was set, or a machine that slept. Called at each scrape."""
        offset = self._wall() - self._monotonic()
        if abs(offset - self.offset) > _TOLERANCE_SECONDS:
            self.offset = offset

    def now(self) -> float:
        """Return Unix time."""
        return self._wall()
