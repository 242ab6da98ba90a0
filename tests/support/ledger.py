"""The ledger: which calls a client makes, and what it sees of each.

Knows how an SDK shows the end of a call and which figures follow from that; does not know proxies
or scrapes. Nothing in it is read from the metrics or computed by the product.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import mcp
from mcp import types

from tests.support.clients import Session

OTHER = "_other"
AT_ONCE = 16

# The codes that have a meaning of their own in some revision of the protocol, of those the plans
# provoke; any other is `_other` in a label.
NAMED_CODES = frozenset({-32603, -32602, -32021, -32002})


class Ending(StrEnum):
    """How a call ended, as an SDK tells its user."""

    SUCCESS = "success"
    TOOL_ERROR = "tool_error"
    PROTOCOL_ERROR = "protocol_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A call to make, and how it has to end for the ledger to be worth something."""

    tool: str
    ending: Ending
    arguments: dict[str, Any] | None = None
    code: int | None = None
    steps: int = 0
    """Progress notifications that the tool sends."""
    misshapen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A call that was made, and what its client saw."""

    tool: str
    ending: Ending
    code: int | None
    steps: int
    answer: str
    """The whole result, or the error's message."""


def succeed(tool: str, arguments: dict[str, Any], steps: int = 0) -> Planned:
    """Plan a call that works."""
    return Planned(tool=tool, ending=Ending.SUCCESS, arguments=arguments, steps=steps)


def fail(tool: str, arguments: dict[str, Any] | None = None) -> Planned:
    """Plan a call that ends with ``isError``."""
    return Planned(tool=tool, ending=Ending.TOOL_ERROR, arguments=arguments)


def deny(tool: str, arguments: dict[str, Any], code: int) -> Planned:
    """Plan a call that a tool ends with a JSON-RPC error."""
    ending = Ending.PROTOCOL_ERROR
    return Planned(tool=tool, ending=ending, arguments=arguments, code=code)


def misshape(tool: str, code: int) -> Planned:
    """Plan a call that no server accepts."""
    return Planned(tool=tool, ending=Ending.PROTOCOL_ERROR, code=code, misshapen=True)


async def make_calls(session: Session, plan: Sequence[Planned], rounds: int) -> list[Entry]:
    """Make the calls of a plan one by one, then ``rounds`` times over, 16 at a time.

    Entries come in the order of the plan, whatever the order of the answers.
    """
    entries = [await make_call(session, planned) for planned in plan]
    turn = asyncio.Semaphore(AT_ONCE)

    async def wait_and_call(planned: Planned) -> Entry:
        async with turn:
            return await make_call(session, planned)

    crowd = [wait_and_call(planned) for _ in range(rounds) for planned in plan]
    return entries + await asyncio.gather(*crowd)


async def make_call(session: Session, planned: Planned) -> Entry:
    """Make one call and write down what came of it."""
    steps: list[float] = []

    async def note_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001  # the signature is the SDKs'
        steps.append(progress)

    code = None
    try:
        if planned.misshapen:
            result = await session.call_misshapen(planned.tool)
        else:
            result = await session.call(planned.tool, planned.arguments, note_progress)
    except mcp.MCPError as error:
        ending, code, answer = Ending.PROTOCOL_ERROR, error.code, error.message
    else:
        ending, answer = _read_result(result)
    return Entry(tool=planned.tool, ending=ending, code=code, steps=len(steps), answer=answer)


def _read_result(result: types.CallToolResult) -> tuple[Ending, str]:
    ending = Ending.TOOL_ERROR if result.is_error else Ending.SUCCESS
    return ending, result.model_dump_json(by_alias=True)


def count_calls(entries: Sequence[Entry], listed: frozenset[str]) -> dict[tuple[str, ...], int]:
    """Count calls by (tool label, outcome): a name that was never listed is `_other`."""
    labels = ((entry.tool if entry.tool in listed else OTHER, entry.ending) for entry in entries)
    return dict(Counter((tool, ending.value) for tool, ending in labels))


def count_endings(entries: Sequence[Entry]) -> dict[tuple[str, ...], int]:
    """Count calls by outcome."""
    return dict(Counter((entry.ending.value,) for entry in entries))


def count_codes(entries: Sequence[Entry]) -> dict[tuple[str, ...], int]:
    """Count JSON-RPC errors by code label."""
    codes = [entry.code for entry in entries if entry.code is not None]
    return dict(Counter((str(code) if code in NAMED_CODES else OTHER,) for code in codes))


def count_results(entries: Sequence[Entry], listed: frozenset[str]) -> dict[tuple[str, ...], int]:
    """Count calls that got a ``result`` by tool label."""
    results = [entry for entry in entries if entry.ending is not Ending.PROTOCOL_ERROR]
    labels = (entry.tool if entry.tool in listed else OTHER for entry in results)
    return dict(Counter((tool,) for tool in labels))


def count_unknown(entries: Sequence[Entry], listed: frozenset[str]) -> int:
    """Count calls of names that no ``tools/list`` showed."""
    return sum(entry.tool not in listed for entry in entries)
