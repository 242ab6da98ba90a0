"""Calls that a server answers by a task, and what becomes of the tasks, in both eras."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.support.account import Account
from tests.support.clients import MODERN
from tests.support.conversations import Record, Stage, scrape_until
from tests.support.peers import Peer
from tests.support.plain import TASKS, Message, Plain, plain, read_notifications
from tests.support.product import Proxy
from tests.support.scrape import Scrape

# The first run installs servers.
pytestmark = pytest.mark.timeout(240)

WORK_SECONDS = 0.2
POLL_SECONDS = 0.05
RESEARCH = "simulate-research-query"
RESEARCH_SECONDS = 4.0
Way = Callable[[Plain, Account], Awaitable[None]]

LEGACY_TASKS: Message = {"tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}


async def create(
    client: Plain, seconds: float, ending: str, tool: str = "study", **more: Any
) -> str:
    """Call a tool that answers by a task; return the task's id."""
    answer = await client.call(tool, {"seconds": seconds, "ending": ending}, **more)
    result: Message = answer["result"]
    task: str = result.get("task", result)["taskId"]
    return task


async def poll(client: Plain, task: str) -> Message:
    """Ask for a task until it works no more; return the answer."""
    async with asyncio.timeout(10 * RESEARCH_SECONDS):
        while True:
            answer = await client.ask("tasks/get", {"taskId": task})
            if answer.get("result", {}).get("status") != "working":
                return answer
            await asyncio.sleep(POLL_SECONDS)


def count_pending(scrape: Scrape) -> float:
    """Return how many tasks are pending."""
    return scrape.total("mcp_tasks_pending")


def test_ends_of_tasks_are_counted_by_their_payload(task_peer: Peer, stage: Stage) -> None:
    async def study(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, capabilities=LEGACY_TASKS) as client:
            await client.ask("tools/list")
            polled = await create(client, WORK_SECONDS, "success", task={})
            refused = await create(client, WORK_SECONDS, "tool_error", task={})
            failed = await create(client, WORK_SECONDS, "failed", task={})
            cancelled = await create(client, 60.0, "success", task={})
            during = await scrape_until(proxy, lambda scrape: count_pending(scrape) == 4)
            assert count_pending(during) == 4
            assert during.total("mcp_tool_calls_in_flight") == 0

            # Both ways to learn of a success, each more than once.
            assert (await poll(client, polled))["result"]["status"] == "completed"
            for _ in range(2):
                result = await client.ask("tasks/result", {"taskId": polled})
                assert "isError" not in result["result"]
            account.tasks["study", "success"] += 1

            # The status of this one is `failed`, too; only its result tells.
            result = await client.ask("tasks/result", {"taskId": refused})
            assert result["result"]["isError"]
            assert (await poll(client, refused))["result"]["status"] == "failed"
            account.tasks["study", "tool_error"] += 1

            assert (await poll(client, failed))["result"]["status"] == "failed"
            assert "error" in await client.ask("tasks/result", {"taskId": failed})
            account.tasks["study", "failed"] += 1

            answer = await client.ask("tasks/cancel", {"taskId": cancelled})
            assert answer["result"]["status"] == "cancelled"
            assert "error" in await client.ask("tasks/result", {"taskId": cancelled})
            account.tasks["study", "cancelled"] += 1
            await client.delete()

    record = stage.converse(task_peer.origin, study)
    # Polling is no call.
    assert record.account.calls == {("study", "task_created"): 4}
    assert len(record.account.tasks) == 4
    assert_durations(record, "study", WORK_SECONDS)


def test_task_that_its_server_forgot_is_expired(task_peer: Peer, stage: Stage) -> None:
    async def study(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, capabilities=LEGACY_TASKS) as client:
            await client.ask("tools/list")
            task = await create(client, 60.0, "success", task={"ttl": 300})
            assert "error" in await poll(client, task)
            account.tasks["study", "expired"] += 1
            await client.delete()

    record = stage.converse(task_peer.origin, study)
    assert record.account.calls == {("study", "task_created"): 1}


def test_task_that_nobody_asks_for_is_unobserved_in_time(task_peer: Peer, stage: Stage) -> None:
    async def study(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, capabilities=LEGACY_TASKS) as client:
            await client.ask("tools/list")
            # Its server keeps it for ever.
            await create(client, WORK_SECONDS, "success", task={})
            ended = await scrape_until(proxy, lambda scrape: bool(scrape.total("mcp_tasks_total")))
            assert count_pending(ended) == 0
            account.tasks["study", "unobserved"] += 1
            await client.delete()

    record = stage.converse(task_peer.origin, study, "[inspection]\ntask_seconds = 0.5\n")
    assert record.account.calls == {("study", "task_created"): 1}


async def research(client: Plain, **more: Any) -> str:
    """Let server-everything research something; return the task's id."""
    answer = await client.call(RESEARCH, {"topic": "cats", **more}, task={"ttl": 60_000})
    task: str = answer["result"]["task"]["taskId"]
    return task


