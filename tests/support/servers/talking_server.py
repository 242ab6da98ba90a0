"""An MCP server on PyPI ``mcp`` whose tools need more than one HTTP exchange.

Run as a program with a port and a way to serve: ``plain``, ``resumable`` (with an event store) and
``stateless`` (without sessions) serve both eras on ``/mcp``, ``sse`` serves HTTP+SSE on ``/sse``.
It tells on standard output, one line each, what only the server's side can see: ``started KEY`` of
the tools that wait. Knows nothing of proxies or metrics.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Literal

import anyio
from mcp import MCPError, types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from pydantic import BaseModel

HANG_SECONDS = 60.0
RETRY_MS = 50

Question = Literal["elicitation", "sampling", "roots"]
Ending = Literal["success", "tool_error", "protocol_error"]


class Answer(BaseModel):
    """What an elicitation asks for."""

    word: str


PROMPT = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="a word?"))
FORM = types.ElicitRequestFormParams(
    message="Which word?", requested_schema=Answer.model_json_schema()
)
EMBEDDED: dict[Question, types.InputRequest] = {
    "elicitation": types.ElicitRequest(params=FORM),
    "sampling": types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[PROMPT], max_tokens=10)
    ),
    "roots": types.ListRootsRequest(),
}

RELEASES: dict[str, anyio.Event] = {}
"""What tools wait for, by their keys."""


class Store(EventStore):
    """Events of all streams of a server, in memory."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        """Keep an event; its id is its place."""
        self._events.append((stream_id, message))
        return str(len(self._events) - 1)

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        """Send what came later on the stream of an event."""
        last = int(last_event_id)
        stream = self._events[last][0]
        for place, (stream_id, message) in enumerate(self._events):
            if place > last and stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(place)))
        return stream


def report(line: str) -> None:
    """Tell the test that started this program."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def finish(ending: Ending) -> str:
    """End a tool."""
    if ending == "tool_error":
        raise ToolError("as asked")
    if ending == "protocol_error":
        raise MCPError(code=-31999, message="as asked")
    return "as asked"


async def wait(key: str, seconds: float) -> None:
    """Wait so long, or until somebody releases the key."""
    event = RELEASES.setdefault(key, anyio.Event())
    with anyio.move_on_after(seconds):
        await event.wait()


async def ask(question: Question, context: Context) -> None:
    """Ask the client by a request of the server's own (up to 2025-11-25)."""
    if question == "elicitation":
        await context.elicit("Which word?", Answer)
    elif question == "sampling":
        await context.session.create_message(
            [PROMPT], max_tokens=10, related_request_id=context.request_context.request_id
        )
    else:
        await context.session.list_roots()


async def end(ending: Ending) -> str:
    """End at once."""
    return finish(ending)


async def hang(key: str) -> str:
    """Wait far longer than any test does; tell when it starts."""
    report(f"started {key}")
    await anyio.sleep(HANG_SECONDS)
    return "nobody waited"


async def hold(key: str, seconds: float) -> str:
    """Take some time, or until it is released; tell when it starts."""
    report(f"started {key}")
    await wait(key, seconds)
    return "held"


async def release(key: str) -> str:
    """End what waits for this key."""
    RELEASES[key].set()
    return "released"


async def poll(times: int, seconds: float, ending: Ending, context: Context, key: str = "") -> str:
    """Close the event stream, let the client come back, and again; then end.

    What is released by its key does not wait any more.
    """
    for _ in range(times):
        await context.close_sse_stream()
        await wait(key, seconds)
    return finish(ending)


async def consult(questions: Sequence[Question], ending: Ending, context: Context) -> str:
    """Ask the client one question after another (up to 2025-11-25)."""
    for question in questions:
        await ask(question, context)
    return finish(ending)


async def inquire(
    questions: Sequence[Question], rounds: int, context: Context
) -> str | types.InputRequiredResult:
    """Ask all questions at once, some rounds long (2026-07-28)."""
    done = int(context.request_state or "0")
    if done == rounds:
        return "answered"
    return types.InputRequiredResult(
        input_requests={question: EMBEDDED[question] for question in questions},
        request_state=str(done + 1),
    )


async def announce(context: Context) -> str:
    """Say that the tools changed, though they did not."""
    await context.notify_tools_changed()
    await context.session.send_tool_list_changed()
    return "announced"


TOOLS = (end, hang, hold, release, poll, consult, inquire, announce)


def build_server() -> MCPServer:
    """Build the server with its tools."""
    server = MCPServer("talking-peer", version="1.0", log_level="CRITICAL")
    for tool in TOOLS:
        server.add_tool(tool)
    return server


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("way", choices=("plain", "resumable", "stateless", "sse"))
    arguments = parser.parse_args()
    server, port = build_server(), arguments.port
    if arguments.way == "sse":
        server.run("sse", host="127.0.0.1", port=port)
    elif arguments.way == "resumable":
        server.run(
            "streamable-http",
            host="127.0.0.1",
            port=port,
            event_store=Store(),
            retry_interval=RETRY_MS,
        )
    else:
        stateless = arguments.way == "stateless"
        server.run("streamable-http", host="127.0.0.1", port=port, stateless_http=stateless)


if __name__ == "__main__":
    main()
