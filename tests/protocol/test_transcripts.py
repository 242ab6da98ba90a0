"""The texts of calls are reported to whoever asks for them, or the word for why they are lost."""

import pytest

from mcp_proxy_exporter.protocol.events import LOST, CallClosed, Transcript
from mcp_proxy_exporter.protocol.inspector import Inspector
from mcp_proxy_exporter.protocol.jsonrpc import Message, decode
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.tracker import ExchangeTracker
from tests.support.inspection import Wire, only, request, result

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
RESPONSE = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'
LONG = b" " * 100


def read(text: bytes) -> Message:
    """Decode a text that is a message."""
    message = decode(text)
    assert isinstance(message, Message)
    return message


def follow(
    wanted: str,
    *,
    answered: bool,
    request: bytes = REQUEST,
    response: bytes = RESPONSE,
    room: int = 1_000,
) -> tuple[ServerState, CallClosed]:
    """Follow a call to its end; give what is left and the end."""
    state = ServerState(Limits(max_rule_bytes=100, max_kept_bytes=room), wanted.__eq__)
    tracker = ExchangeTracker(state)
    events = [*tracker.client_message(read(request), request, 1.0)]
    if answered:
        events += tracker.server_message(read(response), response, 200, 2.0)
    events += tracker.close(lambda _: Outcome.UPSTREAM_CLOSED, 3.0)
    [closed] = (event for event in events if isinstance(event, CallClosed))
    return state, closed


def wanting(tool: str, **limits: int) -> Wire:
    """Return exchanges of which the calls of one tool are wanted."""
    wire = Wire()
    wire.inspector = Inspector(Limits(**limits), tool.__eq__)
    return wire


@pytest.mark.parametrize(("answered", "response"), [(True, RESPONSE), (False, b"")])
def test_a_wanted_call_is_reported_with_its_texts(*, answered: bool, response: bytes) -> None:
    state, closed = follow("nap", answered=answered)
    assert closed.transcript == Transcript(REQUEST, response)
    assert (state.slots.kept.used, state.calls.used) == (0, 0)


@pytest.mark.parametrize("answered", [True, False])
def test_another_call_is_reported_without(*, answered: bool) -> None:
    state, closed = follow("hunt", answered=answered)
    assert closed.transcript is None
    assert state.slots.kept.used == 0


@pytest.mark.parametrize(("answered", "response"), [(True, RESPONSE), (False, b"")])
@pytest.mark.parametrize(
    ("length", "room", "word"),
    [(100, 100, None), (101, 101, "too_large"), (100, 99, "no_room")],
)
def test_a_request_that_cannot_be_kept_is_reported_as_lost(
    length: int, room: int, word: str | None, *, answered: bool, response: bytes
) -> None:
    text = REQUEST.ljust(length)
    state, closed = follow("nap", answered=answered, request=text, room=room)
    assert closed.transcript == Transcript(b"" if word else text, response, word)
    assert (state.slots.kept.used, state.calls.used) == (0, 0)


@pytest.mark.parametrize(("length", "word"), [(100, None), (101, "too_large")])
def test_an_answer_that_is_too_long_is_reported_as_lost(length: int, word: str | None) -> None:
    text = RESPONSE.ljust(length)
    _, closed = follow("nap", answered=True, response=text)
    assert closed.transcript == Transcript(REQUEST, b"" if word else text, None, word)
    assert closed.outcome is Outcome.SUCCESS


def test_both_may_be_lost() -> None:
    _, closed = follow("nap", answered=True, request=REQUEST + LONG, response=RESPONSE + LONG)
    assert closed.transcript == Transcript(b"", b"", "too_large", "too_large")


def test_slow_calls_with_large_arguments_take_no_room_from_others() -> None:
    """What is kept of open calls is apart from the bodies that are being read."""
    wire = wanting("nap", max_message_bytes=2_000, max_buffered_bytes=2_000, max_kept_bytes=4_000)
    slow = [wire.post(request(n, "tools/call", name="nap", text="x" * 1_500)) for n in range(5)]
    assert wire.inspector.buffers.used == 0
    assert wire.inspector.state.slots.kept.used < 4_000
    turn = wire.post(request(9, "tools/call", name="hunt", text="x" * 1_500))
    [closed] = only(turn.answer(result(9, {"content": ["x" * 1_500]})), CallClosed)
    assert (closed.outcome, closed.transcript) == (Outcome.SUCCESS, None)
    lost = []
    for number, turn in enumerate(slow):
        [closed] = only(turn.answer(result(number, {})), CallClosed)
        assert closed.transcript is not None
        assert closed.transcript.response
        lost.append(closed.transcript.request_lost)
    assert lost == [None, None, "no_room", "no_room", "no_room"]
    assert wire.inspector.state.slots.kept.used == 0


@pytest.mark.parametrize(("size", "word"), [(10, None), (500, "too_large")])
def test_a_call_without_a_place_is_reported_with_its_own_text_alone(
    size: int, word: str | None
) -> None:
    wire = wanting("nap", max_open_calls=1, max_rule_bytes=300)
    wire.post(request(1, "tools/call", name="hunt"))
    text = request(2, "tools/call", name="nap", text="x" * size)
    [closed] = only(wire.post(text).begun, CallClosed)
    assert closed.outcome is Outcome.UNINSPECTED
    assert closed.transcript == Transcript(b"" if word else text, b"", word, "no_room")
    assert wire.inspector.state.slots.kept.used == 0


@pytest.mark.parametrize(("method", "name"), [("tools/call", "hunt"), ("prompts/get", "nap")])
def test_another_call_without_a_place_is_reported_without(method: str, name: str) -> None:
    wire = wanting("nap", max_open_calls=1)
    wire.post(request(1, name="hunt"))
    [closed] = only(wire.post(request(2, method, name=name)).begun, CallClosed)
    assert closed.transcript is None


def test_an_answer_that_is_not_inspected_is_lost_and_not_absent() -> None:
    wire = wanting("nap", max_message_bytes=200)
    text = request(1, "tools/call", name="nap")
    [closed] = only(wire.post(text).answer(result(1, {"content": ["x" * 500]})), CallClosed)
    assert closed.outcome is Outcome.UNINSPECTED
    assert closed.transcript == Transcript(text, b"", None, "uninspected")


def test_the_words_are_a_closed_list() -> None:
    assert LOST == ("too_large", "no_room", "uninspected")
