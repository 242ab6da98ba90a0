"""Waiting for what no event tells, within bounds."""

import asyncio
from collections.abc import Callable

WAIT_SECONDS = 20.0
_LOOK_SECONDS = 0.002


async def until(holds: Callable[[], object]) -> None:
    """Wait until ``holds`` returns something true; raise TimeoutError if it never does."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():  # noqa: ASYNC110  # nothing sets an event
            await asyncio.sleep(_LOOK_SECONDS)
