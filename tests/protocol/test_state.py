"""What an answer tells besides how its call ended."""

import pytest
from msgspec import Raw

from mcp_proxy_exporter.protocol import Client, Event, Limits, Outcome, SessionOpened, ToolsListed
from mcp_proxy_exporter.protocol.calls import OpenCall, open_call
from mcp_proxy_exporter.protocol.ids import MAX_TEXT
from mcp_proxy_exporter.protocol.jsonrpc import Message
from mcp_proxy_exporter.protocol.params import ClientInfo, Params
from mcp_proxy_exporter.protocol.remembered import Ledger
from mcp_proxy_exporter.protocol.scope import Kind, Scope
from mcp_proxy_exporter.protocol.state import ServerState
from mcp_proxy_exporter.protocol.waiting import Waiting
from tests.support.inspection import Turn, Wire, only, outcomes, request, result, sse

NOWHERE = (None, None)
PAGE = {"tools": [{"name": "nap"}]}


def opened(method: str) -> OpenCall:
    params = Params(client_info=ClientInfo("cat"), protocol_version="2025-11-25")
    return open_call(method, params, Client(), None, 0.0)


def answered(text: str = "{}") -> Message:
    return Message("2.0", 1, result=Raw(text.encode()))


def suspend(wire: Wire, method: str, **fields: bytes) -> Turn:
    """Leave a call behind, and open the stream that resumes it."""
    wire.suspend(1, method, **fields)
    return wire.stream(**fields, last_event_id=b"1")


@pytest.mark.parametrize("method", ["tools/call", "ping", "server/discover", "subscriptions/x"])
def test_most_answers_tell_nothing_else(method: str) -> None:
    state = ServerState(Limits())
    assert state.learn(opened(method), answered(), Outcome.SUCCESS, NOWHERE, 1.0) == ()
    assert state.sweep(1.0) == []


@pytest.mark.parametrize(
    "outcome", [Outcome.TOOL_ERROR, Outcome.INVALID_RESPONSE, Outcome.HTTP_ERROR]
)
@pytest.mark.parametrize("method", ["initialize", "tools/list"])
def test_only_a_success_shows_tools_or_begins_a_session(method: str, outcome: Outcome) -> None:
    state = ServerState(Limits())
    message = answered('{"tools": [{"name": "nap"}]}')
    assert state.learn(opened(method), message, outcome, (None, b"s"), 1.0) == ()


def test_a_listing_on_another_exchange_shows_its_tools() -> None:
    for fields in ({}, {"mcp_session_id": b"s"}):
        stream = suspend(Wire(), "tools/list", **fields)
        assert len(only(stream.send(sse(result(1, PAGE))), ToolsListed)) == 1


def test_pages_belong_to_the_session_that_they_are_sent_to() -> None:
    wire = Wire()

    def ask(session: bytes, name: str, cursor: str | None, more: str | None) -> list[Event]:
        body = request(1, "tools/list", **({} if cursor is None else {"cursor": cursor}))
        answer = {"tools": [{"name": name}], **({} if more is None else {"nextCursor": more})}
        return wire.post(body, mcp_session_id=session).answer(result(1, answer))

    for who in "ab":
        assert not only(ask(who.encode(), f"{who}1", None, "2"), ToolsListed)
    for who in "ab":
        [listed] = only(ask(who.encode(), f"{who}2", "2", None), ToolsListed)
        assert [tool.name for tool in listed.tools] == [f"{who}1", f"{who}2"]


def test_initialize_on_another_exchange_opens_no_session() -> None:
    wire = Wire()
    stream = suspend(wire, "initialize")
    assert outcomes(stream.send(sse(result(1, {"protocolVersion": "2025-11-25"})))) == [
        Outcome.SUCCESS
    ]
    stream.end()
    assert wire.holds_nothing()


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('{"protocolVersion": "2025-06-18"}', "2025-06-18"),
        ('{"protocolVersion": "%s"}' % ("x" * 5_000), "x" * MAX_TEXT),
        ('{"protocolVersion": null}', "2025-11-25"),
        ('{"protocolVersion": 5}', "2025-11-25"),
        ('{"protocolVersion": ""}', "2025-11-25"),
        ("{}", "2025-11-25"),
        ("[]", "2025-11-25"),
    ],
)
def test_the_servers_version_goes_before_the_clients(answer: str, version: str) -> None:
    state = ServerState(Limits())
    scope = Scope(Kind.ENDPOINT, b"/m", Client(), Waiting(), Ledger(), 0.0)
    message = answered(answer)
    assert state.learn(opened("initialize"), message, Outcome.SUCCESS, (scope, None), 1.0) == ()
    assert scope.client == Client("cat", version)


def test_initialize_within_a_session_says_who_is_in_it_and_opens_it_once() -> None:
    state = ServerState(Limits())
    scope = Scope(Kind.SESSION, b"s", Client("dog"), Waiting(), Ledger(), 0.0)
    for expected in ([SessionOpened()], []):
        told = state.learn(opened("initialize"), answered(), Outcome.SUCCESS, (scope, None), 1.0)
        assert list(told) == expected
        assert scope.client == Client("cat", "2025-11-25")


def test_initialize_on_a_stream_without_a_session_says_nothing() -> None:
    state = ServerState(Limits())
    scope = Scope(Kind.STREAM, b"", Client("dog"), Waiting(), Ledger(), 0.0)
    told = state.learn(opened("initialize"), answered(), Outcome.SUCCESS, (scope, None), 1.0)
    assert list(told) == []
    assert scope.client == Client("dog")


def test_one_sweep_ends_everything_that_is_overdue() -> None:
    wire = Wire()
    suspend(wire, "tools/call", mcp_session_id=b"s").end()
    suspend(wire, "tools/call").end()
    wire.post(request(5)).answer(result(5, {"resultType": "task", "taskId": "t"}))
    wire.post(request(5)).answer(result(5, {"resultType": "input_required", "requestState": "r"}))
    wire.post(request(5, "server/discover")).answer(b"", 404, {})
    assert not wire.holds_nothing()
    assert len(wire.sweep()) == 4  # two calls, a session, a task
    assert wire.holds_nothing()
    assert wire.sweep(2e6) == []
