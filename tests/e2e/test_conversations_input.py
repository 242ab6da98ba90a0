"""Questions of a server to its client: counted, timed, and no part of the tool's time."""

import asyncio

import pytest
from mcp import types

from tests.support.account import Account
from tests.support.clients import MODERN
from tests.support.conversations import Stage
from tests.support.peers import Peer
from tests.support.product import Proxy
from tests.support.talk import Human, talk
from tests.support.waiting import until

# The first run installs servers.
pytestmark = pytest.mark.timeout(240)

THOUGHT_SECONDS = 0.3
METHODS = ("elicitation/create", "sampling/createMessage", "roots/list")
QUESTIONS = ["elicitation", "sampling", "roots"]


def test_server_requests_are_counted_and_no_time_of_the_tool(
    talking_peer: Peer, stage: Stage
) -> None:
    human = Human(THOUGHT_SECONDS)

    async def consult(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, human=human) as talker:
            await talker.list_tools()
            questions = ["elicitation", "sampling"]
            await talker.call("consult", questions=questions, ending="success")
            await talker.call("consult", questions=["sampling"], ending="tool_error")

    record = stage.converse(talking_peer.origin, consult)
    assert record.account.calls == {("consult", "success"): 1, ("consult", "tool_error"): 1}
    assert record.account.inputs == {
        ("elicitation/create", "server_request"): 1,
        ("sampling/createMessage", "server_request"): 2,
    }
    waited = record.metrics.total("mcp_input_request_duration_seconds_sum")
    assert human.thought <= waited < record.seconds
    # What is left of all that time, thoughts apart, bounds the tool's.
    assert record.seconds_of("consult") < min(human.thought, record.seconds - human.thought)


def test_question_outside_the_stream_of_the_call_is_counted(
    talking_peer: Peer, stage: Stage
) -> None:
    human = Human()

    async def consult(proxy: Proxy, account: Account) -> None:
        # The SDK asks for roots on the session's own stream.
        async with talk(proxy.origin, account, human=human) as talker:
            await talker.list_tools()
            await talker.call("consult", questions=QUESTIONS, ending="success")

    record = stage.converse(talking_peer.origin, consult)
    assert record.account.inputs == {(method, "server_request"): 1 for method in METHODS}


def test_call_given_up_over_a_question_is_cancelled(talking_peer: Peer, stage: Stage) -> None:
    async def give_up(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, human=Human(60.0)) as talker:
            await talker.list_tools()
            call = await talker.start("consult", questions=["elicitation"], ending="success")
            await until(lambda: talker.witness.asked)
            answers = account.messages["to_client", "response"]
            await talker.give_up(call, "consult")
            # Error -32800 comes all the same, on the stream of the call; before it the server takes
            # back its question.
            await until(lambda: account.messages["to_client", "response"] > answers)
            account.late["tools/call",] += 1
            assert await talker.call("end", ending="success") == "success"

    record = stage.converse(talking_peer.origin, give_up)
    assert record.account.calls == {("consult", "cancelled"): 1, ("end", "success"): 1}
    assert record.account.inputs == {("elicitation/create", "server_request"): 1}
    assert not record.account.answers


def test_questions_to_two_clients_at_once_are_told_apart(talking_peer: Peer, stage: Stage) -> None:
    quick, slow = Human(), Human(THOUGHT_SECONDS)

    async def consult(origin: str, account: Account, human: Human) -> None:
        async with talk(origin, account, human=human) as talker:
            await talker.list_tools()
            for _ in range(2):
                await talker.call("consult", questions=["elicitation"], ending="success")

    async def consult_both(proxy: Proxy, account: Account) -> None:
        await asyncio.gather(*(consult(proxy.origin, account, human) for human in (quick, slow)))

    record = stage.converse(talking_peer.origin, consult_both)
    assert record.account.inputs == {("elicitation/create", "server_request"): 4}
    waited = record.metrics.total("mcp_input_request_duration_seconds_sum")
    assert slow.thought <= waited < 2 * record.seconds
    assert record.seconds_of("consult") < 2 * record.seconds - slow.thought


def test_server_everything_asks_and_is_not_charged_for_it(
    everything_peer: Peer, stage: Stage
) -> None:
    human = Human(THOUGHT_SECONDS)

    async def trigger(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, human=human) as talker:
            await talker.wait_for_roots()
            await talker.list_tools()
            await talker.call("get-roots-list")
            await talker.call("trigger-elicitation-request")
            await talker.call("trigger-sampling-request", prompt="mew")

    record = stage.converse(everything_peer.origin, trigger)
    assert record.account.calls == {
        ("get-roots-list", "success"): 1,
        ("trigger-elicitation-request", "success"): 1,
        ("trigger-sampling-request", "success"): 1,
    }
    assert record.account.inputs == {(method, "server_request"): 1 for method in METHODS}
    triggers = "trigger-elicitation-request", "trigger-sampling-request"
    own = sum(record.seconds_of(tool) for tool in triggers)
    assert own < min(len(triggers) * THOUGHT_SECONDS, record.seconds - human.thought)


