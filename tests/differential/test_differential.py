"""A slice of the differential check; `make differential` runs all of it, and asks real servers."""

from tests.differential.compare import Comparison
from tests.differential.mutate import mutate


async def test_what_is_forwarded_is_read_alike_by_other_parsers() -> None:
    tally = await Comparison({}).run(range(500))
    assert tally.differences == []
    assert tally.sent == 500
    # The slice is worth something: both happen often, and so does every kind of end.
    assert tally.refused > 100
    assert tally.requests > 300
    assert tally.given_up


def test_a_seed_always_gives_the_same_bytes() -> None:
    assert [mutate(seed) for seed in range(20)] == [mutate(seed) for seed in range(20)]
    assert len({b"".join(mutate(seed)) for seed in range(500)}) > 450
