"""What the scripted clients do next: an endless, repeatable mix of calls.

Knows which calls make the table worth looking at; does not know how a call is made.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MEAN_PAUSE: Final = 0.12
"""Seconds between two acts of one client: with four of them some 30 calls a second, lively to look
at and a few per cent of one core."""
LONGEST_PAUSE: Final = 0.5
GIVES_UP: Final = 0.15
"""The share of naps that nobody waits for."""

_WEIGHTS: Final[Mapping[str, float]] = {
    "sharpen_claw": 45,
    "scratch_sofa": 35,
    "nap": 12,
    "catch_laser": 6,
    "climb_curtain": 2,  # no server has it: what a model makes up
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One call, and the pause (seconds) before the next one of the same client."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    patience: float | None = None
    """Seconds after which the client gives the call up; None to wait for its end."""
    pause: float


def write(seed: int) -> Iterator[Act]:
    """Yield acts for ever, the same ones for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - repeatable by design, protects nothing
    tools, weights = tuple(_WEIGHTS), tuple(_WEIGHTS.values())
    while True:
        tool = rng.choices(tools, weights)[0]
        pause = min(rng.expovariate(1 / MEAN_PAUSE), LONGEST_PAUSE)
        if tool == "nap":
            seconds = round(rng.uniform(0.3, 2.5), 1)
            patience = seconds / 2 if rng.random() < GIVES_UP else None
            yield Act(tool=tool, arguments={"seconds": seconds}, patience=patience, pause=pause)
        elif tool == "sharpen_claw":
            yield Act(tool=tool, arguments={"level": rng.randint(1, 1000)}, pause=pause)
        elif tool == "scratch_sofa":
            yield Act(tool=tool, arguments={"claw_level": rng.randint(20, 120)}, pause=pause)
        else:
            yield Act(tool=tool, pause=pause)