async def fetch(client: Plain, account: Account) -> None:
    """Ask for the result, which takes as long as the task."""
    task = await research(client)
    result = await client.ask("tasks/result", {"taskId": task})
    assert result["result"]["content"]
    account.tasks[RESEARCH, "success"] += 1


async def watch(client: Plain, account: Account) -> None:
    """Ask for nothing: the server tells."""
    async with client.listening() as stream:
        task = await research(client)
        async for told in read_notifications(stream, "notifications/tasks/status"):
            assert told["taskId"] == task
            if told["status"] == "completed":
                break
    account.tasks[RESEARCH, "success"] += 1


async def answer(client: Plain, account: Account) -> None:
    """Answer a question, which comes where the result will: that request is no call of a tool."""
    task = await research(client, ambiguous=True)
    replies = {"elicitation/create": {"action": "decline"}}
    result = await client.ask("tasks/result", {"taskId": task}, replies)
    assert result["result"]["content"]
    account.tasks[RESEARCH, "success"] += 1


async def cancel(client: Plain, account: Account) -> None:
    """Cancel."""
    task = await research(client)
    await client.ask("tasks/get", {"taskId": task})
    await client.ask("tasks/cancel", {"taskId": task})
    account.tasks[RESEARCH, "cancelled"] += 1


async def forget(client: Plain, account: Account) -> None:  # noqa: ARG001  # as the others
    """Ask for no task, though the tool runs as one only."""
    assert "result" in await client.call(RESEARCH, {"topic": "cats"})


def test_tasks_of_server_everything_are_counted_in_each_way_to_learn_of_them(
    everything_peer: Peer, stage: Stage
) -> None:
    able = {**LEGACY_TASKS, "elicitation": {}}

    async def learn(origin: str, account: Account, way: Way) -> None:
        async with plain(origin, account, capabilities=able) as client:
            await client.ask("tools/list")
            await way(client, account)
            await client.delete()

    async def learn_in_all_ways(proxy: Proxy, account: Account) -> None:
        ways = (fetch, watch, answer, cancel, forget)
        await asyncio.gather(*(learn(proxy.origin, account, way) for way in ways))

    record = stage.converse(everything_peer.origin, learn_in_all_ways)
    assert record.account.calls == {(RESEARCH, "task_created"): 4, (RESEARCH, "tool_error"): 1}
    assert record.account.tasks == {(RESEARCH, "success"): 3, (RESEARCH, "cancelled"): 1}
    assert record.account.inputs == {("elicitation/create", "server_request"): 1}
    assert_durations(record, RESEARCH, 3 * RESEARCH_SECONDS)


def test_tasks_of_the_extension_are_counted_by_their_payload(
    task_extension_peer: Peer, stage: Stage
) -> None:
    endings: Mapping[str, str] = {
        "success": "completed",
        "tool_error": "completed",
        "failed": "failed",
    }

    async def study(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, MODERN) as client:
            await client.ask("tools/list")
            tasks = {ending: await create(client, WORK_SECONDS, ending) for ending in endings}
            during = await scrape_until(proxy, lambda scrape: count_pending(scrape) == 3)
            assert count_pending(during) == 3
            for ending, status in endings.items():
                for _ in range(2):
                    answer = await poll(client, tasks[ending])
                    assert answer["result"]["status"] == status
                account.tasks["study", ending] += 1

            cancelled = await create(client, 60.0, "success")
            # An empty acknowledgement: it may still complete.
            await client.ask("tasks/cancel", {"taskId": cancelled})
            assert (await poll(client, cancelled))["result"]["status"] == "cancelled"
            account.tasks["study", "cancelled"] += 1

    record = stage.converse(task_extension_peer.origin, study)
    assert record.account.calls == {("study", "task_created"): 4}
    assert_durations(record, "study", 3 * WORK_SECONDS)


def test_client_without_the_extension_gets_no_task(task_extension_peer: Peer, stage: Stage) -> None:
    async def study(proxy: Proxy, account: Account) -> None:
        async with plain(proxy.origin, account, MODERN) as client:
            client.extensions = {}
            await client.ask("tools/list")
            answer = await client.call("study", {"seconds": 0.0, "ending": "success"})
            assert "taskId" not in answer["result"]
            client.extensions = {TASKS: {}}
            # Another client's task, or none at all: not one that was seen to begin.
            assert "error" in await client.ask("tasks/get", {"taskId": "unknown"})

    record = stage.converse(task_extension_peer.origin, study)
    assert record.account.calls == {("study", "success"): 1}


def assert_durations(record: Record, tool: str, least: float) -> None:
    """Check the sum of the durations of a tool's tasks."""
    most = record.seconds * record.account.tasks.total()
    assert least <= record.metrics.total("mcp_task_duration_seconds_sum", tool=tool) < most
