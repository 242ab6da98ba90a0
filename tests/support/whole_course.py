"""A conversation that leaves no family of the metrics out, between recorders.

Knows which programs run, how they are put together and what is said; does not know what follows
from it for the metrics, except for the rules that the configuration gives.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import ExitStack, asynccontextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import mcp
from mcp import types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from tests.support.account import Account
from tests.support.clients import LEGACY, MODERN
from tests.support.peers import Peer, install_fastmcp_tasks, run_python_server
from tests.support.plain import ModernPlain, plain
from tests.support.programs import POLL_SECONDS, START_SECONDS
from tests.support.rpc_client import build_call, build_modern_headers, post
from tests.support.talk import Human
from tests.support.tap import Tap, tapping
from tests.support.theatre import SETTLE_SECONDS, Compare, Look, Theatre, Track, open_theatre
from tests.support.waiting import until
from tests.support.whole_rules import CAPS

THOUGHT_SECONDS = 0.8
TASK_SECONDS = 0.1
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
QUESTIONS = ["elicitation", "sampling", "roots"]


@asynccontextmanager
async def connect(
    origin: str, mode: str, name: str, *, sse: bool = False, leave: bool = False
) -> AsyncIterator[mcp.Client]:
    """Connect a client of PyPI ``mcp``, whose human takes some time to answer questions.

    With ``leave`` it does not end its session.
    """
    human = Human(THOUGHT_SECONDS)
    transport = (
        sse_client(f"{origin}/sse")
        if sse
        else streamable_http_client(f"{origin}/mcp", terminate_on_close=not leave)
    )
    async with mcp.Client(
        transport,
        mode=mode,
        client_info=types.Implementation(name=name, version="1"),
        elicitation_callback=human.fill_in,
        sampling_callback=human.write,
        list_roots_callback=human.show_roots,
    ) as client:
        yield client


async def call(client: mcp.Client, tool: str, **arguments: Any) -> None:
    """Call a tool, whatever becomes of it."""
    await attempt(client.call_tool(tool, arguments))


async def attempt(request: Coroutine[Any, Any, Any]) -> None:
    """Send a request, whatever becomes of it."""
    try:
        await request
    except mcp.MCPError:
        return


def send(origin: str, body: bytes, headers: Mapping[str, str], *, host: str | None = None) -> int:
    """Send a body as it is and return the answer's status."""
    connection = HTTPConnection(urlsplit(origin).netloc, timeout=SETTLE_SECONDS)
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    try:
        connection.request(
            "POST", "/mcp", body, {**sent, **headers, **({"Host": host} if host else {})}
        )
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()
    return response.status


def call_plainly(origin: str, tool: str, arguments: Mapping[str, Any]) -> None:
    """Call a tool in the newer era without listing the tools first, as no SDK does."""
    message = build_call(tool, arguments, modern=True)
    with post(origin, message, build_modern_headers(tool)) as connection:
        connection.getresponse().read()


def send_oddities(track: Track) -> None:
    """Send what no SDK does: unreadable bodies, false headers, foreign sessions."""
    send(track.origin, b"{no json", {})
    call_text = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}'
    send(track.origin, call_text, {"Mcp-Session-Id": "unheard-of", "MCP-Protocol-Version": LEGACY})
    send(track.origin, call_text, {"Content-Encoding": "mew"})
    large = b'{"jsonrpc":"2.0","method":"notifications/large","params":{"x":"%b"}}'
    send(track.origin, large % (b"x" * CAPS.largest), {})
    message = build_call("add", {"a": 1, "b": 2}, modern=True)
    with post(track.origin, message, build_modern_headers("refuse")) as connection:
        connection.getresponse().read()


async def begin(track: Track, client: mcp.Client, key: str) -> asyncio.Task[None]:
    """Call the tool that waits; return when it does."""
    held = asyncio.create_task(call(client, "hold", key=key))
    line = f"started {key}"
    await asyncio.to_thread(track.peer.program.wait_for_line, line, START_SECONDS)
    return held


