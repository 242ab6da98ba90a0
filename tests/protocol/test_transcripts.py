"""The texts of calls are reported to whoever asks for them, with an answer or without."""

import pytest

from mcp_proxy_exporter.protocol.events import CallClosed, Transcript
from mcp_proxy_exporter.protocol.jsonrpc import Message, decode
from mcp_proxy_exporter.protocol.limits import Limits
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.tracker import ExchangeTracker

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nap"}}'
RESPONSE = b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'


def read(text: bytes) -> Message:
    """Decode a text that is a message."""
    message = decode(text)
    assert isinstance(message, Message)
    return message


def follow(
    wanted: str, *, answered: bool, request: bytes = REQUEST
) -> tuple[ServerState, CallClosed]:
    """Follow a call to its end; give what is left and the end."""
    state = ServerState(Limits(max_buffered_bytes=100, max_message_bytes=100), wanted.__eq__)
    tracker = ExchangeTracker(state)
    events = [*tracker.client_message(read(request), request, 1.0)]
    if answered:
        events += tracker.server_message(read(RESPONSE), RESPONSE, 200, 2.0)
    events += tracker.close(lambda _: Outcome.UPSTREAM_CLOSED, 3.0)
    [closed] = (event for event in events if isinstance(event, CallClosed))
    return state, closed


@pytest.mark.parametrize(("answered", "response"), [(True, RESPONSE), (False, b"")])
def test_a_wanted_call_is_reported_with_its_texts(*, answered: bool, response: bytes) -> None:
    state, closed = follow("nap", answered=answered)
    assert closed.transcript == Transcript(REQUEST, response)
    assert (state.buffers.used, state.calls.used) == (0, 0)


@pytest.mark.parametrize("answered", [True, False])
def test_another_call_is_reported_without(*, answered: bool) -> None:
    state, closed = follow("hunt", answered=answered)
    assert closed.transcript is None
    assert state.buffers.used == 0


def test_a_call_that_there_is_no_room_for_is_reported_without() -> None:
    state, closed = follow("nap", answered=False, request=REQUEST + b" " * 100)
    assert closed.transcript is None
    assert state.buffers.used == 0
