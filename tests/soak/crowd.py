"""Many lives at once: who begins when, and how time passes meanwhile.

Knows how many calls a life makes; does not know what happens in one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from tests.soak.life import Life
from tests.soak.lives import LIVES
from tests.soak.world import World

AT_ONCE: Final = 64
"""Lives that go on at the same time."""
PACE: Final = 0.05
"""Seconds between two steps of all lives. Ten thousand lives then take more than the hour after
which silent sessions end, so that as many end as begin."""


def calls_of(number: int) -> int:
    """Say how many calls a life makes: 10 in three lives."""
    return 4 if number % 3 == 0 else 3


def run(world: World, numbers: Iterable[int]) -> None:
    """Let lives pass, many at once, the kinds of them in turn."""
    going_on: deque[Iterator[None]] = deque()
    for number in numbers:
        going_on.append(LIVES[number % len(LIVES)](Life(world, number, calls_of(number))))
        while len(going_on) >= AT_ONCE:
            _take_turn(world, going_on)
    while going_on:
        _take_turn(world, going_on)


def _take_turn(world: World, going_on: deque[Iterator[None]]) -> None:
    world.go_on(PACE)
    life = going_on.popleft()
    if next(life, life) is not life:
        going_on.append(life)
