"""The ways in which a call ends on the exchange that it came with.

Each passes the end and says what it comes to. Does not know who calls, or why.
"""

import gzip
from collections.abc import Callable
from typing import Final, TypeAlias

from mcp_proxy_exporter.protocol import Abort, Outcome
from tests.soak.life import HTML, TOOLS, Life, encode, error, event, result
from tests.soak.world import Passage
from tests.support.inspection import JSON

End: TypeAlias = Callable[[Life, Passage, int], Outcome]

_GZIP: Final = {**JSON, b"content-encoding": b"gzip"}
_LONG: Final = "z" * 20_000


def _succeeds(life: Life, passage: Passage, number: int) -> Outcome:
    life.answer(passage, result(number))
    return Outcome.SUCCESS


def _succeeds_at_length(life: Life, passage: Passage, number: int) -> Outcome:
    life.answer(passage, result(number, text=_LONG))
    return Outcome.SUCCESS


def _fails(life: Life, passage: Passage, number: int) -> Outcome:
    life.answer(passage, result(number, isError=True))
    return Outcome.TOOL_ERROR


def _is_refused(life: Life, passage: Passage, number: int) -> Outcome:
    life.answer(passage, error(number, -32603))
    return Outcome.PROTOCOL_ERROR


def _is_compressed(life: Life, passage: Passage, number: int) -> Outcome:  # noqa: ARG001
    passage.answer(200, _GZIP, gzip.compress(encode(result(number)), 1))
    return Outcome.SUCCESS


def _is_unavailable(life: Life, passage: Passage, number: int) -> Outcome:  # noqa: ARG001
    passage.answer(503, HTML, b"later")
    return Outcome.HTTP_ERROR


def _has_no_answer(life: Life, passage: Passage, number: int) -> Outcome:  # noqa: ARG001
    passage.answer(200, JSON, b"{}")
    return Outcome.INVALID_RESPONSE


def _breaks_in_the_text(life: Life, passage: Passage, number: int) -> Outcome:  # noqa: ARG001
    passage.begin(200, JSON)
    passage.say(encode(result(number))[:-9])
    passage.abort(Abort.UPSTREAM_CLOSED)
    return Outcome.UPSTREAM_CLOSED


def _is_left_in_an_event(life: Life, passage: Passage, number: int) -> Outcome:  # noqa: ARG001
    passage.stream(event(result(number))[:-9])
    passage.abort(Abort.CLIENT_GONE)
    return Outcome.CLIENT_DISCONNECTED


def _takes_too_long(life: Life, passage: Passage, number: int) -> Outcome:  # noqa: ARG001
    passage.abort(Abort.UPSTREAM_TIMEOUT)
    return Outcome.UPSTREAM_TIMEOUT


_WITH_AN_ANSWER: Final[tuple[End, ...]] = (_succeeds, _succeeds_at_length, _fails, _is_refused)
_ALL: Final[tuple[End, ...]] = (
    *_WITH_AN_ANSWER,
    _is_compressed,
    _is_unavailable,
    _has_no_answer,
    _breaks_in_the_text,
    _is_left_in_an_event,
    _takes_too_long,
    _succeeds,
)


def make_call(life: Life, turn: int) -> Callable[[], None]:
    """Make one of many different calls; return what ends it."""
    tool = TOOLS[turn % len(TOOLS)]
    # With HTTP+SSE the exchange of a call says nothing of its end.
    ends = _ALL if life.answers is None else _WITH_AN_ANSWER
    end = ends[turn % len(ends)]
    number, passage = life.call(tool)
    return lambda: life.expect(tool, end(life, passage, number))
