"""Calls that wait for their clients, and when to give them up: those that are due, or the oldest.

Knows times; does not know what links a client to a call. What a stream resumes is set aside where
it is met, and comes back with the end of that stream: however much waits, looking for the next to
be given up costs no more than its own place in a heap.
"""

from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

from mcp_proxy_exporter.protocol.resumption import NEVER, Suspension

# Entries of a heap that are allowed to mean nothing any more, besides as many as mean something.
_MAX_STALE: Final = 64
# What is looked at in one step, of which all may be resumed: 1 ms.
MAX_LOOKED_AT: Final = 1_000


class Home(Protocol):
    """Where calls wait."""

    def is_resumed(self, suspension: Suspension) -> bool:
        """Tell whether a stream is open that may bring their answers."""


H = TypeVar("H", bound=Home)


class Waiting(Generic[H]):
    """All suspensions of one server that are given up in time."""

    __slots__ = ("_ages", "_dues", "homes")

    def __init__(self) -> None:
        self.homes: dict[Suspension, H] = {}
        """Where each of them waits."""
        # By deadline, and by age. A number is no suspension's but one's, and ends the comparison.
        self._dues: list[tuple[float, int, Suspension]] = []
        self._ages: list[tuple[int, Suspension]] = []

    def add(self, suspension: Suspension, home: H) -> None:
        """Take calls that begin to wait."""
        self.homes[suspension] = home
        self.expect(suspension)

    def discard(self, suspension: Suspension) -> None:
        """Wait no more for any of them."""
        if self.homes.pop(suspension, None) is None:
            return
        if not self.homes:
            self._dues.clear()
            self._ages.clear()
            return
        # Tidied up once half of a heap is stale, so that each end pays for one entry.
        most = 2 * len(self.homes) + _MAX_STALE
        if len(self._dues) > most:
            self._dues = [entry for entry in self._dues if self._counts(entry)]
            heapify(self._dues)
        if len(self._ages) > most:
            self._ages = [entry for entry in self._ages if entry[1] in self.homes]
            heapify(self._ages)

    def expect(self, suspension: Suspension) -> None:
        """Look at calls again, whose deadline is another one, or which nobody resumes any more."""
        if suspension.deadline < suspension.due:
            self._enter(suspension)
        if not suspension.aged:
            suspension.aged = True
            heappush(self._ages, (suspension.number, suspension))

    def find_due(self, now: float) -> tuple[Suspension, H] | None:
        """Return what is to be given up by now, if there is any."""
        dues = self._dues
        for _ in range(MAX_LOOKED_AT):
            if not dues or dues[0][0] > now:
                break
            suspension = dues[0][2]
            if self._counts(dues[0]) and suspension.deadline <= now:
                home = self.homes[suspension]
                if not home.is_resumed(suspension):
                    return suspension, home
                suspension.due = NEVER
            elif self._counts(dues[0]):
                self._enter(suspension)
            heappop(dues)
        return None

    def find_oldest(self) -> tuple[Suspension, H] | None:
        """Return what has waited the longest of that which nobody resumes."""
        ages = self._ages
        for _ in range(MAX_LOOKED_AT):
            if not ages:
                break
            suspension = ages[0][1]
            home = self.homes.get(suspension)
            if home is not None:
                if not home.is_resumed(suspension):
                    return suspension, home
                suspension.aged = False
            heappop(ages)
        return None

    def _enter(self, suspension: Suspension) -> None:
        suspension.due = suspension.deadline
        heappush(self._dues, (suspension.due, suspension.number, suspension))

    def _counts(self, entry: tuple[float, int, Suspension]) -> bool:
        """Tell whether an entry is the last one made of its suspension, which still waits."""
        return entry[0] == entry[2].due and entry[2] in self.homes