async def use_everything(client: mcp.Client) -> None:
    """Send each kind of request once, and a notification."""
    await client.list_prompts()
    await attempt(client.get_prompt("greet", {"name": "x"}))
    await attempt(client.get_prompt("part"))
    await attempt(client.get_prompt("no such prompt"))
    await client.list_resources()
    await client.read_resource("memo://cat")
    await attempt(client.read_resource("memo://dog"))
    await client.list_resource_templates()
    reference = types.PromptReference(type="ref/prompt", name="greet")
    await client.complete(reference, {"name": "name", "value": "c"})
    await client.session.send_roots_list_changed()


async def call_tools(client: mcp.Client) -> None:
    """End calls in most ways in which they end."""
    for _ in range(3):
        await call(client, "add", a=1, b=2)
    await call(client, "add", a="one")
    await call(client, "introduce", name="Mía", moods=["grand", "\u2028"])
    await call(client, "search", ok=True, rows=3)
    await call(client, "search", ok=True, rows=30)
    await call(client, "search", ok=False, reason="empty")
    await call(client, "search", ok=False)
    for size in (10, 200, 4_000, 70_000, CAPS.largest):
        await call(client, "fetch", size=size)
    await call(client, "refuse", reason="mood")
    for code in (-32002, -32603, -31999):
        await call(client, "deny", code=code)
    await call(client, "no_such_tool")
    await call(client, "show")


async def converse_legacy(track: Track, theatre: Theatre) -> None:
    """Speak 2025-11-25 in sessions."""
    async with connect(track.origin, "legacy", "desk") as client:
        await until(
            lambda: [stream for stream in track.reckon().http.streams if stream.kind == "get"]
        )
        await client.list_tools()
        await call_tools(client)
        await use_everything(client)
        await client.send_ping()
        await attempt(client.set_logging_level("debug"))
        steps: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001  # the SDK's signature
            steps.append(progress)

        await client.call_tool("count", {"steps": 3}, progress_callback=note)
        await call(client, "log", levels=["debug", "warning", "warning", "emergency"])
        await call(client, "consult", questions=QUESTIONS)
        held = await begin(track, client, "cancelled")
        held.cancel()
        await asyncio.wait([held])
        await until(lambda: has_outcome(track, "cancelled"))
        await call(client, "evolve")
        await until(lambda: hears(track, "notifications/tools/list_changed"))
        await client.list_tools(cache_mode="bypass")
        await call(client, "latecomer", word="here")
        held = await begin(track, client, "looked at")
        await theatre.pause("at work")
        await call(client, "release", key="looked at")
        await held
    # Nobody tells the proxy that this session is over but an answer of the server.
    async with connect(track.origin, "legacy", "shelf") as client:
        await client.list_tools()
        session = [*track.reckon().http.sessions][-1]
        drop_session(track.peer.origin, session)
        await call(client, "add", a=1, b=2)


def hears(track: Track, method: str) -> bool:
    """Say whether a message of a method has passed."""
    return any(message.said.get("method") == method for message in track.reckon().messages)


def has_outcome(track: Track, outcome: str) -> bool:
    """Say whether a call has ended so."""
    return any(each.outcome == outcome for each in track.reckon().calls)


def drop_session(origin: str, session: str) -> None:
    """End a session behind the proxy's back."""
    connection = HTTPConnection(urlsplit(origin).netloc, timeout=SETTLE_SECONDS)
    connection.request("DELETE", "/mcp", headers={"Mcp-Session-Id": session})
    assert connection.getresponse().status == 200
    connection.close()


async def converse_modern(track: Track, theatre: Theatre) -> None:
    """Speak 2026-07-28."""
    async with connect(track.origin, "auto", "lab") as client:
        await client.list_tools()
        await call_tools(client)
        await use_everything(client)
        await call(client, "inquire", questions=QUESTIONS)
        meta: Any = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        await client.call_tool("add", {"a": 3, "b": 4}, meta=meta)
        async with client.listen(tools_list_changed=True) as listening:
            held = await begin(track, client, "listening")
            await theatre.pause("listening")
            await call(client, "release", key="listening")
            await held
            await call(client, "announce")
            async for _ in listening:
                break
            await call(client, "add", a=5, b=6)
        held = await begin(track, client, "left")
    await asyncio.wait([held])
    await until(lambda: has_outcome(track, "client_disconnected"))


async def converse_old(track: Track) -> None:
    """Speak 2024-11-05."""
    async with connect(track.origin, "legacy", "attic", sse=True) as client:
        await client.list_tools()
        await call_tools(client)
        await call(client, "consult", questions=["elicitation"])
        await call(client, "extra_3")