def test_rounds_of_input_are_legs_of_a_call(talking_peer: Peer, stage: Stage) -> None:
    human = Human(THOUGHT_SECONDS)

    async def inquire(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, mode=MODERN, human=human) as talker:
            await talker.list_tools()
            assert await talker.call("inquire", questions=["elicitation"], rounds=1) == "success"
            assert await talker.call("inquire", questions=QUESTIONS, rounds=2) == "success"
            account.calls["inquire", "input_required"] += 1 + 2

    record = stage.converse(talking_peer.origin, inquire)
    assert record.account.calls == {("inquire", "input_required"): 3, ("inquire", "success"): 2}
    assert record.account.requests["tools/call",] == 5
    assert record.account.inputs == {
        ("elicitation/create", "input_required"): 3,
        ("sampling/createMessage", "input_required"): 2,
        ("roots/list", "input_required"): 2,
    }
    waited = record.metrics.total("mcp_input_request_duration_seconds_sum")
    # Questions of one round are answered at once.
    assert human.thought <= waited < len(QUESTIONS) * record.seconds
    assert record.seconds_of("inquire") < human.thought


def test_round_without_a_question_is_a_leg_and_no_input(talking_peer: Peer, stage: Stage) -> None:
    async def inquire(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, mode=MODERN) as talker:
            await talker.list_tools()
            assert await talker.call("inquire", questions=[], rounds=2) == "success"
            account.calls["inquire", "input_required"] += 2

    record = stage.converse(talking_peer.origin, inquire)
    assert record.account.calls == {("inquire", "input_required"): 2, ("inquire", "success"): 1}
    assert not record.account.inputs


def test_questions_of_two_clients_rounds_are_told_apart(talking_peer: Peer, stage: Stage) -> None:
    quick, slow = Human(), Human(THOUGHT_SECONDS)

    async def inquire(origin: str, account: Account, human: Human) -> None:
        async with talk(origin, account, mode=MODERN, human=human) as talker:
            await talker.list_tools()
            assert await talker.call("inquire", questions=["elicitation"], rounds=2) == "success"
            account.calls["inquire", "input_required"] += 2

    async def inquire_both(proxy: Proxy, account: Account) -> None:
        await asyncio.gather(*(inquire(proxy.origin, account, human) for human in (quick, slow)))

    record = stage.converse(talking_peer.origin, inquire_both)
    waited = record.metrics.total("mcp_input_request_duration_seconds_sum")
    assert slow.thought <= waited < 2 * record.seconds
    assert record.account.inputs == {("elicitation/create", "input_required"): 4}


def test_client_that_never_comes_back_was_asked_all_the_same(
    talking_peer: Peer, stage: Stage
) -> None:
    async def ignore(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, mode=MODERN, human=Human()) as talker:
            await talker.list_tools()
            result = await talker.client.session.call_tool(
                "inquire", {"questions": ["elicitation"], "rounds": 1}, allow_input_required=True
            )
            assert isinstance(result, types.InputRequiredResult)
            talker.note_end("inquire", "input_required")

    record = stage.converse(talking_peer.origin, ignore)
    assert record.account.calls == {("inquire", "input_required"): 1}
    assert record.account.inputs == {("elicitation/create", "input_required"): 1}
    assert not record.account.answers


def test_error_that_asks_for_a_visit_to_a_page_is_no_error(
    everything_peer: Peer, stage: Stage
) -> None:
    tool, arguments = "trigger-url-elicitation", {"url": "https://cats.example/", "errorPath": True}
    human = Human()

    async def visit(proxy: Proxy, account: Account) -> None:
        async with talk(proxy.origin, account, human=human) as talker:
            await talker.wait_for_roots()
            await talker.list_tools()
            assert await talker.call(tool, **arguments) == "input_required"
            # The same call again, as after the visit, asks by a request.
            assert await talker.call(tool, **arguments) == "success"
            await until(lambda: account.answers["elicitation/create",])

    record = stage.converse(everything_peer.origin, visit)
    assert record.account.calls == {(tool, "input_required"): 1, (tool, "success"): 1}
    assert record.account.inputs == {
        ("roots/list", "server_request"): 1,
        ("elicitation/create", "input_required"): 1,
        ("elicitation/create", "server_request"): 1,
    }
