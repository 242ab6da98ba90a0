"""Whatever clients and servers did, once it is over nothing of it is kept.

The inspection and the figures of one server are driven with bytes, without a network. The first
thousand lives make what is kept for ever; after any number of further ones there is no more of it.
"""

import os

import pytest

from mcp_proxy_exporter.protocol import Inspector, Limits
from tests.soak.crowd import calls_of, run
from tests.soak.extent import Extents, count_blocks, grown, measure
from tests.soak.life import Life, invent
from tests.soak.process import MIB, resident_bytes
from tests.soak.world import World

LIVES = 30_000
CALLS = 100_000
FEW_LIVES = 2_000
FIRST = 1_000
"""Lives after which everything has happened."""
INVENTIONS = 1_100
"""More than any cap of what nobody vouches for."""
TOLERANCE = 0.05
MAX_BLOCKS = 1_000
"""Of 20 000 lives: fewer than there are of each kind, so that no kind leaves an object behind."""

# What the inspection keeps for ever, up to a cap: see `protocol.clients` and `protocol.catalog`.
KEPT = (".state.clients", ".state.catalog._unfinished")


class Course:
    """Lives that pass, and the extents whenever all is quiet."""

    def __init__(self) -> None:
        self.world = World()
        for number in range(INVENTIONS):
            invent(self.world, -1 - number)
        # Only now: names that nobody lists are not admitted any more once a list was seen.
        Life(self.world, -1, 0).list_tools()
        self._next = 0
        self.run_to(FIRST)
        self.inspector, self.metrics = self.measure()

    def run_to(self, lives: int) -> None:
        """Let lives pass, and the time after which nothing is waited for."""
        run(self.world, range(self._next, lives))
        self._next = lives
        self.world.settle()

    def measure(self) -> tuple[Extents, Extents]:
        """Measure the inspection and the figures."""
        return measure(self.world.inspector), measure(self.world.metrics)

    def check(self) -> None:
        """Prove that nothing is held, nothing has grown and every figure is true."""
        world = self.world
        assert not world.inspector.close(world.now)
        assert (world.inspector.calls.used, world.inspector.buffers.used) == (0, 0)
        inspector, metrics = self.measure()
        fresh = measure(Inspector(Limits()))
        # Otherwise it would say little that they are empty now.
        assert not [path for path in fresh if not world.busiest[path]]
        lasting = grown(fresh, inspector)
        assert not [path for path in lasting if not path.startswith(KEPT)]
        assert grown(self.inspector, inspector) == {}
        assert grown(self.metrics, metrics) == {}
        assert world.compare() == {}


def test_two_thousand_lives_leave_nothing() -> None:
    course = Course()
    course.check()
    course.run_to(FEW_LIVES)
    course.check()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_thousand_lives_leave_nothing() -> None:
    course = Course()
    course.run_to(LIVES // 3)
    course.check()
    blocks, resident = count_blocks(), resident_bytes(os.getpid())
    course.run_to(LIVES)
    course.check()
    blocks_at_end, resident_at_end = count_blocks(), resident_bytes(os.getpid())
    calls = course.world.account.calls.total() - INVENTIONS
    assert calls == sum(map(calls_of, range(LIVES))) == CALLS
    print(  # noqa: T201
        f"\n{LIVES} lives, {calls} calls, {course.world.exchanges} exchanges; "
        f"up to {course.world.busiest['.state.scopes._sessions']} sessions at once; "
        f"from the first third to the end {blocks} to {blocks_at_end} blocks, "
        f"{resident / MIB:.1f} to {resident_at_end / MIB:.1f} MiB"
    )
    assert blocks_at_end - blocks < MAX_BLOCKS
    assert abs(resident_at_end - resident) <= TOLERANCE * resident