async def converse_mortal(track: Track) -> None:
    """Speak to a server until it dies, and then some more."""
    async with connect(track.origin, "auto", "heir") as client:
        await client.list_tools()
        await call(client, "add", a=1, b=2)
        held = await begin(track, client, "died")
        await track.die()
        await held
        await call(client, "add", a=1, b=2)


async def crowd(track: Track) -> None:
    """Open more sessions than are remembered, and come under a wrong name."""
    for number in range(CAPS.sessions + 1):
        async with connect(track.origin, "legacy", f"guest {number}", leave=True) as client:
            await client.list_tools()
    call_text = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}'
    assert send(track.origin, call_text, {}, host="evil.example") == 421


async def play_everything(theatre: Theatre) -> None:
    """Leave no family out, but for those of tasks."""
    tracks = theatre.tracks
    call_plainly(tracks["both"].origin, "add", {"a": 1, "b": 2})
    call_plainly(tracks["both"].origin, "introduce", {"name": "a", "moods": []})
    send_oddities(tracks["both"])
    await converse_legacy(tracks["both"], theatre)
    await converse_modern(tracks["both"], theatre)
    await converse_old(tracks["old"])
    await converse_mortal(tracks["mortal"])
    await crowd(tracks["guarded"])
    # A connection that stays.
    last = HTTPConnection(urlsplit(tracks["both"].origin).netloc, timeout=SETTLE_SECONDS)
    last.request("GET", "/no-such-page")
    last.getresponse().read()
    await theatre.pause("at rest")
    last.close()


async def play_tasks(theatre: Theatre) -> None:
    """Let calls be answered by tasks, which no SDK's client does yet."""
    track = theatre.tracks["tasks"]
    async with plain(track.origin, Account(), revision=MODERN) as client:
        assert isinstance(client, ModernPlain)
        await client.ask("server/discover")
        await client.ask("tools/list")
        numbers = []
        for ending in ("success", "tool_error", "failed"):
            arguments = {"seconds": TASK_SECONDS, "ending": ending}
            answer = await client.call("study", arguments)
            numbers.append(answer["result"]["taskId"])
        answer = await client.call("study", {"seconds": 60.0, "ending": "success"})
        await theatre.pause("at work")
        for number in numbers:
            await wait_for_task(client, number)
        await client.ask("tasks/cancel", {"taskId": answer["result"]["taskId"]})
        await wait_for_task(client, answer["result"]["taskId"])
        await theatre.pause("at rest")


async def wait_for_task(client: ModernPlain, number: str) -> None:
    """Ask for a task until it works no more."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            answer = await client.ask("tasks/get", {"taskId": number})
            if answer["result"]["status"] != "working":
                return
            await asyncio.sleep(POLL_SECONDS)


def run_everything(compare: Compare) -> Mapping[str, Look]:
    """Run what leaves no family out, but for those of tasks."""
    with ExitStack() as stack:

        def run(way: str) -> tuple[Peer, Tap]:
            peer = stack.enter_context(run_python_server("whole_server.py", way))
            return peer, stack.enter_context(tapping(peer.origin))

        both, old, mortal = run("http"), run("sse"), run("legacy")
        guarded = stack.enter_context(tapping(both[0].origin))
        tracks = [
            Track(name="both", peer=both[0], upstream=both[1]),
            Track(name="old", peer=old[0], upstream=old[1]),
            Track(name="mortal", peer=mortal[0], upstream=mortal[1]),
            Track(name="guarded", peer=both[0], upstream=guarded, host="upstream"),
        ]
        theatre = stack.enter_context(open_theatre(tracks, compare))
        asyncio.run(play_everything(theatre))
        return theatre.looks


def run_tasks(compare: Compare) -> Mapping[str, Look]:
    """Run what tasks answer."""
    packages = install_fastmcp_tasks()
    with ExitStack() as stack:
        peer = stack.enter_context(run_python_server("task_server.py", packages=packages))
        tap = stack.enter_context(tapping(peer.origin))
        tracks = [Track(name="tasks", peer=peer, upstream=tap)]
        theatre = stack.enter_context(open_theatre(tracks, compare))
        asyncio.run(play_tasks(theatre))
        return theatre.looks
