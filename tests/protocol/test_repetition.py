"""Tool calls that come again: the same tool, arguments and result, in one session."""

import pytest

from mcp_proxy_exporter.protocol import CallClosed
from mcp_proxy_exporter.protocol.scope import MAX_RECENT
from tests.support.inspection import Wire, error, only, request, result

S = b"s"


def call(
    wire: Wire, *, text: str = "x", answer: str = "y", tool: str = "nap", **fields: bytes
) -> bool:
    """Call a tool; tell whether the call counts as repeated."""
    turn = wire.post(request(1, "tools/call", name=tool, arguments={"text": text}), **fields)
    [end] = only(turn.answer(result(1, {"content": answer})), CallClosed)
    return end.repeated


def test_the_same_call_with_the_same_result_is_repeated() -> None:
    wire = Wire()
    assert [call(wire, mcp_session_id=S) for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize("change", ["text", "answer", "tool"])
def test_a_call_that_differs_is_not(change: str) -> None:
    wire = Wire()
    call(wire, mcp_session_id=S)
    others = {"text": "other", "answer": "other", "tool": "other"}
    assert not call(wire, mcp_session_id=S, **{change: others[change]})  # type: ignore[arg-type]


def test_a_call_of_another_session_or_of_none_is_not() -> None:
    wire = Wire()
    call(wire, mcp_session_id=S)
    assert not call(wire, mcp_session_id=b"other")
    assert not call(wire)
    assert not call(wire)


def test_a_call_long_ago_is_forgotten() -> None:
    wire = Wire(repeat_seconds=10.0)
    call(wire, mcp_session_id=S)
    wire.now = 10.0
    assert call(wire, mcp_session_id=S)
    wire.now = 20.5
    assert not call(wire, mcp_session_id=S)


def test_the_same_error_again_is_a_repetition_and_another_is_none() -> None:
    wire = Wire()
    seen = []
    for code, message in ((-1, "a"), (-1, "a"), (-1, "b"), (-2, "b")):
        turn = wire.post(request(1, "tools/call", name="nap"), mcp_session_id=S)
        [end] = only(turn.answer(error(1, code, message)), CallClosed)
        seen.append(end.repeated)
    assert seen == [False, True, False, False]


def test_only_the_last_calls_of_a_session_are_remembered() -> None:
    wire = Wire()
    for number in range(MAX_RECENT + 1):
        call(wire, text=str(number), mcp_session_id=S)
    assert not call(wire, text="0", mcp_session_id=S)
    assert call(wire, text=str(MAX_RECENT), mcp_session_id=S)


def test_the_call_that_came_last_is_forgotten_last() -> None:
    wire = Wire()
    call(wire, mcp_session_id=S)
    seen = []
    for number in range(2 * MAX_RECENT):  # an agent that circles, and does other things meanwhile
        call(wire, text=str(number), mcp_session_id=S)
        seen.append(call(wire, mcp_session_id=S))
    assert all(seen)


def test_a_call_that_came_again_pushes_none_out() -> None:
    wire = Wire()
    numbers = range(MAX_RECENT)
    seen = [[call(wire, text=str(n), mcp_session_id=S) for n in numbers] for _ in range(3)]
    assert seen == [[False] * MAX_RECENT, [True] * MAX_RECENT, [True] * MAX_RECENT]
