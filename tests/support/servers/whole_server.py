"""An MCP server on PyPI ``mcp`` whose tools bring everything that a result can hold.

Run as a program with a port and a way to serve: ``http`` serves both eras on ``/mcp`` and
compresses large answers, ``legacy`` refuses the newer era's negotiation there, ``sse`` serves
HTTP+SSE on ``/sse`` and has tools beyond those of ``http``. One tool changes the tools. It tells on
standard output, one line each, what only the server's side can see: ``started KEY`` of the tool
that waits. Knows nothing of proxies or metrics.
"""

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import anyio
import uvicorn
from mcp import MCPError, types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware

HANG_SECONDS = 60.0

Question = Literal["elicitation", "sampling", "roots"]


class Answer(BaseModel):
    """What an elicitation asks for."""

    word: str


class Cat(BaseModel):
    """What a tool says in a structure, and again as text."""

    name: str
    lives: int
    moods: list[str]


class Found(BaseModel):
    """What a search says of itself."""

    ok: bool
    reason: str | None
    rows: int | None


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


def report(line: str) -> None:
    """Tell the test that started this program."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def add(a: int, b: int) -> int:
    """Add two integers, très simply."""
    return a + b


def introduce(name: str, moods: Sequence[str]) -> Cat:
    """Describe a cat."""
    return Cat(name=name, lives=9, moods=list(moods))


def search(ok: bool, reason: str | None = None, rows: int | None = None) -> Found:  # noqa: FBT001
    """Search, and perhaps fail without saying so in the protocol's words."""
    return Found(ok=ok, reason=reason, rows=rows)


def fetch(size: int) -> str:
    """Return so many letters."""
    return "x" * size


def show() -> types.CallToolResult:
    """Return a block of each type."""
    text = types.TextResourceContents(uri="memo://cat", text="purr")
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text="línea\u2028 \0 \U0001f408"),
            types.TextContent(type="text", text='"quoted" \\ </x>'),
            types.ImageContent(type="image", data="aGk=", mime_type="image/png"),
            types.AudioContent(type="audio", data="aGk=", mime_type="audio/wav"),
            types.EmbeddedResource(type="resource", resource=text),
            types.ResourceLink(type="resource_link", name="cat", uri="memo://cat"),
        ]
    )


def refuse(reason: str) -> str:
    """Fail as tools should: with ``isError``."""
    raise ToolError(f"refused: {reason}")


def deny(code: int) -> str:
    """Fail as requests do: with a JSON-RPC error of this code."""
    raise MCPError(code=code, message="denied")


async def count(steps: int, context: Context) -> str:
    """Report progress before each step."""
    for step in range(steps):
        await context.report_progress(step, steps)
    return f"counted to {steps}"


async def log(levels: Sequence[types.LoggingLevel], context: Context) -> str:
    """Log once on each level."""
    for level in levels:
        await context.session.send_log_message(
            level=level, data="mew", related_request_id=context.request_context.request_id
        )
    return "logged"


async def hold(key: str) -> str:
    """Take time until it is released; tell when it starts."""
    released = RELEASES.setdefault(key, anyio.Event())
    report(f"started {key}")
    with anyio.move_on_after(HANG_SECONDS):
        await released.wait()
    return "held"


async def release(key: str) -> str:
    """End what waits for this key."""
    RELEASES[key].set()
    return "released"


async def consult(questions: Sequence[Question], context: Context) -> str:
    """Ask the client one question after another (up to 2025-11-25)."""
    for question in questions:
        if question == "elicitation":
            await context.elicit("Which word?", Answer)
        elif question == "sampling":
            await context.session.create_message(
                [PROMPT], max_tokens=10, related_request_id=context.request_context.request_id
            )
        else:
            await context.session.list_roots()
    return "consulted"


async def inquire(
    questions: Sequence[Question], context: Context
) -> str | types.InputRequiredResult:
    """Ask all questions at once (2026-07-28)."""
    if context.request_state:
        return "answered"
    return types.InputRequiredResult(
        input_requests={question: EMBEDDED[question] for question in questions},
        request_state="asked",
    )


async def announce(context: Context) -> str:
    """Say that the tools changed, though they did not."""
    await context.notify_tools_changed()
    return "announced"


def never_called() -> str:
    """Exist only in the inventory."""
    return "called"


def latecomer(word: str) -> str:
    """Exist only once the tools have changed."""
    return word


def never_called_better(loudly: bool) -> str:  # noqa: FBT001
    """Exist only in the inventory, in other words."""
    return "CALLED" if loudly else "called"


HINTS = {
    "add": ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
    "refuse": ToolAnnotations(read_only_hint=False, destructive_hint=True),
}
UNSTRUCTURED = {"fetch", "inquire"}
TOOLS = (
    *(add, introduce, search, fetch, show, refuse, deny, count, log, hold, release),
    *(consult, inquire, announce, never_called),
)


async def refuse_discovery(ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    """Know no method of the newer era's negotiation."""
    if ctx.method == "server/discover":
        raise MCPError(code=-32601, message="Method not found")
    return await call_next(ctx)


def build_server(extra: int) -> MCPServer:
    """Build the server with its tools, and with ``extra`` ones that only the inventory sees."""
    server = MCPServer(
        "whole-peer",
        version="1.2",
        instructions='Ask for a "cat", très grand; then wait.\n',
        log_level="CRITICAL",
    )
    for tool in TOOLS:
        structured = False if tool.__name__ in UNSTRUCTURED else None
        server.add_tool(tool, annotations=HINTS.get(tool.__name__), structured_output=structured)
    for number in range(extra):
        server.add_tool(never_called, name=f"extra_{number}")

    @server.tool()
    async def evolve(context: Context) -> str:
        """Add a tool, drop one and change one; say so."""
        server.add_tool(latecomer)
        server.remove_tool("show")
        server.remove_tool("never_called")
        server.add_tool(never_called_better, name="never_called")
        await context.notify_tools_changed()
        await context.session.send_tool_list_changed()
        return "evolved"

    @server.prompt()
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello {name}"

    @server.prompt()
    def part() -> str:
        """Say goodbye."""
        return "Bye"

    @server.resource("memo://cat")
    def memo() -> str:
        """Say what a cat says."""
        return "purr"

    @server.completion()  # type: ignore[no-untyped-call,untyped-decorator]  # in the SDK
    async def complete(*_: object) -> types.Completion:
        """Complete anything by the same word."""
        return types.Completion(values=["cat"])

    return server


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("way", choices=("http", "legacy", "sse"))
    arguments = parser.parse_args()
    if arguments.way == "sse":
        build_server(extra=4).run("sse", host="127.0.0.1", port=arguments.port)
        return
    server = build_server(extra=0)
    if arguments.way == "legacy":
        server.middleware.append(refuse_discovery)
    app = server.streamable_http_app()
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="critical")


if __name__ == "__main__":
    main()
