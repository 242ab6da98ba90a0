"""Whatever clients and servers do next, the product says what a naive model says.

The model (`tests.support.naive_model`) was written from the specifications, not from the code. Both
are told the same; after every step the events must be the model's, no more and no fewer, and when
everything has ended nothing may be held. Once hypothesis chooses the steps and makes failures
small; once they are many.
"""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mcp_proxy_exporter.protocol import Limits
from tests.support.server_turns import Turns

SEED = 20251125
WALKS = 20
TOGETHER = 15
LONG_WALKS = 6_000
STEPS = 250
RESUMED = (1339, 1353, 1563, 1840, 2109, 3447, 4596, 5160, 5817)
"""Long walks in which streams end in another order than their clients left them."""

FEW = Limits(max_open_calls=4, max_sessions=2)
LIMITS = (Limits(), Limits(), Limits(), FEW)

RANDOMS = st.randoms(use_true_random=False)


class Conversations(RuleBasedStateMachine):
    """The turns as rules."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = new_walk(0)

    @initialize(rng=RANDOMS, limits=st.sampled_from(LIMITS))
    def choose_style(self, rng: random.Random, limits: Limits) -> None:
        self.turns = Turns(rng, limits)
        self.turns.choose_style()

    def teardown(self) -> None:
        self.turns.end_all()


def new_walk(seed: int) -> Turns:
    rng = random.Random(seed)  # noqa: S311  (repeatable, not secret)
    turns = Turns(rng, LIMITS[seed % len(LIMITS)])
    turns.choose_style()
    return turns


def rule_of(name: str) -> object:
    def turn(self: Conversations, rng: random.Random) -> None:
        self.turns.use(rng)
        getattr(self.turns, name)()

    turn.__name__ = name
    return rule(rng=RANDOMS)(turn)


for each in new_walk(0).turns():
    setattr(Conversations, each.__name__, rule_of(each.__name__))

TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=200, stateful_step_count=50, derandomize=True, deadline=None
)


def walk(seed: int) -> int:
    turns = new_walk(seed)
    for _ in range(STEPS):
        turns.take_turn()
    turns.end_all()
    return turns.steps


@pytest.mark.parametrize("number", range(WALKS))
def test_random_walks(number: int) -> None:
    steps = sum(walk(SEED + number * TOGETHER + seed) for seed in range(TOGETHER))
    assert steps > TOGETHER * STEPS / 3


@pytest.mark.parametrize("number", RESUMED)
def test_walks_on_which_streams_were_resumed_in_disorder(number: int) -> None:
    assert walk(SEED + WALKS * TOGETHER + number) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_random_walks() -> None:
    steps = sum(walk(SEED + WALKS * TOGETHER + seed) for seed in range(LONG_WALKS))
    assert steps > LONG_WALKS * STEPS / 3
